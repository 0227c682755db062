"""Rows about who decides: settings, drafts and the words on them, versions of policies, what was asked of operators."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from walletgate.store.records import Approval, Draft, DraftVoice, Version
from walletgate.store.tables import ApprovalRow, AskedRow, DraftRow, DraftVoiceRow, Row, SettingRow, VersionRow
from walletgate.types import Hash32

Select = Callable[[type[Row], str, Sequence[Any]], list[tuple[Any, ...]]]
Insert = Callable[[type[Row], Mapping[str, Any]], None]
Execute = Callable[[str, Sequence[Any]], int]


class AuthorityReader:
    """Reads through `select`: a table, the clauses after FROM, and their values."""

    def __init__(self, select: Select) -> None:
        self._select = select

    def setting(self, key: str, default: str) -> str:
        """What operators have set for the whole gate."""
        return next((value for _, value in self._select(SettingRow, "WHERE key = ?", (key,))), default)

    def drafts(self, *, status: str | None = None, limit: int = 100) -> list[Draft]:
        """The newest drafts first."""
        where, values = ("WHERE status = ? ", [status]) if status is not None else ("", [])
        rows = self._select(DraftRow, f"{where}ORDER BY created_ms DESC, id LIMIT ?", [*values, limit])
        return [_draft(row) for row in rows]

    def draft(self, draft_id: str) -> Draft | None:
        """A draft by its id."""
        return next((_draft(row) for row in self._select(DraftRow, "WHERE id = ?", (draft_id,))), None)

    def draft_voices(self, draft_id: str) -> list[DraftVoice]:
        """Operators' words on a draft, in the order they came."""
        rows = self._select(DraftVoiceRow, "WHERE draft = ? ORDER BY at_ms, operator", (draft_id,))
        return [DraftVoice(d, o, bool(a), s, why, t) for d, o, a, s, why, t in rows]

    def versions(self, grant_id: str) -> list[Version]:
        """The policies a grant was put under, oldest first."""
        rows = self._select(VersionRow, "WHERE grant_id = ? ORDER BY number", (grant_id,))
        return [Version(g, n, Hash32(p), o, d, t) for g, n, p, o, d, t in rows]

    def asked_since(self, grant_id: str, start_ms: int) -> list[tuple[int, bytes, int | None]]:
        """What a grant put before operators since then, or had rejected: when, what is alike, when it was rejected."""
        where = "WHERE grant_id = ? AND (at_ms > ? OR rejected_ms > ?) ORDER BY at_ms"
        rows = self._select(AskedRow, where, (grant_id, start_ms, start_ms))
        return [(at_ms, same, rejected_ms) for _, _, same, at_ms, rejected_ms in rows]


class AuthorityWriter:
    """Writes in one open transaction; `execute` returns how many rows changed."""

    def __init__(self, insert: Insert, execute: Execute, now_ms: int) -> None:
        self._insert = insert
        self._execute = execute
        self._now_ms = now_ms

    def set_roles(self, name: str, roles: Sequence[str]) -> None:
        """Gives an operator other roles."""
        self._execute("UPDATE operator SET roles = ? WHERE name = ?", (" ".join(roles), name))

    def set_setting(self, key: str, value: str) -> None:
        """Sets something for the whole gate."""
        if self._execute("UPDATE setting SET value = ? WHERE key = ?", (value, key)) == 0:
            self._insert(SettingRow, {"key": key, "value": value})

    def add_draft(self, draft: Draft) -> None:
        """Records a new draft."""
        self._insert(DraftRow, {**asdict(draft), "lines": json.dumps(draft.lines)})

    def end_draft(self, draft_id: str, status: str) -> bool:
        """Records how a draft ended; False if it was not open any more, and then nothing changes."""
        query = "UPDATE draft SET status = ?, ended_ms = ? WHERE id = ? AND status = 'open'"
        return self._execute(query, (status, self._now_ms, draft_id)) == 1

    def add_draft_voice(self, voice: DraftVoice) -> None:
        """Records an operator's word on a draft."""
        self._insert(DraftVoiceRow, {**asdict(voice), "approved": int(voice.approved)})

    def add_version(self, version: Version) -> None:
        """Records that a grant was put under a policy."""
        self._insert(VersionRow, asdict(version))

    def put_approval(self, approval: Approval) -> None:
        """Records an operator's word on a request, in place of an earlier one of theirs, which the log keeps."""
        row = {**asdict(approval), "approved": int(approval.approved)}
        changes = {name: value for name, value in row.items() if name not in ("request", "operator")}
        query = f"UPDATE approval SET {', '.join(f'{name} = ?' for name in changes)} WHERE request = ? AND operator = ?"
        if self._execute(query, (*changes.values(), approval.request, approval.operator)) == 0:
            self._insert(ApprovalRow, row)

    def add_asked(self, request_id: str, grant_id: str, alike: bytes) -> None:
        """Records that a request was put before operators."""
        row = {"request": request_id, "grant_id": grant_id, "alike": alike, "at_ms": self._now_ms, "rejected_ms": None}
        self._insert(AskedRow, row)

    def mark_rejected(self, request_id: str) -> None:
        """Records that an operator rejected what was put before them."""
        self._execute("UPDATE asked SET rejected_ms = ? WHERE request = ?", (self._now_ms, request_id))


def _draft(row: tuple[Any, ...]) -> Draft:
    values = dict(zip((column.name for column in DraftRow.__table__.columns), row, strict=True))
    return Draft(**{**values, "lines": tuple(json.loads(values["lines"]))})

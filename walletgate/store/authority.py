"""Rows about who decides: settings, drafts and the words on them, versions of policies, what was asked of operators."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

from walletgate.store.records import Approval, Draft, DraftVoice, Version
from walletgate.store.rows import columns
from walletgate.store.tables import AskedRow, DraftRow, DraftVoiceRow, Row, SettingRow, VersionRow
from walletgate.types import Hash32

Select = Callable[[type[Row], str, Sequence[Any]], list[tuple[Any, ...]]]
Insert = Callable[[type[Row], tuple[Any, ...]], None]
Execute = Callable[[str, tuple[Any, ...]], None]

_SETTING = "INSERT INTO setting (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_END_DRAFT = "UPDATE draft SET status = ?, ended_ms = ? WHERE id = ? AND status = 'open'"
_APPROVAL = (
    "INSERT INTO approval (request, operator, approved, policy, signature, reason, expires_ms, at_ms)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (request, operator) DO UPDATE SET approved = excluded.approved,"
    " policy = excluded.policy, signature = excluded.signature, reason = excluded.reason,"
    " expires_ms = excluded.expires_ms, at_ms = excluded.at_ms"
)


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
    """Collects changes of one open transaction: new rows, and statements that run in the order they came."""

    def __init__(self, insert: Insert, execute: Execute, now_ms: int) -> None:
        self._insert = insert
        self._execute = execute
        self._now_ms = now_ms
        self._ended: set[str] = set()

    def set_roles(self, name: str, roles: Sequence[str]) -> None:
        """Gives an operator other roles."""
        self._execute("UPDATE operator SET roles = ? WHERE name = ?", (" ".join(roles), name))

    def set_setting(self, key: str, value: str) -> None:
        """Sets something for the whole gate."""
        self._execute(_SETTING, (key, value))

    def add_draft(self, draft: Draft) -> None:
        """Records a new draft."""
        d = draft
        row = (
            d.id, d.action, d.body, json.dumps(d.lines), d.about, d.before, d.after, d.proposer, d.status, d.created_ms,
            d.expires_ms, d.ended_ms,
        )  # fmt: skip
        self._insert(DraftRow, row)

    def end_draft(self, draft_id: str, status: str) -> bool:
        """Records how an open draft ended; False if this very transaction has ended it already."""
        if draft_id in self._ended:
            return False
        self._ended.add(draft_id)
        self._execute(_END_DRAFT, (status, self._now_ms, draft_id))
        return True

    def add_draft_voice(self, voice: DraftVoice) -> None:
        """Records an operator's word on a draft."""
        v = voice
        self._insert(DraftVoiceRow, (v.draft, v.operator, int(v.approved), v.signature, v.reason, v.at_ms))

    def add_version(self, version: Version) -> None:
        """Records that a grant was put under a policy."""
        self._insert(VersionRow, astuple(version))

    def put_approval(self, approval: Approval) -> None:
        """Records an operator's word on a request, in place of an earlier one of theirs, which the log keeps."""
        a = approval
        row = (a.request, a.operator, int(a.approved), a.policy, a.signature, a.reason, a.expires_ms, a.at_ms)
        self._execute(_APPROVAL, row)

    def add_asked(self, request_id: str, grant_id: str, alike: bytes) -> None:
        """Records that a request was put before operators."""
        self._insert(AskedRow, (request_id, grant_id, alike, self._now_ms, None))

    def mark_rejected(self, request_id: str) -> None:
        """Records that an operator rejected what was put before them."""
        self._execute("UPDATE asked SET rejected_ms = ? WHERE request = ?", (self._now_ms, request_id))


def _draft(row: tuple[Any, ...]) -> Draft:
    values = dict(zip(columns(DraftRow), row, strict=True))
    return Draft(**{**values, "lines": tuple(json.loads(values["lines"]))})

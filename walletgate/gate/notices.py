"""What operators are told without asking: notices, made from the log's own entries.

A notice says that something happened and where to look. It carries no power: no token, no link, nothing that acts when
it is opened; whoever wants to decide goes to the command line. What agents, contracts or nodes wrote is shown so
that no messenger makes a link, a mention or markup of it (`inert`).

`Rules` is told every new entry, and the state of limits, and says what that is worth. It does no input or output and
keeps only what it needs to say things once: how far each limit was used, and how often a grant was denied of late.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final

from walletgate.audit.entry import Json, Kind
from walletgate.encoding import printable
from walletgate.policy import LimitStatus

DENIALS: Final = 10
DENIALS_WITHIN_MS: Final = 60_000
QUIET_MS: Final = 10 * 60_000
"""How long the same trouble, or the same grant's denials, are not told again."""

LEVELS_PERCENT: Final = (95, 80)
_LINES_MAX: Final = 12
_LINE_MAX: Final = 240


class Event(StrEnum):
    """What a notice is about; `events` in a `[[notify]]` table chooses among them."""

    APPROVAL = "approval"
    """A request waits for operators."""
    LIMIT = "limit"
    """A limit is used to 80 or 95 %."""
    DENIALS = "denials"
    """A grant, or strangers, were refused again and again within a minute."""
    FREEZE = "freeze"
    """Something was frozen, or goes on."""
    AUTHORITY = "authority"
    """A policy, draft, grant, operator, wallet, quorum or log key changed."""
    EVIDENCE = "evidence"
    """Checkpoints are late, or somebody who keeps them cannot be reached or has seen another history."""
    STUCK = "stuck"
    """Nobody has mined a transaction for long."""
    KEY_USED = "key_used"
    """A nonce was taken by a transaction that is not ours: somebody else has the key."""
    TEST = "test"
    """`walletgate notify test`."""


_AUTHORITY: Final[Mapping[str, str]] = {
    Kind.POLICY_CHANGED: "Another policy is in force for a grant",
    Kind.GRANT_CREATED: "A grant was created",
    Kind.GRANT_REVOKED: "A grant was revoked",
    Kind.WALLET_ADDED: "A wallet was added",
    Kind.WALLET_REMOVED: "A wallet was removed",
    Kind.OPERATOR_ADDED: "An operator was added",
    Kind.OPERATOR_REMOVED: "An operator was removed",
    Kind.OPERATOR_CHANGED: "An operator's roles changed",
    Kind.QUORUM_CHANGED: "The quorum changed",
    Kind.DRAFT_PROPOSED: "A draft waits for operators",
    Kind.DRAFT_SIGNED: "A draft was signed",
    Kind.DRAFT_REJECTED: "A draft was rejected",
    Kind.DRAFT_ENDED: "A draft ended",
    Kind.LOG_KEY_CHANGED: "Another key signs the log",
}
_PLAIN: Final[Mapping[str, tuple[Event, str]]] = {
    Kind.FROZEN: (Event.FREEZE, "Frozen"),
    Kind.UNFROZEN: (Event.FREEZE, "No longer frozen"),
    Kind.TRANSACTION_STUCK: (Event.STUCK, "A transaction is stuck"),
    Kind.TRANSACTION_DROPPED: (Event.KEY_USED, "Somebody else used a wallet's key: a nonce was taken"),
    **{kind: (Event.AUTHORITY, title) for kind, title in _AUTHORITY.items()},
}
_SHOWN: Final = (
    "scope", "reason", "agent", "grant", "wallet", "chain", "request", "draft", "action", "name", "operator", "roles",
    "quorum", "policy", "tx", "nonce", "status", "why", "ended",
)  # fmt: skip
_DENIED: Final = frozenset({Kind.REQUEST_DENIED.value, Kind.AGENT_REFUSED.value})
WATCHED: Final = frozenset(
    {*_PLAIN, *_DENIED, Kind.REQUEST_AWAITING_APPROVAL, Kind.TRANSACTION_SIGNED, Kind.MESSAGE_SIGNED}
)
"""Kinds of entries that the rules look at; of others nothing follows."""

_INERT: Final = str.maketrans(
    {
        "<": "\u2039", ">": "\u203a", "&": "\uff06", "@": "\uff20", "[": "(", "]": ")", "`": "'", "*": "\u2217",
        "|": "\u00a6", "\\": "\u2216", "#": "\uff03",
    }
)  # fmt: skip
_SLASHES: Final = ":\u2215\u2215"
_DOT: Final = "\u2024"
_DOMAIN: Final = re.compile(r"(?<=[^\W_])\.(?=[^\W\d_])")


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to tell. `id` is the same however often it is sent; `seq` is the log entry it is about, if one."""

    id: str
    event: Event
    title: str
    lines: tuple[str, ...]
    at_ms: int
    seq: int | None = None


def inert(text: object) -> str:
    """`text` on one line, so that no messenger reads a link, a mention or markup in it."""
    shown = printable(str(text), length_max=_LINE_MAX).replace("\n", " ").translate(_INERT)
    return _DOMAIN.sub(_DOT, shown.replace("://", _SLASHES))


def notice(
    origin: str, event: Event, title: str, lines: Sequence[object], at_ms: int, *, seq: int | None = None,
    about: str = "",
) -> Notice:  # fmt: skip
    """A notice of the log `origin`; `about` tells apart notices that follow from no entry."""
    name = f"{origin}\n{event}\n{seq}\n{about}\n{at_ms if seq is None else ''}"
    shown = tuple(inert(line) for line in lines[:_LINES_MAX])
    return Notice(f"ntf_{sha256(name.encode()).hexdigest()[:24]}", event, inert(title), shown, at_ms, seq)


@dataclass(slots=True)
class Rules:
    """What is worth a notice. `origin` is the log's name."""

    origin: str
    _denials: dict[str, deque[int]] = field(default_factory=dict)
    _told_ms: dict[str, int] = field(default_factory=dict)
    _levels: dict[tuple[str, ...], int] = field(default_factory=dict)

    def of_entry(self, entry: Mapping[str, Json]) -> Iterator[Notice]:
        """Notices that follow from one entry of the log."""
        kind, at_ms, seq = str(entry["kind"]), _number(entry["ts_ms"]), _number(entry["seq"])
        if kind in _PLAIN:
            event, title = _PLAIN[kind]
            lines = [f"{key}: {_short(entry[key])}" for key in _SHOWN if entry.get(key) not in (None, "", [])]
            lines += _texts(entry.get("lines"))
            yield notice(self.origin, event, title, lines, at_ms, seq=seq)
        elif kind == Kind.REQUEST_AWAITING_APPROVAL:
            title = f"{entry.get('agent')} needs an approval"
            reasons = [r.get("text") for r in _list(entry.get("reasons")) if isinstance(r, dict)]
            lines = [f"request: {entry.get('request')}", *_texts(entry.get("effects")), *_texts(reasons)]
            yield notice(self.origin, Event.APPROVAL, title, lines, at_ms, seq=seq)
        elif kind in _DENIED:
            yield from self._denied(entry, at_ms, seq)

    def _denied(self, entry: Mapping[str, Json], at_ms: int, seq: int) -> Iterator[Notice]:
        who = str(entry.get("grant") or "strangers")
        recent = self._denials.setdefault(who, deque(maxlen=DENIALS))
        recent.append(at_ms)
        if len(recent) < DENIALS or at_ms - recent[0] > DENIALS_WITHIN_MS or not self._is_new(f"denials {who}", at_ms):
            return
        codes = [str(r.get("code")) for r in _list(entry.get("reasons")) if isinstance(r, dict)]
        lines = [f"grant: {who}", f"last: {', '.join(codes) or entry.get('code') or 'refused'}"]
        title = f"{entry.get('agent') or 'Strangers'}: {DENIALS} refusals within a minute"
        yield notice(self.origin, Event.DENIALS, title, lines, at_ms, seq=seq)

    def of_limits(self, grant: str, agent: str, limits: Sequence[LimitStatus], at_ms: int) -> Iterator[Notice]:
        """Notices that follow from how far a grant's limits are used: each level once, until use falls below it."""
        for number, limit in enumerate(limits):
            if limit.used is None or limit.limit <= 0 or limit.kind not in ("window", "lifetime"):
                continue
            key = (grant, limit.name, limit.kind, str(limit.window_s), limit.asset, str(number))
            percent = limit.used * 100 // limit.limit
            level = next((each for each in LEVELS_PERCENT if percent >= each), 0)
            before, self._levels[key] = self._levels.get(key, 0), level
            if level > before:
                within = "ever" if limit.window_s is None else f"in {limit.window_s // 3600 or 1} h"
                lines = [
                    f"grant: {grant}", f"limit: {limit.name}",
                    f"{limit.used_text} of {limit.limit_text} {within}; {limit.available_text} left",
                ]  # fmt: skip
                title = f"{agent} has used {percent} % of a limit"
                yield notice(self.origin, Event.LIMIT, title, lines, at_ms, about=" ".join((*key, str(level))))

    def of_trouble(self, code: str, text: str, at_ms: int) -> Iterator[Notice]:
        """A notice of trouble with the evidence; the same again only after `QUIET_MS`."""
        if self._is_new(f"evidence {code} {text}", at_ms):
            yield notice(self.origin, Event.EVIDENCE, f"Evidence: {code}", [text], at_ms, about=f"{code} {text}")

    def _is_new(self, what: str, at_ms: int) -> bool:
        told_ms = self._told_ms.get(what)
        if told_ms is not None and at_ms - told_ms < QUIET_MS:
            return False
        self._told_ms = {key: at for key, at in self._told_ms.items() if at_ms - at < QUIET_MS}
        self._told_ms[what] = at_ms
        return True


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _texts(value: object) -> list[str]:
    return [str(each) for each in _list(value) if each]


def _short(value: Json) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, list | tuple) else str(value)

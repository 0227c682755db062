"""What a period of the log comes to: added up entry by entry, in bounded memory.

`Tally.feed` takes every entry in order; those before the period only keep the requests that are still open. What is
spent counts from the signature, as the gate itself counts, and is taken back if the transaction reverted or was
dropped. Long lists keep their newest rows and say how many there were. Windows are kept to the minute, so the most
spent in a window may be overstated by what happened within one minute, and is never understated.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from walletgate.audit.entry import Kind

BINS: Final = 60
ROWS_MAX: Final = 200
OPEN_MAX: Final = 200_000
LARGEST_MAX: Final = 10
NAMES_MAX: Final = 2_000
_MINUTE: Final = 60_000

SILENT: Final = re.compile(rb'"kind":"(?:transaction_broadcast|broadcast_failed|request_approved|checkpoint_signed)"')
"""What in an entry's bytes says that no sum depends on it: it need not be parsed."""

Entry = Mapping[str, object]
Key = tuple[str, str]
"""(measure, asset or unit): `("amount", "8453:0x…")`."""

_SIGNED: Final = frozenset((Kind.TRANSACTION_SIGNED, Kind.MESSAGE_SIGNED, Kind.CODE_AUTHORIZATION_SIGNED))
_AUTHORITY: Final = frozenset(
    (Kind.FROZEN, Kind.UNFROZEN, Kind.GRANT_CREATED, Kind.GRANT_REVOKED, Kind.POLICY_CHANGED, Kind.OPERATOR_ADDED,
     Kind.OPERATOR_REMOVED, Kind.WALLET_ADDED, Kind.WALLET_REMOVED, Kind.LOG_KEY_CHANGED, Kind.LOG_OPENED)
)  # fmt: skip
_OVER: Final = frozenset(
    (Kind.REQUEST_REJECTED, Kind.REQUEST_EXPIRED, Kind.REQUEST_WITHDRAWN, Kind.TRANSACTION_CONFIRMED,
     Kind.RESERVATION_POSTED)
)  # fmt: skip
_NOTABLE: Final = _AUTHORITY | {
    Kind.APPROVAL_GIVEN, Kind.APPROVAL_REFUSED, Kind.REQUEST_REJECTED, Kind.REQUEST_EXPIRED, Kind.OPERATOR_REFUSED,
    Kind.TRANSACTION_REVERTED, Kind.TRANSACTION_DROPPED, Kind.TRANSACTION_REORGED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One limit of one grant, to be held against what was spent. `window_ms` is the window's length."""

    grant: str
    agent: str
    key: Key
    window_ms: int
    bound: int
    name: str


@dataclass(slots=True)
class _Window:
    """A rolling sum by the minute, and the most it ever was."""

    minutes: deque[tuple[int, int]] = field(default_factory=deque)
    total: int = 0
    most: int = 0
    most_ms: int = 0

    def add(self, at_ms: int, amount: int, length_ms: int) -> None:
        minute = at_ms // _MINUTE
        while self.minutes and self.minutes[0][0] * _MINUTE + length_ms + _MINUTE <= at_ms:
            self.total -= self.minutes.popleft()[1]
        if self.minutes and self.minutes[-1][0] == minute:
            self.minutes[-1] = (minute, self.minutes[-1][1] + amount)
        else:
            self.minutes.append((minute, amount))
        self.total += amount
        if self.total > self.most:
            self.most, self.most_ms = self.total, at_ms


@dataclass(slots=True)
class _Open:
    """A request that may still change what counts."""

    first: Entry
    bin: int = -1


@dataclass(slots=True, order=True)
class Payment:
    """A signed transaction, for the list of the largest and the newest."""

    at_ms: int
    seq: int
    agent: str
    words: str
    chain: int
    tx: str
    outcome: str = "signed"


class Tally:
    """Adds up entries from `since_ms` to `until_ms` (Unix milliseconds, the end not included)."""

    def __init__(self, *, since_ms: int, until_ms: int, lines: Sequence[Line] = ()) -> None:
        self.since_ms = since_ms
        self.until_ms = until_ms
        self.bin_ms = max(1, -(-(until_ms - since_ms) // BINS))
        self.lines = tuple(lines)
        self.kinds: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.by_agent: Counter[tuple[str, str]] = Counter()
        self.denials: Counter[tuple[str, str]] = Counter()
        self.examples: dict[tuple[str, str], str] = {}
        self.approvals: Counter[tuple[str, str]] = Counter()
        self.spent: dict[Key, list[int]] = {}
        self.notable: deque[Entry] = deque(maxlen=ROWS_MAX)
        self.notable_count = 0
        self.newest: OrderedDict[str, Payment] = OrderedDict()
        self.largest: dict[Key, list[tuple[int, int, Payment]]] = {}
        self.windows = [_Window() for _ in self.lines]
        self._by_grant: dict[str, list[int]] = {}
        for number, line in enumerate(self.lines):
            self._by_grant.setdefault(line.grant, []).append(number)
        self._open: OrderedDict[str, _Open] = OrderedDict()

    def feed(self, entry: Entry) -> None:
        """Takes the next entry."""
        at_ms, kind = cast("int", entry["ts_ms"]), cast("str", entry["kind"])
        inside = self.since_ms <= at_ms < self.until_ms
        if inside:
            self.kinds[kind] += 1
        request = entry.get("request")
        if request is not None and "decision" in entry:
            self._begin(str(request), entry, inside=inside)
        if kind in _SIGNED:
            self._signed(str(request), entry, at_ms, inside=inside)
        elif request is not None:
            self._moved(str(request), kind)
        if inside:
            self._note(entry, kind)

    def _begin(self, request: str, entry: Entry, *, inside: bool) -> None:
        decision = str(entry["decision"])
        if inside:
            self.requests[decision] += 1
            self._count(self.by_agent, (str(entry.get("agent", "?")), decision))
        if decision == "deny":
            return
        self._open[request] = _Open(entry)
        if len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)

    def _signed(self, request: str, entry: Entry, at_ms: int, *, inside: bool) -> None:
        known = self._open.get(request)
        if known is None:
            return
        place = (at_ms - self.since_ms) // self.bin_ms if inside else -1
        known.bin = place
        grant = str(known.first.get("grant"))
        booked = _booked(known.first)
        for key, amount in booked:
            if place >= 0:
                self.spent.setdefault(key, [0] * BINS)[place] += amount
            for number in self._by_grant.get(grant, ()):
                if self.lines[number].key == key and at_ms < self.until_ms:
                    self.windows[number].add(at_ms, amount, self.lines[number].window_ms)
        if inside and "tx" in entry:
            self._pay(entry, known.first, at_ms, booked)

    def _pay(self, entry: Entry, first: Entry, at_ms: int, booked: Sequence[tuple[Key, int]]) -> None:
        words = first.get("effects")
        text = "; ".join(map(str, words[:2])) if isinstance(words, list) else ""
        payment = Payment(
            at_ms, int(str(entry["seq"])), str(first.get("agent", "?")), text, int(str(first.get("chain", 0))),
            str(entry["tx"]),
        )  # fmt: skip
        self.newest[str(first["request"])] = payment
        if len(self.newest) > ROWS_MAX:
            self.newest.popitem(last=False)
        for key, amount in booked:
            if key[0] == "amount":
                heap = self.largest.setdefault(key, [])
                heapq.heappush(heap, (amount, payment.seq, payment))
                if len(heap) > LARGEST_MAX:
                    heapq.heappop(heap)

    def _moved(self, request: str, kind: str) -> None:
        known = self._open.get(request)
        if known is None:
            return
        if request in self.newest and kind.startswith("transaction_"):
            self.newest[request].outcome = kind.removeprefix("transaction_")
        if kind in (Kind.TRANSACTION_REVERTED, Kind.TRANSACTION_DROPPED):
            for key, amount in _booked(known.first):
                # Of what reverted the fee stays spent; the windows keep what they saw, they show what was at risk.
                if known.bin >= 0 and (key[0] == "amount" or kind == Kind.TRANSACTION_DROPPED):
                    self.spent[key][known.bin] -= amount
            del self._open[request]
        elif kind in _OVER or kind == Kind.REQUEST_DENIED:
            self._open.pop(request, None)

    def _note(self, entry: Entry, kind: str) -> None:
        if kind == Kind.REQUEST_DENIED:
            self._deny(entry)
        if kind in (Kind.APPROVAL_GIVEN, Kind.REQUEST_REJECTED) and "operator" in entry:
            self._count(self.approvals, (str(entry["operator"]), "gave" if kind == Kind.APPROVAL_GIVEN else "refused"))
        if kind in _NOTABLE:
            self.notable.append(entry)
            self.notable_count += 1

    def _deny(self, entry: Entry) -> None:
        reasons = entry.get("reasons")
        found = reasons if isinstance(reasons, list) else []
        names = {
            (str(r.get("code", "?")), str(r.get("rule", ""))): str(r.get("text", ""))
            for r in found
            if isinstance(r, Mapping) and r.get("code") not in ("permitted", "needs_approval")
        } or {(str(entry.get("code", "?")), ""): str(entry.get("detail", ""))}
        for name, text in names.items():
            self._count(self.denials, name)
            if name in self.denials:
                self.examples.setdefault(name, text)

    @staticmethod
    def _count(counter: Counter[tuple[str, str]], name: tuple[str, str]) -> None:
        """Counts a name; names that an agent could invent without end share one row once there are too many."""
        counter[name if name in counter or len(counter) < NAMES_MAX else ("others", "")] += 1


def _booked(first: Entry) -> list[tuple[Key, int]]:
    booked = first.get("booked")
    found: list[tuple[Key, int]] = []
    for item in booked if isinstance(booked, list) else []:
        if isinstance(item, Mapping):
            key = (str(item.get("measure")), str(item.get("asset", item.get("unit", ""))))
            found.append((key, int(str(item.get("amount", "0")))))
    return found

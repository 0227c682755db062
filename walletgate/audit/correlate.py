"""Which runs explain which alerts: foreign logs brought onto one clock, and every alert held against every run.

Sources are *events* (alerts of a firewall: instants), *runs* (episodes, tool calls, spans: intervals), and the gate's
own log, which is the reference where anything ties the others to it. `align_sources` finds each source's clock
(`clocks`), directly or by way of a source that is aligned already.

Then each alert gets its candidates: runs that were at work at that moment. What speaks for one: that it was at work
then, and how few others were; that both name the same rare things (a host that one run in a thousand names says much,
one that all name says nothing); and that it accounts for more alerts than its share of the time would by chance. The
weights of all candidates and of *nothing* add up to one, and that share is the score. If nothing has the largest
share, the alert is unexplained, and that is said: an explanation that is always found explains nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from walletgate.audit.clocks import SECOND, Clock, Method, align, anchors_of
from walletgate.audit.moments import Reading, Record

LAG_US: Final = 30 * SECOND
"""How long after the end of a run its last echo may come; the weight halves about every third of it."""

TOLERANCE_MIN_US: Final = 2 * SECOND
NOTHING: Final = 0.25
"""The weight of *nothing* beside one of a run that was at work at the right moment, alone, and shares no name."""

MATCHES_MAX: Final = 3
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Match:
    """One run as an explanation of one alert: `score` is its share, 0 to 1."""

    run: str
    score: float
    reason: str
    record: Record


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert at `at_us` on the common clock, its best explanations first; none if nothing explains it."""

    record: Record
    at_us: int
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """A run with what it explains: alerts, how many chance would give it, and requests in the gate's log it made."""

    run: str
    alerts: int
    by_chance: float
    weight: float
    first_us: int
    last_us: int
    shared: tuple[str, ...]
    requests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Correlation:
    """Everything found. `clocks` is by source; `reference` is the source whose clock counts."""

    reference: str
    clocks: Mapping[str, Clock]
    alerts: tuple[Alert, ...]
    suspects: tuple[Suspect, ...]

    @property
    def explained(self) -> int:
        """Alerts with an explanation."""
        return sum(bool(alert.matches) for alert in self.alerts)


def correlate(
    events: Sequence[Reading], runs: Sequence[Reading], log: Reading | None = None
) -> Correlation:  # fmt: skip
    """Holds every alert against every run. `log` is the gate's own, as `log_reading` makes it."""
    sources = [*([log] if log is not None and log.records else []), *runs, *events]
    clocks = align_sources(sources)
    work = _Work([_corrected(record, clocks[r.source]) for r in runs for record in r.records], clocks)
    alerts = [(record, clocks[reading.source]) for reading in events for record in reading.records]
    held = _hold(alerts, work)
    entries = log.records if log is not None else ()
    return Correlation(sources[0].source if sources else "", clocks, tuple(held), _suspects(held, work, entries))


def align_sources(sources: Sequence[Reading]) -> dict[str, Clock]:
    """The clock of each source against the first, found in the order of how sure they are."""
    if not sources:
        return {}
    aligned: dict[str, Clock] = {sources[0].source: Clock(Method.SAME)}
    placed: list[Reading] = [sources[0]]
    rest = list(sources[1:])
    tried: dict[tuple[str, str], Clock] = {}
    while rest:
        found: list[tuple[float, Reading, Clock]] = []
        for reading in rest:
            for anchor in placed:
                key = (reading.source, anchor.source)
                if key not in tried:
                    tried[key] = _pair(reading, anchor, aligned[anchor.source])
                if tried[key].is_aligned:
                    found.append((tried[key].odds, reading, tried[key]))
        if not found:
            break
        _, reading, clock = max(found, key=lambda item: item[0])
        aligned[reading.source] = clock
        placed.append(reading)
        rest.remove(reading)
    return aligned | {reading.source: Clock(Method.NONE) for reading in rest}


def log_reading(entries: Iterable[Mapping[str, object]]) -> Reading:
    """The gate's log as a source: requests by the ids that other logs may name, too."""
    records = []
    for entry in entries:
        trace = entry.get("trace")
        names = {str(value).lower() for value in (trace.values() if isinstance(trace, Mapping) else ())}
        names |= {part for name in names if name.count("-") == 3 for part in name.split("-")[1:3]}
        names |= {str(entry[key]).lower() for key in ("request", "client_id", "tx", "agent") if key in entry}
        at_us = int(str(entry["ts_ms"])) * 1000
        run = str(entry.get("request", entry.get("agent", "gate")))
        seq = int(str(entry["seq"]))
        records.append(Record("log", seq, at_us, at_us, run, str(entry["kind"]), frozenset(names), has_zone=True))
    return Reading("log", tuple(records), 0)


def _pair(reading: Reading, anchor: Reading, clock: Clock) -> Clock:
    """The clock of one source by way of another, whose own clock is known."""
    ours = [clock.correct(record.start_us) for record in anchor.records]
    firsts = _firsts(anchor.records, ours)
    own = _firsts(reading.records, [record.start_us for record in reading.records])
    return align([record.start_us for record in reading.records], ours, anchors_of(own, firsts))


def _firsts(records: Sequence[Record], times: Sequence[int]) -> dict[str, int]:
    """When each id is first named. What most records name is no id, and neither are plain words and host names."""
    counts = Counter(token for record in records for token in record.tokens)
    firsts: dict[str, int] = {}
    for record, at_us in zip(records, times, strict=True):
        for token in record.tokens:
            if _is_id(token) and counts[token] <= max(20, len(records) // 10):
                firsts.setdefault(token, at_us)
    return firsts


def _is_id(token: str) -> bool:
    """Whether a token can name one act: hex or an id with digits of some length, not an address or a host."""
    return len(token) >= 8 and "." not in token and sum(char.isdigit() for char in token) >= 2


def _corrected(record: Record, clock: Clock) -> Record:
    return replace(record, start_us=clock.correct(record.start_us), end_us=clock.correct(record.end_us))


class _Work:
    """What the runs did and when, to be asked who was at work at a moment."""

    def __init__(self, records: Sequence[Record], clocks: Mapping[str, Clock]) -> None:
        self.clocks = clocks
        self.records = records
        self.names: dict[str, set[str]] = defaultdict(set)
        # By length, so that one long run does not make every search long.
        lengths: dict[int, list[Record]] = defaultdict(list)
        spent: Counter[str] = Counter()
        for record in records:
            lengths[(record.end_us - record.start_us).bit_length() // 2].append(record)
            self.names[record.run] |= record.tokens
            spent[record.run] += record.end_us - record.start_us + TOLERANCE_MIN_US
        self._classes = []
        for group in lengths.values():
            ordered = sorted(group, key=lambda record: record.start_us)
            longest = max(record.end_us - record.start_us for record in ordered)
            self._classes.append((longest, [record.start_us for record in ordered], ordered))
        first = min((record.start_us for record in records), default=0)
        last = max((record.end_us for record in records), default=1)
        self.share = {run: min(1.0, us / max(1, last - first)) for run, us in spent.items()}
        self.rarity = _rarity(self.names)

    def around(self, at_us: int, tolerance_us: int) -> list[tuple[Record, float]]:
        """Who was at work, with a weight of 1 while at work and less and less after."""
        found = []
        for longest, starts, ordered in self._classes:
            low = bisect_left(starts, at_us - longest - LAG_US - tolerance_us)
            for record in ordered[low : bisect_right(starts, at_us + tolerance_us)]:
                late = at_us - record.end_us - tolerance_us
                if late <= LAG_US:
                    found.append((record, 1.0 if late <= 0 else math.exp(-2.0 * late / LAG_US)))
        return found


def _rarity(names: Mapping[str, set[str]]) -> dict[str, float]:
    """How much a shared name says: near 1 if one run names it, 0 if all do."""
    counts = Counter(token for tokens in names.values() for token in tokens)
    runs = max(2, len(names))
    return {token: 1 - math.log(count) / math.log(runs) for token, count in counts.items() if count < runs or runs == 2}


def _hold(alerts: Sequence[tuple[Record, Clock]], work: _Work) -> list[Alert]:
    """Each alert with its best explanations; runs that explain more than chance weigh more from round to round."""
    candidates = [_candidates(record, clock, work) for record, clock in alerts]
    lift: dict[str, float] = defaultdict(lambda: 1.0)
    for _ in range(_ROUNDS):
        explained: Counter[str] = Counter()
        for found in candidates:
            for run, share in _shares(found, lift).items():
                explained[run] += share  # type: ignore[assignment]  # shares are parts of one
        lift = defaultdict(lambda: 1.0)
        for run, total in explained.items():
            expected = len(alerts) * work.share[run]
            lift[run] = min(10.0, max(0.3, (total + 0.5) / (expected + 0.5)))
    held = []
    for (record, clock), found in zip(alerts, candidates, strict=True):
        shares = _shares(found, lift)
        nothing = 1.0 - sum(shares.values())
        best = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:MATCHES_MAX]
        matches = tuple(
            Match(run, round(share, 3), _reason(record, found[run], len(found), clock), found[run][0])
            for run, share in best
            if share > nothing and share >= best[0][1] / 4
        )
        held.append(Alert(record, clock.correct(record.start_us), matches))
    return held


Candidate = tuple[Record, float, tuple[str, ...]]


def _candidates(record: Record, clock: Clock, work: _Work) -> dict[str, Candidate]:
    """By run: the record nearest in time, the weight, and the names shared."""
    at_us = clock.correct(record.start_us)
    # Where no clock was found, being at work at that moment proves little.
    trust = 1.0 if clock.is_aligned else 0.2
    tolerance = max(TOLERANCE_MIN_US, 4 * clock.spread_us)
    found: dict[str, Candidate] = {}
    for candidate, near in work.around(at_us, tolerance):
        shared = tuple(sorted(record.tokens & candidate.tokens, key=lambda t: (-work.rarity.get(t, 0.0), t)))
        says = 1.0 - math.prod(1.0 - 0.95 * work.rarity.get(token, 0.0) for token in shared)
        weight = trust * near + 12.0 * says * near
        if weight > found.get(candidate.run, (candidate, 0.0, ()))[1]:
            found[candidate.run] = (candidate, weight, shared)
    return found


def _shares(found: Mapping[str, Candidate], lift: Mapping[str, float]) -> dict[str, float]:
    weights = {run: weight * lift[run] for run, (_, weight, _) in found.items()}
    # Each further run that was at work makes it likelier that it was chance that any was.
    total = sum(weights.values()) + NOTHING * (1 + len(found))
    return {run: weight / total for run, weight in weights.items()}


def _reason(record: Record, candidate: Candidate, others: int, clock: Clock) -> str:
    run, _, shared = candidate
    at_us = clock.correct(record.start_us)
    if at_us < run.start_us:
        when = f"{(run.start_us - at_us) / SECOND:.1f} s before it began"
    elif at_us <= run.end_us:
        when = f"{(at_us - run.start_us) / SECOND:.1f} s into {run.label or 'it'}"
    else:
        when = f"{(at_us - run.end_us) / SECOND:.1f} s after {run.label or 'it'}"
    alone = "alone at that moment" if others == 1 else f"one of {others} at that moment"
    names = f"; both name {', '.join(shared[:3])}" if shared else ""
    doubt = "" if clock.is_aligned else "; clocks not aligned"
    return f"{when}, {alone}{names}{doubt}"


@dataclass(slots=True)
class _Sum:
    weight: float = 0.0
    alerts: list[Alert] = field(default_factory=list)
    shared: Counter[str] = field(default_factory=Counter)


def _suspects(held: Sequence[Alert], work: _Work, entries: Sequence[Record]) -> tuple[Suspect, ...]:
    """Runs that are the best explanation of some alert, those that explain most first."""
    sums: dict[str, _Sum] = defaultdict(_Sum)
    for alert in held:
        for match in alert.matches[:1]:
            found = sums[match.run]
            found.weight += match.score
            found.alerts.append(alert)
            found.shared.update(alert.record.tokens & match.record.tokens)
    suspects = []
    for run, found in sums.items():
        names = work.names[run] | {run.lower()}
        ids = {name for name in names if _is_id(name)}
        requests = sorted({e.run for e in entries if e.tokens & ids or e.run in names})
        times = [alert.at_us for alert in found.alerts]
        suspects.append(
            Suspect(
                run, len(found.alerts), round(len(held) * work.share[run], 2), round(found.weight, 3), min(times),
                max(times), tuple(name for name, _ in found.shared.most_common(3)), tuple(requests[:20]),
            )
        )  # fmt: skip
    return tuple(sorted(suspects, key=lambda s: (-s.weight, s.run)))

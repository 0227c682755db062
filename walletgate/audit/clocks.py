"""How far two clocks are apart, when all there is are two logs that speak of some of the same things.

Where records of both name the same id (a trace, a tool call, a request, a transaction), the difference of their times
is a sample of the offset. Where nothing is shared, the *rhythm* has to do: at the true offset many events of one log
fall close to events of the other, at a wrong one only as many as chance brings. So every pair within 14 h votes for
its difference, in bins of several widths and two phases, at most once for each event; the bin that stands out most
against its own neighbourhood wins, if chance would not do as well in a million tries (a Chernoff bound on Poisson
counts, times the number of bins looked at). Decoys on either side raise the floor, and do not move the peak. Bursts
count once. A second peak nearly as high makes the answer *ambiguous*, and it is said.

Then the winner is refined: a drift, if the pairs fit better with one, and the median of what is left. What is always
part of the offset is the usual delay between an act and its echo in the other log; no log shows that.

`Clock.correct` maps their time to ours. Everything is in microseconds. Nothing is random.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Final

SECOND: Final = 1_000_000
OFFSET_MAX: Final = 14 * 3600 * SECOND + 600 * SECOND
"""The largest offset looked for: the width of the time zones, and ten minutes."""

PAIRS_MAX: Final = 400_000
PAIRS_FIRST_MAX: Final = 2_500_000
"""The most pairs that vote in one round; the first round, near whole hours, may take its time."""

WIDTHS: Final = (SECOND // 4, SECOND, 4 * SECOND, 16 * SECOND, 64 * SECOND)
ODDS_MIN: Final = 6.0
"""How many powers of ten against chance an alignment needs."""

MATCHES_MIN: Final = 5
DRIFT_PPM_MAX: Final = 500
_BURST: Final = SECOND // 2
_NEIGHBOURS: Final = 60
_QUARTER: Final = 900 * SECOND

Places = Sequence[tuple[int, int]]
"""Ranges of offsets, both ends inclusive."""

_ANYWHERE: Final[Places] = ((-OFFSET_MAX, OFFSET_MAX),)
_NEAR_HOURS: Final[Places] = tuple(
    (half * 1800 * SECOND - 150 * SECOND, half * 1800 * SECOND + 150 * SECOND) for half in range(-28, 29)
)


class Method(Enum):
    """How an offset was found."""

    NONE = "not aligned"
    RHYTHM = "rhythm"
    IDS = "shared ids"
    SAME = "reference"


@dataclass(frozen=True, slots=True)
class Clock:
    """Their time plus this is ours: `offset_us` at `since_us`, and `drift_ppm` microseconds a second from there.

    `spread_us` is how far pairs scatter around it, `odds` the powers of ten against chance, `rival_us` another offset
    that explains nearly as much.
    """

    method: Method
    offset_us: int = 0
    since_us: int = 0
    drift_ppm: float = 0.0
    spread_us: int = 0
    matched: int = 0
    of: int = 0
    odds: float = 0.0
    rival_us: int | None = None

    @property
    def is_aligned(self) -> bool:
        """Whether times of both can be compared."""
        return self.method is not Method.NONE

    def correct(self, at_us: int) -> int:
        """Their time as ours."""
        return at_us + self.offset_us + round((at_us - self.since_us) * self.drift_ppm / 1e6)

    def words(self) -> str:
        """The offset as people say it."""
        if not self.is_aligned:
            return "not aligned: nothing ties it to the others, its clock is taken as right"
        quarters = round(self.offset_us / _QUARTER)
        rest = self.offset_us - quarters * _QUARTER
        parts = []
        if quarters and abs(rest) <= 300 * SECOND:
            parts.append(f"{quarters / 4:+g} h (a time zone)")
        else:
            rest = self.offset_us
        parts.append(f"{rest / SECOND:+.3f} s")
        if self.drift_ppm:
            parts.append(f"{self.drift_ppm:+.1f} s a million")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class _Peak:
    centre: int
    width: int
    votes: int
    odds: float
    rival: int | None


def align(theirs: Sequence[int], ours: Sequence[int], anchors: Sequence[tuple[int, int]] = ()) -> Clock:
    """The clock of `theirs` (times in order) against `ours`; `anchors` are (theirs, ours) of what is the same thing."""
    if anchors:
        clock = _by_ids(anchors)
        if clock.is_aligned:
            return clock
    return _by_rhythm(_onsets(theirs), sorted(ours))


def anchors_of(theirs: Mapping[str, int], ours: Mapping[str, int]) -> list[tuple[int, int]]:
    """Pairs of first times of ids that both name."""
    return [(theirs[name], ours[name]) for name in sorted(set(theirs) & set(ours))]


def _by_ids(anchors: Sequence[tuple[int, int]]) -> Clock:
    """Most of the pairs must agree: ids that are used again, or by chance, are outvoted."""
    differences = sorted(ours - theirs for theirs, ours in anchors)
    width = 64 * SECOND
    best, count = 0, 0
    for at, value in enumerate(differences):
        inside = bisect_right(differences, value + width) - at
        if inside > count:
            best, count = at, inside
    if count * 2 <= len(differences):
        return Clock(Method.NONE)
    low = differences[best]
    pairs = [(theirs, ours) for theirs, ours in anchors if low <= ours - theirs <= low + width]
    return _fitted(Method.IDS, pairs, len(anchors), 99.0, None)


def _by_rhythm(theirs: Sequence[int], ours: Sequence[int]) -> Clock:
    if len(theirs) < MATCHES_MIN or len(ours) < MATCHES_MIN:
        return Clock(Method.NONE)
    best: tuple[_Peak, bool] | None = None
    # First where clocks usually are, near whole and half hours: fewer bins, so less chance. Then anywhere. Then in
    # pieces, in which a drift has no time to smear the peak.
    for places, widths, pieces in ((_NEAR_HOURS, WIDTHS[:3], 1), (_ANYWHERE, WIDTHS, 1), (_NEAR_HOURS, WIDTHS[:3], 6)):
        size = -(-len(theirs) // pieces)
        for piece in (theirs[start : start + size] for start in range(0, len(theirs), size)):
            sampled = _sampled(piece, ours, places, PAIRS_MAX if places is _ANYWHERE or pieces > 1 else PAIRS_FIRST_MAX)
            found = [peak for width in widths if (peak := _peak(sampled, ours, width, places, pieces)) is not None]
            peak = max(found, key=lambda p: (p.odds, -p.width), default=None)
            if peak is not None and peak.votes >= MATCHES_MIN and (best is None or peak.odds > best[0].odds):
                best = (peak, pieces > 1)
        if best is not None and best[0].odds >= ODDS_MIN:
            break
    if best is None or best[0].odds < ODDS_MIN:
        return Clock(Method.NONE)
    peak, drifts = best
    pairs, drift = _refine(theirs, ours, peak, drifts=drifts)
    fitted = _fitted(Method.RHYTHM, pairs, len(theirs), peak.odds, peak.rival)
    return fitted if drift else _without_drift(fitted, pairs)


def _onsets(times: Sequence[int]) -> list[int]:
    """The beginnings of bursts: what follows within half a second of the one before says nothing new."""
    found: list[int] = []
    last = -(10**18)
    for at in sorted(times):
        if at - last > _BURST:
            found.append(at)
        last = at
    return found


def _sampled(theirs: Sequence[int], ours: Sequence[int], places: Places, pairs_max: int) -> list[int]:
    """As many of theirs as keep the number of pairs bounded, spread evenly."""
    some = theirs[:: max(1, len(theirs) // 100)]
    pairs = sum(len(_near(ours, at, places)) for at in some) * max(1, len(theirs) // 100)
    return list(theirs[:: max(1, math.ceil(pairs / pairs_max))])


def _near(ours: Sequence[int], at: int, places: Places) -> list[int]:
    """Differences of `at` to all of ours that are in one of `places`."""
    return [
        ours[number] - at
        for low, high in places
        for number in range(bisect_left(ours, at + low), bisect_right(ours, at + high))
    ]


def _peak(theirs: Sequence[int], ours: Sequence[int], width: int, places: Places, pieces: int) -> _Peak | None:
    """The bin that stands out most, in two phases of one width."""
    best: _Peak | None = None
    looked = 0
    for phase in (0, width // 2):
        votes: Counter[int] = Counter()
        for at in theirs:
            votes.update({(difference + phase) // width for difference in _near(ours, at, places)})
        looked += len(votes)
        for number, count in votes.most_common(24):
            centre = number * width - phase + width // 2
            odds = _odds(count, _floor(votes, number, _reach(centre, width, places)))
            if best is None or odds > best.odds:
                best = _Peak(centre, width, count, odds, _rival(votes, number, count, width, phase))
    if best is None:
        return None
    penalty = math.log10(max(1, looked)) + math.log10(len(WIDTHS) * pieces)
    return _Peak(best.centre, width, best.votes, best.odds - penalty, best.rival)


def _reach(centre: int, width: int, places: Places) -> tuple[int, int]:
    """How many bins to the left and to the right of `centre` are whole inside its place."""
    low, high = next(((a, b) for a, b in places if a <= centre <= b), (centre, centre))
    return min(_NEIGHBOURS, (centre - low) // width - 1), min(_NEIGHBOURS, (high - centre) // width - 1)


def _floor(votes: Mapping[int, int], number: int, reach: tuple[int, int]) -> float:
    """What chance brings to a bin here: the mean of its neighbours, those next to it left out."""
    around = [votes.get(number - step, 0) for step in range(3, reach[0])]
    around += [votes.get(number + step, 0) for step in range(3, reach[1])]
    return max(0.05, sum(around) / len(around)) if around else float(votes.get(number, 0))


def _odds(count: int, expected: float) -> float:
    """Powers of ten against seeing `count` or more where `expected` come by chance (Chernoff)."""
    if count <= expected:
        return 0.0
    return (expected - count + count * math.log(count / expected)) / math.log(10)


def _rival(votes: Counter[int], number: int, count: int, width: int, phase: int) -> int | None:
    """Another bin, not next to the best, with at least four fifths of its votes."""
    for other, found in votes.most_common(12):
        if abs(other - number) > 2 and found * 5 >= count * 4:
            return other * width - phase + width // 2
    return None


def _refine(
    theirs: Sequence[int], ours: Sequence[int], peak: _Peak, *, drifts: bool
) -> tuple[list[tuple[int, int]], bool]:
    """The pairs at the peak, and whether they need a drift."""
    span = max(1, theirs[-1] - theirs[0])
    smear = min(120 * SECOND, int(DRIFT_PPM_MAX * span / 1e6)) if drifts else 0
    reach = max(2 * peak.width, 2 * SECOND) + smear
    place = ((peak.centre - reach, peak.centre + reach),)
    near = [(at, at + difference) for at in theirs for difference in _near(ours, at, place)]
    some = near[:: max(1, len(near) // 6000)]
    fine = max(peak.width // 8, SECOND // 20) * (2 if drifts else 1)
    steps = min(240 if drifts else 40, int(DRIFT_PPM_MAX * span / 1e6 / fine * 2)) if span > 600 * SECOND else 0
    best = (0, 0.0, 0)
    for step in sorted(range(-steps, steps + 1), key=abs):
        slope = step * fine / 2 / span
        count, centre = _densest([ours_at - at - int((at - theirs[0]) * slope) for at, ours_at in some], fine)
        # A drift has to earn its place: a straight line always fits a little better.
        if count > best[0] * (1 if best[1] or step == 0 else 1.1) + (0 if best[1] or step == 0 else 2):
            best = (count, slope, centre)
    _, slope, centre = best
    close = [pair for pair in near if abs(pair[1] - pair[0] - int((pair[0] - theirs[0]) * slope) - centre) <= 2 * fine]
    return close, slope != 0.0


def _densest(values: Sequence[int], width: int) -> tuple[int, int]:
    """The most values within `width`, and their middle."""
    ordered = sorted(values)
    best, centre, low = 0, 0, 0
    for high, value in enumerate(ordered):
        while value - ordered[low] > width:
            low += 1
        if high - low + 1 > best:
            best, centre = high - low + 1, ordered[(low + high) // 2]
    return best, centre


def _fitted(
    method: Method, pairs: Sequence[tuple[int, int]], of: int, odds: float, rival: int | None
) -> Clock:  # fmt: skip
    """Medians: a line through the pairs' first and last thirds (Tukey), and how far they scatter around it."""
    ordered = sorted(pairs)
    since = ordered[0][0]
    third = len(ordered) // 3
    slope = 0.0
    if third >= 3 and ordered[-1][0] - since > 600 * SECOND:
        left, right = ordered[:third], ordered[-third:]
        run = median(a for a, _ in right) - median(a for a, _ in left)
        rise = median(b - a for a, b in right) - median(b - a for a, b in left)
        slope = max(-DRIFT_PPM_MAX / 1e6, min(DRIFT_PPM_MAX / 1e6, rise / run)) if run else 0.0
    rests = [b - a - (a - since) * slope for a, b in ordered]
    offset = median(rests)
    spread = median(abs(rest - offset) for rest in rests)
    level = median(b - a for a, b in ordered)
    flat = median(abs(b - a - level) for a, b in ordered)
    drift = slope * 1e6 if flat > 1.5 * spread else 0.0
    if not drift:
        rests = [b - a for a, b in ordered]
        offset = median(rests)
        spread = median(abs(rest - offset) for rest in rests)
    matched = len({a for a, _ in ordered})
    return Clock(method, round(offset), since, round(drift, 2), round(spread), matched, of, round(odds, 1), rival)


def _without_drift(clock: Clock, pairs: Sequence[tuple[int, int]]) -> Clock:
    offset = median(b - a for a, b in pairs)
    spread = median(abs(b - a - offset) for a, b in pairs)
    return Clock(
        clock.method, round(offset), clock.since_us, 0.0, round(spread), clock.matched, clock.of, clock.odds,
        clock.rival_us,
    )  # fmt: skip

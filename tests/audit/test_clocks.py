"""Two clocks: known offsets, drifts, zones and noise are found again, and chance is not taken for a clock."""

import random

import pytest

from walletgate.audit.clocks import SECOND, Method, align, anchors_of

T0 = 1_795_000_000 * SECOND
HOUR = 3600


def logs(seed, *, offset_s, drift_ppm=0.0, shared=40, decoys=25, calls=800, span_s=12 * HOUR, noise_s=0.2):
    """Times of alerts by their own clock, and of calls; `offset_s` is what corrects the alerts."""
    rng = random.Random(seed)
    ours = sorted(rng.uniform(0, span_s) for _ in range(calls))
    true = [at + rng.gauss(0, noise_s) for at in rng.sample(ours, shared)] + [
        rng.uniform(0, span_s) for _ in range(decoys)
    ]
    theirs = sorted(T0 + int((at - offset_s - at * drift_ppm / 1e6) * SECOND) for at in true)
    return theirs, [T0 + int(at * SECOND) for at in ours]


def error_s(clock, *, offset_s, drift_ppm=0.0, span_s=12 * HOUR):
    """The worst the clock is wrong over the whole log."""
    wrong = []
    for at in (0, span_s / 2, span_s):
        own = T0 + int((at - offset_s - at * drift_ppm / 1e6) * SECOND)
        wrong.append(abs(clock.correct(own) - T0 - at * SECOND) / SECOND)
    return max(wrong)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("offset_s", [0.0, 0.4, -37.0, 8 * HOUR + 2.5, -8 * HOUR, 5.5 * HOUR - 11, 137.0, 4_321.0])
def test_an_offset_is_found_among_decoys(seed, offset_s):
    clock = align(*logs(seed, offset_s=offset_s))
    assert clock.method is Method.RHYTHM
    assert error_s(clock, offset_s=offset_s) < 0.5
    assert clock.odds >= 6


@pytest.mark.parametrize("drift_ppm", [-120.0, -40.0, 60.0, 200.0])
def test_a_drift_is_found_with_the_offset(drift_ppm):
    given = {"offset_s": -8 * HOUR + 4.0, "drift_ppm": drift_ppm}
    clock = align(*logs(3, shared=120, **given))
    assert clock.is_aligned
    assert error_s(clock, **given) < 1.5
    assert abs(clock.drift_ppm - drift_ppm) < 25


@pytest.mark.parametrize("seed", range(12))
def test_chance_is_not_a_clock(seed):
    clock = align(*logs(seed, offset_s=0, shared=0, decoys=60))
    assert not clock.is_aligned
    assert "not aligned" in clock.words()
    assert clock.correct(T0) == T0


def test_too_little_to_go_by_is_not_a_clock():
    assert not align([], []).is_aligned
    assert not align([T0], [T0]).is_aligned
    assert not align([T0 + n * SECOND for n in range(4)], [T0 + n * SECOND for n in range(4)]).is_aligned


def test_a_burst_counts_once():
    """A thousand alerts in one second say no more than one of them."""
    rng = random.Random(1)
    burst = sorted(T0 + rng.randrange(SECOND // 3) for _ in range(1000))
    assert not align(burst, [T0 + n * 60 * SECOND for n in range(600)]).is_aligned


def test_a_rhythm_that_fits_at_many_offsets_is_called_ambiguous():
    rng = random.Random(4)
    ticks = [T0 + n * 613 * SECOND for n in range(100)]
    clock = align([at + rng.randrange(SECOND // 10) for at in ticks[10:70]], ticks)
    assert not clock.is_aligned or clock.rival_us is not None


def test_shared_ids_need_no_rhythm_and_outvote_the_reused_ones():
    ours = {f"id-{n:08d}": T0 + n * 977 * SECOND for n in range(30)}
    theirs = {name: at - 3 * HOUR * SECOND + 200_000 for name, at in ours.items()}
    theirs |= {f"id-{n:08d}": T0 for n in range(8)}
    clock = align([], [], anchors_of(theirs, ours))
    assert clock.method is Method.IDS
    assert abs(clock.offset_us - (3 * HOUR * SECOND - 200_000)) < SECOND // 100
    assert clock.words() == "+3 h (a time zone) -0.200 s"


def test_ids_that_agree_on_nothing_are_no_clock():
    rng = random.Random(2)
    pairs = [(T0, T0 + rng.randrange(10**6) * SECOND) for _ in range(20)]
    assert not align([], [], pairs).is_aligned


def test_the_same_logs_give_the_same_clock():
    given = logs(5, offset_s=12.0)
    assert align(*given) == align(*given)

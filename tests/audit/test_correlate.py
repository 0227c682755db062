"""Which runs explain which alerts: an incident of known truth, in every disguise, and nothing where there is nothing."""

import json
import random

import pytest

from walletgate.audit.clocks import SECOND, Method
from walletgate.audit.correlate import correlate, log_reading
from walletgate.audit.moments import read_source

T0 = 1_795_000_000
HOUR = 3600


def training(seed, *, runs=60, calls=12, span_s=10 * HOUR, host="trainer-1"):
    """Episodes with tool calls in them; each call an interval of some seconds."""
    rng = random.Random(seed)
    rows = []
    for number in range(runs):
        begin = rng.uniform(0, span_s - 900)
        for call in range(calls):
            at = begin + call * rng.uniform(20, 60)
            rows.append(
                {"run_id": f"ep-{number:03d}", "tool": "bash", "tool_call_id": f"call_{number:03d}{call:04d}x",
                 "start": T0 + at, "end": T0 + at + rng.uniform(0.5, 6), "host": host}
            )  # fmt: skip
    return rows


def alarms(rows, bad, *, seed=1, offset_s=0.0, decoys=15, drift_ppm=0.0, span_s=10 * HOUR, form=None, **extra):
    """Alerts shortly after calls of the bad runs, by a firewall whose clock is off, and some that mean nothing."""
    rng = random.Random(seed)
    true = [row["start"] + rng.uniform(0.1, 0.5) for row in rows if row["run_id"] in bad]
    times = true + [T0 + rng.uniform(0, span_s) for _ in range(decoys)]
    own = sorted((at - offset_s - (at - T0) * drift_ppm / 1e6, at in true) for at in times)
    write = form or (lambda at: at)
    return [{"timestamp": write(at), "rule": "egress", **(extra if real else {})} for at, real in own]


def reading(name, rows):
    return read_source(name, map(json.dumps, rows), year=2026)


def truth(found, bad):
    """Of the alerts said to be explained, how many by a bad run; and how many were explained."""
    best = [alert.matches[0].run for alert in found.alerts if alert.matches]
    return sum(run in bad for run in best), len(best)


BAD = {"ep-007", "ep-023", "ep-041"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("offset_s", "drift_ppm"), [(0.0, 0), (8 * HOUR, 0), (-8 * HOUR + 3.2, 40), (77.0, -30)])
def test_the_runs_behind_the_alerts_come_first(seed, offset_s, drift_ppm):
    rows = training(seed)
    found = correlate(
        [reading("fw", alarms(rows, BAD, offset_s=offset_s, drift_ppm=drift_ppm))], [reading("runs", rows)]
    )
    assert found.clocks["fw"].is_aligned
    assert {suspect.run for suspect in found.suspects[:3]} == BAD
    right, said = truth(found, BAD)
    assert right >= 30
    assert right / said > 0.8
    assert found.suspects[0].alerts > 5 * found.suspects[0].by_chance


def test_decoys_are_left_unexplained():
    rows = training(5)
    found = correlate([reading("fw", alarms(rows, BAD, decoys=60))], [reading("runs", rows)])
    _, said = truth(found, BAD)
    assert said < 36 + 25


def test_nothing_is_explained_by_chance():
    rows = training(6)
    found = correlate([reading("fw", alarms(rows, set(), decoys=60))], [reading("runs", rows)])
    assert found.clocks["fw"].method is Method.NONE
    assert found.explained == 0
    assert found.suspects == ()


def test_nothing_is_explained_where_nobody_was_at_work():
    rows = training(7)
    later = [{"timestamp": T0 + 40 * HOUR + n * 311, "rule": "x"} for n in range(20)]
    found = correlate([reading("fw", later)], [reading("runs", rows)])
    assert found.explained == 0


def test_a_name_that_few_share_finds_its_run_without_a_clock():
    rows = training(8, runs=40)
    for row in rows:
        row["target"] = "pool.example.net" if row["run_id"] == "ep-011" else "pypi.example.org"
    hit = [row for row in rows if row["run_id"] == "ep-011"][3]
    alert = {"timestamp": hit["start"] + 0.3, "dst_domain": "pool.example.net", "rule": "mining"}
    found = correlate([reading("fw", [alert])], [reading("runs", rows)])
    (match,) = found.alerts[0].matches[:1]
    assert (match.run, "pool.example.net" in match.reason) == ("ep-011", True)
    assert match.score > 0.5


def test_what_all_name_says_nothing():
    rows = training(9)
    named = correlate([reading("fw", alarms(rows, BAD, host="trainer-1"))], [reading("runs", rows)])
    plain = correlate([reading("fw", alarms(rows, BAD))], [reading("runs", rows)])
    assert [a.matches[:1] and a.matches[0].run for a in named.alerts] == [
        a.matches[:1] and a.matches[0].run for a in plain.alerts
    ]


def test_the_gates_log_is_the_reference_and_says_what_the_run_asked():
    rows = training(10)
    entries = []
    for seq, row in enumerate(row for row in rows if int(row["tool_call_id"][5:12]) % 3 == 0):
        entries.append(
            {"seq": seq, "ts_ms": int((row["start"] + 2.0) * 1000), "kind": "request_denied", "agent": "trainer",
             "request": f"req_{seq:020x}", "trace": {"x-tool-call-id": row["tool_call_id"]}}
        )  # fmt: skip
    # The training cluster writes local time and calls it UTC; the firewall is right but for a second.
    shifted = [{**row, "start": row["start"] + 8 * HOUR, "end": row["end"] + 8 * HOUR} for row in rows]
    found = correlate(
        [reading("fw", alarms(rows, BAD, offset_s=1.0))], [reading("runs", shifted)], log_reading(entries)
    )
    assert (found.reference, found.clocks["runs"].method) == ("log", Method.IDS)
    assert abs(found.clocks["runs"].offset_us / SECOND + 8 * HOUR - 2.0) < 0.1
    assert found.clocks["fw"].is_aligned
    assert {suspect.run for suspect in found.suspects[:3]} == BAD
    mine = {
        e["request"] for e in entries if e["trace"]["x-tool-call-id"].startswith(f"call_{found.suspects[0].run[3:]}")
    }
    assert set(found.suspects[0].requests) == mine


def test_one_long_run_does_not_slow_the_rest():
    rows = [*training(11, runs=200), {"run_id": "supervisor", "start": T0 - 5, "end": T0 + 11 * HOUR}]
    found = correlate([reading("fw", alarms(rows, BAD))], [reading("runs", rows)])
    assert {suspect.run for suspect in found.suspects[:3]} == BAD


def test_empty_sources_are_no_error():
    found = correlate([reading("fw", [])], [reading("runs", [])])
    assert (found.explained, found.alerts) == (0, ())
    assert correlate([], []).clocks == {}

"""Foreign logs: every way to write a time, and the records in every shape of file."""

import json
import random
from datetime import UTC, datetime

import pytest

from walletgate.audit.moments import RECORDS_MAX, parse_moment, read_source

AT = 1_795_447_251_000_000  # 2026-11-23 15:20:51 UTC


@pytest.mark.parametrize(
    ("text", "off_s", "zone"),
    [
        ("2026-11-23T15:20:51Z", 0, True),
        ("2026-11-23T15:20:51.250Z", 0.25, True),
        ("2026-11-23T15:20:51.123456789Z", 0.123456, True),
        ("2026-11-23T23:20:51+08:00", 0, True),
        ("2026-11-23 23:20:51 +0800", 0, True),
        ("2026-11-23T10:20:51-0500", 0, True),
        ("2026-11-23 15:20:51", 0, False),
        ("2026-11-23 15:20:51,5", 0.5, False),
        ("2026/11/23 15:20:51", 0, False),
        ("2026-11-23 15:20:51 UTC", 0, True),
        ("2026-11-23 23:20:51 CST", 8 * 3600, False),
        ("23/Nov/2026:16:20:51 +0100", 0, True),
        ("Mon, 23 Nov 2026 15:20:51 GMT", 0, True),
        ("Mon Nov 23 15:20:51 2026", 0, False),
        ("Nov 23 15:20:51", 0, False),
        ("11/23/2026 03:20:51 PM", 0, False),
        (1_795_447_251, 0, True),
        (1_795_447_251.5, 0.5, True),
        (1_795_447_251_000, 0, True),
        (1_795_447_251_000_000, 0, True),
        (1_795_447_251_000_000_000, 0, True),
        ("1795447251000000000", 0, True),
        ("1795447251.25", 0.25, True),
    ],
)
def test_a_time_is_read(text, off_s, zone):
    assert parse_moment(text, year=2026) == (AT + int(off_s * 10**6), zone)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "soon",
        0,
        -5,
        17,
        10**30,
        "2026-13-45T00:00:00Z",
        "1e9",
        "9" * 40,
        [],
        {},
        "2026",
        float("inf"),
        float("nan"),
    ],
)
def test_what_is_no_time_is_none(value):
    assert parse_moment(value, year=2026) is None


def test_all_units_of_the_same_instant_agree():
    rng = random.Random(7)
    for _ in range(300):
        seconds = rng.randrange(1_000_000_000, 2_500_000_000)
        expected = (seconds * 10**6, True)
        for value in (seconds, seconds * 10**3, seconds * 10**6, seconds * 10**9):
            assert parse_moment(value) == expected
            assert parse_moment(str(value)) == expected
        assert parse_moment(datetime.fromtimestamp(seconds, UTC).isoformat()) == expected


def test_lines_documents_spans_and_text_give_records():
    row = {
        "@timestamp": "2026-11-23T15:20:51Z",
        "rule": {"name": "egress"},
        "src": {"ip": "10.0.0.7"},
        "dst": "evil.example",
    }
    later = {**row, "@timestamp": "2026-11-23T15:20:52Z"}
    lines = read_source("fw", [json.dumps(later), "", "no time here", json.dumps(row)])
    assert [r.start_us for r in lines.records] == [AT, AT + 10**6]
    assert (lines.skipped, lines.records[0].tokens) == (1, {"10.0.0.7", "evil.example"})
    document = read_source("fw", json.dumps([row, later], indent=1).split("\n"))
    assert [r.start_us for r in document.records] == [AT, AT + 10**6]
    wrapped = read_source("fw", [json.dumps({"alerts": [row, later]})])
    assert len(wrapped.records) == 2
    text = read_source("fw", ["Nov 23 15:20:51 fw1 DROP 10.0.0.7 -> 45.9.148.1:3333"], year=2026)
    assert (text.records[0].start_us, "45.9.148.1" in text.records[0].tokens) == (AT, True)


def test_otlp_spans_carry_their_attributes_and_resource():
    span = {
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "spanId": "00f067aa0ba902b7",
        "name": "tool bash",
        "startTimeUnixNano": str(AT * 1000),
        "endTimeUnixNano": str(AT * 1000 + 2 * 10**9),
        "attributes": [{"key": "run_id", "value": {"stringValue": "ep-9"}}],
    }
    resource = {"attributes": [{"key": "host.name", "value": {"stringValue": "trainer-3"}}]}
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}
    (record,) = read_source("otel", json.dumps(document, indent=2).split("\n")).records
    assert (record.run, record.start_us, record.end_us) == ("ep-9", AT, AT + 2 * 10**6)
    assert {"trainer-3", "4bf92f3577b34da6a3ce929d0e0e4736"} <= record.tokens


def test_intervals_come_from_ends_and_durations():
    rows = [
        {"run": "a", "start": "2026-11-23T15:20:51Z", "end": "2026-11-23T15:21:51Z"},
        {"run": "b", "ts": AT / 10**6, "duration_ms": 1500},
        {"run": "c", "ts": AT / 10**6, "end": "2020-01-01T00:00:00Z"},
        {"run": "d", "ts": AT / 10**6, "duration": -4},
    ]
    records = {r.run: r.end_us - r.start_us for r in read_source("runs", map(json.dumps, rows)).records}
    assert records == {"a": 60 * 10**6, "b": 1_500_000, "c": 0, "d": 0}


@pytest.mark.parametrize(
    "line",
    ['{"a":' * 300, "[" * 5000, '{"ts": 1795447251', "\x00", '"text"', "17", "[[[]]]", "{}", '{"resourceSpans": 5}'],
)
def test_hostile_lines_are_skipped(line):
    assert read_source("x", [line]).records == ()


def test_hostile_names_are_made_printable_and_bounded():
    (record,) = read_source(
        "x", [json.dumps({"ts": AT // 10**6, "run": "\x1b[31m" + "a" * 500, "msg": "\u202e" * 9})]
    ).records
    assert "\x1b" not in record.run and len(record.run) < 200 and "\u202e" not in record.label
    (many,) = read_source(
        "x", [json.dumps({"ts": AT // 10**6, "msg": " ".join(f"h{n}.example.com" for n in range(900))})]
    ).records
    assert len(many.tokens) <= 64
    assert RECORDS_MAX == 10**6

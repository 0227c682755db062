r"""Reading other people's logs: when it happened, to whom, and which names occur in it.

Firewalls, training frameworks and tracers write time in every way there is. `parse_moment` reads Unix time in seconds,
milliseconds, microseconds or nanoseconds (told apart by size), ISO 8601 and RFC 3339, RFC 2822, the C library's and the
Apache form, syslog's (which has no year), and tells whether a zone was written. Without one UTC is assumed, and
`clocks` finds out whether that was wrong.

A line is a JSON object, a whole file may be one JSON document or OTLP's JSON of spans (`resourceSpans`), and any other
line that begins with a time is taken as text. A `Record` keeps the instant or interval, the run it belongs to, and its
*tokens*: addresses, host names, ids, hashes, by which two logs can be seen to speak of the same thing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Final

import orjson

from walletgate.encoding import printable

LINE_CHARS_MAX: Final = 1_000_000
RECORDS_MAX: Final = 1_000_000
TOKENS_MAX: Final = 64
"""The most tokens one record keeps."""

_UNITS: Final = ((10**17, 1000, "/"), (10**14, 1, "*"), (10**11, 1000, "*"), (10**8, 1_000_000, "*"))
_EARLIEST_US: Final = 631_152_000_000_000  # 1990
_LATEST_US: Final = 4_102_444_800_000_000  # 2100

_START: Final = (
    "starttimeunixnano", "startunixnano", "timeunixnano", "starttime", "startedat", "start", "startts", "begin",
    "timestamp", "attimestamp", "ts", "time", "eventtime", "eventtimestamp", "datetime", "date", "tsms", "timems",
    "atms", "at", "createdat", "created", "observedtimeunixnano", "loggedat", "receivedat", "epoch", "t",
)  # fmt: skip
_END: Final = ("endtimeunixnano", "endunixnano", "endtime", "endedat", "end", "endts", "finishedat", "finish", "stop")
_LASTS: Final = {
    "duration": 1_000_000, "durations": 1_000_000, "durationsec": 1_000_000, "elapsed": 1_000_000,
    "elapseds": 1_000_000, "durationms": 1000, "elapsedms": 1000, "latencyms": 1000, "durationus": 1,
}  # fmt: skip
_RUN: Final = (
    "run", "runid", "episode", "episodeid", "rollout", "rolloutid", "trajectory", "trajectoryid", "taskid", "task",
    "session", "sessionid", "job", "jobid", "sampleid", "traceid", "conversationid", "agent",
)  # fmt: skip
_LABEL: Final = ("rule", "signature", "alert", "name", "toolname", "tool", "message", "msg", "action", "kind", "event")
_TOKEN: Final = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b|0x[0-9a-fA-F]{8,}|\b[0-9a-fA-F]{16,64}\b"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?:[a-zA-Z0-9_-]+\.)+[a-zA-Z]{2,24}\b|\b[a-z]{2,12}_[A-Za-z0-9]{6,}\b"
)
_IDENTITY: Final = re.compile(
    r"(host|hostname|node|pod|container|instance|agent|user|account|ip|addr|address|src|dst|dest|domain|url|id|hash)\Z"
)
_ZONE: Final = re.compile(r"\s*\(?\b(UTC|GMT|Z)\)?\Z")
_ABBREVIATION: Final = re.compile(r"\s+\(?[A-Z]{2,5}\)?\Z")
_LEADING: Final = re.compile(
    r"\s*[\[<(]?(?P<time>\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?"
    r"|\d{2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?: [+-]\d{4})?|[A-Z][a-z]{2}\s+\d{1,2} \d\d:\d\d:\d\d"
    r"|\d{10,19}(?:\.\d+)?)"
)
_PATTERNS: Final = (
    "%d/%b/%Y:%H:%M:%S %z", "%d/%b/%Y:%H:%M:%S", "%a %b %d %H:%M:%S %Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M:%S.%f",
    "%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that happened, by its source's clock, in Unix microseconds; `end_us` equals `start_us` if instant."""

    source: str
    line: int
    start_us: int
    end_us: int
    run: str
    label: str
    tokens: frozenset[str]
    has_zone: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one source, in order of time, and how many lines had no time in them."""

    source: str
    records: tuple[Record, ...]
    skipped: int


def parse_moment(value: object, *, year: int = 1970) -> tuple[int, bool] | None:
    """Unix microseconds, and whether the zone is known; None if it is no time. `year` is for forms without one."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _number(value) if math.isfinite(value) else None
    if not isinstance(value, str) or not 6 <= len(value) <= 64:
        return None
    text = value.strip()
    if re.fullmatch(r"\d{9,19}(\.\d{1,9})?", text):
        return _number(float(text) if "." in text else int(text))
    return _text(text, year)


def read_source(source: str, lines: Iterable[str], *, year: int = 1970) -> Reading:
    """The records of one source."""
    records: list[Record] = []
    skipped = 0
    for number, body in enumerate(_bodies(lines), 1):
        record = _record(source, number, body, year) if body is not None else None
        if record is None:
            skipped += 1
        elif len(records) < RECORDS_MAX:
            records.append(record)
    return Reading(source, tuple(sorted(records, key=lambda record: record.start_us)), skipped)


def tokens_of(values: Iterable[tuple[str, object]]) -> frozenset[str]:
    """The names in the values of a flattened record, lower case."""
    found: set[str] = set()
    for key, value in values:
        if not isinstance(value, str) or len(found) >= TOKENS_MAX:
            continue
        if _IDENTITY.search(key) and 2 <= len(value) <= 128 and not value.isspace() and " " not in value:
            found.add(value.lower())
        found.update(match.lower() for match in _TOKEN.findall(value[:4096]))
    return frozenset(sorted(found)[:TOKENS_MAX])


def flatten(body: Mapping[str, object]) -> list[tuple[str, object]]:
    """Leaves of nested objects and lists, each under its own key in lower-case letters and digits."""
    leaves: list[tuple[str, object]] = []
    stack: list[tuple[str, object, int]] = [("", body, 0)]
    while stack and len(leaves) < 512:
        key, value, depth = stack.pop()
        if isinstance(value, Mapping) and depth < 8:
            stack += [(plain_key(str(k)), v, depth + 1) for k, v in reversed(list(value.items()))]
        elif isinstance(value, list | tuple) and depth < 8:
            stack += [(key, item, depth + 1) for item in reversed(value)]
        else:
            leaves.append((key, value))
    return leaves


def plain_key(key: str) -> str:
    """A key without case and punctuation: `@timestamp`, `startTimeUnixNano` and `start_time` each have one form."""
    named = key.replace("@", "at") if key == "@timestamp" else key
    return re.sub(r"[^a-z0-9]", "", named.lower())


def _number(value: float) -> tuple[int, bool] | None:
    for least, factor, how in _UNITS:
        if value >= least:
            found = int(value // factor) if how == "/" else round(value * factor)
            return (found, True) if _EARLIEST_US <= found <= _LATEST_US else None
    return None


def _text(text: str, year: int) -> tuple[int, bool] | None:
    zoned = _ZONE.sub("+00:00", text) if _ZONE.search(text) else text
    found = _iso(zoned.replace(" +", "+").replace(" -", "-") if text[:4].isdigit() else zoned)
    if found is None and "," in text:
        try:
            found = parsedate_to_datetime(text)
        except ValueError:
            found = None
    bare = _ABBREVIATION.sub("", text) if found is None else text
    found = found or _patterns(text, year) or _iso(bare) or _patterns(bare, year)
    if found is None:
        return None
    known = found.tzinfo is not None
    moment = found if known else found.replace(tzinfo=UTC)
    micros = (moment - datetime(1970, 1, 1, tzinfo=timezone(timedelta(0)))) // timedelta(microseconds=1)
    return (micros, known) if _EARLIEST_US <= micros <= _LATEST_US else None


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if len(text) > 10 else None
    except ValueError:
        return None


def _patterns(text: str, year: int) -> datetime | None:
    for pattern in _PATTERNS:
        try:
            return datetime.strptime(text, pattern)  # noqa: DTZ007 - whether there is a zone is the answer
        except ValueError:
            continue
    try:
        return datetime.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S")  # noqa: DTZ007
    except ValueError:
        return None


def _bodies(lines: Iterable[str]) -> Iterator[Mapping[str, object] | None]:
    """Each record's fields; None for what is none."""
    source = iter(lines)
    held: list[str] = []
    for line in source:
        if not line.strip():
            continue
        body = _json(line)
        if body is None and not held and line.lstrip()[:1] in ("{", "["):
            held = [line, *source]  # a document over several lines
            yield from _spread(_json("\n".join(held)))
            return
        if body is None:
            match = _LEADING.match(line[:128])
            yield {"timestamp": match["time"], "message": line[:4096]} if match else None
        else:
            yield from _spread(body)


def _json(text: str) -> object:
    if len(text) > LINE_CHARS_MAX * 64:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _spread(body: object) -> Iterator[Mapping[str, object] | None]:
    if isinstance(body, list):
        for item in body:
            yield from _spread(item)
    elif not isinstance(body, Mapping):
        yield None
    elif "resourceSpans" in body:
        for resource in _maps(body["resourceSpans"]):
            common = _attributes(_map(resource.get("resource")))
            for scope in _maps(resource.get("scopeSpans", resource.get("instrumentationLibrarySpans"))):
                for span in _maps(scope.get("spans")):
                    yield {**common, **{k: v for k, v in span.items() if k != "attributes"}, **_attributes(span)}
    else:
        listed = [
            body[key] for key in ("events", "alerts", "records", "runs", "hits") if isinstance(body.get(key), list)
        ]
        if len(body) <= 3 and listed:
            yield from _spread(listed[0])
        else:
            yield body


def _attributes(body: Mapping[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for item in _maps(body.get("attributes")):
        value = _map(item.get("value"))
        found[str(item.get("key"))] = next(iter(value.values()), None)
    return found


def _maps(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _record(source: str, number: int, body: Mapping[str, object], year: int) -> Record | None:
    leaves = flatten(body)
    first: dict[str, object] = {}
    for key, value in leaves:
        first.setdefault(key, value)
    start = next((m for key in _START if (m := parse_moment(first.get(key), year=year)) is not None), None)
    if start is None:
        return None
    end = next((m for key in _END if (m := parse_moment(first.get(key), year=year)) is not None), None)
    lasts = next((int(v * unit) for key, unit in _LASTS.items() if _is_length(v := first.get(key))), 0)  # type: ignore[operator]
    end_us = max(start[0], end[0] if end is not None else start[0] + lasts)
    run = next((str(first[key]) for key in _RUN if first.get(key) not in (None, "")), f"{source}:{number}")
    label = next((str(first[key]) for key in _LABEL if first.get(key) not in (None, "")), "")
    return Record(
        source, number, start[0], end_us, printable(run, length_max=80), printable(label, length_max=80),
        tokens_of(leaves), start[1],
    )  # fmt: skip


def _is_length(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**10

"""Hours in which a rule holds: `hours = { days = "mon-fri", from = "09:00", to = "17:30", zone = "Europe/Oslo" }`.

The zone is named, because "nine o'clock" moves twice a year; times are those of the wall there. `from` is
inclusive, `to` exclusive; a period that ends before it begins runs over midnight and belongs to the day on
which it begins. `00:00` to `24:00` is a whole day.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from walletgate.policy.model import Hours
from walletgate.policy.reader import Table

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_DAY: Final = 1440
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z", re.ASCII)


def read_hours(table: Table) -> Hours | None:
    """The hours of a rule."""
    hours = table.table("hours")
    if hours is None:
        return None
    days = hours.texts("days") or ("mon-sun",)
    found = frozenset(day for text in days for day in _days(hours, text))
    start, end = _minute(hours, "from", "00:00"), _minute(hours, "to", "24:00")
    zone = hours.need_text("zone")
    try:
        _zone(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        problem = f"is not a time zone: {zone!r} (write Europe/Oslo, America/New_York or UTC)"
        raise hours.error(hours.at("zone"), problem, code="bad_time") from error
    if start == end:
        hours.fail("to", "is the same time as `from`", code="bad_time")
    hours.done()
    return Hours(found, start, end, zone)


def _days(hours: Table, text: str) -> list[int]:
    first, _, last = text.partition("-")
    if first not in DAYS or (last or first) not in DAYS:
        hours.fail("days", f"holds {text!r}: write mon, tue-fri, …", code="bad_time")
    start, end = DAYS.index(first), DAYS.index(last or first)
    return [day % 7 for day in range(start, end + 1 if end >= start else end + 8)]


def _minute(hours: Table, key: str, default: str) -> int:
    text = hours.text(key) or default
    if text == "24:00" and key == "to":
        return MINUTES_OF_DAY
    match = _TIME.match(text)
    if not match:
        hours.fail(key, f"is not a time of day: {text!r} (write 09:00)", code="bad_time")
    return int(match.group(1)) * 60 + int(match.group(2))


@lru_cache(maxsize=64)
def _zone(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name)


def within(hours: Hours, now_s: int) -> bool:
    """Whether `now_s` (Unix seconds) falls into `hours`."""
    wall = datetime.fromtimestamp(now_s, UTC).astimezone(_zone(hours.zone))
    minute, day = wall.hour * 60 + wall.minute, wall.weekday()
    if hours.start < hours.end:
        return day in hours.days and hours.start <= minute < hours.end
    if minute >= hours.start:
        return day in hours.days
    return minute < hours.end and (day - 1) % 7 in hours.days

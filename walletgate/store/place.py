"""Where a store is: the path of a SQLite file, or a `postgresql://` URL."""

from __future__ import annotations

from pathlib import Path

Place = Path | str


def is_url(place: Place) -> bool:
    """Whether a place is a PostgreSQL database rather than a file."""
    return isinstance(place, str) and place.startswith(("postgresql://", "postgres://"))

"""What the gate counts of its own work: plain numbers in memory, read by whoever asks for metrics.

Counting costs well under a microsecond a request and can fail in no way; nothing is written anywhere.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time_ns
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from walletgate.gate.ask import Ask
    from walletgate.store import Request

STAGES: Final = ("decide", "sign", "commit", "broadcast")
BOUNDS_S: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)

Mark = tuple[str, int, int]
"""A part of a request's way: its name, begin and end in Unix nanoseconds."""

Watcher = Callable[["Ask", "Request", tuple[Mark, ...]], None]


@dataclass(slots=True)
class Histogram:
    """How often something took how long; `counts` has one place for each of `BOUNDS_S` and one for all above."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Counts one."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


@dataclass(slots=True)
class Meter:
    """The counters of one gate since it started."""

    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    node_errors: Counter[tuple[int, str]] = field(default_factory=Counter)
    stages: dict[str, Histogram] = field(default_factory=lambda: {stage: Histogram() for stage in STAGES})
    watcher: Watcher | None = None
    """Is told of each new request and its parts, once it is at rest; None while nobody traces."""


@dataclass(slots=True)
class Marks:
    """The parts of one request's way, kept only while somebody traces."""

    active: bool
    began_ns: int = 0
    found: list[Mark] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began_ns = time_ns() if self.active else 0

    def part(self, name: str) -> None:
        """Ends a part that began where the one before ended."""
        if self.active:
            now_ns = time_ns()
            self.found.append((name, self.found[-1][2] if self.found else self.began_ns, now_ns))

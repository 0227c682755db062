"""The limit book against a brute-force oracle: every window, under posting, voiding and reorganisation."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from walletgate.errors import InvariantViolation
from walletgate.limits import LimitBook, Movement, MovementState, falls_into
from walletgate.types import UINT256_MAX, Address, Asset, Booking, Bucket, Measure

USDC, DAI = (Asset(1, Address(bytes([n]) * 20)) for n in (1, 2))
WALLET, A, B = (Address(bytes([n]) * 20) for n in (9, 10, 11))
HOUR_MS = 3_600_000


def booking(amount: int, asset: Asset = USDC, to: Address = A) -> Booking:
    return Booking(Measure.AMOUNT, amount, asset, to)


BUCKET = Bucket(Measure.AMOUNT, USDC, grant="g")


def new_book() -> LimitBook:
    """A book without history; what it posts is recorded nowhere, so a total asked about later does not know it."""
    return LimitBook(lambda _bucket, _after_ms: (), lambda _bucket: 0)


def test_pending_counts_however_old_it_is() -> None:
    book = new_book()
    book.used(BUCKET, HOUR_MS, 0)
    book.reserve("r", [booking(60)], grant="g", group=None, wallet=WALLET, now_ms=0)
    assert book.used(BUCKET, HOUR_MS, 10**12) == 60


def test_a_total_asked_about_later_is_built_from_history() -> None:
    oracle = Oracle({1: Movement(1, "r", "g", None, WALLET, booking(7), MovementState.POSTED, 5, 7)})
    book = LimitBook(oracle.history, oracle.lifetime, first_id=2)
    assert book.used(BUCKET, None, 10) == 7
    assert book.used(BUCKET, 5, 10) == 0
    assert book.used(BUCKET, 6, 10) == 7


@pytest.mark.parametrize(("after_ms", "used"), [(HOUR_MS - 1, 5), (HOUR_MS, 0), (HOUR_MS + 1, 0)])
def test_a_posting_leaves_its_window_exactly_at_its_end(after_ms: int, used: int) -> None:
    book = new_book()
    assert book.used(BUCKET, HOUR_MS, 0) == 0
    book.reserve("r", [booking(5)], grant="g", group=None, wallet=WALLET, now_ms=0)
    book.post("r", now_ms=1000)
    assert book.used(BUCKET, HOUR_MS, 1000 + after_ms) == used


def test_amounts_of_the_whole_uint256_are_added_exactly() -> None:
    book = new_book()
    book.used(BUCKET, None, 0)
    for name in "ab":
        book.reserve(name, [booking(UINT256_MAX)], grant="g", group=None, wallet=WALLET, now_ms=0)
    assert book.used(BUCKET, None, 0) == 2 * UINT256_MAX


def test_a_reservation_is_made_once_and_resolved_once() -> None:
    book = new_book()
    book.reserve("r", [booking(5)], grant="g", group=None, wallet=WALLET, now_ms=0)
    with pytest.raises(InvariantViolation):
        book.reserve("r", [booking(5)], grant="g", group=None, wallet=WALLET, now_ms=0)
    book.void("r", now_ms=1)
    with pytest.raises(InvariantViolation):
        book.post("r", now_ms=2)


def test_posting_more_than_was_reserved_stops_the_gate() -> None:
    book = new_book()
    (movement,) = book.reserve("r", [booking(5)], grant="g", group=None, wallet=WALLET, now_ms=0)
    with pytest.raises(InvariantViolation):
        book.post("r", now_ms=1, actual={movement.id: 6})


def test_a_booking_without_a_recipient_is_not_counted_twice() -> None:
    book = new_book()
    by_grant = Bucket(Measure.FEE, USDC, grant="g")
    by_recipient = Bucket(Measure.FEE, USDC, grant="g", recipient=A)
    book.used(by_grant, None, 0), book.used(by_recipient, None, 0)
    book.reserve("r", [Booking(Measure.FEE, 3, USDC)], grant="g", group=None, wallet=WALLET, now_ms=0)
    assert (book.used(by_grant, None, 0), book.used(by_recipient, None, 0)) == (3, 0)


def test_a_total_asked_about_first_in_the_step_that_reserved_counts_it() -> None:
    """What one request reserves and has not recorded yet is seen by another's limits in the same commit."""
    book = new_book()
    book.reserve("r", [booking(60)], grant="g", group=None, wallet=WALLET, now_ms=0)
    assert book.used(Bucket(Measure.AMOUNT, USDC, wallet=WALLET), None, 0) == 60


@dataclass
class Oracle:
    """All movements, in a plain list; sums are taken anew every time."""

    movements: dict[int, Movement] = field(default_factory=dict)
    slots: dict[str, object] = field(default_factory=dict)

    def used(self, bucket: Bucket, window_ms: int | None, now_ms: int) -> int:
        return sum(
            m.spent
            for m in self.movements.values()
            if falls_into(m, bucket)
            and (m.state is MovementState.POSTED and (window_ms is None or m.at_ms > now_ms - window_ms))
        ) + self.pending(bucket)

    def pending(self, bucket: Bucket) -> int:
        """Everything open; of those that share a slot, the largest."""
        slots: dict[object, dict[str, int]] = {}
        for m in self.movements.values():
            if m.state is MovementState.PENDING and falls_into(m, bucket):
                members = slots.setdefault(self.slots.get(m.request, m.request), {})
                members[m.request] = members.get(m.request, 0) + m.booking.amount
        return sum(max(members.values()) for members in slots.values())

    def history(self, bucket: Bucket, after_ms: int) -> list[tuple[int, int]]:
        kept = [m for m in self.movements.values() if falls_into(m, bucket) and m.state is MovementState.POSTED]
        return [(m.at_ms, m.spent) for m in sorted(kept, key=lambda m: (m.at_ms, m.id)) if m.at_ms > after_ms]

    def lifetime(self, bucket: Bucket) -> int:
        return sum(amount for _, amount in self.history(bucket, -1))


BUCKETS = [
    BUCKET,
    Bucket(Measure.AMOUNT, DAI, grant="g"),
    Bucket(Measure.AMOUNT, USDC, grant="h"),
    Bucket(Measure.AMOUNT, USDC, wallet=WALLET),
    Bucket(Measure.AMOUNT, USDC, grant="g", recipient=A),
    Bucket(Measure.AMOUNT, USDC, group="team"),
    Bucket(Measure.COUNT, grant="g"),
]
WINDOWS = [None, 1000, HOUR_MS, 24 * HOUR_MS]


class BookAgainstOracle(RuleBasedStateMachine):
    """Random reservations, postings, voids and reorganisations; every bucket and window must agree at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.book = LimitBook(self.oracle.history, self.oracle.lifetime)
        self.other = LimitBook(self.oracle.history, self.oracle.lifetime)
        self.seen: dict[int, Movement] = {}
        self.now_ms = 0
        self.open: list[str] = []
        self.posted: dict[str, list[Movement]] = {}
        self.number = 0

    @rule(seconds=st.sampled_from([0, 0.5, 1, 1800, 3600, 90_000]))
    def wait(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)

    @rule(
        amounts=st.lists(
            st.tuples(st.integers(0, 50), st.sampled_from([USDC, DAI]), st.sampled_from([A, B])), max_size=3
        ),
        grant=st.sampled_from(["g", "h"]),
    )
    def reserve(self, amounts: list[tuple[int, Asset, Address]], grant: str) -> None:
        name = f"r{self.number}"
        self.number += 1
        bookings = [booking(*item) for item in amounts] + [Booking(Measure.COUNT, 1)]
        group = "team" if grant == "g" else None
        made = self.book.reserve(name, bookings, grant=grant, group=group, wallet=WALLET, now_ms=self.now_ms)
        self.oracle.movements |= {m.id: m for m in made}
        self.open.append(name)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), slot=st.integers(0, 2))
    def compete(self, data: st.DataObject, slot: int) -> None:
        name = data.draw(st.sampled_from(self.open))
        if name not in self.oracle.slots:
            self.oracle.slots[name] = slot
            self.book.take_slot(name, slot)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def post(self, data: st.DataObject) -> None:
        name = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        before = list(self.book.pending(name))
        actual = {m.id: data.draw(st.integers(0, m.booking.amount)) for m in before}
        after = self.book.post(name, now_ms=self.now_ms, actual=actual)
        self.posted[name] = after
        self.settled(name, after)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        name = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.settled(name, self.book.void(name, now_ms=self.now_ms))

    @precondition(lambda self: self.posted)
    @rule(data=st.data())
    def reorganise(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.posted)))
        reopened = self.book.reopen(self.posted.pop(name), now_ms=self.now_ms)
        self.settled(name, reopened)
        self.open.append(name)

    def settled(self, name: str, movements: list[Movement]) -> None:
        """The record says so too, and another gate learns of it."""
        self.oracle.movements |= {m.id: m for m in movements}
        self.oracle.slots.pop(name, None)
        self.book.saved()

    @rule()
    def restart(self) -> None:
        waiting = [m for m in self.oracle.movements.values() if m.state is MovementState.PENDING]
        following = max(self.oracle.movements, default=0) + 1
        self.book = LimitBook(self.oracle.history, self.oracle.lifetime, first_id=following, open_movements=waiting)
        self.take_slots(self.book)

    def take_slots(self, book: LimitBook) -> None:
        for name, slot in self.oracle.slots.items():
            if book.pending(name):
                book.take_slot(name, slot)

    @rule()
    def another_gate_catches_up(self) -> None:
        """A second book over the same record learns only what changed since it looked last."""
        changed = [m for m in self.oracle.movements.values() if self.seen.get(m.id) != m]
        self.other.absorb(sorted(changed, key=lambda m: m.id))
        self.take_slots(self.other)
        self.seen = dict(self.oracle.movements)
        for bucket in BUCKETS:
            for window_ms in WINDOWS:
                used = self.other.used(bucket, window_ms, self.now_ms)
                assert used == self.oracle.used(bucket, window_ms, self.now_ms)

    @invariant()
    def every_total_agrees(self) -> None:
        for bucket in BUCKETS:
            for window_ms in WINDOWS:
                expected = self.oracle.used(bucket, window_ms, self.now_ms)
                assert self.book.used(bucket, window_ms, self.now_ms) == expected


TestBookAgainstOracle = BookAgainstOracle.TestCase
TestBookAgainstOracle.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

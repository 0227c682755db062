"""Exact budgets: what has been promised, what has been spent, and what is left in any window.

An amount is *pending* from the moment a request is authorised and stays pending, however old it grows,
until the chain says what became of it. Then it is *posted* (spent, dated when it was included) or *voided*
(provably never to be spent). A window of length W counts every pending amount and every amount posted in
(now - W, now]. That is exact under both readings of "per day", by authorisation and by inclusion: take the
last authorised of the spends inside any window; every other one was pending or posted less than W before it,
so it was part of the sum that was held against the limit. Ageing pending amounts out of a window would lose
the second reading: a transaction stuck for a day is mined together with the next day's full budget.

Because policies change, nothing here is kept per rule. Facts are booked (`Movement`), and a `Bucket` names any
running total over them; a bucket that is asked about for the first time is built from the recorded history.
Each further question costs amortised O(1): posted amounts leave a window through a cursor that passes each
once. Amounts are Python integers over the whole of uint256 and beyond.

Pure bookkeeping: no clock, no database. Reserving does not check anything; the judge asks `used` and the gate
reserves in the same step, with nothing in between.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import count

from walletgate.errors import InvariantViolation
from walletgate.types import Address, Asset, Booking, Bucket, Measure


class MovementState(Enum):
    """Pending until the chain has spoken; then posted or voided, once."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class Movement:
    """One booked amount: who, what, to whom. `at_ms` is when it was reserved, then when it was posted."""

    id: int
    request: str
    grant: str
    group: str | None
    wallet: Address
    booking: Booking
    state: MovementState
    at_ms: int


History = Callable[[Bucket], Iterable[Movement]]
"""All recorded movements that fall into a bucket, oldest posting first, voided ones left out."""

_Shape = tuple[Measure, bool, bool, bool, bool, bool, bool, bool]


@dataclass(slots=True)
class _Window:
    """Sum of postings from index `tail` on; everything before has left the window."""

    tail: int = 0
    posted: int = 0


@dataclass(slots=True)
class _Total:
    """One bucket's running total. `dates` and `amounts` grow at the end, in the order of posting."""

    pending: int = 0
    lifetime: int = 0
    dates: list[int] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)
    windows: dict[int, _Window] = field(default_factory=dict)

    def post(self, movement: Movement) -> None:
        amount = movement.booking.amount
        self.lifetime += amount
        self.dates.append(max(movement.at_ms, self.dates[-1] if self.dates else movement.at_ms))
        self.amounts.append(amount)
        for window in self.windows.values():
            window.posted += amount

    def used(self, window_ms: int | None, now_ms: int) -> int:
        if window_ms is None:
            return self.pending + self.lifetime
        window = self.windows.get(window_ms)
        if window is None:
            window = self.windows[window_ms] = _Window(posted=self.lifetime)
        while window.tail < len(self.dates) and self.dates[window.tail] <= now_ms - window_ms:
            window.posted -= self.amounts[window.tail]
            window.tail += 1
        return self.pending + window.posted


class LimitBook:
    """The running totals of one ledger, in memory, over a recorded history."""

    def __init__(self, history: History, *, first_id: int = 1, open_movements: Iterable[Movement] = ()) -> None:
        """Starts over what `history` holds; `open_movements` are the pending ones, `first_id` the next free id."""
        self._history = history
        self._ids = count(first_id)
        self._totals: dict[Bucket, _Total] = {}
        self._shapes: dict[Measure, set[_Shape]] = {}
        self._open: dict[str, list[Movement]] = {}
        for movement in open_movements:
            self._open.setdefault(movement.request, []).append(movement)

    def used(self, bucket: Bucket, window_ms: int | None, now_ms: int) -> int:
        """Pending plus posted in (now_ms - window_ms, now_ms]; `window_ms` None is since the beginning."""
        return self._total(bucket).used(window_ms, now_ms)

    def pending(self, request: str) -> Sequence[Movement]:
        """The movements of `request` that are still open."""
        return tuple(self._open.get(request, ()))

    def reserve(
        self, request: str, bookings: Iterable[Booking], *, grant: str, group: str | None, wallet: Address, now_ms: int
    ) -> list[Movement]:
        """Books `bookings` as pending and returns the new movements, to be recorded.

        Raises:
            InvariantViolation: the request already has open movements (a reservation is made once).
        """
        if request in self._open:
            raise InvariantViolation(f"request {request} reserved twice")
        movements = [
            Movement(next(self._ids), request, grant, group, wallet, booking, MovementState.PENDING, now_ms)
            for booking in bookings
            if booking.amount
        ]
        for movement in movements:
            for total in self._totals_of(movement):
                total.pending += movement.booking.amount
        if movements:
            self._open[request] = movements
        return movements

    def post(self, request: str, *, now_ms: int, actual: Mapping[int, int] | None = None) -> list[Movement]:
        """Spends what `request` reserved; `actual` gives smaller final amounts by movement id, 0 voids one.

        Raises:
            InvariantViolation: nothing is open, or an actual amount exceeds what was reserved.
        """
        resolved = []
        for movement in self._take(request):
            amount = movement.booking.amount if actual is None else actual.get(movement.id, movement.booking.amount)
            if not 0 <= amount <= movement.booking.amount:
                raise InvariantViolation(f"movement {movement.id} posts {amount} of {movement.booking.amount}")
            state = MovementState.POSTED if amount else MovementState.VOIDED
            posted = replace(movement, booking=replace(movement.booking, amount=amount), state=state, at_ms=now_ms)
            for total in self._totals_of(movement):
                total.pending -= movement.booking.amount
                if amount:
                    total.post(posted)
            resolved.append(posted)
        return resolved

    def void(self, request: str, *, now_ms: int) -> list[Movement]:
        """Gives back what `request` reserved: it is proven never to be spent."""
        resolved = []
        for movement in self._take(request):
            for total in self._totals_of(movement):
                total.pending -= movement.booking.amount
            resolved.append(replace(movement, state=MovementState.VOIDED, at_ms=now_ms))
        return resolved

    def reopen(self, reserved: Sequence[Movement]) -> None:
        """Undoes a posting after a reorganisation: `reserved` are pending again, as they were before.

        The history must already say so: totals that held the postings are forgotten and built anew from it
        when they are next asked about, because a reorganisation past the confirmations is rare.
        """
        for movement in reserved:
            if movement.state is not MovementState.PENDING:
                raise InvariantViolation(f"movement {movement.id} reopened as {movement.state.value}")
            for bucket in list(self._buckets_of(movement)):
                del self._totals[bucket]
            self._open.setdefault(movement.request, []).append(movement)

    def _take(self, request: str) -> list[Movement]:
        try:
            return self._open.pop(request)
        except KeyError:
            raise InvariantViolation(f"request {request} has nothing reserved") from None

    def _total(self, bucket: Bucket) -> _Total:
        total = self._totals.get(bucket)
        if total is None:
            total = self._totals[bucket] = _Total()
            self._shapes.setdefault(bucket.measure, set()).add(_shape_of(bucket))
            recorded = set()
            for movement in self._history(bucket):
                if movement.state is MovementState.PENDING:
                    total.pending += movement.booking.amount
                    recorded.add(movement.id)
                else:
                    total.post(movement)
            for movement in self._unrecorded(bucket, recorded):
                total.pending += movement.booking.amount
        return total

    def _unrecorded(self, bucket: Bucket, recorded: Container[int]) -> Iterable[Movement]:
        """What was reserved in this very step and is not in the history yet."""
        for movements in self._open.values():
            for movement in movements:
                if movement.id not in recorded and falls_into(movement, bucket):
                    yield movement

    def _totals_of(self, movement: Movement) -> Iterable[_Total]:
        return [self._totals[bucket] for bucket in self._buckets_of(movement)]

    def _buckets_of(self, movement: Movement) -> Iterable[Bucket]:
        for shape in self._shapes.get(movement.booking.measure, ()):
            bucket = _bucket_of(movement, shape)
            if bucket is not None and bucket in self._totals:
                yield bucket


def _bucket_of(movement: Movement, shape: _Shape) -> Bucket | None:
    """The bucket of `shape` that `movement` falls into; None when it lacks one of the shape's fields."""
    booking = movement.booking
    measure, asset, grant, group, wallet, recipient, contract, unit = shape
    bucket = Bucket(
        measure=measure,
        asset=booking.asset if asset else None,
        grant=movement.grant if grant else None,
        group=movement.group if group else None,
        wallet=movement.wallet if wallet else None,
        recipient=booking.recipient if recipient else None,
        contract=booking.contract if contract else None,
        unit=booking.unit if unit else None,
    )
    return bucket if _shape_of(bucket) == shape else None


def _shape_of(bucket: Bucket) -> _Shape:
    fields: tuple[Asset | str | Address | None, ...] = (
        bucket.asset,
        bucket.grant,
        bucket.group,
        bucket.wallet,
        bucket.recipient,
        bucket.contract,
        bucket.unit,
    )
    a, b, c, d, e, f, g = (value is not None for value in fields)
    return bucket.measure, a, b, c, d, e, f, g


def falls_into(movement: Movement, bucket: Bucket) -> bool:
    """Whether `movement` is part of `bucket`'s total."""
    return movement.booking.measure is bucket.measure and _bucket_of(movement, _shape_of(bucket)) == bucket

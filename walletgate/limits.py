"""Exact budgets: what has been promised, what has been spent, and what is left in any window.

An amount is *pending* from the moment a request is authorised and stays pending, however old it grows,
until the chain says what became of it. Then it is *posted* (spent, dated when it was included) or *voided*
(provably never to be spent). A window of length W counts every pending amount and every amount posted in
(now - W, now]. That is exact under both readings of "per day", by authorisation and by inclusion: take the
last authorised of the spends inside any window; every other one was pending or posted less than W before it,
so it was part of the sum that was held against the limit. Ageing pending amounts out of a window would lose
the second reading: a transaction stuck for a day is mined together with the next day's full budget.

Requests that compete for one *slot* (a nonce: only one of them can ever be mined) count together as the largest of
them, in every total by itself, so that a speed-up or a cancellation never adds and never hides anything.

Because policies change, nothing here is kept per rule. Facts are booked (`Movement`), and a `Bucket` names any
running total over them; a bucket that is asked about for the first time is built from the recorded history, as far
back as its longest window reaches. Each further question costs amortised O(1): posted amounts leave a window
through a cursor that passes each once, and are forgotten when they have left the longest. Amounts are Python
integers over the whole of uint256 and beyond.

Pure bookkeeping: no clock, no database. Reserving does not check anything; the judge asks `used` and the gate
reserves in the same step, with nothing in between.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import count

from walletgate.errors import InvariantViolation
from walletgate.types import Address, Asset, Booking, Bucket, Measure


class MovementState(Enum):
    """Pending until the chain has spoken; then posted or voided, once, unless the chain takes it back."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class Movement:
    """One booked amount: who, what, to whom. `at_ms` is when it was reserved, then when it was resolved.

    `booking.amount` stays what was reserved; `spent` is what of it was posted, in the same unit.
    """

    id: int
    request: str
    grant: str
    group: str | None
    wallet: Address
    booking: Booking
    state: MovementState
    at_ms: int
    spent: int = 0


History = Callable[[Bucket, int], Iterable[tuple[int, int]]]
"""What was posted in a bucket after a time: (at_ms, amount), oldest first."""

Lifetime = Callable[[Bucket], int]
"""What was ever posted in a bucket."""

_Shape = tuple[Measure, bool, bool, bool, bool, bool, bool, bool]

_PRUNE_AT = 4096


@dataclass(slots=True)
class _Window:
    """Sum of postings from index `tail` on; everything before has left the window."""

    tail: int
    posted: int


@dataclass(slots=True)
class _Total:
    """One bucket's running total. `dates` and `amounts` hold, in order, what was posted after `horizon_ms`."""

    pending: int
    lifetime: int | None = None
    horizon_ms: int | None = None
    dates: list[int] = field(default_factory=list)
    amounts: list[int] = field(default_factory=list)
    windows: dict[int, _Window] = field(default_factory=dict)

    def post(self, at_ms: int, amount: int) -> None:
        if self.lifetime is not None:
            self.lifetime += amount
        if self.horizon_ms is not None:
            self.dates.append(max(at_ms, self.dates[-1]) if self.dates else at_ms)
            self.amounts.append(amount)
            for window in self.windows.values():
                window.posted += amount

    def read(self, history: Iterable[tuple[int, int]], horizon_ms: int) -> None:
        """Takes the postings after `horizon_ms` from the record instead of what it knew."""
        self.horizon_ms = horizon_ms
        self.windows.clear()
        pairs = list(history)
        self.dates = [at_ms for at_ms, _ in pairs]
        self.amounts = [amount for _, amount in pairs]

    def posted(self, window_ms: int, now_ms: int) -> int:
        window = self.windows.get(window_ms)
        if window is None:
            window = self.windows[window_ms] = _Window(0, sum(self.amounts))
        dates, start_ms = self.dates, now_ms - window_ms
        while window.tail < len(dates) and dates[window.tail] <= start_ms:
            window.posted -= self.amounts[window.tail]
            window.tail += 1
        if window.tail >= _PRUNE_AT:
            self._prune()
        return window.posted

    def _prune(self) -> None:
        """Forgets what has left every window; amortised, because it runs after as many have left."""
        gone = min(window.tail for window in self.windows.values())
        if gone < _PRUNE_AT or 2 * gone < len(self.dates):
            return
        self.horizon_ms = self.dates[gone - 1]
        del self.dates[:gone]
        del self.amounts[:gone]
        for window in self.windows.values():
            window.tail -= gone


class LimitBook:
    """The running totals of one ledger, in memory, over a recorded history."""

    def __init__(
        self, history: History, lifetime: Lifetime, *, first_id: int = 1, open_movements: Iterable[Movement] = ()
    ) -> None:
        """Starts over what is recorded; `open_movements` are the pending ones, `first_id` the next free id."""
        self._history = history
        self._lifetime = lifetime
        self._ids = count(first_id)
        self._first_free = first_id
        self._totals: dict[Bucket, _Total] = {}
        self._shapes: dict[Measure, set[_Shape]] = {}
        self._open: dict[str, list[Movement]] = {}
        self._slots: dict[Hashable, set[str]] = {}
        self._slot_of: dict[str, Hashable] = {}
        self._unsaved = False
        for movement in open_movements:
            self._open.setdefault(movement.request, []).append(movement)

    # --- questions ---------------------------------------------------------------------------------------

    def used(self, bucket: Bucket, window_ms: int | None, now_ms: int) -> int:
        """Pending plus posted in (now_ms - window_ms, now_ms]; `window_ms` None is since the beginning."""
        total = self._totals.get(bucket)
        if total is None:
            total = _Total(self._pending_in(bucket))
            if self._unsaved:
                return total.pending + self._recorded(bucket, window_ms, now_ms)
            self._totals[bucket] = total
            self._shapes.setdefault(bucket.measure, set()).add(_shape_of(bucket))
        if window_ms is None:
            if total.lifetime is None:
                if self._unsaved:
                    return total.pending + self._lifetime(bucket)
                total.lifetime = self._lifetime(bucket)
            return total.pending + total.lifetime
        start_ms = now_ms - window_ms
        if total.horizon_ms is None or total.horizon_ms > start_ms:
            if self._unsaved:
                return total.pending + self._recorded(bucket, window_ms, now_ms)
            total.read(self._history(bucket, start_ms), start_ms)
        return total.pending + total.posted(window_ms, now_ms)

    def share(self, request: str, bucket: Bucket) -> int:
        """What `request` and those it shares a slot with are part of `bucket`'s pending amounts."""
        members = self._members(request)
        return max((self._sum_of(member, bucket) for member in members), default=0)

    def pending(self, request: str) -> Sequence[Movement]:
        """The movements of `request` that are still open."""
        return tuple(self._open.get(request, ()))

    def open_count(self) -> int:
        """Requests with something reserved."""
        return len(self._open)

    # --- bookings ----------------------------------------------------------------------------------------

    def reserve(
        self, request: str, bookings: Iterable[Booking], *, grant: str, group: str | None, wallet: Address, now_ms: int,
        slot: Hashable = None,
    ) -> list[Movement]:  # fmt: skip
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
        self._add(request, movements)
        if slot is not None:
            self.take_slot(request, slot)
        return movements

    def take_slot(self, request: str, slot: Hashable) -> None:
        """Has `request` count together with everything else that wants `slot`, as the largest of them."""
        if self._slot_of.get(request) == slot:
            return
        self._leave_slot(request, self._open.get(request, ()))
        self._slot_of[request] = slot
        members = self._slots.setdefault(slot, set())
        members.add(request)
        if len(members) > 1:
            self._recount(members)

    def post(self, request: str, *, now_ms: int, actual: Mapping[int, int] | None = None) -> list[Movement]:
        """Spends what `request` reserved; `actual` gives smaller final amounts by movement id, 0 voids one.

        What it posts is to be recorded in the same transaction, and `saved` says when that is done.

        Raises:
            InvariantViolation: nothing is open, or an actual amount exceeds what was reserved.
        """
        resolved = []
        for movement in self._open.get(request, ()):
            amount = movement.booking.amount if actual is None else actual.get(movement.id, movement.booking.amount)
            if not 0 <= amount <= movement.booking.amount:
                raise InvariantViolation(f"movement {movement.id} posts {amount} of {movement.booking.amount}")
            state = MovementState.POSTED if amount else MovementState.VOIDED
            resolved.append(replace(movement, state=state, at_ms=now_ms, spent=amount))
        self._take(request)
        for movement in resolved:
            self._post(movement)
        return resolved

    def void(self, request: str, *, now_ms: int) -> list[Movement]:
        """Gives back what `request` reserved: it is proven never to be spent.

        Raises:
            InvariantViolation: nothing is open.
        """
        return [replace(m, state=MovementState.VOIDED, at_ms=now_ms) for m in self._take(request)]

    def reopen(self, movements: Sequence[Movement], *, now_ms: int) -> list[Movement]:
        """Takes back how `movements` were resolved, because the chain did: they are pending again, in full.

        Raises:
            InvariantViolation: one of them is pending already.
        """
        for movement in movements:
            if movement.state is MovementState.PENDING:
                raise InvariantViolation(f"movement {movement.id} was open when it was reopened")
        reopened = [replace(m, state=MovementState.PENDING, at_ms=now_ms, spent=0) for m in movements]
        self._forget(movements)
        for movement in reopened:
            self._add(movement.request, [movement])
        return reopened

    def saved(self) -> None:
        """Says that everything posted or reopened so far is in the record."""
        self._unsaved = False

    def absorb(self, movements: Iterable[Movement]) -> None:
        """Learns what another gate has recorded since: new reservations and how older ones ended."""
        for movement in movements:
            known = movement.id < self._first_free
            held = self._open.get(movement.request, [])
            was_open = any(m.id == movement.id for m in held)
            if known and not was_open:
                self._forget([movement])
            elif was_open:
                self._drop(movement)
            if movement.state is MovementState.PENDING:
                self._add(movement.request, [movement])
            elif was_open or not known:
                self._post(movement, saved=True)
            self._first_free = max(self._first_free, movement.id + 1)
        self._ids = count(self._first_free)

    # --- inside --------------------------------------------------------------------------------------------

    def _add(self, request: str, movements: Sequence[Movement]) -> None:
        for movement in movements:
            for total in self._totals_of(movement):
                total.pending += movement.booking.amount
            self._first_free = max(self._first_free, movement.id + 1)
        if movements:
            self._open.setdefault(request, []).extend(movements)
            if len(self._members(request)) > 1:
                self._recount(self._members(request))

    def _take(self, request: str) -> list[Movement]:
        """Removes what `request` has pending, and gives up its slot."""
        movements = self._open.pop(request, None)
        if movements is None:
            raise InvariantViolation(f"request {request} has nothing reserved")
        for movement in movements:
            for total in self._totals_of(movement):
                total.pending -= movement.booking.amount
        self._leave_slot(request, movements)
        return movements

    def _leave_slot(self, request: str, movements: Iterable[Movement]) -> None:
        """Counts what is left in the slot anew; `movements` are what `request` counted with until now."""
        slot = self._slot_of.pop(request, None)
        if slot is None:
            return
        members = self._slots[slot]
        members.discard(request)
        if members:
            self._recount(members, movements)
        else:
            del self._slots[slot]

    def _drop(self, movement: Movement) -> None:
        """Removes one pending movement; the last one of a request gives up its slot."""
        held = self._open[movement.request]
        if len(held) == 1:
            self._take(movement.request)
            return
        old = next(m for m in held if m.id == movement.id)
        held.remove(old)
        for total in self._totals_of(old):
            total.pending -= old.booking.amount
        if len(self._members(movement.request)) > 1:
            self._recount(self._members(movement.request), [old])

    def _post(self, movement: Movement, *, saved: bool = False) -> None:
        if movement.spent:
            self._unsaved = self._unsaved or not saved
            for total in self._totals_of(movement):
                total.post(movement.at_ms, movement.spent)

    def _forget(self, movements: Iterable[Movement]) -> None:
        """Drops the totals that hold postings which are none any more; they are built anew from the record."""
        self._unsaved = True
        for movement in movements:
            for bucket in list(self._buckets_of(movement)):
                del self._totals[bucket]

    def _recorded(self, bucket: Bucket, window_ms: int | None, now_ms: int) -> int:
        """A total that is not kept, because the record is about to change; at worst it counts something twice."""
        if window_ms is None:
            return self._lifetime(bucket)
        return sum(amount for _, amount in self._history(bucket, now_ms - window_ms))

    def _members(self, request: str) -> set[str]:
        slot = self._slot_of.get(request)
        return {request} if slot is None else self._slots[slot]

    def _sum_of(self, request: str, bucket: Bucket) -> int:
        return sum(m.booking.amount for m in self._open.get(request, ()) if falls_into(m, bucket))

    def _pending_in(self, bucket: Bucket) -> int:
        alone = sum(self._sum_of(request, bucket) for request in self._open if request not in self._slot_of)
        together = (max(self._sum_of(member, bucket) for member in members) for members in self._slots.values())
        return alone + sum(together)

    def _recount(self, members: Iterable[str], gone: Iterable[Movement] = ()) -> None:
        """Counts anew the pending amounts of the totals that `members` and what is `gone` are part of."""
        touched = {bucket for movement in gone for bucket in self._buckets_of(movement)}
        for member in members:
            for movement in self._open.get(member, ()):
                touched.update(self._buckets_of(movement))
        for bucket in touched:
            self._totals[bucket].pending = self._pending_in(bucket)

    def _totals_of(self, movement: Movement) -> Iterable[_Total]:
        return [self._totals[bucket] for bucket in self._buckets_of(movement)]

    def _buckets_of(self, movement: Movement) -> Iterator[Bucket]:
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

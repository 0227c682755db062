"""The states of a request and the only moves between them.

    denied · awaiting_approval -> approved | rejected | expired | withdrawn | denied
    approved -> signed | denied        (judged again before signing)
    signed -> broadcast -> confirmed | reverted | replaced | dropped

*Denied* is policy, *rejected* is a person, *expired* is nobody. `approved` is passed through in the same
transaction that signs, so that it is only ever seen by who looks at the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from walletgate.errors import InvariantViolation
from walletgate.types import Status

S = Status

MOVES: Mapping[Status, frozenset[Status]] = {
    S.DENIED: frozenset(),
    S.AWAITING_APPROVAL: frozenset({S.APPROVED, S.SIGNED, S.DENIED, S.REJECTED, S.EXPIRED, S.WITHDRAWN}),
    S.APPROVED: frozenset({S.SIGNED, S.DENIED}),
    S.REJECTED: frozenset(),
    S.EXPIRED: frozenset(),
    S.WITHDRAWN: frozenset(),
    S.SIGNED: frozenset({S.BROADCAST, S.CONFIRMED, S.REVERTED, S.REPLACED, S.DROPPED}),
    S.BROADCAST: frozenset({S.CONFIRMED, S.REVERTED, S.REPLACED, S.DROPPED}),
    S.CONFIRMED: frozenset(),
    S.REVERTED: frozenset(),
    S.REPLACED: frozenset(),
    S.DROPPED: frozenset(),
}

FINAL = frozenset(status for status, following in MOVES.items() if not following)
"""States that nothing leaves."""


def check_move(before: Status, after: Status) -> None:
    """Stops the gate unless `after` may follow `before`.

    Raises:
        InvariantViolation: it may not.
    """
    if after not in MOVES[before]:
        raise InvariantViolation(f"a request cannot go from {before.value} to {after.value}")

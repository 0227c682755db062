"""The states of a request and the only moves between them.

    denied · awaiting_approval -> approved | rejected | expired | withdrawn | denied
    approved -> signed | denied        (judged again before signing)
    signed -> broadcast -> confirmed | reverted | replaced | dropped
    confirmed | reverted | replaced | dropped -> broadcast        (the chain took it back)

*Denied* is policy, *rejected* is a person, *expired* is nobody. `approved` is passed through in the same
transaction that signs, so that it is only ever seen by who looks at the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from walletgate.errors import InvariantViolation
from walletgate.types import Status

S = Status

SENT = frozenset({S.SIGNED, S.BROADCAST})
"""States of a signed transaction of which nobody knows yet what becomes of it."""

SETTLED = frozenset({S.CONFIRMED, S.REVERTED, S.REPLACED, S.DROPPED})
"""What the chain said of a transaction. It can take that back until the block is final."""

FINAL = SETTLED | {S.DENIED, S.REJECTED, S.EXPIRED, S.WITHDRAWN}
"""States in which a request rests."""

MOVES: Mapping[Status, frozenset[Status]] = {
    S.AWAITING_APPROVAL: frozenset({S.APPROVED, S.SIGNED, S.DENIED, S.REJECTED, S.EXPIRED, S.WITHDRAWN}),
    S.APPROVED: frozenset({S.SIGNED, S.DENIED}),
    S.SIGNED: SETTLED | {S.BROADCAST},
    S.BROADCAST: SETTLED,
    **{status: frozenset({S.BROADCAST}) for status in SETTLED},
}


def check_move(before: Status, after: Status) -> None:
    """Stops the gate unless `after` may follow `before`.

    Raises:
        InvariantViolation: it may not.
    """
    if after not in MOVES.get(before, ()):
        raise InvariantViolation(f"a request cannot go from {before.value} to {after.value}")

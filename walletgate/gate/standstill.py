"""What ends requests that wait: a freeze, a revoked grant, another policy.

A freeze names a scope: `all`, `wallet:NAME`, `grant:ID`, `agent:NAME` or `chain:ID`. From the moment it is commanded
nothing is signed in it; in the same transaction whatever waits for operators in it ends as rejected, its reservation is
voided, and no approval that was given survives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from walletgate.audit.entry import Json, Kind
from walletgate.errors import InvalidRequestError
from walletgate.store import Freeze, Grant, Request, Writer
from walletgate.types import Status

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate
    from walletgate.gate.state import State

_SCOPE: Final = re.compile(r"(all|(wallet|grant|agent):[A-Za-z0-9][A-Za-z0-9._-]{0,63}|chain:[1-9][0-9]{0,15})\Z")


def freeze_scope(gate: Gate, scope: object, *, known: bool = True) -> str:
    """`scope` if it names something; a misspelt freeze would stop nothing, and nobody would notice.

    Raises:
        InvalidRequestError: `scope_invalid`, `scope_unknown`.
    """
    if not isinstance(scope, str) or not _SCOPE.match(scope):
        raise InvalidRequestError("scope is all, wallet:NAME, grant:ID, agent:NAME or chain:ID", code="scope_invalid")
    kind, _, name = scope.partition(":")
    state = gate.state
    there: dict[str, Iterable[str]] = {
        "wallet": (wallet.name for wallet in state.wallets.values()),
        "grant": state.grants,
        "agent": (grant.agent for grant in state.grants.values()),
    }
    if known and kind in there and name not in there[kind]:
        raise InvalidRequestError(f"there is no {kind} {name}: nothing would be frozen", code="scope_unknown")
    return scope


def put_freeze(gate: Gate, tx: Writer, scope: str, said: Mapping[str, Json], reason: str) -> int:
    """Puts a freeze in force and ends what waits in it; returns how many requests that were."""
    freeze = Freeze(scope, str(said["operator"]), reason, tx.now_ms)
    gate.state.freezes[scope] = freeze
    tx.set_freeze(freeze)
    ended = [each for each in _waiting(gate.state) if is_within(gate.state, scope, each)]
    tx.entry(Kind.FROZEN, {"scope": scope, "reason": reason, "ended": len(ended), **said})
    for request in ended:
        body: dict[str, Json] = {"why": "frozen", "scope": scope, **said}
        gate.end_waiting(tx, request, Status.REJECTED, Kind.REQUEST_REJECTED, body)
    return len(ended)


def is_within(state: State, scope: str, request: Request) -> bool:
    """Whether a freeze of `scope` stops `request`."""
    kind, _, name = scope.partition(":")
    grant = state.grants[request.grant_id]
    match kind:
        case "all":
            return True
        case "wallet":
            wallet = state.wallets.get(request.wallet)
            return wallet is not None and wallet.name == name
        case "grant":
            return grant.id == name
        case "agent":
            return grant.agent == name
        case _:
            return str(request.chain_id) == name


def end_waiting_of(gate: Gate, tx: Writer, grant: Grant, why: str) -> None:
    """Requests that wait under an old authority end with it; their agents may ask again."""
    for request in _waiting(gate.state):
        if request.grant_id == grant.id:
            gate.end_waiting(tx, request, Status.EXPIRED, Kind.REQUEST_EXPIRED, {"why": why})


def _waiting(state: State) -> list[Request]:
    """Requests that wait and that no other job of this batch is ending."""
    return [
        request
        for request in state.requests.values()
        if request.status is Status.AWAITING_APPROVAL and request.id not in state.claimed
    ]

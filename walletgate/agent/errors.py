"""How a "no" or a "not now" of the gate reaches the agent's code.

    WalletGateError
    ├─ PolicyDeniedError ─ GateDenied          the policy said no: reasons with numbers, and what is left
    ├─ ApprovalError ─┬─ ApprovalPending       a person has to decide: request_id, wait()
    │                 └─ ApprovalRejected      a person said no, nobody answered, or it was withdrawn
    ├─ OfferRefused                            a 402 answer that cannot or must not be paid; nothing was paid for it
    ├─ PaidNotServed                           an x402 seller has a payment and served nothing: request_id, valid_until
    ├─ GateUnavailable                         not reached, no answer, or none that makes sense: retry with the same id
    └─ the others as they are                  InvalidRequestError, AuthenticationError, ConflictError, ChainError, …

Where web3 is loaded, each of them is a `Web3RPCError` as well, with `rpc_response` as the gate's node endpoint would
have answered, so that code written for a node keeps working. web3 is never imported for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, TypeVar, cast

from walletgate.errors import (
    ApprovalError,
    AuthenticationError,
    ChainError,
    Detail,
    GatePausedError,
    PolicyDeniedError,
    WalletGateError,
)
from walletgate.types import Reason

Raised = TypeVar("Raised", bound=WalletGateError)

# The names are the agent's words for what happened and not `…Error`, because that is how they read in an except clause.


class GateDenied(PolicyDeniedError):  # noqa: N818
    """The policy refused the request. `reasons` has every reason, each with the two numbers that disagreed."""

    reasons: tuple[Reason, ...] = ()
    request_id: str | None = None
    _limits: Callable[[], Sequence[Mapping[str, object]]] | None = None

    @property
    def left(self) -> Sequence[Mapping[str, object]]:
        """What is left of each of the grant's limits; asks the gate when it is first read."""
        return self._limits() if self._limits is not None else ()


class ApprovalPending(ApprovalError):  # noqa: N818
    """An operator has to decide. The request stays where it is; asking again with the same id joins it."""

    default_code = "approval_pending"
    retryable: ClassVar[bool] = True

    request_id: str = ""
    """The gate's name for the request, which the operator sees."""
    id: str = ""
    """The agent's own id, to ask again with."""
    expires_at: int | None = None
    """When the question ends unanswered, Unix seconds."""
    _wait: Callable[[float | None], object] | None = None

    def wait(self, timeout_s: float | None = None) -> object:
        """What the call would have returned, once an operator has decided; None waits until the request expires.

        Raises:
            ApprovalRejected, GateDenied: the decision.
            ApprovalPending: nobody decided within `timeout_s`.
        """
        if self._wait is None:
            raise self
        return self._wait(timeout_s)

    def returning(self, convert: Callable[..., object]) -> None:
        """Lets `wait` return what `convert` makes of the decided request."""
        inner = self._wait
        if inner is not None:
            self._wait = lambda timeout_s: convert(inner(timeout_s))

    async def async_wait(self, timeout_s: float | None = None) -> object:
        """As `wait`, without holding up the event loop."""
        import asyncio  # noqa: PLC0415 - takes as long to load as all the rest; who awaits has it

        return await asyncio.to_thread(self.wait, timeout_s)


class ApprovalRejected(ApprovalError):  # noqa: N818
    """`approval_rejected` by an operator, `approval_expired` because nobody answered, or `request_withdrawn`."""

    default_code = "approval_rejected"
    request_id: str | None = None


class GateUnavailable(WalletGateError):  # noqa: N818
    """No answer, or none that makes sense. Whether the request was made is not known: ask again with `data["id"]`."""

    default_code = "gate_unavailable"
    retryable = True


class OfferRefused(WalletGateError):  # noqa: N818
    """A 402 answer (x402) that is not paid: malformed, about another place, changed, or in no form this agent has."""

    default_code = "x402_offer_refused"


class PaidNotServed(WalletGateError):  # noqa: N818
    """A payment was presented to an x402 seller, who served nothing. The same call presents it again, and only it."""

    default_code = "x402_paid_not_served"

    request_id: str | None = None
    """The gate's name for the payment."""
    id: str = ""
    """The agent's own id of it."""
    valid_until: int | None = None
    """Until when the seller can collect it, Unix seconds."""


class NoPrivateKeyError(WalletGateError, AttributeError):
    """The account has no key to show: it is in the gate. An AttributeError, so that `hasattr` says so."""

    default_code = "no_private_key"


def make(cls: type[Raised], detail: str, *, code: str | None = None, data: Detail | None = None) -> Raised:
    """An error of `cls`; where web3 is loaded, one that `except Web3RPCError` catches."""
    web3 = sys.modules.get("web3.exceptions")
    if web3 is None:
        return cls(detail, code=code, data=data)
    chosen = _for_web3(cls, web3.Web3RPCError)  # type: ignore[arg-type]  # classes are hashable
    error = cast("Raised", chosen(detail, code=code, data=data))
    body = {"code": _rpc_code(error), "message": str(error), "data": {"walletgate": {**error.data, "code": error.code}}}
    node_error: Any = error
    node_error.rpc_response = {"jsonrpc": "2.0", "id": 0, "error": body}
    return error


@lru_cache
def _for_web3(cls: type[WalletGateError], foreign: type[Exception]) -> type[WalletGateError]:
    return type(cls.__name__, (cls, foreign), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _rpc_code(error: WalletGateError) -> int:
    """The JSON-RPC code (EIP-1193, EIP-1474) that a node endpoint gives for the same answer."""
    match error:
        case GateDenied() | ApprovalRejected():
            return 4001
        case ApprovalPending():
            return -32002
        case AuthenticationError():
            return 4100
        case GatePausedError() | GateUnavailable():
            return 4900
        case ChainError():
            return -32003
        case _:
            return -32603

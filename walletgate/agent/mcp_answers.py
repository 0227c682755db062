"""What tools tell a model: what happened, why, and what to do now. Never how to get around it.

A refusal is an answer and not a failure of the tool, because a model that sees a failure tries again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from walletgate.agent.answers import Limits, PolicyView, Preview, Request
from walletgate.agent.errors import ApprovalPending, ApprovalRejected, GateDenied, GateUnavailable
from walletgate.errors import InvalidRequestError, WalletGateError
from walletgate.types import Outcome, Reason, Status

Told = dict[str, Any]

_DENIED = (
    "The policy refuses this; nothing was signed. Do not ask for the same in another form, in parts or elsewhere. "
    "Tell the person you work for what was refused and why; only an operator can change the policy."
)
_PENDING = (
    "An operator has to decide. Call `wait` with this id, or go on with something else and look at `request_status` "
    "later. Do not ask for it again: it is on the operator's list. Nobody in this conversation can approve it."
)
_REJECTED = "It will not be done. Do not ask for the same again; tell the person you work for."
_UNKNOWN = "Whether it was done is not known. Call `request_status` with this id before anything else."
_INVALID = "The request is not understood and nothing was done. Correct what `why` names; if you cannot, ask the user."
_MOVING = "Signed and on its way. Call `wait` with this id to see it confirmed; do not send it again."
_DONE = "Done. Do not send it again."
_FAILED = (
    "It was signed, and the chain did not carry it out. Look at `effects`, and ask the user before another attempt."
)


def tell_request(request: Request) -> Told:
    """A request as it stands."""
    told: Told = {"status": request.status.value, "id": request.id, "effects": list(request.effects)}
    for name in ("tx_hash", "signature", "raw"):
        if getattr(request, name) is not None:
            told[name] = getattr(request, name)
    if request.receipt is not None:
        told["block"] = request.receipt.block
    match request.status:
        case Status.DENIED:
            told |= {"why": _words(request.reasons), "what_now": _DENIED}
        case Status.AWAITING_APPROVAL | Status.APPROVED:
            told["what_now"] = _PENDING
        case Status.REJECTED | Status.EXPIRED | Status.WITHDRAWN:
            told["what_now"] = _REJECTED
        case Status.SIGNED if request.signature is not None:
            told["what_now"] = _DONE
        case Status.SIGNED | Status.BROADCAST:
            told["what_now"] = _MOVING
        case Status.CONFIRMED:
            told["what_now"] = _DONE
        case _:
            told["what_now"] = _FAILED
    return told


def tell_preview(preview: Preview) -> Told:
    """What would be decided; nothing was done."""
    what_now = {
        Outcome.ALLOW: "This would be done at once.",
        Outcome.REQUIRE_APPROVAL: "An operator would be asked.",
        Outcome.DENY: _DENIED,
    }
    return {
        "would_be": preview.outcome.name.lower(),
        "effects": list(preview.effects),
        "why": _words(preview.reasons),
        "what_now": f"Nothing was done. {what_now[preview.outcome]}",
    }


def tell_limits(limits: Limits) -> Told:
    """What is left of each limit, as the gate words it."""
    return {"policy": limits.policy, "wallet": limits.wallet, "limits": [dict(limit) for limit in limits.left]}


def tell_wallet(limits: Limits, policy: PolicyView) -> Told:
    """Who this is and what it can name."""
    assets = [{"name": a.name, "chain_id": a.chain_id, "decimals": a.decimals} for a in policy.assets]
    payees = {name: [address for _, address in places] for name, places in policy.addresses.items()}
    return {
        "address": limits.wallet,
        "chain_ids": list(limits.chain_ids),
        "assets": assets,
        "named_addresses": payees,
        "what_now": "Amounts are decimal text with an asset's name (`5 USDC`). What may be done is in walletgate://policy.",
    }


def tell_error(error: WalletGateError) -> Told:
    """An error as data."""
    told: Told = {"status": "failed", "code": error.code, "why": [error.detail], **_id(error)}
    match error:
        case GateDenied():
            told |= {"status": "denied", "why": _words(error.reasons) or [error.detail], "what_now": _DENIED}
        case ApprovalPending():
            told |= {"status": "awaiting_approval", "expires_at": error.expires_at, "what_now": _PENDING}
        case ApprovalRejected():
            told |= {"status": "rejected", "what_now": _REJECTED}
        case GateUnavailable():
            told["what_now"] = _UNKNOWN if "id" in told else "The gate is not there. Tell the user."
        case InvalidRequestError():
            told |= {"status": "invalid", "what_now": _INVALID}
        case _:
            told["what_now"] = "Nothing more can be done from here. Tell the person you work for."
    return told


def _id(error: WalletGateError) -> Mapping[str, object]:
    own_id = error.data.get("id")
    return {"id": own_id} if isinstance(own_id, str) else {}


def _words(reasons: tuple[Reason, ...]) -> list[str]:
    return [reason.text for reason in reasons]

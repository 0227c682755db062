"""How to find out on chain whether a signed message was used: what to read, where, and what the answer means.

    EIP-3009    authorizationState(authorizer, nonce)
    EIP-2612    nonces(owner) beyond the permit's (DAI and NFT permits alike, where the nonce is the owner's)
    Permit2     nonceBitmap(owner, word) for transfers, allowance(owner, token, spender).nonce for allowances
    Seaport     getOrderStatus(order hash): filled in part or whole
    CoW         filledAmount(order uid)

For anything else there is no question whose answer proves that nothing happened, so there is none here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from walletgate.effects.abi import parse_signature
from walletgate.effects.typed import Typed, TypedDataError, parse
from walletgate.types import Address, TypedData

_AUTHORIZATION_STATE = parse_signature("authorizationState(address authorizer,bytes32 nonce)")
_NONCES = parse_signature("nonces(address owner)")
_BITMAP = parse_signature("nonceBitmap(address owner,uint256 word)")
_ALLOWANCE = parse_signature("allowance(address owner,address token,address spender)")
_ORDER_STATUS = parse_signature("getOrderStatus(bytes32 orderHash)")
_FILLED = parse_signature("filledAmount(bytes orderUid)")


@dataclass(frozen=True, slots=True)
class Question:
    """One `eth_call`; `words` is how many 32-byte words an answer has, `used` reads them."""

    to: Address
    data: bytes
    words: int
    used: Callable[[tuple[int, ...]], bool]


def questions(payload: TypedData) -> tuple[Question, ...]:
    """What to ask about a signed document: it was used if one answer says so. Empty: nothing can prove it was not."""
    try:
        typed = parse(payload.document)
    except TypedDataError:
        return ()
    ask = _FAMILIES.get(typed.primary_type)
    if ask is None or typed.domain.contract is None:
        return ()
    return ask(typed, typed.domain.contract, payload.signer)


def _authorization(typed: Typed, token: Address, signer: Address) -> tuple[Question, ...]:
    data = _AUTHORIZATION_STATE.encode(signer, typed.message["nonce"])
    return (Question(token, data, 1, lambda words: words[0] != 0),)


def _permit(typed: Typed, token: Address, signer: Address) -> tuple[Question, ...]:
    nonce = typed.message["nonce"]
    if not {"owner", "holder"} & typed.message.keys():
        return ()
    return (Question(token, _NONCES.encode(signer), 1, lambda words: words[0] > nonce),)


def _permit2_transfer(typed: Typed, permit2: Address, signer: Address) -> tuple[Question, ...]:
    word, bit = divmod(typed.message["nonce"], 256)
    return (Question(permit2, _BITMAP.encode(signer, word), 1, lambda words: bool(words[0] >> bit & 1)),)


def _permit2_allowance(typed: Typed, permit2: Address, signer: Address) -> tuple[Question, ...]:
    details = typed.message["details"]
    rows: tuple[Mapping[str, Any], ...] = (details,) if isinstance(details, Mapping) else tuple(details)
    spender = typed.message["spender"]

    def question(row: Mapping[str, Any]) -> Question:
        nonce = row["nonce"]
        data = _ALLOWANCE.encode(signer, row["token"], spender)
        return Question(permit2, data, 3, lambda words: words[2] > nonce)

    return tuple(question(row) for row in rows)


def _seaport(typed: Typed, seaport: Address, _signer: Address) -> tuple[Question, ...]:
    data = _ORDER_STATUS.encode(typed.struct_hash)
    return (Question(seaport, data, 4, lambda words: words[2] != 0),)


def _cow(typed: Typed, settlement: Address, signer: Address) -> tuple[Question, ...]:
    if "validTo" not in typed.message or "sellToken" not in typed.message:
        return ()
    uid = typed.digest + signer + int(typed.message["validTo"]).to_bytes(4, "big")
    return (Question(settlement, _FILLED.encode(uid), 1, lambda words: words[0] != 0),)


_FAMILIES: Mapping[str, Callable[[Typed, Address, Address], tuple[Question, ...]]] = {
    "TransferWithAuthorization": _authorization,
    "ReceiveWithAuthorization": _authorization,
    "Permit": _permit,
    "PermitTransferFrom": _permit2_transfer,
    "PermitBatchTransferFrom": _permit2_transfer,
    "PermitWitnessTransferFrom": _permit2_transfer,
    "PermitBatchWitnessTransferFrom": _permit2_transfer,
    "PermitSingle": _permit2_allowance,
    "PermitBatch": _permit2_allowance,
    "OrderComponents": _seaport,
    "Order": _cow,
}

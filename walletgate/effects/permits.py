"""Signatures that let somebody take tokens: EIP-2612, DAI, EIP-3009, Permit2, x402.

A signature is money from the moment it exists: a permit is the allowance it will become, an EIP-3009
authorization and a Permit2 SignatureTransfer are the transfer they allow. The permit's `deadline` bounds when
it may be handed in (`TypedSignature.valid_until`), not how long the allowance lives, which is for ever with
EIP-2612 and until `expiration` with Permit2.

A witness binds only a spender whose code obeys it: the x402 proxies pay `witness.to` and nobody else. With any
other spender the money is the spender's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from walletgate.effects.registry import address
from walletgate.effects.signing import NO_VERSION, TypedFrame, typed_rule
from walletgate.types import UINT256_MAX, Address, Allowance, Effect, NftApproval, Transfer

PERMIT2: Final = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
X402_EXACT: Final = address("0x402085c248EeA27D92E8b30b2C58ed07f9E20001")
X402_UPTO: Final = address("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002")
UINT160_MAX: Final = 2**160 - 1

_AUTHORIZATION: Final = "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
_DETAILS: Final = "PermitDetails(address token,uint160 amount,uint48 expiration,uint48 nonce)"
_PERMITTED: Final = "TokenPermissions(address token,uint256 amount)"
_WITNESS_TRANSFER: Final = (
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,"
    "Witness witness)"
)


def unlimited(amount: int) -> int:
    """Permit2's uint160 maximum means no limit, as uint256's does elsewhere."""
    return UINT256_MAX if amount == UINT160_MAX else amount


def permit2_expiry(expiration: int, now: int) -> int:
    """Permit2 reads an expiration of 0 as this block."""
    return expiration or now


def _permit(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["deadline"])
    yield from frame.not_owner(m["owner"])
    yield Allowance(frame.here, m["owner"], m["spender"], m["value"], path=frame.path)


def _dai_permit(frame: TypedFrame) -> Iterator[Effect]:
    """No amount: all or nothing. An `expiry` of 0 means that the permit never lapses."""
    m = frame.message
    yield frame.signature(until=m["expiry"] or UINT256_MAX)
    yield from frame.not_owner(m["holder"])
    amount = UINT256_MAX if m["allowed"] else 0
    yield Allowance(frame.here, m["holder"], m["spender"], amount, path=frame.path)


def _nft_permit(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["deadline"])
    yield NftApproval(frame.here, m["tokenId"], frame.signer, m["spender"], frame.path)


def _authorization(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(after=m["validAfter"], until=m["validBefore"])
    yield from frame.not_owner(m["from"])
    yield Transfer(frame.here, m["from"], m["to"], m["value"], path=frame.path)


def _cancel(frame: TypedFrame) -> Iterator[Effect]:
    yield frame.signature()
    yield from frame.not_owner(frame.message["authorizer"])


def _permit_single(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["sigDeadline"])
    yield _allowance(frame, m["details"], m["spender"])


def _permit_batch(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["sigDeadline"])
    yield from _not_empty(frame, m["details"])
    for details in m["details"]:
        yield _allowance(frame, details, m["spender"])


def _not_empty(frame: TypedFrame, rows: tuple[Any, ...]) -> Iterator[Effect]:
    """Nobody who means well signs a list of nothing, and what reads no row judges no spender."""
    if not rows:
        yield frame.opaque("malformed_batch", "a permit for no token at all")


def _allowance(frame: TypedFrame, details: Mapping[str, Any], spender: Address) -> Allowance:
    expires_at = permit2_expiry(details["expiration"], frame.walk.context.now)
    amount = unlimited(details["amount"])
    return Allowance(frame.asset(details["token"]), frame.signer, spender, amount, expires_at, path=frame.path)


def _transfer_from(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["deadline"])
    yield _taken(frame, m["permitted"], m["spender"])


def _batch_transfer_from(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["deadline"])
    yield from _not_empty(frame, m["permitted"])
    for permitted in m["permitted"]:
        yield _taken(frame, permitted, m["spender"])


def _taken(frame: TypedFrame, permitted: Mapping[str, Any], recipient: Address) -> Transfer:
    return Transfer(frame.asset(permitted["token"]), frame.signer, recipient, permitted["amount"], path=frame.path)


def _x402(frame: TypedFrame, proxy: Address) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(after=m["witness"]["validAfter"], until=m["deadline"])
    recipient = m["witness"]["to"] if m["spender"] == proxy else m["spender"]
    yield _taken(frame, m["permitted"], recipient)


def _x402_exact(frame: TypedFrame) -> Iterator[Effect]:
    return _x402(frame, X402_EXACT)


def _x402_upto(frame: TypedFrame) -> Iterator[Effect]:
    return _x402(frame, X402_UPTO)


_PERMIT2: Final[Mapping[str, Any]] = {"fields": NO_VERSION, "name": "Permit2", "at": (PERMIT2,)}

TYPED: Final = (
    typed_rule(
        "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)", _permit, fields=None
    ),
    typed_rule("Permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed)", _dai_permit),
    typed_rule("Permit(address spender,uint256 tokenId,uint256 nonce,uint256 deadline)", _nft_permit),
    typed_rule(f"TransferWithAuthorization{_AUTHORIZATION}", _authorization),
    typed_rule(f"ReceiveWithAuthorization{_AUTHORIZATION}", _authorization),
    typed_rule("CancelAuthorization(address authorizer,bytes32 nonce)", _cancel),
    typed_rule(
        f"PermitSingle(PermitDetails details,address spender,uint256 sigDeadline){_DETAILS}", _permit_single, **_PERMIT2
    ),
    typed_rule(
        f"PermitBatch(PermitDetails[] details,address spender,uint256 sigDeadline){_DETAILS}", _permit_batch, **_PERMIT2
    ),
    typed_rule(
        "PermitTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline)" + _PERMITTED,
        _transfer_from,
        **_PERMIT2,
    ),
    typed_rule(
        "PermitBatchTransferFrom(TokenPermissions[] permitted,address spender,uint256 nonce,uint256 deadline)"
        + _PERMITTED,
        _batch_transfer_from,
        **_PERMIT2,
    ),
    typed_rule(f"{_WITNESS_TRANSFER}{_PERMITTED}Witness(address to,uint256 validAfter)", _x402_exact, **_PERMIT2),
    typed_rule(
        f"{_WITNESS_TRANSFER}{_PERMITTED}Witness(address to,address facilitator,uint256 validAfter)",
        _x402_upto,
        **_PERMIT2,
    ),
)

"""Aggregators: opaque routes, bounded by what goes in, what must come out, and to whom.

The route itself is executor bytes that nobody can read. That is acceptable as long as the contract enforces an
amount, a minimum and a receiver that stand beside it: then those are the effects. 1inch writes 0 for the caller
as receiver, and either 0 or 0xEeee…eE for the native coin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from walletgate.effects.abi import AbiError, parse_signature
from walletgate.effects.handlers import nothing
from walletgate.effects.registry import Frame, rule
from walletgate.types import NATIVE, ZERO_ADDRESS, Address, Asset, Effect, Receive

ALLOWANCE_HOLDER: Final = "0x0000000000001fF3684f28c67538d4D072C22734"
BALANCER: Final = "0xBA12222222228d8Ba445958a75a0704d566BF2C8"
_SETTLE: Final = parse_signature(
    "execute((address recipient,address buyToken,uint256 minAmountOut) slippage,bytes[] actions,bytes32 affiliate)"
)


def _asset(frame: Frame, contract: Address) -> Asset:
    return frame.native if contract in (ZERO_ADDRESS, NATIVE) else frame.asset(contract)


def _paid(frame: Frame, asset: Asset, amount: int) -> Iterator[Effect]:
    """Native coins are in the call's value already."""
    if not asset.is_native:
        yield frame.spend(asset.address, amount)


def _oneinch_swap(frame: Frame) -> Iterator[Effect]:
    _, (source, target, _, receiver, amount, minimum, _), _ = frame.args
    sold = _asset(frame, source)
    yield from _paid(frame, sold, amount)
    recipient = frame.sender if receiver == ZERO_ADDRESS else receiver
    yield Receive(_asset(frame, target), recipient, minimum, sold, amount, path=frame.path)


def _unoswap(frame: Frame) -> Iterator[Effect]:
    *to, source, amount, minimum, _ = frame.args
    if source >> 160:
        yield frame.opaque("noncanonical_abi", "the token word carries flags")
        return
    sold = _asset(frame, Address(source.to_bytes(20, "big")))
    yield from _paid(frame, sold, amount)
    yield from _unoswapped(frame, to, minimum, sold, amount)


def _unoswap_ether(frame: Frame) -> Iterator[Effect]:
    *to, minimum, _ = frame.args
    yield from _unoswapped(frame, to, minimum, frame.native, frame.value)


def _unoswapped(frame: Frame, to: list[int], minimum: int, sold: Asset, amount: int) -> Iterator[Effect]:
    """The pools decide which token comes out; the call does not say."""
    word = to[0] if to else 0
    if word >> 160:
        yield frame.opaque("noncanonical_abi", "the receiver word is no address")
        return
    recipient = Address(word.to_bytes(20, "big")) if word else frame.sender
    yield Receive(None, recipient, minimum, sold, amount, path=frame.path)


def _allowance_holder(frame: Frame) -> Iterator[Effect]:
    operator, contract, amount, target, data = frame.args
    sold = _asset(frame, contract)
    yield from _paid(frame, sold, amount)
    yield frame.redirect(operator, "may take the token during the call")
    if target != operator:
        yield frame.redirect(target, "is called with the caller's authority")
    try:
        if data[:4] != _SETTLE.selector:
            raise AbiError("another function")
        ((recipient, bought, minimum), _, _), end = _SETTLE.decode(data)
    except AbiError:
        yield frame.opaque("opaque_route", "the settlement call is not understood")
        return
    if end != len(data):
        yield frame.opaque("noncanonical_abi", "bytes after the settlement call")
    yield Receive(_asset(frame, bought), recipient, minimum, sold, amount, path=frame.path)


def _balancer_swap(frame: Frame) -> Iterator[Effect]:
    """Kind 0 gives the amount exactly, kind 1 takes it exactly; `limit` bounds the other side.

    Ether is in the call's value, and the vault gives back what it does not need.
    """
    (_, kind, asset_in, asset_out, amount, _), (owner, _, recipient, _), limit, deadline = frame.args
    if kind > 1:
        yield frame.opaque("unknown_mode", f"swap kind {kind}")
        return
    most, least = (limit, amount) if kind else (amount, limit)
    sold = _asset(frame, asset_in)
    if not sold.is_native:
        yield frame.spend(sold.address, most, sender=owner)
    yield Receive(_asset(frame, asset_out), recipient, least, sold, most, deadline, frame.path)


CALLS: Final = (
    rule(
        "swap((bytes32 poolId,uint8 kind,address assetIn,address assetOut,uint256 amount,bytes userData) single,"
        "(address sender,bool fromInternalBalance,address recipient,bool toInternalBalance) funds,uint256 limit,"
        "uint256 deadline)",
        _balancer_swap,
        at=(BALANCER,),
    ),
    rule(
        "swap(address executor,(address srcToken,address dstToken,address srcReceiver,address dstReceiver,"
        "uint256 amount,uint256 minReturnAmount,uint256 flags) desc,bytes data)",
        _oneinch_swap,
    ),
    rule("unoswap(uint256 token,uint256 amount,uint256 minReturn,uint256 dex)", _unoswap),
    rule("unoswapTo(uint256 to,uint256 token,uint256 amount,uint256 minReturn,uint256 dex)", _unoswap),
    rule("ethUnoswap(uint256 minReturn,uint256 dex)", _unoswap_ether),
    rule("ethUnoswapTo(uint256 to,uint256 minReturn,uint256 dex)", _unoswap_ether),
    rule("cancelOrder(uint256 makerTraits,bytes32 orderHash)", nothing),
    rule(
        "exec(address operator,address token,uint256 amount,address target,bytes data)",
        _allowance_holder,
        at=(ALLOWANCE_HOLDER,),
    ),
)

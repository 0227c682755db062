"""Swaps by the routers of Uniswap v2 and v3, SwapRouter02 and Aerodrome.

What a swap takes is the exact input, or the maximum with an exact output. What it brings is the minimum, for
the last recipient: inside a multicall the router may be that for a while, and a `Ledger` then follows the
proceeds to whoever gets them. Routers pay with ether for wrapped ether when enough was sent along, and pull the
token from the caller otherwise, whatever they hold of it themselves.

In its swaps, and nowhere else, SwapRouter02 writes 1 for the caller, 2 for itself and an amount of 0 for all it
holds; the first SwapRouter writes 0 for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from walletgate.effects.ledger import Holding, Ledger
from walletgate.effects.registry import Frame, Handler, rule
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    Allowance,
    Asset,
    Effect,
    FeeShare,
    Receive,
)

CALLER: Final = Address(bytes(19) + b"\x01")
ROUTER: Final = Address(bytes(19) + b"\x02")


class Swap(NamedTuple):
    """One swap in the router's words. `amount_in` and `amount_out` are exact or the bound, whichever applies."""

    asset_in: Address
    asset_out: Address
    recipient: Address
    amount_in: int
    amount_out: int
    deadline: int | None = None
    all_held: bool = False
    exact_out: bool = False


def ledger_of(frame: Frame) -> Ledger:
    """The ledger of the plan this call belongs to, or one of its own."""
    if frame.ledger is not None:
        return frame.ledger
    ledger = Ledger(frame.to, frame.sender)
    ledger.put(frame.native, frame.value)
    return ledger


def swap_effects(frame: Frame, swap: Swap) -> Iterator[Effect]:
    """What is taken, and what comes back or stays with the router for the next step."""
    ledger = ledger_of(frame)
    if swap.all_held:
        sold = _held(frame, ledger, swap)
    else:
        sold = yield from pull(frame, ledger, swap.asset_in, swap.amount_in, exact=not swap.exact_out)
    deadline = swap.deadline or ledger.deadline
    bought = frame.asset(swap.asset_out)
    if swap.recipient == frame.to:
        ledger.gain(bought, Holding(swap.amount_out, sold.sold, sold.sold_amount))
    else:
        yield Receive(bought, swap.recipient, swap.amount_out, sold.sold, sold.sold_amount, deadline, frame.path)
    if frame.ledger is None:
        yield from ledger.close(frame.path)


def _held(frame: Frame, ledger: Ledger, swap: Swap) -> Holding:
    """All that the router holds is sold; returns what that was bought with, or what it is."""
    asset = frame.asset(swap.asset_in)
    held = ledger.held(asset)
    ledger.use(asset, UINT256_MAX, exact=not swap.exact_out)
    if held is None:
        return Holding(0, asset, 0)
    return held if held.is_proceeds else Holding(0, asset, held.amount)


def pull(frame: Frame, ledger: Ledger, asset: Address, amount: int, *, exact: bool) -> Generator[Effect, None, Holding]:
    """Yields what leaves the caller: `amount` of `asset`, or nothing where the ether that was sent along will do.

    Returns a holding that says what was sold for how much.
    """
    if asset in (NATIVE, WRAPPED.get(frame.chain_id)):
        ether = ledger.held(frame.native)
        if ether is not None and ether.amount >= amount:
            ledger.use(frame.native, amount, exact=exact)
            return Holding(0, frame.native, amount)
    ledger.begin()
    yield frame.spend(asset, amount)
    return Holding(0, frame.asset(asset), amount)


# --- Uniswap v2 and its forks ----------------------------------------------------------------------


def _v2(read: Callable[[Frame], Swap | None]) -> Handler:
    def handler(frame: Frame) -> Iterator[Effect]:
        swap = read(frame)
        if swap is None:
            yield frame.opaque("malformed_path", "the path does not lead from one token to another")
            return
        yield from swap_effects(frame, swap)

    return handler


def _ends(frame: Frame, at: int) -> tuple[Address, Address] | None:
    """First and last token of the path, which is a list of tokens or of routes that join."""
    path = frame.args[at]
    if path and isinstance(path[0], tuple):
        joined = all(left[1] == right[0] for left, right in pairwise(path))
        return (path[0][0], path[-1][1]) if joined else None
    return (path[0], path[-1]) if len(path) > 1 else None


def _exact_in(frame: Frame) -> Swap | None:
    amount_in, amount_out, _, recipient, *deadline = frame.args
    ends = _ends(frame, 2)
    return ends and Swap(*ends, recipient, amount_in, amount_out, *deadline)


def _exact_out(frame: Frame) -> Swap | None:
    amount_out, amount_in, _, recipient, *deadline = frame.args
    ends = _ends(frame, 2)
    return ends and Swap(*ends, recipient, amount_in, amount_out, *deadline)._replace(exact_out=True)


def _to_ether(read: Callable[[Frame], Swap | None]) -> Callable[[Frame], Swap | None]:
    def reader(frame: Frame) -> Swap | None:
        swap = read(frame)
        return swap and swap._replace(asset_out=NATIVE)

    return reader


def _from_ether(frame: Frame) -> Swap | None:
    amount_out, _, recipient, deadline = frame.args
    ends = _ends(frame, 1)
    return ends and Swap(NATIVE, ends[1], recipient, frame.value, amount_out, deadline)


def _router02(read: Callable[[Frame], Swap | None]) -> Callable[[Frame], Swap | None]:
    def reader(frame: Frame) -> Swap | None:
        swap = read(frame)
        return swap and _constants(frame, swap)

    return reader


def _constants(frame: Frame, swap: Swap) -> Swap:
    if swap.recipient == CALLER:
        swap = swap._replace(recipient=frame.sender)
    elif swap.recipient == ROUTER:
        swap = swap._replace(recipient=frame.to)
    return swap if swap.amount_in else swap._replace(all_held=True)


def _add_liquidity(frame: Frame) -> Iterator[Effect]:
    asset_a, asset_b, amount_a, amount_b, _, _, recipient, _ = frame.args
    yield frame.spend(asset_a, amount_a)
    yield frame.spend(asset_b, amount_b)
    yield frame.redirect(recipient, "liquidity")


def _add_liquidity_ether(frame: Frame) -> Iterator[Effect]:
    yield frame.spend(frame.args[0], frame.args[1])
    yield frame.redirect(frame.args[4], "liquidity")


def _remove_liquidity(frame: Frame) -> Iterator[Effect]:
    yield frame.redirect(frame.args[-2], "withdrawn liquidity")


# --- Uniswap v3 ------------------------------------------------------------------------------------


def path_ends(path: bytes) -> tuple[Address, Address] | None:
    """First and last token of a packed v3 path: token(20), then fee(3) token(20) for each pool."""
    if len(path) < 43 or (len(path) - 20) % 23:
        return None
    return Address(path[:20]), Address(path[-20:])


def _single(*, exact_out: bool, with_deadline: bool) -> Handler:
    def handler(frame: Frame) -> Iterable[Effect]:
        asset_in, asset_out, _, recipient, *rest = frame.args[0]
        deadline = rest.pop(0) if with_deadline else None
        amount_in, amount_out = (rest[1], rest[0]) if exact_out else (rest[0], rest[1])
        swap = Swap(asset_in, asset_out, recipient, amount_in, amount_out, deadline, exact_out=exact_out)
        return swap_effects(frame, _v3_recipient(frame, swap, first=with_deadline))

    return handler


def _path(*, exact_out: bool, with_deadline: bool) -> Handler:
    def handler(frame: Frame) -> Iterable[Effect]:
        path, recipient, *rest = frame.args[0]
        deadline = rest.pop(0) if with_deadline else None
        ends = path_ends(path)
        if ends is None:
            return (frame.opaque("malformed_path", "the path is not a list of tokens and fees"),)
        if exact_out:
            swap = Swap(ends[1], ends[0], recipient, rest[1], rest[0], deadline, exact_out=True)
        else:
            swap = Swap(*ends, recipient, rest[0], rest[1], deadline)
        return swap_effects(frame, _v3_recipient(frame, swap, first=with_deadline))

    return handler


def _v3_recipient(frame: Frame, swap: Swap, *, first: bool) -> Swap:
    if not first:
        return _constants(frame, swap)
    return swap._replace(recipient=frame.to) if swap.recipient == ZERO_ADDRESS else swap


# --- what the routers do with what they hold -------------------------------------------------------


def _held_ether(frame: Frame) -> Asset:
    return frame.asset(WRAPPED.get(frame.chain_id, ZERO_ADDRESS))


def _unwrap(frame: Frame) -> Iterator[Effect]:
    minimum, *rest = frame.args
    yield from _unwrap_to(frame, minimum, rest[0] if rest else frame.sender)


def _unwrap_to(frame: Frame, minimum: int, recipient: Address) -> Iterator[Effect]:
    ledger = ledger_of(frame)
    ledger.move(_held_ether(frame), frame.native, minimum)
    yield from ledger.pay(frame.native, recipient, minimum, frame.path)


def _unwrap_fee(frame: Frame) -> Iterator[Effect]:
    minimum, *recipients, bips, fee_recipient = frame.args
    yield FeeShare(fee_recipient, bips, frame.path)
    yield from _unwrap_to(frame, _less(minimum, bips), recipients[0] if recipients else frame.sender)


def _sweep(frame: Frame) -> Iterator[Effect]:
    asset, minimum, *rest = frame.args
    recipient = rest[0] if rest else frame.sender
    yield from ledger_of(frame).pay(frame.asset(asset), recipient, minimum, frame.path)


def _sweep_fee(frame: Frame) -> Iterator[Effect]:
    asset, minimum, *recipients, bips, fee_recipient = frame.args
    recipient = recipients[0] if recipients else frame.sender
    yield FeeShare(fee_recipient, bips, frame.path)
    yield from ledger_of(frame).pay(frame.asset(asset), recipient, _less(minimum, bips), frame.path)


def _less(minimum: int, bips: int) -> int:
    """What is left of the minimum after the fee, rounded against the caller."""
    return max(0, minimum - (minimum * bips + 9_999) // 10_000)


def _refund(frame: Frame) -> Iterator[Effect]:
    yield from ledger_of(frame).pay(frame.native, frame.sender, 0, frame.path)


def _wrap(frame: Frame) -> Iterator[Effect]:
    ledger = ledger_of(frame)
    amount = frame.args[0]
    ledger.use(frame.native, amount)
    ledger.put(_held_ether(frame), amount)
    yield from ()


def _pull(frame: Frame) -> Iterator[Effect]:
    asset, amount = frame.args
    yield frame.spend(asset, amount)
    ledger_of(frame).put(frame.asset(asset), amount)


def _self_permit(frame: Frame) -> Iterator[Effect]:
    asset, amount, *_ = frame.args
    yield Allowance(frame.asset(asset), frame.sender, frame.to, amount, path=frame.path)


def _self_permit_allowed(frame: Frame) -> Iterator[Effect]:
    yield Allowance(frame.asset(frame.args[0]), frame.sender, frame.to, UINT256_MAX, path=frame.path)


_V2_IN: Final = "(uint256 amountIn,uint256 amountOutMin,address[] path,address to,uint256 deadline)"
_V2_OUT: Final = "(uint256 amountOut,uint256 amountInMax,address[] path,address to,uint256 deadline)"
_V2_ETHER: Final = "(uint256 amountOut,address[] path,address to,uint256 deadline)"
_ROUTES: Final = "(address from,address to,bool stable,address factory)[] routes,address to,uint256 deadline)"
_SIGNATURE: Final = "uint8 v,bytes32 r,bytes32 s)"
_HEAD: Final = "((address tokenIn,address tokenOut,uint24 fee,address recipient,"

CALLS: Final = (
    rule(f"swapExactTokensForTokens{_V2_IN}", _v2(_exact_in)),
    rule(f"swapExactTokensForTokensSupportingFeeOnTransferTokens{_V2_IN}", _v2(_exact_in)),
    rule(f"swapTokensForExactTokens{_V2_OUT}", _v2(_exact_out)),
    rule(f"swapExactTokensForETH{_V2_IN}", _v2(_to_ether(_exact_in))),
    rule(f"swapExactTokensForETHSupportingFeeOnTransferTokens{_V2_IN}", _v2(_to_ether(_exact_in))),
    rule(f"swapTokensForExactETH{_V2_OUT}", _v2(_to_ether(_exact_out))),
    rule(f"swapExactETHForTokens{_V2_ETHER}", _v2(_from_ether)),
    rule(f"swapExactETHForTokensSupportingFeeOnTransferTokens{_V2_ETHER}", _v2(_from_ether)),
    rule(f"swapETHForExactTokens{_V2_ETHER}", _v2(_from_ether)),
    rule(f"swapExactTokensForTokens(uint256 amountIn,uint256 amountOutMin,{_ROUTES}", _v2(_exact_in)),
    rule(f"swapExactTokensForETH(uint256 amountIn,uint256 amountOutMin,{_ROUTES}", _v2(_to_ether(_exact_in))),
    rule(f"swapExactETHForTokens(uint256 amountOutMin,{_ROUTES}", _v2(_from_ether)),
    rule(
        "swapExactTokensForTokens(uint256 amountIn,uint256 amountOutMin,address[] path,address to)",
        _v2(_router02(_exact_in)),
    ),
    rule(
        "swapTokensForExactTokens(uint256 amountOut,uint256 amountInMax,address[] path,address to)",
        _v2(_router02(_exact_out)),
    ),
    rule(
        "addLiquidity(address tokenA,address tokenB,uint256 amountA,uint256 amountB,uint256 minA,uint256 minB,"
        "address to,uint256 deadline)",
        _add_liquidity,
    ),
    rule(
        "addLiquidityETH(address token,uint256 amount,uint256 minToken,uint256 minETH,address to,uint256 deadline)",
        _add_liquidity_ether,
    ),
    rule(
        "removeLiquidity(address tokenA,address tokenB,uint256 liquidity,uint256 minA,uint256 minB,address to,"
        "uint256 deadline)",
        _remove_liquidity,
    ),
    rule(
        "removeLiquidityETH(address token,uint256 liquidity,uint256 minToken,uint256 minETH,address to,"
        "uint256 deadline)",
        _remove_liquidity,
    ),
    rule(
        f"exactInputSingle{_HEAD}uint256 deadline,uint256 amountIn,uint256 amountOutMinimum,uint160 limit) params)",
        _single(exact_out=False, with_deadline=True),
    ),
    rule(
        f"exactOutputSingle{_HEAD}uint256 deadline,uint256 amountOut,uint256 amountInMaximum,uint160 limit) params)",
        _single(exact_out=True, with_deadline=True),
    ),
    rule(
        f"exactInputSingle{_HEAD}uint256 amountIn,uint256 amountOutMinimum,uint160 limit) params)",
        _single(exact_out=False, with_deadline=False),
    ),
    rule(
        f"exactOutputSingle{_HEAD}uint256 amountOut,uint256 amountInMaximum,uint160 limit) params)",
        _single(exact_out=True, with_deadline=False),
    ),
    rule(
        "exactInput((bytes path,address recipient,uint256 deadline,uint256 amountIn,uint256 amountOutMinimum) params)",
        _path(exact_out=False, with_deadline=True),
    ),
    rule(
        "exactOutput((bytes path,address recipient,uint256 deadline,uint256 amountOut,uint256 amountInMaximum) params)",
        _path(exact_out=True, with_deadline=True),
    ),
    rule(
        "exactInput((bytes path,address recipient,uint256 amountIn,uint256 amountOutMinimum) params)",
        _path(exact_out=False, with_deadline=False),
    ),
    rule(
        "exactOutput((bytes path,address recipient,uint256 amountOut,uint256 amountInMaximum) params)",
        _path(exact_out=True, with_deadline=False),
    ),
    rule("unwrapWETH9(uint256 amountMinimum,address recipient)", _unwrap),
    rule("unwrapWETH9(uint256 amountMinimum)", _unwrap),
    rule("unwrapWETH9WithFee(uint256 amountMinimum,address recipient,uint256 feeBips,address fee)", _unwrap_fee),
    rule("unwrapWETH9WithFee(uint256 amountMinimum,uint256 feeBips,address fee)", _unwrap_fee),
    rule("sweepToken(address token,uint256 amountMinimum,address recipient)", _sweep),
    rule("sweepToken(address token,uint256 amountMinimum)", _sweep),
    rule(
        "sweepTokenWithFee(address token,uint256 amountMinimum,address recipient,uint256 feeBips,address fee)",
        _sweep_fee,
    ),
    rule("sweepTokenWithFee(address token,uint256 amountMinimum,uint256 feeBips,address fee)", _sweep_fee),
    rule("refundETH()", _refund),
    rule("wrapETH(uint256 value)", _wrap),
    rule("pull(address token,uint256 value)", _pull),
    rule(f"selfPermit(address token,uint256 value,uint256 deadline,{_SIGNATURE}", _self_permit),
    rule(f"selfPermitIfNecessary(address token,uint256 value,uint256 deadline,{_SIGNATURE}", _self_permit),
    rule(f"selfPermitAllowed(address token,uint256 nonce,uint256 expiry,{_SIGNATURE}", _self_permit_allowed),
    rule(f"selfPermitAllowedIfNecessary(address token,uint256 nonce,uint256 expiry,{_SIGNATURE}", _self_permit_allowed),
)

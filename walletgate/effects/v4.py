"""Uniswap v4 inside the Universal Router: a list of actions that must balance at its end.

Swaps open debts and credits with the pool manager; settling pays a debt and taking draws a credit, and the
manager reverts unless both are zero when the list ends. So what is taken from the caller is what is settled, at
most the swap's input, and what the caller gets is what is taken, at least the swap's minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from walletgate.effects.abi import AbiError, decode_prefix, parse_types
from walletgate.effects.ledger import Holding, Ledger
from walletgate.effects.registry import Frame, join
from walletgate.effects.swaps import CALLER, ROUTER
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    Asset,
    Effect,
    FeeShare,
    Opaque,
    Receive,
    Transfer,
)

_ALL_HELD: Final = 1 << 255
_POOL: Final = "(address currency0,address currency1,uint24 fee,int24 tickSpacing,address hooks) key"
_HOPS: Final = "(address currency,uint24 fee,int24 tickSpacing,address hooks,bytes hookData)[] path"


class _Actions:
    """Open debts and credits of one list of actions."""

    __slots__ = ("credits", "debts", "exact", "frame", "ledger", "path", "sold")

    def __init__(self, frame: Frame, ledger: Ledger) -> None:
        self.frame = frame
        self.ledger = ledger
        self.path = frame.path
        self.debts: dict[Asset, int] = {}
        self.credits: dict[Asset, int] = {}
        self.sold = Holding(0)
        self.exact = True

    def asset(self, currency: Address) -> Asset:
        return self.frame.asset(NATIVE if currency == ZERO_ADDRESS else currency)

    def who(self, recipient: Address) -> Address:
        if recipient == CALLER:
            return self.frame.sender
        return self.frame.to if recipient == ROUTER else recipient

    def swap(self, currency_in: Address, currency_out: Address, amount_in: int, amount_out: int) -> None:
        sold, bought = self.asset(currency_in), self.asset(currency_out)
        if sold in self.credits:
            del self.credits[sold]
        else:
            if self.sold.sold not in (None, sold):
                self.ledger.mix()
            self.debts[sold] = self.debts.get(sold, 0) + amount_in
            total = self.sold.sold_amount if self.sold.sold == sold else 0
            self.sold = Holding(0, sold, total + amount_in)
        self.credits[bought] = self.credits.get(bought, 0) + amount_out

    def settle(self, asset: Asset, amount: int, *, by_user: bool, everything: bool = False) -> Iterator[Effect]:
        """Pays `amount`, which is all that the router holds if `everything`.

        What is not owed becomes a credit, for whoever takes it.
        """
        owed = self.debts.pop(asset, 0)
        if amount > owed or not owed:
            self.credits[asset] = self.credits.get(asset, 0) + amount - owed
        held = self.ledger.held(asset)
        if asset.is_native or not by_user:
            self.ledger.use(asset, UINT256_MAX if everything else amount, exact=self.exact)
            if held is not None and held.is_proceeds:
                self.sold = held
        else:
            taker = self.frame.to
            yield Transfer(asset, self.frame.sender, taker, amount, via=taker, path=self.path)
        if not self.sold.sold_amount:
            self.sold = Holding(0, asset, amount)

    def take(self, asset: Asset, recipient: Address, minimum: int) -> Iterator[Effect]:
        sure = max(self.credits.pop(asset, 0), minimum)
        target, sold = self.who(recipient), self.sold
        if target == self.frame.to:
            self.ledger.gain(asset, Holding(sure, sold.sold or asset, sold.sold_amount))
        else:
            yield Receive(asset, target, sure, sold.sold, sold.sold_amount, self.ledger.deadline, self.path)


def v4_plan(frame: Frame, ledger: Ledger, actions: bytes, params: tuple[bytes, ...], path: str) -> Iterator[Effect]:
    """Effects of one list of actions."""
    if len(actions) != len(params):
        yield Opaque("malformed_batch", "as many parameters as actions are needed", frame.to, path)
        return
    state = _Actions(frame, ledger)
    for index, (action, data) in enumerate(zip(actions, params, strict=True)):
        state.path = join(path, f"actions[{index}]")
        known = _ACTIONS.get(action)
        args = _decode(known[0], data) if known else None
        if known is None:
            yield Opaque("unknown_command", f"v4 action 0x{action:02x}", frame.to, state.path)
        elif args is None:
            yield Opaque("noncanonical_abi", f"parameters of v4 action 0x{action:02x}", frame.to, state.path)
        else:
            yield from known[1](state, args)


def _decode(layouts: tuple[str, ...], data: bytes) -> tuple[Any, ...] | None:
    for layout in layouts:
        try:
            args, end = decode_prefix(parse_types(layout), data)
        except AbiError:
            continue
        if end == len(data):
            return args
    return None


def _single_in(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    key, zero_for_one, amount_in, amount_out, *_ = args[0]
    state.swap(*_direction(key, zero_for_one=zero_for_one), amount_in, amount_out)
    yield from ()


def _single_out(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    key, zero_for_one, amount_out, amount_in, *_ = args[0]
    state.exact = False
    state.swap(*_direction(key, zero_for_one=zero_for_one), amount_in, amount_out)
    yield from ()


def _direction(key: tuple[Any, ...], *, zero_for_one: bool) -> tuple[Address, Address]:
    return (key[0], key[1]) if zero_for_one else (key[1], key[0])


def _path_in(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    currency_in, path, *_, amount_in, amount_out = args[0]
    if not path:
        yield Opaque("malformed_path", "a swap without hops", state.frame.to, state.path)
        return
    state.swap(currency_in, path[-1][0], amount_in, amount_out)


def _path_out(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    currency_out, path, *_, amount_out, amount_in = args[0]
    if not path:
        yield Opaque("malformed_path", "a swap without hops", state.frame.to, state.path)
        return
    state.exact = False
    state.swap(path[0][0], currency_out, amount_in, amount_out)


def _settle(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    """An amount of 0 is whatever is owed, 2^255 whatever the router holds."""
    currency, amount, by_user = args
    asset = state.asset(currency)
    held = state.ledger.held(asset)
    if amount == 0:
        amount = state.debts.get(asset, UINT256_MAX)
    everything = amount == _ALL_HELD
    if everything and by_user and not asset.is_native:
        yield Opaque(
            "amount_not_named", "the caller pays as much as the router happens to hold", state.frame.to, state.path
        )
    if everything:
        amount = held.amount if held is not None else 0
    yield from state.settle(asset, amount, by_user=by_user, everything=everything)


def _settle_all(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    """Pays what is owed, and at most the maximum."""
    currency, maximum = args
    asset = state.asset(currency)
    yield from state.settle(asset, min(maximum, state.debts.get(asset, maximum)), by_user=True)


def _take(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    """What is drawn beyond the credit opens a debt, which the next settlement pays."""
    currency, recipient, amount = args
    asset = state.asset(currency)
    beyond = amount - state.credits.get(asset, 0)
    if beyond > 0:
        state.debts[asset] = state.debts.get(asset, 0) + beyond
    yield from state.take(asset, recipient, amount)


def _take_all(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    currency, minimum = args
    yield from state.take(state.asset(currency), CALLER, minimum)


def _take_portion(state: _Actions, args: tuple[Any, ...]) -> Iterator[Effect]:
    currency, recipient, bips = args
    asset = state.asset(currency)
    if asset in state.credits:
        amount = state.credits[asset]
        state.credits[asset] = max(0, amount - -(-amount * bips // 10_000))
    yield FeeShare(state.who(recipient), bips, state.path)


_IN: Final = "uint128 amountIn,uint128 amountOutMinimum"
_OUT: Final = "uint128 amountOut,uint128 amountInMaximum"
_PRICE: Final = "uint256 minHopPrice"

_ACTIONS: Final[Mapping[int, tuple[tuple[str, ...], Callable[[_Actions, tuple[Any, ...]], Iterator[Effect]]]]] = {
    0x06: (
        (f"({_POOL},bool zeroForOne,{_IN},bytes hookData)", f"({_POOL},bool zeroForOne,{_IN},{_PRICE},bytes hookData)"),
        _single_in,
    ),
    0x07: (
        (f"(address currencyIn,{_HOPS},{_IN})", f"(address currencyIn,{_HOPS},uint256[] minHopPrices,{_IN})"),
        _path_in,
    ),
    0x08: (
        (
            f"({_POOL},bool zeroForOne,{_OUT},bytes hookData)",
            f"({_POOL},bool zeroForOne,{_OUT},{_PRICE},bytes hookData)",
        ),
        _single_out,
    ),
    0x09: (
        (f"(address currencyOut,{_HOPS},{_OUT})", f"(address currencyOut,{_HOPS},uint256[] minHopPrices,{_OUT})"),
        _path_out,
    ),
    0x0B: (("address currency,uint256 amount,bool payerIsUser",), _settle),
    0x0C: (("address currency,uint256 maxAmount",), _settle_all),
    0x0E: (("address currency,address recipient,uint256 amount",), _take),
    0x0F: (("address currency,uint256 minAmount",), _take_all),
    0x10: (("address currency,address recipient,uint256 bips",), _take_portion),
}

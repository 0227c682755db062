"""Liquidity positions of Uniswap v4: `modifyLiquidities` of the PositionManager, followed to its end.

A plan is a list of actions that opens debts and credits with the pool manager, which reverts unless all are closed
when it ends. Minting names its pool, and with it the most of each token. Adding to a position names it by number
only: which tokens it takes, and in which order, is not in the call. What does stand there is which tokens the plan
pays with, so each of those counts at the greater of the two maxima: never less than it can be, and often more.
Whoever takes a credit gets withdrawn liquidity; a take of a named amount may open a debt, and counts as one.

Ether is paid from what was sent along. The maxima are never used up exactly, so a plan that does not sweep the rest
back strands it. 1 stands for the caller, 2 for the manager itself. Adding what happens to be credited
(actions 4 and 5), and wrapping inside the manager (21, 22), are opaque: their amounts are not in the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from walletgate.effects.abi import AbiError, decode_strict, parse_types
from walletgate.effects.handlers import nothing
from walletgate.effects.ledger import Ledger
from walletgate.effects.permit2 import permit, permit_batch
from walletgate.effects.registry import Frame, join, rule
from walletgate.effects.swaps import CALLER, ROUTER, ledger_of
from walletgate.types import NATIVE, UINT256_MAX, ZERO_ADDRESS, Address, Asset, Effect, Opaque, Redirect, Transfer

MANAGERS: Final = (
    "0xbD216513d74C8cf14cf4747E6AaA6420FF64ee9e",  # Ethereum
    "0x7C5f5A4bBd8fD63184577525326123B519429bDc",  # Base
    "0x3C3Ea4B57a46241e54610e5f022E5c45859A1017",  # Optimism
)
_ALL_HELD: Final = 1 << 255
_PLAN: Final = parse_types("bytes actions,bytes[] params")
_POOL: Final = "(address currency0,address currency1,uint24 fee,int24 tickSpacing,address hooks) key"


class _Plan:
    """The debts of one plan: `owed` by token, and `anywhere` what any one token of unnamed pools may cost."""

    __slots__ = ("anywhere", "counted", "frame", "ledger", "owed", "path")

    def __init__(self, frame: Frame, ledger: Ledger) -> None:
        self.frame = frame
        self.ledger = ledger
        self.path = frame.path
        self.owed: dict[Asset, int] = {}
        self.anywhere = 0
        self.counted: dict[Asset, int] = {}

    def asset(self, currency: Address) -> Asset:
        return self.frame.asset(NATIVE if currency == ZERO_ADDRESS else currency)

    def who(self, recipient: Address) -> Address:
        if recipient == CALLER:
            return self.frame.sender
        return self.frame.to if recipient == ROUTER else recipient

    def owe(self, currency: Address, amount: int) -> None:
        asset = self.asset(currency)
        self.owed[asset] = self.owed.get(asset, 0) + amount

    def settle(self, currency: Address) -> Iterator[Effect]:
        """Pays whatever is owed of `currency`: at most all that can have been opened since it was last paid."""
        asset = self.asset(currency)
        amount = self.owed.pop(asset, 0) + self.anywhere - self.counted.get(asset, 0)
        self.counted[asset] = self.anywhere
        yield from self.pay(asset, amount)

    def pay(self, asset: Asset, amount: int) -> Iterator[Effect]:
        if asset.is_native:
            self.ledger.use(asset, amount, exact=False)
        elif amount:
            taker = self.frame.to
            most = min(UINT256_MAX, amount)
            yield Transfer(asset, self.frame.sender, taker, most, via=taker, path=self.path)

    def give(self, currency: Address, recipient: Address) -> Iterator[Effect]:
        """What the manager pays out; to itself, and somebody has to ask for it later."""
        target = self.who(recipient)
        if target == self.frame.to:
            self.ledger.use(self.asset(currency), 0, exact=False)
        elif target != self.frame.sender:
            yield Redirect(target, "withdrawn liquidity", self.path)

    def opaque(self, code: str, detail: str) -> Opaque:
        return Opaque(code, detail, self.frame.to, self.path)


def _modify(frame: Frame) -> Iterator[Effect]:
    try:
        actions, params = decode_strict(_PLAN, frame.args[0])
    except AbiError:
        yield frame.opaque("noncanonical_abi", "the actions are not canonically encoded")
        return
    yield from _run(frame, actions, params)  # type: ignore[arg-type]


def _modify_unlocked(frame: Frame) -> Iterator[Effect]:
    yield from _run(frame, *frame.args)


def _run(frame: Frame, actions: bytes, params: tuple[bytes, ...]) -> Iterator[Effect]:
    if len(actions) != len(params):
        yield frame.opaque("malformed_batch", "as many parameters as actions are needed")
        return
    ledger = ledger_of(frame)
    ledger.begin()
    plan = _Plan(frame, ledger)
    for index, (action, data) in enumerate(zip(actions, params, strict=True)):
        plan.path = join(frame.path, f"actions[{index}]")
        if action not in _ACTIONS:
            yield plan.opaque("unknown_command", f"position action 0x{action:02x}")
            continue
        layout, handler = _ACTIONS[action]
        try:
            args = decode_strict(parse_types(layout), data)
        except AbiError:
            yield plan.opaque("noncanonical_abi", f"parameters of position action 0x{action:02x}")
            continue
        yield from handler(plan, args)
    if frame.ledger is None:
        yield from ledger.close(frame.path)


def _increase(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    _, _, most0, most1, _ = args
    plan.anywhere += max(most0, most1)
    yield from ()


def _mint(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    key, _, _, _, most0, most1, owner, _ = args
    plan.owe(key[0], most0)
    plan.owe(key[1], most1)
    yield Redirect(plan.who(owner), "liquidity position", plan.path)


def _withdraw(_plan: _Plan, _args: tuple[Any, ...]) -> Iterator[Effect]:
    """Only opens credits; what matters is who takes them."""
    yield from ()


def _settle(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    """0 is whatever is owed, 2^255 whatever the manager holds; paid by the caller or from what the manager holds."""
    currency, amount, by_user = args
    asset = plan.asset(currency)
    if not by_user or asset.is_native:
        plan.ledger.use(asset, UINT256_MAX if amount in (0, _ALL_HELD) else amount, exact=amount == _ALL_HELD)
    elif amount == _ALL_HELD:
        yield plan.opaque("amount_not_named", "the caller pays as much as the manager happens to hold")
    elif amount:
        yield from plan.pay(asset, amount)
    else:
        yield from plan.settle(currency)


def _settle_pair(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    for currency in args:
        yield from plan.settle(currency)


def _take(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    currency, recipient, amount = args
    plan.owe(currency, amount)
    yield from plan.give(currency, recipient)


def _take_pair(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    *currencies, recipient = args
    for currency in currencies:
        yield from plan.give(currency, recipient)


def _close(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    """Debts are paid by the caller, and credits paid to it."""
    yield from plan.settle(args[0])


def _clear(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    _, most = args
    if most:
        yield plan.opaque("stranded_funds", f"a credit of up to {most} is given up")


def _sweep(plan: _Plan, args: tuple[Any, ...]) -> Iterator[Effect]:
    currency, recipient = args
    target = plan.who(recipient)
    if target != plan.frame.to:
        yield from plan.ledger.pay(plan.asset(currency), target, 0, plan.path)


_HOOK: Final = "bytes hookData"
_ACTIONS: Final[Mapping[int, tuple[str, Callable[[_Plan, tuple[Any, ...]], Iterator[Effect]]]]] = {
    0x00: (f"uint256 tokenId,uint256 liquidity,uint128 amount0Max,uint128 amount1Max,{_HOOK}", _increase),
    0x01: (f"uint256 tokenId,uint256 liquidity,uint128 amount0Min,uint128 amount1Min,{_HOOK}", _withdraw),
    0x02: (
        f"{_POOL},int24 lower,int24 upper,uint256 liquidity,uint128 amount0Max,uint128 amount1Max,address to,{_HOOK}",
        _mint,
    ),
    0x03: (f"uint256 tokenId,uint128 amount0Min,uint128 amount1Min,{_HOOK}", _withdraw),
    0x0B: ("address currency,uint256 amount,bool payerIsUser", _settle),
    0x0D: ("address currency0,address currency1", _settle_pair),
    0x0E: ("address currency,address recipient,uint256 amount", _take),
    0x11: ("address currency0,address currency1,address recipient", _take_pair),
    0x12: ("address currency", _close),
    0x13: ("address currency,uint256 amountMax", _clear),
    0x14: ("address currency,address to", _sweep),
}

_DETAILS: Final = "(address token,uint160 amount,uint48 expiration,uint48 nonce)"

CALLS: Final = (
    rule("modifyLiquidities(bytes unlockData,uint256 deadline)", _modify, at=MANAGERS),
    rule("modifyLiquiditiesWithoutUnlock(bytes actions,bytes[] params)", _modify_unlocked, at=MANAGERS),
    rule(f"initializePool({_POOL},uint160 sqrtPriceX96)", nothing, at=MANAGERS),
    rule(
        f"permit(address owner,({_DETAILS} details,address spender,uint256 deadline) permit,bytes sig)",
        permit,
        at=MANAGERS,
    ),
    rule(
        f"permitBatch(address owner,({_DETAILS}[] details,address spender,uint256 deadline) permit,bytes sig)",
        permit_batch,
        at=MANAGERS,
    ),
)

"""Wrapped native coins: the contract of each chain, and what going in and out of it does.

WETH9 takes ether with `deposit()`, with no data at all, and with any selector it does not know (its fallback
wraps, too), and gives it back with `withdraw`. Neither direction sends anything to anybody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from walletgate.effects.registry import Frame, address, rule
from walletgate.types import NATIVE, Address, Effect, Receive

_OP_STACK: Final = "0x4200000000000000000000000000000000000006"

WRAPPED: Final[Mapping[int, Address]] = {
    1: address("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"),
    10: address(_OP_STACK),
    56: address("0xbb4CdB9CbD36B01bD1cBaEBF6De08d9173bc095c"),
    137: address("0x0d500B1d8E8eF31E21C99d1Db9A6444d3ADf1270"),
    8453: address(_OP_STACK),
    42161: address("0x82aF49447D8a07e3bd95BD0d56f35241523fBab1"),
    84532: address(_OP_STACK),
    11155111: address("0xfFf9976782d46CC05630D1f6eBAb18b2324d6B14"),
}
_CONTRACTS: Final = tuple("0x" + contract.hex() for contract in sorted(set(WRAPPED.values())))


def is_wrapping(effect: Receive) -> bool:
    """Whether the native coin becomes its wrapped form or the other way round, one for one."""
    sold, bought = effect.sold, effect.asset
    if sold is None or bought is None or sold.chain_id != bought.chain_id or effect.min_amount < effect.sold_amount:
        return False
    return {sold.address, bought.address} == {NATIVE, WRAPPED.get(sold.chain_id)}


def _is_wrapper(frame: Frame) -> bool:
    return WRAPPED.get(frame.chain_id) == frame.to


def _deposit(frame: Frame) -> Iterator[Effect]:
    if _is_wrapper(frame) and frame.value:
        yield Receive(frame.here, frame.sender, frame.value, frame.native, frame.value, path=frame.path)


def _withdraw(frame: Frame) -> Iterator[Effect]:
    amount = frame.args[0]
    if _is_wrapper(frame) and amount:
        yield Receive(frame.native, frame.sender, amount, frame.here, amount, path=frame.path)


def _withdraw_to(frame: Frame) -> Iterator[Effect]:
    recipient, amount = frame.args
    yield frame.spend(frame.to, amount)
    yield Receive(frame.native, recipient, amount, frame.here, amount, path=frame.path)


CALLS: Final = (
    rule("deposit()", _deposit),
    rule("receive()", _deposit, at=_CONTRACTS),
    rule("withdraw(uint256 amount)", _withdraw),
    rule("withdrawTo(address recipient,uint256 amount)", _withdraw_to, at=_CONTRACTS),
)

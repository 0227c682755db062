"""Calls in a list: `multicall` of routers and resolvers, and Multicall3.

A contract's `multicall` delegatecalls itself: caller and value stay the same for every element, so the value is
counted once, and what a router holds is followed from one element to the next. Multicall3 calls others in its
own name: what it moves is its own or what it has been allowed, and whatever value it is sent and does not pass
on is lost to the next caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from walletgate.effects.ledger import Ledger
from walletgate.effects.registry import Frame, rule
from walletgate.types import Address, Asset, Effect, Transfer

DISPERSE: Final = "0xD152f549545093347A162Dce210e7293f1452150"
MULTICALL3: Final = "0xcA11bde05977b3631167028862bE2a173976CA11"


def _multicall(frame: Frame) -> Iterator[Effect]:
    yield from _elements(frame, frame.args[0], None)


def _multicall_deadline(frame: Frame) -> Iterator[Effect]:
    yield from _elements(frame, frame.args[1], frame.args[0])


def _multicall_block(frame: Frame) -> Iterator[Effect]:
    yield from _elements(frame, frame.args[1], None)


def _elements(frame: Frame, elements: tuple[bytes, ...], deadline: int | None) -> Iterator[Effect]:
    if frame.value and not elements:
        yield frame.opaque("stranded_funds", "ether is sent along for no call at all")
    ledger = frame.ledger
    if ledger is None:
        ledger = Ledger(frame.to, frame.sender, deadline)
        ledger.put(frame.native, frame.value)
    for index, data in enumerate(elements):
        yield from frame.inner(
            to=frame.to,
            data=data,
            value=frame.value,
            path=frame.step("multicall", index),
            sender=frame.sender,
            prepaid=True,
            ledger=ledger,
        )
    if frame.ledger is None:
        yield from ledger.close(frame.path)


def _aggregate(frame: Frame) -> Iterator[Effect]:
    yield from _forwarded(frame, [(to, 0, data) for to, data in frame.args[0]])


def _try_aggregate(frame: Frame) -> Iterator[Effect]:
    yield from _forwarded(frame, [(to, 0, data) for to, data in frame.args[1]])


def _aggregate3(frame: Frame) -> Iterator[Effect]:
    yield from _forwarded(frame, [(to, 0, data) for to, _, data in frame.args[0]])


def _aggregate3_value(frame: Frame) -> Iterator[Effect]:
    yield from _forwarded(frame, [(to, value, data) for to, _, value, data in frame.args[0]])


def _forwarded(frame: Frame, calls: list[tuple[bytes, int, bytes]]) -> Iterator[Effect]:
    for index, (to, value, data) in enumerate(calls):
        yield from frame.inner(to=to, data=data, value=value, path=frame.step("multicall", index), payer=frame.sender)
    kept = frame.value - sum(value for _, value, _ in calls)
    if kept > 0:
        yield Transfer(frame.native, frame.sender, frame.to, kept, path=frame.path)


def _disperse_ether(frame: Frame) -> Iterator[Effect]:
    """What is left over goes back to the caller."""
    recipients, amounts = frame.args
    yield from _dispersed(frame, frame.native, recipients, amounts)


def _disperse_token(frame: Frame) -> Iterator[Effect]:
    contract, recipients, amounts = frame.args
    yield from _dispersed(frame, frame.asset(contract), recipients, amounts)


def _dispersed(
    frame: Frame, asset: Asset, recipients: tuple[Address, ...], amounts: tuple[int, ...]
) -> Iterator[Effect]:
    if len(recipients) != len(amounts):
        yield frame.opaque("malformed_batch", "recipients and amounts differ in number")
        return
    for index, (recipient, amount) in enumerate(zip(recipients, amounts, strict=True)):
        yield Transfer(asset, frame.sender, recipient, amount, path=frame.step("recipients", index))


_CALL: Final = "(address target,bytes callData)[] calls"

CALLS: Final = (
    rule("multicall(bytes[] data)", _multicall),
    rule("multicall(uint256 deadline,bytes[] data)", _multicall_deadline),
    rule("multicall(bytes32 previousBlockhash,bytes[] data)", _multicall_block),
    rule(f"aggregate({_CALL})", _aggregate, at=(MULTICALL3,), forwards=True),
    rule(f"blockAndAggregate({_CALL})", _aggregate, at=(MULTICALL3,), forwards=True),
    rule(f"tryAggregate(bool requireSuccess,{_CALL})", _try_aggregate, at=(MULTICALL3,), forwards=True),
    rule(f"tryBlockAndAggregate(bool requireSuccess,{_CALL})", _try_aggregate, at=(MULTICALL3,), forwards=True),
    rule(
        "aggregate3((address target,bool allowFailure,bytes callData)[] calls)",
        _aggregate3,
        at=(MULTICALL3,),
        forwards=True,
    ),
    rule(
        "aggregate3Value((address target,bool allowFailure,uint256 value,bytes callData)[] calls)",
        _aggregate3_value,
        at=(MULTICALL3,),
        forwards=True,
    ),
    rule("disperseEther(address[] recipients,uint256[] values)", _disperse_ether, at=(DISPERSE,), forwards=True),
    rule("disperseToken(address token,address[] recipients,uint256[] values)", _disperse_token, at=(DISPERSE,)),
    rule("disperseTokenSimple(address token,address[] recipients,uint256[] values)", _disperse_token, at=(DISPERSE,)),
)

"""Permit2 on chain: its own allowances, moves by them, and signatures handed in.

The call goes to Permit2 whatever the token is, so token, spender and recipient are arguments. An expiration of 0
means until the end of this block; `lockdown` revokes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from walletgate.effects.handlers import nothing
from walletgate.effects.permits import PERMIT2, permit2_expiry, unlimited
from walletgate.effects.registry import Frame, rule
from walletgate.types import Address, Allowance, Effect, Transfer


def _allowance(frame: Frame, owner: Address, spender: Address, details: tuple[Any, ...]) -> Allowance:
    contract, amount, expiration = details[:3]
    expires_at = permit2_expiry(expiration, frame.walk.context.now)
    return Allowance(frame.asset(contract), owner, spender, unlimited(amount), expires_at, path=frame.path)


def _approve(frame: Frame) -> Iterator[Effect]:
    contract, spender, amount, expiration = frame.args
    yield _allowance(frame, frame.sender, spender, (contract, amount, expiration))


def _lockdown(frame: Frame) -> Iterator[Effect]:
    for contract, spender in frame.args[0]:
        yield Allowance(frame.asset(contract), frame.sender, spender, 0, path=frame.path)


def _move(frame: Frame) -> Iterator[Effect]:
    sender, recipient, amount, contract = frame.args
    yield Transfer(frame.asset(contract), sender, recipient, amount, path=frame.path)


def _moves(frame: Frame) -> Iterator[Effect]:
    for sender, recipient, amount, contract in frame.args[0]:
        yield Transfer(frame.asset(contract), sender, recipient, amount, path=frame.path)


def permit(frame: Frame) -> Iterator[Effect]:
    """A signed allowance is handed in; other contracts forward it under the same signature."""
    owner, (details, spender, _), _ = frame.args
    yield _allowance(frame, owner, spender, details)


def permit_batch(frame: Frame) -> Iterator[Effect]:
    """Several at once, for one spender."""
    owner, (rows, spender, _), _ = frame.args
    for details in rows:
        yield _allowance(frame, owner, spender, details)


def _take(frame: Frame) -> Iterator[Effect]:
    ((contract, _), _, _), (recipient, amount), owner, *_ = frame.args
    yield Transfer(frame.asset(contract), owner, recipient, amount, path=frame.path)


def _take_batch(frame: Frame) -> Iterator[Effect]:
    (permitted, _, _), details, owner, *_ = frame.args
    if len(permitted) != len(details):
        yield frame.opaque("malformed_batch", "tokens and recipients differ in number")
        return
    for (contract, _), (recipient, amount) in zip(permitted, details, strict=True):
        yield Transfer(frame.asset(contract), owner, recipient, amount, path=frame.path)


_DETAILS: Final = "(address token,uint160 amount,uint48 expiration,uint48 nonce)"
_PERMITTED: Final = "(address token,uint256 amount)"
_TARGET: Final = "(address to,uint256 requestedAmount)"
_AT: Final = (PERMIT2,)

CALLS: Final = (
    rule("approve(address token,address spender,uint160 amount,uint48 expiration)", _approve, at=_AT),
    rule("lockdown((address token,address spender)[] approvals)", _lockdown, at=_AT),
    rule("transferFrom(address from,address to,uint160 amount,address token)", _move, at=_AT),
    rule("transferFrom((address from,address to,uint160 amount,address token)[] details)", _moves, at=_AT),
    rule(
        f"permit(address owner,({_DETAILS} details,address spender,uint256 deadline) permit,bytes sig)", permit, at=_AT
    ),
    rule(
        f"permit(address owner,({_DETAILS}[] details,address spender,uint256 deadline) permit,bytes sig)",
        permit_batch,
        at=_AT,
    ),
    rule(
        f"permitTransferFrom(({_PERMITTED} permitted,uint256 nonce,uint256 deadline) permit,{_TARGET} details,"
        "address owner,bytes sig)",
        _take,
        at=_AT,
    ),
    rule(
        f"permitTransferFrom(({_PERMITTED}[] permitted,uint256 nonce,uint256 deadline) permit,{_TARGET}[] details,"
        "address owner,bytes sig)",
        _take_batch,
        at=_AT,
    ),
    rule(
        f"permitWitnessTransferFrom(({_PERMITTED} permitted,uint256 nonce,uint256 deadline) permit,{_TARGET} details,"
        "address owner,bytes32 witness,string witnessType,bytes sig)",
        _take,
        at=_AT,
    ),
    rule(
        f"permitWitnessTransferFrom(({_PERMITTED}[] permitted,uint256 nonce,uint256 deadline) permit,"
        f"{_TARGET}[] details,address owner,bytes32 witness,string witnessType,bytes sig)",
        _take_batch,
        at=_AT,
    ),
    rule("invalidateNonces(address token,address spender,uint48 newNonce)", nothing, at=_AT),
    rule("invalidateUnorderedNonces(uint256 wordPos,uint256 mask)", nothing, at=_AT),
)

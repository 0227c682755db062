"""ERC-20: the five verbs that every token has.

They return (transfers and allowances and no Call effect, because what matters about them is asset, amount and,)
who gets it, and policies speak of those. `transferFrom` and `approve` are ERC-721 verbs as well, with a token
id in place of the amount; for contracts that the operator pinned as collections they mean that, for all others
the number is an amount, which no list of fungible assets will know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from walletgate.effects.handlers import nothing
from walletgate.effects.registry import Frame, address, rule
from walletgate.types import (
    UINT256_MAX,
    ZERO_ADDRESS,
    Allowance,
    Effect,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Transfer,
)


def _transfer(frame: Frame) -> Iterable[Effect]:
    recipient, amount = frame.args
    return (Transfer(frame.here, frame.sender, recipient, amount, None, frame.path),)


def _transfer_from(frame: Frame) -> Iterable[Effect]:
    sender, recipient, amount = frame.args
    if is_collection(frame):
        return (NftTransfer(frame.here, amount, 1, sender, recipient, path=frame.path),)
    return (Transfer(frame.here, sender, recipient, amount, None, frame.path),)


def _approve(frame: Frame) -> Iterable[Effect]:
    spender, amount = frame.args
    if is_collection(frame):
        return (NftApproval(frame.here, amount, frame.sender, spender, path=frame.path),)
    return (Allowance(frame.here, frame.sender, spender, amount, path=frame.path),)


def _increase(frame: Frame) -> Iterable[Effect]:
    spender, amount = frame.args
    return (Allowance(frame.here, frame.sender, spender, amount, added=True, path=frame.path),)


def _decrease(frame: Frame) -> Iterable[Effect]:
    """What is left is unknown here, but less than before: it counts like a revocation."""
    spender, _ = frame.args
    return (Allowance(frame.here, frame.sender, spender, 0, path=frame.path),)


def is_collection(frame: Frame) -> bool:
    """Whether the called contract is an NFT collection, by the operator's word or because everybody knows it."""
    here = (frame.chain_id, frame.to)
    return here in _COLLECTIONS or here in frame.walk.context.collections


def _permit(frame: Frame) -> Iterable[Effect]:
    owner, spender, amount, *_ = frame.args
    return (Allowance(frame.here, owner, spender, amount, path=frame.path),)


def _dai_permit(frame: Frame) -> Iterable[Effect]:
    holder, spender, _, _, allowed, *_ = frame.args
    return (Allowance(frame.here, holder, spender, UINT256_MAX if allowed else 0, path=frame.path),)


def _approve_all(frame: Frame) -> Iterable[Effect]:
    return (Allowance(frame.here, frame.sender, frame.args[0], UINT256_MAX, path=frame.path),)


def _burn(frame: Frame) -> Iterable[Effect]:
    if is_collection(frame):
        return (NftTransfer(frame.here, frame.args[0], 1, frame.sender, ZERO_ADDRESS, path=frame.path),)
    return (Transfer(frame.here, frame.sender, ZERO_ADDRESS, frame.args[0], frame.to, frame.path),)


def _burn_from(frame: Frame) -> Iterable[Effect]:
    owner, amount = frame.args
    return (Transfer(frame.here, owner, ZERO_ADDRESS, amount, frame.to, frame.path),)


def _move(frame: Frame) -> Iterable[Effect]:
    """Recipient and amount first, whatever comes after them."""
    recipient, amount, *_ = frame.args
    return (Transfer(frame.here, frame.sender, recipient, amount, None, frame.path),)


def _move_from(frame: Frame) -> Iterable[Effect]:
    sender, recipient, amount, *_ = frame.args
    return (Transfer(frame.here, sender, recipient, amount, None, frame.path),)


def _allow(frame: Frame) -> Iterable[Effect]:
    spender, amount, *_ = frame.args
    return (Allowance(frame.here, frame.sender, spender, amount, path=frame.path),)


def _operator(frame: Frame) -> Iterable[Effect]:
    operator, *approved = frame.args
    granted = bool(approved[0]) if approved else frame.function.name == "authorizeOperator"
    return (OperatorApproval(frame.here, frame.sender, operator, granted, frame.path),)


def _operator_by_signature(frame: Frame) -> Iterable[Effect]:
    owner, operator, approved, *_ = frame.args
    return (OperatorApproval(frame.here, owner, operator, approved, frame.path),)


def _multi_move(frame: Frame) -> Iterable[Effect]:
    """ERC-6909: many tokens in one contract, each an asset that no list of fungible assets knows."""
    recipient, token_id, amount = frame.args
    return (NftTransfer(frame.here, token_id, amount, frame.sender, recipient, path=frame.path),)


def _multi_move_from(frame: Frame) -> Iterable[Effect]:
    sender, recipient, token_id, amount = frame.args
    return (NftTransfer(frame.here, token_id, amount, sender, recipient, path=frame.path),)


def _multi_approve(frame: Frame) -> Iterable[Effect]:
    spender, token_id, amount = frame.args
    allowed = spender if amount else ZERO_ADDRESS
    return (NftApproval(frame.here, token_id, frame.sender, allowed, frame.path),)


_COLLECTIONS: Final = frozenset(
    (chain, address(text))
    for chain, text in (
        (1, "0xBC4CA0EdA7647A8aB7C2061c2E118A18a936f13D"),  # Bored Apes
        (1, "0x57f1887a8BF19b14fC0dF6Fd9B2acc9Af147eA85"),  # ENS names
        (1, "0xC36442b4a4522E871399CD717aBDD847Ab11FE88"),  # Uniswap v3 positions
        (10, "0xC36442b4a4522E871399CD717aBDD847Ab11FE88"),
        (137, "0xC36442b4a4522E871399CD717aBDD847Ab11FE88"),
        (42161, "0xC36442b4a4522E871399CD717aBDD847Ab11FE88"),
        (8453, "0x03a520b32C04BF3bEEf7BEb72E919cf822Ed34f1"),
        (1, "0xbD216513d74C8cf14cf4747E6AaA6420FF64ee9e"),  # Uniswap v4 positions
    )
)
_SIGNATURE: Final = "uint8 v,bytes32 r,bytes32 s"
_AUTHORIZED: Final = "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce"


CALLS: Final = (
    rule("transfer(address to,uint256 amount)", _transfer, plain=True),
    rule("transferFrom(address from,address to,uint256 amount)", _transfer_from, plain=True),
    rule("approve(address spender,uint256 amount)", _approve, plain=True),
    rule("increaseAllowance(address spender,uint256 added)", _increase, plain=True),
    rule("decreaseAllowance(address spender,uint256 subtracted)", _decrease, plain=True),
    rule(f"permit(address owner,address spender,uint256 value,uint256 deadline,{_SIGNATURE})", _permit, plain=True),
    rule("permit(address owner,address spender,uint256 value,uint256 deadline,bytes sig)", _permit, plain=True),
    rule(
        f"permit(address holder,address spender,uint256 nonce,uint256 expiry,bool allowed,{_SIGNATURE})",
        _dai_permit,
        plain=True,
    ),
    rule("approve(address spender)", _approve_all),
    rule("increaseApproval(address spender,uint256 added)", _increase),
    rule("decreaseApproval(address spender,uint256 subtracted)", _decrease),
    rule("approveAndCall(address spender,uint256 amount,bytes data)", _allow),
    rule("approveAndCall(address spender,uint256 amount)", _allow),
    rule("approveDelegation(address delegatee,uint256 amount)", _allow),
    rule("transferAndCall(address to,uint256 amount,bytes data)", _move),
    rule("transferAndCall(address to,uint256 amount)", _move),
    rule("transferFromAndCall(address from,address to,uint256 amount,bytes data)", _move_from),
    rule("transferFromAndCall(address from,address to,uint256 amount)", _move_from),
    rule("send(address to,uint256 amount,bytes data)", _move),
    rule("operatorSend(address from,address to,uint256 amount,bytes data,bytes operatorData)", _move_from),
    rule(f"transferWithAuthorization({_AUTHORIZED},{_SIGNATURE})", _move_from),
    rule(f"transferWithAuthorization({_AUTHORIZED},bytes signature)", _move_from),
    rule(f"receiveWithAuthorization({_AUTHORIZED},{_SIGNATURE})", _move_from),
    rule(f"receiveWithAuthorization({_AUTHORIZED},bytes signature)", _move_from),
    rule(f"cancelAuthorization(address authorizer,bytes32 nonce,{_SIGNATURE})", nothing),
    rule("burn(uint256 amount)", _burn),
    rule("burnFrom(address owner,uint256 amount)", _burn_from),
    rule("burn(address owner,uint256 amount)", _burn_from),
    rule("authorizeOperator(address operator)", _operator),
    rule("revokeOperator(address operator)", _operator),
    rule("setOperator(address operator,bool approved)", _operator),
    rule("allow(address manager,bool isAllowed)", _operator),
    rule(
        f"allowBySig(address owner,address manager,bool isAllowed,uint256 nonce,uint256 expiry,{_SIGNATURE})",
        _operator_by_signature,
    ),
    rule("setAuthorization(address authorized,bool newIsAuthorized)", _operator),
    rule("transfer(address to,uint256 id,uint256 amount)", _multi_move),
    rule("transferFrom(address from,address to,uint256 id,uint256 amount)", _multi_move_from),
    rule("approve(address spender,uint256 id,uint256 amount)", _multi_approve),
)

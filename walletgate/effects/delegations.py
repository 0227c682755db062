"""Power handed to others by signature: ERC-7710 delegations, spend permissions, meta-transactions.

A delegation without caveats is the account itself. A spend permission is an allowance that fills up again every
period, so it counts for all its periods together. A meta-transaction is a call that somebody else sends in the
signer's name, and is walked like one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from walletgate.effects.abi import AbiError, decode_strict, parse_types
from walletgate.effects.accounts import execute_mode
from walletgate.effects.registry import Frame, Site, join, rule
from walletgate.effects.signing import TypedFrame, typed_rule
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    Allowance,
    Asset,
    Delegation,
    Effect,
    Opaque,
    Transfer,
)

SPEND_PERMISSION_MANAGER: Final = "0xf85210B21cC50302F477BA56686d2019dC9b67Ad"
DELEGATION_MANAGER: Final = "0xdb9B1e94B5b69Df7e401DDbedE43491141047dB3"
_ROOT_AUTHORITY: Final = b"\xff" * 32


def _delegation(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature()
    yield Delegation("erc7710", m["delegate"], frame.chain_id, frame.path)
    if not m["caveats"]:
        yield frame.opaque("no_caveats", "the delegate may do everything the account may")
    if m["authority"] != _ROOT_AUTHORITY:
        yield frame.opaque("redelegation", "passes on an authority that is known by its hash alone")


def _spend_permission(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(after=m["start"], until=m["end"])
    yield from _permission(frame, m["account"], m, m)


def _spend_permissions(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(after=m["start"], until=m["end"])
    for details in m["permissions"]:
        yield from _permission(frame, m["account"], details, m)


def _permission(
    frame: TypedFrame, account: Address, details: Mapping[str, Any], term: Mapping[str, Any]
) -> Iterator[Effect]:
    asset = NATIVE if details["token"] in (NATIVE, ZERO_ADDRESS) else details["token"]
    periods = -(-max(0, term["end"] - term["start"]) // term["period"]) if term["period"] else 1
    amount = min(UINT256_MAX, details["allowance"] * periods)
    spender = details["spender"]
    yield Delegation("spend_permission", spender, frame.chain_id, frame.path)
    yield Allowance(frame.asset(asset), account, spender, amount, term["end"], path=frame.path)


def _meta_transaction(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature()
    yield from frame.not_owner(m["from"])
    yield from _sent(frame, frame.contract, m["functionSignature"], 0, "functionSignature")


def _forward_request(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m.get("deadline"))
    yield from frame.not_owner(m["from"])
    yield from _sent(frame, m["to"], m["data"], m["value"], "request")


def _sent(frame: TypedFrame, to: Address, data: bytes, value: int, step: str) -> Iterable[Effect]:
    return frame.walk.call(Site(frame.chain_id, frame.signer, to, value, data, join(frame.path, step), 1))


def _execute_meta(frame: Frame) -> Iterable[Effect]:
    user, data, *_ = frame.args
    path = frame.step("functionSignature")
    return frame.inner(to=frame.to, data=data, path=path, sender=user)


def _redeem(frame: Frame) -> Iterator[Effect]:
    """Each execution runs in the name of the account at the root of its chain of delegations; of the caller if none."""
    contexts, modes, executions = frame.args
    if not len(contexts) == len(modes) == len(executions):
        yield frame.opaque("malformed_batch", "contexts, modes and executions differ in number")
        return
    for index, (context, mode, data) in enumerate(zip(contexts, modes, executions, strict=True)):
        path = frame.step("redeem", index)
        account: Any = frame.sender
        if context:
            try:
                (chain,) = decode_strict(_CHAIN, context)
                account = chain[-1][1]  # type: ignore[index]
            except (AbiError, IndexError):
                yield Opaque("noncanonical_abi", "the delegations are not canonically encoded", frame.to, path)
                continue
        yield from execute_mode(frame._replace(to=account, args=(mode, data), path=path))


def _approve_permission(frame: Frame) -> Iterator[Effect]:
    account, spender, asset, allowance, period, start, end, *_ = frame.args[0]
    periods = -(-max(0, end - start) // period) if period else 1
    amount = min(UINT256_MAX, allowance * periods)
    yield Delegation("spend_permission", spender, frame.chain_id, frame.path)
    yield Allowance(_currency(frame, asset), account, spender, amount, end, path=frame.path)


def _revoke_permission(frame: Frame) -> Iterator[Effect]:
    account, spender, asset, *_ = frame.args[0]
    yield Allowance(_currency(frame, asset), account, spender, 0, path=frame.path)


def _spend(frame: Frame) -> Iterator[Effect]:
    """Only the spender may call it, and what is spent goes to the spender."""
    (account, spender, asset, *_), amount = frame.args
    yield Transfer(_currency(frame, asset), account, spender, amount, path=frame.path)


def _currency(frame: Frame, contract: Address) -> Asset:
    return frame.native if contract in (NATIVE, ZERO_ADDRESS) else frame.asset(contract)


_CHAIN: Final = parse_types(
    "(address delegate,address delegator,bytes32 authority,(address enforcer,bytes terms,bytes args)[] caveats,"
    "uint256 salt,bytes signature)[]"
)
_PERMISSION_TERM: Final = "uint48 period,uint48 start,uint48 end"

_PERMISSION: Final = (
    f"(address account,address spender,address token,uint160 allowance,{_PERMISSION_TERM},uint256 salt,bytes extraData)"
    " permission"
)

CALLS: Final = (
    rule(
        "executeMetaTransaction(address user,bytes functionSignature,bytes32 r,bytes32 s,uint8 v)",
        _execute_meta,
    ),
    rule("redeemDelegations(bytes[] contexts,bytes32[] modes,bytes[] executions)", _redeem, at=(DELEGATION_MANAGER,)),
    rule(f"approve({_PERMISSION})", _approve_permission, at=(SPEND_PERMISSION_MANAGER,)),
    rule(f"revoke({_PERMISSION})", _revoke_permission, at=(SPEND_PERMISSION_MANAGER,)),
    rule(f"spend({_PERMISSION},uint160 value)", _spend, at=(SPEND_PERMISSION_MANAGER,)),
)

TYPED: Final = (
    typed_rule(
        "Delegation(address delegate,address delegator,bytes32 authority,Caveat[] caveats,uint256 salt)"
        "Caveat(address enforcer,bytes terms)",
        _delegation,
        name="DelegationManager",
    ),
    typed_rule(
        f"SpendPermission(address account,address spender,address token,uint160 allowance,{_PERMISSION_TERM},"
        "uint256 salt,bytes extraData)",
        _spend_permission,
        at=(SPEND_PERMISSION_MANAGER,),
    ),
    typed_rule(
        f"SpendPermissionBatch(address account,{_PERMISSION_TERM},PermissionDetails[] permissions)"
        "PermissionDetails(address spender,address token,uint160 allowance,uint256 salt,bytes extraData)",
        _spend_permissions,
        at=(SPEND_PERMISSION_MANAGER,),
    ),
    typed_rule("MetaTransaction(uint256 nonce,address from,bytes functionSignature)", _meta_transaction, fields=None),
    typed_rule(
        "ForwardRequest(address from,address to,uint256 value,uint256 gas,uint256 nonce,bytes data)", _forward_request
    ),
    typed_rule(
        "ForwardRequest(address from,address to,uint256 value,uint256 gas,uint256 nonce,uint48 deadline,bytes data)",
        _forward_request,
    ),
)

"""Power handed to others by signature: ERC-7710 delegations, spend permissions, meta-transactions.

A delegation without caveats is the account itself. A spend permission is an allowance that fills up again every
period, so it counts for all its periods together. A meta-transaction is a call that somebody else sends in the
signer's name, and is walked like one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from walletgate.effects.registry import Frame, Site, join, rule
from walletgate.effects.signing import TypedFrame, typed_rule
from walletgate.types import NATIVE, UINT256_MAX, ZERO_ADDRESS, Address, Allowance, Delegation, Effect

SPEND_PERMISSION_MANAGER: Final = "0xf85210B21cC50302F477BA56686d2019dC9b67Ad"
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


_PERMISSION_TERM: Final = "uint48 period,uint48 start,uint48 end"

CALLS: Final = (
    rule(
        "executeMetaTransaction(address user,bytes functionSignature,bytes32 r,bytes32 s,uint8 v)",
        _execute_meta,
    ),
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

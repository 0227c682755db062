"""Power over contracts, names and votes: who rules, who may upgrade, where a name points.

None of these move anything by themselves, and each can be worth more than the wallet's balance. They are named
for what they change; a name's address record also decides where other people's payments go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from walletgate.effects.handlers import nothing
from walletgate.effects.registry import Frame, rule
from walletgate.effects.signing import TypedFrame, typed_rule
from walletgate.types import Address, AdminChange, Delegation, Effect, OperatorApproval


def _admin(frame: Frame) -> Iterator[Effect]:
    """The last address among the arguments is who gains by it."""
    pairs = zip(frame.function.params, frame.args, strict=True)
    subjects = [value for param, value in pairs if param.kind == "address"]
    yield AdminChange(frame.here, frame.function.name, subjects[-1] if subjects else None, frame.path)


def _admin_and_call(frame: Frame) -> Iterator[Effect]:
    """The new implementation is called at once, with the contract's own powers."""
    *_, implementation, data = frame.args
    yield AdminChange(frame.here, frame.function.name, implementation, frame.path)
    if data:
        yield frame.opaque("delegatecall", "the new implementation runs an initializer")


def _set_record(frame: Frame) -> Iterator[Effect]:
    *_, owner, resolver, _ = frame.args
    yield AdminChange(frame.here, frame.function.name, owner, frame.path)
    yield frame.redirect(resolver, "answers for the name")


def _set_addr(frame: Frame) -> Iterator[Effect]:
    yield frame.redirect(frame.args[1], "payments to the name")


def _set_addr_of_coin(frame: Frame) -> Iterator[Effect]:
    _, coin, target = frame.args
    if len(target) == 20:
        yield frame.redirect(target, "payments to the name")
    else:
        yield frame.opaque("recipient_not_address", f"an address record for coin type {coin}")


def _register(frame: Frame) -> Iterator[Effect]:
    """The records are set by calls on the resolver, which are effects like any others."""
    _, owner, _, _, resolver, records, _, _ = frame.args
    yield frame.redirect(owner, "the name")
    for index, data in enumerate(records):
        yield from frame.inner(to=resolver, data=data, path=frame.step("records", index))


def _approve_node(frame: Frame) -> Iterator[Effect]:
    _, operator, approved = frame.args
    yield OperatorApproval(frame.here, frame.sender, operator, approved, frame.path)


def _delegate(frame: Frame) -> Iterator[Effect]:
    yield Delegation("votes", frame.args[0], frame.chain_id, frame.path)


def _delegate_space(frame: Frame) -> Iterator[Effect]:
    yield Delegation("votes", frame.args[1], frame.chain_id, frame.path)


def _signed_delegate(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["expiry"])
    yield Delegation("votes", Address(m["delegatee"]), frame.chain_id, frame.path)


_ADMIN: Final = (
    "transferOwnership(address newOwner)",
    "renounceOwnership()",
    "acceptOwnership()",
    "upgradeTo(address implementation)",
    "upgrade(address proxy,address implementation)",
    "changeAdmin(address newAdmin)",
    "changeProxyAdmin(address proxy,address newAdmin)",
    "setImplementation(address implementation)",
    "grantRole(bytes32 role,address account)",
    "revokeRole(bytes32 role,address account)",
    "renounceRole(bytes32 role,address account)",
    "setAdmin(address newAdmin)",
    "setPendingAdmin(address newAdmin)",
    "setOwner(address newOwner)",
    "setMinter(address minter)",
    "addMinter(address minter)",
    "removeMinter(address minter)",
    "pause()",
    "unpause()",
    "setOwner(bytes32 node,address owner)",
    "setSubnodeOwner(bytes32 node,bytes32 label,address owner)",
    "setResolver(bytes32 node,address resolver)",
    "reclaim(uint256 id,address owner)",
)

CALLS: Final = (
    *(rule(signature, _admin) for signature in _ADMIN),
    rule("upgradeToAndCall(address implementation,bytes data)", _admin_and_call),
    rule("upgradeAndCall(address proxy,address implementation,bytes data)", _admin_and_call),
    rule("setRecord(bytes32 node,address owner,address resolver,uint64 ttl)", _set_record),
    rule("setSubnodeRecord(bytes32 node,bytes32 label,address owner,address resolver,uint64 ttl)", _set_record),
    rule("setAddr(bytes32 node,address target)", _set_addr),
    rule("setAddr(bytes32 node,uint256 coinType,bytes target)", _set_addr_of_coin),
    rule("setText(bytes32 node,string key,string value)", nothing),
    rule("setContenthash(bytes32 node,bytes hash)", nothing),
    rule("setName(bytes32 node,string name)", nothing),
    rule("setName(string name)", nothing),
    rule(
        "register(string name,address owner,uint256 duration,bytes32 secret,address resolver,bytes[] data,bool reverse,"
        "uint16 fuses)",
        _register,
    ),
    rule("renew(string name,uint256 duration)", nothing),
    rule("commit(bytes32 commitment)", nothing),
    rule("approve(bytes32 node,address delegate,bool approved)", _approve_node),
    rule("delegate(address delegatee)", _delegate),
    rule("delegateBySig(address delegatee,uint256 nonce,uint256 expiry,uint8 v,bytes32 r,bytes32 s)", _delegate),
    rule("setDelegate(bytes32 id,address delegatee)", _delegate_space),
    rule("castVote(uint256 proposal,uint8 support)", nothing),
)

TYPED: Final = (
    typed_rule("Delegation(address delegatee,uint256 nonce,uint256 expiry)", _signed_delegate, fields=None),
)

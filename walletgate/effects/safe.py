"""Safe: a transaction signed for it, executed on it, sent by a module, or packed into MultiSend.

What a Safe does, it does in its own name, so the sender of everything inside is the Safe. `operation` is
compared as a whole; 1 is a delegatecall, and only the MultiSendCallOnly contracts are known to do by it what
they say. The refund that a Safe pays for gas is a transfer like any other, bounded by the gas it may cover.
Calls of a Safe to itself change who rules it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from walletgate.effects.registry import Frame, Site, Walk, address, join, rule, token
from walletgate.effects.signing import CHAIN_AND_CONTRACT, TypedFrame, typed_rule
from walletgate.types import NATIVE, UINT256_MAX, ZERO_ADDRESS, Address, AdminChange, Effect, Opaque, Transfer

_SELF_AT_ZERO: Final = "0xA83c336B20401Af773B6219BA5027174338D1836"
CALL_ONLY: Final = (
    "0x40A2aCCbd92BCA938b02010E17A5b8929b49130D",
    "0xA1dabEF33b3B82c7814B6D82A79e50F4AC44102B",
    "0x9641d764fc13c8B624c04430C7356C1C7C8102e2",
    _SELF_AT_ZERO,
)
"""MultiSendCallOnly 1.3.0 (two deployments), 1.4.1 and 1.5.0; the last reads target zero as the Safe itself."""

_HEAD_BYTES: Final = 85
"""Packed: operation (1), to (20), value (32), length (32)."""


def _safe_tx(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature()
    yield from _operation(frame.walk, _safe_site(frame, m), m["operation"])
    yield from _refund(frame.chain_id, frame.contract, m, frame.path)


def _safe_site(frame: TypedFrame, m: Mapping[str, Any]) -> Site:
    path = join(frame.path, "SafeTx")
    return Site(frame.chain_id, frame.contract, m["to"], m["value"], m["data"], path, 1)


def _exec_transaction(frame: Frame) -> Iterator[Effect]:
    to, value, data, operation, safe_gas, base_gas, gas_price, gas_token, receiver, _ = frame.args
    site = Site(frame.chain_id, frame.to, to, value, data, frame.step("execTransaction"), frame.depth + 1)
    yield from _operation(frame.walk, site, operation)
    terms = {
        "safeTxGas": safe_gas,
        "baseGas": base_gas,
        "gasPrice": gas_price,
        "gasToken": gas_token,
        "refundReceiver": receiver,
    }
    yield from _refund(frame.chain_id, frame.to, terms, frame.path)


def _from_module(frame: Frame) -> Iterator[Effect]:
    to, value, data, operation = frame.args
    site = Site(frame.chain_id, frame.to, to, value, data, frame.step("fromModule"), frame.depth + 1)
    yield from _operation(frame.walk, site, operation)


def _operation(walk: Walk, site: Site, operation: int) -> Iterable[Effect]:
    if operation > 1:
        return (Opaque("malformed_batch", f"operation {operation} does not exist", site.to, site.path),)
    return walk.call(site._replace(delegate=operation == 1))


def _refund(chain_id: int, safe: Address, terms: Mapping[str, Any], path: str) -> Iterator[Effect]:
    price = terms["gasPrice"]
    if not price:
        return
    if not terms["safeTxGas"]:
        yield Opaque("unbounded_refund", "the refund covers gas without a limit", safe, path)
    asset = NATIVE if terms["gasToken"] == ZERO_ADDRESS else terms["gasToken"]
    amount = min(UINT256_MAX, (terms["safeTxGas"] + terms["baseGas"]) * price)
    yield Transfer(token(chain_id, asset), safe, terms["refundReceiver"], amount, path=join(path, "refund"))


def _multi_send(frame: Frame) -> Iterator[Effect]:
    if not frame.delegate:
        yield frame.opaque("malformed_batch", "multiSend works only by delegatecall")
        return
    packed, at, index = frame.args[0], 0, 0
    while at < len(packed):
        path = frame.step("multiSend", index)
        head = packed[at : at + _HEAD_BYTES]
        size = int.from_bytes(head[53:85], "big")
        data = packed[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
        if len(head) < _HEAD_BYTES or len(data) != size or head[0] != 0:
            yield Opaque("malformed_batch", "the packed transactions do not parse", frame.to, path)
            return
        to = Address(head[1:21])
        if to == ZERO_ADDRESS and frame.to == address(_SELF_AT_ZERO):
            to = frame.sender
        value = int.from_bytes(head[21:53], "big")
        yield from frame.inner(to=to, data=data, value=value, path=path, sender=frame.sender)
        at, index = at + _HEAD_BYTES + size, index + 1


def _approve_hash(frame: Frame) -> Iterator[Effect]:
    yield frame.opaque("blind_hash", "approves a Safe transaction by its hash alone")


def _admin(frame: Frame) -> Iterator[Effect]:
    """The last address among the arguments is who gains by it; the sentinel `prev…` arguments come before."""
    subjects = [
        value for param, value in zip(frame.function.params, frame.args, strict=True) if param.kind == "address"
    ]
    yield AdminChange(frame.here, frame.function.name, subjects[-1] if subjects else None, frame.path)


_MODULE_CALL: Final = "(address to,uint256 value,bytes data,uint8 operation)"

CALLS: Final = (
    rule(
        "execTransaction(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,"
        "uint256 gasPrice,address gasToken,address refundReceiver,bytes signatures)",
        _exec_transaction,
    ),
    rule(f"execTransactionFromModule{_MODULE_CALL}", _from_module),
    rule(f"execTransactionFromModuleReturnData{_MODULE_CALL}", _from_module),
    rule("multiSend(bytes transactions)", _multi_send, at=CALL_ONLY, delegated=True),
    rule("approveHash(bytes32 hash)", _approve_hash),
    rule("addOwnerWithThreshold(address owner,uint256 threshold)", _admin),
    rule("removeOwner(address prevOwner,address owner,uint256 threshold)", _admin),
    rule("swapOwner(address prevOwner,address oldOwner,address newOwner)", _admin),
    rule("changeThreshold(uint256 threshold)", _admin),
    rule("enableModule(address module)", _admin),
    rule("disableModule(address prevModule,address module)", _admin),
    rule("setGuard(address guard)", _admin),
    rule("setModuleGuard(address moduleGuard)", _admin),
    rule("setFallbackHandler(address handler)", _admin),
)

TYPED: Final = (
    typed_rule(
        "SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,"
        "uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)",
        _safe_tx,
        fields=CHAIN_AND_CONTRACT,
    ),
)

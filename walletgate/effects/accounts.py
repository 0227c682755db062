"""Smart accounts: ERC-4337 user operations, ERC-7579 and ERC-7821 execution, and the older `execute` forms.

An account acts in its own name. In ERC-7579 the mode word decides how the bytes after it are read, so every
byte of it must be one this module knows. A user operation also pays for its gas, or has a paymaster do so in
return for something: both are effects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from walletgate.effects.abi import AbiError, decode_strict, parse_types
from walletgate.effects.registry import Frame, Site, Walk, join, rule
from walletgate.effects.signing import TypedFrame, typed_rule
from walletgate.types import (
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    AdminChange,
    Delegation,
    Effect,
    Fee,
    Redirect,
)

ENTRY_POINT_07: Final = "0x0000000071727De22E5E9d8BAf0edAc6f37da032"
ENTRY_POINT_08: Final = "0x4337084D9E255Ff0702461CF8895CE9E3b5Ff108"

_EXECUTIONS: Final = parse_types("(address to,uint256 value,bytes data)[]")
_EXECUTIONS_AND_DATA: Final = parse_types("(address to,uint256 value,bytes data)[],bytes")
_EXECUTE_USER_OP: Final = bytes.fromhex("8dd7712f")
_MODE_PLAIN: Final = bytes(4)
_MODE_DATA: Final = bytes.fromhex("78210001")
_MODE_BATCHES: Final = bytes.fromhex("78210002")
_BATCHES: Final = parse_types("bytes[]")


def _execute(frame: Frame) -> Iterable[Effect]:
    to, value, data = frame.args
    return frame.inner(to=to, data=data, value=value, path=frame.step("execute"))


def _execute_operation(frame: Frame) -> Iterable[Effect]:
    to, value, data, operation = frame.args
    if operation > 1:
        return (frame.opaque("malformed_batch", f"operation {operation} is not a call"),)
    return frame.inner(to=to, data=data, value=value, path=frame.step("execute"), delegate=operation == 1)


def _execute_one(frame: Frame) -> Iterable[Effect]:
    to, value, data = frame.args[0]
    return frame.inner(to=to, data=data, value=value, path=frame.step("execute"))


def _execute_batch(frame: Frame) -> Iterator[Effect]:
    yield from _each(frame, frame.args[0])


def _execute_lists(frame: Frame) -> Iterator[Effect]:
    targets, data = frame.args[0], frame.args[-1]
    values = frame.args[1] if len(frame.args) == 3 else ()
    if len(targets) != len(data) or (values and len(values) != len(targets)):
        yield frame.opaque("malformed_batch", "the lists of targets, values and data differ in length")
        return
    yield from _each(frame, tuple(zip(targets, values or (0,) * len(targets), data, strict=True)))


def _each(
    frame: Frame, calls: tuple[tuple[Address, int, bytes], ...], *, self_at_zero: bool = False
) -> Iterator[Effect]:
    for index, (to, value, data) in enumerate(calls):
        target = frame.to if self_at_zero and to == ZERO_ADDRESS else to
        yield from frame.inner(to=target, data=data, value=value, path=frame.step("execute", index))


def execute_mode(frame: Frame) -> Iterator[Effect]:
    """ERC-7579: the mode says how the data is laid out; the account is the frame's `to`."""
    mode, data = frame.args
    kind, failure, unused, selector, payload = mode[0], mode[1], mode[2:6], mode[6:10], mode[10:]
    known = selector == _MODE_PLAIN or (kind == 1 and selector in (_MODE_DATA, _MODE_BATCHES))
    if failure > 1 or any(unused) or any(payload) or not known or kind not in (0x00, 0x01, 0xFF):
        yield frame.opaque("unknown_mode", f"execution mode 0x{mode.hex()}")
    elif selector == _MODE_BATCHES:
        yield from _execute_batches(frame, data)
    elif kind == 0x01:
        yield from _execute_packed_batch(frame, data, with_data=selector == _MODE_DATA)
    elif len(data) < (52 if kind == 0x00 else 20):
        yield frame.opaque("malformed_batch", "the execution data is too short for its mode")
    elif kind == 0x00:
        value = int.from_bytes(data[20:52], "big")
        yield from frame.inner(to=data[:20], data=data[52:], value=value, path=frame.step("execute"))
    else:
        yield from frame.inner(to=data[:20], data=data[20:], path=frame.step("execute"), delegate=True)


def _execute_batches(frame: Frame, data: bytes) -> Iterator[Effect]:
    """ERC-7821: a list of batches, each with data of its own for the account."""
    try:
        (batches,) = decode_strict(_BATCHES, data)
    except AbiError:
        yield frame.opaque("noncanonical_abi", "the batches are not canonically encoded")
        return
    for index, batch in enumerate(batches):  # type: ignore[arg-type]
        inner = frame._replace(path=frame.step("batches", index))
        yield from _execute_packed_batch(inner, batch, with_data=True)  # type: ignore[arg-type]


def _execute_packed_batch(frame: Frame, data: bytes, *, with_data: bool) -> Iterator[Effect]:
    calls: Any = None
    for types in (_EXECUTIONS_AND_DATA, _EXECUTIONS) if with_data else (_EXECUTIONS,):
        try:
            calls = decode_strict(types, data)[0]
            break
        except AbiError:
            continue
    if calls is None:
        yield frame.opaque("noncanonical_abi", "the batch is not canonically encoded")
        return
    yield from _each(frame, calls, self_at_zero=True)


def _execute_chainless(frame: Frame) -> Iterator[Effect]:
    """The account calls itself with each element; the operation is valid on every chain the account is on."""
    yield frame.opaque("any_chain", "valid on every chain where the account exists")
    for index, data in enumerate(frame.args[0]):
        yield from frame.inner(to=frame.to, data=data, path=frame.step("calls", index))


def _install(frame: Frame) -> Iterator[Effect]:
    yield Delegation("module", frame.args[1], frame.chain_id, frame.path)


def _uninstall(frame: Frame) -> Iterator[Effect]:
    yield AdminChange(frame.here, "uninstallModule", frame.args[1], frame.path)


def _handle_ops(frame: Frame) -> Iterator[Effect]:
    ops, beneficiary = frame.args
    for index, op in enumerate(ops):
        path = frame.step("ops", index)
        yield from _operation(frame.walk, Site(frame.chain_id, frame.to, op[0], 0, op[3], path, frame.depth + 1))
    yield frame.redirect(beneficiary, "gas refunds")


def _execute_user_op(frame: Frame) -> Iterable[Effect]:
    """An account runs its own calldata, in the name of whoever called it."""
    data = frame.args[0][3].removeprefix(_EXECUTE_USER_OP)
    return frame.inner(to=frame.to, data=data, path=frame.step("callData"), sender=frame.sender, prepaid=True)


def _user_operation(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature()
    path = join(frame.path, "callData")
    yield from _init_code(frame, m["initCode"])
    yield from _operation(frame.walk, Site(frame.chain_id, frame.contract, m["sender"], 0, m["callData"], path, 1))
    yield from _gas(frame, m)


def _operation(walk: Walk, site: Site) -> Iterable[Effect]:
    """What the entry point calls. `executeUserOp` is only a prefix: accounts call themselves with what follows."""
    data = site.data.removeprefix(_EXECUTE_USER_OP)
    return walk.call(site._replace(data=data)) if data else ()


def _init_code(frame: TypedFrame, init_code: bytes) -> Iterator[Effect]:
    if init_code[:2] == b"\x77\x02":
        yield frame.opaque("init_code", "the account is an EIP-7702 delegation that this operation sets up")
    elif init_code:
        yield frame.opaque("init_code", f"deploys the account by factory 0x{init_code[:20].hex()}")


def _gas(frame: TypedFrame, m: Mapping[str, Any]) -> Iterator[Effect]:
    limits, fees, paymaster = m["accountGasLimits"], m["gasFees"], m["paymasterAndData"]
    gas = int.from_bytes(limits[:16], "big") + int.from_bytes(limits[16:], "big") + m["preVerificationGas"]
    price = int.from_bytes(fees[16:], "big")
    if not paymaster:
        yield Fee(frame.chain_id, min(UINT256_MAX, gas * price), frame.path)
        return
    if len(paymaster) < 52:
        yield frame.opaque("malformed_batch", "paymasterAndData is too short")
        return
    gas += int.from_bytes(paymaster[20:36], "big") + int.from_bytes(paymaster[36:52], "big")
    yield Fee(frame.chain_id, min(UINT256_MAX, gas * price), frame.path)
    yield Redirect(Address(paymaster[:20]), "paymaster: paid for the gas in ways of its own", frame.path)


_CALLS: Final = "(address target,uint256 value,bytes data)[] calls"
_PACKED_OP: Final = (
    "(address sender,uint256 nonce,bytes initCode,bytes callData,bytes32 accountGasLimits,"
    "uint256 preVerificationGas,bytes32 gasFees,bytes paymasterAndData,bytes signature)"
)
_OP_06: Final = (
    "(address sender,uint256 nonce,bytes initCode,bytes callData,uint256 callGasLimit,uint256 verificationGasLimit,"
    "uint256 preVerificationGas,uint256 maxFeePerGas,uint256 maxPriorityFeePerGas,bytes paymasterAndData,"
    "bytes signature)[] ops"
)

CALLS: Final = (
    rule("execute(address target,uint256 value,bytes data)", _execute),
    rule("execute(address target,uint256 value,bytes data,uint8 operation)", _execute_operation),
    rule("execute(bytes32 mode,bytes executionCalldata)", execute_mode),
    rule("executeFromExecutor(bytes32 mode,bytes executionCalldata)", execute_mode),
    rule("execute((address target,uint256 value,bytes data) execution)", _execute_one),
    rule("executeUserOp(address target,uint256 value,bytes data,uint8 operation)", _execute_operation),
    rule(f"executeBatch({_CALLS})", _execute_batch),
    rule("executeBatch(address[] targets,bytes[] data)", _execute_lists),
    rule("executeBatch(address[] targets,uint256[] values,bytes[] data)", _execute_lists),
    rule("executeWithoutChainIdValidation(bytes[] calls)", _execute_chainless),
    rule("installModule(uint256 kind,address module,bytes initData)", _install),
    rule("uninstallModule(uint256 kind,address module,bytes deInitData)", _uninstall),
    rule(f"handleOps({_PACKED_OP}[] ops,address beneficiary)", _handle_ops),
    rule(f"executeUserOp({_PACKED_OP} op,bytes32 hash)", _execute_user_op),
    rule(f"handleOps({_OP_06},address beneficiary)", _handle_ops),
)

TYPED: Final = (
    typed_rule(
        "PackedUserOperation(address sender,uint256 nonce,bytes initCode,bytes callData,bytes32 accountGasLimits,"
        "uint256 preVerificationGas,bytes32 gasFees,bytes paymasterAndData)",
        _user_operation,
        name="ERC4337",
        at=(ENTRY_POINT_08,),
    ),
)

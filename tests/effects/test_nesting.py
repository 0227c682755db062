"""Calls inside calls: multicalls, Safe, smart accounts, and the bounds."""

import pytest

from walletgate.effects import decode
from walletgate.effects.abi import parse_signature
from walletgate.effects.accounts import ENTRY_POINT_07, ENTRY_POINT_08
from walletgate.effects.accounts import TYPED as OPERATIONS
from walletgate.effects.multicalls import DISPERSE, MULTICALL3
from walletgate.effects.registry import CALLS_MAX, address
from walletgate.effects.safe import CALL_ONLY
from walletgate.effects.safe import TYPED as SAFES
from walletgate.effects.signing import CHAIN_AND_CONTRACT
from walletgate.types import (
    NATIVE,
    ZERO_ADDRESS,
    AdminChange,
    Asset,
    Call,
    Delegation,
    Fee,
    Redirect,
    TrailingBytes,
    Transfer,
)

TOKEN, PAYEE, OTHER, SAFE = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20, b"\x44" * 20
USDC, COIN = Asset(1, TOKEN), Asset(1, NATIVE)
MC3, MULTI_SEND = address(MULTICALL3), address(CALL_ONLY[2])
PAY = parse_signature("transfer(address,uint256)").encode(PAYEE, 7)
SAFE_TX = SAFES[0].encoded_type
USER_OP = OPERATIONS[0].encoded_type
EXEC = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
EMPTY_REFUND = (0, 0, 0, ZERO_ADDRESS, ZERO_ADDRESS, b"")


def leaves(found):
    return [e for e in found if not isinstance(e, Call)]


def packed(*calls):
    return b"".join(
        bytes([operation]) + to + value.to_bytes(32, "big") + len(data).to_bytes(32, "big") + data
        for operation, to, value, data in calls
    )


@pytest.mark.parametrize(
    ("signature", "head"),
    [("multicall(bytes[])", ()), ("multicall(uint256,bytes[])", (5,)), ("multicall(bytes32,bytes[])", (b"\0" * 32,))],
)
def test_multicall_keeps_caller_and_counts_value_once(effects, call, wallet, signature, head):
    found = effects(TOKEN, call(signature, *head, (PAY, PAY)), 5)
    assert leaves(found) == [
        Transfer(COIN, wallet, TOKEN, 5, via=TOKEN),
        Transfer(USDC, wallet, PAYEE, 7, path="multicall[0]"),
        Transfer(USDC, wallet, PAYEE, 7, path="multicall[1]"),
    ]


def test_multicall3_acts_in_its_own_name(effects, call, wallet):
    pull = parse_signature("transferFrom(address,address,uint256)").encode(wallet, PAYEE, 7)
    found = effects(MC3, call("aggregate3((address,bool,bytes)[])", ((TOKEN, False, PAY), (TOKEN, True, pull))))
    assert [(e.sender, e.recipient) for e in leaves(found)] == [(MC3, PAYEE), (wallet, PAYEE)]


def test_multicall3_passes_value_on_and_keeps_the_rest(effects, call, wallet):
    aggregate = "aggregate3Value((address,bool,uint256,bytes)[])"
    found = effects(MC3, call(aggregate, ((PAYEE, False, 3, b""), (OTHER, False, 2, b""))), 9)
    assert [(e.sender, e.recipient, e.amount) for e in leaves(found)] == [
        (wallet, PAYEE, 3),
        (wallet, OTHER, 2),
        (wallet, MC3, 4),
    ]


def test_disperse_pays_each(effects, call, wallet, codes):
    ether = call("disperseEther(address[],uint256[])", (PAYEE, OTHER), (3, 2))
    assert [(e.recipient, e.amount) for e in leaves(effects(address(DISPERSE), ether, 5))] == [(PAYEE, 3), (OTHER, 2)]
    tokens = call("disperseToken(address,address[],uint256[])", TOKEN, (PAYEE,), (3,))
    assert leaves(effects(address(DISPERSE), tokens)) == [Transfer(USDC, wallet, PAYEE, 3, path="recipients[0]")]
    uneven = call("disperseEther(address[],uint256[])", (PAYEE, OTHER), (3,))
    assert codes(effects(address(DISPERSE), uneven)) == ["malformed_batch"]


def test_depth_is_bounded(effects, call, codes):
    data = PAY
    for _ in range(30):
        data = call("multicall(bytes[])", (data,))
    assert codes(effects(TOKEN, data)) == ["too_deep"]


def test_calls_are_bounded(effects, call, codes):
    found = effects(TOKEN, call("multicall(bytes[])", (PAY,) * (CALLS_MAX + 8)))
    assert set(codes(found)) == {"too_many_calls"}
    assert len(leaves(found)) <= CALLS_MAX + 16


def test_safe_sends_in_its_own_name(effects, call, sign):
    found = effects(SAFE, call(EXEC, TOKEN, 0, PAY, 0, *EMPTY_REFUND))
    assert leaves(found) == [Transfer(USDC, SAFE, PAYEE, 7, path="execTransaction")]
    signed = sign(SAFE_TX, safe_tx(), contract=SAFE, fields=CHAIN_AND_CONTRACT)
    assert signed[1:] == (Transfer(USDC, SAFE, PAYEE, 7, path="SafeTx"),)


def safe_tx(**changes):
    base = {"to": TOKEN, "value": 0, "data": PAY, "operation": 0, "safeTxGas": 0, "baseGas": 0, "gasPrice": 0,
            "gasToken": ZERO_ADDRESS, "refundReceiver": ZERO_ADDRESS, "nonce": 1}  # fmt: skip
    return base | changes


@pytest.fixture
def safe(sign):
    return lambda **changes: sign(SAFE_TX, safe_tx(**changes), contract=SAFE, fields=CHAIN_AND_CONTRACT)[1:]


def test_delegatecall_of_a_safe_is_opaque_even_if_it_looks_like_a_transfer(safe, codes):
    assert codes(safe(operation=1)) == ["delegatecall"]
    assert codes(safe(operation=2)) == ["malformed_batch"]
    assert codes(safe(operation=255)) == ["malformed_batch"]


def test_multi_send_is_unpacked_by_delegatecall_only(safe, codes, call):
    data = call("multiSend(bytes)", packed((0, TOKEN, 0, PAY), (0, PAYEE, 3, b"")))
    found = safe(to=MULTI_SEND, data=data, operation=1)
    assert found[0].delegate
    assert [(e.asset, e.sender, e.recipient, e.amount) for e in leaves(found)] == [
        (USDC, SAFE, PAYEE, 7),
        (COIN, SAFE, PAYEE, 3),
    ]
    assert codes(safe(to=MULTI_SEND, data=data, operation=0)) == ["malformed_batch"]
    assert codes(safe(to=OTHER, data=data, operation=1)) == ["delegatecall"]


@pytest.mark.parametrize(
    "blob",
    [packed((1, TOKEN, 0, PAY)), packed((0, TOKEN, 0, PAY))[:-1], packed((0, TOKEN, 0, PAY)) + b"\0", b"\0" * 84,
     b"\0" + TOKEN + bytes(32) + b"\xff" * 32],
)  # fmt: skip
def test_malformed_multi_sends_are_opaque(safe, codes, call, blob):
    assert codes(safe(to=MULTI_SEND, data=call("multiSend(bytes)", blob), operation=1)) == ["malformed_batch"]


def test_target_zero_is_the_safe_itself_since_1_5(safe, call):
    change = parse_signature("changeThreshold(uint256)").encode(1)
    found = safe(
        to=address(CALL_ONLY[3]), data=call("multiSend(bytes)", packed((0, ZERO_ADDRESS, 0, change))), operation=1
    )
    assert leaves(found)[0] == AdminChange(Asset(1, SAFE), "changeThreshold", None, "SafeTx.multiSend[0]")


@pytest.mark.parametrize(
    ("signature", "values", "subject"),
    [("addOwnerWithThreshold(address,uint256)", (OTHER, 1), OTHER), ("swapOwner(address,address,address)", (PAYEE, TOKEN, OTHER), OTHER),
     ("enableModule(address)", (OTHER,), OTHER), ("setGuard(address)", (ZERO_ADDRESS,), ZERO_ADDRESS)],
)  # fmt: skip
def test_self_calls_of_a_safe_change_who_rules(safe, call, signature, values, subject):
    found = leaves(safe(to=SAFE, data=call(signature, *values)))
    assert found == [AdminChange(Asset(1, SAFE), signature.partition("(")[0], subject, "SafeTx")]


def test_refunds_of_a_safe_are_transfers(safe, codes):
    found = safe(safeTxGas=10, baseGas=5, gasPrice=2, gasToken=TOKEN, refundReceiver=OTHER)
    assert found[-1] == Transfer(USDC, SAFE, OTHER, 30, path="refund")
    assert codes(safe(baseGas=5, gasPrice=2)) == ["unbounded_refund"]


def test_approving_a_hash_is_blind(effects, call, codes):
    assert codes(effects(SAFE, call("approveHash(bytes32)", b"\1" * 32))) == ["blind_hash"]


def test_modules_send_for_the_safe(effects, call):
    module = "execTransactionFromModule(address,uint256,bytes,uint8)"
    assert leaves(effects(SAFE, call(module, TOKEN, 0, PAY, 0)))[0].sender == SAFE


def mode(kind, failure=0, selector=b"\0" * 4, rest=b""):
    return (bytes([kind, failure]) + b"\0" * 4 + selector + rest).ljust(32, b"\0")


EXECUTIONS = parse_signature("f((address,uint256,bytes)[])")
WITH_DATA = parse_signature("f((address,uint256,bytes)[],bytes)")


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("execute(address,uint256,bytes)", (TOKEN, 0, PAY)),
        ("execute(address,uint256,bytes,uint8)", (TOKEN, 0, PAY, 0)),
        ("executeBatch((address,uint256,bytes)[])", (((TOKEN, 0, PAY),),)),
        ("executeBatch(address[],bytes[])", ((TOKEN,), (PAY,))),
        ("executeBatch(address[],uint256[],bytes[])", ((TOKEN,), (0,), (PAY,))),
        ("executeBatch(address[],uint256[],bytes[])", ((TOKEN,), (), (PAY,))),
        ("execute(bytes32,bytes)", (mode(0), TOKEN + bytes(32) + PAY)),
        ("execute(bytes32,bytes)", (mode(0, 1), TOKEN + bytes(32) + PAY)),
        ("execute(bytes32,bytes)", (mode(1), EXECUTIONS.encode(((TOKEN, 0, PAY),))[4:])),
        ("execute(bytes32,bytes)", (mode(1, 0, b"\x78\x21\x00\x01"), WITH_DATA.encode(((TOKEN, 0, PAY),), b"")[4:])),
        ("execute(bytes32,bytes)", (mode(1, 0, b"\x78\x21\x00\x01"), EXECUTIONS.encode(((TOKEN, 0, PAY),))[4:])),
        ("executeFromExecutor(bytes32,bytes)", (mode(0), TOKEN + bytes(32) + PAY)),
    ],
)
def test_accounts_act_in_their_own_name(effects, call, signature, values):
    found = effects(SAFE, call(signature, *values))
    assert [(e.asset, e.sender, e.recipient, e.amount) for e in leaves(found)] == [(USDC, SAFE, PAYEE, 7)]


@pytest.mark.parametrize(
    ("word", "data", "code"),
    [
        (mode(0xFE), b"", "unknown_mode"),
        (mode(2), b"", "unknown_mode"),
        (mode(0, 2), TOKEN + bytes(32), "unknown_mode"),
        (mode(0, 0, b"\1\2\3\4"), TOKEN + bytes(32), "unknown_mode"),
        (mode(1, 0, b"\x78\x21\x00\x03"), b"", "unknown_mode"),
        (mode(0, 0, b"\x78\x21\x00\x02"), b"", "unknown_mode"),
        (mode(0, 0, rest=b"\0\0\1"), TOKEN + bytes(32), "unknown_mode"),
        (mode(0), TOKEN + bytes(31), "malformed_batch"),
        (mode(0xFF), TOKEN[:19], "malformed_batch"),
        (mode(0xFF), TOKEN + PAY, "delegatecall"),
        (mode(1), EXECUTIONS.encode(((TOKEN, 0, PAY),))[4:] + b"\0", "noncanonical_abi"),
    ],
)
def test_execution_modes_decide_the_layout(effects, call, codes, word, data, code):
    assert codes(effects(SAFE, call("execute(bytes32,bytes)", word, data))) == [code]


def test_uneven_batches_are_opaque(effects, call, codes):
    assert codes(effects(SAFE, call("executeBatch(address[],bytes[])", (TOKEN, TOKEN), (PAY,)))) == ["malformed_batch"]


def test_chainless_execution_is_opaque_besides_its_effects(effects, call, codes):
    inner = call("execute(address,uint256,bytes)", TOKEN, 0, PAY)
    found = effects(SAFE, call("executeWithoutChainIdValidation(bytes[])", (inner,)))
    assert codes(found) == ["any_chain"]
    assert leaves(found)[-1].sender == SAFE


def test_operations_beyond_call_and_delegatecall_are_opaque(effects, call, codes):
    assert codes(effects(SAFE, call("execute(address,uint256,bytes,uint8)", TOKEN, 0, PAY, 2))) == ["malformed_batch"]
    assert codes(effects(SAFE, call("execute(address,uint256,bytes,uint8)", TOKEN, 0, PAY, 1))) == ["delegatecall"]


def test_an_operation_without_calldata_only_pays(operation):
    assert [type(e) for e in operation(callData=b"")] == [Fee]


def test_modules_are_delegations(effects, call):
    found = effects(SAFE, call("installModule(uint256,address,bytes)", 1, OTHER, b""))
    assert leaves(found) == [Delegation("module", OTHER, 1)]
    gone = effects(SAFE, call("uninstallModule(uint256,address,bytes)", 1, OTHER, b""))
    assert leaves(gone) == [AdminChange(Asset(1, SAFE), "uninstallModule", OTHER)]


def user_operation(call, **changes):
    base = {"sender": SAFE, "nonce": 0, "initCode": b"", "callData": call("execute(address,uint256,bytes)", TOKEN, 0, PAY),
            "accountGasLimits": (10).to_bytes(16, "big") + (20).to_bytes(16, "big"), "preVerificationGas": 5,
            "gasFees": (1).to_bytes(16, "big") + (3).to_bytes(16, "big"), "paymasterAndData": b""}  # fmt: skip
    return base | changes


@pytest.fixture
def operation(sign, call):
    return lambda **changes: sign(
        USER_OP, user_operation(call, **changes), contract=address(ENTRY_POINT_08), name="ERC4337"
    )[1:]


def test_user_operations_pay_for_what_they_do(operation):
    found = operation()
    assert leaves(found)[0].sender == SAFE
    assert found[-1] == Fee(1, 35 * 3)


def test_user_operations_unwrap_execute_user_op(operation, call):
    inner = call("execute(address,uint256,bytes)", TOKEN, 0, PAY)
    assert leaves(operation(callData=bytes.fromhex("8dd7712f") + inner))[0].recipient == PAYEE


def test_paymasters_are_paid_somehow(operation, codes):
    paymaster = OTHER + (7).to_bytes(16, "big") + (8).to_bytes(16, "big") + b"terms"
    found = operation(paymasterAndData=paymaster)
    assert found[-1] == Redirect(OTHER, "paymaster: paid for the gas in ways of its own")
    assert found[-2] == Fee(1, 50 * 3)
    assert codes(operation(paymasterAndData=OTHER)) == ["malformed_batch"]


@pytest.mark.parametrize("code", [b"\x77\x02", OTHER + b"data"])
def test_operations_that_set_up_the_account_are_opaque(operation, codes, code):
    assert codes(operation(initCode=code)) == ["init_code"]


def test_bundles_are_unrolled(effects, call, wallet):
    handle = "handleOps((address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)[],address)"
    inner = call("execute(address,uint256,bytes)", TOKEN, 0, PAY)
    op = (SAFE, 0, b"", inner, b"\0" * 32, 0, b"\0" * 32, b"", b"")
    found = leaves(effects(address(ENTRY_POINT_07), call(handle, (op,), OTHER)))
    assert found[0].recipient == PAYEE
    assert found[-1] == Redirect(OTHER, "gas refunds")


def test_an_account_told_to_run_an_operation_runs_its_calldata(effects, call):
    run = "executeUserOp((address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes),bytes32)"
    inner = bytes.fromhex("8dd7712f") + call("execute(address,uint256,bytes)", TOKEN, 0, PAY)
    found = leaves(effects(SAFE, call(run, (SAFE, 0, b"", inner, b"\0" * 32, 0, b"\0" * 32, b"", b""), b"\0" * 32)))
    assert [(e.sender, e.recipient) for e in found] == [(SAFE, PAYEE)]


def test_creation_by_the_deployment_proxy(effects, codes):
    proxy = address("0x4e59b44847b379578588920cA78FbF26c0B4956C")
    assert type(effects(proxy, b"\0" * 32 + b"\x60")[0]).__name__ == "Deployment"
    assert codes(effects(proxy, b"\0" * 31)) == ["empty_init_code"]


def test_trailing_bytes_are_found_at_any_depth(effects, call):
    found = effects(TOKEN, call("multicall(bytes[])", (PAY + b"xy",)))
    assert found[-1] == TrailingBytes(2, "multicall[0]")


def wrappers(call):
    return {
        "multicall": lambda to, data: (to, call("multicall(bytes[])", (data,))),
        "execute": lambda to, data: (SAFE, call("execute(address,uint256,bytes)", to, 0, data)),
        "7579": lambda to, data: (SAFE, call("execute(bytes32,bytes)", mode(0), to + bytes(32) + data)),
        "safe": lambda to, data: (SAFE, call(EXEC, to, 0, data, 0, *EMPTY_REFUND)),
        "multi send": lambda to, data: (SAFE, call(EXEC, MULTI_SEND, 0, call("multiSend(bytes)", packed((0, to, 0, data))), 1, *EMPTY_REFUND)),
        "multicall3": lambda to, data: (MC3, call("aggregate3((address,bool,bytes)[])", ((to, False, data),))),
        "handleOps": lambda to, data: (
            address(ENTRY_POINT_07),
            call(
                "handleOps((address,uint256,bytes,bytes,bytes32,uint256,bytes32,bytes,bytes)[],address)",
                ((SAFE, 0, b"", call("execute(address,uint256,bytes)", to, 0, data), b"\0" * 32, 0, b"\0" * 32, b"", b""),),
                PAYEE,
            ),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("outer", ["multicall", "execute", "7579", "safe", "multi send", "multicall3", "handleOps"])
@pytest.mark.parametrize("inner", ["multicall", "execute", "7579", "safe", "multi send", "multicall3"])
def test_no_nest_hides_a_transfer(transaction, context, call, wallet, outer, inner):
    pull = call("transferFrom(address,address,uint256)", wallet, PAYEE, 7)
    to, data = wrappers(call)[outer](*wrappers(call)[inner](TOKEN, pull))
    found = [e for e in decode(transaction(to, data), context()) if isinstance(e, Transfer)]
    assert [(e.asset, e.sender, e.recipient, e.amount) for e in found] == [(USDC, wallet, PAYEE, 7)]

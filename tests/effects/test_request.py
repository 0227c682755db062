"""What the wire may say, and the code of every refusal."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.effects.request import (
    parse_authorization,
    parse_batch,
    parse_hash,
    parse_message,
    parse_transaction,
    parse_typed_data,
    strict_json,
)
from walletgate.errors import InvalidRequestError
from walletgate.types import TransactionType

WALLET = "0x40fE73b698b1b21Dc2f861326B4d0F41ecCA8245"
PAYEE = "0xd62E97C1C4219a3850376f168e3B18aD242765Db"
RAW_WALLET = bytes.fromhex(WALLET[2:])
RAW_PAYEE = bytes.fromhex(PAYEE[2:])
HASH = "0x01" + "00" * 31


def make(**changes):
    base = {"from": WALLET, "to": PAYEE, "value": "0x1", "chainId": "0x2105", "type": "0x2", "gas": "0x5208",
            "maxFeePerGas": "0x5f5e100", "maxPriorityFeePerGas": "0xf4240"}  # fmt: skip
    return {k: v for k, v in (base | changes).items() if v != "absent"}


def refusal(function, *args, **kwargs):
    with pytest.raises(InvalidRequestError) as caught:
        function(*args, **kwargs)
    return caught.value.code


def test_a_transaction_is_read_field_by_field():
    request = parse_transaction(make(data="0xABcd", nonce="0x7"), where="params[0]")
    assert (request.sender, request.to, request.value, request.data) == (RAW_WALLET, RAW_PAYEE, 1, b"\xab\xcd")
    assert (request.chain_id, request.type, request.gas, request.nonce) == (8453, TransactionType.FEE_MARKET, 21000, 7)
    assert (request.max_fee_per_gas, request.max_priority_fee_per_gas) == (10**8, 10**6)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": None}, {"data": None}, {"data": "0x"}, {"input": "0x12"}, {"data": "0x12", "input": "0x12"}, {"data": "0xab", "input": "0xAB"},
        {"to": PAYEE.lower()}, {"to": "0x" + PAYEE[2:].upper()}, {"value": "0xDE0B6B3A7640000"}, {"value": "0x00"},
        {"type": "absent"}, {"type": "0x0", "gasPrice": "0x1", "maxFeePerGas": "absent", "maxPriorityFeePerGas": "absent", "chainId": "absent"},
        {"accessList": [{"address": PAYEE, "storageKeys": [HASH]}]}, {"to": "absent", "data": "0x00"}, {"to": None},
        {"value": hex(2**256 - 1)}, {"gas": hex(2**64 - 1)},
    ],
)  # fmt: skip
def test_every_honest_spelling_is_accepted(changes):
    parse_transaction(make(**changes), where="transaction")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        *[({"value": bad}, "bad_quantity") for bad in (1, 1.0, 1e18, -1, "1", "1000", "-0x1", "0x", "0X1", "0x1_0", "1_0", " 0x1", "0x1 ", "0x1\n", "0xg", "NaN", True, [], {}, "", "0x\uff11")],
        ({"value": hex(2**256)}, "quantity_overflow"),
        ({"value": "0x" + "0" * 65}, "quantity_overflow"),
        ({"gas": hex(2**64)}, "quantity_overflow"),
        ({"nonce": hex(2**64 - 1)}, "quantity_overflow"),
        ({"chainId": hex(2**53)}, "quantity_overflow"),
        ({"chainId": "0x0"}, "bad_chain_id"),
        ({"chainId": 8453}, "bad_quantity"),
        ({"to": "0xD62E97C1C4219a3850376f168e3B18aD242765Db"}, "bad_checksum"),
        *[({"to": bad}, "bad_address") for bad in ("", "0x", "0X" + PAYEE[2:], PAYEE[:-1], PAYEE + "0", PAYEE.replace("d", "\u0501"), PAYEE + "\n", "vitalik.eth", 5)],
        *[({"data": bad}, "bad_hex") for bad in ("0x1", "12", "0X12", "0xzz", "", 5, "0x12\n")],
        ({"data": "0x12", "input": "0x13"}, "data_input_mismatch"),
        ({"data": "0x12", "input": "0x"}, "data_input_mismatch"),
        ({"data": "0x" + "00" * (128 * 1024 + 1)}, "data_too_large"),
        ({"gasPrice": "0x1"}, "fee_conflict"),
        ({"maxPriorityFeePerGas": "0x5f5e101"}, "fee_conflict"),
        ({"type": "0x5"}, "bad_type"),
        ({"type": "0x7f"}, "bad_type"),
        ({"type": 2}, "bad_quantity"),
        ({"type": "0x0"}, "type_conflict"),
        ({"type": "0x1"}, "type_conflict"),
        ({"type": "0x4"}, "type_conflict"),
        ({"type": "0x3"}, "type_conflict"),
        ({"type": "0x2", "authorizationList": []}, "type_conflict"),
        ({"type": "0x2", "blobVersionedHashes": [HASH]}, "type_conflict"),
        ({"type": "0x2", "gasPrice": "0x1", "maxFeePerGas": "absent", "maxPriorityFeePerGas": "absent"}, "type_conflict"),
        ({"unknown": "0x1"}, "unknown_field"),
        ({"gasLimit": "0x1"}, "unknown_field"),
        ({"To": PAYEE}, "unknown_field"),
        ({"from": "absent"}, "missing_field"),
        ({"accessList": {}}, "bad_list"),
        ({"accessList": [[]]}, "bad_object"),
        ({"authorizationList": [{"chainId": "0x1"}], "type": "0x4"}, "missing_field"),
    ],
)  # fmt: skip
def test_ambiguous_transactions_are_refused_with_their_code(changes, code):
    assert refusal(parse_transaction, make(**changes), where="transaction") == code


def test_absent_from_is_the_wallet_of_the_session():
    assert parse_transaction(make(**{"from": "absent"}), where="t", sender=RAW_WALLET).sender == RAW_WALLET


def test_set_code_transaction_needs_and_keeps_its_authorizations():
    row = {"chainId": "0x0", "address": PAYEE, "nonce": "0x8", "yParity": "0x1", "r": "0x2", "s": "0x3"}
    request = parse_transaction(make(type="0x4", authorizationList=[row]), where="t")
    assert request.authorization_list[0].chain_id == 0
    assert request.authorization_list[0].signature == (1, 2, 3)
    assert refusal(parse_authorization, row | {"yParity": "0x2"}) == "quantity_overflow"
    assert refusal(parse_authorization, {k: v for k, v in row.items() if k != "s"}) == "missing_field"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"a":1,"a":2}', "duplicate_key"),
        (b'{"to":1,"\\u0074o":2}', "duplicate_key"),
        (b'{"a":NaN}', "bad_number"),
        (b"[-Infinity]", "bad_number"),
        (b"[1e999]", "bad_number"),
        (b"[" + b"1" * 200 + b"]", "bad_number"),
        (b"\xef\xbb\xbf{}", "byte_order_mark"),
        (b'{"a":"\xff"}', "bad_utf8"),
        (b'["\\ud800"]', "bad_utf8"),
        (b"{", "bad_json"),
        (b"{} {}", "bad_json"),
        (b"{'a':1}", "bad_json"),
        (b"[1,]", "bad_json"),
        (b"", "bad_json"),
        (b"[" * 40 + b"]" * 40, "json_too_deep"),
        (b"[" * 200_000, "json_too_deep"),
        (b" " * (1024 * 1024 + 1), "body_too_large"),
    ],
)
def test_json_with_two_readings_is_refused(body, code):
    assert refusal(strict_json, body) == code


def test_plain_json_is_read():
    assert strict_json(b'{"a":[1,-2,2.5,null,true,"x"]}') == {"a": [1, -2, 2.5, None, True, "x"]}
    assert strict_json(b"[" + b",".join([b"[]"] * 50) + b"]") == [[]] * 50
    assert strict_json(b'["' + b"[{" * 50 + b'"]') == ["[{" * 50]
    assert strict_json(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


def test_typed_data_comes_as_object_or_text():
    assert parse_typed_data('{"a": 1}', signer=RAW_WALLET).document == {"a": 1}
    assert parse_typed_data({"a": 1}, signer=RAW_WALLET).document == {"a": 1}
    assert refusal(parse_typed_data, '{"a":1,"a":2}', signer=RAW_WALLET) == "duplicate_key"
    assert refusal(parse_typed_data, "[]", signer=RAW_WALLET) == "bad_typed_data"
    assert refusal(parse_typed_data, 5, signer=RAW_WALLET) == "bad_typed_data"
    assert refusal(parse_typed_data, '"\ud800"', signer=RAW_WALLET) == "bad_utf8"


def test_messages_are_hex_or_text():
    assert parse_message("0x6869", signer=RAW_WALLET).data == b"hi"
    assert parse_message("hi", signer=RAW_WALLET).data == b"hi"
    assert refusal(parse_message, "0x686", signer=RAW_WALLET) == "bad_hex"
    assert refusal(parse_message, "0X68", signer=RAW_WALLET) == "bad_hex"
    assert refusal(parse_message, 5, signer=RAW_WALLET) == "bad_message"
    assert refusal(parse_message, "\ud800", signer=RAW_WALLET) == "bad_message"
    assert refusal(parse_message, "a" * 20_000, signer=RAW_WALLET) == "message_too_large"
    assert parse_hash(HASH, signer=RAW_WALLET).digest == bytes.fromhex(HASH[2:])
    assert refusal(parse_hash, "0x12", signer=RAW_WALLET) == "bad_hex"


def batch(**changes):
    base = {
        "version": "2.0.0",
        "from": WALLET,
        "chainId": "0x2105",
        "atomicRequired": True,
        "calls": [{"to": PAYEE, "value": "0x1"}],
    }
    return {k: v for k, v in (base | changes).items() if v != "absent"}


def test_a_batch_is_read_call_by_call():
    parsed = parse_batch(batch(capabilities={"x": {"optional": True}, "paymasterService": {"url": "https://x"}}))
    assert (parsed.chain_id, parsed.atomic_required, len(parsed.calls)) == (8453, True, 1)
    assert parsed.calls[0].to == RAW_PAYEE
    assert list(parsed.capabilities) == ["paymasterService"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": "1.0"}, "bad_version"),
        ({"version": "absent"}, "bad_version"),
        ({"calls": []}, "bad_batch"),
        ({"calls": [{}] * 129}, "bad_batch"),
        ({"atomicRequired": "yes"}, "bad_batch"),
        ({"id": 5}, "bad_batch"),
        ({"chainId": "absent"}, "missing_field"),
        ({"calls": [{"to": PAYEE, "from": PAYEE}]}, "unknown_field"),
        ({"calls": [{"to": PAYEE, "chainId": "0x1"}]}, "bad_chain_id"),
        ({"calls": [{"to": PAYEE, "capabilities": {"x": {}}}]}, "unsupported_capability"),
        ({"calls": [5]}, "bad_object"),
        ({"capabilities": {"x": 5}}, "bad_batch"),
        ({"extra": 1}, "unknown_field"),
    ],
)
def test_malformed_batches_are_refused(changes, code):
    assert refusal(parse_batch, batch(**changes)) == code


KEYS = ["from", "to", "value", "data", "input", "gas", "type", "chainId", "nonce", "accessList", "authorizationList", "gasPrice",
        "blobVersionedHashes", "calls", "version", "capabilities", "atomicRequired", "address", "storageKeys", "r", "s", "yParity"]  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from([WALLET, PAYEE, HASH, "0x1", "0x", "2.0.0", "0x2"]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(KEYS), TREES, max_size=10))
@settings(max_examples=300, deadline=None)
def test_any_object_is_read_or_refused(obj):
    for parse in (parse_transaction, parse_batch, parse_authorization):
        with contextlib.suppress(InvalidRequestError):
            parse(obj)


@given(TREES)
@settings(max_examples=100, deadline=None)
def test_any_value_is_a_message_or_refused(value):
    for parse in (parse_message, parse_hash, parse_typed_data):
        with contextlib.suppress(InvalidRequestError):
            parse(value, signer=RAW_WALLET)


@given(
    st.one_of(
        st.binary(max_size=60),
        TREES.map(lambda tree: json.dumps(tree).encode()),
        st.text(alphabet='[]{}",:\\u01eE.-tfn ', max_size=60).map(str.encode),
    )
)
@settings(max_examples=300, deadline=None)
def test_strict_json_reads_what_json_reads_or_refuses(body):
    try:
        value = strict_json(body)
    except InvalidRequestError:
        return
    assert value == json.loads(body)

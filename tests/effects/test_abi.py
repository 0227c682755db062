"""The ABI codec agrees with eth_abi on what is canonical and refuses everything else."""

import eth_abi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.effects.abi import AbiError, decode_prefix, decode_strict, encode, parse_signature, parse_types
from walletgate.effects.signature import AbiType, SignatureError

SIGNATURES = {
    "transfer(address,uint256)": "a9059cbb",
    "approve(address,uint256)": "095ea7b3",
    "multicall(bytes[])": "ac9650d8",
    "aggregate3((address,bool,bytes)[])": "82ad56cb",
    "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)": "6a761202",
}


@pytest.mark.parametrize(("signature", "selector"), SIGNATURES.items())
def test_selector_is_the_known_one(signature, selector):
    assert parse_signature(signature).selector.hex() == selector


def test_names_are_kept_and_do_not_change_the_selector():
    named = parse_signature("supply(address asset, uint256 amount, address onBehalfOf, uint16 code)")
    assert named.signature == "supply(address,uint256,address,uint16)"
    assert [p.name for p in named.params] == ["asset", "amount", "onBehalfOf", "code"]


def test_tuple_components_carry_names():
    nested = parse_signature("f(tuple(address to,(uint a,bytes b)[2][] list) plan)")
    assert nested.signature == "f((address,(uint256,bytes)[2][]))"
    assert [c.name for c in nested.params[0].components] == ["to", "list"]


def test_receive_has_the_empty_selector():
    assert parse_signature("receive()").selector == b""


@pytest.mark.parametrize(
    "text",
    ["", "f", "f(", "f()x", "f(uint7)", "f(uint264)", "f(bytes33)", "f(bytes0)", "f(uint08)", "f(,)", "f(())", "f(uint256,)",
     "f(uint256[0])", "f(uint256[99999])", "f(address8)", "f(map)", "1f()", "f(" + "(" * 20 + "uint256" + ")" * 20 + ")", "f(" + "uint256," * 200 + "uint256)"],
)  # fmt: skip
def test_what_is_no_signature_is_refused(text):
    with pytest.raises(SignatureError):
        parse_signature(text)


def _values(abi_type: AbiType) -> st.SearchStrategy:
    size = abi_type.size
    if abi_type.kind == "tuple":
        return st.tuples(*map(_values, abi_type.components))
    if abi_type.kind == "array":
        count = abi_type.length
        return st.lists(_values(abi_type.item), min_size=count or 0, max_size=3 if count is None else count).map(tuple)
    return {
        "address": st.binary(min_size=20, max_size=20),
        "bool": st.booleans(),
        "uint": st.integers(0, 2 ** max(size, 1) - 1),
        "int": st.integers(-(2 ** max(size - 1, 0)), 2 ** max(size - 1, 0) - 1),
        "fixed": st.binary(min_size=size, max_size=size),
        "bytes": st.binary(max_size=80),
        "string": st.text(max_size=40),
    }[abi_type.kind]


_names = st.sampled_from(
    ["address", "bool", "uint256", "uint8", "int24", "int256", "bytes32", "bytes4", "bytes", "string"]
)
_types = st.recursive(
    _names,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({','.join(parts)})"),
        st.tuples(inner, st.sampled_from(["[]", "[2]"])).map("".join),
    ),
    max_leaves=6,
)


@given(st.lists(_types, max_size=3), st.data())
@settings(max_examples=150, deadline=None)
def test_encoding_agrees_with_eth_abi_and_decodes_to_itself(names, data):
    types = parse_types(",".join(names))
    values = tuple(data.draw(_values(t)) for t in types)
    encoded = encode(types, values)
    assert encoded == eth_abi.encode(
        [t.canonical for t in types], [_for_eth_abi(t, v) for t, v in zip(types, values, strict=True)]
    )
    assert decode_strict(types, encoded) == values


def _for_eth_abi(abi_type, value):
    if abi_type.kind == "address":
        return "0x" + value.hex()
    if abi_type.kind == "tuple":
        return tuple(_for_eth_abi(t, v) for t, v in zip(abi_type.components, value, strict=True))
    return [_for_eth_abi(abi_type.item, v) for v in value] if abi_type.kind == "array" else value


@given(st.lists(_types, min_size=1, max_size=2), st.data())
@settings(max_examples=100, deadline=None)
def test_any_other_bytes_mean_something_else_or_are_refused(names, data):
    types = parse_types(",".join(names))
    values = tuple(data.draw(_values(t)) for t in types)
    encoded = bytearray(encode(types, values))
    if not encoded:
        return
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << (bit % 8)
    try:
        read = decode_strict(types, bytes(encoded))
    except AbiError:
        return
    assert encode(types, read) == bytes(encoded)


def test_every_flipped_bit_of_a_transfer_is_another_transfer_or_refused():
    transfer = parse_signature("transfer(address,uint256)")
    calldata = transfer.encode(b"\x11" * 20, 10**6)
    for bit in range(32, len(calldata) * 8):
        flipped = bytearray(calldata)
        flipped[bit // 8] ^= 1 << (bit % 8)
        try:
            args, _ = transfer.decode(bytes(flipped))
        except AbiError:
            assert 32 <= bit < 32 + 96, "only the padding of the address can be wrong"
        else:
            assert args != (b"\x11" * 20, 10**6)


def _word(number):
    return number.to_bytes(32, "big")


@pytest.mark.parametrize(
    ("types", "data"),
    [
        ("address", _word(1 << 160)),
        ("bool", _word(2)),
        ("uint8", _word(257)),
        ("uint160", _word(1 << 160)),
        ("int8", _word(128)),
        ("bytes4", b"\0" * 31 + b"\1"),
        ("uint256", b"\0" * 31),
        ("bytes", _word(64) + _word(0) + _word(0)),
        ("bytes", _word(32) + _word(1) + b"a" + b"\0" * 30),
        ("bytes", _word(32) + _word(1) + b"a" + b"\0" * 30 + b"\1"),
        ("bytes", _word(32) + _word(2**255)),
        ("bytes", _word(2**256 - 32) + _word(0)),
        ("string", _word(32) + _word(1) + b"\xff" + b"\0" * 31),
        ("bytes[]", _word(32) + _word(1) + _word(0)),
        ("bytes[]", _word(32) + _word(2) + _word(64) + _word(64) + _word(0)),
        ("bytes[]", _word(32) + _word(2) + _word(96) + _word(64) + _word(0) + _word(0)),
        ("uint256[]", _word(32) + _word(2**64)),
        ("uint256[]", _word(32) + _word(5000) + b"\0" * 32 * 5000),
        ("bytes,bytes", _word(64) + _word(64) + _word(0)),
    ],
)
def test_noncanonical_words_are_refused(types, data):
    with pytest.raises(AbiError):
        decode_strict(parse_types(types), data)


def test_trailing_bytes_are_reported_not_hidden():
    transfer = parse_signature("transfer(address,uint256)")
    calldata = transfer.encode(b"\x11" * 20, 5)
    assert transfer.decode(calldata + b"tail") == ((b"\x11" * 20, 5), len(calldata))
    assert decode_prefix(parse_types("uint8"), _word(1) + b"x") == ((1,), 32)
    with pytest.raises(AbiError):
        decode_strict(parse_types("uint8"), _word(1) + b"x")


@pytest.mark.parametrize(
    ("types", "values"),
    [("uint8", (256,)), ("uint8", (-1,)), ("uint8", (True,)), ("bool", (1,)), ("address", (b"1",)), ("bytes4", (b"",)),
     ("uint8", ("1",)), ("uint8[2]", ((1,),)), ("(uint8)", (1,)), ("uint8", ()), ("bytes", (5,)), ("address", ("0x",))],
)  # fmt: skip
def test_values_that_do_not_fit_are_refused(types, values):
    with pytest.raises(AbiError):
        encode(parse_types(types), values)

"""Whatever an agent sends, decoding ends, does not raise, and says so when it does not understand."""

from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.effects import REGISTRY, TYPED_RULES, DecodeContext, decode
from walletgate.effects.abi import AbiError, decode_prefix
from walletgate.effects.typed import parse
from walletgate.types import (
    Batch,
    Fee,
    Opaque,
    TextMessage,
    Transaction,
    TransactionRequest,
    TransactionType,
    TypedData,
)

WALLET = b"\xaa" * 20
CONTEXT = DecodeContext(1, WALLET, 1_767_225_600)
RULES = sorted({(r.function.selector, r.function.signature, min(r.at or {b"\x11" * 20})) for r in REGISTRY.rules()})
BY_SIGNATURE = {r.function.signature: r.function for r in REGISTRY.rules()}
WORDS = st.sampled_from(
    [0, 1, 2, 32, 64, 96, 128, 160, 1 << 255, 2**256 - 1, 0xFF, 4096, int.from_bytes(WALLET, "big")]
)


def transaction(to, data, value=0):
    return Transaction(TransactionType.FEE_MARKET, 1, WALLET, to, value, data, 21_000, 1, 1)


@st.composite
def hostile_calldata(draw):
    selector, _, to = draw(st.sampled_from(RULES))
    words = b"".join(w.to_bytes(32, "big") for w in draw(st.lists(WORDS, max_size=24)))
    return to, selector + words + draw(st.binary(max_size=40))


NUMBERS = (
    "amount",
    "min_amount",
    "sold_amount",
    "price",
    "value",
    "bips",
    "token_id",
    "expires_at",
    "valid_until",
    "deadline",
    "chain_id",
)


def check_numbers(found):
    """Whatever stores effects may rely on uint256."""
    for effect in found:
        for name in NUMBERS:
            number = getattr(effect, name, None)
            assert number is None or 0 <= number < 2**256, (effect, name)


@given(hostile_calldata(), st.integers(0, 2**256 - 1))
@settings(max_examples=300, deadline=None)
def test_decode_never_raises_on_calldata(call, value):
    found = decode(transaction(*call, value), CONTEXT)
    assert isinstance(found[-1], Fee)
    assert len(found) > 1


ADDRESSES = st.sampled_from([WALLET, bytes(20), b"\x11" * 20, bytes(19) + b"\1", bytes(19) + b"\2"])


def values_of(abi_type, draw):
    if abi_type.kind == "tuple":
        return tuple(values_of(t, draw) for t in abi_type.components)
    if abi_type.kind == "array":
        count = abi_type.length if abi_type.length is not None else draw(st.integers(0, 3))
        return tuple(values_of(abi_type.item, draw) for _ in range(count))
    size = abi_type.size or 1
    low = -(1 << (size - 1)) if abi_type.kind == "int" else 0
    data = st.one_of(st.binary(max_size=100), hostile_calldata().map(lambda c: c[1]))
    kinds = {
        "bytes": data,
        "string": data.map(bytes.hex),
        "bool": st.booleans(),
        "address": ADDRESSES,
        "fixed": st.sampled_from([bytes(size), b"\xff" * size, (b"\1" + bytes(31))[:size]]),
        "uint": st.sampled_from([0, 1, (1 << (size - 1)) - 1, (1 << size) - 1]),
        "int": st.sampled_from([low, 0, 1]),
    }
    return draw(kinds[abi_type.kind])


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_decode_never_raises_on_canonical_calls_of_known_functions(data):
    _, signature, to = data.draw(st.sampled_from(RULES))
    function = BY_SIGNATURE[signature]
    calldata = function.encode(*(values_of(t, data.draw) for t in function.params))
    value = data.draw(st.sampled_from([0, 1, 10**18]))
    found = decode(transaction(to, calldata, value), CONTEXT)
    assert isinstance(found[-1], Fee)
    check_numbers(found)
    codes = [e.code for e in found if isinstance(e, Opaque) and not e.path and signature in e.detail]
    assert "noncanonical_abi" not in codes


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_messages_always_mean_something(data):
    assert decode(TextMessage(WALLET, data), CONTEXT)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8), st.sampled_from(["uint256", "EIP712Domain", "0x"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["types", "primaryType", "domain", "message", "EIP712Domain", "name", "type"]), inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["types", "primaryType", "domain", "message"]), JSON, max_size=4))
@settings(max_examples=200, deadline=None)
def test_typed_data_of_any_shape_never_raises(document):
    assert decode(TypedData(WALLET, document), CONTEXT)


def fill(kind, structs, draw):
    if kind.endswith("]"):
        base, _, count = kind[:-1].rpartition("[")
        return [fill(base, structs, draw) for _ in range(int(count) if count else draw(st.integers(0, 2)))]
    if kind in structs:
        return {row["name"]: fill(row["type"], structs, draw) for row in structs[kind]}
    size = int(kind[5:] or draw(st.integers(0, 80))) if kind.startswith("bytes") else 0
    bits = int(kind[4:]) if kind.startswith("uint") else 8
    kinds = {
        "bool": st.booleans(),
        "address": ADDRESSES.map(lambda a: "0x" + a.hex()),
        "string": st.sampled_from(["sell", "", "erc20"]),
        "bytes": st.sampled_from(["00", "ff", "77"]).map(lambda byte: "0x" + byte * size),
        "uint": st.sampled_from([0, 1, 3, 2 ** (bits - 1), 2**bits - 1]),
        "int": st.sampled_from([0, 1, -1]),
    }
    return draw(kinds[kind.rstrip("0123456789")])


@given(st.data())
@settings(max_examples=250, deadline=None)
def test_decode_never_raises_on_known_typed_data(document, data):
    rule = data.draw(st.sampled_from(list(TYPED_RULES.values())))
    contract = min(rule.at or {b"\x11" * 20})
    types = document.types_of(rule.encoded_type)
    message = fill(next(iter(types)), types, data.draw)
    fields = rule.fields or ("name", "version", "chainId", "verifyingContract")
    built = document(rule.encoded_type, message, contract=contract, name=rule.name, fields=fields)
    found = decode(TypedData(WALLET, built), CONTEXT)
    check_numbers(found)
    codes = {e.code for e in found if isinstance(e, Opaque)}
    assert not codes & {"malformed_typed_data", "unknown_type_hash", "domain_mismatch", "unknown_verifying_contract"}


@given(st.lists(hostile_calldata(), max_size=4))
@settings(max_examples=50, deadline=None)
def test_batches_are_the_sum_of_their_calls(calls):
    rows = tuple(TransactionRequest(None, WALLET, to, 0, data) for to, data in calls)
    together = decode(Batch(1, WALLET, rows), CONTEXT)
    alone = [e for to, data in calls for e in decode(transaction(to, data), CONTEXT)[:-1]]
    assert [type(e) for e in together] == [type(e) for e in alone]


@given(st.sampled_from(RULES), st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_every_accepted_byte_is_accounted_for(rule, data):
    function = BY_SIGNATURE[rule[1]]
    try:
        args, end = decode_prefix(function.params, data)
    except AbiError:
        return
    assert function.encode(*args)[4:] == data[:end]


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_flipped_bit_is_another_meaning_or_none(data):
    """No two spellings of one call: whatever differs by a bit is other arguments, trailing bytes, or refused."""
    function = BY_SIGNATURE[data.draw(st.sampled_from(sorted(BY_SIGNATURE)))]
    args = tuple(values_of(t, data.draw) for t in function.params)
    calldata = bytearray(function.encode(*args))
    if len(calldata) <= 4:
        return
    place = data.draw(st.integers(32, 8 * len(calldata) - 1))
    calldata[place // 8] ^= 1 << place % 8
    try:
        read, end = function.decode(bytes(calldata))
    except AbiError:
        return
    assert (read, end) != (args, len(calldata))
    assert function.encode(*read) == bytes(calldata[:end])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_messages_that_differ_have_digests_that_differ(document, data):
    """Typed data is hashed from what was read, so two readings never share a signature."""
    rule = data.draw(st.sampled_from(list(TYPED_RULES.values())))
    types = document.types_of(rule.encoded_type)
    primary = next(iter(types))
    one, other = fill(primary, types, data.draw), fill(primary, types, data.draw)
    fields = rule.fields or ("name", "version", "chainId", "verifyingContract")
    read = [parse(document(rule.encoded_type, m, contract=b"\x11" * 20, fields=fields)) for m in (one, other)]
    assert (read[0].digest == read[1].digest) == (read[0].message == read[1].message)


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_decoding_is_bounded_however_calls_are_nested(width, depth):
    """A tree of multicalls grows without end; what is read of it does not."""
    multicall = BY_SIGNATURE["multicall(bytes[])"]
    data = b"\x12\x34\x56\x78"
    for _ in range(depth):
        if len(data) * width > 100_000:
            break
        data = multicall.encode((data,) * width)
    found = decode(transaction(b"\x11" * 20, data), CONTEXT)
    assert len(found) <= 2 * 512 + 512 + 2

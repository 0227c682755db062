import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.audit import Kind, encode_entry, parse_entry
from walletgate.audit.entry import DEPTH_MAX, INTEGER_MAX, SIZE_BYTES_MAX
from walletgate.errors import AuditError
from walletgate.types import Status

ORIGIN = "gate.example/audit/1"


def make_body(**fields):
    return {"v": 1, "log": ORIGIN, "seq": 7, "ts_ms": 1_763_900_000_000, "kind": Kind.GRANT_REVOKED, **fields}


def code_of(call, *args):
    with pytest.raises(AuditError) as caught:
        call(*args)
    return caught.value.code


def nested(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    return value


HEAD_KEYS = {"v", "log", "seq", "ts_ms", "kind"}
KEYS = st.text(st.characters(max_codepoint=127), max_size=12).filter(
    lambda key: key not in HEAD_KEYS and not key.endswith(('"seq', '"log'))
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCALARS = st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def test_encoded_bytes_are_sorted_compact_and_unescaped():
    assert encode_entry(make_body(memo="grüße\n\x1f", amount="5")) == (
        b'{"amount":"5","kind":"grant_revoked","log":"gate.example/audit/1","memo":"gr\xc3\xbc\xc3\x9fe\\n\\u001f","seq":7,'
        b'"ts_ms":1763900000000,"v":1}'
    )


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_encoding_equals_the_standard_library_and_round_trips(fields):
    body = make_body(**fields)
    data = encode_entry(body)
    assert data == json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert parse_entry(data) == body


def test_every_kind_is_past_tense_snake_case_and_encodable():
    for kind in Kind:
        assert kind.value == kind.name.lower()
        assert parse_entry(encode_entry(make_body(kind=kind)))["kind"] == kind


def test_tuple_is_written_as_list():
    assert parse_entry(encode_entry(make_body(rules=("a", "b"))))["rules"] == ["a", "b"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"x": 1.0}, "entry_invalid"),
        ({"x": float("nan")}, "entry_invalid"),
        ({"x": [{"y": 0.5}]}, "entry_invalid"),
        ({"x": INTEGER_MAX + 1}, "entry_invalid"),
        ({"x": -INTEGER_MAX - 1}, "entry_invalid"),
        ({"x": 2**70}, "entry_invalid"),
        ({"x": b"bytes"}, "entry_invalid"),
        ({"x": {1}}, "entry_invalid"),
        ({"x": object()}, "entry_invalid"),
        ({"x": Status.SIGNED}, "entry_invalid"),
        ({"x": {1: "a"}}, "entry_invalid"),
        ({"x": {"schlüssel": "a"}}, "entry_invalid"),
        ({"größe": "a"}, "entry_invalid"),
        ({"x": "\ud800"}, "entry_invalid"),
        ({"x": nested(DEPTH_MAX)}, "entry_invalid"),
        ({"v": 2}, "entry_invalid"),
        ({"v": True}, "entry_invalid"),
        ({"v": 1.0}, "entry_invalid"),
        ({"v": "1"}, "entry_invalid"),
        ({"log": ""}, "entry_invalid"),
        ({"log": "two words"}, "entry_invalid"),
        ({"log": "a+b"}, "entry_invalid"),
        ({"log": "a\nb"}, "entry_invalid"),
        ({"log": 5}, "entry_invalid"),
        ({"seq": -1}, "entry_invalid"),
        ({"seq": True}, "entry_invalid"),
        ({"seq": "7"}, "entry_invalid"),
        ({"ts_ms": None}, "entry_invalid"),
        ({"kind": "no_such_kind"}, "entry_invalid"),
        ({"kind": "Grant Revoked"}, "entry_invalid"),
        ({"kind": None}, "entry_invalid"),
        ({"x": {"seq": 7}}, "entry_ambiguous"),
        ({"x": [{"log": "a"}]}, "entry_ambiguous"),
        ({'x"seq': 1}, "entry_ambiguous"),
        ({"x": "y" * SIZE_BYTES_MAX}, "entry_too_large"),
    ],
)
def test_encode_refuses_what_is_outside_the_subset(fields, code):
    assert code_of(encode_entry, make_body(**fields)) == code


@pytest.mark.parametrize("name", ["v", "log", "seq", "ts_ms", "kind"])
def test_encode_refuses_an_entry_without_its_head(name):
    body = make_body()
    del body[name]
    assert code_of(encode_entry, body) in {"entry_invalid", "entry_ambiguous"}


def test_integer_and_depth_bounds_are_inclusive():
    assert encode_entry(make_body(x=INTEGER_MAX, y=-INTEGER_MAX))
    assert encode_entry(make_body(x=nested(DEPTH_MAX - 1)))


def test_size_bound_is_inclusive():
    room = SIZE_BYTES_MAX - len(encode_entry(make_body(memo="")))
    assert len(encode_entry(make_body(memo="x" * room))) == SIZE_BYTES_MAX
    assert code_of(encode_entry, make_body(memo="x" * (room + 1))) == "entry_too_large"


def test_text_that_looks_like_a_key_is_not_ambiguous():
    body = make_body(memo='","seq":8,"log":"other",')
    assert parse_entry(encode_entry(body)) == body


GOOD = '{"kind":"frozen","log":"gate.example/audit/1","seq":7,"ts_ms":1,"v":1}'


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GOOD + "\n", "entry_not_canonical"),
        (GOOD.replace(":7", ": 7"), "entry_not_canonical"),
        (GOOD.replace("frozen", "\\u0066rozen"), "entry_not_canonical"),
        (GOOD.replace('"ts_ms":1', '"ts_ms":1,"ts_ms":1'), "entry_not_canonical"),
        (GOOD.replace('"kind":"frozen",', "")[:-1] + ',"kind":"frozen"}', "entry_not_canonical"),
        (GOOD.replace('"ts_ms":1', '"ts_ms":-0'), "entry_not_canonical"),
        (GOOD.replace('"seq":7', '"seq":7,"seq":7'), "entry_ambiguous"),
        (GOOD.replace('"ts_ms":1', '"ts_ms":1.0'), "entry_invalid"),
        (GOOD.replace('"ts_ms":1', '"ts_ms":1e3'), "entry_invalid"),
        (GOOD.replace('"ts_ms":1', '"ts_ms":NaN'), "entry_invalid"),
        (GOOD.replace('"ts_ms":1', '"ts_ms":9007199254740992'), "entry_invalid"),
        (GOOD.replace('"v":1', '"v":2'), "entry_invalid"),
        ("[" + GOOD + "]", "entry_invalid"),
        (GOOD[:-1], "entry_invalid"),
        ("", "entry_ambiguous"),
        (GOOD + " " * SIZE_BYTES_MAX, "entry_too_large"),
    ],
)
def test_parse_refuses_other_bytes(data, code):
    assert parse_entry(GOOD.encode())["kind"] == "frozen"
    assert code_of(parse_entry, data.encode()) == code


def test_parse_refuses_bytes_that_are_not_utf8():
    assert code_of(parse_entry, GOOD.encode().replace(b"frozen", b"\xff")) == "entry_invalid"


def test_parse_accepts_a_kind_of_a_later_version():
    assert parse_entry(GOOD.replace("frozen", "wallet_teleported").encode())["kind"] == "wallet_teleported"

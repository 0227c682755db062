"""Typed data is read strictly, and the digest is the one that everybody else computes."""

import copy

import pytest
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.effects import decode
from walletgate.effects.permits import TYPED as PERMITS
from walletgate.effects.signing import by_type_hash
from walletgate.effects.typed import TypedDataError, parse
from walletgate.types import Opaque, TypedData

TOKEN, WALLET, PAYEE = "0x" + "11" * 20, "0x" + "aa" * 20, "0x" + "22" * 20
AUTHORIZATION = [
    {"name": "from", "type": "address"},
    {"name": "to", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "validAfter", "type": "uint256"},
    {"name": "validBefore", "type": "uint256"},
    {"name": "nonce", "type": "bytes32"},
]
DOMAIN = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]


def authorization():
    return {
        "types": {"EIP712Domain": copy.deepcopy(DOMAIN), "TransferWithAuthorization": copy.deepcopy(AUTHORIZATION)},
        "primaryType": "TransferWithAuthorization",
        "domain": {"name": "Test", "version": "1", "chainId": 1, "verifyingContract": TOKEN},
        "message": {
            "from": WALLET,
            "to": PAYEE,
            "value": "5",
            "validAfter": 0,
            "validBefore": "0x7fffffff",
            "nonce": "0x" + "07" * 32,
        },
    }


def oracle(document):
    return _hash_eip191_message(encode_typed_data(full_message=document))


def test_the_digest_is_the_standard_one():
    assert parse(authorization()).digest == oracle(authorization())


def test_the_standards_own_example():
    mail = {
        "types": {
            "EIP712Domain": DOMAIN,
            "Person": [{"name": "name", "type": "string"}, {"name": "wallet", "type": "address"}],
            "Mail": [
                {"name": "from", "type": "Person"},
                {"name": "to", "type": "Person"},
                {"name": "contents", "type": "string"},
            ],
        },
        "primaryType": "Mail",
        "domain": {
            "name": "Ether Mail",
            "version": "1",
            "chainId": 1,
            "verifyingContract": "0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC",
        },
        "message": {
            "from": {"name": "Cow", "wallet": "0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826"},
            "to": {"name": "Bob", "wallet": "0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB"},
            "contents": "Hello, Bob!",
        },
    }
    typed = parse(mail)
    assert typed.encoded_type == "Mail(Person from,Person to,string contents)Person(string name,address wallet)"
    assert typed.digest.hex() == "be609aee343fb3c4b28e1df9e632fca64fcfaede20f02e86244efddf30957bd2"


@pytest.mark.parametrize("chain", [1, "1", "0x1", "0x01"])
def test_numbers_may_be_written_in_three_ways_and_mean_one(chain):
    document = authorization()
    document["domain"]["chainId"] = chain
    assert parse(document).digest == parse(authorization()).digest


PINS = {
    "6e71edae": "Permit(address owner",
    "ea2aa0a1": "Permit(address holder",
    "f3841cd1": "PermitSingle",
    "af1b0d30": "PermitBatch(",
    "939c21a4": "PermitTransferFrom",
    "fcf35f5a": "PermitBatchTransferFrom",
    "7c7c6cdb": "TransferWithAuthorization",
    "d099cc98": "ReceiveWithAuthorization",
    "158b0a9e": "CancelAuthorization",
}


@pytest.mark.parametrize(("prefix", "name"), PINS.items())
def test_type_hashes_are_the_known_ones(prefix, name):
    found = {h.hex()[:8]: rule.encoded_type for h, rule in by_type_hash(PERMITS).items()}
    assert found[prefix].startswith(name)


def broken():
    def change(path, value):
        def apply(document):
            *parents, last = path
            for parent in parents:
                document = document[parent]
            if value is KeyError:
                del document[last]
            else:
                document[last] = value

        return apply

    fields = ("types", "TransferWithAuthorization")
    return {
        "extra message field": change(("message", "memo"), "hi"),
        "missing message field": change(("message", "nonce"), KeyError),
        "extra domain field": change(("domain", "salt"), "0x" + "00" * 32),
        "missing domain field": change(("domain", "chainId"), KeyError),
        "partial domain type": change(("types", "EIP712Domain"), DOMAIN[:3]),
        "domain type in another order": change(("types", "EIP712Domain"), DOMAIN[::-1]),
        "empty domain type": change(("types", "EIP712Domain"), []),
        "no domain type": change(("types", "EIP712Domain"), KeyError),
        "unused type": change(("types", "Other"), [{"name": "x", "type": "uint256"}]),
        "unknown type": change((*fields, 1, "type"), "Recipient"),
        "field twice": change((*fields, 1, "name"), "from"),
        "type with a bad name": change(("types", "A:B"), []),
        "type with extra keys": change((*fields, 0, "components"), []),
        "recursive type": change((*fields, 5, "type"), "TransferWithAuthorization"),
        "primary type unknown": change(("primaryType",), "Nothing"),
        "primary type is the domain": change(("primaryType",), "EIP712Domain"),
        "extra top-level key": change(("comment",), "hi"),
        "message is a list": change(("message",), []),
        "types is a list": change(("types",), []),
        "float": change(("message", "value"), 5.0),
        "boolean for a number": change(("message", "value"), True),
        "negative": change(("message", "value"), -1),
        "negative text": change(("message", "value"), "-1"),
        "too large": change(("message", "value"), 2**256),
        "leading zeros": change(("message", "value"), "007"),
        "underscore": change(("message", "value"), "1_0"),
        "exponent": change(("message", "value"), "1e6"),
        "null": change(("message", "value"), None),
        "short address": change(("message", "to"), PAYEE[:-2]),
        "wrong checksum": change(("message", "to"), "0xD62E97C1C4219a3850376f168e3B18aD242765Db"),
        "short nonce": change(("message", "nonce"), "0x07"),
        "odd hex": change(("message", "nonce"), "0x7"),
        "boolean as text": lambda d: (change((*fields, 5, "type"), "bool")(d), change(("message", "nonce"), "true")(d)),
        "array as text": lambda d: (
            change((*fields, 5, "type"), "bytes32[]")(d),
            change(("message", "nonce"), "0x")(d),
        ),
        "array of another length": lambda d: (
            change((*fields, 5, "type"), "uint8[2]")(d),
            change(("message", "nonce"), [1])(d),
        ),
        "field name with a space": change((*fields, 0, "name"), "from "),
        "number for a string": change(("domain", "name"), 5),
        "lone surrogate": change(("domain", "name"), "\ud800"),
    }


@pytest.mark.parametrize("name", broken())
def test_documents_with_two_readings_are_refused(name, context, wallet):
    document = authorization()
    broken()[name](document)
    with pytest.raises(TypedDataError):
        parse(document)
    found = decode(TypedData(wallet, document), context())
    assert [e.code for e in found] == ["malformed_typed_data"]


def test_unknown_types_are_opaque_whatever_their_name(context, wallet):
    document = authorization()
    document["types"]["TransferWithAuthorization"][1]["type"] = "string"
    (found,) = decode(TypedData(wallet, document), context())
    assert isinstance(found, Opaque)
    assert found.code == "unknown_type_hash"


def test_too_many_values_are_refused():
    document = authorization()
    document["types"]["TransferWithAuthorization"][5]["type"] = "uint8[]"
    document["message"]["nonce"] = [1] * 9000
    with pytest.raises(TypedDataError):
        parse(document)


NAMES = st.sampled_from(["uint8", "uint256", "int16", "address", "bool", "string", "bytes", "bytes32", "bytes3"])
VALUES = {
    "uint8": st.integers(0, 255),
    "uint256": st.integers(0, 2**256 - 1),
    "int16": st.integers(-(2**15), 2**15 - 1),
    "address": st.binary(min_size=20, max_size=20).map(lambda b: "0x" + b.hex()),
    "bool": st.booleans(),
    "string": st.text(max_size=20),
    "bytes": st.binary(max_size=40).map(lambda b: "0x" + b.hex()),
    "bytes32": st.binary(min_size=32, max_size=32).map(lambda b: "0x" + b.hex()),
    "bytes3": st.binary(min_size=3, max_size=3).map(lambda b: "0x" + b.hex()),
}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_digests_agree_with_eth_account_on_random_documents(data):
    inner = data.draw(st.lists(NAMES, min_size=1, max_size=4))
    outer = data.draw(
        st.lists(st.sampled_from([*VALUES, "Inner", "Inner[]", "uint8[]", "bytes32[2]"]), min_size=1, max_size=4)
    )
    if not any(kind.startswith("Inner") for kind in outer):
        outer.append("Inner")

    def draw(kind):
        if kind == "Inner":
            return {f"f{i}": data.draw(VALUES[k]) for i, k in enumerate(inner)}
        if kind.endswith("[]"):
            return [draw(kind[:-2]) for _ in range(data.draw(st.integers(0, 2)))]
        if kind.endswith("[2]"):
            return [draw(kind[:-3]) for _ in range(2)]
        return data.draw(VALUES[kind])

    document = {
        "types": {
            "EIP712Domain": DOMAIN,
            "Outer": [{"name": f"g{i}", "type": k} for i, k in enumerate(outer)],
            "Inner": [{"name": f"f{i}", "type": k} for i, k in enumerate(inner)],
        },
        "primaryType": "Outer",
        "domain": {"name": "Test", "version": "1", "chainId": 1, "verifyingContract": TOKEN},
        "message": {f"g{i}": draw(k) for i, k in enumerate(outer)},
    }
    assert parse(document).digest == oracle(document)


@pytest.mark.parametrize(
    ("contract", "right", "wrong"),
    [
        ("0000000000000068f116a894984e2db1123eb395", ("Seaport", "1.6"), ("Seaport", "1.5")),
        ("9008d19f58aabd9ed0d60971565aa8510560ab41", ("Gnosis Protocol", "v2"), ("Gnosis Protocol", "v1")),
        (
            "111111125421ca6dc452d289314280a0f8842a65",
            ("1inch Aggregation Router", "6"),
            ("1inch Aggregation Router", "5"),
        ),
        ("111111125421ca6dc452d289314280a0f8842a65", ("1inch Aggregation Router", "6"), ("Router", "6")),
    ],
)
def test_wellknown_contracts_have_one_domain_on_every_chain(sign, context, codes, contract, right, wrong):
    message = {"owner": WALLET, "spender": b"\x22" * 20, "value": 1, "nonce": 0, "deadline": 9}
    kind = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
    for names, expected in ((right, []), (wrong, ["domain_mismatch"])):
        found = sign(kind, message, contract=bytes.fromhex(contract), name=names[0], version=names[1], chain_id=10,
                     ctx=context(chain_id=10))  # fmt: skip
        assert codes(found) == expected

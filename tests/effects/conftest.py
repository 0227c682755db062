"""Factories: a context, a transaction, and addresses that are easy to read in a failure."""

import re

import pytest

from walletgate.effects import DecodeContext, decode
from walletgate.effects.abi import parse_signature
from walletgate.effects.signing import PINNED_DOMAINS, STANDARD
from walletgate.effects.typed import DOMAIN_FIELDS
from walletgate.types import Address, Fee, Opaque, Transaction, TransactionType, TypedData

WALLET = Address(b"\xaa" * 20)
NOW = 1_767_225_600


@pytest.fixture
def wallet():
    return WALLET


@pytest.fixture
def context():
    def make(**changes):
        return DecodeContext(**({"chain_id": 1, "wallet": WALLET, "now": NOW} | changes))

    return make


@pytest.fixture
def transaction():
    def make(to, data=b"", value=0, **changes):
        base = {"type": TransactionType.FEE_MARKET, "chain_id": 1, "sender": WALLET, "to": to, "value": value,
                "data": data, "gas": 21_000, "max_fee_per_gas": 100, "max_priority_fee_per_gas": 1}  # fmt: skip
        return Transaction(**(base | changes))

    return make


@pytest.fixture
def effects(context, transaction):
    """Effects of a transaction, without its fee."""

    def run(to, data=b"", value=0, *, ctx=None, **changes):
        found = decode(transaction(to, data, value, **changes), ctx or context())
        assert isinstance(found[-1], Fee)
        return found[:-1]

    return run


@pytest.fixture
def call():
    """Calldata: call("transfer(address,uint256)", recipient, 5)."""
    return lambda signature, *values: parse_signature(signature).encode(*values)


@pytest.fixture
def codes():
    """The codes of the opaque effects."""
    return lambda found: [e.code for e in found if isinstance(e, Opaque)]


@pytest.fixture
def sign(context):
    """Effects of signing a message under a type: sign("Permit(address owner,…)", {...}, contract=token)."""

    def run(kind, message, *, ctx=None, **changes):
        return decode(TypedData(WALLET, document(kind, message, **changes)), ctx or context())

    return run


STRUCT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\(([^)]*)\)")


def types_of(encoded_type):
    """The JSON types of an EIP-712 encodeType string; the first one is the primary type."""
    rows = {}
    for name, fields in STRUCT.findall(encoded_type):
        rows[name] = [dict(zip(("type", "name"), field.split(" "), strict=True)) for field in fields.split(",")]
    return rows


PINNED = {bytes.fromhex(text[2:]): names for (chain, text), names in PINNED_DOMAINS.items() if chain is None}


def document(encoded_type, message, *, contract, chain_id=1, name=None, version=None, fields=STANDARD, **changes):
    pinned_name, pinned_version = PINNED.get(contract, ("Test", "1"))
    values = {
        "name": name or pinned_name,
        "version": version or pinned_version,
        "chainId": chain_id,
        "verifyingContract": hexed(contract),
        "salt": "0x" + "00" * 32,
    }
    types = types_of(encoded_type)
    base = {
        "types": {"EIP712Domain": [{"name": f, "type": DOMAIN_FIELDS[f]} for f in fields]} | types,
        "primaryType": next(iter(types)),
        "domain": {f: values[f] for f in fields},
        "message": jsonable(message),
    }
    return base | changes


def jsonable(value):
    if isinstance(value, bytes):
        return hexed(value)
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def hexed(data):
    return data if isinstance(data, str) else "0x" + data.hex()


@pytest.fixture(name="document", scope="session")
def _document():
    """The builder of typed-data documents."""
    document.types_of = types_of
    return document

"""Random transactions, messages and tuples: what the gate signs is, byte for byte, what eth-account signs."""

from __future__ import annotations

from typing import Any

import coincurve
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import SECRET, WALLET
from walletgate.encoding import checksum_address, keccak256, to_hex
from walletgate.errors import InvalidRequestError, SignerError
from walletgate.gate.preimages import preimage_of
from walletgate.signers import KeyRing, PreimageKind, Seal, Signature
from walletgate.signers.transactions import signed_transaction
from walletgate.types import (
    AccessEntry,
    Address,
    Batch,
    CodeAuthorization,
    Hash32,
    Payload,
    RawHash,
    TextMessage,
    Transaction,
    TransactionType,
    TypedData,
)  # fmt: skip

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

ring = KeyRing(Seal())
ring.add_secret(SECRET)

uint256, uint64, chains = st.integers(0, 2**256 - 1), st.integers(0, 2**64 - 1), st.integers(1, 2**53 - 1)
addresses = st.binary(min_size=20, max_size=20).map(Address)
words = st.binary(min_size=32, max_size=32).map(Hash32)
access_lists = st.lists(
    st.builds(AccessEntry, addresses, st.lists(words, max_size=3).map(tuple)), max_size=3
).map(tuple)  # fmt: skip
tuples = st.builds(
    CodeAuthorization, chains, addresses, uint64,
    st.tuples(st.integers(0, 1), st.integers(1, ORDER - 1), st.integers(1, ORDER // 2)),
)  # fmt: skip


@st.composite
def transactions(draw: st.DrawFn, kind: TransactionType) -> Transaction:
    fee = draw(st.integers(0, 2**128))
    legacy = kind in (TransactionType.LEGACY, TransactionType.ACCESS_LIST)
    set_code = kind is TransactionType.SET_CODE
    return Transaction(
        type=kind,
        chain_id=draw(chains),
        sender=WALLET,
        to=draw(addresses if set_code else st.none() | addresses),
        value=draw(uint256),
        data=draw(st.binary(max_size=200)),
        gas=draw(uint64),
        max_fee_per_gas=fee,
        max_priority_fee_per_gas=fee if legacy else draw(st.integers(0, fee)),
        access_list=() if kind is TransactionType.LEGACY else draw(access_lists),
        authorization_list=tuple(draw(st.lists(tuples, min_size=1, max_size=3))) if set_code else (),
    )


def sign(payload: Payload, nonce: int | None = None) -> tuple[Signature, bytes]:
    kind, preimage = preimage_of(payload, nonce)
    return ring.sign_preimage(WALLET, kind, preimage, keccak256(preimage)), preimage


def as_eth_account(tx: Transaction, nonce: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "chainId": tx.chain_id, "nonce": nonce, "value": tx.value, "gas": tx.gas, "data": to_hex(tx.data),
        "to": checksum_address(tx.to) if tx.to is not None else "",
    }  # fmt: skip
    if tx.type in (TransactionType.LEGACY, TransactionType.ACCESS_LIST):
        fields["gasPrice"] = tx.max_fee_per_gas
    else:
        fields |= {"maxFeePerGas": tx.max_fee_per_gas, "maxPriorityFeePerGas": tx.max_priority_fee_per_gas}
    if tx.type is not TransactionType.LEGACY:
        fields |= {
            "type": int(tx.type),
            "accessList": [
                {"address": checksum_address(e.address), "storageKeys": [to_hex(k) for k in e.storage_keys]}
                for e in tx.access_list
            ],
        }
    if tx.authorization_list:
        fields["authorizationList"] = [
            {"chainId": a.chain_id, "address": checksum_address(a.address), "nonce": a.nonce, "yParity": a.signature[0],
             "r": a.signature[1], "s": a.signature[2]}
            for a in tx.authorization_list if a.signature is not None
        ]  # fmt: skip
    return fields


@pytest.mark.parametrize(
    "kind", [TransactionType.LEGACY, TransactionType.ACCESS_LIST, TransactionType.FEE_MARKET, TransactionType.SET_CODE]
)
def test_every_type_of_transaction_is_signed_byte_for_byte_alike(kind: TransactionType) -> None:
    @given(transactions(kind), uint64)
    def check(transaction: Transaction, nonce: int) -> None:
        signature, preimage = sign(transaction, nonce)
        theirs = Account.sign_transaction(as_eth_account(transaction, nonce), SECRET)
        raw = signed_transaction(transaction, preimage, signature)
        assert raw == bytes(theirs.raw_transaction)
        assert keccak256(raw) == bytes(theirs.hash)
        assert (signature.r, signature.s) == (theirs.r, theirs.s)
        assert Account.recover_transaction(raw) == checksum_address(WALLET)
        assert preimage != raw

    check()


@given(st.binary(max_size=300))
def test_texts_are_signed_alike(data: bytes) -> None:
    signature, _ = sign(TextMessage(WALLET, data))
    theirs = Account.sign_message(encode_defunct(data), SECRET)
    assert signature.to_bytes() == bytes(theirs.signature)


@given(st.integers(0, 2**53 - 1), addresses, uint64)
def test_set_code_tuples_are_signed_alike(chain_id: int, address: Address, nonce: int) -> None:
    signature, _ = sign(CodeAuthorization(chain_id, address, nonce))
    theirs = Account.sign_authorization(
        {"chainId": chain_id, "address": checksum_address(address), "nonce": nonce}, SECRET
    )
    assert (signature.y_parity, signature.r, signature.s) == (theirs.y_parity, theirs.r, theirs.s)


MEMBERS: dict[str, st.SearchStrategy[Any]] = {
    "uint256": uint256, "uint8": st.integers(0, 255), "int256": st.integers(-(2**255), 2**255 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1), "bool": st.booleans(), "string": st.text(max_size=40),
    "address": addresses.map(checksum_address), "bytes32": words.map(to_hex),
    "bytes": st.binary(max_size=70).map(to_hex), "bytes4": st.binary(min_size=4, max_size=4).map(to_hex),
}  # fmt: skip


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """EIP-712 documents with a struct inside a struct, an array of structs, and arrays of values."""
    inner = draw(st.lists(st.sampled_from(sorted(MEMBERS)), min_size=1, max_size=4))
    outer = draw(st.lists(st.sampled_from(sorted(MEMBERS)), max_size=4))

    def struct(kinds: list[str]) -> dict[str, Any]:
        return {f"m{n}": draw(MEMBERS[kind]) for n, kind in enumerate(kinds)}

    listed = draw(st.sampled_from(["uint256", "address", "bytes32"]))
    message = struct(outer) | {
        "one": struct(inner),
        "many": [struct(inner) for _ in range(draw(st.integers(0, 3)))],
        "flat": draw(st.lists(MEMBERS[listed], max_size=3)),
    }
    fields = [{"name": f"m{n}", "type": kind} for n, kind in enumerate(outer)]
    fields += [{"name": "one", "type": "Inner"}, {"name": "many", "type": "Inner[]"}]
    domain = {
        "name": draw(st.text(max_size=20)), "version": "1", "chainId": draw(chains),
        "verifyingContract": draw(MEMBERS["address"]),
    }  # fmt: skip
    kinds = ("string", "string", "uint256", "address")
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in zip(domain, kinds, strict=True)],
            "Outer": [*fields, {"name": "flat", "type": f"{listed}[]"}],
            "Inner": [{"name": f"m{n}", "type": kind} for n, kind in enumerate(inner)],
        },
        "primaryType": "Outer",
        "domain": domain,
        "message": message,
    }


@given(documents())
def test_typed_data_is_signed_alike(document: dict[str, Any]) -> None:
    signature, preimage = sign(TypedData(WALLET, document))
    signable = encode_typed_data(full_message=document)
    assert preimage == b"\x19\x01" + signable.header + signable.body
    assert signature.to_bytes() == bytes(Account.sign_message(signable, SECRET).signature)


@pytest.mark.parametrize(
    "document",
    [
        {}, {"types": {}}, {"types": {"EIP712Domain": []}, "primaryType": "X", "domain": {}, "message": {}},
        {"types": {"EIP712Domain": [], "X": [{"name": "a", "type": "uint8"}]}, "primaryType": "X", "domain": {},
         "message": {"a": 256}},
        {"types": {"EIP712Domain": [], "X": [{"name": "a", "type": "uint8"}]}, "primaryType": "X", "domain": {},
         "message": {"a": 1.0}},
        {"types": {"EIP712Domain": [], "X": [{"name": "a", "type": "uint8"}]}, "primaryType": "X", "domain": {},
         "message": {"a": 1, "b": 2}},
        {"types": {"EIP712Domain": [], "X": [{"name": "a", "type": "X"}]}, "primaryType": "X", "domain": {},
         "message": {"a": None}},
    ],
)  # fmt: skip
def test_typed_data_the_judge_cannot_read_is_not_signed(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        preimage_of(TypedData(WALLET, document), None)
    assert caught.value.code == "typed_data_invalid"


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (RawHash(WALLET, bytes(32)), "not_signable"),
        (Batch(1, WALLET, ()), "not_signable"),
        (CodeAuthorization(1, WALLET, None), "not_signable"),
        (Transaction(TransactionType.BLOB, 1, WALLET, WALLET, 0, b"", 0, 0, 0), "transaction_type_unsupported"),
        (Transaction(TransactionType.SET_CODE, 1, WALLET, WALLET, 0, b"", 0, 0, 0,
                     authorization_list=(CodeAuthorization(1, WALLET, 0),)), "authorization_unsigned"),
    ],
)  # fmt: skip
def test_what_has_no_preimage_is_not_signed(payload: Payload, code: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        preimage_of(payload, 0)
    assert caught.value.code == code


@given(
    st.binary(max_size=64), st.binary(min_size=32, max_size=32).filter(lambda s: 0 < int.from_bytes(s, "big") < ORDER)
)
def test_signatures_are_low_s_deterministic_and_recover_to_the_wallet(text: bytes, secret: bytes) -> None:
    own = KeyRing(Seal())
    wallet = own.add_secret(secret)
    _, preimage = preimage_of(TextMessage(wallet, text), None)
    digest = keccak256(preimage)
    first, second = (own.sign_preimage(wallet, PreimageKind.TEXT, preimage, digest) for _ in range(2))
    assert first == second
    assert 0 < first.s <= ORDER // 2
    assert 0 < first.r < ORDER
    packed = first.to_bytes()[:64] + bytes((first.y_parity,))
    key = coincurve.PublicKey.from_signature_and_message(packed, digest, hasher=None)
    assert keccak256(key.format(compressed=False)[1:])[12:] == wallet


@given(st.binary(max_size=100), st.sampled_from(PreimageKind), st.binary(min_size=32, max_size=32))
def test_nothing_is_signed_under_a_digest_that_is_not_its_own(
    preimage: bytes, kind: PreimageKind, digest: bytes
) -> None:
    with pytest.raises(SignerError) as caught:
        ring.sign_preimage(WALLET, kind, preimage, digest)
    assert caught.value.code == "preimage_mismatch"


@given(st.binary(max_size=100).filter(lambda p: p[:1] not in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05", b"\x19")))
def test_bytes_of_no_kind_are_signed_as_none(preimage: bytes) -> None:
    for kind in PreimageKind:
        if kind is PreimageKind.TRANSACTION and preimage[:1] >= b"\xc0" and len(preimage) > 1:
            continue
        with pytest.raises(SignerError) as caught:
            ring.sign_preimage(WALLET, kind, preimage, keccak256(preimage))
        assert caught.value.code == "preimage_mismatch"

"""Requests, effects and decisions as JSON and back, and the digests that name them.

Canonical form: UTF-8, sorted keys, no spaces, integers and byte strings as text (decimal and `0x` hex), so that
the same value has the same bytes everywhere. A request's digest is keccak-256 over the canonical form of what
would be signed, without the nonce, which only signing decides; an approval names it together with the digest of
the effects that the operator was shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import orjson

from walletgate.encoding import keccak256, to_hex
from walletgate.policy import PriceFact
from walletgate.types import (
    AccessEntry,
    Address,
    Allowance,
    ApprovalGroup,
    ApprovalTerms,
    Asset,
    Batch,
    CodeAuthorization,
    Decision,
    Effect,
    Hash32,
    Outcome,
    Payload,
    RawHash,
    Reason,
    TextMessage,
    Transaction,
    TransactionRequest,
    TransactionType,
    TypedData,
)  # fmt: skip

Prices = Mapping[tuple[Asset, str], PriceFact]

_KINDS: dict[str, type] = {
    "transaction": Transaction,
    "batch": Batch,
    "typed_data": TypedData,
    "message": TextMessage,
    "hash": RawHash,
    "code_authorization": CodeAuthorization,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def canonical(value: object) -> bytes:
    """Canonical bytes of a plain JSON value."""
    return json_bytes(value, sort=True)


def json_bytes(value: object, *, sort: bool = False) -> bytes:
    """Compact JSON with integers of any size, as agents' typed data may hold; orjson ends at 64 bits."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else None)
    except orjson.JSONEncodeError:
        return json.dumps(value, sort_keys=sort, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def plain(value: object) -> Any:
    """`value` as plain JSON: dataclasses become objects, bytes hex, integers decimal text, enums their names."""
    known = _PLAIN.get(type(value))
    return known(value) if known is not None else _plain_other(value)


def _plain_many(values: Iterable[object]) -> list[Any]:
    return [plain(value) for value in values]


def _plain_other(value: object) -> Any:
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_dataclass(value):
        names, values = _fields_of(value.__class__)
        return dict(zip(names, map(plain, values(value)), strict=True))
    raise TypeError(f"{type(value).__name__} has no plain form")


@cache
def _fields_of(kind: type[Any]) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """The names of a dataclass' fields, and what reads them all at once."""
    names = tuple(field.name for field in fields(kind))
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda value: tuple(getattr(value, name) for name in names)


_PLAIN: Mapping[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    str: lambda value: value,
    int: str,
    bytes: to_hex,
    tuple: _plain_many,
    list: _plain_many,
}


def effect_json(effect: Effect) -> dict[str, Any]:
    """An effect under the name of its kind."""
    body: dict[str, Any] = _plain_other(effect)
    body["effect"] = type(effect).__name__
    return body


def effects_text(effects: tuple[Effect, ...]) -> bytes:
    """Exactly these effects in this order, canonically; their digest is its keccak-256."""
    return canonical([effect_json(effect) for effect in effects])


def payload_text(payload: Payload) -> bytes:
    """What would be signed, but for the nonce, canonically; the request's digest is its keccak-256."""
    return canonical(payload_json(payload))


def payload_json(payload: Payload) -> dict[str, Any]:
    """A payload under the name of its kind. Typed data keeps its document as it was parsed."""
    if isinstance(payload, TypedData):
        return {"kind": "typed_data", "signer": to_hex(payload.signer), "document": payload.document}
    body: dict[str, Any] = _plain_other(payload)
    body["kind"] = _NAMES[type(payload)]
    return body


def transaction_from_json(body: Mapping[str, Any]) -> Transaction:
    """The transaction that `payload_json` wrote."""
    return Transaction(
        type=TransactionType[body["type"].upper()],
        chain_id=int(body["chain_id"]),
        sender=_address(body["sender"]),
        to=None if body["to"] is None else _address(body["to"]),
        value=int(body["value"]),
        data=_bytes(body["data"]),
        gas=int(body["gas"]),
        max_fee_per_gas=int(body["max_fee_per_gas"]),
        max_priority_fee_per_gas=int(body["max_priority_fee_per_gas"]),
        access_list=_access_list(body["access_list"]),
        authorization_list=tuple(_code_authorization(a) for a in body["authorization_list"]),
        max_fee_per_blob_gas=int(body["max_fee_per_blob_gas"]),
        blob_hashes=tuple(Hash32(_bytes(h)) for h in body["blob_hashes"]),
    )


def payload_from_json(body: Mapping[str, Any]) -> Payload:
    """The payload that `payload_json` wrote."""
    match body["kind"]:
        case "transaction":
            return transaction_from_json(body)
        case "typed_data":
            return TypedData(_address(body["signer"]), body["document"])
        case "message":
            return TextMessage(_address(body["signer"]), _bytes(body["data"]))
        case "hash":
            return RawHash(_address(body["signer"]), _bytes(body["digest"]))
        case "code_authorization":
            return _code_authorization(body)
        case "batch":
            calls = tuple(_transaction_request(call) for call in body["calls"])
            sender, chain = _address(body["sender"]), int(body["chain_id"])
            return Batch(chain, sender, calls, body["atomic_required"], body["capabilities"])
        case kind:
            raise ValueError(f"unknown payload kind {kind!r}")


def decision_text(decision: Decision, effects: bytes, words: list[str], prices: Prices = MappingProxyType({})) -> bytes:
    """A decision with the effects it is about (`effects_text`), as stored with the request and shown to operators.

    `prices` are the feeds' words it was made with; they are left out where there are none.
    """
    body = {
        "outcome": decision.outcome.name.lower(),
        "reasons": _plain_many(decision.reasons),
        "approvals": _plain_many(decision.approvals),
        "policy": to_hex(decision.policy_hash),
        "effects": orjson.Fragment(effects),
        "effects_digest": to_hex(keccak256(effects)),
        "words": words,
    }
    if prices:
        body["prices"] = [
            {"asset": plain(asset), "unit": unit, "value": str(fact.value), "at_s": fact.at_s}
            for (asset, unit), fact in prices.items()
        ]
    return canonical(body)


def prices_from_json(body: Mapping[str, Any]) -> dict[tuple[Asset, str], PriceFact]:
    """The prices that `decision_text` wrote; empty where none were recorded."""
    return {
        (Asset(int(p["asset"]["chain_id"]), _address(p["asset"]["address"])), p["unit"]): PriceFact(
            int(p["value"]), int(p["at_s"])
        )
        for p in body.get("prices", ())
    }


def decision_from_json(body: Mapping[str, Any]) -> Decision:
    """The decision that `decision_json` wrote, without its bookings: they are movements by then."""
    return Decision(
        Outcome[body["outcome"].upper()],
        tuple(_reason(reason) for reason in body["reasons"]),
        Hash32(_bytes(body["policy"])),
        tuple(
            ApprovalTerms(
                t["rule"],
                int(t["quorum"]),
                tuple(t["of"]),
                int(t["within_s"]),
                tuple(ApprovalGroup(int(g["quorum"]), tuple(g["of"])) for g in t.get("groups", ())),
                t.get("every", True),
                t.get("apart", False),
            )
            for t in body["approvals"]
        ),
    )


def stored_allowances(decision: str) -> tuple[Allowance, ...]:
    """The allowances among the effects of a stored decision."""
    if '"Allowance"' not in decision:
        return ()
    return tuple(
        Allowance(
            asset=Asset(int(e["asset"]["chain_id"]), _address(e["asset"]["address"])),
            owner=_address(e["owner"]),
            spender=_address(e["spender"]),
            amount=int(e["amount"]),
            added=e["added"],
        )
        for e in orjson.loads(decision)["effects"]
        if e["effect"] == "Allowance"
    )


def _reason(body: Mapping[str, Any]) -> Reason:
    actual, bound = (None if body[key] is None else int(body[key]) for key in ("actual", "bound"))
    return Reason(body["code"], body["text"], body["rule"], actual, bound, body["unit"], body["path"])


def _transaction_request(body: Mapping[str, Any]) -> TransactionRequest:
    number = {
        key: None if body[key] is None else int(body[key])
        for key in (
            "chain_id", "gas", "gas_price", "max_fee_per_gas", "max_priority_fee_per_gas", "nonce",
            "max_fee_per_blob_gas",
        )
    }  # fmt: skip
    return TransactionRequest(
        sender=_address(body["sender"]),
        to=None if body["to"] is None else _address(body["to"]),
        value=int(body["value"]),
        data=_bytes(body["data"]),
        type=None if body["type"] is None else TransactionType[body["type"].upper()],
        access_list=None if body["access_list"] is None else _access_list(body["access_list"]),
        authorization_list=tuple(_code_authorization(a) for a in body["authorization_list"]),
        blob_hashes=tuple(Hash32(_bytes(h)) for h in body["blob_hashes"]),
        **number,
    )


def _access_list(body: list[Mapping[str, Any]]) -> tuple[AccessEntry, ...]:
    return tuple(AccessEntry(_address(e["address"]), tuple(Hash32(_bytes(k)) for k in e["storage_keys"])) for e in body)


def _code_authorization(body: Mapping[str, Any]) -> CodeAuthorization:
    signature = body["signature"]
    return CodeAuthorization(
        int(body["chain_id"]),
        _address(body["address"]),
        None if body["nonce"] is None else int(body["nonce"]),
        None if signature is None else (int(signature[0]), int(signature[1]), int(signature[2])),
    )


def _address(text: str) -> Address:
    return Address(_bytes(text))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text[2:])

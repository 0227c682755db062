"""Python values as the JSON that the gate reads: `0x` quantities, `0x` bytes, decimal text where numbers are large.

Nothing is guessed: floats are refused wherever they turn up, and so is whatever has no one way to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from walletgate.agent.errors import make
from walletgate.errors import InvalidRequestError
from walletgate.types import Expectation

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]

Convert = Callable[[object, str], Json]

_EXACT_MAX: Final = 2**53 - 1
_DOMAIN_TYPES: Final = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}
"""The fields of an EIP-712 domain, in the order of the standard."""


def transaction(fields: Mapping[str, object]) -> dict[str, Json]:
    """A transaction as web3 and eth-account write it, as a JSON-RPC object. No recipient is a contract's creation.

    Raises:
        InvalidRequestError: `bad_value`.
    """
    body: dict[str, Json] = {}
    for name, value in fields.items():
        if value is None or (name == "to" and value in ("", "0x", b"")):
            continue
        plain = value
        if name == "authorizationList" and isinstance(value, Sequence):
            plain = [_authorization(item) for item in value]
        body[name] = quantities(plain, name)
    return body


def quantities(value: object, where: str = "transaction") -> Json:
    """`value` with its integers as `0x` quantities and its bytes as `0x` hex.

    Raises:
        InvalidRequestError: `bad_value`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise _refused(where, "is negative")
        return hex(value)
    return _walk(value, where, quantities)


def document(value: object, where: str = "typed data") -> Json:
    """`value` with bytes as `0x` hex and integers that JSON readers would round as decimal text.

    Raises:
        InvalidRequestError: `bad_value`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) <= _EXACT_MAX else str(value)
    return _walk(value, where, document)


def typed_data(
    domain: Mapping[str, object] | None,
    types: Mapping[str, object] | None,
    message: Mapping[str, object] | None,
    full: Mapping[str, object] | None,
) -> dict[str, Json]:
    """The one EIP-712 document that eth-account's four arguments describe, its domain's type included.

    Raises:
        InvalidRequestError: `bad_typed_data`, `bad_value`.
    """
    if full is None and domain is not None and types is not None and message is not None:
        kinds = {name: fields for name, fields in types.items() if name != "EIP712Domain"}
        full = {"types": types, "primaryType": _primary_type(kinds), "domain": domain, "message": message}
    if full is None:
        raise make(InvalidRequestError, "give either full_message or domain, types and message", code="bad_typed_data")
    body = document(full)
    if (
        not isinstance(body, dict)
        or not isinstance(body.get("types"), dict)
        or not isinstance(body.get("domain"), dict)
    ):
        raise make(InvalidRequestError, "typed data has types, primaryType, domain and message", code="bad_typed_data")
    found, named = body["domain"], body["types"]
    if isinstance(found, dict) and isinstance(named, dict) and "EIP712Domain" not in named:
        fields: list[Json] = [{"name": name, "type": kind} for name, kind in _DOMAIN_TYPES.items() if name in found]
        body["types"] = {"EIP712Domain": fields, **named}
    return body


def expect_json(expect: Expectation | Mapping[str, object]) -> dict[str, Json]:
    """What the agent means to do: `asset`, `amount` (decimal text in human units, or an int or Decimal), `recipient`.

    Raises:
        InvalidRequestError: `bad_expectation`; floats are not exact, so they are not taken.
    """
    if isinstance(expect, Expectation):
        expect = {name: getattr(expect, name) for name in Expectation.__slots__}
    unknown = sorted(set(expect) - {"asset", "amount", "recipient"})
    if unknown:
        raise make(InvalidRequestError, f"expect has no {unknown[0]!r}", code="bad_expectation")
    body: dict[str, Json] = {}
    for name, value in expect.items():
        if name == "amount" and isinstance(value, int | Decimal) and not isinstance(value, bool):
            body[name] = format(value, "f") if isinstance(value, Decimal) else str(value)
        elif isinstance(value, bytes) and name == "recipient":
            body[name] = "0x" + value.hex()
        elif isinstance(value, str):
            body[name] = value
        elif value is not None:
            raise make(InvalidRequestError, f"expect.{name} must be text", code="bad_expectation")
    return body


def _walk(value: object, where: str, convert: Convert) -> Json:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, bytes | bytearray):
        return "0x" + bytes(value).hex()
    if isinstance(value, Mapping):
        return {_key(key, where): convert(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, Sequence) and not hasattr(value, "_fields"):
        return [convert(inner, f"{where}[{index}]") for index, inner in enumerate(value)]
    raise _refused(where, f"cannot be a {type(value).__name__}")


def _authorization(item: object) -> object:
    """eth-account's signed authorizations are objects; those of others are mappings already."""
    names = {"chainId": "chain_id", "address": "address", "nonce": "nonce", "yParity": "y_parity", "r": "r", "s": "s"}
    if isinstance(item, Mapping) or not all(hasattr(item, name) for name in names.values()):
        return item
    return {key: getattr(item, name) for key, name in names.items()}


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise _refused(where, "has a key that is not text")
    return key


def _primary_type(types: Mapping[str, object]) -> str:
    """The type that no other type uses."""
    used = {
        str(field.get("type", "")).partition("[")[0]
        for name, fields in types.items()
        for field in (fields if isinstance(fields, Sequence) else ())
        if isinstance(field, Mapping) and str(field.get("type", "")).partition("[")[0] != name
    }
    free = [name for name in types if name not in used]
    if len(free) != 1:
        raise make(InvalidRequestError, "the types do not say which of them is signed", code="bad_typed_data")
    return free[0]


def _refused(where: str, what: str) -> InvalidRequestError:
    return make(InvalidRequestError, f"{where} {what}", code="bad_value")

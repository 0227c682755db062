"""The wire, parsed once and strictly: JSON-RPC objects into requests.

Quantities are `0x` and hex digits, in strings: numbers, decimal strings, signs and underscores are refused
because clients and libraries disagree about them. null means absent. Unknown keys are errors, since a key that
is ignored here may be obeyed elsewhere. `data` and `input` may both be there when they are equal. Fields that
contradict each other or the type are errors, so that what is judged is what would be signed.

Every error is an `InvalidRequestError` naming the field, with a stable code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from walletgate.effects.abi import CALLDATA_BYTES_MAX
from walletgate.effects.strictjson import strict_json
from walletgate.encoding import parse_address, parse_hex
from walletgate.errors import InvalidRequestError
from walletgate.types import (
    AccessEntry,
    Address,
    Batch,
    CodeAuthorization,
    Hash32,
    RawHash,
    TextMessage,
    TransactionRequest,
    TransactionType,
    TypedData,
)

__all__ = [
    "parse_authorization",
    "parse_batch",
    "parse_hash",
    "parse_message",
    "parse_transaction",
    "parse_typed_data",
    "strict_json",
]

MESSAGE_BYTES_MAX: Final = 16 * 1024
CALLS_MAX: Final = 128
LIST_LENGTH_MAX: Final = 256
UINT64_MAX: Final = 2**64 - 1
UINT256_MAX: Final = 2**256 - 1
NONCE_MAX: Final = 2**64 - 2
"""EIP-2681."""
CHAIN_ID_MAX: Final = 2**53 - 1
"""The largest that every client can hold; far above any chain in use."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
_KEYS: Final = frozenset(
    (
        "from",
        "to",
        "value",
        "data",
        "input",
        "gas",
        "gasPrice",
        "maxFeePerGas",
        "maxPriorityFeePerGas",
        "nonce",
        "chainId",
        "type",
        "accessList",
        "authorizationList",
        "maxFeePerBlobGas",
        "blobVersionedHashes",
    )
)
_BATCH_KEYS: Final = frozenset(("version", "id", "from", "chainId", "atomicRequired", "calls", "capabilities"))
_CALL_KEYS: Final = frozenset(("to", "data", "value", "capabilities", "chainId"))
_AUTHORIZATION_KEYS: Final = frozenset(("chainId", "address", "nonce", "yParity", "r", "s"))


def parse_transaction(
    obj: Mapping[str, object], *, where: str = "transaction", sender: Address | None = None
) -> TransactionRequest:
    """A JSON-RPC transaction object. `sender` stands in for an absent `from`.

    Raises:
        InvalidRequestError: `unknown_field`, `missing_field`, `bad_quantity`, `quantity_overflow`, `bad_address`,
            `bad_checksum`, `bad_hex`, `data_input_mismatch`, `data_too_large`, `fee_conflict`, `bad_type`,
            `type_conflict`, `bad_chain_id`, `bad_list`.
    """
    fields = _present(obj, _KEYS, where)
    request = TransactionRequest(
        chain_id=_chain_id(fields, where),
        sender=_sender(fields, sender, where),
        to=parse_address(fields["to"], where=f"{where}.to") if "to" in fields else None,
        value=_optional(fields, "value", UINT256_MAX, where) or 0,
        data=_calldata(fields, where),
        type=_type(fields, where),
        gas=_optional(fields, "gas", UINT64_MAX, where),
        gas_price=_optional(fields, "gasPrice", UINT256_MAX, where),
        max_fee_per_gas=_optional(fields, "maxFeePerGas", UINT256_MAX, where),
        max_priority_fee_per_gas=_optional(fields, "maxPriorityFeePerGas", UINT256_MAX, where),
        nonce=_optional(fields, "nonce", NONCE_MAX, where),
        access_list=_access_list(fields, where),
        authorization_list=_authorizations(fields, where),
        max_fee_per_blob_gas=_optional(fields, "maxFeePerBlobGas", UINT256_MAX, where),
        blob_hashes=_blob_hashes(fields, where),
    )
    _check_fees(request, where)
    _check_type(request, fields, where)
    return request


def parse_typed_data(value: object, *, signer: Address, where: str = "typedData") -> TypedData:
    """EIP-712 data as an object or as a JSON string; its structure is judged when it is decoded.

    Raises:
        InvalidRequestError: `bad_typed_data`, or the codes of `strict_json`.
    """
    document = strict_json(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else value
    if not isinstance(document, dict):
        raise InvalidRequestError(f"{where} must be an object or its JSON text", code="bad_typed_data")
    return TypedData(signer, document)


def parse_message(value: object, *, signer: Address, where: str = "message") -> TextMessage:
    """The bytes for `personal_sign`: `0x` hex, or text that does not begin with 0x.

    Raises:
        InvalidRequestError: `bad_message`, `bad_hex`, `message_too_large`.
    """
    if not isinstance(value, str):
        raise InvalidRequestError(f"{where} must be a string", code="bad_message")
    data = parse_hex(value, where=where) if value[:2] in ("0x", "0X") else _utf8(value, where)
    if len(data) > MESSAGE_BYTES_MAX:
        raise InvalidRequestError(f"{where} is {len(data)} bytes", code="message_too_large")
    return TextMessage(signer, data)


def parse_hash(value: object, *, signer: Address, where: str = "hash") -> RawHash:
    """A bare digest (`eth_sign`).

    Raises:
        InvalidRequestError: `bad_hex`.
    """
    return RawHash(signer, parse_hex(value, where=where, size_bytes=32))


def parse_batch(obj: Mapping[str, object], *, where: str = "batch", sender: Address | None = None) -> Batch:
    """An EIP-5792 `wallet_sendCalls` object, version 2.0.0. The caller reads `id` itself.

    Capabilities marked optional are dropped, as the EIP allows; the others are kept and decoded as effects.

    Raises:
        InvalidRequestError: as `parse_transaction`, and `bad_version`, `bad_batch`, `unsupported_capability`.
    """
    fields = _present(obj, _BATCH_KEYS, where)
    if fields.get("version") != "2.0.0":
        raise InvalidRequestError(f"{where}.version must be 2.0.0", code="bad_version")
    if not isinstance(fields.get("id", ""), str):
        raise InvalidRequestError(f"{where}.id must be a string", code="bad_batch")
    atomic = fields.get("atomicRequired", False)
    calls = fields.get("calls")
    if not isinstance(atomic, bool) or not isinstance(calls, list) or not 0 < len(calls) <= CALLS_MAX:
        raise InvalidRequestError(
            f"{where} needs 1 to {CALLS_MAX} calls and a boolean atomicRequired", code="bad_batch"
        )
    chain_id = _chain_id(fields, where)
    if chain_id is None:
        raise InvalidRequestError(f"{where}.chainId is missing", code="missing_field")
    owner = _sender(fields, sender, where)
    parsed = tuple(_batch_call(call, owner, f"{where}.calls[{i}]") for i, call in enumerate(calls))
    if any(call.chain_id not in (None, chain_id) for call in parsed):
        raise InvalidRequestError(f"{where}: a call names another chain", code="bad_chain_id")
    return Batch(chain_id, owner, parsed, atomic, _capabilities(fields, where))


def parse_authorization(obj: Mapping[str, object], *, where: str = "authorization") -> CodeAuthorization:
    """An EIP-7702 authorization, unsigned or with yParity, r and s.

    Raises:
        InvalidRequestError: as `parse_transaction`.
    """
    fields = _present(obj, _AUTHORIZATION_KEYS, where)
    if not {"chainId", "address"} <= fields.keys():
        raise InvalidRequestError(f"{where} needs chainId and address", code="missing_field")
    signature = None
    if fields.keys() & {"yParity", "r", "s"}:
        parity = _required(fields, "yParity", 1, where)
        signature = (parity, _required(fields, "r", UINT256_MAX, where), _required(fields, "s", UINT256_MAX, where))
    return CodeAuthorization(
        _required(fields, "chainId", CHAIN_ID_MAX, where),
        parse_address(fields["address"], where=f"{where}.address"),
        _optional(fields, "nonce", UINT64_MAX, where),
        signature,
    )


def parse_quantity(value: object, maximum: int, where: str) -> int:
    """An unsigned integer of at most `maximum` from a `0x` string.

    Raises:
        InvalidRequestError: `bad_quantity`, `quantity_overflow`.
    """
    if not isinstance(value, str) or not _QUANTITY.match(value):
        if isinstance(value, str) and re.match(r"0x[0-9a-fA-F]{65,}\Z", value):
            raise InvalidRequestError(f"{where} is out of range", code="quantity_overflow")
        raise InvalidRequestError(f"{where} must be 0x and hex digits, in a string", code="bad_quantity")
    number = int(value, 16)
    if number > maximum:
        raise InvalidRequestError(f"{where} is out of range", code="quantity_overflow")
    return number


def _present(obj: object, known: frozenset[str], where: str) -> dict[str, object]:
    """The fields that are there: null is absent, and unknown names are refused even when null."""
    if not isinstance(obj, Mapping):
        raise InvalidRequestError(f"{where} must be an object", code="bad_object")
    for name in obj:
        if name not in known:
            raise InvalidRequestError(f"{where} has an unknown field {str(name)[:40]!r}", code="unknown_field")
    return {name: value for name, value in obj.items() if value is not None}


def _optional(fields: Mapping[str, object], name: str, maximum: int, where: str) -> int | None:
    if name not in fields:
        return None
    return parse_quantity(fields[name], maximum, f"{where}.{name}")


def _required(fields: Mapping[str, object], name: str, maximum: int, where: str) -> int:
    if name not in fields:
        raise InvalidRequestError(f"{where}.{name} is missing", code="missing_field")
    return parse_quantity(fields[name], maximum, f"{where}.{name}")


def _sender(fields: Mapping[str, object], sender: Address | None, where: str) -> Address:
    if "from" in fields:
        return parse_address(fields["from"], where=f"{where}.from")
    if sender is None:
        raise InvalidRequestError(f"{where}.from is missing", code="missing_field")
    return sender


def _chain_id(fields: Mapping[str, object], where: str) -> int | None:
    chain_id = _optional(fields, "chainId", CHAIN_ID_MAX, where)
    if chain_id == 0:
        raise InvalidRequestError(f"{where}.chainId is 0", code="bad_chain_id")
    return chain_id


def _calldata(fields: Mapping[str, object], where: str) -> bytes:
    found = [parse_hex(fields[name], where=f"{where}.{name}") for name in ("data", "input") if name in fields]
    if len(found) == 2 and found[0] != found[1]:
        raise InvalidRequestError(f"{where}.data and {where}.input differ", code="data_input_mismatch")
    data = found[0] if found else b""
    if len(data) > CALLDATA_BYTES_MAX:
        raise InvalidRequestError(f"{where}.data is {len(data)} bytes", code="data_too_large")
    return data


def _type(fields: Mapping[str, object], where: str) -> TransactionType | None:
    number = _optional(fields, "type", 0xFF, where)
    if number is None:
        return None
    try:
        return TransactionType(number)
    except ValueError as error:
        raise InvalidRequestError(f"{where}.type {number} is not known", code="bad_type") from error


def _list(fields: Mapping[str, object], name: str, where: str) -> list[object]:
    rows = fields.get(name, [])
    if not isinstance(rows, list) or len(rows) > LIST_LENGTH_MAX:
        raise InvalidRequestError(f"{where}.{name} must be a list of at most {LIST_LENGTH_MAX}", code="bad_list")
    return rows


def _access_list(fields: Mapping[str, object], where: str) -> tuple[AccessEntry, ...] | None:
    if "accessList" not in fields:
        return None
    entries = []
    for index, row in enumerate(_list(fields, "accessList", where)):
        at = f"{where}.accessList[{index}]"
        entry = _present(row, frozenset(("address", "storageKeys")), at)
        keys = _list(entry, "storageKeys", at)
        hashes = tuple(Hash32(parse_hex(key, where=f"{at}.storageKeys", size_bytes=32)) for key in keys)
        entries.append(AccessEntry(parse_address(entry.get("address"), where=f"{at}.address"), hashes))
    return tuple(entries)


def _authorizations(fields: Mapping[str, object], where: str) -> tuple[CodeAuthorization, ...]:
    rows = _list(fields, "authorizationList", where)
    return tuple(
        parse_authorization(row, where=f"{where}.authorizationList[{i}]")  # type: ignore[arg-type]
        for i, row in enumerate(rows)
    )


def _blob_hashes(fields: Mapping[str, object], where: str) -> tuple[Hash32, ...]:
    rows = _list(fields, "blobVersionedHashes", where)
    return tuple(Hash32(parse_hex(row, where=f"{where}.blobVersionedHashes", size_bytes=32)) for row in rows)


def _check_fees(request: TransactionRequest, where: str) -> None:
    fee, tip = request.max_fee_per_gas, request.max_priority_fee_per_gas
    if request.gas_price is not None and (fee is not None or tip is not None):
        raise InvalidRequestError(f"{where} has gasPrice and maxFeePerGas fields", code="fee_conflict")
    if fee is not None and tip is not None and tip > fee:
        raise InvalidRequestError(f"{where}: the priority fee exceeds the fee cap", code="fee_conflict")


def _check_type(request: TransactionRequest, fields: Mapping[str, object], where: str) -> None:
    """Fields and type must agree; without a type, fields that belong to one only name it."""
    kinds = TransactionType
    named = request.type
    blob = bool({"blobVersionedHashes", "maxFeePerBlobGas"} & fields.keys())
    code = "authorizationList" in fields
    capped = request.max_fee_per_gas is not None or request.max_priority_fee_per_gas is not None
    wrong = (
        (named in (kinds.LEGACY, kinds.ACCESS_LIST) and capped)
        or (named in (kinds.FEE_MARKET, kinds.BLOB, kinds.SET_CODE) and request.gas_price is not None)
        or (named is kinds.LEGACY and request.access_list is not None)
        or (blob and (named not in (None, kinds.BLOB) or request.gas_price is not None))
        or (code and (named not in (None, kinds.SET_CODE) or request.gas_price is not None or blob))
        or ((blob or code or named in (kinds.BLOB, kinds.SET_CODE)) and request.to is None)
        or (named is kinds.BLOB and not request.blob_hashes)
        or (named is kinds.SET_CODE and not request.authorization_list)
    )
    if wrong:
        raise InvalidRequestError(f"{where}: fields and type contradict each other", code="type_conflict")


def _batch_call(row: object, owner: Address, where: str) -> TransactionRequest:
    fields = _present(row, _CALL_KEYS, where)
    if _capabilities(fields, where):
        raise InvalidRequestError(f"{where} demands capabilities of its own", code="unsupported_capability")
    plain = {name: value for name, value in fields.items() if name != "capabilities"}
    return parse_transaction(plain, where=where, sender=owner)


def _capabilities(fields: Mapping[str, object], where: str) -> dict[str, object]:
    rows = fields.get("capabilities", {})
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise InvalidRequestError(f"{where}.capabilities must be an object of objects", code="bad_batch")
    return {name: row for name, row in rows.items() if row.get("optional") is not True}


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{where} is not Unicode text", code="bad_message") from error

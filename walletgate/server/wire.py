"""From HTTP bodies to `Ask`s: one strict reading, whatever the surface.

Bodies are bounded before they are read and parsed once, refusing duplicate keys, NaN, byte-order marks and floats
where numbers matter. What was parsed is what is judged and signed.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256

from aiohttp import web

from walletgate.audit.trace import TOOL_CALL, TRACEPARENT, clean_trace
from walletgate.effects.request import (
    parse_authorization,
    parse_batch,
    parse_hash,
    parse_message,
    parse_transaction,
    parse_typed_data,
    strict_json,
)  # fmt: skip
from walletgate.encoding import parse_address, parse_hex
from walletgate.errors import InvalidRequestError
from walletgate.gate import Ask
from walletgate.gate.ask import CLIENT_ID_LENGTH_MAX, MEMO_LENGTH_MAX, Asked
from walletgate.gate.codec import canonical
from walletgate.types import Address, Expectation, Hash32

BODY_SIZE_BYTES_MAX = 1024 * 1024
BODY_TIMEOUT_S = 10.0
_CLIENT_ID = re.compile(rf"[\x21-\x7e]{{1,{CLIENT_ID_LENGTH_MAX}}}\Z")
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,77})(\.[0-9]{1,77})?\Z")

METHODS = {
    "transaction": "eth_sendTransaction",
    "sign_transaction": "eth_signTransaction",
    "typed_data": "eth_signTypedData_v4",
    "message": "personal_sign",
    "hash": "eth_sign",
    "authorization": "eth_sign7702Authorization",
    "batch": "wallet_sendCalls",
}
"""The agent API's kinds and the JSON-RPC methods they are judged as."""


async def read_body(request: web.Request) -> bytes:
    """The whole body, at most `BODY_SIZE_BYTES_MAX`.

    Raises:
        InvalidRequestError: `body_too_large`, `body_too_slow`.
    """
    declared = request.content_length
    parts = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            if declared is None or declared <= BODY_SIZE_BYTES_MAX:
                async for part in request.content.iter_any():
                    parts += part
                    if len(parts) > BODY_SIZE_BYTES_MAX:
                        break
                else:
                    return bytes(parts)
    except TimeoutError:
        raise InvalidRequestError(f"the body took longer than {BODY_TIMEOUT_S:.0f} s", code="body_too_slow") from None
    raise InvalidRequestError(f"the body exceeds {BODY_SIZE_BYTES_MAX} bytes", code="body_too_large")


def read_object(body: bytes) -> dict[str, object]:
    """A JSON object, strictly.

    Raises:
        InvalidRequestError: whatever `strict_json` finds, or `bad_shape`.
    """
    value = strict_json(body)
    if not isinstance(value, dict):
        raise InvalidRequestError("the body must be a JSON object", code="bad_shape")
    return value


def trace_of(request: web.Request) -> dict[str, str]:
    """The agent's own trace context (W3C traceparent) and tool-call id, where it sends them well-formed."""
    return clean_trace({name: request.headers[name] for name in (TRACEPARENT, TOOL_CALL) if name in request.headers})


def client_id(value: object) -> str:
    """An agent's id for a request.

    Raises:
        InvalidRequestError: `bad_id`.
    """
    if not isinstance(value, str) or not _CLIENT_ID.match(value):
        raise InvalidRequestError(f"id must be 1 to {CLIENT_ID_LENGTH_MAX} visible ASCII characters", code="bad_id")
    return value


def fresh_id(prefix: str) -> str:
    """An id for a request whose sender gave none."""
    return f"{prefix}_{secrets.token_hex(12)}"


def ask_of_api(body: Mapping[str, object], *, wallet: Address, surface: str, trace: Mapping[str, str]) -> Ask:
    """An `Ask` from the agent API's JSON (see `server/api.py`).

    Raises:
        InvalidRequestError: naming the field.
    """
    known = {"id", "kind", "payload", "expect", "memo", "wait_s"}
    unknown = sorted(set(body) - known)
    if unknown:
        raise InvalidRequestError(f"{unknown[0][:64]!r} is not a field of a request", code="unknown_field")
    kind = body.get("kind")
    if not isinstance(kind, str) or kind not in METHODS:
        raise InvalidRequestError(f"kind must be one of {', '.join(METHODS)}", code="bad_kind")
    memo = body.get("memo", "")
    if not isinstance(memo, str) or len(memo) > MEMO_LENGTH_MAX:
        raise InvalidRequestError(f"memo must be text of at most {MEMO_LENGTH_MAX} characters", code="bad_memo")
    identity = {key: body[key] for key in ("kind", "payload", "expect", "memo") if body.get(key) is not None}
    return Ask(
        client_id=client_id(body.get("id")),
        surface=surface,
        method=METHODS[kind],
        asked=_asked(kind, body.get("payload"), wallet),
        body_hash=Hash32(sha256(canonical(identity)).digest()),
        expect=_expectation(body.get("expect")),
        memo=memo,
        release_raw=kind == "sign_transaction",
        trace=dict(trace),
    )


def ask_of_rpc(
    method: str, params: Sequence[object], *, wallet: Address, request_id: str, trace: Mapping[str, str]
) -> Ask:
    """An `Ask` from a JSON-RPC signing or sending method.

    Raises:
        InvalidRequestError: naming the parameter.
    """
    match method:
        case "eth_sendTransaction" | "wallet_sendTransaction" | "eth_signTransaction":
            asked: Asked = parse_transaction(_object(params, 0, 1), where="params[0]", sender=wallet)
        case "personal_sign":
            asked = parse_message(_one(params, 0, (2, 3)), signer=parse_address(params[1], where="params[1]"))
        case "eth_sign":
            asked = parse_hash(_one(params, 1, (2,)), signer=parse_address(params[0], where="params[0]"))
        case "eth_sign7702Authorization":
            asked = parse_authorization(_object(params, 0, 1), where="params[0]")
        case "wallet_sendCalls":
            asked = parse_batch(_object(params, 0, 1), where="params[0]", sender=wallet)
        case _:
            document = _one(params, 1, (2,))
            asked = parse_typed_data(document, signer=parse_address(params[0], where="params[0]"))
    judged_as = {"wallet_sendTransaction": "eth_sendTransaction"}.get(method, method)
    return Ask(
        client_id=request_id,
        surface="rpc",
        method=judged_as,
        asked=asked,
        body_hash=Hash32(sha256(canonical([judged_as, list(params)])).digest()),
        release_raw=method == "eth_signTransaction",
        trace=dict(trace),
    )


def _asked(kind: str, payload: object, wallet: Address) -> Asked:
    if not isinstance(payload, dict):
        raise InvalidRequestError("payload must be an object", code="bad_shape")
    match kind:
        case "typed_data":
            return parse_typed_data(payload, signer=wallet)
        case "message":
            return parse_message(payload.get("data"), signer=wallet)
        case "hash":
            return parse_hash(payload.get("data"), signer=wallet)
        case "authorization":
            return parse_authorization(payload, where="payload")
        case "batch":
            return parse_batch(payload, where="payload", sender=wallet)
        case _:
            return parse_transaction(payload, where="payload", sender=wallet)


def _expectation(value: object) -> Expectation | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not set(value) <= {"asset", "amount", "recipient"}:
        raise InvalidRequestError("expect has asset, amount and recipient", code="bad_expectation")
    asset, amount, recipient = value.get("asset"), value.get("amount"), value.get("recipient")
    if asset is not None and not isinstance(asset, str):
        raise InvalidRequestError("expect.asset must be the name of an asset", code="bad_expectation")
    if amount is not None and not (isinstance(amount, str) and _AMOUNT.match(amount)):
        raise InvalidRequestError("expect.amount must be a decimal string", code="bad_expectation")
    address = None
    if recipient is not None:
        address = Address(parse_hex(recipient, where="expect.recipient", size_bytes=20))
        address = parse_address(recipient, where="expect.recipient")
    return Expectation(asset, amount, address)


def _object(params: Sequence[object], place: int, size: int) -> dict[str, object]:
    value = _one(params, place, (size,))
    if not isinstance(value, dict):
        raise InvalidRequestError(f"params[{place}] must be an object", code="malformed_params")
    return value


def _one(params: Sequence[object], place: int, sizes: tuple[int, ...]) -> object:
    if len(params) not in sizes:
        raise InvalidRequestError(f"expected {sizes[0]} parameters, got {len(params)}", code="malformed_params")
    return params[place]

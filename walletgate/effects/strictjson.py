"""JSON with one meaning: what any two parsers could read differently is refused.

Duplicate keys, `NaN` and infinities, a byte order mark, invalid UTF-8, lone surrogates, absurd numbers, deep
nesting and oversize bodies are errors with codes of their own. Fractions are kept as floats, because harmless
read methods use them; nothing that parses an amount accepts one.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Final, NoReturn

from walletgate.errors import InvalidRequestError

BODY_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 32
_DIGITS_MAX: Final = 100
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""Strings as a whole, even unfinished ones, and brackets: linear in the length of the text."""


def strict_json(body: bytes) -> object:
    """The value of `body`.

    Raises:
        InvalidRequestError: `body_too_large`, `byte_order_mark`, `bad_utf8`, `duplicate_key`, `bad_number`,
            `json_too_deep`, `bad_json`.
    """
    if len(body) > BODY_BYTES_MAX:
        raise InvalidRequestError(f"more than {BODY_BYTES_MAX} bytes of JSON", code="body_too_large")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise InvalidRequestError("JSON begins with a byte order mark", code="byte_order_mark")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequestError("JSON is not UTF-8", code="bad_utf8") from error
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX:
        _check_depth(text)
    try:
        value: object = _DECODER.decode(text)
    except ValueError as error:
        raise InvalidRequestError("not JSON", code="bad_json") from error
    if b"\\u" in body:
        _check_surrogates(value)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        twice = counted.most_common(1)[0][0]
        raise InvalidRequestError(f"the key {twice[:40]!r} occurs twice", code="duplicate_key")
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidRequestError(f"{name} is not a JSON number", code="bad_number")


def _float(text: str) -> float:
    number = float(text)
    if len(text) > _DIGITS_MAX or not math.isfinite(number):
        raise InvalidRequestError("a number is out of range", code="bad_number")
    return number


def _int(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise InvalidRequestError("a number is out of range", code="bad_number")
    return int(text)


def _check_depth(text: str) -> None:
    """Before parsing, because the parser recurses: deep enough nesting would end the process, not the request."""
    depth = 0
    for match in _STRUCTURE.finditer(text):
        found = match.group()
        if found in "[{":
            depth += 1
        elif found in "]}":
            depth -= 1
        if depth > DEPTH_MAX:
            raise InvalidRequestError(f"JSON is nested more than {DEPTH_MAX} deep", code="json_too_deep")


def _check_surrogates(value: object) -> None:
    """Half a surrogate pair is no character: it cannot be encoded, so it cannot be signed or stored."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError("JSON contains half a surrogate pair", code="bad_utf8") from error


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_int
)

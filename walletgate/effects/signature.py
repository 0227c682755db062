"""Function signatures as text, parsed into types.

The grammar is Solidity's without its optional words: `name(type name,type,(type,type)[] name)`. `uint` and
`int` mean 256 bits, `tuple(` may be written for `(`, names are kept because conditions in a policy speak of
them, and everything else (data locations, empty tuples, arrays of nothing) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

SIGNATURE_LENGTH_MAX: Final = 1024
TYPE_DEPTH_MAX: Final = 8
ARRAY_LENGTH_MAX: Final = 4096

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_ELEMENTARY = re.compile(r"(address|bool|string|bytes|uint|int)([0-9]{0,3})")
_SUFFIX = re.compile(r"\[([0-9]{0,4})\]")


class SignatureError(ValueError):
    """The text is not a function signature."""


@dataclass(frozen=True, slots=True)
class AbiType:
    """One parameter's type. `kind` is address, bool, uint, int, fixed (bytesN), bytes, string, tuple or array.

    `size` is bits for integers and bytes for `fixed`; `length` is None for arrays of any length;
    `head_bytes` is what it takes in its parent's head, 32 for whatever is dynamic.
    """

    kind: str
    canonical: str
    size: int = 0
    name: str = ""
    item: AbiType | None = None
    length: int | None = None
    components: tuple[AbiType, ...] = ()
    dynamic: bool = False
    head_bytes: int = 32


def parse(text: str) -> tuple[str, tuple[AbiType, ...]]:
    """Name and parameters of the function that `text` describes.

    Raises:
        SignatureError: not a signature; the message says where.
    """
    if len(text) > SIGNATURE_LENGTH_MAX:
        raise SignatureError("signature is too long")
    name = _NAME.match(text)
    if not name or name.end() >= len(text) or text[name.end()] != "(":
        raise SignatureError(f"{text!r} is not a function signature: expected name(type,…)")
    params, end = _parse_list(text, name.end() + 1, 0)
    if end != len(text):
        raise SignatureError(f"{text!r}: unexpected text at {end}")
    return name.group(), params


def _parse_list(text: str, at: int, depth: int) -> tuple[tuple[AbiType, ...], int]:
    """The types up to the closing parenthesis, and the position behind it."""
    if depth > TYPE_DEPTH_MAX:
        raise SignatureError("types are nested too deeply")
    if text[at : at + 1] == ")" and depth == 0:
        return (), at + 1
    types: list[AbiType] = []
    while True:
        abi_type, at = _parse_type(text, at, depth)
        types.append(abi_type)
        closing = text[at : at + 1]
        at += 1
        if closing == ")":
            return tuple(types), at
        if closing != ",":
            raise SignatureError(f"{text!r}: expected a comma or a closing parenthesis at {at - 1}")


def _parse_type(text: str, at: int, depth: int) -> tuple[AbiType, int]:
    at = _skip_spaces(text, at)
    if text.startswith("tuple(", at):
        at += 5
    if text[at : at + 1] == "(":
        components, at = _parse_list(text, at + 1, depth + 1)
        base = _tuple_type(components)
    else:
        match = _ELEMENTARY.match(text, at)
        if not match:
            raise SignatureError(f"{text!r}: expected a type at {at}")
        base, at = _elementary(match.group(1), match.group(2)), match.end()
    while match := _SUFFIX.match(text, at):
        base, at = _array_type(base, match.group(1)), match.end()
    after = _skip_spaces(text, at)
    name = _NAME.match(text, after) if after > at else None
    if name:
        base, at = replace(base, name=name.group()), name.end()
    return base, _skip_spaces(text, at)


def _skip_spaces(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _elementary(word: str, digits: str) -> AbiType:
    if digits.startswith("0"):
        raise SignatureError(f"{word}{digits} is not a type")
    if word in ("address", "bool") and not digits:
        return AbiType(word, word)
    if word in ("bytes", "string") and not digits:
        return AbiType(word, word, dynamic=True)
    if word == "bytes" and 1 <= int(digits) <= 32:
        return AbiType("fixed", f"bytes{digits}", int(digits))
    bits = int(digits or "256")
    if word in ("uint", "int") and 8 <= bits <= 256 and bits % 8 == 0:
        return AbiType(word, f"{word}{bits}", bits)
    raise SignatureError(f"{word}{digits} is not a type")


def _tuple_type(components: tuple[AbiType, ...]) -> AbiType:
    dynamic = any(c.dynamic for c in components)
    return AbiType(
        "tuple",
        f"({','.join(c.canonical for c in components)})",
        components=components,
        dynamic=dynamic,
        head_bytes=32 if dynamic else sum(c.head_bytes for c in components),
    )


def _array_type(item: AbiType, digits: str) -> AbiType:
    length = int(digits) if digits else None
    if length is not None and (digits.startswith("0") or length > ARRAY_LENGTH_MAX):
        raise SignatureError(f"an array of {digits} is not a type")
    dynamic = length is None or item.dynamic
    return AbiType(
        "array",
        f"{item.canonical}[{digits}]",
        item=item,
        length=length,
        dynamic=dynamic,
        head_bytes=32 if dynamic or length is None else item.head_bytes * length,
    )

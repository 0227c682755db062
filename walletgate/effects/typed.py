"""EIP-712 typed data, read strictly and hashed from what was read.

A wallet signs a hash, and the same hash can be reached from documents that look different: extra fields are
ignored by some libraries, missing ones become zero, `"1"`, `"0x1"` and `1` are one number. So the document is
read once into typed values, refused unless types, domain and message match each other exactly, and the digest
is computed from those values. What the values mean is a matter of the type hash alone, never of names.

Promised by `parse`: the declared types are exactly the ones used; the domain has exactly the fields of its
`EIP712Domain`, in the standard's order and types; every struct has exactly its fields; integers fit; addresses
carry no wrong checksum; nothing refers to itself; sizes are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from walletgate.encoding import keccak256, parse_address, parse_hex
from walletgate.errors import InvalidRequestError
from walletgate.types import Address, Hash32

TYPES_MAX: Final = 64
FIELDS_MAX: Final = 64
VALUES_MAX: Final = 8192
DEPTH_MAX: Final = 16

DOMAIN_FIELDS: Final = {
    "name": "string",
    "version": "string",
    "chainId": "uint256",
    "verifyingContract": "address",
    "salt": "bytes32",
}
_DOMAIN: Final = "EIP712Domain"

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_ARRAY = re.compile(r"(.+)\[([1-9][0-9]{0,3})?\]\Z")
_NUMBER = re.compile(r"(?:0x[0-9a-fA-F]{1,64}|-?(?:0|[1-9][0-9]{0,77}))\Z")
_ELEMENTARY: Final = frozenset(
    ["address", "bool", "string", "bytes"]
    + [f"bytes{n}" for n in range(1, 33)]
    + [f"{sign}int{bits}" for sign in ("u", "") for bits in range(8, 257, 8)]
)

Fields = tuple[tuple[str, str], ...]
"""(name, type) of each field of a struct, in order."""


class TypedDataError(Exception):
    """The document does not describe one thing in one way."""


@dataclass(frozen=True, slots=True)
class Domain:
    """Who the signature is for. None: the domain has no such field."""

    fields: tuple[str, ...]
    chain_id: int | None
    contract: Address | None
    name: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Typed:
    """A document read: `message` holds ints, bytes, strings, booleans, tuples and nested mappings."""

    domain: Domain
    primary_type: str
    encoded_type: str
    type_hash: Hash32
    message: Mapping[str, Any]
    domain_separator: Hash32
    struct_hash: Hash32

    @property
    def preimage(self) -> bytes:
        """What is hashed and signed: 0x19 0x01, the domain separator, the hash of the message."""
        return b"\x19\x01" + self.domain_separator + self.struct_hash

    @property
    def digest(self) -> Hash32:
        """Keccak-256 of the preimage."""
        return Hash32(keccak256(self.preimage))


def parse(document: Mapping[str, object]) -> Typed:
    """`document` read and hashed.

    Raises:
        TypedDataError: its parts do not fit each other exactly.
    """
    if set(document) != {"types", "primaryType", "domain", "message"}:
        raise TypedDataError("needs types, primaryType, domain and message, and nothing else")
    types = _types(document["types"])
    primary = document["primaryType"]
    if not isinstance(primary, str) or primary not in types or primary == _DOMAIN:
        raise TypedDataError("primaryType is not one of the types")
    used = _reachable(types, primary)
    if used | {_DOMAIN} != set(types):
        raise TypedDataError("types are declared that the primary type does not use")
    reader = _Reader(types)
    domain, separator = _domain(reader, document["domain"])
    message, struct_hash = reader.struct(primary, document["message"], 0)
    encoded_type = reader.encoded_type(primary)
    return Typed(
        domain=domain,
        primary_type=primary,
        encoded_type=encoded_type,
        type_hash=Hash32(keccak256(encoded_type.encode())),
        message=message,
        domain_separator=separator,
        struct_hash=Hash32(struct_hash),
    )


def _types(declared: object) -> dict[str, Fields]:
    if not isinstance(declared, Mapping) or len(declared) > TYPES_MAX or _DOMAIN not in declared:
        raise TypedDataError("types must be an object with EIP712Domain among them")
    types: dict[str, Fields] = {}
    for name, rows in declared.items():
        if not isinstance(name, str) or not _IDENTIFIER.match(name) or name in _ELEMENTARY:
            raise TypedDataError("a type has no proper name")
        if not isinstance(rows, list) or len(rows) > FIELDS_MAX:
            raise TypedDataError(f"type {name} must be a short list of fields")
        types[name] = tuple(_field(name, row) for row in rows)
        if len({field for field, _ in types[name]}) != len(rows):
            raise TypedDataError(f"type {name} names a field twice")
    for name, fields in types.items():
        for _, kind in fields:
            base = _base(kind)
            if base not in types and base not in _ELEMENTARY:
                raise TypedDataError(f"type {name} uses an unknown type")
    return types


def _field(owner: str, row: object) -> tuple[str, str]:
    if not isinstance(row, Mapping) or set(row) != {"name", "type"}:
        raise TypedDataError(f"a field of {owner} must have a name and a type, and nothing else")
    name, kind = row["name"], row["type"]
    if not isinstance(name, str) or not _IDENTIFIER.match(name) or not isinstance(kind, str) or len(kind) > 256:
        raise TypedDataError(f"a field of {owner} has no proper name or type")
    return name, kind


def _base(kind: str) -> str:
    while match := _ARRAY.match(kind):
        kind = match.group(1)
    return kind


def _reachable(types: Mapping[str, Fields], primary: str) -> set[str]:
    """The structs that `primary` is made of. A struct inside itself could have no finite value."""
    found: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above or len(above) > DEPTH_MAX:
            raise TypedDataError("types refer to themselves or are nested too deeply")
        if name in found:
            return
        for _, kind in types[name]:
            base = _base(kind)
            if base in types:
                visit(base, (*above, name))
        found.add(name)

    visit(primary, ())
    return found


def _domain(reader: _Reader, value: object) -> tuple[Domain, Hash32]:
    fields = reader.types[_DOMAIN]
    names = tuple(name for name, _ in fields)
    expected = tuple((name, DOMAIN_FIELDS[name]) for name in DOMAIN_FIELDS if name in names)
    if fields != expected or not fields:
        raise TypedDataError("EIP712Domain does not have the standard's fields")
    read, struct_hash = reader.struct(_DOMAIN, value, 0)
    contract = read.get("verifyingContract")
    domain = Domain(names, read.get("chainId"), contract, read.get("name"), read.get("version"))
    return domain, Hash32(struct_hash)


class _Reader:
    """Reads values and hashes them on the way, with one budget for the whole document."""

    __slots__ = ("_hashes", "_values_left", "types")

    def __init__(self, types: Mapping[str, Fields]) -> None:
        self.types = types
        self._values_left = VALUES_MAX
        self._hashes: dict[str, bytes] = {}

    def encoded_type(self, name: str) -> str:
        others = sorted(_reachable(self.types, name) - {name})
        return "".join(
            f"{each}({','.join(f'{kind} {field}' for field, kind in self.types[each])})" for each in (name, *others)
        )

    def struct(self, name: str, value: object, depth: int) -> tuple[dict[str, Any], bytes]:
        fields = self.types[name]
        if not isinstance(value, Mapping) or set(value) != {field for field, _ in fields}:
            raise TypedDataError(f"a {name} must have exactly its fields")
        if name not in self._hashes:
            self._hashes[name] = keccak256(self.encoded_type(name).encode())
        read: dict[str, Any] = {}
        words = [self._hashes[name]]
        for field, kind in fields:
            read[field], word = self.value(kind, value[field], f"{name}.{field}", depth + 1)
            words.append(word)
        return read, keccak256(b"".join(words))

    def value(self, kind: str, value: object, where: str, depth: int) -> tuple[Any, bytes]:
        self._values_left -= 1
        if self._values_left < 0 or depth > 2 * DEPTH_MAX:
            raise TypedDataError("too many values")
        if match := _ARRAY.match(kind):
            return self._array(match.group(1), match.group(2), value, where, depth)
        if kind in self.types:
            return self.struct(kind, value, depth)
        return _elementary(kind, value, where)

    def _array(
        self, item: str, length: str | None, value: object, where: str, depth: int
    ) -> tuple[tuple[Any, ...], bytes]:
        if not isinstance(value, list) or (length is not None and len(value) != int(length)):
            raise TypedDataError(f"{where} must be a list" + (f" of {length}" if length else ""))
        parts = [self.value(item, each, where, depth + 1) for each in value]
        return tuple(read for read, _ in parts), keccak256(b"".join(word for _, word in parts))


def _elementary(kind: str, value: object, where: str) -> tuple[Any, bytes]:
    if kind == "string":
        if not isinstance(value, str):
            _wrong(where, kind)
        return value, keccak256(_utf8(value, where))
    if kind == "bool":
        if not isinstance(value, bool):
            _wrong(where, kind)
        return value, int(value).to_bytes(32, "big")
    try:
        if kind == "address":
            address = parse_address(value, where=where)
            return address, bytes(12) + address
        if kind.startswith("bytes"):
            size = int(kind[5:]) if kind != "bytes" else None
            data = parse_hex(value, where=where, size_bytes=size)
            return data, keccak256(data) if size is None else data.ljust(32, b"\0")
    except InvalidRequestError as error:
        raise TypedDataError(error.detail) from error
    return _integer(kind, value, where)


def _integer(kind: str, value: object, where: str) -> tuple[int, bytes]:
    if isinstance(value, str) and _NUMBER.match(value):
        number = int(value, 16) if value.startswith("0x") else int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        _wrong(where, kind)
    signed = kind.startswith("int")
    bits = int(kind.lstrip("uint"))
    low = -(1 << (bits - 1)) if signed else 0
    if not low <= number < low + (1 << bits):
        raise TypedDataError(f"{where} does not fit {kind}")
    return number, number.to_bytes(32, "big", signed=signed)


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TypedDataError(f"{where} is not Unicode text") from error


def _wrong(where: str, kind: str) -> NoReturn:
    raise TypedDataError(f"{where} is not a {kind}")

"""Contract ABI, canonical form only: one meaning, one spelling.

Solidity's decoders disagree with each other about dirty words, offsets that point backwards, and tails that
overlap, and each disagreement is a place to hide a transfer. So there is exactly one accepted encoding of a
value: the one `encode` makes. Every word is compared in full (upper bits of addresses and small integers,
booleans other than 0 and 1, padding), every offset must be the one that puts the tails behind the head in
order without gap or overlap, and every length must fit what is there. What follows complete arguments is
not an error here: `Function.decode` says where the arguments end, and the caller reports the rest.

    transfer = parse_signature("transfer(address to,uint256 amount)")
    (recipient, amount), end = transfer.decode(calldata)

Signatures may carry parameter names. `receive()` stands for a call without data: its selector is empty,
because a contract cannot have a function of that name.

Decoders are compiled once for each function because this is on the path of every request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from walletgate.effects.signature import ARRAY_LENGTH_MAX, AbiType, parse
from walletgate.encoding import keccak256
from walletgate.types import UINT256_MAX, AbiValue

CALLDATA_BYTES_MAX: Final = 128 * 1024

Reader = Callable[[bytes, int], tuple[Any, int]]
"""(data, position) to (value, position after it); raises AbiError."""


class AbiError(Exception):
    """The bytes or values do not have the one canonical form."""


@dataclass(frozen=True, slots=True)
class Function:
    """A contract function: `signature` is canonical, `selector` the first four bytes of its Keccak-256."""

    name: str
    signature: str
    selector: bytes
    params: tuple[AbiType, ...]
    _read: Reader = field(repr=False, compare=False)

    def decode(self, calldata: bytes) -> tuple[tuple[Any, ...], int]:
        """Arguments of `calldata` (which begins with the selector), and where they end.

        Raises:
            AbiError: anything but canonical arguments.
        """
        return self._read(calldata, 4)

    def encode(self, *values: AbiValue) -> bytes:
        """Calldata of a call with these arguments."""
        return self.selector + encode(self.params, values)


@lru_cache(maxsize=4096)
def parse_signature(text: str) -> Function:
    """The function named by `text`, such as `supply(address asset,uint256 amount,address onBehalfOf,uint16 code)`.

    Raises:
        SignatureError: not a signature; the message says where.
    """
    name, params = parse(text)
    signature = f"{name}({','.join(p.canonical for p in params)})"
    selector = b"" if signature == "receive()" else keccak256(signature.encode())[:4]
    return Function(name, signature, selector, params, _arguments_reader(params))


@lru_cache(maxsize=1024)
def parse_types(text: str) -> tuple[AbiType, ...]:
    """The types of a comma-separated list, such as `address,(uint256,bytes)[]`."""
    return parse_signature(f"f({text})").params


def decode_strict(types: tuple[AbiType, ...], data: bytes) -> tuple[AbiValue, ...]:
    """Values of `data`, which must be their canonical encoding and nothing more.

    Raises:
        AbiError: any other bytes.
    """
    values, end = _arguments_reader(types)(data, 0)
    if end != len(data):
        raise AbiError(f"{len(data) - end} bytes after the arguments")
    return values  # type: ignore[no-any-return]


def decode_prefix(types: tuple[AbiType, ...], data: bytes) -> tuple[tuple[Any, ...], int]:
    """Canonical values at the beginning of `data`, and where they end.

    Raises:
        AbiError: what stands there is not canonical.
    """
    return _arguments_reader(types)(data, 0)


def encode(types: Sequence[AbiType], values: Sequence[AbiValue]) -> bytes:
    """The canonical encoding of `values`.

    Raises:
        AbiError: a value does not fit its type.
    """
    if len(types) != len(values):
        raise AbiError(f"{len(types)} values expected, not {len(values)}")
    offset = sum(t.head_bytes for t in types)
    heads, tails = [], []
    for abi_type, value in zip(types, values, strict=True):
        encoded = _encode_one(abi_type, value)
        if abi_type.dynamic:
            heads.append(offset.to_bytes(32, "big"))
            tails.append(encoded)
            offset += len(encoded)
        else:
            heads.append(encoded)
    return b"".join(heads + tails)


# --- encoding --------------------------------------------------------------------------------------


def _encode_one(abi_type: AbiType, value: AbiValue) -> bytes:
    kind = abi_type.kind
    encoded: bytes | None = None
    if kind in ("tuple", "array"):
        encoded = _encode_many(abi_type, value)
    elif isinstance(value, bool):
        encoded = int(value).to_bytes(32, "big") if kind == "bool" else None
    elif isinstance(value, int):
        encoded = _encode_integer(abi_type, value)
    elif isinstance(value, bytes):
        encoded = _encode_raw(abi_type, value)
    elif isinstance(value, str) and kind == "string":
        encoded = _with_length(value.encode())
    if encoded is None:
        raise AbiError(f"not a value of {abi_type.canonical}")
    return encoded


def _encode_raw(abi_type: AbiType, value: bytes) -> bytes | None:
    if abi_type.kind == "address" and len(value) == 20:
        return bytes(12) + value
    if abi_type.kind == "fixed" and len(value) == abi_type.size:
        return value.ljust(32, b"\0")
    return _with_length(value) if abi_type.kind == "bytes" else None


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(32, "big") + data + bytes(-len(data) % 32)


def _encode_integer(abi_type: AbiType, value: int) -> bytes | None:
    if abi_type.kind not in ("uint", "int"):
        return None
    signed = abi_type.kind == "int"
    low = -(1 << (abi_type.size - 1)) if signed else 0
    if not low <= value < low + (1 << abi_type.size):
        raise AbiError(f"{value} does not fit {abi_type.canonical}")
    return value.to_bytes(32, "big", signed=signed)


def _encode_many(abi_type: AbiType, value: AbiValue) -> bytes:
    if not isinstance(value, tuple):
        raise AbiError(f"not a value of {abi_type.canonical}")
    if abi_type.item is None:
        return encode(abi_type.components, value)
    if abi_type.length is not None and len(value) != abi_type.length:
        raise AbiError(f"{abi_type.canonical} needs {abi_type.length} items, not {len(value)}")
    body = encode((abi_type.item,) * len(value), value)
    return body if abi_type.length is not None else len(value).to_bytes(32, "big") + body


# --- decoding --------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _arguments_reader(types: tuple[AbiType, ...]) -> Reader:
    return _sequence_reader(types)


def _reader(abi_type: AbiType) -> Reader:
    kind = abi_type.kind
    if kind == "tuple":
        return _sequence_reader(abi_type.components)
    if kind == "array" and abi_type.item is not None:
        return _array_reader(abi_type.item, abi_type.length)
    if kind in _WORDS:
        return _word_reader(abi_type)
    return _read_bytes if kind == "bytes" else _read_string


def _sequence_reader(types: tuple[AbiType, ...]) -> Reader:
    """Reads a tuple: head, then tails in order. Offsets count from where the tuple begins."""
    if any(t.head_bytes != 32 or t.kind in ("tuple", "array") for t in types if not t.dynamic):
        return _nested_reader(types)
    head = _head_reader(types)
    tails = tuple((index, _reader(t)) for index, t in enumerate(types) if t.dynamic)
    if not tails:
        return head

    def read(data: bytes, start: int) -> tuple[Any, int]:
        heads, tail = head(data, start)
        values = list(heads)
        for index, reader in tails:
            if values[index] != tail - start:
                raise AbiError("offset is not the canonical one")
            values[index], tail = reader(data, tail)
        return tuple(values), tail

    return read


def _head_reader(types: Sequence[AbiType]) -> Reader:
    """Reads one word for each type, the offset where it is dynamic, because most calls are little else.

    All words are cut at once, and one mask says of all of them together which bits must be zero.
    """
    words = [_WORDS["offset" if t.dynamic else t.kind](t.size) for t in types]
    layout = Struct("".join(word.layout for word in words))
    converters = [word.convert for word in words]
    forbidden = int.from_bytes(b"".join(word.forbidden.to_bytes(32, "big") for word in words), "big")
    size = layout.size

    def read(data: bytes, at: int) -> tuple[Any, int]:
        end = at + size
        if len(data) < end:
            raise AbiError("calldata ends inside the arguments")
        if int.from_bytes(data[at:end], "big") & forbidden:
            raise AbiError("a word has dirty bits, which are no part of its value")
        cut = zip(layout.unpack_from(data, at), converters, strict=True)
        return tuple([raw if convert is None else convert(raw) for raw, convert in cut]), end

    return read


def _word_reader(abi_type: AbiType) -> Reader:
    head = _head_reader((abi_type,))

    def read(data: bytes, at: int) -> tuple[Any, int]:
        (value,), end = head(data, at)
        return value, end

    return read


def _nested_reader(types: tuple[AbiType, ...]) -> Reader:
    """Reads a tuple with tuples or arrays in its head."""
    head = sum(t.head_bytes for t in types)
    fields = tuple((_reader(t), t.dynamic) for t in types)

    def read(data: bytes, start: int) -> tuple[Any, int]:
        at, tail = start, start + head
        if len(data) < tail:
            raise AbiError("calldata ends inside the arguments")
        values = []
        for reader, dynamic in fields:
            if dynamic:
                if int.from_bytes(data[at : at + 32], "big") != tail - start:
                    raise AbiError("offset is not the canonical one")
                at += 32
                value, tail = reader(data, tail)
            else:
                value, at = reader(data, at)
            values.append(value)
        return tuple(values), tail

    return read


def _array_reader(item: AbiType, length: int | None) -> Reader:
    reader, dynamic, head = _reader(item), item.dynamic, item.head_bytes

    def read(data: bytes, at: int) -> tuple[Any, int]:
        count = length
        if count is None:
            begin = at + 32
            if begin > len(data):
                raise AbiError("calldata ends inside the arguments")
            count = int.from_bytes(data[at:begin], "big")
            at = begin
        if count > ARRAY_LENGTH_MAX or count * head > len(data) - at:
            raise AbiError("array is longer than its data")
        start, tail = at, at + count * head
        values = []
        for _ in range(count):
            if dynamic:
                if int.from_bytes(data[at : at + 32], "big") != tail - start:
                    raise AbiError("offset is not the canonical one")
                at += 32
                value, tail = reader(data, tail)
            else:
                value, at = reader(data, at)
            values.append(value)
        return tuple(values), tail

    return read


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    begin = at + 32
    size = int.from_bytes(data[at:begin], "big")
    end = begin + size
    padded = end + (-size % 32)
    if padded > len(data):
        raise AbiError("bytes or their padding are longer than their data")
    if data[end:padded].strip(b"\0"):
        raise AbiError("padding is not zero")
    return data[begin:end], padded


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    raw, end = _read_bytes(data, at)
    try:
        return raw.decode(), end
    except UnicodeDecodeError as error:
        raise AbiError("string is not UTF-8") from error


# --- words -----------------------------------------------------------------------------------------


class _Word(NamedTuple):
    """How one word is read: which of its bytes are the value, which bits are forbidden, and what to make of it.

    `layout` is in the language of `struct`; `convert` None keeps the bytes.
    """

    layout: str
    forbidden: int
    convert: Callable[[bytes], Any] | None


def _address(_size: int) -> _Word:
    return _Word("12x20s", UINT256_MAX - (1 << 160) + 1, None)


def _fixed(size: int) -> _Word:
    padding = 32 - size
    return _Word(f"{size}s{padding}x", (1 << 8 * padding) - 1, None)


def _uint(bits: int) -> _Word:
    """Big-endian, as `int.from_bytes` reads without being told."""
    return _Word("32s", UINT256_MAX - (1 << bits) + 1, int.from_bytes)


def _bool(_size: int) -> _Word:
    return _Word("32s", UINT256_MAX - 1, lambda word: word[31] == 1)


def _int(bits: int) -> _Word:
    limit = 1 << (bits - 1)

    def convert(word: bytes) -> int:
        number = int.from_bytes(word, "big", signed=True)
        if not -limit <= number < limit:
            raise AbiError(f"int{bits} has dirty upper bits")
        return number

    return _Word("32s", 0, convert)


_WORDS: Final[Mapping[str, Callable[[int], _Word]]] = {
    "address": _address,
    "bool": _bool,
    "uint": _uint,
    "int": _int,
    "fixed": _fixed,
    "offset": lambda _size: _uint(256),
}
"""By kind of type: how one of so many bits or bytes is read."""

"""Bytes at the edges: keccak-256, EIP-55 addresses, `0x` hex, RLP, and text made safe to show.

Strict in, canonical out. Nothing here guesses: an address with mixed case must carry the right EIP-55
checksum, hex must be even and lower or upper in one go, and text from outside is shown escaped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import sha3

from walletgate.errors import InvalidRequestError
from walletgate.types import Address

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*\Z")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")

Rlp = bytes | Sequence["Rlp"]


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not NIST SHA-3)."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


@lru_cache(maxsize=65_536)
def checksum_address(address: bytes) -> str:
    """`address` (20 bytes) in the mixed-case form of EIP-55."""
    digits = address.hex()
    digest = keccak256(digits.encode()).hex()
    return "0x" + "".join(
        c.upper() if int(nibble, 16) >= 8 else c for c, nibble in zip(digits, digest[:40], strict=True)
    )


def parse_address(text: object, *, where: str) -> Address:
    """20 bytes of a `0x` address in one case or in EIP-55 mixed case.

    Raises:
        InvalidRequestError: `bad_address` or `bad_checksum`, naming `where`.
    """
    if not isinstance(text, str) or not _ADDRESS.match(text):
        raise InvalidRequestError(f"{where} is not an address (0x and 40 hex digits)", code="bad_address")
    digits = text[2:]
    address = Address(bytes.fromhex(digits))
    if digits not in (digits.lower(), digits.upper()) and checksum_address(address) != text:
        raise InvalidRequestError(
            f"{where} has a wrong checksum (EIP-55)", code="bad_checksum", data={"expected": checksum_address(address)}
        )
    return address


def parse_hex(text: object, *, where: str, size_bytes: int | None = None) -> bytes:
    """Bytes of an even `0x` string, exactly `size_bytes` long if given.

    Raises:
        InvalidRequestError: `bad_hex`, naming `where`.
    """
    if not isinstance(text, str) or not _HEX.match(text):
        raise InvalidRequestError(f"{where} is not 0x-prefixed even hex", code="bad_hex")
    data = bytes.fromhex(text[2:])
    if size_bytes is not None and len(data) != size_bytes:
        raise InvalidRequestError(f"{where} must be {size_bytes} bytes, not {len(data)}", code="bad_hex")
    return data


def to_hex(data: bytes) -> str:
    """`data` as `0x` hex."""
    return "0x" + data.hex()


def int_to_bytes(number: int) -> bytes:
    """Shortest big-endian form; zero is empty (RLP's integers)."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def rlp_encode(item: Rlp) -> bytes:
    """RLP (Ethereum yellow paper, appendix B) of nested sequences of bytes."""
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < 0x80:
            return item
        return _rlp_head(len(item), 0x80) + item
    return rlp_list(b"".join(map(rlp_encode, item)))


def rlp_list(items: bytes) -> bytes:
    """A list of items that are encoded already."""
    return _rlp_head(len(items), 0xC0) + items


def rlp_items(encoded: bytes) -> bytes:
    """The encoded items of an RLP list that this module wrote."""
    return encoded[1:] if encoded[0] < 0xF8 else encoded[encoded[0] - 0xF6 :]


def _rlp_head(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes((offset + length,))
    size = int_to_bytes(length)
    return bytes((offset + 55 + len(size),)) + size


def printable(text: str, *, length_max: int = 512) -> str:
    r"""`text` from outside as one line that can only look like text.

    Control and format characters (ANSI escapes, bidi, zero width, tags, line and paragraph separators,
    private use, surrogates, unassigned) become `\u{…}`, and what exceeds `length_max` characters is cut
    with a visible mark.
    """
    if len(text) <= length_max and text.isascii() and text.isprintable() and "\\" not in text:
        return text
    cut = text[:length_max]
    shown = "".join(c if _is_plain(c) else f"\\u{{{ord(c):x}}}" for c in cut)
    return shown if len(text) <= length_max else f"{shown}… ({len(text) - length_max} more characters)"


def _is_plain(char: str) -> bool:
    if char == " ":
        return True
    category = unicodedata.category(char)
    return category[0] not in "CZ" and not (0x0300 <= ord(char) <= 0x036F) and char != "\\"

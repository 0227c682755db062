"""Messages of `personal_sign`: logins by their grammar, hashes recognised as blind, and plain text.

A signature over 32 bytes may be an ERC-4337 operation, a Safe transaction or an order; nobody can tell, so it is
opaque, in binary and in hex. A login (EIP-4361) is read by its grammar to the letter: the domain is a plain host
name, the address is the signer's with its checksum, the statement is one line, and the URI belongs to the domain.
Whatever speaks like a login and does not parse is opaque, because people read it as one. A ReCap in its resources
hands over capabilities and is more than a login. Texts from which some networks derive keys are worth the key.

Codes: `blind_hash`, `blind_typed_data`, `blind_transaction`, `blind_message`, `malformed_login`, `chain_mismatch`,
`recap`, `key_derivation`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from walletgate.encoding import checksum_address
from walletgate.types import Address, Effect, Login, MessageSignature, Opaque, TextMessage

_LOGIN_PHRASE: Final = "wants you to sign in with your"
_HOST: Final = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?::[0-9]{1,5})?"
_PLAIN: Final = r"A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;="
_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_LOGIN = re.compile(
    rf"(?:(?P<scheme>https)://)?(?P<domain>{_HOST}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n\n"
    rf"(?:(?P<statement>[{_PLAIN} ]+)\n)?\n"
    rf"URI: (?P<uri>[{_PLAIN}%]+)\n"
    r"Version: 1\n"
    r"Chain ID: (?P<chain>[1-9][0-9]{0,15})\n"
    r"Nonce: (?P<nonce>[A-Za-z0-9]{8,128})\n"
    rf"Issued At: (?P<issued>{_TIME})"
    rf"(?:\nExpiration Time: (?P<expires>{_TIME}))?"
    rf"(?:\nNot Before: (?P<after>{_TIME}))?"
    rf"(?:\nRequest ID: (?P<request>[{_PLAIN}%]*))?"
    rf"(?P<resources>\nResources:(?:\n- [{_PLAIN}%]+)*)?\Z"
)
_URI = re.compile(rf"https?://(?P<host>{_HOST})(?:[/?#].*)?\Z")
_HEX_HASH = re.compile(r"\s*(?:0x)?[0-9a-fA-F]{64,}\s*\Z")
_KEY_TEXTS: Final = (
    "access zksync account",
    "sign this message to access loopring exchange",
    "dydx onboarding",
    "starkex",
    "starkware",
    "only sign this message for a trusted client",
    "derive your",
    "stealth key",
)


def message_effects(message: TextMessage, chain_id: int) -> Iterator[Effect]:
    """Effects of signing `message` in a session on chain `chain_id`."""
    data = message.data
    text = _text(data)
    if data[:2] == b"\x19\x01":
        yield Opaque("blind_typed_data", "the preimage of a typed-data signature")
    elif _is_transaction(data):
        yield Opaque("blind_transaction", "RLP, as transactions are encoded")
    elif text is None:
        code = "blind_hash" if len(data) in (20, 32, 64) else "blind_message"
        yield Opaque(code, f"{len(data)} bytes that are no readable text")
    elif _HEX_HASH.match(text):
        yield Opaque("blind_hash", "a hash in hexadecimal")
    elif _LOGIN_PHRASE in " ".join(text.lower().split()):
        yield from _login(text, message.signer, chain_id)
    elif any(phrase in text.lower() for phrase in _KEY_TEXTS):
        yield Opaque("key_derivation", "the signature of this text may itself be a key")
    else:
        yield MessageSignature(text)


def _text(data: bytes) -> str | None:
    """Readable text, or None: control characters and direction overrides make bytes, not text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    readable = all(c in "\n\t" or _is_readable(c) for c in text.replace("\r\n", "\n"))
    return text if readable else None


def _is_readable(char: str) -> bool:
    category = unicodedata.category(char)
    if category == "Cf":
        return char in "\u200c\u200d"
    return category not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp")


def _is_transaction(data: bytes) -> bool:
    """An RLP list that fills the data, bare or behind a transaction type's byte."""
    body = data[1:] if data[:1] in (b"\x01", b"\x02", b"\x03", b"\x04", b"\x05") else data
    if len(body) < 2 or body[0] < 0xC0:
        return False
    if body[0] <= 0xF7:
        return len(body) == 1 + body[0] - 0xC0
    size = body[0] - 0xF7
    return len(body) == 1 + size + int.from_bytes(body[1 : 1 + size], "big")


def _login(text: str, signer: Address, chain_id: int) -> Iterator[Effect]:
    match = _LOGIN.match(text)
    reason = _login_fault(match, signer) if match else "it does not follow the grammar of EIP-4361"
    if match is None or reason is not None:
        yield Opaque("malformed_login", reason or "")
        return
    if int(match["chain"]) != chain_id:
        yield Opaque("chain_mismatch", f"a login for chain {match['chain']} in a session on chain {chain_id}")
    if "urn:recap:" in (match["resources"] or "").lower():
        yield Opaque("recap", "the resources hand over capabilities")
    expires = match["expires"]
    yield Login(
        domain=match["domain"],
        uri=match["uri"],
        chain_id=int(match["chain"]),
        statement=match["statement"],
        expires_at=_seconds(expires) if expires else None,
    )


def _login_fault(match: re.Match[str], signer: Address) -> str | None:
    """What is wrong with a login that follows the grammar."""
    if match["address"] != checksum_address(signer):
        return "the address is not the signer's, with its checksum"
    uri = _URI.match(match["uri"])
    if uri is None or uri["host"] != match["domain"]:
        return "the URI does not belong to the domain"
    for name in ("issued", "expires", "after"):
        if match[name] and _seconds(match[name]) is None:
            return "a time does not exist"
    return None


def _seconds(text: str) -> int | None:
    """Unix seconds of an RFC 3339 time, rounded down."""
    head, _, fraction = text.partition(".")
    if fraction:
        head += fraction.lstrip("0123456789")
    try:
        return int(datetime.fromisoformat(head).timestamp())
    except (ValueError, OverflowError):
        return None

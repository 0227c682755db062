"""Operators' words: EIP-712 messages that name everything they are about.

An `Approval` names one request by the digest of what would be signed, the effects as they were shown, the policy
under which they were judged, and an expiry; it is good for that and nothing else. A `Command` names an action and
the keccak-256 of its canonical JSON payload, with a random nonce that is accepted once. A `Draft` names a command that
waits for more operators: its action and payload, the lines they read, and the policies before and after it.

The domain carries the gate's own name, so that a word to one gate means nothing to another. Signatures are 65
bytes with low s: the mirrored form (s' = n - s) is refused, so that nobody but the key's holder can make a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import coincurve

from walletgate.encoding import keccak256
from walletgate.errors import ApprovalError
from walletgate.signers.keystore import address_of
from walletgate.types import Address, Hash32

_HALF_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
LIFETIME_MS_MAX = 24 * 3600 * 1000
"""The longest time a command may stay acceptable."""


@dataclass(frozen=True, slots=True)
class ApprovalWord:
    """What an operator signs to approve (`approve`) or reject one request. `expires` is Unix seconds."""

    request: str
    approve: bool
    request_digest: Hash32
    effects_digest: Hash32
    policy: Hash32
    expires: int


@dataclass(frozen=True, slots=True)
class CommandWord:
    """What an operator signs to change anything else. `payload` is keccak-256 of the canonical JSON."""

    action: str
    payload: Hash32
    nonce: Hash32
    expires: int


@dataclass(frozen=True, slots=True)
class DraftWord:
    """What an operator signs to agree to (`approve`) or reject one draft.

    `payload` is keccak-256 of its canonical JSON, `summary` keccak-256 of its lines joined by newlines; `before` and
    `after` are policies, 32 zero bytes where there is none. `expires` is Unix seconds.
    """

    draft: str
    approve: bool
    action: str
    payload: Hash32
    summary: Hash32
    before: Hash32
    after: Hash32
    expires: int


Word = ApprovalWord | CommandWord | DraftWord

_DOMAIN_FIELDS = [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}]
_KINDS: dict[type, tuple[str, tuple[tuple[str, str, str], ...]]] = {
    ApprovalWord: (
        "Approval",
        (
            ("request", "request", "string"),
            ("approve", "approve", "bool"),
            ("request_digest", "requestDigest", "bytes32"),
            ("effects_digest", "effectsDigest", "bytes32"),
            ("policy", "policy", "bytes32"),
            ("expires", "expires", "uint64"),
        ),
    ),
    CommandWord: (
        "Command",
        (
            ("action", "action", "string"),
            ("payload", "payload", "bytes32"),
            ("nonce", "nonce", "bytes32"),
            ("expires", "expires", "uint64"),
        ),
    ),
    DraftWord: (
        "Draft",
        (
            ("draft", "draft", "string"),
            ("approve", "approve", "bool"),
            ("action", "action", "string"),
            ("payload", "payload", "bytes32"),
            ("summary", "summary", "bytes32"),
            ("before", "before", "bytes32"),
            ("after", "after", "bytes32"),
            ("expires", "expires", "uint64"),
        ),
    ),
}
"""By kind of word: its EIP-712 type, and for each field our name, its name there, and its type."""


def typed_data(word: Word, *, gate: str) -> dict[str, Any]:
    """The EIP-712 document of `word`, as wallets and hardware signers take it."""
    kind, members = _KINDS[type(word)]
    message: dict[str, Any] = {"gate": gate}
    for field, name, _ in members:
        value = getattr(word, field)
        message[name] = "0x" + value.hex() if isinstance(value, bytes) else value
    fields = [{"name": "gate", "type": "string"}, *({"name": name, "type": kind} for _, name, kind in members)]
    return {
        "types": {"EIP712Domain": _DOMAIN_FIELDS, kind: fields},
        "primaryType": kind,
        "domain": {"name": "WalletGate", "version": "1"},
        "message": message,
    }


def word_json(word: Word) -> dict[str, Any]:
    """`word` as it goes over the wire: its fields by our names, bytes as hex."""
    _, members = _KINDS[type(word)]
    values = {field: getattr(word, field) for field, _, _ in members}
    return {field: "0x" + value.hex() if isinstance(value, bytes) else value for field, value in values.items()}


def word_digest(word: Word, *, gate: str) -> Hash32:
    """The EIP-712 digest of `word` for the gate named `gate`."""
    document = typed_data(word, gate=gate)
    name: str = document["primaryType"]
    fields = document["types"][name]
    members = ",".join(f"{field['type']} {field['name']}" for field in fields)
    body = keccak256(f"{name}({members})".encode()) + b"".join(
        _encode(field["type"], document["message"][field["name"]]) for field in fields
    )
    domain = keccak256(b"EIP712Domain(string name,string version)") + keccak256(b"WalletGate") + keccak256(b"1")
    return Hash32(keccak256(b"\x19\x01" + keccak256(domain) + keccak256(body)))


def sign_word(word: Word, secret: bytes, *, gate: str) -> bytes:
    """An operator's signature: 65 bytes, r ‖ s ‖ v."""
    raw = coincurve.PrivateKey(secret).sign_recoverable(word_digest(word, gate=gate), hasher=None)
    return raw[:64] + bytes((27 + raw[64],))


def recover_operator(word: Word, signature: bytes, *, gate: str) -> Address:
    """The address whose key signed `word`.

    Raises:
        ApprovalError: `signature_invalid` for a wrong length, a high s, an unknown v, or no such point.
    """
    if len(signature) != 65 or signature[64] not in (27, 28) or int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise ApprovalError("the operator's signature is malformed", code="signature_invalid")
    recoverable = signature[:64] + bytes((signature[64] - 27,))
    try:
        key = coincurve.PublicKey.from_signature_and_message(recoverable, word_digest(word, gate=gate), hasher=None)
    except ValueError:
        raise ApprovalError("the operator's signature is malformed", code="signature_invalid") from None
    return address_of(key)


def _encode(kind: str, value: Any) -> bytes:
    match kind:
        case "string":
            return keccak256(str(value).encode())
        case "bytes32":
            return bytes.fromhex(value[2:])
        case _:
            return int(value).to_bytes(32, "big")

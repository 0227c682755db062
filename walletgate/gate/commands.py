"""Operators' words: EIP-712 messages that name everything they are about.

An `Approval` names one request by the digest of what would be signed, the effects as they were shown, the policy
under which they were judged, and an expiry; it is good for that and nothing else. A `Command` names an action and
the keccak-256 of its canonical JSON payload, with a random nonce that is accepted once.

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


_DOMAIN_FIELDS = [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}]
_APPROVAL_FIELDS = [
    {"name": "gate", "type": "string"},
    {"name": "request", "type": "string"},
    {"name": "approve", "type": "bool"},
    {"name": "requestDigest", "type": "bytes32"},
    {"name": "effectsDigest", "type": "bytes32"},
    {"name": "policy", "type": "bytes32"},
    {"name": "expires", "type": "uint64"},
]
_COMMAND_FIELDS = [
    {"name": "gate", "type": "string"},
    {"name": "action", "type": "string"},
    {"name": "payload", "type": "bytes32"},
    {"name": "nonce", "type": "bytes32"},
    {"name": "expires", "type": "uint64"},
]


def typed_data(word: ApprovalWord | CommandWord, *, gate: str) -> dict[str, Any]:
    """The EIP-712 document of `word`, as wallets and hardware signers take it."""
    if isinstance(word, ApprovalWord):
        message: dict[str, Any] = {
            "gate": gate, "request": word.request, "approve": word.approve,
            "requestDigest": "0x" + word.request_digest.hex(), "effectsDigest": "0x" + word.effects_digest.hex(),
            "policy": "0x" + word.policy.hex(), "expires": word.expires,
        }  # fmt: skip
        name, fields = "Approval", _APPROVAL_FIELDS
    else:
        message = {
            "gate": gate, "action": word.action, "payload": "0x" + word.payload.hex(),
            "nonce": "0x" + word.nonce.hex(), "expires": word.expires,
        }  # fmt: skip
        name, fields = "Command", _COMMAND_FIELDS
    return {
        "types": {"EIP712Domain": _DOMAIN_FIELDS, name: fields},
        "primaryType": name,
        "domain": {"name": "WalletGate", "version": "1"},
        "message": message,
    }


def word_digest(word: ApprovalWord | CommandWord, *, gate: str) -> Hash32:
    """The EIP-712 digest of `word` for the gate named `gate`."""
    document = typed_data(word, gate=gate)
    name = document["primaryType"]
    fields = document["types"][name]
    members = ",".join(f"{field['type']} {field['name']}" for field in fields)
    body = keccak256(f"{name}({members})".encode()) + b"".join(
        _encode(field["type"], document["message"][field["name"]]) for field in fields
    )
    domain = keccak256(b"EIP712Domain(string name,string version)") + keccak256(b"WalletGate") + keccak256(b"1")
    return Hash32(keccak256(b"\x19\x01" + keccak256(domain) + keccak256(body)))


def sign_word(word: ApprovalWord | CommandWord, secret: bytes, *, gate: str) -> bytes:
    """An operator's signature: 65 bytes, r ‖ s ‖ v."""
    raw = coincurve.PrivateKey(secret).sign_recoverable(word_digest(word, gate=gate), hasher=None)
    return raw[:64] + bytes((27 + raw[64],))


def recover_operator(word: ApprovalWord | CommandWord, signature: bytes, *, gate: str) -> Address:
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

r"""Witnesses: somebody else who has seen the log grow, and only grow (C2SP tlog-witness and tlog-cosignature).

A log sends its newest checkpoint with the size the witness knew last and a consistency proof between the two:

    old 20852163
    <base64 of each hash of the proof, a line each>

    <the signed checkpoint>

The witness keeps one checkpoint a log. It cosigns only what extends that one, and stores it before it answers; so two
histories of one log cannot both be cosigned, whoever holds the log's key. A cosignature is a line of the same note:
key id, time (uint64, seconds) and Ed25519 over `cosignature/v1\ntime <t>\n` and the note's text; its key id is
SHA-256(name || 0x0A || 0x04 || public key)[:4].

Pure: `judge` says what may be cosigned, and whoever calls it stores and answers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from walletgate.audit.entry import is_origin
from walletgate.audit.merkle import verify_consistency
from walletgate.audit.note import Checkpoint, VerifyingKey, open_checkpoint
from walletgate.errors import AuditError
from walletgate.types import Hash32

REQUEST_BYTES_MAX: Final = 65_536
_COSIGNATURE: Final = b"\x04"
_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """Who may have cosigned; `str()` is the vkey."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys apart."""
        return sha256(self.name.encode() + b"\n" + _COSIGNATURE + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_COSIGNATURE + self.public).decode()}"


class Cosigner:
    """A witness's own key. Its seed is that of a `SigningKey`, its signatures are of another kind."""

    __slots__ = ("_key", "key")

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = CosignerKey(name, self._key.public_key().public_bytes_raw())

    def cosign(self, note: str, time_s: int) -> str:
        """The signature line, with its newline, for a checkpoint seen at `time_s`."""
        text = note.partition("\n\n")[0] + "\n"
        signature = self._key.sign(_message(text, time_s))
        data = self.key.key_id + time_s.to_bytes(8, "big") + signature
        return f"\u2014 {self.key.name} {base64.b64encode(data).decode()}\n"

    def __repr__(self) -> str:
        return f"Cosigner({self.key.name!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a signing key cannot be copied or pickled")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """What a log asks a witness to cosign."""

    old: int
    proof: tuple[Hash32, ...]
    note: str

    def __str__(self) -> str:
        lines = [f"old {self.old}\n", *(base64.b64encode(item).decode() + "\n" for item in self.proof)]
        return "".join(lines) + "\n" + self.note


def parse_cosigner_key(vkey: str) -> CosignerKey:
    """The key in a witness's vkey.

    Raises:
        AuditError: `key_malformed`.
    """
    parts = vkey.strip().split("+", 2)
    data = _from_base64(parts[2]) if len(parts) == 3 else None
    if data is None or len(data) != 33 or data[:1] != _COSIGNATURE or not is_origin(parts[0]):
        raise AuditError("a witness's key is name+id+base64 with type 4 and 32 bytes", code="key_malformed")
    key = CosignerKey(parts[0], data[1:])
    if key.key_id.hex() != parts[1]:
        raise AuditError("the key's id is not that of the key", code="key_malformed")
    return key


def cosigned_at(note: str, key: CosignerKey) -> int:
    """When `key` cosigned the note, in Unix seconds.

    Raises:
        AuditError: `note_unsigned`, `note_forged`.
    """
    text, _, tail = note.partition("\n\n")
    for line in tail.split("\n"):
        name, _, encoded = line.removeprefix("\u2014 ").partition(" ")
        data = _from_base64(encoded)
        if name != key.name or data is None or len(data) != 76 or data[:4] != key.key_id:
            continue
        time_s = int.from_bytes(data[4:12], "big")
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(data[12:], _message(text + "\n", time_s))
        except (InvalidSignature, ValueError) as error:
            raise AuditError(f"the cosignature of {name} is not one on this text", code="note_forged") from error
        return time_s
    raise AuditError(f"{key.name} did not cosign this note", code="note_unsigned")


def parse_request(body: bytes) -> AddCheckpoint:
    """The body of `add-checkpoint`.

    Raises:
        AuditError: `witness_malformed`.
    """
    try:
        head, gap, note = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise _malformed("it is not UTF-8") from None
    first, *lines = head.split("\n")
    match = _OLD.match(first)
    if not gap or match is None or len(lines) > 63 or len(body) > REQUEST_BYTES_MAX:
        raise _malformed("it is old SIZE, at most 63 hashes, an empty line and a checkpoint")
    hashes = [_from_base64(line) for line in lines]
    if any(item is None or len(item) != 32 for item in hashes):
        raise _malformed("a hash of the proof is not one")
    return AddCheckpoint(int(match[1]), tuple(Hash32(item) for item in hashes if item is not None), note)


def judge(request: AddCheckpoint, logs: Mapping[str, Sequence[VerifyingKey]], known: Checkpoint | None) -> Checkpoint:
    """The checkpoint that may be cosigned and must be stored before it is; `known` is what was stored for its log.

    Raises:
        AuditError: `witness_unknown_log` (404), `witness_untrusted` (403), `witness_malformed` (400),
            `witness_conflict` (409, with `size` in data), `witness_inconsistent` (422).
    """
    origin = request.note.partition("\n")[0]
    if origin not in logs:
        raise AuditError("this witness does not know the log", code="witness_unknown_log")
    try:
        checkpoint = open_checkpoint(request.note, origin=origin, trusted=logs[origin])
    except AuditError as error:
        code = "witness_untrusted" if error.code in ("note_forged", "note_unsigned") else "witness_malformed"
        raise AuditError(error.detail, code=code) from error
    if request.old > checkpoint.size:
        raise _malformed("the old size exceeds the checkpoint's")
    size = known.size if known is not None else 0
    if request.old != size:
        raise _conflict(size, f"the newest checkpoint seen has size {size}")
    if known is not None and checkpoint.size == size and checkpoint.root != known.root:
        raise _conflict(size, "another tree of this size was seen")
    if known is None or size in (0, checkpoint.size):
        if request.proof:
            raise AuditError("there is nothing to prove", code="witness_inconsistent")
        return checkpoint
    try:
        verify_consistency(size, known.root, checkpoint.size, checkpoint.root, request.proof)
    except AuditError as error:
        raise AuditError("the checkpoint does not extend the one seen before", code="witness_inconsistent") from error
    return checkpoint


def _message(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _from_base64(text: str) -> bytes | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def _conflict(size: int, detail: str) -> AuditError:
    return AuditError(detail, code="witness_conflict", data={"size": size})


def _malformed(detail: str) -> AuditError:
    return AuditError(f"the request is malformed: {detail}", code="witness_malformed")

"""Signed notes and checkpoints, in the formats of C2SP (signed-note, tlog-checkpoint), as they are.

A note is text that ends in a newline, an empty line, and one line for each signature:

    gate.example/audit/1
    2
    sTeYX/SE+2ANuTEHx3sDZcgNePW0Kd7Q/Zc2HQd5mes=

    — gate.example/audit/1 VrXIB32HxHLgdLEhU8Kq3QaJJ2Gki/N68Un569YwFnlgL9NTZfJ02EPoLP6g5F03JH4RzA5Q6bnnwbs3nSD02LIKvQE=

A signature is base64 of four bytes of key id and 64 bytes of Ed25519 over the text, its last newline included.
The key id is SHA-256(name || 0x0A || 0x01 || public key)[:4]; it is a hint, not a proof.

Keys are strings. Who checks keeps `<name>+<key id, hex>+<base64(0x01 || public key)>` (the *vkey*); the gate keeps
`PRIVATE+KEY+<name>+<key id, hex>+<base64(0x01 || seed)>`, which secret scanners find. The key of a log is
never a wallet's key.

A checkpoint is a note of three lines: the log's origin, its size, base64 of its root. Ours has no extension
lines and its key's name is its origin. Both parsers refuse whatever is not written in the one canonical way,
because two readings of one signed text are two logs.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from walletgate.audit.entry import is_origin
from walletgate.audit.merkle import SIZE_MAX
from walletgate.errors import AuditError
from walletgate.types import Hash32

NOTE_BYTES_MAX: Final = 65_536
"""The longest note that is read, inclusive."""

SIGNATURES_MAX: Final = 64
"""The most signature lines that are read; C2SP demands at least 16."""

_ED25519: Final = b"\x01"
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIGNATURE: Final = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\Z")
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """Who may have signed: the public half of a key, safe to publish."""

    name: str
    key_id: bytes
    public: bytes

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_to_base64(_ED25519 + self.public)}"


class SigningKey:
    """The log's own key. Shows itself by name only; cannot be copied or pickled."""

    __slots__ = ("_key", "name", "verifying_key")

    def __init__(self, name: str, seed: bytes) -> None:
        """The key that `seed` (32 random bytes) makes, under `name`.

        Raises:
            AuditError: `key_malformed`.
        """
        if not is_origin(name):
            raise AuditError("a key's name is 1 to 255 visible ASCII characters without +", code="key_malformed")
        if len(seed) != 32:
            raise AuditError("an Ed25519 seed has 32 bytes", code="key_malformed")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.name = name
        public = self._key.public_key().public_bytes_raw()
        self.verifying_key = VerifyingKey(name, _key_id(name, public), public)

    def sign(self, text: str) -> str:
        """The signature line, with its newline, for a note's text."""
        signature = self.verifying_key.key_id + self._key.sign(text.encode())
        return f"— {self.name} {_to_base64(signature)}\n"

    def unsafe_secret(self) -> str:
        """The `PRIVATE+KEY+…` string, for the key file and for nothing else."""
        seed = self._key.private_bytes_raw()
        return f"PRIVATE+KEY+{self.name}+{self.verifying_key.key_id.hex()}+{_to_base64(_ED25519 + seed)}"

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key cannot be copied or pickled")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: `size` entries, and the `root` of the tree over them."""

    origin: str
    size: int
    root: Hash32

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_to_base64(self.root)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """The text of a note, and the keys whose signatures on it were verified (at least one)."""

    text: str
    signers: tuple[VerifyingKey, ...]


def parse_signing_key(text: str) -> SigningKey:
    """The key in a `PRIVATE+KEY+…` string.

    Raises:
        AuditError: `key_malformed`; the message holds nothing of the key.
    """
    if not text.startswith("PRIVATE+KEY+"):
        raise AuditError("a log's private key begins with PRIVATE+KEY+", code="key_malformed")
    name, key_id, seed = _split_key(text.removeprefix("PRIVATE+KEY+"))
    key = SigningKey(name, seed)
    if key.verifying_key.key_id != key_id:
        raise AuditError("the key's id is not that of the key", code="key_malformed")
    return key


def parse_verifying_key(text: str) -> VerifyingKey:
    """The key in a vkey string.

    Raises:
        AuditError: `key_malformed`.
    """
    name, key_id, public = _split_key(text)
    if _key_id(name, public) != key_id:
        raise AuditError("the key's id is not that of the key", code="key_malformed")
    return VerifyingKey(name, key_id, public)


def sign_note(text: str, keys: Sequence[SigningKey]) -> str:
    """`text` as a note signed by `keys`.

    Raises:
        AuditError: `note_malformed` if this text cannot be a note.
    """
    if not keys:
        raise AuditError("a note needs a signature", code="note_malformed")
    if not text.endswith("\n") or _CONTROL.search(text):
        raise AuditError("a note's text ends in a newline and has no other control character", code="note_malformed")
    return text + "\n" + "".join(key.sign(text) for key in keys)


def open_note(note: str | bytes, trusted: Iterable[VerifyingKey]) -> Note:
    """The text of a note that at least one trusted key signed; signatures of unknown keys are passed over.

    Raises:
        AuditError: `note_malformed`; `note_forged` if the signature of a trusted key is wrong (then the whole
            note is worth nothing); `note_unsigned` if no trusted key signed.
    """
    text, lines = _split_note(note)
    known = {(key.name, key.key_id): key for key in trusted}
    signers: list[VerifyingKey] = []
    for name, signature in lines:
        key = known.pop((name, signature[:4]), None)
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())
        except (InvalidSignature, ValueError) as error:
            raise AuditError(
                f"the signature of {name} is not one on this text", code="note_forged", data={"name": name}
            ) from error
        signers.append(key)
    if not signers:
        raise AuditError("no trusted key signed this note", code="note_unsigned")
    return Note(text, tuple(signers))


def sign_checkpoint(checkpoint: Checkpoint, keys: Sequence[SigningKey]) -> str:
    """A checkpoint as a signed note."""
    return sign_note(str(checkpoint), keys)


def open_checkpoint(note: str | bytes, *, origin: str, trusted: Iterable[VerifyingKey]) -> Checkpoint:
    """The checkpoint in a note that the log `origin` signed.

    Raises:
        AuditError: as `open_note` and `parse_checkpoint`; `checkpoint_foreign` if it is of another log.
    """
    checkpoint = parse_checkpoint(open_note(note, trusted).text)
    if checkpoint.origin != origin:
        raise AuditError(
            "the checkpoint is of another log",
            code="checkpoint_foreign",
            data={"expected": origin, "found": checkpoint.origin},
        )
    return checkpoint


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text, which must be the only way to write it.

    Raises:
        AuditError: `checkpoint_malformed`.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise _malformed("a checkpoint has three lines")
    origin, size, root = lines[:3]
    if not is_origin(origin):
        raise _malformed("the origin is not 1 to 255 visible ASCII characters without +")
    if not _NUMBER.match(size) or int(size) > SIZE_MAX:
        raise _malformed("the size is not a number below 2^63 in its shortest form")
    hashed = _from_base64(root)
    if hashed is None or len(hashed) != 32:
        raise _malformed("the root is not base64 of 32 bytes")
    return Checkpoint(origin, int(size), Hash32(hashed))


def _split_note(note: str | bytes) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note) > NOTE_BYTES_MAX:
        raise AuditError(f"a note has at most {NOTE_BYTES_MAX} bytes", code="note_malformed")
    try:
        whole = note if isinstance(note, str) else note.decode("utf-8")
        whole.encode("utf-8")
    except UnicodeError as error:
        raise AuditError("a note is UTF-8", code="note_malformed") from error
    text, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n") or _CONTROL.search(whole):
        raise AuditError("a note is text, an empty line and signatures", code="note_malformed")
    found = tail.removesuffix("\n").split("\n")
    if len(found) > SIGNATURES_MAX:
        raise AuditError(f"a note has at most {SIGNATURES_MAX} signatures", code="note_malformed")
    lines = []
    for line in found:
        match = _SIGNATURE.match(line)
        signature = _from_base64(match[2]) if match else None
        if match is None or signature is None or len(signature) < 5:
            raise AuditError("a signature line of the note is not one", code="note_malformed")
        lines.append((match[1], signature))
    return text + "\n", lines


def _split_key(text: str) -> tuple[str, bytes, bytes]:
    # The base64 may hold + itself, the name may not.
    parts = text.strip("\n").split("+", 2)
    if len(parts) == 3 and is_origin(parts[0]) and re.fullmatch(r"[0-9a-f]{8}", parts[1]):
        key = _from_base64(parts[2])
        if key is not None and len(key) == 33 and key.startswith(_ED25519):
            return parts[0], bytes.fromhex(parts[1]), key[1:]
    raise AuditError("a key is name+id+base64 with an Ed25519 key of 32 bytes", code="key_malformed")


def _key_id(name: str, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> bytes | None:
    """The bytes, or None if `text` is not the one way to write them."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _to_base64(data) == text else None


def _malformed(detail: str) -> AuditError:
    return AuditError(detail, code="checkpoint_malformed")

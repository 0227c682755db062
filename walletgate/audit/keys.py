"""The chain of a log's keys: who may sign it now, for somebody who only knows who signed it once.

A key is changed by an entry that names both keys (`log_key_changed`, with `before` and `after` as vkeys) under a
checkpoint that the *old* key signed. So each link is the entry, its place, its inclusion proof and that checkpoint,
and whoever trusts the first key can follow to the last without asking anybody. A link that does not hold ends the
chain with an error: a key that cannot be traced to one that is trusted signs nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from walletgate.audit.entry import Json, Kind, parse_entry
from walletgate.audit.merkle import leaf_hash, verify_inclusion
from walletgate.audit.note import VerifyingKey, open_checkpoint, parse_verifying_key
from walletgate.errors import AuditError
from walletgate.types import Hash32


@dataclass(frozen=True, slots=True)
class KeyLink:
    """One change of the log's key, with everything that proves it."""

    seq: int
    entry: bytes
    proof: tuple[Hash32, ...]
    note: str


def follow_keys(first: VerifyingKey, links: Iterable[KeyLink], *, origin: str) -> tuple[VerifyingKey, ...]:
    """All keys of the log from `first` on, oldest first. Links before `first` are passed over.

    Raises:
        AuditError: `key_chain_broken`, or what opening the note or the proof found.
    """
    keys = [first]
    for link in links:
        body = parse_entry(link.entry)
        if body["kind"] != Kind.LOG_KEY_CHANGED or body["log"] != origin or body["seq"] != link.seq:
            raise AuditError("a link of the key chain is not a change of this log's key", code="key_chain_broken")
        before, after = _key(body.get("before")), _key(body.get("after"))
        if before != keys[-1]:
            if len(keys) == 1:
                continue
            raise AuditError("the key chain has a gap", code="key_chain_broken")
        checkpoint = open_checkpoint(link.note, origin=origin, trusted=[before])
        verify_inclusion(leaf_hash(link.entry), link.seq, checkpoint.size, link.proof, checkpoint.root)
        keys.append(after)
    return tuple(keys)


def link_json(link: KeyLink) -> dict[str, Json]:
    """A link as it stands in a file."""
    return {
        "seq": link.seq,
        "entry": link.entry.decode(),
        "proof": hashes_text(link.proof),
        "checkpoint": link.note,
    }


def read_link(body: object) -> KeyLink:
    """The link that `link_json` wrote.

    Raises:
        AuditError: `proof_malformed`.
    """
    if not isinstance(body, dict) or set(body) != {"seq", "entry", "proof", "checkpoint"}:
        raise malformed("a link of the key chain")
    seq, entry, note = body["seq"], body["entry"], body["checkpoint"]
    if type(seq) is not int or seq < 0 or not isinstance(entry, str) or not isinstance(note, str):
        raise malformed("a link of the key chain")
    return KeyLink(seq, entry.encode(), read_hashes(body["proof"]), note)


def hashes_text(hashes: Sequence[Hash32]) -> list[str]:
    """Hashes as in C2SP proofs: base64."""
    return [base64.b64encode(item).decode() for item in hashes]


def read_hashes(value: object) -> tuple[Hash32, ...]:
    """The hashes that `hashes_text` wrote.

    Raises:
        AuditError: `proof_malformed`.
    """
    if not isinstance(value, list) or len(value) > 64 or not all(isinstance(text, str) for text in value):
        raise malformed("a list of hashes")
    try:
        found = [base64.b64decode(text, validate=True) for text in value]
    except (binascii.Error, ValueError):
        raise malformed("a hash") from None
    if any(len(item) != 32 for item in found):
        raise malformed("a hash")
    return tuple(map(Hash32, found))


def malformed(what: str) -> AuditError:
    """A part of a proof that is not what it should be."""
    return AuditError(f"{what} in the proof is malformed", code="proof_malformed")


def _key(value: object) -> VerifyingKey:
    if not isinstance(value, str):
        raise AuditError("a change of key names both keys", code="key_chain_broken")
    return parse_verifying_key(value)

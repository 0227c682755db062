"""Evidence about one request: made from the store, checked without it.

`make_evidence` collects what the log and the store hold about a request into one file (`audit.proof`), and opens that
file again before it hands it out, so that a damaged store yields an error and never a file that only looks right.

`check_evidence` is the other end. `open_proof` has shown by then that every entry is in the log and that all that is
shown is what the entries name; here the signatures of people and of the wallet are checked as well: that each
approval was signed, by the operator's key, over exactly this request, these effects and this policy; that the
transaction is the request with the nonce the entry names, signed by the wallet; that the policy's text means the
policy whose hash was judged. What holds becomes a `Statement`, with the entry that it rests on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import coincurve

from walletgate.audit.entry import Json, Kind, parse_entry
from walletgate.audit.keys import KeyLink
from walletgate.audit.merkle import NodeReader, nodes_of, prove_inclusion
from walletgate.audit.note import VerifyingKey, open_note, parse_checkpoint, parse_verifying_key
from walletgate.audit.proof import CONTEXT, Proof, build_proof, open_proof
from walletgate.encoding import checksum_address, keccak256, printable, to_hex
from walletgate.errors import ApprovalError, AuditError, InvalidRequestError
from walletgate.gate.codec import canonical, payload_from_json
from walletgate.gate.commands import ApprovalWord, recover_operator
from walletgate.gate.preimages import preimage_of
from walletgate.policy import load
from walletgate.signers import Signature
from walletgate.signers.keystore import address_of
from walletgate.signers.transactions import signed_transaction
from walletgate.store import Request, Store
from walletgate.types import Address, Hash32, Transaction

UNPROVEN = (
    "that these are all entries about the request: who holds the whole log can see that",
    "that the times are right: they are the gate's own clock",
    "what the chain did: look the transaction up there by its hash",
)

_SIGNED = (Kind.TRANSACTION_SIGNED, Kind.MESSAGE_SIGNED, Kind.CODE_AUTHORIZATION_SIGNED)


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that is proven, and the entry of the log that it rests on (None: on the checkpoint)."""

    text: str
    seq: int | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What one pass over the log found: entries about the request, who and what they mean, and changes of key."""

    entries: list[tuple[int, bytes]]
    changes: list[tuple[int, bytes]]
    read: NodeReader


# --- making --------------------------------------------------------------------------------------------


def make_evidence(store: Store, request_id: str, *, note: str, first: VerifyingKey) -> bytes:
    """The proof of `request_id` under the signed checkpoint `note`; `first` is the log's first key.

    Raises:
        AuditError: `entry_unknown` (nothing about it under the checkpoint), or what is wrong with the log.
    """
    checkpoint = parse_checkpoint(note.partition("\n\n")[0] + "\n")
    request = store.request(request_id)
    found = _search(store, checkpoint.size, request_id, "" if request is None else request.grant_id)
    if not any(parse_entry(entry).get("request") == request_id for _, entry in found.entries):
        raise AuditError(f"no entry about {printable(request_id)} under the checkpoint", code="entry_unknown")
    links = key_links(store, found.changes, store.origin)
    shown = {} if request is None else _shown(store, request, found.entries)
    unproven = [*UNPROVEN]
    if request is not None:
        unproven.append(f"the state in the gate's own store: {request.status.value}")
    data = build_proof(
        request=request_id, checkpoint=checkpoint, note=note, links=links, entries=found.entries, read=found.read,
        shown=shown, unproven=unproven,
    )  # fmt: skip
    check_evidence(open_proof(data, trusted=[first]))
    return data


def _search(store: Store, size: int, request_id: str, grant_id: str) -> _Found:
    about = b'"request":"%s"' % request_id.encode()
    context = [b'"kind":"%s"' % kind.value.encode() for kind in sorted(CONTEXT)]
    change = b'"kind":"%s"' % Kind.LOG_KEY_CHANGED.value.encode()
    leaves: list[Hash32] = []
    entries, changes, others = [], [], []
    for seq, leaf, entry in store.entries(0, size):
        leaves.append(Hash32(leaf))
        if about in entry:
            entries.append((seq, entry))
        elif change in entry:
            changes.append((seq, entry))
        elif any(kind in entry for kind in context):
            others.append((seq, entry))
    if len(leaves) != size:
        raise AuditError(f"the log ends before entry {size}", code="log_truncated", data={"index": len(leaves)})
    people = {str(parse_entry(entry).get("operator")) for _, entry in entries}
    wanted = [(seq, entry) for seq, entry in others if _explains(parse_entry(entry), people, grant_id)]
    return _Found(sorted(entries + wanted), changes, nodes_of(leaves))


def _explains(entry: Mapping[str, Json], people: set[str], grant_id: str) -> bool:
    if entry["kind"] == Kind.OPERATOR_ADDED:
        return entry.get("name") in people
    return entry.get("grant") == grant_id


def _shown(store: Store, request: Request, entries: Sequence[tuple[int, bytes]]) -> dict[str, Json]:
    """What the entries bind and the store holds; what an older gate did not bind stays out."""
    fields = {key for _, entry in entries for key in parse_entry(entry)}
    stored = json.loads(request.payload)
    texts = {policy.hash: policy.text for policy in store.policies()}
    shown: dict[str, Json] = {
        "payload": canonical(stored["payload"]).decode(),
        "decision": request.decision,
        "policy": texts.get(request.policy),
        "transaction": None if request.raw is None else to_hex(request.raw),
        "signature": None if request.signature is None else to_hex(request.signature),
    }
    bound = {
        "payload": "digest", "decision": "decision_digest", "policy": "policy_text", "transaction": "tx",
        "signature": "signature_digest",
    }  # fmt: skip
    found: dict[str, Json] = {
        name: value for name, value in shown.items() if value is not None and bound[name] in fields
    }
    private: dict[str, Json] = {
        name: {"salt": to_hex(salt), "text": text} for name, (salt, text) in store.private(request.id).items()
    }
    if private:
        found["private"] = private
    return found


def key_links(store: Store, changes: Sequence[tuple[int, bytes]], origin: str) -> list[KeyLink]:
    """The proofs of the log's changes of key, each under a kept checkpoint that the old key signed.

    Raises:
        AuditError: `key_chain_broken`, no such checkpoint was kept.
    """
    links = []
    notes = store.checkpoints() if changes else []
    for seq, entry in changes:
        before = parse_verifying_key(str(parse_entry(entry)["before"]))
        note, size = _note_over(notes, seq, before, origin)
        read = nodes_of([Hash32(leaf) for leaf in store.leaves(size)])
        links.append(KeyLink(seq, entry, prove_inclusion(read, seq, size), note))
    return links


def _note_over(notes: Sequence[str], seq: int, key: VerifyingKey, origin: str) -> tuple[str, int]:
    for note in notes:
        checkpoint = parse_checkpoint(note.partition("\n\n")[0] + "\n")
        if checkpoint.size <= seq or checkpoint.origin != origin:
            continue
        try:
            open_note(note, [key])
        except AuditError:
            continue
        return note, checkpoint.size
    raise AuditError(f"no kept checkpoint proves the change of key at entry {seq}", code="key_chain_broken")


# --- checking ------------------------------------------------------------------------------------------


def check_evidence(proof: Proof) -> list[Statement]:
    """Everything that the proof proves, in the order in which it happened.

    Raises:
        AuditError: `claim_false`, with the entry's `index`.
    """
    try:
        return _check(proof)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        # Its bytes are what the log binds, and still not what a gate writes.
        raise AuditError("what is shown cannot be read", code="claim_false") from error


def _check(proof: Proof) -> list[Statement]:
    size = proof.checkpoint.size
    statements = [
        Statement(f"{proof.origin} signed its first {size} entries, root {to_hex(proof.checkpoint.root)}", None)
    ]
    first = proof.entries[0]
    statements += _policy(proof, first)
    for entry in proof.entries:
        statements += _statements(proof, first, entry)
    return statements


def _statements(proof: Proof, first: Mapping[str, Json], entry: Mapping[str, Json]) -> Iterator[Statement]:
    seq, kind = _seq(entry), str(entry["kind"])
    if entry is first:
        yield from _decision(proof, entry)
    if kind in (Kind.APPROVAL_GIVEN, Kind.REQUEST_REJECTED) and "signature" in entry:
        who = _check_word(proof, first, entry)
        verb = "approved" if entry.get("approve", True) else "rejected"
        reason = f": {printable(str(entry['reason']))}" if entry.get("reason") else ""
        yield Statement(f"{printable(str(entry['operator']))} ({who}) {verb} exactly this, by signature{reason}", seq)
    elif kind in _SIGNED:
        yield _signed(proof, first, entry)
    elif entry is not first:
        detail = ", ".join(f"{key} {entry[key]}" for key in ("block", "fee", "code", "why") if key in entry)
        yield Statement(f"{kind.replace('_', ' ')}{f' ({detail})' if detail else ''}", seq)


def _policy(proof: Proof, first: Mapping[str, Json]) -> Iterator[Statement]:
    text = proof.shown.get("policy")
    if text is None:
        return
    policy = load(text, source="policy")
    if to_hex(policy.hash) != first["policy"]:
        raise _false("the policy's text does not mean the policy that was judged", first)
    yield Statement(f"the policy in force was {printable(policy.name)}, {first['policy']}", _seq(first))


def _decision(proof: Proof, first: Mapping[str, Json]) -> Iterator[Statement]:
    seq = _seq(first)
    if "agent" in first:
        yield Statement(f"{printable(str(first['agent']))} asked for {first.get('method', 'something')}", seq)
    for name, said in proof.private.items():
        yield Statement(f"the agent said ({printable(name)}, not checked): {printable(said)}", seq)
    text = proof.shown.get("decision")
    if text is None:
        return
    decision = json.loads(text)
    if decision["outcome"] != first.get("decision") or decision["policy"] != first.get("policy"):
        raise _false("the decision is not the one the entry names", first)
    if to_hex(keccak256(canonical(decision["effects"]))) != decision["effects_digest"]:
        raise _false("the effects are not those of their digest", first)
    for words in decision["words"]:
        yield Statement(f"it {printable(words)}", seq)
    yield Statement(f"the decision was: {decision['outcome'].replace('_', ' ')}", seq)
    for reason in decision["reasons"]:
        rule = f" (rule {printable(reason['rule'])})" if reason["rule"] else ""
        yield Statement(f"because {printable(reason['text'])}{rule}", seq)


def _check_word(proof: Proof, first: Mapping[str, Json], entry: Mapping[str, Json]) -> str:
    """The address that signed an operator's word."""
    try:
        word = ApprovalWord(
            request=proof.request,
            approve=entry["kind"] == Kind.APPROVAL_GIVEN,
            request_digest=_hash(entry["digest"]),
            effects_digest=_hash(entry["effects_digest"]),
            policy=_hash(entry["policy"]),
            expires=int(str(entry["expires"])),
        )
        address = recover_operator(word, bytes.fromhex(str(entry["signature"])[2:]), gate=proof.origin)
    except (KeyError, ValueError, ApprovalError):
        raise _false("an operator's signature is not one", entry) from None
    known = {str(e["address"]) for e in proof.context if e.get("name") == entry["operator"] and "address" in e}
    if to_hex(address) != entry.get("address", to_hex(address)) or (known and to_hex(address) not in known):
        raise _false("an operator's word was signed by another key", entry)
    decision = json.loads(proof.shown.get("decision", "{}"))
    if entry["digest"] != first.get("digest") or entry["policy"] != first.get("policy"):
        raise _false("an operator's word is about something else", entry)
    if decision and entry["effects_digest"] != decision["effects_digest"]:
        raise _false("an operator's word is about other effects", entry)
    return checksum_address(address)


def _signed(proof: Proof, first: Mapping[str, Json], entry: Mapping[str, Json]) -> Statement:
    """What was signed: checked to be the request, under the wallet's key, where the bytes are shown."""
    text, raw = proof.shown.get("payload"), proof.shown.get("transaction")
    signature = proof.shown.get("signature")
    if text is None or (raw is None and signature is None):
        return Statement(f"{str(entry['kind']).replace('_', ' ')}, digest {entry.get('signed_digest')}", _seq(entry))
    try:
        payload = payload_from_json(json.loads(text))
        nonce = entry.get("nonce")
        _, preimage = preimage_of(payload, nonce if isinstance(nonce, int) else None)
        made = _signature_of(bytes.fromhex((raw or signature or "")[2:]), is_transaction=raw is not None)
        wallet = _recover(keccak256(preimage), made)
        exact = not isinstance(payload, Transaction) or to_hex(signed_transaction(payload, preimage, made)) == raw
    except (ValueError, KeyError, IndexError, InvalidRequestError):
        raise _false("what was signed cannot be read", entry) from None
    if to_hex(keccak256(preimage)) != entry.get("signed_digest") or not exact:
        raise _false("what was signed is not what was asked", entry)
    if to_hex(wallet) != first.get("wallet"):
        raise _false("what was signed was not signed by the wallet", entry)
    what = f"transaction {entry['tx']}, nonce {entry['nonce']}" if raw is not None else "message"
    return Statement(f"{checksum_address(wallet)} signed exactly this: {what}", _seq(entry))


def _signature_of(data: bytes, *, is_transaction: bool) -> Signature:
    """The signature at the end of a raw transaction, or of 65 bytes."""
    if not is_transaction:
        return Signature(int.from_bytes(data[:32], "big"), int.from_bytes(data[32:64], "big"), data[64] - 27)
    items = _rlp_strings(data[1:] if data[0] < 0x7F else data)
    v, r, s = (int.from_bytes(item, "big") for item in items[-3:])
    return Signature(r, s, v if data[0] < 0x7F else (v - 35) % 2)


def _rlp_strings(data: bytes) -> list[bytes]:
    """The items of an RLP list; nested lists are left encoded."""
    start, end = _rlp_span(data, 0)
    items = []
    while start < end:
        first, following = _rlp_span(data, start)
        items.append(data[first:following])
        start = following
    return items


def _rlp_span(data: bytes, at: int) -> tuple[int, int]:
    """Where the content of the item at `at` begins and ends."""
    kind = data[at]
    if kind < 0x80:
        return at, at + 1
    base = 0x80 if kind < 0xC0 else 0xC0
    if kind - base < 56:
        return at + 1, at + 1 + kind - base
    width = kind - base - 55
    return at + 1 + width, at + 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")


def _recover(digest: bytes, made: Signature) -> Address:
    compact = made.r.to_bytes(32, "big") + made.s.to_bytes(32, "big") + bytes((made.y_parity,))
    return address_of(coincurve.PublicKey.from_signature_and_message(compact, digest, hasher=None))


def _seq(entry: Mapping[str, Json]) -> int:
    return int(str(entry["seq"]))


def _hash(value: Any) -> Hash32:
    return Hash32(bytes.fromhex(str(value)[2:]))


def _false(detail: str, entry: Mapping[str, Json]) -> AuditError:
    return AuditError(f"entry {_seq(entry)}: {detail}", code="claim_false", data={"index": _seq(entry)})

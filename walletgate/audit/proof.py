"""One file that proves what happened to one request, offline and with tools that are not ours.

The file is one line of canonical JSON (`entry`):

    format      "walletgate-proof/1"
    log         the log's origin
    request     the request's id
    checkpoint  a signed note (C2SP); everything below hangs on its root
    keys        the log's changes of key, if there were any (`keys`)
    entries     [{"seq", "entry", "proof"}]: the exact bytes of each entry about the request, with its RFC 6962
                inclusion proof under the checkpoint; entries that say who an operator is may be among them
    shown       what the entries name by digest, in full: see below
    unproven    sentences about what this file does not prove

Each item of `shown` is bound by a field of an entry in this file; an item that no entry binds makes the file
invalid, so that nothing can ride along:

    payload      what was asked (canonical JSON)            digest            keccak-256
    decision     outcome, reasons with rules, effects       decision_digest   keccak-256
    policy       the policy's text as people read it        policy_text       SHA-256
    transaction  the signed bytes, 0x                       tx                keccak-256
    signature    of a message, 0x                           signature_digest  SHA-256
    private      {field: {"salt", "text"}}                  private.FIELD     SHA-256 of salt and text

Inclusion proves that an entry is in the log. It does not prove that the file holds every entry about the request; who
has the whole log can see that. Times are the gate's own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, cast

import orjson

from walletgate.audit.entry import Json, Kind, parse_entry
from walletgate.audit.keys import KeyLink, follow_keys, hashes_text, link_json, malformed, read_hashes, read_link
from walletgate.audit.merkle import NodeReader, leaf_hash, prove_inclusion, verify_inclusion
from walletgate.audit.note import Checkpoint, VerifyingKey, open_note, parse_checkpoint
from walletgate.encoding import keccak256, to_hex
from walletgate.errors import AuditError

FORMAT: Final = "walletgate-proof/1"

FILE_BYTES_MAX: Final = 32 * 1024 * 1024
"""The longest proof that is read, inclusive."""

ENTRIES_MAX: Final = 1024
"""The most entries one proof holds."""

CONTEXT: Final = frozenset((Kind.OPERATOR_ADDED, Kind.GRANT_CREATED, Kind.POLICY_CHANGED))
"""Entries that are not about the request, but say who somebody is or what was in force."""

_KEYS: Final = {"format", "log", "request", "checkpoint", "keys", "entries", "shown", "unproven"}


def _keccak_text(text: str) -> str:
    return to_hex(keccak256(text.encode()))


def _sha_text(text: str) -> str:
    return to_hex(sha256(text.encode()).digest())


def _keccak_bytes(text: str) -> str:
    return to_hex(keccak256(_hex(text)))


def _sha_bytes(text: str) -> str:
    return to_hex(sha256(_hex(text)).digest())


BOUND_BY: Final[Mapping[str, tuple[str, Callable[[str], str]]]] = {
    "payload": ("digest", _keccak_text),
    "decision": ("decision_digest", _keccak_text),
    "policy": ("policy_text", _sha_text),
    "transaction": ("tx", _keccak_bytes),
    "signature": ("signature_digest", _sha_bytes),
}
"""What may be shown, the entries' field that binds it, and how."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A file that holds: `entries` are about the request, in order; `context` says who and what they mean.

    `bound` names for each item of `shown` the entry that binds it. `key` is the one that signed the checkpoint.
    """

    origin: str
    request: str
    checkpoint: Checkpoint
    note: str
    key: VerifyingKey
    entries: tuple[Mapping[str, Json], ...]
    context: tuple[Mapping[str, Json], ...]
    shown: Mapping[str, str]
    private: Mapping[str, str]
    withheld: tuple[str, ...]
    bound: Mapping[str, int]
    unproven: tuple[str, ...]


def build_proof(
    *, request: str, checkpoint: Checkpoint, note: str, links: Sequence[KeyLink],
    entries: Sequence[tuple[int, bytes]], read: NodeReader, shown: Mapping[str, Json], unproven: Sequence[str],
) -> bytes:  # fmt: skip
    """The file. `entries` are (seq, bytes) in order, all below the checkpoint's size.

    Raises:
        AuditError: `proof_impossible` if an entry is not under the checkpoint.
    """
    body = {
        "format": FORMAT,
        "log": checkpoint.origin,
        "request": request,
        "checkpoint": note,
        "keys": [link_json(link) for link in links],
        "entries": [
            {
                "seq": seq,
                "entry": entry.decode(),
                "proof": hashes_text(prove_inclusion(read, seq, checkpoint.size)),
            }
            for seq, entry in entries
        ],
        "shown": dict(shown),
        "unproven": list(unproven),
    }
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def is_proof(data: bytes) -> bool:
    """Whether `data` means to be a proof (it may still be a bad one)."""
    return b'"format":"walletgate-proof/' in data[:FILE_BYTES_MAX]


def open_proof(data: bytes, *, trusted: Iterable[VerifyingKey]) -> Proof:
    """Everything in a proof that can be checked without elliptic curves beyond the log's own key.

    Raises:
        AuditError: `proof_malformed`; `proof_invalid` (an entry is not in the log); `claim_unbound`,
            `claim_false` (something shown is not what an entry binds); what opening the checkpoint found.
    """
    body = _parse(data)
    origin, request = _text(body, "log"), _text(body, "request")
    links = [read_link(link) for link in _list(body, "keys")]
    checkpoint, key = _open(_text(body, "checkpoint"), origin, trusted, links)
    entries, context = [], []
    for item in _list(body, "entries"):
        entry = _open_entry(item, origin, checkpoint)
        if entry.get("request") == request:
            entries.append(entry)
        elif entry["kind"] in CONTEXT:
            context.append(entry)
        else:
            raise malformed("an entry about something else")
    if not entries:
        raise malformed("the list without any entry about the request")
    shown = body["shown"]
    if not isinstance(shown, dict):
        raise malformed("what is shown")
    private = shown.pop("private", {})
    bound = {name: _check_shown(name, value, entries) for name, value in shown.items()}
    texts, withheld = _open_private(private, entries)
    unproven = tuple(text for text in _list(body, "unproven") if isinstance(text, str))
    return Proof(
        origin, request, checkpoint, _text(body, "checkpoint"), key, tuple(entries), tuple(context), shown, texts,
        withheld, bound, unproven,
    )  # fmt: skip


def commitment(salt: bytes, text: str) -> str:
    """What an entry holds of a private text: SHA-256 of 32 random bytes and the text."""
    return to_hex(sha256(salt + text.encode()).digest())


def _parse(data: bytes) -> dict[str, Json]:
    if len(data) > FILE_BYTES_MAX:
        raise malformed("the size")
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise malformed("the JSON") from None
    if not isinstance(body, dict) or set(body) != _KEYS or body["format"] != FORMAT:
        raise malformed("the format")
    if orjson.dumps(body, option=orjson.OPT_SORT_KEYS) != data.rstrip(b"\n"):
        raise malformed("the canonical form")
    return body


def _open(
    note: str, origin: str, trusted: Iterable[VerifyingKey], links: Sequence[KeyLink]
) -> tuple[Checkpoint, VerifyingKey]:
    keys = [key for first in trusted for key in follow_keys(first, links, origin=origin)]
    opened = open_note(note, keys)
    checkpoint = parse_checkpoint(opened.text)
    if checkpoint.origin != origin:
        raise AuditError(
            "the checkpoint is of another log",
            code="checkpoint_foreign",
            data={"expected": origin, "found": checkpoint.origin},
        )
    return checkpoint, opened.signers[0]


def _open_entry(item: Json, origin: str, checkpoint: Checkpoint) -> Mapping[str, Json]:
    if not isinstance(item, dict) or set(item) != {"seq", "entry", "proof"}:
        raise malformed("an entry")
    seq, text = item["seq"], item["entry"]
    if type(seq) is not int or not isinstance(text, str):
        raise malformed("an entry")
    data = text.encode()
    verify_inclusion(leaf_hash(data), seq, checkpoint.size, read_hashes(item["proof"]), checkpoint.root)
    entry = parse_entry(data)
    if entry["seq"] != seq or entry["log"] != origin:
        raise AuditError(f"entry {seq} names another place or log", code="proof_invalid", data={"index": seq})
    return entry


def _check_shown(name: str, value: Json, entries: Sequence[Mapping[str, Json]]) -> int:
    """The entry that binds `value`."""
    if name not in BOUND_BY or not isinstance(value, str):
        raise malformed(f"{name[:32]!r}")
    field, digest = BOUND_BY[name]
    found = digest(value)
    binding = [entry for entry in entries if field in entry]
    if not binding:
        raise AuditError(f"no entry binds the {name}", code="claim_unbound", data={"name": name})
    for entry in binding:
        if entry[field] != found:
            raise AuditError(
                f"the {name} is not the one that entry {entry['seq']} names",
                code="claim_false",
                data={"name": name, "index": cast("int", entry["seq"]), "expected": str(entry[field]), "found": found},
            )
    return cast("int", binding[0]["seq"])


def _open_private(shown: Json, entries: Sequence[Mapping[str, Json]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Private texts by field, and the fields whose text is not in the file."""
    promised: dict[str, Json] = {}
    for entry in entries:
        fields = entry.get("private", {})
        if isinstance(fields, dict):
            promised |= fields
    if not isinstance(shown, dict):
        raise malformed("the private part")
    texts = {}
    for name, value in shown.items():
        salt, text = (value.get("salt"), value.get("text")) if isinstance(value, dict) else (None, None)
        if not isinstance(salt, str) or not isinstance(text, str):
            raise malformed("the private part")
        if name not in promised:
            raise AuditError(f"no entry binds the {name[:32]}", code="claim_unbound", data={"name": name[:32]})
        if commitment(_hex(salt), text) != promised[name]:
            raise AuditError(f"the {name} is not the one in the log", code="claim_false", data={"name": name})
        texts[name] = text
    return texts, tuple(sorted(set(promised) - set(texts)))


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise malformed("a hex string") from None


def _text(body: Mapping[str, Json], name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise malformed(name)
    return value


def _list(body: Mapping[str, Json], name: str) -> list[Json]:
    value = body[name]
    if not isinstance(value, list) or len(value) > ENTRIES_MAX:
        raise malformed(name)
    return value

"""One audit entry: what is recorded, and the only bytes it can be recorded as.

An entry is canonical JSON (RFC 8785), restricted so that any language's standard library makes the
same bytes: keys are ASCII; values are strings, booleans, null, lists, objects and integers with
|n| < 2^53. There are no floats. Amounts, fees, chain data and whatever else can exceed 2^53 are decimal or
`0x` strings. Keys are sorted, nothing is indented, text is UTF-8 and not escaped beyond what JSON demands:

    {"grant":"shopper","kind":"grant_revoked","log":"gate.example/audit/1","operator":"alice","seq":7,"ts_ms":1763900000000,"v":1}

Every entry holds `v` (1), `log` (the log's origin), `seq` (its place, counted from 0), `ts_ms` (the gate's clock)
and `kind`. `log` and `seq` are inside the hashed bytes, because otherwise an entry could be moved to another
place or another log; and `"log":` and `"seq":` occur once in the bytes, at any depth, so that a verifier can
find them without parsing. What is hashed is what is stored: nothing is serialised again to be verified.

An entry holds at most 16 KiB, because the tile format it is exported in holds 64 KiB and because
calldata belongs elsewhere: the entry carries its SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final, cast

import orjson

from walletgate.errors import AuditError

VERSION: Final = 1
"""The entry format this module writes and reads."""

SIZE_BYTES_MAX: Final = 16_384
"""The longest entry, inclusive."""

DEPTH_MAX: Final = 16
"""The deepest nesting of lists and objects, the entry itself included."""

INTEGER_MAX: Final = 2**53 - 1
"""The largest integer, and with a minus the smallest: what every JSON reader keeps exact."""

HEAD: Final = ("v", "log", "seq", "ts_ms", "kind")
"""The keys that every entry has."""

Json = None | bool | int | str | Sequence["Json"] | Mapping[str, "Json"]
"""What an entry may hold."""

_ENCODING: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_ORIGIN: Final = re.compile(r"[!-*,-~]{1,255}\Z")
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")


class Kind(StrEnum):
    """What happened. The names are promises: programs and auditors search for them."""

    # The request's way through the gate.
    REQUEST_DENIED = "request_denied"
    """The policy refused it; nothing was reserved or signed."""
    REQUEST_AWAITING_APPROVAL = "request_awaiting_approval"
    """The policy wants people to decide; what it could cost is reserved."""
    APPROVAL_GIVEN = "approval_given"
    """One operator's signed yes to one request."""
    APPROVAL_REFUSED = "approval_refused"
    """A signed approval that does not fit: wrong digest, expired, used, not entitled."""
    REQUEST_APPROVED = "request_approved"
    """The quorum is complete."""
    REQUEST_REJECTED = "request_rejected"
    """An operator said no."""
    REQUEST_EXPIRED = "request_expired"
    """Nobody decided in time."""
    REQUEST_WITHDRAWN = "request_withdrawn"
    """The agent took it back before it was signed."""
    REQUEST_REDACTED = "request_redacted"
    """Private texts of a request were erased; the log keeps its commitments to them."""

    # Signatures and what became of them.
    TRANSACTION_SIGNED = "transaction_signed"
    """A transaction was authorised, booked and signed; it counts as spent from here."""
    MESSAGE_SIGNED = "message_signed"
    """Typed data, a message or a digest was signed; what it permits counts as spent from here."""
    CODE_AUTHORIZATION_SIGNED = "code_authorization_signed"
    """An account was delegated to code (EIP-7702)."""
    TRANSACTION_BROADCAST = "transaction_broadcast"
    """A node took the signed bytes."""
    BROADCAST_FAILED = "broadcast_failed"
    """No node took the signed bytes yet, or it is not known; the reservation stays."""
    TRANSACTION_CONFIRMED = "transaction_confirmed"
    """Included, succeeded, final."""
    TRANSACTION_REVERTED = "transaction_reverted"
    """Included, failed, final: only the fee was spent."""
    TRANSACTION_STUCK = "transaction_stuck"
    """Nobody has mined it for long; what to do about it is an operator's decision."""
    TRANSACTION_REPLACED = "transaction_replaced"
    """Another transaction of ours took its nonce."""
    TRANSACTION_DROPPED = "transaction_dropped"
    """It can never be included: its nonce is final with something else."""
    TRANSACTION_REORGED = "transaction_reorged"
    """It was included and is not any more; it counts in full again."""

    # The ledger.
    RESERVATION_POSTED = "reservation_posted"
    """What was reserved was spent, at most in full; the rest is free again."""
    RESERVATION_VOIDED = "reservation_voided"
    """What was reserved can provably not be spent any more."""
    RESERVATION_MOVED = "reservation_moved"
    """A replacement took over its predecessor's reservation."""

    # Authority.
    POLICY_CHANGED = "policy_changed"
    """Another policy, by hash, is in force for a grant."""
    GRANT_CREATED = "grant_created"
    """An agent got authority over a wallet."""
    GRANT_REVOKED = "grant_revoked"
    """An agent lost it."""
    WALLET_ADDED = "wallet_added"
    """The gate can sign for another address."""
    WALLET_REMOVED = "wallet_removed"
    """The gate will not sign for an address any more."""
    OPERATOR_ADDED = "operator_added"
    """Another person may decide."""
    OPERATOR_REMOVED = "operator_removed"
    """A person may not decide any more."""
    OPERATOR_CHANGED = "operator_changed"
    """A person has other roles."""
    QUORUM_CHANGED = "quorum_changed"
    """Another number of operators must agree before anything is loosened."""
    DRAFT_PROPOSED = "draft_proposed"
    """An operator's command would loosen something: it waits for others to sign it."""
    DRAFT_SIGNED = "draft_signed"
    """Another operator's signed yes to exactly that draft."""
    DRAFT_REJECTED = "draft_rejected"
    """An operator's signed no, which ends it."""
    DRAFT_ENDED = "draft_ended"
    """It was carried out, has expired, or what it was about has changed."""
    DRAFT_REFUSED = "draft_refused"
    """A signed word on a draft that does not fit."""
    OPERATOR_REFUSED = "operator_refused"
    """An operator's command was refused: bad signature, no entitlement, no quorum."""
    AGENT_REFUSED = "agent_refused"
    """A credential of an agent was refused: unknown, expired, revoked, wrong endpoint."""
    FROZEN = "frozen"
    """An operator, or a policy that was flooded, stopped a grant, a wallet, an agent, a chain or everything."""
    UNFROZEN = "unfrozen"
    """The quorum let it go on."""

    # The gate and the log themselves.
    GATE_STARTED = "gate_started"
    """The gate runs; says with which version and policies."""
    GATE_STOPPED = "gate_stopped"
    """The gate stopped in order."""
    LOG_OPENED = "log_opened"
    """First entry of a log; names the checkpoint of the log before it, if there was one."""
    LOG_CLOSED = "log_closed"
    """Last entry of a log."""
    CHECKPOINT_SIGNED = "checkpoint_signed"
    """Size and root of this log, earlier than this entry, were signed."""
    CHECKPOINT_ANCHORED = "checkpoint_anchored"
    """A checkpoint was laid down with somebody else: a witness, a chain, another host."""
    LOG_KEY_CHANGED = "log_key_changed"
    """Another key signs the checkpoints from here."""


_KINDS: Final = frozenset(kind.value for kind in Kind)
_SCALARS: Final = frozenset((str, int, bool, type(None), Kind))
_CONTAINERS: Final = frozenset((dict, list, tuple))


def encode_entry(body: Mapping[str, Json]) -> bytes:
    """The bytes of an entry: what is stored, hashed and exported.

    Raises:
        AuditError: `entry_invalid` if a key or value is outside the subset or a head field is missing or wrong,
            `entry_too_large`, `entry_ambiguous` if `log` or `seq` is also a key further inside.
    """
    data = _dump(body)
    _check_head(body)
    if body["kind"] not in _KINDS:
        raise _invalid("kind is not one that this version knows")
    _check_bytes(data)
    return data


def parse_entry(data: bytes) -> dict[str, Json]:
    """The fields of a stored entry; a kind of a later version is not an error.

    Raises:
        AuditError: `entry_too_large`; `entry_invalid` if it is not JSON, outside the subset or without its head;
            `entry_not_canonical` if the same fields have other bytes; `entry_ambiguous`.
    """
    _check_bytes(data)
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _invalid("the entry is not JSON") from error
    if not isinstance(body, dict):
        raise _invalid("the entry is not an object")
    canonical = _dump(body)
    _check_head(body)
    if canonical != data:
        raise AuditError("the entry is not in canonical form", code="entry_not_canonical")
    return body


def is_origin(text: str) -> bool:
    """Whether `text` can name a log and its key: 1 to 255 visible ASCII characters, none of them `+`."""
    return _ORIGIN.match(text) is not None


def _check_bytes(data: bytes) -> None:
    if len(data) > SIZE_BYTES_MAX:
        raise AuditError(
            f"the entry has {len(data)} bytes, at most {SIZE_BYTES_MAX} are allowed",
            code="entry_too_large",
            data={"actual": len(data), "bound": SIZE_BYTES_MAX},
        )
    if data.count(b'"seq":') != 1 or data.count(b'"log":') != 1:
        raise AuditError("log and seq must be keys of the entry once, and nowhere else", code="entry_ambiguous")


def _dump(body: Mapping[str, Json]) -> bytes:
    _check_values((body,), DEPTH_MAX)
    try:
        return orjson.dumps(body, option=_ENCODING)
    except orjson.JSONEncodeError as error:  # an integer beyond 2^53, or half of a surrogate pair
        raise _invalid(f"the entry cannot be encoded: {error}") from error


def _check_values(values: Iterable[object], depth: int) -> None:
    for value in values:
        # Types are compared, not asked with isinstance: True is an int to the latter, and it is slow.
        kind = type(value)
        if kind in _SCALARS:
            continue
        if kind not in _CONTAINERS:
            raise _invalid(f"an entry cannot hold a {kind.__name__}")
        if depth == 0:
            raise _invalid(f"the entry is nested deeper than {DEPTH_MAX}")
        if isinstance(value, dict):
            _check_keys(value)
            _check_values(value.values(), depth - 1)
        else:
            _check_values(cast("Sequence[object]", value), depth - 1)


def _check_keys(value: Mapping[object, object]) -> None:
    try:
        is_ascii = "".join(value).isascii()  # type: ignore[arg-type]  # other keys than text end in TypeError
    except TypeError:
        is_ascii = False
    if not is_ascii:
        raise _invalid("a key is not ASCII text")


def _check_head(body: Mapping[str, Json]) -> None:
    if body.get("v") != VERSION or type(body["v"]) is not int:
        raise _invalid("v is not 1")
    log, kind = body.get("log"), body.get("kind")
    if not isinstance(log, str) or not is_origin(log):
        raise _invalid("log is not the origin of a log")
    if not isinstance(kind, str) or not _KIND.match(kind):
        raise _invalid("kind is not snake_case")
    for name in ("seq", "ts_ms"):
        number = body.get(name)
        if type(number) is not int or number < 0:
            raise _invalid(f"{name} is not a count")


def _invalid(detail: str) -> AuditError:
    return AuditError(detail, code="entry_invalid")

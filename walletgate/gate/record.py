"""How a request enters the store and the log: its first row and its first entries, in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson

from walletgate.audit.entry import Json, Kind
from walletgate.audit.proof import commitment
from walletgate.encoding import keccak256, printable, to_hex
from walletgate.errors import InvariantViolation
from walletgate.gate.ask import Ask, Session
from walletgate.gate.codec import canonical, decision_text, effects_text, payload_text, plain
from walletgate.gate.judging import Judged
from walletgate.policy import Policy
from walletgate.signers import Authorization, Signature
from walletgate.signers.transactions import signed_transaction
from walletgate.store import Request, Writer
from walletgate.types import (
    Booking,
    CodeAuthorization,
    Effect,
    Hash32,
    Outcome,
    Payload,
    Status,
    Transaction,
    TypedSignature,
)  # fmt: skip

_REASONS_IN_ENTRY = 8
_WORDS_IN_ENTRY = 6
_BOOKINGS_IN_ENTRY = 12

_FIRST_STATUS = {
    Outcome.DENY: Status.DENIED,
    Outcome.REQUIRE_APPROVAL: Status.AWAITING_APPROVAL,
    Outcome.ALLOW: Status.SIGNED,
}


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided on memory: the judgement, its policy, and leave to sign with a nonce if it is allowed."""

    judged: Judged
    policy: Policy
    authorization: Authorization | None
    nonce: int | None
    replaces: str | None = None


def record_first(
    tx: Writer, session: Session, ask: Ask, payload: Payload, request_id: str, decided: Decided,
    signatures: Sequence[Signature],
) -> Request:  # fmt: skip
    """Writes a new request in its first state, with its entries."""
    judged, decision = decided.judged, decided.judged.decision
    payload_body, words = payload_text(payload), judged.words(decided.policy, session.grant.wallet)
    request = Request(
        id=request_id,
        grant_id=session.grant.id,
        client_id=ask.client_id,
        surface=ask.surface,
        kind=ask.method,
        body_hash=ask.body_hash,
        status=_FIRST_STATUS[decision.outcome],
        payload=canonical(_stored(ask, payload_body)).decode(),
        decision=decision_text(decision, effects_text(judged.effects), words, judged.prices).decode(),
        policy=decision.policy_hash,
        digest=Hash32(keccak256(payload_body)),
        wallet=session.grant.wallet,
        chain_id=session.chain_id,
        created_ms=tx.now_ms,
        updated_ms=tx.now_ms,
        replaces=decided.replaces,
    )
    entry = _entry(request, session, ask, decided, words, _commit(tx, request_id, ask))
    match decision.outcome:
        case Outcome.DENY:
            request = request.changed(moving=False)
            tx.entry(Kind.REQUEST_DENIED, entry)
        case Outcome.REQUIRE_APPROVAL:
            within_ms = min((terms.within_s for terms in decision.approvals), default=0) * 1000
            request = request.changed(expires_ms=tx.now_ms + within_ms)
            tx.entry(Kind.REQUEST_AWAITING_APPROVAL, {**entry, "expires_ms": request.expires_ms})
        case Outcome.ALLOW:
            request = record_signature(tx, request, payload, decided.authorization, decided.nonce, signatures, entry)
            if request.raw is None:
                ends_ms = deadline_ms(judged.effects)
                request = request.changed(expires_ms=ends_ms, moving=ends_ms is not None)
    tx.add_request(request)
    return request


def record_signature(
    tx: Writer, request: Request, payload: Payload, authorization: Authorization | None, nonce: int | None,
    signatures: Sequence[Signature], entry: Mapping[str, Json],
) -> Request:  # fmt: skip
    """Puts the signature that was made into the request, with its entry and the nonce it used.

    Raises:
        InvariantViolation: there is no leave to sign.
    """
    (signature,) = signatures
    if authorization is None:
        raise InvariantViolation(f"request {request.id} was signed without leave")
    digest = to_hex(authorization.digest)
    if isinstance(payload, Transaction) and nonce is not None:
        raw = signed_transaction(payload, authorization.preimage, signature)
        tx_hash = Hash32(keccak256(raw))
        if request.replaces is None:
            tx.set_nonce(request.wallet, request.chain_id, nonce + 1)
        tx.entry(Kind.TRANSACTION_SIGNED, {**entry, "nonce": nonce, "tx": to_hex(tx_hash), "signed_digest": digest})
        return request.changed(status=Status.SIGNED, nonce=nonce, raw=raw, tx_hash=tx_hash, updated_ms=tx.now_ms)
    delegates = isinstance(payload, CodeAuthorization)
    kind = Kind.CODE_AUTHORIZATION_SIGNED if delegates else Kind.MESSAGE_SIGNED
    # The signature may be worth money to whoever reads it, so the log names it by its hash.
    made = to_hex(sha256(signature.to_bytes()).digest())
    tx.entry(kind, {**entry, "signed_digest": digest, "signature_digest": made})
    return request.changed(status=Status.SIGNED, signature=signature.to_bytes(), updated_ms=tx.now_ms)


def deadline_ms(effects: Sequence[Effect]) -> int | None:
    """When what was signed can no longer be used; None if it never ends."""
    ends = [effect.valid_until for effect in effects if isinstance(effect, TypedSignature)]
    known = [end for end in ends if end is not None]
    return max(known) * 1000 if known and len(known) == len(ends) else None


def _stored(ask: Ask, payload: bytes) -> dict[str, Any]:
    return {
        "payload": orjson.Fragment(payload),
        "expect": plain(ask.expect),
        "memo": ask.memo,
        "release_raw": ask.release_raw,
        "trace": dict(ask.trace),
    }


@lru_cache(maxsize=256)
def text_digest(text: str) -> str:
    """SHA-256 of a policy's text: its hash names what it means, this names what people read."""
    return to_hex(sha256(text.encode()).digest())


def _booked(booking: Booking) -> dict[str, Json]:
    """One amount that is booked, as an entry names it."""
    body: dict[str, Json] = {"measure": booking.measure.value, "amount": str(booking.amount)}
    if booking.asset is not None:
        body["asset"] = f"{booking.asset.chain_id}:{to_hex(booking.asset.address)}"
    if booking.recipient is not None:
        body["recipient"] = to_hex(booking.recipient)
    if booking.unit is not None:
        body["unit"] = booking.unit
    return body


def _commit(tx: Writer, request_id: str, ask: Ask) -> dict[str, Json]:
    """Commitments to what the agent wrote for people: the log is kept for ever, and such text must be erasable."""
    if not ask.memo:
        return {}
    salt = secrets.token_bytes(32)
    tx.add_private(request_id, "memo", salt, ask.memo)
    return {"memo": commitment(salt, ask.memo)}


def _entry(
    request: Request, session: Session, ask: Ask, decided: Decided, words: list[str], private: Mapping[str, Json]
) -> dict[str, Json]:  # fmt: skip
    """What every entry about a new request says."""
    judged = decided.judged
    reasons = [
        {key: value for key, value in plain(reason).items() if value not in (None, "")}
        for reason in judged.decision.reasons[:_REASONS_IN_ENTRY]
    ]
    body: dict[str, Json] = {
        "request": request.id,
        "grant": session.grant.id,
        "agent": session.grant.agent,
        "client_id": printable(ask.client_id),
        "surface": ask.surface,
        "method": ask.method,
        "wallet": to_hex(request.wallet),
        "chain": request.chain_id,
        "policy": to_hex(request.policy),
        "policy_text": text_digest(decided.policy.text),
        "digest": to_hex(request.digest),
        "decision": judged.decision.outcome.name.lower(),
        "decision_digest": to_hex(keccak256(request.decision.encode())),
        "reasons": reasons,
    }
    if words:
        body["effects"] = [printable(line, length_max=200) for line in words[:_WORDS_IN_ENTRY]]
    bookings = judged.decision.bookings
    if bookings:
        body["booked"] = [_booked(booking) for booking in bookings[:_BOOKINGS_IN_ENTRY]]
    if len(bookings) > _BOOKINGS_IN_ENTRY:
        body["booked_more"] = len(bookings) - _BOOKINGS_IN_ENTRY
    if ask.expect is not None:
        body["expect"] = {k: printable(v, length_max=80) for k, v in plain(ask.expect).items() if v is not None}
    if private:
        body["private"] = private
    if request.replaces is not None:
        body["replaces"] = request.replaces
    if ask.trace:
        body["trace"] = {key: printable(value, length_max=128) for key, value in ask.trace.items()}
    return body

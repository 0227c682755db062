"""What another policy would have said to requests that were judged before.

Each past request is decoded and judged again at its own time under the other policy, and what that would have let
through is booked, so that later requests meet the budgets that would have been left. Prices are those that were
recorded with the request. Facts that were known then and are not recorded (balances, allowances, prices in a currency
in which nothing counted) are not known now: what rests on them is denied, and `notes` says which were missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from walletgate.gate.ask import Session
from walletgate.gate.codec import payload_from_json, prices_from_json
from walletgate.gate.judging import judge_payload
from walletgate.limits import LimitBook, Movement, falls_into
from walletgate.policy import AGREES, Facts, Policy, describe
from walletgate.store import Grant, Request
from walletgate.types import Address, Bucket, Expectation, Outcome, Transaction

_NOT_RECORDED = {"price_missing": "price not recorded", "fact_missing": "fact not recorded"}


@dataclass(frozen=True, slots=True)
class Replayed:
    """One past request: what was decided, and what the other policy decides, with its reasons."""

    request: str
    agent: str
    at_ms: int
    before: Outcome
    after: Outcome
    reasons: tuple[str, ...]
    words: tuple[str, ...]
    notes: tuple[str, ...] = ()


def replay(policy: Policy, requests: Iterable[Request], grants: dict[str, Grant]) -> Iterator[Replayed]:
    """Judges `requests`, oldest first, under `policy`."""
    past: list[Movement] = []
    book = LimitBook(
        lambda bucket, after_ms: [(m.at_ms, m.spent) for m in past if m.at_ms > after_ms and falls_into(m, bucket)],
        lambda bucket: sum(m.spent for m in past if falls_into(m, bucket)),
    )
    seen: dict[Address, int] = {}
    for request in requests:
        grant = grants[request.grant_id]
        stored, decided = json.loads(request.payload), json.loads(request.decision)
        payload = payload_from_json(stored["payload"])
        at_ms = request.created_ms

        def used(bucket: Bucket, window_ms: int | None, now_ms: int = at_ms) -> int:
            return book.used(bucket, window_ms, now_ms)

        judged = judge_payload(
            payload,
            session=Session(grant, request.chain_id),
            policy=policy,
            now_ms=at_ms,
            method=request.kind,
            expect=expectation_of(stored["expect"]),
            facts=Facts(
                prices=prices_from_json(decided),
                first_seen_ms=dict(seen),
                gas=payload.gas if isinstance(payload, Transaction) else None,
                simulation=AGREES,
            ),
            used=used,
        )
        decision = judged.decision
        if decision.outcome is not Outcome.DENY:
            book.reserve(
                request.id, decision.bookings, grant=grant.id, group=grant.team, wallet=grant.wallet, now_ms=at_ms
            )
            if book.pending(request.id):
                past += book.post(request.id, now_ms=at_ms)
                book.saved()
            for booking in decision.bookings:
                if booking.recipient is not None:
                    seen.setdefault(booking.recipient, at_ms)
        yield Replayed(
            request.id,
            grant.agent,
            at_ms,
            Outcome[decided["outcome"].upper()],
            decision.outcome,
            tuple(reason.text for reason in decision.reasons),
            tuple(describe(effect, policy, wallet=grant.wallet) for effect in judged.effects[:3]),
            tuple(sorted({_NOT_RECORDED[r.code] for r in decision.reasons if r.code in _NOT_RECORDED})),
        )


def expectation_of(stored: dict[str, str | None] | None) -> Expectation | None:
    """The expectation a request was stored with."""
    if stored is None:
        return None
    recipient = stored["recipient"]
    address = None if recipient is None else Address(bytes.fromhex(recipient[2:]))
    return Expectation(stored["asset"], stored["amount"], address)

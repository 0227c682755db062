"""How a request is decided: filled in, judged on the memory of this very moment, booked, and given leave to sign.

Everything here runs before a request is recorded. Nodes are asked first (`complete`, `facts`); `decide` asks nobody
and nothing, because it runs inside a commit. `authorize` is the one place where leave to sign is made.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from walletgate.chain import NodeRefusedError
from walletgate.encoding import keccak256, printable
from walletgate.errors import SignerError
from walletgate.gate.ask import Ask, Session
from walletgate.gate.facts import gather, with_pending
from walletgate.gate.judging import (
    Judged,
    ask_nonce,
    chains_of,
    decode_payload,
    denied,
    fill,
    judge_payload,
    used_without,
)  # fmt: skip
from walletgate.gate.preimages import preimage_of
from walletgate.gate.record import Decided, record_first
from walletgate.gate.replace import rivals, underpriced
from walletgate.gate.replay import expectation_of
from walletgate.policy import Facts, Need, Policy
from walletgate.signers import Authorization, Signature
from walletgate.store import Request, Writer
from walletgate.types import (
    Allowance,
    Effect,
    Hash32,
    Outcome,
    Payload,
    Reason,
    Transaction,
    TransactionRequest,
)  # fmt: skip

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

GAS_MARGIN_PERCENT = 25


class Deciding:
    """The gate's judgement, with its memory."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._state = gate.state

    async def complete(self, session: Session, ask: Ask, policy: Policy) -> tuple[Payload, Judged | None]:
        """The payload with everything filled in; or, when it is refused already, with the refusal."""
        if not isinstance(ask.asked, TransactionRequest):
            return ask.asked, None
        quote = await self._gate.node_facts.fees(session.chain_id, ask.asked)
        if ask.asked.gas is not None:
            return fill(ask.asked, session, quote, ask.asked.gas), None
        draft = fill(ask.asked, session, quote, 0)
        judged = self.judge(session, ask, draft, policy, await self.facts(session, draft, policy))
        if judged.decision.outcome is Outcome.DENY:
            return draft, judged
        try:
            gas = await self._gate.chains[session.chain_id].estimate_gas(draft)
        except NodeRefusedError as refusal:
            reason = Reason("would_revert", f"the call would fail: {printable(refusal.message, length_max=200)}")
            return draft, denied(judged, reason)
        return replace(draft, gas=gas + gas * GAS_MARGIN_PERCENT // 100), None

    async def facts(self, session: Session, payload: Payload, policy: Policy) -> Facts:
        """What the policy needs to know beside the request itself."""
        effects: tuple[Effect, ...] = ()
        if Need.ALLOWANCES in policy.needs:
            effects = decode_payload(payload, session=session, policy=policy, now_ms=self._gate.now_ms())
        return await gather(
            policy, payload, effects, wallet=session.grant.wallet, chain=self._gate.chains[session.chain_id],
            store=self._gate.store, prices=self._gate.prices,
        )  # fmt: skip

    def judge(
        self, session: Session, ask: Ask, payload: Payload, policy: Policy, facts: Facts, but: str | None = None
    ) -> Judged:
        """`but` is a request whose own reservation does not count: this one would take its place."""
        now_ms = self._gate.now_ms()
        return judge_payload(
            payload,
            session=session,
            policy=policy,
            now_ms=now_ms,
            method=ask.method,
            expect=ask.expect,
            facts=with_pending(facts, self._state, but=but or ""),
            used=used_without(self._state, but, now_ms),
        )

    def decide(self, session: Session, ask: Ask, payload: Payload, request_id: str, known: Judged | Facts) -> Decided:
        """Judges on the memory of this very moment, and books what goes ahead."""
        began_s = perf_counter()
        decided = self._decide(session, ask, payload, request_id, known)
        decision, meter = decided.judged.decision, self._gate.meter
        meter.stages["decide"].observe(perf_counter() - began_s)
        meter.decisions[decision.outcome.name.lower(), decision.reasons[0].code if decision.reasons else ""] += 1
        return decided

    def _decide(self, session: Session, ask: Ask, payload: Payload, request_id: str, known: Judged | Facts) -> Decided:
        grant = self._state.check_live(session.grant.id, self._gate.now_ms())
        policy = self._state.policies[grant.policy]
        old = self._rivals(session, ask)
        judged = (
            known
            if isinstance(known, Judged)
            else self.judge(replace(session, grant=grant), ask, payload, policy, known, old[0].id if old else None)
        )
        reasons = self._gate_reasons(session, ask, payload, old, judged.decision.outcome)
        if reasons:
            judged = denied(judged, *reasons)
        if judged.decision.outcome is Outcome.REQUIRE_APPROVAL:
            judged = denied(judged, *self._gate.asking.reasons(self._gate, grant, policy, judged.effects))
        decision = judged.decision
        if decision.outcome is Outcome.DENY:
            return Decided(judged, policy, None, None)
        authorization, nonce, slot = None, None, None
        if decision.outcome is Outcome.ALLOW:
            again = ask_nonce(ask) if old else None
            authorization, nonce = self.authorize(request_id, session, payload, again)
            slot = None if nonce is None else (grant.wallet, session.chain_id, nonce)
        self._state.allowances[request_id] = tuple(e for e in judged.effects if isinstance(e, Allowance))
        self._state.book.reserve(
            request_id, decision.bookings, grant=grant.id, group=grant.team, wallet=grant.wallet,
            now_ms=self._gate.now_ms(), slot=slot,
        )  # fmt: skip
        return Decided(judged, policy, authorization, nonce, old[0].id if old else None)

    def authorize(
        self, request_id: str, session: Session, payload: Payload, again: int | None = None
    ) -> tuple[Authorization, int | None]:
        """The one place where leave to sign is made, after a judgement that allows it.

        A transaction takes the next nonce, or `again`, one that a transaction of ours has taken before.

        Raises:
            SignerError: `wallet_unknown`, the key is not here; of several gates another may have it.
        """
        if session.grant.wallet not in self._gate.signable:
            raise SignerError("this gate does not hold the wallet's key", code="wallet_unknown")
        key = (session.grant.wallet, session.chain_id)
        nonce = None
        if isinstance(payload, Transaction):
            nonce = self._state.nonces[key] if again is None else again
        kind, preimage = preimage_of(payload, nonce)
        authorization = Authorization(
            self._gate.seal, request_id, session.grant.wallet, kind, preimage, Hash32(keccak256(preimage))
        )
        if nonce is not None and again is None:
            self._state.nonces[key] = nonce + 1
        return authorization, nonce

    def _rivals(self, session: Session, ask: Ask) -> list[Request]:
        """What a request would replace: the grant's own transactions with the nonce it insists on."""
        wanted = ask_nonce(ask)
        if wanted is None:
            return []
        found = rivals(self._state.requests.values(), session.grant.wallet, session.chain_id, wanted)
        return found if all(request.grant_id == session.grant.id for request in found) else []

    def _gate_reasons(
        self, session: Session, ask: Ask, payload: Payload, old: Sequence[Request], outcome: Outcome
    ) -> list[Reason]:
        """What the gate itself holds against a request, whatever the policy says."""
        reasons = []
        if old and isinstance(payload, Transaction):
            cheap = underpriced(payload, old)
            reasons += [] if cheap is None else [cheap]
            if outcome is Outcome.REQUIRE_APPROVAL:
                text = "a replacement cannot wait for operators; they have `request speed-up` and `request cancel`"
                reasons.append(Reason("replacement_needs_approval", text))
        freeze = self._state.frozen_by(session.grant, *chains_of(ask.asked, session.chain_id))
        if freeze is not None:
            reasons.append(Reason("frozen", f"{freeze.scope} is frozen: {printable(freeze.reason)}"))
        wanted, expected = ask_nonce(ask), self._gate.next_nonce(session.grant.wallet, session.chain_id)
        if not old and wanted is not None and expected is not None and wanted != expected:
            reasons.append(
                Reason(
                    "nonce_not_next", f"nonce {wanted} is not the next one, {expected}", None, wanted, expected, "nonce"
                )
            )
        waiting = len(self._state.waiting.get(session.grant.id, ()))
        if waiting >= self._gate.settings.pending_max:
            reasons.append(
                Reason("approval_queue_full", "too many requests wait for operators", None, waiting,
                       self._gate.settings.pending_max, "requests")
            )  # fmt: skip
        return reasons

    def record(
        self, tx: Writer, session: Session, ask: Ask, payload: Payload, request_id: str, outcome: Decided,
        signatures: Sequence[Signature],
    ) -> Request:  # fmt: skip
        """Writes what was decided: the request's first row, what it booked, its first entries."""
        request = record_first(tx, session, ask, payload, request_id, outcome, signatures)
        tx.add_movements(self._state.book.pending(request_id))
        self._gate.asking.record(self._gate, tx, request, outcome.judged.effects)
        return self._state.keep(request)

    def new_id(self) -> str:
        """A request's id: in the order of time, so that the newest rows lie together, and not to be guessed."""
        return f"req_{self._gate.now_ms():011x}{secrets.token_hex(6)}"

    def judge_again(self, request: Request, payload: Payload, facts: Facts) -> Judged:
        """A request as it would be judged now, without its own reservation; `payload` may be at another price.

        Raises:
            AuthenticationError: `grant_revoked`, `grant_expired`.
        """
        now_ms = self._gate.now_ms()
        grant = self._state.check_live(request.grant_id, now_ms)
        return judge_payload(
            payload,
            session=Session(grant, request.chain_id),
            policy=self._state.policies[grant.policy],
            now_ms=now_ms,
            method=request.kind,
            expect=expectation_of(json.loads(request.payload)["expect"]),
            facts=with_pending(facts, self._state, but=request.id),
            used=used_without(self._state, request.id, now_ms),
        )

"""What operators may do, each act under a signature of their own.

Approvals and commands are verified here, in the same step that carries them out: who signed, that the word is about
exactly this, that it has not expired and was not used before. What is refused is recorded, too. Nothing in this
module is reachable with an agent's token.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from walletgate.audit.entry import Json, Kind
from walletgate.effects.request import strict_json
from walletgate.encoding import checksum_address, keccak256, parse_address, printable, to_hex
from walletgate.errors import ApprovalError, ConflictError, InvalidRequestError, WalletGateError
from walletgate.gate.actions import ACTIONS, quorum_of, weigh
from walletgate.gate.ask import Session
from walletgate.gate.codec import decision_from_json, payload_from_json
from walletgate.gate.commands import LIFETIME_MS_MAX, ApprovalWord, CommandWord, recover_operator
from walletgate.gate.drafts import (
    LIFETIME_MS,
    OPEN_MAX,
    SignedDraft,
    check_word,
    draft_id,
    end_draft,
    open_draft,
    propose,
    sweep,
    voices_for,
)  # fmt: skip
from walletgate.gate.judging import Judged, chains_of
from walletgate.gate.orders import Act, Action, Answer, By, Change
from walletgate.gate.quorum import may_decide, satisfied
from walletgate.gate.record import deadline_ms, record_signature
from walletgate.gate.replace import Prepared
from walletgate.gate.rescue import RESCUES, Rescue
from walletgate.gate.writer import Job
from walletgate.policy import Facts
from walletgate.signers import Authorization, Signature
from walletgate.store import APPROVER, ROLES, Approval, Draft, DraftVoice, Grant, Operator, Request, Writer
from walletgate.types import Address, Outcome, Payload, Status, Transaction

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate


@dataclass(frozen=True, slots=True)
class SignedApproval:
    """An operator's word on a request, with a reason for the log."""

    word: ApprovalWord
    signature: bytes
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SignedCommand:
    """An operator's command; `body` is the canonical JSON whose hash the word names."""

    word: CommandWord
    body: bytes
    signature: bytes


class Operations:
    """The operators' side of a gate."""

    def __init__(self, gate: Gate, *, name: str, bootstrap: bool = False) -> None:
        """`name` is the gate's own, as in every signed word. `bootstrap` lets the first operator add themselves."""
        self._gate = gate
        self._name = name
        self._bootstrap = bootstrap
        self._turn = asyncio.Lock()

    # --- approvals -----------------------------------------------------------------------------------

    async def decide(self, signed: SignedApproval) -> Request:
        """Takes an operator's yes or no on a request; the last yes of a quorum signs it.

        Raises:
            ApprovalError: `signature_invalid`, `not_an_operator`, `not_entitled`, `approval_expired`,
                `digest_mismatch`, `effects_mismatch`, `policy_changed`, `already_spoken`, `approval_insufficient`.
            ConflictError: `request_moved`.
        """
        try:
            async with self._turn:
                return await self._decide(signed)
        except WalletGateError as error:
            about: dict[str, Json] = {"request": printable(signed.word.request), "approve": signed.word.approve}
            await self._refused(Kind.APPROVAL_REFUSED, error, about)
            raise

    async def _decide(self, signed: SignedApproval) -> Request:
        outcome: list[_Verdict] = []
        facts = await self._facts(signed.word.request)

        def decide() -> Sequence[Authorization]:
            outcome.append(self._verdict(signed, facts))
            authorization = outcome[0].authorization
            return () if authorization is None else (authorization,)

        def record(tx: Writer, signatures: Sequence[Signature]) -> Request:
            return self._record(tx, signed, outcome[0], signatures)

        return await self._gate.commits.submit(Job(decide, record, self._gate.noticed))

    async def _facts(self, request_id: str) -> Facts:
        """What the policy needs to know for judging a waiting request again, as it is now."""
        request = self._gate.state.requests.get(request_id)
        if request is None:
            return Facts()
        grant = self._gate.state.grants[request.grant_id]
        payload = payload_from_json(json.loads(request.payload)["payload"])
        policy = self._gate.state.policies[grant.policy]
        session = Session(grant, request.chain_id)
        if isinstance(payload, Transaction):
            await self._gate.node_facts.know_nonce(grant.wallet, request.chain_id)
        return await self._gate.deciding.facts(session, payload, policy)

    def _verdict(self, signed: SignedApproval, facts: Facts) -> _Verdict:
        state, word, now_ms = self._gate.state, signed.word, self._gate.now_ms()
        operator = self._operator(recover_operator(word, signed.signature, gate=self._name))
        request = state.requests.get(word.request)
        if request is None or request.status is not Status.AWAITING_APPROVAL:
            raise ConflictError("the request does not wait any more", code="request_moved")
        grant = state.grants[request.grant_id]
        if not operator.has(APPROVER):
            raise ApprovalError(f"{operator.name} is not an approver", code="role_missing")
        stored = json.loads(request.decision)
        terms = decision_from_json(stored).approvals
        _check_word(word, request, stored["effects_digest"], grant, now_ms)
        barred = self._authors(grant) if word.approve else frozenset()
        if not may_decide(terms, operator.name, barred) or operator.address == request.wallet:
            raise ApprovalError(f"{operator.name} may not decide on this request", code="not_entitled")
        earlier = self._gate.store.approvals(request.id)
        if word.approve and any(a.operator == operator.name and a.expires_ms > now_ms for a in earlier):
            raise ApprovalError(f"{operator.name} has decided on this request already", code="already_spoken")
        if not word.approve:
            state.claim(request)
            return _Verdict(request, operator, grant)
        valid = [a for a in earlier if a.approved and a.policy == grant.policy and a.expires_ms > now_ms]
        voices = {a.operator for a in valid if self._is_approver(a.operator)} | {operator.name}
        if not satisfied(terms, voices, barred):
            return _Verdict(request, operator, grant, complete=False)
        return self._judge_again(request, operator, grant, voices, facts)

    def _judge_again(
        self, request: Request, operator: Operator, grant: Grant, voices: set[str], facts: Facts
    ) -> _Verdict:
        """Everything as it is now, without the request's own reservation; then leave to sign, or the refusal."""
        gate, now_ms = self._gate, self._gate.now_ms()
        state = gate.state
        payload = payload_from_json(json.loads(request.payload)["payload"])
        session = Session(state.check_live(grant.id, now_ms), request.chain_id)
        judged = gate.deciding.judge_again(request, payload, facts)
        if state.frozen_by(grant, *chains_of(payload, request.chain_id)) is not None:
            raise ApprovalError("the grant is frozen", code="frozen")
        needs = judged.decision.approvals if judged.decision.outcome is Outcome.REQUIRE_APPROVAL else ()
        if not satisfied(needs, voices, self._authors(grant)):
            raise ApprovalError("the policy now asks for more approvals", code="approval_insufficient")
        if judged.decision.outcome is Outcome.DENY:
            state.claim(request)
            return _Verdict(request, operator, grant, judged=judged, payload=payload)
        if session.grant.wallet not in state.wallets:
            raise ApprovalError("the wallet is gone", code="wallet_unknown")
        authorization, nonce = gate.deciding.authorize(request.id, session, payload)
        state.claim(request)
        return _Verdict(request, operator, grant, True, judged, payload, authorization, nonce)

    def _record(
        self, tx: Writer, signed: SignedApproval, verdict: _Verdict, signatures: Sequence[Signature]
    ) -> Request:
        word, request, operator = signed.word, verdict.request, verdict.operator
        approval = Approval(
            request.id, operator.name, word.approve, word.policy, signed.signature, signed.reason,
            word.expires * 1000, tx.now_ms,
        )  # fmt: skip
        tx.authority.put_approval(approval)
        body: dict[str, Json] = {
            "request": request.id,
            "grant": request.grant_id,
            "operator": operator.name,
            "address": to_hex(operator.address),
            "approve": word.approve,
            "digest": to_hex(word.request_digest),
            "effects_digest": to_hex(word.effects_digest),
            "policy": to_hex(word.policy),
            "expires": word.expires,
            "signature": to_hex(signed.signature),
            "reason": printable(signed.reason, length_max=200),
        }
        if not word.approve:
            self._gate.asking.reject(tx, request, json.loads(request.decision)["effects"])
            return self._gate.end_waiting(tx, request, Status.REJECTED, Kind.REQUEST_REJECTED, body)
        tx.entry(Kind.APPROVAL_GIVEN, body)
        if not verdict.complete:
            return request
        about: dict[str, Json] = {"request": request.id, "grant": request.grant_id, "surface": request.surface}
        judged = verdict.judged
        if judged is None or verdict.payload is None or judged.decision.outcome is Outcome.DENY:
            reasons = [r.code for r in judged.decision.reasons] if judged is not None else []
            return self._gate.end_waiting(tx, request, Status.DENIED, Kind.REQUEST_DENIED, {"reasons": reasons})
        tx.entry(Kind.REQUEST_APPROVED, about)
        signed_request = record_signature(
            tx, request, verdict.payload, verdict.authorization, verdict.nonce, signatures, about
        )
        ends_ms = deadline_ms(judged.effects) if signed_request.raw is None else None
        changes = {name: getattr(signed_request, name) for name in ("status", "nonce", "raw", "tx_hash", "signature")}
        moving = signed_request.raw is not None or ends_ms is not None
        return self._gate.state.keep(tx.move_request(request, expires_ms=ends_ms, moving=moving, **changes))

    # --- commands ------------------------------------------------------------------------------------

    async def command(self, signed: SignedCommand) -> Answer:
        """Carries out an operator's command once; one command after another, each seeing what the last has changed.

        What loosens, where more than one policy-maker must agree, becomes a draft: the answer then has `draft`.

        Raises:
            ApprovalError: `signature_invalid`, `not_an_operator`, `role_missing`, `command_expired`,
                `payload_mismatch`.
            ConflictError: `command_repeated`, `policy_changed`, `drafts_full`, or what the action refuses.
            InvalidRequestError: `action_unknown`, or what the action's payload lacks.
        """
        try:
            async with self._turn:
                rescue = RESCUES.get(signed.word.action)
                return await (self._command(signed) if rescue is None else self._rescue(signed, rescue))
        except WalletGateError as error:
            await self._refused(Kind.OPERATOR_REFUSED, error, {"action": printable(signed.word.action)})
            raise

    async def _command(self, signed: SignedCommand) -> Answer:
        _, body, action = self._check_command(signed)
        change = await weigh(self._gate, action, body)
        acts: list[tuple[Operator, Act]] = []

        def decide() -> Sequence[Authorization]:
            operator, body, action = self._check_command(signed)
            self._check_base(change)
            act = action.prepare(self._gate, By(operator.name), body)
            if change.loosens and quorum_of(self._gate) > 1:
                act = self._draft(operator, signed, change)
            acts.append((operator, act))
            self._gate.state.commands.add(signed.word.nonce)
            return ()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Answer:
            operator, act = acts[0]
            tx.add_command(signed.word.nonce, operator.name, signed.word.expires * 1000)
            sweep(self._gate, tx)
            return act(tx)

        return await self._gate.commits.submit(Job(decide, record, lambda _: self._gate.state.load_authority()))

    async def _rescue(self, signed: SignedCommand, rescue: Rescue) -> Answer:
        """A command that has a transaction signed, in the commit that records it."""
        gate, word = self._gate, signed.word
        operator, body = self._check_order(signed)
        _check_roles(operator, word.action, rescue.roles)
        gathered = await rescue.gather(gate, body)
        prepared: list[Prepared] = []

        def decide() -> Sequence[Authorization]:
            operator, _ = self._check_order(signed)
            _check_roles(operator, word.action, rescue.roles)
            prepared.append(rescue.sign(gate, operator.name, gathered))
            gate.state.commands.add(word.nonce)
            return prepared[0].authorizations

        def record(tx: Writer, signatures: Sequence[Signature]) -> Request:
            tx.add_command(word.nonce, operator.name, word.expires * 1000)
            return prepared[0].record(gate, tx, signatures)

        request = await gate.commits.submit(Job(decide, record, gate.noticed))
        return {
            "request": request.id, "replaces": request.replaces, "nonce": request.nonce,
            "tx": to_hex(request.tx_hash or b""),
        }  # fmt: skip

    def _check_base(self, change: Change) -> None:
        grant = self._gate.state.grants.get(change.about)
        if grant is not None and any(change.before) and grant.policy != change.before:
            raise ConflictError("the grant is under another policy by now: look again", code="policy_changed")

    def _draft(self, operator: Operator, signed: SignedCommand, change: Change) -> Act:
        """Makes a draft of a command that one operator cannot carry out alone."""
        gate = self._gate
        if len(gate.store.authority.drafts(status="open", limit=OPEN_MAX)) >= OPEN_MAX:
            raise ConflictError("too many drafts wait: sign or reject some", code="drafts_full")

        def act(tx: Writer) -> Answer:
            draft = Draft(
                draft_id(), signed.word.action, signed.body.decode(), change.lines, change.about, change.before,
                change.after, operator.name, "open", tx.now_ms, tx.now_ms + LIFETIME_MS,
            )  # fmt: skip
            propose(tx, draft, signed.signature)
            return {
                "draft": draft.id, "lines": list(draft.lines), "needs": quorum_of(gate), "signed": [operator.name],
                "expires_ms": draft.expires_ms,
            }  # fmt: skip

        return act

    # --- drafts --------------------------------------------------------------------------------------

    async def sign_draft(self, signed: SignedDraft) -> Answer:
        """Takes an operator's yes or no on a draft; the last yes of the quorum carries it out.

        Raises:
            ApprovalError: `signature_invalid`, `not_an_operator`, `role_missing`, `draft_mismatch`, `approval_expired`,
                `already_spoken`.
            ConflictError: `draft_moved`, `draft_stale`, or what the action refuses.
        """
        try:
            async with self._turn:
                return await self._sign_draft(signed)
        except WalletGateError as error:
            about: dict[str, Json] = {"draft": printable(signed.word.draft), "approve": signed.word.approve}
            await self._refused(Kind.DRAFT_REFUSED, error, about)
            raise

    async def _sign_draft(self, signed: SignedDraft) -> Answer:
        acts: list[Act] = []

        def decide() -> Sequence[Authorization]:
            acts.append(self._draft_act(signed))
            return ()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Answer:
            answer = acts[0](tx)
            sweep(self._gate, tx)
            return answer

        return await self._gate.commits.submit(Job(decide, record, lambda _: self._gate.state.load_authority()))

    def _draft_act(self, signed: SignedDraft) -> Act:
        """What an operator's word on a draft leads to."""
        gate, word = self._gate, signed.word
        operator = self._operator(recover_operator(word, signed.signature, gate=self._name))
        draft = open_draft(gate, word.draft)
        check_word(signed, draft, operator, now_ms=gate.now_ms())
        if word.approve and any(
            voice.operator == operator.name for voice in gate.store.authority.draft_voices(draft.id)
        ):
            raise ApprovalError(f"{operator.name} has signed this draft already", code="already_spoken")
        voices, carried_out = voices_for(gate, draft) | {operator.name}, None
        if word.approve and len(voices) >= quorum_of(gate):
            body = strict_json(draft.body.encode())
            carried_out = ACTIONS[draft.action].prepare(gate, By(draft.proposer, draft.id), _object(body))

        def act(tx: Writer) -> Answer:
            reason = printable(signed.reason, length_max=200)
            entry: dict[str, Json] = {
                "draft": draft.id, "operator": operator.name, "payload": to_hex(word.payload),
                "summary": to_hex(word.summary), "before": to_hex(word.before), "after": to_hex(word.after),
                "expires": word.expires, "signature": to_hex(signed.signature), "reason": reason,
            }  # fmt: skip
            if not word.approve:
                tx.entry(Kind.DRAFT_REJECTED, entry)
                tx.authority.end_draft(draft.id, "rejected")
                return {"draft": draft.id, "status": "rejected"}
            tx.authority.add_draft_voice(DraftVoice(draft.id, operator.name, True, signed.signature, reason, tx.now_ms))
            tx.entry(Kind.DRAFT_SIGNED, entry)
            if carried_out is None:
                said: Answer = {"signed": sorted(voices), "needs": quorum_of(gate)}
                return {"draft": draft.id, "status": "open", **said}
            end_draft(tx, draft, "live", "quorum")
            return {"draft": draft.id, "status": "live", "answer": carried_out(tx)}

        return act

    def _check_command(self, signed: SignedCommand) -> tuple[Operator, Mapping[str, Any], Action]:
        operator, body = self._check_order(signed)
        action = ACTIONS.get(signed.word.action)
        if action is None:
            raise InvalidRequestError(f"no action {printable(signed.word.action)!r}", code="action_unknown")
        _check_roles(operator, signed.word.action, action.roles)
        return operator, body, action

    def _check_order(self, signed: SignedCommand) -> tuple[Operator, Mapping[str, Any]]:
        """Whose command it is, in time and for the first time, and what it says."""
        word, now_ms = signed.word, self._gate.now_ms()
        if keccak256(signed.body) != word.payload:
            raise ApprovalError("the command's payload is not what was signed", code="payload_mismatch")
        address = recover_operator(word, signed.signature, gate=self._name)
        body = _object(strict_json(signed.body))
        if not now_ms < word.expires * 1000 <= now_ms + LIFETIME_MS_MAX:
            raise ApprovalError("the command has expired, or lives too long", code="command_expired")
        if word.nonce in self._gate.state.commands:
            raise ConflictError("the command was carried out already", code="command_repeated")
        first = self._bootstrap and not self._gate.state.operators and word.action == "operator.add"
        if first and parse_address(body.get("address"), where="address") == address:
            operator = Operator(str(body.get("name")), address, now_ms, roles=ROLES)
        else:
            operator = self._operator(address)
        return operator, body

    def _operator(self, address: Address) -> Operator:
        operator = self._gate.state.operator_at(address)
        if operator is None:
            raise ApprovalError(f"{checksum_address(address)} is not an operator of this gate", code="not_an_operator")
        return operator

    def _authors(self, grant: Grant) -> frozenset[str]:
        """Who gave the grant, and who drafted the policy it is under."""
        versions = self._gate.store.authority.versions(grant.id)
        return frozenset(version.operator for version in (*versions[:1], *versions[-1:]))

    def _is_approver(self, name: str) -> bool:
        operator = self._gate.state.operators.get(name)
        return operator is not None and operator.has(APPROVER)

    async def _refused(self, kind: Kind, error: WalletGateError, about: Mapping[str, Json]) -> None:
        def record(tx: Writer, _signatures: Sequence[Signature]) -> int:
            return tx.entry(kind, {"code": error.code, "detail": printable(error.detail), **about})

        await self._gate.commits.submit(Job(tuple, record))


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an operator's word leads to."""

    request: Request
    operator: Operator
    grant: Grant
    complete: bool = True
    judged: Judged | None = None
    payload: Payload | None = None
    authorization: Authorization | None = None
    nonce: int | None = None


def _check_word(word: ApprovalWord, request: Request, effects_digest: str, grant: Grant, now_ms: int) -> None:
    if word.request_digest != request.digest:
        raise ApprovalError("the approval is for another request", code="digest_mismatch")
    if to_hex(word.effects_digest) != effects_digest:
        raise ApprovalError("the approval is for other effects", code="effects_mismatch")
    if word.policy != request.policy or word.policy != grant.policy:
        raise ApprovalError("the approval is under another policy", code="policy_changed")
    if now_ms >= word.expires * 1000:
        raise ApprovalError("the approval has expired", code="approval_expired")


def _check_roles(operator: Operator, action: str, roles: Sequence[str]) -> None:
    if not operator.has(*roles):
        needed = " or ".join(roles)
        raise ApprovalError(f"{operator.name} is not {needed}: {action} needs that role", code="role_missing")


def _object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise InvalidRequestError("the command's payload is not an object", code="payload_invalid")
    return body

"""What operators may do, each act under a signature of their own.

Approvals and commands are verified here, in the same step that carries them out: who signed, that the word is about
exactly this, that it has not expired and was not used before. What is refused is recorded, too. Nothing in this
module is reachable with an agent's token.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from walletgate.audit.entry import Json, Kind
from walletgate.effects.request import strict_json
from walletgate.encoding import checksum_address, keccak256, parse_address, printable, to_hex
from walletgate.errors import ApprovalError, ConflictError, InvalidRequestError, WalletGateError
from walletgate.gate.ask import Session
from walletgate.gate.codec import decision_from_json, payload_from_json
from walletgate.gate.commands import LIFETIME_MS_MAX, ApprovalWord, CommandWord, recover_operator
from walletgate.gate.facts import with_pending
from walletgate.gate.gate import token_hash
from walletgate.gate.judging import Judged, judge_payload, used_without
from walletgate.gate.log_acts import redact, rotate_log_key
from walletgate.gate.record import deadline_ms, record_signature
from walletgate.gate.replay import expectation_of
from walletgate.gate.writer import Job
from walletgate.policy import Facts, load
from walletgate.signers import Authorization, Signature
from walletgate.store import Approval, Freeze, Grant, Operator, PolicyText, Request, Wallet, Writer
from walletgate.types import Address, ApprovalTerms, Outcome, Payload, Status, Transaction

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_SCOPE = re.compile(r"(all|(wallet|grant|agent):[A-Za-z0-9][A-Za-z0-9._-]{0,63})\Z")

Answer = dict[str, Any]
Act = Callable[[Writer], Answer]


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
        return await self._gate.facts(session, payload, policy)

    def _verdict(self, signed: SignedApproval, facts: Facts) -> _Verdict:
        state, word, now_ms = self._gate.state, signed.word, self._gate.now_ms()
        operator = self._operator(recover_operator(word, signed.signature, gate=self._name))
        request = state.requests.get(word.request)
        if request is None or request.status is not Status.AWAITING_APPROVAL:
            raise ConflictError("the request does not wait any more", code="request_moved")
        grant = state.grants[request.grant_id]
        stored = json.loads(request.decision)
        terms = decision_from_json(stored).approvals
        _check_word(word, request, stored["effects_digest"], grant, now_ms)
        if not any(operator.name in term.of or not term.of for term in terms) or operator.address == request.wallet:
            raise ApprovalError(f"{operator.name} may not decide on this request", code="not_entitled")
        earlier = self._gate.store.approvals(request.id)
        if any(approval.operator == operator.name for approval in earlier):
            raise ApprovalError(f"{operator.name} has decided on this request already", code="already_spoken")
        if not word.approve:
            state.claim(request)
            return _Verdict(request, operator, grant)
        valid = [a for a in earlier if a.approved and a.policy == grant.policy and a.expires_ms > now_ms]
        voices = {a.operator for a in valid if self._is_operator(a.operator)} | {operator.name}
        if not _satisfied(terms, voices):
            return _Verdict(request, operator, grant, complete=False)
        return self._judge_again(request, operator, grant, voices, facts)

    def _judge_again(
        self, request: Request, operator: Operator, grant: Grant, voices: set[str], facts: Facts
    ) -> _Verdict:
        """Everything as it is now, without the request's own reservation; then leave to sign, or the refusal."""
        gate, now_ms = self._gate, self._gate.now_ms()
        state = gate.state
        stored = json.loads(request.payload)
        payload = payload_from_json(stored["payload"])
        session = Session(state.check_live(grant.id, now_ms), request.chain_id)
        judged = judge_payload(
            payload,
            session=session,
            policy=state.policies[grant.policy],
            now_ms=now_ms,
            method=request.kind,
            expect=expectation_of(stored["expect"]),
            facts=with_pending(facts, state, but=request.id),
            used=used_without(state, state.book.pending(request.id), now_ms),
        )
        if state.frozen_by(grant) is not None:
            raise ApprovalError("the grant is frozen", code="frozen")
        needs = judged.decision.approvals if judged.decision.outcome is Outcome.REQUIRE_APPROVAL else ()
        if not _satisfied(needs, voices):
            raise ApprovalError("the policy now asks for more approvals", code="approval_insufficient")
        if judged.decision.outcome is Outcome.DENY:
            state.claim(request)
            return _Verdict(request, operator, grant, judged=judged, payload=payload)
        if session.grant.wallet not in state.wallets:
            raise ApprovalError("the wallet is gone", code="wallet_unknown")
        authorization, nonce = gate.authorize(request.id, session, payload)
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
        tx.add_approval(approval)
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
        return self._gate.state.keep(tx.move_request(request, expires_ms=ends_ms, **changes))

    # --- commands ------------------------------------------------------------------------------------

    async def command(self, signed: SignedCommand) -> Answer:
        """Carries out an operator's command once; one command after another, each seeing what the last has changed.

        Raises:
            ApprovalError: `signature_invalid`, `not_an_operator`, `command_expired`, `payload_mismatch`.
            ConflictError: `command_repeated`, or what the action refuses.
            InvalidRequestError: `action_unknown`, or what the action's payload lacks.
        """
        try:
            async with self._turn:
                return await self._command(signed)
        except WalletGateError as error:
            await self._refused(Kind.OPERATOR_REFUSED, error, {"action": printable(signed.word.action)})
            raise

    async def _command(self, signed: SignedCommand) -> Answer:
        acts: list[tuple[Operator, Act]] = []

        def decide() -> Sequence[Authorization]:
            operator, body = self._check_command(signed)
            prepare = _ACTIONS.get(signed.word.action)
            if prepare is None:
                raise InvalidRequestError(f"no action {printable(signed.word.action)!r}", code="action_unknown")
            acts.append((operator, prepare(self._gate, operator, body)))
            self._gate.state.commands.add(signed.word.nonce)
            return ()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Answer:
            operator, act = acts[0]
            tx.add_command(signed.word.nonce, operator.name, signed.word.expires * 1000)
            return act(tx)

        return await self._gate.commits.submit(Job(decide, record, lambda _: self._gate.state.load_authority()))

    def _check_command(self, signed: SignedCommand) -> tuple[Operator, Mapping[str, Any]]:
        word, now_ms = signed.word, self._gate.now_ms()
        if keccak256(signed.body) != word.payload:
            raise ApprovalError("the command's payload is not what was signed", code="payload_mismatch")
        address = recover_operator(word, signed.signature, gate=self._name)
        body = strict_json(signed.body)
        if not isinstance(body, dict):
            raise InvalidRequestError("the command's payload is not an object", code="payload_invalid")
        if not now_ms < word.expires * 1000 <= now_ms + LIFETIME_MS_MAX:
            raise ApprovalError("the command has expired, or lives too long", code="command_expired")
        if word.nonce in self._gate.state.commands:
            raise ConflictError("the command was carried out already", code="command_repeated")
        first = self._bootstrap and not self._gate.state.operators and word.action == "operator.add"
        if first and parse_address(body.get("address"), where="address") == address:
            return Operator(str(body.get("name")), address, now_ms), body
        return self._operator(address), body

    def _operator(self, address: Address) -> Operator:
        operator = self._gate.state.operator_at(address)
        if operator is None:
            raise ApprovalError(f"{checksum_address(address)} is not an operator of this gate", code="not_an_operator")
        return operator

    def _is_operator(self, name: str) -> bool:
        operator = self._gate.state.operators.get(name)
        return operator is not None and operator.removed_ms is None

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


def _satisfied(terms: Sequence[ApprovalTerms], voices: set[str]) -> bool:
    return all(len([v for v in voices if v in term.of or not term.of]) >= term.quorum for term in terms)


# --- actions: checked now, done in the transaction; what must hold for the very next signature holds from the check


def _freeze(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    scope, reason = _scope(body), printable(str(body.get("reason", "")), length_max=200)
    gate.state.freezes[scope] = Freeze(scope, operator.name, reason, gate.now_ms())

    def act(tx: Writer) -> Answer:
        tx.set_freeze(Freeze(scope, operator.name, reason, tx.now_ms))
        tx.entry(Kind.FROZEN, {"scope": scope, "operator": operator.name, "reason": reason})
        return {"scope": scope}

    return act


def _unfreeze(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    scope = _scope(body)
    if scope not in gate.state.freezes:
        raise ConflictError(f"{scope} is not frozen", code="not_frozen")

    def act(tx: Writer) -> Answer:
        tx.lift_freeze(scope)
        tx.entry(Kind.UNFROZEN, {"scope": scope, "operator": operator.name})
        return {"scope": scope}

    return act


def _add_operator(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    name, address = _name(body, "name"), parse_address(body.get("address"), where="address")
    if name in gate.state.operators:
        raise ConflictError(f"there was an operator {name} before; names are not used again", code="name_taken")
    if gate.state.operator_at(address) is not None or address in gate.state.wallets:
        raise ConflictError("this address is an operator's or a wallet's already", code="address_taken")

    def act(tx: Writer) -> Answer:
        tx.add_operator(Operator(name, address, tx.now_ms))
        tx.entry(Kind.OPERATOR_ADDED, {"name": name, "address": to_hex(address), "operator": operator.name})
        return {"name": name, "address": checksum_address(address)}

    return act


def _remove_operator(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    name = _name(body, "name")
    known = gate.state.operators.get(name)
    if known is None or known.removed_ms is not None:
        raise ConflictError(f"there is no operator {name}", code="operator_unknown")
    if sum(o.removed_ms is None for o in gate.state.operators.values()) == 1:
        raise ConflictError("the last operator cannot be removed", code="last_operator")

    def act(tx: Writer) -> Answer:
        tx.remove_operator(name)
        tx.entry(Kind.OPERATOR_REMOVED, {"name": name, "operator": operator.name})
        return {"name": name}

    return act


def _add_wallet(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    name, address = _name(body, "name"), parse_address(body.get("address"), where="address")
    keystore = str(body.get("keystore", ""))
    if any(wallet.name == name or wallet.address == address for wallet in gate.state.wallets.values()):
        raise ConflictError(f"there is a wallet {name} or with this address already", code="name_taken")
    if gate.state.operator_at(address) is not None:
        raise ConflictError("this address is an operator's", code="address_taken")

    def act(tx: Writer) -> Answer:
        tx.add_wallet(Wallet(name, address, keystore, tx.now_ms))
        tx.entry(Kind.WALLET_ADDED, {"name": name, "address": to_hex(address), "operator": operator.name})
        return {"name": name, "address": checksum_address(address)}

    return act


def _create_grant(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    agent, wallet_name = _name(body, "agent"), _name(body, "wallet")
    wallet = next((w for w in gate.state.wallets.values() if w.name == wallet_name), None)
    if wallet is None:
        raise InvalidRequestError(f"there is no wallet {wallet_name}", code="wallet_unknown")
    policy = load(str(body.get("policy", "")), source="policy")
    team = None if body.get("team") is None else _name(body, "team")
    lifetime_s = body.get("lifetime_s")
    if lifetime_s is not None and not (isinstance(lifetime_s, int) and 0 < lifetime_s <= 10**9):
        raise InvalidRequestError("lifetime_s must be a positive number of seconds", code="payload_invalid")
    token, grant_id = f"wg_grant_{secrets.token_urlsafe(32)}", f"grant_{secrets.token_hex(6)}"

    def act(tx: Writer) -> Answer:
        expires_ms = None if lifetime_s is None else tx.now_ms + lifetime_s * 1000
        tx.add_policy(PolicyText(policy.hash, policy.name, policy.text, tx.now_ms))
        tx.add_grant(
            Grant(grant_id, agent, team, wallet.address, policy.hash, token_hash(token), tx.now_ms, expires_ms)
        )
        tx.entry(
            Kind.GRANT_CREATED,
            {
                "grant": grant_id, "agent": agent, "wallet": to_hex(wallet.address), "policy": to_hex(policy.hash),
                "operator": operator.name, "expires_ms": expires_ms,
            },
        )  # fmt: skip
        return {"grant": grant_id, "agent": agent, "token": token, "address": checksum_address(wallet.address)}

    return act


def _revoke_grant(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    grant = _grant(gate, body)
    gate.state.put_grant(replace(grant, revoked_ms=gate.now_ms()))

    def act(tx: Writer) -> Answer:
        tx.revoke_grant(grant.id)
        tx.entry(Kind.GRANT_REVOKED, {"grant": grant.id, "agent": grant.agent, "operator": operator.name})
        _end_all_waiting(gate, tx, grant, "grant_revoked")
        return {"grant": grant.id}

    return act


def _apply_policy(gate: Gate, operator: Operator, body: Mapping[str, Any]) -> Act:
    grant = _grant(gate, body)
    policy = load(str(body.get("policy", "")), source="policy")

    def act(tx: Writer) -> Answer:
        tx.add_policy(PolicyText(policy.hash, policy.name, policy.text, tx.now_ms))
        tx.set_grant_policy(grant.id, policy.hash)
        tx.entry(
            Kind.POLICY_CHANGED,
            {
                "grant": grant.id, "before": to_hex(grant.policy), "after": to_hex(policy.hash),
                "operator": operator.name,
            },
        )  # fmt: skip
        if policy.hash != grant.policy:
            _end_all_waiting(gate, tx, grant, "policy_changed")
        return {"grant": grant.id, "policy": to_hex(policy.hash)}

    return act


def _end_all_waiting(gate: Gate, tx: Writer, grant: Grant, why: str) -> None:
    """Requests that wait under the old authority end with it; their agents may ask again."""
    for request in list(gate.state.requests.values()):
        waits = request.status is Status.AWAITING_APPROVAL and request.id not in gate.state.claimed
        if request.grant_id == grant.id and waits:
            gate.end_waiting(tx, request, Status.EXPIRED, Kind.REQUEST_EXPIRED, {"why": why})


_ACTIONS: Mapping[str, Callable[[Gate, Operator, Mapping[str, Any]], Act]] = {
    "freeze": _freeze,
    "unfreeze": _unfreeze,
    "operator.add": _add_operator,
    "operator.remove": _remove_operator,
    "wallet.add": _add_wallet,
    "grant.create": _create_grant,
    "grant.revoke": _revoke_grant,
    "policy.apply": _apply_policy,
    "request.redact": redact,
    "log.rotate_key": rotate_log_key,
}


def _name(body: Mapping[str, Any], key: str) -> str:
    name = body.get(key)
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidRequestError(f"{key} must be 1 to 64 letters, digits, dots, dashes", code="name_invalid")
    return name


def _scope(body: Mapping[str, Any]) -> str:
    scope = body.get("scope")
    if not isinstance(scope, str) or not _SCOPE.match(scope):
        raise InvalidRequestError("scope is all, wallet:NAME, grant:ID or agent:NAME", code="scope_invalid")
    return scope


def _grant(gate: Gate, body: Mapping[str, Any]) -> Grant:
    """A grant in force, by its id or, if there is only one, by its agent's name."""
    wanted = _name(body, "grant")
    found = [g for g in gate.state.grants.values() if wanted in (g.id, g.agent) and g.revoked_ms is None]
    if len(found) != 1:
        problem = "there is no grant" if not found else "more than one grant is called"
        raise InvalidRequestError(f"{problem} {wanted}", code="grant_unknown")
    return found[0]

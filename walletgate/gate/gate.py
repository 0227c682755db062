"""The gate: the one path of a request, whatever surface it came in by.

    authenticate -> same id seen? return that -> fill -> decode -> judge -> reserve -> (approval)
      -> judge again, sign, store the signed bytes -> broadcast the stored bytes -> watch -> settle

Everything that changes state is a `Job` in the group commit: decided on memory, signed, recorded with its audit
entries, committed, and only then visible to anybody. Nothing is asked of a node between judging and signing.
What a crash interrupts is taken up again by `start`: signed bytes are in their rows and are broadcast again,
waiting requests wait on, everything else never happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib import metadata

from walletgate.audit.entry import Json, Kind
from walletgate.chain import Chain, NodeRefusedError
from walletgate.encoding import keccak256, printable
from walletgate.errors import (
    AuthenticationError,
    ConflictError,
    GatePausedError,
    InvalidRequestError,
    StoreError,
    WalletGateError,
)  # fmt: skip
from walletgate.gate.ask import Ask, Session
from walletgate.gate.asking import Asking
from walletgate.gate.broadcast import Broadcaster
from walletgate.gate.facts import balances_of, gather, with_pending
from walletgate.gate.judging import (
    Judged,
    ask_nonce,
    chains_of,
    check_session,
    decode_payload,
    denied,
    fill,
    judge_payload,
    used_without,
)  # fmt: skip
from walletgate.gate.lifecycle import FINAL, check_move
from walletgate.gate.node_facts import NodeFacts
from walletgate.gate.preimages import preimage_of
from walletgate.gate.prices import PriceSource
from walletgate.gate.record import Decided, record_first
from walletgate.gate.state import State
from walletgate.gate.writer import GroupCommit, Job
from walletgate.policy import Facts, LimitStatus, Need, Policy, Scope, headroom
from walletgate.signers import Authorization, Seal, Signature, Signer
from walletgate.store import Request, Store, Writer
from walletgate.types import (
    Address,
    Allowance,
    Effect,
    Hash32,
    Outcome,
    Payload,
    Reason,
    Status,
    Transaction,
    TransactionRequest,
)  # fmt: skip

VERSION = metadata.version("walletgate")

PENDING_MAX = 200
"""Requests of one grant that may wait for operators at the same time."""

GAS_MARGIN_PERCENT = 25
STRANGERS_PER_S_MAX = 20
CLOCK_TOLERANCE_MS = 60_000
"""How far the system's clock may be behind the store at start; within it the gate's own clock stands still."""

BROADCAST_WAIT_S = 8.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set. `confirmations` is by chain id, with a default for the rest."""

    confirmations: Mapping[int, int] = field(default_factory=dict)
    confirmations_default: int = 1
    pending_max: int = PENDING_MAX
    poll_s: float = 1.0


class Gate:
    """One gate over one store."""

    def __init__(
        self, *, store: Store, signer: Signer, seal: Seal, chains: Mapping[int, Chain], clock_ms: Callable[[], int],
        settings: Settings | None = None, hook: Callable[[str], None] = lambda _point: None,
    ) -> None:  # fmt: skip
        """`hook` is told the name of each point at which a crash would be interesting."""
        self.store = store
        self.signer = signer
        self.seal = seal
        self.chains = chains
        self.settings = settings or Settings()
        self.hook = hook
        self._clock_ms = clock_ms
        self._last_ms = store.last_time_ms()
        self.state = State(store)
        self.commits = GroupCommit(store, signer, now_ms=self.now_ms, reload=self.state.load, hook=hook)
        self.broadcaster = Broadcaster(self)
        self.asking = Asking(store)
        self.prices = PriceSource(chains, self.now_ms)
        self.node_facts = NodeFacts(chains, self.state, self.now_ms)
        self._inflight: dict[tuple[str, str], asyncio.Future[Request]] = {}
        self._watchers: dict[str, asyncio.Event] = {}
        self._writer: asyncio.Task[None] | None = None
        self._serving = False
        self._folded = 0
        self._strangers = (0, 0)

    def now_ms(self) -> int:
        """Unix milliseconds that never go back."""
        self._last_ms = max(self._last_ms, self._clock_ms())
        return self._last_ms

    # --- life ----------------------------------------------------------------------------------------

    async def start(self, *, serving: bool = True) -> asyncio.Task[None]:
        """Starts the writer, takes up what a crash interrupted; the returned task ends only when the gate is broken.

        A gate that is opened for one operator's command (`serving` false) neither broadcasts nor says it started.

        Raises:
            StoreError: `clock_behind`, the system's clock is earlier than the store's last change.
        """
        behind_ms = self._last_ms - self._clock_ms()
        if behind_ms > CLOCK_TOLERANCE_MS:
            raise StoreError(
                f"the clock is {behind_ms // 1000} s behind the store's last change; windows would be wrong",
                code="clock_behind",
            )
        self._writer = asyncio.create_task(self.commits.run(), name="group-commit")
        self._serving = serving
        if not serving:
            return self._writer
        await self._enter(Kind.GATE_STARTED, {"version": VERSION, "open_requests": len(self.state.requests)})
        for request in self.state.requests.values():
            if request.raw is not None and request.status in (Status.SIGNED, Status.BROADCAST):
                self.broadcaster.enqueue(request)
        return self._writer

    async def close(self) -> None:
        """Stops in order. What is under way is found again at the next start."""
        await self.broadcaster.close()
        if self._writer is not None:
            if self._serving:
                with contextlib.suppress(WalletGateError):
                    await self._enter(Kind.GATE_STOPPED, {})
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer

    # --- agents --------------------------------------------------------------------------------------

    def authenticate(self, token: str) -> str:
        """The id of the grant that `token` belongs to, in force or not.

        Raises:
            AuthenticationError: `token_unknown`.
        """
        grant_id = self.state.grants_by_token.get(token_hash(token))
        if grant_id is None:
            raise AuthenticationError("the grant token is not known", code="token_unknown")
        return grant_id

    def session(self, grant_id: str, chain_id: int | None = None) -> Session:
        """A session of a grant that is in force, on `chain_id` or the policy's first chain that the gate serves.

        Raises:
            AuthenticationError: `grant_revoked`, `grant_expired`.
            InvalidRequestError: `wrong_chain`, when the gate serves no such chain.
        """
        grant = self.state.check_live(grant_id, self.now_ms())
        policy = self.state.policies[grant.policy]
        served = [chain for chain in self.chains if chain in policy.chain_ids] or list(self.chains)
        chosen = served[0] if chain_id is None else chain_id
        if chosen not in self.chains:
            raise InvalidRequestError(f"this gate does not serve chain {chosen}", code="wrong_chain")
        return Session(grant, chosen)

    async def submit(self, session: Session, ask: Ask) -> Request:
        """Takes a request to its first resting state and returns it.

        The same id with the same body returns what became of the first; a transaction returns when a node has
        answered for it, or after `BROADCAST_WAIT_S`.

        Raises:
            ConflictError: `id_reused` with another body.
            InvalidRequestError: not for this wallet or chain.
            ChainError: the node was needed and failed; nothing was reserved.
        """
        key = (session.grant.id, ask.client_id)
        seen = await self._seen(key, ask)
        if seen is not None:
            return seen
        future = self._inflight[key] = asyncio.get_running_loop().create_future()
        try:
            request = await self._submit(session, ask)
        except BaseException as error:
            failure = error if isinstance(error, WalletGateError) else GatePausedError("interrupted", code="busy")
            future.set_exception(failure)
            future.exception()
            raise
        else:
            future.set_result(request)
        finally:
            del self._inflight[key]
        if request.status is Status.SIGNED and request.raw is not None and not ask.release_raw:
            await self.broadcaster.first_answer(request.id, BROADCAST_WAIT_S)
            return self.find(request.id) or request
        return request

    async def preview(self, session: Session, ask: Ask) -> tuple[Judged, Policy]:
        """The decision that `submit` would take now, without booking, signing or recording anything."""
        check_session(ask.asked, session)
        policy = self.state.policies[session.grant.policy]
        payload, early = await self._complete(session, ask, policy)
        facts = await self.facts(session, payload, policy)
        return early or self._judge(session, ask, payload, policy, facts), policy

    async def refuse(self, session: Session | None, error: WalletGateError, *, surface: str, method: str = "") -> None:
        """Records that something was turned away before it became a request.

        Whoever has no grant cannot fill the log: of strangers `STRANGERS_PER_S_MAX` a second are entries of their own,
        and the next entry says how many more there were, or how many a full queue kept out.
        """
        second = self.now_ms() // 1000
        if session is None and self._strangers[0] == second and self._strangers[1] >= STRANGERS_PER_S_MAX:
            self._folded += 1
            return
        if session is None:
            self._strangers = (second, self._strangers[1] + 1 if self._strangers[0] == second else 1)
        body: dict[str, Json] = {"surface": surface, "code": error.code, "detail": printable(error.detail)}
        if method:
            body["method"] = printable(method, length_max=64)
        folded, self._folded = self._folded, 0
        if folded:
            body["folded"] = folded
        who: dict[str, Json] = {}
        if session is not None:
            who = {"grant": session.grant.id, "agent": session.grant.agent}
        try:
            await self._enter(Kind.AGENT_REFUSED if session is None else Kind.REQUEST_DENIED, {**body, **who})
        except GatePausedError:
            self._folded += 1 + folded

    async def wait(self, request_id: str, wait_s: float, *, final: bool = False) -> Request:
        """The request once it no longer waits for operators, or is final, or after `wait_s`."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            request = self.find(request_id)
            if request is None:
                raise InvalidRequestError("there is no such request", code="request_unknown")
            resting = request.status in FINAL if final else request.status is not Status.AWAITING_APPROVAL
            left = deadline - asyncio.get_running_loop().time()
            if resting or left <= 0:
                return request
            event = self._watchers.setdefault(request_id, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), left)

    async def withdraw(self, session: Session, client_id: str) -> Request:
        """Takes back a request that still waits for operators.

        Raises:
            InvalidRequestError: `request_unknown`.
            ConflictError: `request_moved`, it does not wait any more.
        """
        request = self.of_client(session.grant.id, client_id)

        def decide() -> Sequence[Authorization]:
            self.state.claim(request)
            return ()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            return self.end_waiting(tx, self._current(request), Status.WITHDRAWN, Kind.REQUEST_WITHDRAWN, {})

        return await self.commits.submit(Job(decide, record, self.noticed))

    def of_client(self, grant_id: str, client_id: str) -> Request:
        """A request by its agent's id.

        Raises:
            InvalidRequestError: `request_unknown`.
        """
        found = self.store.request_of_client(grant_id, client_id)
        if found is None:
            raise InvalidRequestError("there is no such request", code="request_unknown")
        return self.state.requests.get(found.id, found)

    def find(self, request_id: str) -> Request | None:
        """A request by the gate's id."""
        return self.state.requests.get(request_id) or self.store.request(request_id)

    def find_raw(self, raw: bytes) -> Request | None:
        """The request whose signed transaction is exactly `raw`."""
        found = self.store.request_of_hash(keccak256(raw))
        return found if found is not None and found.raw == raw else None

    async def limits(self, session: Session) -> tuple[LimitStatus, ...]:
        """What is left of each limit of the session's grant; shares are of what its wallet holds now."""
        grant, policy = session.grant, self.state.policies[session.grant.policy]
        chain = self.chains.get(session.chain_id)
        held = await balances_of(policy, grant.wallet, chain) if chain is not None else {}
        scope = Scope(grant.id, grant.team, grant.wallet, session.chain_id)
        return headroom(policy, scope, used_without(self.state, (), self.now_ms()), balances=held)

    def next_nonce(self, wallet: Address, chain_id: int) -> int | None:
        """The nonce the gate will use next, None before the first use of a wallet on a chain."""
        return self.state.nonces.get((wallet, chain_id))

    # --- the path ------------------------------------------------------------------------------------

    async def _seen(self, key: tuple[str, str], ask: Ask) -> Request | None:
        inflight = self._inflight.get(key)
        found = await asyncio.shield(inflight) if inflight is not None else self.store.request_of_client(*key)
        if found is None:
            return None
        if found.body_hash != ask.body_hash:
            raise ConflictError("this id was used for another request", code="id_reused")
        return self.find(found.id)

    async def _submit(self, session: Session, ask: Ask) -> Request:
        check_session(ask.asked, session)
        policy = self.state.policies[session.grant.policy]
        payload, early = await self._complete(session, ask, policy)
        if early is None and isinstance(payload, Transaction):
            await self.node_facts.know_nonce(session.grant.wallet, session.chain_id)
        facts = await self.facts(session, payload, policy)
        request_id = f"req_{secrets.token_hex(10)}"
        outcome: list[Decided] = []

        def decide() -> Sequence[Authorization]:
            outcome.append(self._decide(session, ask, payload, request_id, early or facts))
            authorization = outcome[0].authorization
            return () if authorization is None else (authorization,)

        def record(tx: Writer, signatures: Sequence[Signature]) -> Request:
            return self._record(tx, session, ask, payload, request_id, outcome[0], signatures)

        return await self.commits.submit(Job(decide, record, self.noticed))

    async def _complete(self, session: Session, ask: Ask, policy: Policy) -> tuple[Payload, Judged | None]:
        """The payload with everything filled in; or, when it is refused already, with the refusal."""
        if not isinstance(ask.asked, TransactionRequest):
            return ask.asked, None
        quote = await self.node_facts.fees(session.chain_id, ask.asked)
        if ask.asked.gas is not None:
            return fill(ask.asked, session, quote, ask.asked.gas), None
        draft = fill(ask.asked, session, quote, 0)
        judged = self._judge(session, ask, draft, policy, await self.facts(session, draft, policy))
        if judged.decision.outcome is Outcome.DENY:
            return draft, judged
        try:
            gas = await self.chains[session.chain_id].estimate_gas(draft)
        except NodeRefusedError as refusal:
            reason = Reason("would_revert", f"the call would fail: {printable(refusal.message, length_max=200)}")
            return draft, denied(judged, reason)
        return replace(draft, gas=gas + gas * GAS_MARGIN_PERCENT // 100), None

    async def facts(self, session: Session, payload: Payload, policy: Policy) -> Facts:
        """What the policy needs to know beside the request itself."""
        effects: tuple[Effect, ...] = ()
        if Need.ALLOWANCES in policy.needs:
            effects = decode_payload(payload, session=session, policy=policy, now_ms=self.now_ms())
        return await gather(
            policy, payload, effects, wallet=session.grant.wallet, chain=self.chains[session.chain_id],
            store=self.store, prices=self.prices,
        )  # fmt: skip

    def _judge(self, session: Session, ask: Ask, payload: Payload, policy: Policy, facts: Facts) -> Judged:
        now_ms = self.now_ms()
        return judge_payload(
            payload,
            session=session,
            policy=policy,
            now_ms=now_ms,
            method=ask.method,
            expect=ask.expect,
            facts=with_pending(facts, self.state),
            used=used_without(self.state, (), now_ms),
        )

    def _decide(self, session: Session, ask: Ask, payload: Payload, request_id: str, known: Judged | Facts) -> Decided:
        """Judges on the memory of this very moment, and books what goes ahead."""
        grant = self.state.check_live(session.grant.id, self.now_ms())
        policy = self.state.policies[grant.policy]
        judged = (
            known
            if isinstance(known, Judged)
            else self._judge(replace(session, grant=grant), ask, payload, policy, known)
        )
        reasons = self._gate_reasons(session, ask)
        if reasons:
            judged = denied(judged, *reasons)
        if judged.decision.outcome is Outcome.REQUIRE_APPROVAL:
            judged = denied(judged, *self.asking.reasons(self, grant, policy, judged.effects))
        decision = judged.decision
        if decision.outcome is Outcome.DENY:
            return Decided(judged, policy, None, None)
        authorization, nonce = None, None
        if decision.outcome is Outcome.ALLOW:
            authorization, nonce = self.authorize(request_id, session, payload)
        self.state.allowances[request_id] = tuple(e for e in judged.effects if isinstance(e, Allowance))
        self.state.book.reserve(
            request_id, decision.bookings, grant=grant.id, group=grant.team, wallet=grant.wallet, now_ms=self.now_ms()
        )
        return Decided(judged, policy, authorization, nonce)

    def authorize(self, request_id: str, session: Session, payload: Payload) -> tuple[Authorization, int | None]:
        """The one place where leave to sign is made, after a judgement that allows it. Takes the nonce it needs."""
        key = (session.grant.wallet, session.chain_id)
        nonce = self.state.nonces[key] if isinstance(payload, Transaction) else None
        kind, preimage = preimage_of(payload, nonce)
        authorization = Authorization(
            self.seal, request_id, session.grant.wallet, kind, preimage, Hash32(keccak256(preimage))
        )
        if nonce is not None:
            self.state.nonces[key] = nonce + 1
        return authorization, nonce

    def _gate_reasons(self, session: Session, ask: Ask) -> list[Reason]:
        """What the gate itself holds against a request, whatever the policy says."""
        reasons = []
        freeze = self.state.frozen_by(session.grant, *chains_of(ask.asked, session.chain_id))
        if freeze is not None:
            reasons.append(Reason("frozen", f"{freeze.scope} is frozen: {printable(freeze.reason)}"))
        wanted, expected = ask_nonce(ask), self.next_nonce(session.grant.wallet, session.chain_id)
        if wanted is not None and expected is not None and wanted != expected:
            reasons.append(
                Reason(
                    "nonce_not_next", f"nonce {wanted} is not the next one, {expected}", None, wanted, expected, "nonce"
                )
            )
        waiting = len(self.state.waiting.get(session.grant.id, ()))
        if waiting >= self.settings.pending_max:
            reasons.append(
                Reason("approval_queue_full", "too many requests wait for operators", None, waiting,
                       self.settings.pending_max, "requests")
            )  # fmt: skip
        return reasons

    def _record(
        self, tx: Writer, session: Session, ask: Ask, payload: Payload, request_id: str, outcome: Decided,
        signatures: Sequence[Signature],
    ) -> Request:  # fmt: skip
        request = record_first(tx, session, ask, payload, request_id, outcome, signatures)
        tx.add_movements(self.state.book.pending(request_id))
        self.asking.record(self, tx, request, outcome.judged.effects)
        return self.state.keep(request)

    # --- shared with operators and settlement ------------------------------------------------------------

    def end_waiting(
        self, tx: Writer, request: Request, status: Status, kind: Kind, body: Mapping[str, Json]
    ) -> Request:
        """Ends a waiting request without a signature and gives back what it reserved."""
        check_move(request.status, status)
        tx.resolve_movements(self.state.book.void(request.id, now_ms=tx.now_ms) if self._has_open(request) else ())
        tx.entry(kind, {"request": request.id, "grant": request.grant_id, **body})
        asyncio.get_running_loop().call_soon(self._wake, request.id)
        return self.state.keep(tx.move_request(request, status=status))

    def _has_open(self, request: Request) -> bool:
        return bool(self.state.book.pending(request.id))

    def _current(self, request: Request) -> Request:
        return self.state.requests.get(request.id, request)

    def noticed(self, request: Request) -> None:
        """After a commit: waiters and the broadcaster learn of the change."""
        self.state.claimed.discard(request.id)
        self._wake(request.id)
        if request.status is Status.SIGNED and request.raw is not None:
            self.broadcaster.enqueue(request)

    def _wake(self, request_id: str) -> None:
        event = self._watchers.pop(request_id, None)
        if event is not None:
            event.set()

    async def _enter(self, kind: Kind, body: Mapping[str, Json]) -> None:
        """Appends one entry that changes nothing else."""

        def record(tx: Writer, _signatures: Sequence[Signature]) -> int:
            return tx.entry(kind, body)

        await self.commits.submit(Job(tuple, record))


def token_hash(token: str) -> Hash32:
    """What the gate keeps of a grant token: its SHA-256."""
    return Hash32(sha256(token.encode()).digest())

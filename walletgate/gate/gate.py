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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata

from walletgate.audit.entry import Json, Kind
from walletgate.chain import Chain
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
from walletgate.gate.deciding import Deciding
from walletgate.gate.facts import balances_of
from walletgate.gate.judging import (
    Judged,
    check_session,
    used_without,
)  # fmt: skip
from walletgate.gate.lifecycle import FINAL, check_move
from walletgate.gate.meter import Marks, Meter
from walletgate.gate.node_facts import NodeFacts
from walletgate.gate.prices import PriceSource
from walletgate.gate.record import Decided
from walletgate.gate.sharing import Sharing
from walletgate.gate.state import State
from walletgate.gate.writer import GroupCommit, Job
from walletgate.policy import LimitStatus, Policy, Scope, headroom
from walletgate.signers import Authorization, Seal, Signature, Signer
from walletgate.store import News, Request, Store, Writer
from walletgate.types import (
    Address,
    Hash32,
    Status,
    Transaction,
)  # fmt: skip

VERSION = metadata.version("walletgate")

PENDING_MAX = 200
"""Requests of one grant that may wait for operators at the same time."""

STRANGERS_PER_S_MAX = 20
CLOCK_TOLERANCE_MS = 60_000
"""How far the system's clock may be behind the store at start; within it the gate's own clock stands still."""

BROADCAST_WAIT_S = 8.0

UNDER_WAY_MAX = 1024
"""Requests of one grant between their arrival and their commit; a quarter of what the writer queues for all."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set. `confirmations` and `finality` are blocks by chain id; `stuck_ms` milliseconds."""

    confirmations: Mapping[int, int] = field(default_factory=dict)
    confirmations_default: int = 1
    finality: Mapping[int, int] = field(default_factory=dict)
    pending_max: int = PENDING_MAX
    poll_s: float = 1.0
    stuck_ms: int = 300_000

    def depth_of(self, chain_id: int) -> int:
        """Blocks until a transaction counts as settled, 1 is the block itself."""
        return self.confirmations.get(chain_id, self.confirmations_default)

    def finality_of(self, chain_id: int) -> int:
        """Blocks until what is settled is not looked at any more."""
        return max(self.finality.get(chain_id, 0), self.depth_of(chain_id))


class Gate:
    """One gate over one store."""

    def __init__(
        self, *, store: Store, signer: Signer, seal: Seal, chains: Mapping[int, Chain], clock_ms: Callable[[], int],
        settings: Settings | None = None, hook: Callable[[str], None] = lambda _point: None,
        meter: Meter | None = None,
    ) -> None:  # fmt: skip
        """`hook` is told the name of each point at which a crash would be interesting."""
        self.store = store
        self.signer = signer
        self.seal = seal
        self.chains = chains
        self.settings = settings or Settings()
        self.hook = hook
        self.meter = meter or Meter()
        self._clock_ms = clock_ms
        self._last_ms = store.last_time_ms()
        self.state = State(store)
        store.on_news = self._learn
        self.commits = GroupCommit(
            store, signer, now_ms=self.now_ms, reload=self._reload, saved=self.state.saved, hook=hook,
            meter=self.meter,
        )  # fmt: skip
        self.sharing = Sharing(store, self.commits, self.now_ms)
        self.broadcaster = Broadcaster(self)
        self.asking = Asking(store)
        self.prices = PriceSource(chains, self.now_ms)
        self.node_facts = NodeFacts(chains, self.state, self.now_ms)
        self.deciding = Deciding(self)
        self.signable: frozenset[Address] = frozenset()
        self._inflight: dict[tuple[str, str], asyncio.Future[Request]] = {}
        self._under_way: Counter[str] = Counter()
        self._watchers: dict[str, asyncio.Event] = {}
        self._writer: asyncio.Task[None] | None = None
        self._serving = False
        self._folded = 0
        self._strangers = (0, 0)

    def now_ms(self) -> int:
        """Unix milliseconds that never go back."""
        self._last_ms = max(self._last_ms, self._clock_ms())
        return self._last_ms

    def _reload(self) -> None:
        """Reads everything again: memory may say what was never committed."""
        self.store.refresh()
        self.state.load()
        self.asking.forget()

    def _learn(self, news: News) -> None:
        """Takes in what other gates have committed, and wakes who waits for it."""
        self._last_ms = max(self._last_ms, news.time_ms)
        self.state.absorb(news)
        if news.requests:
            self.asking.forget()
        for request in news.requests:
            self._wake(request.id)

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
        self.signable = await self.signer.wallets()
        self._writer = asyncio.create_task(self.commits.run(), name="group-commit")
        self._serving = serving
        if not serving:
            return self._writer
        body: dict[str, Json] = {
            "version": VERSION,
            "open_requests": len(self.state.requests),
            "gate": self.sharing.instance,
        }
        await self._enter(Kind.GATE_STARTED, body)
        self.sharing.start()
        for request in self.state.requests.values():
            if request.raw is not None and request.status in (Status.SIGNED, Status.BROADCAST):
                self.broadcaster.enqueue(request)
        return self._writer

    async def close(self) -> None:
        """Stops in order. What is under way is found again at the next start."""
        await self.broadcaster.close()
        await self.sharing.close()
        if self._writer is not None:
            if self._serving:
                with contextlib.suppress(WalletGateError):
                    await self._enter(Kind.GATE_STOPPED, {"gate": self.sharing.instance})
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
            GatePausedError: `busy`, too many of this grant's are under way, or too many of all.
            InvalidRequestError: not for this wallet or chain.
            ChainError: the node was needed and failed; nothing was reserved.
        """
        key = (session.grant.id, ask.client_id)
        seen = await self._seen(key, ask)
        if seen is not None:
            return seen
        if self._under_way[session.grant.id] >= UNDER_WAY_MAX:
            raise GatePausedError(
                "too many requests of this grant are under way; try again", code="busy", data={"retry_after_s": 1}
            )
        self._under_way[session.grant.id] += 1
        future = self._inflight[key] = asyncio.get_running_loop().create_future()
        marks = Marks(self.meter.watcher is not None)
        try:
            request = await self._submit(session, ask, marks)
        except BaseException as error:
            failure = error if isinstance(error, WalletGateError) else GatePausedError("interrupted", code="busy")
            future.set_exception(failure)
            future.exception()
            raise
        else:
            future.set_result(request)
        finally:
            del self._inflight[key]
            self._under_way[session.grant.id] -= 1
        if request.status is Status.SIGNED and request.raw is not None and not ask.release_raw:
            await self.broadcaster.first_answer(request.id, BROADCAST_WAIT_S)
            marks.part("broadcast")
            request = self.find(request.id) or request
        if self.meter.watcher is not None and marks.found:
            self.meter.watcher(ask, request, tuple(marks.found))
        return request

    async def preview(self, session: Session, ask: Ask) -> tuple[Judged, Policy]:
        """The decision that `submit` would take now, without booking, signing or recording anything."""
        check_session(ask.asked, session)
        policy = self.state.policies[session.grant.policy]
        payload, early = await self.deciding.complete(session, ask, policy)
        facts = await self.deciding.facts(session, payload, policy)
        return early or self.deciding.judge(session, ask, payload, policy, facts), policy

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
        """A request by the gate's id, with what the commit under way says of it."""
        state = self.state
        return state.requests.get(request_id) or state.ended.get(request_id) or self.store.request(request_id)

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
        return headroom(policy, scope, used_without(self.state, None, self.now_ms()), balances=held)

    def next_nonce(self, wallet: Address, chain_id: int) -> int | None:
        """The nonce the gate will use next, None before the first use of a wallet on a chain."""
        return self.state.nonces.get((wallet, chain_id))

    # --- the path ------------------------------------------------------------------------------------

    async def _seen(self, key: tuple[str, str], ask: Ask) -> Request | None:
        inflight = self._inflight.get(key)
        found = await asyncio.shield(inflight) if inflight is not None else self.store.request_of_client(*key)
        return None if found is None else self._same(found, ask)

    def _same(self, found: Request, ask: Ask) -> Request:
        if found.body_hash != ask.body_hash:
            raise ConflictError("this id was used for another request", code="id_reused")
        return self.find(found.id) or found

    async def _submit(self, session: Session, ask: Ask, marks: Marks) -> Request:
        check_session(ask.asked, session)
        if session.grant.wallet not in self.signable:
            self.signable = await self.signer.wallets()
        policy = self.state.policies[session.grant.policy]
        payload, early = await self.deciding.complete(session, ask, policy)
        if early is None and isinstance(payload, Transaction):
            await self.node_facts.know_nonce(session.grant.wallet, session.chain_id)
        facts = await self.deciding.facts(session, payload, policy)
        marks.part("prepare")
        request_id = self.deciding.new_id()
        outcome: list[Decided] = []

        def decide() -> Sequence[Authorization]:
            if (session.grant.id, ask.client_id) in self.state.elsewhere:
                raise ConflictError("another gate has taken this id", code="taken_elsewhere")
            outcome.append(self.deciding.decide(session, ask, payload, request_id, early or facts))
            marks.part("decide")
            authorization = outcome[0].authorization
            return () if authorization is None else (authorization,)

        def record(tx: Writer, signatures: Sequence[Signature]) -> Request:
            return self.deciding.record(tx, session, ask, payload, request_id, outcome[0], signatures)

        try:
            request = await self.commits.submit(Job(decide, record, self.noticed))
        except ConflictError as error:
            found = self.store.request_of_client(session.grant.id, ask.client_id)
            if error.code != "taken_elsewhere" or found is None:
                raise
            return self._same(found, ask)
        marks.part("commit")
        return request

    # --- shared with operators and settlement ------------------------------------------------------------

    def end_waiting(
        self, tx: Writer, request: Request, status: Status, kind: Kind, body: Mapping[str, Json]
    ) -> Request:
        """Ends a waiting request without a signature and gives back what it reserved."""
        check_move(request.status, status)
        tx.resolve_movements(self.state.book.void(request.id, now_ms=tx.now_ms) if self._has_open(request) else ())
        tx.entry(kind, {"request": request.id, "grant": request.grant_id, **body})
        asyncio.get_running_loop().call_soon(self._wake, request.id)
        return self.state.keep(tx.move_request(request, status=status, moving=False))

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

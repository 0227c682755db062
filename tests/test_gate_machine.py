"""The whole gate under Hypothesis: agents, operators, time, a chain that misbehaves, and death between any two effects.

The same machine runs on both engines. After every step the promises are checked from outside: by what the chain got
and mined, by the log, and by the store.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.factories import ACME, ALICE, BOB, ORIGIN, Bench, Clock, make_gate, payment
from tests.fakes import GWEI, FakeChain
from tests.postgres import new_database
from walletgate.audit.verify import verify_entries
from walletgate.encoding import keccak256, to_hex
from walletgate.errors import WalletGateError
from walletgate.gate import Settings
from walletgate.types import Status

LIMIT = 100 * 10**6
DAY_MS = 24 * 3600 * 1000
SETTINGS = Settings(confirmations_default=2, finality={31337: 6})
POINTS = ["before_commit", "after_commit", "before_broadcast", "after_broadcast"]
AMOUNTS = st.sampled_from([1, 7, 19, 20, 20.000001, 33, 50, 51])


class Killed(BaseException):
    """The process dies here."""


class GateMachine(RuleBasedStateMachine):
    """One gate's life. Requests get ids from a small set, so that retries with the same id happen a lot."""

    def place(self) -> str | None:
        return None

    def __init__(self) -> None:
        super().__init__()
        self.database = self.place()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.chain = FakeChain(mine_at_once=False, clock_ms=self.clock)
        self.die_at: str | None = None
        self.stack: AsyncExitStack | None = None
        self.bench: Bench
        self.bodies: dict[str, float] = {}
        self.signed: dict[str, bytes] = {}
        self.run(self._open())

    def teardown(self) -> None:
        self.run(self._close())
        self.loop.close()
        self.folder.cleanup()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def hook(self, point: str) -> None:
        if point == self.die_at:
            self.die_at = None
            raise Killed(point)

    async def _open(self) -> None:
        self.stack = AsyncExitStack()
        gate = make_gate(
            Path(self.folder.name), chain=self.chain, clock=self.clock, hook=self.hook, settings=SETTINGS,
            place=self.database,
        )  # fmt: skip
        self.bench = await self.stack.enter_async_context(gate)

    async def _close(self) -> None:
        """Ends everything of the process that was; what it had committed stays, and nothing else."""
        self.die_at = None
        if self.stack is not None:
            with suppress(Killed):
                await self.stack.aclose()
            self.stack = None

    async def _live(self, work: Any) -> Any:
        """Does `work`; if the gate dies over it, starts the next one."""
        task = asyncio.ensure_future(work)
        gate = self.bench.gate
        watched = [t for t in (gate._writer, *gate.broadcaster._workers.values()) if t is not None]
        await asyncio.wait({task, *watched}, return_when=asyncio.FIRST_COMPLETED, timeout=0.5)
        for _ in range(20):
            await asyncio.sleep(0)
        watched = [t for t in (gate._writer, *gate.broadcaster._workers.values()) if t is not None]
        result = None
        if task.done():
            with suppress(WalletGateError, Killed):
                result = task.result()
        else:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if any(t.done() for t in watched):
            for t in watched:
                if t.done() and not t.cancelled():
                    t.exception()
            await self._close()
            await self._open()
        return result

    # --- what happens

    @rule(name=st.integers(0, 5), amount=AMOUNTS)
    def ask(self, name: int, amount: float) -> None:
        key = f"id-{name}"
        self.bodies.setdefault(key, amount)
        self.run(self._live(self.bench.ask({"id": key, "payload": payment(self.bodies[key])})))

    @rule(amounts=st.lists(AMOUNTS, min_size=2, max_size=6))
    def ask_at_once(self, amounts: list[float]) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(self.bench.pay(a) for a in amounts), return_exceptions=True)

        self.run(self._live(all_of_them()))

    @rule(amount=AMOUNTS, gwei=st.sampled_from([2, 3, 5]), which=st.integers(0, 5))
    def replace(self, amount: float, gwei: int, which: int) -> None:
        """The agent pays something else with a nonce that one of its transactions has taken already."""
        nonces = sorted({r.nonce for r in self.bench.gate.state.requests.values() if r.nonce is not None})
        if not nonces:
            return
        nonce = nonces[which % len(nonces)]
        fees = {"maxFeePerGas": hex(gwei * GWEI), "maxPriorityFeePerGas": hex(gwei * GWEI)}
        self.run(self._live(self.bench.ask({"payload": payment(amount, nonce=hex(nonce), **fees)})))

    @rule(depth=st.integers(1, 4))
    def reorganise(self, depth: int) -> None:
        self.chain.reorganise(min(depth, self.chain.head - 100))

    @rule(secret=st.sampled_from([ALICE, BOB]), approve=st.booleans())
    def decide(self, secret: bytes, approve: bool) -> None:
        waiting = [r for r in self.bench.gate.state.requests.values() if r.status is Status.AWAITING_APPROVAL]
        if waiting:
            self.run(self._live(self.bench.approve(waiting[0], secret, approve=approve)))

    @rule(point=st.sampled_from(POINTS))
    def die_soon(self, point: str) -> None:
        self.die_at = point

    @rule()
    def restart(self) -> None:
        self.run(self._close())
        self.run(self._open())

    @rule(seconds=st.sampled_from([1, 600, 1800, 3600, 86_399, 86_400]))
    def wait(self, seconds: int) -> None:
        self.clock.forward(seconds)

    @rule(trouble=st.sampled_from(["none", "away", "silent", "refuse", "revert"]))
    def weather(self, trouble: str) -> None:
        self.chain.away = trouble == "away"
        self.chain.silent = trouble == "silent"
        self.chain.refuse = "no" if trouble == "refuse" else None
        self.chain.revert = trouble == "revert"

    @rule(blocks=st.integers(1, 3))
    def mine(self, blocks: int) -> None:
        self.chain.mine(blocks)

    @rule()
    def settle(self) -> None:
        self.run(self._live(self.bench.settle()))

    @precondition(lambda self: any(s.block is None for s in self.chain.sent.values()))
    @rule()
    def forget_one(self) -> None:
        self.chain.drop(next(h for h, s in self.chain.sent.items() if s.block is None))

    async def _pause(self) -> None:
        """Until no transaction is half way: the database may have what memory does not yet say."""
        async with self.bench.store._turn:
            pass

    # --- what must hold

    @invariant()
    def mined_outflow_stays_within_the_limit_in_every_window(self) -> None:
        mined = sorted((s.mined_ms or 0, _amount(s.raw)) for s in self.chain.sent.values() if s.block and s.succeeded)
        for end, _ in mined:
            assert sum(amount for at, amount in mined if end - DAY_MS < at <= end) <= LIMIT

    @invariant()
    def each_nonce_has_one_transaction_and_each_was_logged_first(self) -> None:
        logged = set()
        for _, _, entry in self.bench.store.entries():
            body = json.loads(entry)
            if body["kind"] == "transaction_signed":
                logged.add(body["tx"])
        assert {to_hex(keccak256(raw)) for raw in self.chain.received} <= logged
        assert len({s.nonce for s in self.chain.sent.values() if s.block}) == len(
            [s for s in self.chain.sent.values() if s.block]
        )

    @invariant()
    def nonces_have_no_gaps(self) -> None:
        taken = {r.nonce for r in self.bench.store.recent_requests(limit=1000) if r.nonce is not None}
        assert taken == set(range(len(taken)))

    @invariant()
    def an_id_is_signed_at_most_once_and_never_changes(self) -> None:
        for name in self.bodies:
            request = self.bench.store.request_of_client("grant_1", name)
            if request is not None and request.raw is not None:
                assert self.signed.setdefault(name, request.raw) == request.raw

    @invariant()
    def the_log_verifies_and_the_book_is_what_the_store_says(self) -> None:
        self.run(self._pause())
        store = self.bench.store
        verify_entries(store.entries(), origin=ORIGIN, head=(store.log_size, store.log_root()))  # type: ignore[arg-type]
        pending = {
            m.id for request in self.bench.gate.state.requests for m in self.bench.gate.state.book.pending(request)
        }
        assert pending == {m.id for m in store.open_movements()}


def _amount(raw: bytes) -> int:
    """What a raw payment to acme moves, read from its calldata."""
    place = raw.index(bytes.fromhex("a9059cbb")) + 16
    assert raw[place : place + 20] == ACME
    return int.from_bytes(raw[place + 20 : place + 52], "big")


class SharedGateMachine(GateMachine):
    """The same life on PostgreSQL."""

    def place(self) -> str | None:
        return new_database().gate


TestSharedGateMachine = SharedGateMachine.TestCase
TestSharedGateMachine.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)

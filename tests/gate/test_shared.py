"""Several gates on one PostgreSQL: one ledger, one log, one sequence of nonces, one truth about who may do what."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.factories import ORIGIN, Bench, Clock, make_gate, payment
from tests.fakes import FakeChain
from tests.postgres import Database, new_database
from walletgate.audit.verify import verify_entries
from walletgate.errors import ConflictError, WalletGateError
from walletgate.gate.sharing import LEASE_MS
from walletgate.types import Status

NOWHERE = Path("/nonexistent")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


@asynccontextmanager
async def two_gates(**options: Any) -> AsyncIterator[tuple[Bench, Bench, Database]]:
    """Two gates over one new database, one chain and one clock."""
    database = new_database()
    chain, clock = options.pop("chain", FakeChain()), Clock()
    common = {"place": database.gate, "chain": chain, "clock": clock, **options}
    async with make_gate(NOWHERE, **common) as first, make_gate(NOWHERE, **common) as second:
        yield first, second, database


def check(bench: Bench) -> None:
    """The log verifies from its first entry to its head, and the nonces have no gaps."""
    bench.store.refresh()
    store = bench.store
    verify_entries(store.entries(), origin=ORIGIN, head=(store.log_size, store.log_root()))  # type: ignore[arg-type]
    taken = [r.nonce for r in store.recent_requests(limit=1000) if r.nonce is not None]
    assert sorted(taken) == list(range(len(taken)))


async def eventually(true: Callable[[], bool]) -> None:
    for _ in range(100):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came to that")


def test_one_limit_holds_over_all_gates_to_the_unit() -> None:
    async def work() -> None:
        async with two_gates() as (first, second, _):
            asks = [
                gate.ask({"id": f"{name}-{n}", "payload": payment(7)})
                for n in range(30)
                for name, gate in (("a", first), ("b", second))
            ]
            results = await asyncio.gather(*asks)
            assert Counter(r.status is Status.DENIED for r in results) == {False: 14, True: 46}
            check(first)

    run(work())


def test_the_same_id_at_two_gates_at_once_is_one_request() -> None:
    async def work() -> None:
        async with two_gates() as (first, second, _):
            for number in range(10):
                body = {"id": f"same-{number}", "payload": payment(1)}
                one, other = await asyncio.gather(first.ask(body), second.ask(body))
                assert (one.id, one.tx_hash) == (other.id, other.tx_hash)
            with pytest.raises(ConflictError) as caught:
                await second.ask({"id": "same-0", "payload": payment(2)})
            assert caught.value.code == "id_reused"
            check(first)

    run(work())


def test_a_freeze_at_one_gate_holds_for_the_next_signature_of_another() -> None:
    async def work() -> None:
        async with two_gates() as (first, second, _):
            assert (await second.ask({"id": "before", "payload": payment(1)})).status is not Status.DENIED
            await first.operations.command(first.command("freeze", {"scope": "all", "reason": "now"}))
            refused = await second.ask({"id": "after", "payload": payment(1)})
            assert (refused.status, "frozen" in refused.decision) == (Status.DENIED, True)

    run(work())


def test_an_approval_at_one_gate_answers_who_waits_at_another() -> None:
    async def work() -> None:
        async with two_gates() as (first, second, _):
            waiting = await first.ask({"id": "large", "payload": payment(30)})
            assert waiting.status is Status.AWAITING_APPROVAL
            answer = asyncio.create_task(first.gate.wait(waiting.id, 20))
            await eventually(lambda: waiting.id in second.gate.state.requests)
            await second.approve(waiting)
            assert (await answer).status in (Status.SIGNED, Status.BROADCAST)
            with pytest.raises(WalletGateError):
                await first.approve(waiting)
            check(second)

    run(work())


def test_what_a_dead_gate_signed_is_sent_and_settled_by_another() -> None:
    class Deaf(FakeChain):
        async def send_raw(self, raw: bytes) -> None:
            await asyncio.sleep(3600)

    async def work() -> None:
        database, clock, chain = new_database(), Clock(), FakeChain()
        async with make_gate(NOWHERE, place=database.gate, chain=Deaf(), clock=clock) as dying:
            assert await dying.gate.sharing.leads()
            asks = [asyncio.create_task(dying.ask({"id": f"r{n}", "payload": payment(1)})) for n in range(3)]
            await eventually(lambda: len(dying.gate.state.requests) == 3)
            for ask in asks:
                ask.cancel()
            async with make_gate(NOWHERE, place=database.gate, chain=chain, clock=clock) as heir:
                assert not await heir.gate.sharing.leads()
                clock.forward(LEASE_MS / 1000 + 1)
                assert await heir.gate.sharing.leads()
                for _ in range(3):
                    await heir.settle()
                found = heir.store.recent_requests()
                assert {r.status for r in found} == {Status.CONFIRMED}
                assert len(set(chain.received)) == 3
                check(heir)

    run(work())


def test_gates_that_are_cut_off_again_and_again_lose_and_double_nothing() -> None:
    """Connections die at random moments, also in commits; whoever asks again with the same id gets one answer."""

    async def ask_until_answered(bench: Bench, body: dict[str, Any]) -> Status:
        while True:
            with suppress(WalletGateError):
                return (await bench.ask(body)).status
            await asyncio.sleep(0.05)

    async def work() -> None:
        async with two_gates() as (first, second, database):
            asks = [
                asyncio.create_task(ask_until_answered(gate, {"id": f"{name}-{n}", "payload": payment(7)}))
                for n in range(15)
                for name, gate in (("a", first), ("b", second))
            ]
            cut = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'wg_gate' AND datname = current_database()"
            )
            with psycopg.connect(database.owner, autocommit=True) as db:
                for _ in range(6):
                    await asyncio.sleep(0.1)
                    db.execute(cut)
            results = await asyncio.gather(*asks)
            assert Counter(status is Status.DENIED for status in results) == {False: 14, True: 16}
            first.store.refresh()
            signed = [json.loads(e)["tx"] for _, _, e in first.store.entries() if b'"transaction_signed"' in e]
            assert len(signed) == len(set(signed)) == 14
            check(second)

    run(work())

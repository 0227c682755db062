"""Four gate processes on one PostgreSQL, fifty clients at each, one limit; gates are killed and cut off all the time."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from tests.factories import ORIGIN, POLICY, TOKEN, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import GateProcess, make_home, running
from tests.postgres import Database, new_database
from walletgate.audit.verify import verify_entries
from walletgate.server import Home
from walletgate.store import read_store
from walletgate.store.check import ledger_problems

GATES, CLIENTS = 4, 50
SECONDS = float(os.environ.get("WALLETGATE_SHARED_SECONDS", "6"))
LIMIT = 400
MANY = POLICY.replace('per = { "24h" = "100" }', f'per = {{ "24h" = "{LIMIT}" }}')


class Life:
    """Gates that come back when they are killed."""

    def __init__(self, homes: list[Home]) -> None:
        self.homes = homes
        self.stacks: list[ExitStack] = [ExitStack() for _ in homes]
        self.gates: list[GateProcess] = [self._start(n) for n in range(len(homes))]

    def _start(self, number: int) -> GateProcess:
        self.stacks[number] = ExitStack()
        return self.stacks[number].enter_context(running(self.homes[number]))

    def kill(self, number: int) -> None:
        assert self.gates[number].process.poll() is None, "a gate that only loses its connections lives on"
        self.gates[number].kill()
        self.stacks[number].close()
        self.gates[number] = self._start(number)

    def close(self) -> None:
        for stack in self.stacks:
            stack.close()


async def client(life: Life, session: aiohttp.ClientSession, number: int, until: float, seen: Counter[str]) -> None:
    """Pays again and again under ids of its own; asks again, at any gate, until it knows what became of each."""
    count = 0
    headers = {"Authorization": f"Bearer {TOKEN}"}
    while time.monotonic() < until:
        body = {"id": f"c{number}-{count}", "kind": "transaction", "payload": payment(1)}
        count += 1
        while True:
            url = life.gates[random.randrange(GATES)].url
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.post(f"{url}/v1/requests", json=body, headers=headers) as answer:
                    if answer.status < 500 and answer.status != 429:
                        seen[(await answer.json())["request"]["status"]] += 1
                        break
            await asyncio.sleep(0.05)


async def trouble(life: Life, database: Database, until: float) -> None:
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'wg_gate' AND datname = current_database() AND random() < 0.5"
    )
    turn = 0
    while time.monotonic() < until:
        await asyncio.sleep(0.7)
        turn += 1
        if turn % 2:
            with psycopg.connect(database.owner, autocommit=True) as db:
                db.execute(cut)
        else:
            await asyncio.to_thread(life.kill, turn // 2 % GATES)


async def play(life: Life, database: Database) -> Counter[str]:
    seen: Counter[str] = Counter()
    until = time.monotonic() + SECONDS
    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        clients = [client(life, session, n, until, seen) for n in range(GATES * CLIENTS)]
        await asyncio.gather(trouble(life, database, until), *clients)
    return seen


def settled(database: Database) -> bool:
    rows = database.run("SELECT COUNT(*) FROM movement WHERE state = 'pending'")
    return rows == [(0,)]


@pytest.mark.slow
def test_four_gates_that_die_and_lose_their_database_keep_one_limit_exactly(tmp_path: Path) -> None:
    database, chain = new_database(), FakeChain()
    with served(chain) as node:
        homes = [
            make_home(tmp_path / f"home-{n}", node, policy=MANY, place=database.gate, fill=n == 0) for n in range(GATES)
        ]
        for home in homes:
            home.log_key.write_bytes(homes[0].log_key.read_bytes())
        life = Life(homes)
        try:
            seen = asyncio.run(play(life, database))
            deadline = time.monotonic() + 30
            while not settled(database) and time.monotonic() < deadline:
                time.sleep(0.2)
        finally:
            life.close()
    with read_store(database.gate) as store:
        rows: list[Any] = store.requests_since(0)
        signed = [row for row in rows if row.raw is not None]
        assert len(signed) == LIMIT, Counter(row.status for row in rows)
        assert {row.status.value for row in signed} == {"confirmed"}
        assert sorted(row.nonce for row in signed) == list(range(LIMIT))
        assert len(chain.sent) == LIMIT
        verify_entries(store.entries(), origin=ORIGIN, head=(store.log_size, store.log_root()))  # type: ignore[arg-type]
        assert list(ledger_problems(store)) == []
    assert seen["denied"] > 0

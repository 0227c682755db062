"""Threads and processes against one limit: exactly what fits passes, to the base unit."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.factories import POLICY, TOKEN, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import make_home, running

pytestmark = pytest.mark.slow

EACH, PROCESSES = 25, 8


def ask_many(url: str, worker: int) -> list[str]:
    """Asks for EACH payments of 3 USDC at once; the statuses."""

    def ask(number: int) -> str:
        body = {"id": f"w{worker}-{number}", "kind": "transaction", "payload": payment(3)}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"{url}/v1/requests", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return str(json.load(answer)["request"]["status"])
        except urllib.error.HTTPError as error:
            return f"HTTP {error.code} {error.read().decode()}"

    with ThreadPoolExecutor(EACH) as pool:
        return list(pool.map(ask, range(EACH)))


def test_200_requests_of_8_processes_pass_exactly_33_times(tmp_path: Path) -> None:
    chain = FakeChain()
    with served(chain) as node:
        home = make_home(tmp_path / "home", node, policy=POLICY)
        with running(home) as gate, ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
            results = [s for part in pool.map(ask_many, [gate.url] * PROCESSES, range(PROCESSES)) for s in part]
    assert len(results) == EACH * PROCESSES
    assert not [status for status in results if status.startswith("HTTP")]
    assert sum(status != "denied" for status in results) == 33
    assert sorted(sent.nonce for sent in chain.sent.values()) == list(range(33))

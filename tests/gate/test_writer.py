"""Group commit: one bad job harms nobody, a failed commit promises nothing, a broken promise stops everything."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.factories import Bench, make_gate, payment
from walletgate.errors import ConflictError, GatePausedError, InvariantViolation, StoreError
from walletgate.gate.gate import UNDER_WAY_MAX
from walletgate.gate.writer import QUEUE_MAX, Job
from walletgate.types import Status


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_a_job_that_refuses_fails_alone(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:

            def refuse() -> tuple[()]:
                raise ConflictError("no")

            bad = bench.gate.commits.submit(Job(refuse, lambda _tx, _signatures: None))
            results = await asyncio.gather(bench.pay(1), bad, bench.pay(2), return_exceptions=True)
            assert isinstance(results[1], ConflictError)
            assert [r.status for r in (results[0], results[2])] == [Status.SIGNED] * 2  # type: ignore[union-attr]

    run(work())


async def _break_next_commit(bench: Bench) -> Exception:
    def record(_tx: Any, _signatures: Any) -> None:
        raise StoreError("disk I/O error", code="store_failed")

    broken = bench.gate.commits.submit(Job(tuple, record))
    results = await asyncio.gather(bench.pay(7), broken, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    return results[0]  # type: ignore[return-value]


def test_a_failed_commit_signs_nothing_and_books_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            first = await bench.pay(1)
            error = await _break_next_commit(bench)
            assert getattr(error, "code", "") == "commit_failed"
            await bench.quiet()
            assert len(bench.chain.received) == 1
            following = await bench.pay(1)
            assert (first.nonce, following.nonce) == (0, 1)
            used = {
                limit.asset: limit.used for limit in await bench.gate.limits(bench.session) if limit.kind == "window"
            }
            assert used["USDC"] == 2_000_000

    run(work())


def test_a_broken_promise_stops_the_gate_and_answers_everybody(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:

            def record(_tx: Any, _signatures: Any) -> None:
                raise InvariantViolation("broken on purpose")

            broken = bench.gate.commits.submit(Job(tuple, record))
            results = await asyncio.gather(broken, bench.pay(1), bench.pay(1), return_exceptions=True)
            assert {getattr(result, "code", None) for result in results} == {"gate_stopped"}
            with pytest.raises(StoreError) as caught:
                await bench.pay(1)
            assert caught.value.code == "gate_stopped"
            assert bench.chain.received == []

    with pytest.raises(InvariantViolation, match="broken on purpose"):
        run(work())


def test_one_grant_that_floods_leaves_room_for_others(tmp_path: Path) -> None:
    async def work() -> None:
        tokens = {"loud": "wg_grant_" + "a" * 43, "quiet": "wg_grant_" + "b" * 43}
        async with make_gate(tmp_path, tokens=tokens) as bench:
            loud = [asyncio.ensure_future(bench.pay(0.001)) for _ in range(UNDER_WAY_MAX + 20)]
            await asyncio.sleep(0)
            quiet = await bench.ask({"payload": payment(1)}, bench.gate.session("grant_2"))
            assert quiet.status in (Status.SIGNED, Status.BROADCAST)
            results = await asyncio.gather(*loud, return_exceptions=True)
            refused = [r for r in results if isinstance(r, GatePausedError)]
            assert (len(refused), refused[0].code, refused[0].data["retry_after_s"]) == (20, "busy", 1)

    run(work())


def test_a_full_queue_says_busy(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            jobs = [
                asyncio.ensure_future(bench.gate.commits.submit(Job(tuple, lambda _tx, _signatures: None)))
                for _ in range(QUEUE_MAX + 10)
            ]
            results = await asyncio.gather(*jobs, return_exceptions=True)
            refused = [r for r in results if isinstance(r, GatePausedError)]
            assert 0 < len(refused) <= 10
            assert refused[0].code == "busy"
            assert refused[0].data["retry_after_s"] == 1

    run(work())

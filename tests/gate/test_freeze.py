"""A freeze: in force for the very next signature, over everything that waits, until the quorum ends it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ALICE, NOW_MS, POLICY, TOKEN, Bench, make_gate
from tests.gate.test_operators import refused, run
from walletgate.errors import WalletGateError
from walletgate.gate.judging import chains_of
from walletgate.store import Freeze
from walletgate.types import Address, CodeAuthorization, Status, TextMessage

SCOPES = ["all", "grant:grant_1", "agent:shopper", "wallet:main", "chain:31337"]
TWO = {"shopper": TOKEN, "second": "wg_grant_" + "s" * 43}


async def freeze(bench: Bench, scope: str) -> dict[str, Any]:
    return await bench.operations.command(bench.command("freeze", {"scope": scope, "reason": "drill"}))


def used(bench: Bench) -> int:
    return sum(movement.booking.amount for movement in bench.store.open_movements())


@pytest.mark.parametrize("scope", SCOPES)
def test_what_waits_under_a_freeze_ends_rejected_with_its_money_back(tmp_path: Path, scope: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            waiting = [await bench.pay(30), await bench.pay(25)]
            assert used(bench) > 0
            assert (await freeze(bench, scope))["ended"] == 2
            assert used(bench) == 0
            for request in waiting:
                found = bench.gate.find(request.id)
                assert found is not None
                assert found.status is Status.REJECTED
                await refused(bench, bench.approve(request), "request_moved")
            entries = [json.loads(entry) for _, _, entry in bench.store.entries()]
            ended = [entry for entry in entries if entry["kind"] == "request_rejected"]
            assert [(e["why"], e["scope"], e["operator"]) for e in ended] == [("frozen", scope, "alice")] * 2
            assert (await bench.pay(1)).status is Status.DENIED
        async with make_gate(tmp_path) as bench:
            assert (await bench.pay(1, id="after")).status is Status.DENIED

    run(work())


@pytest.mark.parametrize("scope", ["grant:grant_2", "agent:second", "chain:1"])
def test_a_freeze_stops_only_what_it_names(tmp_path: Path, scope: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, tokens=TWO) as bench:
            waiting = await bench.pay(30)
            assert (await freeze(bench, scope))["ended"] == 0
            assert (await bench.approve(waiting)).status is Status.SIGNED
            assert (await bench.pay(1)).status is not Status.DENIED
            if not scope.startswith("chain"):
                body = {"payload": {"to": "0x" + "11" * 20, "value": "0x0"}}
                stopped = await bench.ask(body, bench.gate.session("grant_2"))
                assert "frozen" in stopped.decision

    run(work())


def test_an_approval_given_before_a_freeze_does_not_survive_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=POLICY.replace("quorum = 1", "quorum = 2")) as bench:
            request = await bench.pay(30)
            await bench.approve(request)
            await freeze(bench, "all")
            await bench.operations.command(bench.command("unfreeze", {"scope": "all"}))
            assert bench.gate.find(request.id).status is Status.REJECTED  # type: ignore[union-attr]

    run(work())


def test_a_freeze_and_an_approval_at_once_sign_nothing_after_the_freeze(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            words = [freeze(bench, "all"), bench.approve(request)]
            found = await asyncio.gather(*words, return_exceptions=True)
            kinds = bench.kinds()
            assert sum(isinstance(each, WalletGateError) for each in found) == kinds.count("approval_refused")
            if "transaction_signed" in kinds:
                assert kinds.index("transaction_signed") < kinds.index("frozen")
            assert bench.gate.find(request.id).status in (Status.REJECTED, Status.SIGNED)  # type: ignore[union-attr]

    run(work())


def test_who_waits_for_the_answer_is_woken_by_a_freeze(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            waiting = asyncio.create_task(bench.gate.wait(request.id, 5))
            await asyncio.sleep(0)
            await freeze(bench, "all")
            assert (await asyncio.wait_for(waiting, 1)).status is Status.REJECTED

    run(work())


def test_an_authorization_for_every_chain_is_stopped_by_a_freeze_of_any(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            state = bench.gate.state
            state.freezes["chain:1"] = Freeze("chain:1", "alice", "", NOW_MS)
            grant = state.grants["grant_1"]
            everywhere = CodeAuthorization(0, Address(b"\x01" * 20), 0)
            on_one = CodeAuthorization(1, Address(b"\x01" * 20), 0)
            assert state.frozen_by(grant, *chains_of(everywhere, 31337)) is not None
            assert state.frozen_by(grant, *chains_of(on_one, 31337)) is not None
            assert state.frozen_by(grant, *chains_of(TextMessage(grant.wallet, b"x"), 31337)) is None

    run(work())


def test_a_freeze_under_another_ends_alone(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await freeze(bench, "all")
            await freeze(bench, "agent:shopper")
            await bench.operations.command(bench.command("unfreeze", {"scope": "all"}, ALICE))
            assert (await bench.pay(1)).status is Status.DENIED

    run(work())


# --- what is signed and has reached no node --------------------------------------------------------------


async def until(bench: Bench, text: str) -> None:
    """Waits until the log's newest failure to broadcast says `text`."""
    for _ in range(300):
        found = [
            e for e in map(json.loads, (row for _, _, row in bench.store.entries())) if e["kind"] == "broadcast_failed"
        ]
        if found and found[-1]["code"] == text:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(text)


@pytest.mark.parametrize("scope", SCOPES)
def test_signed_bytes_that_no_node_has_are_held_back_and_go_out_afterwards(tmp_path: Path, scope: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            bench.chain.refuse = "no"
            request = await bench.pay(5)
            assert request.status is Status.SIGNED
            await freeze(bench, scope)
            bench.chain.refuse = None
            await until(bench, "held_by_freeze")
            tried = len(bench.chain.received)
            for _ in range(3):
                bench.clock.forward(400)
                await bench.settle()
            assert (bench.chain.sent, len(bench.chain.received)) == ({}, tried)
            assert used(bench) > 0
            assert bench.kinds().count("broadcast_failed") == 2
            assert "transaction_stuck" not in bench.kinds()
            await bench.operations.command(bench.command("unfreeze", {"scope": scope}))
            await bench.settle()
            await bench.settle()
            assert len(bench.chain.sent) == 1
            assert bench.gate.find(request.id).status is Status.CONFIRMED  # type: ignore[union-attr]
            assert "transaction_stuck" not in bench.kinds()

    run(work())


def test_a_gate_that_starts_under_a_freeze_sends_nothing_it_had_signed(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            bench.chain.refuse = "no"
            await bench.pay(5)
            await freeze(bench, "all")
        async with make_gate(tmp_path) as bench:
            await bench.settle()
            assert bench.chain.received == []
            assert used(bench) > 0

    run(work())


def test_another_grants_bytes_are_not_held_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, tokens=TWO) as bench:
            bench.chain.refuse = "no"
            await bench.pay(5)
            await freeze(bench, "grant:grant_2")
            bench.chain.refuse = None
            await asyncio.sleep(0.7)
            assert len(bench.chain.sent) == 1

    run(work())

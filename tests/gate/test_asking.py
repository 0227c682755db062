"""Operators are not worn down: bounds on asking, no rejected request unchanged, floods freeze."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.factories import ALICE, POLICY, Bench, Clock, make_gate
from tests.gate.test_operators import run
from walletgate.cli.show import folded
from walletgate.gate.asking import BY_POLICY
from walletgate.policy import load, show
from walletgate.policy.compare import Direction, compare
from walletgate.server.views import operator_view
from walletgate.store import Request
from walletgate.types import Status

ROOM = POLICY.replace('per = { "24h" = "100" }', 'per = { "24h" = "100000" }')
RATE = ROOM + '\n[asking]\nper = { "1h" = 3 }\n'
AGAIN = ROOM + '\n[asking]\nagain_after = "1h"\n'
FLOOD = ROOM + '\n[asking]\nper = { "1h" = 2 }\nfreeze_after = { "1h" = 4 }\n'


def code(request: Request) -> str:
    return str(json.loads(request.decision)["reasons"][-1]["code"])


def test_a_grant_asks_no_more_often_than_its_policy_says(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=RATE) as bench:
            for _ in range(3):
                assert (await bench.pay(30)).status is Status.AWAITING_APPROVAL
            refused = await bench.pay(30)
            assert (refused.status, code(refused)) == (Status.DENIED, "asked_too_often")
            assert (await bench.pay(1)).status is not Status.DENIED
            bench.clock.forward(3599)
            assert (await bench.pay(30)).status is Status.DENIED
            bench.clock.forward(1)
            assert (await bench.pay(30)).status is Status.AWAITING_APPROVAL

    run(work())


def test_what_was_asked_is_not_forgotten_over_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=RATE) as bench:
            for _ in range(3):
                await bench.pay(30)
        async with make_gate(tmp_path) as bench:
            assert code(await bench.pay(30, id="after")) == "asked_too_often"

    run(work())


def test_withdrawing_does_not_make_room_to_ask(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=RATE) as bench:
            for _ in range(3):
                await bench.gate.withdraw(bench.session, (await bench.pay(30)).client_id)
            assert code(await bench.pay(30)) == "asked_too_often"

    run(work())


@pytest.mark.parametrize("restart", [False, True])
def test_a_rejected_request_does_not_come_back_unchanged(tmp_path: Path, restart: bool) -> None:
    """Neither with another id, nor with other fees, nor after a restart."""

    async def again(bench: Bench) -> None:
        bench.chain.base_fee *= 2
        refused = await bench.pay(30, id="again", memo="please")
        assert (refused.status, code(refused)) == (Status.DENIED, "rejected_before")
        assert (await bench.pay(31, id="other")).status is Status.AWAITING_APPROVAL
        bench.clock.forward(3599)
        assert (await bench.pay(30, id="early")).status is Status.DENIED
        bench.clock.forward(1)
        assert (await bench.pay(30, id="later")).status is Status.AWAITING_APPROVAL

    async def work() -> None:
        clock = Clock()
        async with make_gate(tmp_path, policy=AGAIN, clock=clock) as bench:
            await bench.approve(await bench.pay(30), ALICE, approve=False)
            if not restart:
                await again(bench)
        if restart:
            async with make_gate(tmp_path, clock=clock) as bench:
                await again(bench)

    run(work())


def test_a_flood_freezes_the_grant_and_ends_what_it_asked(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=FLOOD) as bench:
            waiting = [await bench.pay(30), await bench.pay(30)]
            assert [code(await bench.pay(30)) for _ in range(2)] == ["asked_too_often"] * 2
            assert code(await bench.pay(30)) == "asking_flooded"
            assert [bench.gate.find(r.id).status for r in waiting] == [Status.REJECTED] * 2  # type: ignore[union-attr]
            assert code(await bench.pay(1)) == "frozen"
            frozen = [json.loads(e) for _, _, e in bench.store.entries() if b'"kind":"frozen"' in e]
            assert [(e["scope"], e["operator"], e["ended"]) for e in frozen] == [("grant:grant_1", BY_POLICY, 2)]
        async with make_gate(tmp_path) as bench:
            assert code(await bench.pay(1, id="after")) == "frozen"
            await bench.operations.command(bench.command("unfreeze", {"scope": "grant:grant_1"}))
            assert (await bench.pay(1, id="on")).status is not Status.DENIED

    run(work())


def test_a_policy_without_the_section_bounds_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=ROOM) as bench:
            for _ in range(10):
                assert (await bench.pay(30)).status is Status.AWAITING_APPROVAL

    run(work())


def test_requests_that_would_do_the_same_are_one_line(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=ROOM) as bench:
            for usdc in (30, 31, 30):
                bench.chain.base_fee *= 2
                await bench.pay(usdc)
            await bench.pay(1)
            await bench.pay(1)
            views = [operator_view(each, bench.gate.state, []) for each in bench.store.recent_requests()]
            assert sorted(count for _, count in folded(views)) == [1, 1, 1, 2]

    run(work())


@pytest.mark.parametrize(
    ("old", "new", "direction"),
    [
        (ROOM, RATE, Direction.TIGHTER), (RATE, ROOM, Direction.LOOSER), (ROOM, AGAIN, Direction.TIGHTER),
        (AGAIN, ROOM, Direction.LOOSER),
        (RATE, RATE.replace('"1h" = 3', '"1h" = 2'), Direction.TIGHTER),
        (RATE, RATE.replace('"1h" = 3', '"2h" = 3'), Direction.TIGHTER),
        (RATE, RATE.replace('"1h" = 3', '"30m" = 3'), Direction.LOOSER),
        (FLOOD, FLOOD.replace('"1h" = 4', '"1h" = 5'), Direction.LOOSER),
    ],
)  # fmt: skip
def test_compare_knows_what_asking_less_is(old: str, new: str, direction: Direction) -> None:
    assert compare(load(old, source="old"), load(new, source="new")).direction is direction


def test_the_bounds_are_said_aloud() -> None:
    lines = "\n".join(show(load(FLOOD + 'again_after = "1d"\n', source="p")))
    assert "Asks a human at most 2 in any 1 hour" in lines
    assert "freezes the grant" in lines
    assert "refused unchanged" in lines

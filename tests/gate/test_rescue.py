"""Operators speed up, cancel and take back; nothing of it adds to what is reserved, and none of it widens a policy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ACME, ALICE, MALLORY, POLICY, USDC, WALLET, Bench, make_gate, payment
from tests.fakes import GWEI, FakeChain, sender_and_nonce
from walletgate.encoding import checksum_address
from walletgate.errors import ApprovalError, ConflictError, InvalidRequestError
from walletgate.gate import Settings
from walletgate.gate.rescue import outstanding_view
from walletgate.store import Request
from walletgate.types import NATIVE, Asset, Bucket, Measure, Status

SPENT = Bucket(Measure.AMOUNT, Asset(31337, USDC), grant="grant_1")
FEES = Bucket(Measure.FEE, Asset(31337, NATIVE), grant="grant_1")
SETTINGS = Settings(confirmations_default=2)
GAS = 60_000
ALLOWING = (
    POLICY
    + """
[[permit]]
name = "let acme take"
allowance = "USDC"
spender = ["acme"]
max = "40"
"""
)


def run(work: Any) -> Any:
    return asyncio.run(work)


def used(bench: Bench, bucket: Bucket = SPENT) -> int:
    return bench.gate.state.book.used(bucket, None, bench.clock.now_ms)


def now(bench: Bench, name: str) -> Request:
    found = bench.gate.find(name)
    assert found is not None
    return found


async def pay(bench: Bench, usdc: float, gwei: int = 2) -> Request:
    price = {"maxFeePerGas": hex(gwei * GWEI), "maxPriorityFeePerGas": hex(gwei * GWEI)}
    return await bench.ask({"payload": payment(usdc, **price)})


async def command(bench: Bench, action: str, body: dict[str, Any], secret: bytes = ALICE) -> dict[str, Any]:
    return await bench.operations.command(bench.command(action, body, secret))


def test_a_speed_up_is_the_same_payment_at_a_higher_price_and_books_only_that(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            first = await pay(bench, 20)
            answer = await command(bench, "request.speed_up", {"request": first.id})
            assert (answer["replaces"], answer["nonce"]) == (first.id, first.nonce)
            assert (used(bench), used(bench, FEES)) == (20_000_000, GAS * (2 * GWEI + GWEI // 4))
            again = await command(bench, "request.speed_up", {"request": answer["request"]})
            await bench.quiet()
            chain.sent = {h: s for h, s in chain.sent.items() if "0x" + h.hex() == again["tx"]}
            chain.mine(2)
            await bench.settle()
            statuses = [now(bench, name).status for name in (first.id, answer["request"], again["request"])]
            assert statuses == [Status.REPLACED, Status.REPLACED, Status.CONFIRMED]
            assert (used(bench), used(bench, FEES)) == (20_000_000, 21_000 * GWEI)

    run(work())


def test_a_speed_up_beyond_what_the_policy_allows_for_fees_is_refused_and_recorded(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(mine_at_once=False)) as bench:
            first = await pay(bench, 20, gwei=150)
            with pytest.raises(ApprovalError) as caught:
                await command(bench, "request.speed_up", {"request": first.id})
            assert caught.value.code == "denied"
            assert bench.kinds()[-1] == "operator_refused"
            assert used(bench, FEES) == GAS * 150 * GWEI

    run(work())


def test_under_a_freeze_a_transaction_can_be_cancelled_and_not_sped_up(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            first = await pay(bench, 20)
            await command(bench, "freeze", {"scope": "all", "reason": "stop"})
            with pytest.raises(ApprovalError) as caught:
                await command(bench, "request.speed_up", {"request": first.id})
            assert caught.value.code == "frozen"
            answer = await command(bench, "request.cancel", {"request": first.id})
            assert used(bench) == 20_000_000, "either of them may still be mined"
            await bench.quiet()
            chain.drop(first.tx_hash)  # type: ignore[arg-type]
            chain.mine(2)
            await bench.settle()
            cancelled = now(bench, answer["request"])
            assert (cancelled.status, now(bench, first.id).status) == (Status.CONFIRMED, Status.REPLACED)
            assert (used(bench), bench.gate.next_nonce(WALLET, 31337)) == (0, 1)
            assert sender_and_nonce(cancelled.raw or b"") == (WALLET, first.nonce)

    run(work())


def test_a_cancellation_that_loses_posts_what_won(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            first = await pay(bench, 20)
            await bench.quiet()
            chain.mine(1)
            answer = await command(bench, "request.cancel", {"request": first.id})
            chain.mine(2)
            await bench.settle()
            assert now(bench, first.id).status is Status.CONFIRMED
            assert now(bench, answer["request"]).status is Status.REPLACED
            assert used(bench) == 20_000_000
            with pytest.raises(ConflictError) as caught:
                await command(bench, "request.cancel", {"request": first.id})
            assert caught.value.code == "request_moved"

    run(work())


@pytest.mark.parametrize(
    ("body", "secret", "error"),
    [
        ({"request": "req_none"}, ALICE, InvalidRequestError),
        ({}, ALICE, InvalidRequestError),
        ({"request": "first"}, MALLORY, ApprovalError),
    ],
)
def test_a_rescue_of_nothing_or_by_nobody_is_refused(
    tmp_path: Path, body: dict[str, Any], secret: bytes, error: type[Exception]
) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(mine_at_once=False)) as bench:
            first = await pay(bench, 20)
            said = {key: first.id if value == "first" else value for key, value in body.items()}
            for action in ("request.cancel", "request.speed_up", "allowance.revoke"):
                with pytest.raises((error, InvalidRequestError)):
                    await command(bench, action, said, secret)
            assert bench.gate.next_nonce(WALLET, 31337) == 1

    run(work())


def test_an_allowance_is_listed_until_it_is_taken_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(), policy=ALLOWING) as bench:
            data = "0x095ea7b3" + ACME.hex().rjust(64, "0") + f"{15_000_000:064x}"
            given = await bench.ask({"payload": {"to": checksum_address(USDC), "data": data, "gas": hex(GAS)}})
            assert given.status is not Status.DENIED, given.decision
            assert outstanding_view(bench.gate) == []
            await bench.settle()
            (listed,) = outstanding_view(bench.gate)
            assert (listed["wallet"], listed["asset_name"], listed["amount"]) == ("main", "USDC", "15000000")
            body = {
                "wallet": "main", "asset": checksum_address(USDC), "spender": checksum_address(ACME), "chain_id": 31337,
            }  # fmt: skip
            with pytest.raises(InvalidRequestError) as caught:
                await command(bench, "allowance.revoke", {**body, "spender": checksum_address(WALLET)})
            assert caught.value.code == "allowance_unknown"
            answer = await command(bench, "allowance.revoke", body)
            await bench.settle()
            assert (now(bench, answer["request"]).status, outstanding_view(bench.gate)) == (Status.CONFIRMED, [])

    run(work())

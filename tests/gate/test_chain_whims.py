"""What chains do to transactions: replace, forget and take them back; and whether a signature was used."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ACME, POLICY, USDC, WALLET, Bench, make_gate, payment
from tests.fakes import GWEI, FakeChain
from walletgate.effects.usage import questions
from walletgate.encoding import checksum_address, to_hex
from walletgate.gate import Settings
from walletgate.gate.deadlines import DEADLINE_MARGIN_MS, PATIENCE_MS
from walletgate.store import Request
from walletgate.types import NATIVE, Asset, Bucket, Measure, Status, TypedData

SPENT = Bucket(Measure.AMOUNT, Asset(31337, USDC), grant="grant_1")
FEES = Bucket(Measure.FEE, Asset(31337, NATIVE), grant="grant_1")
SETTINGS = Settings(confirmations_default=2, finality={31337: 5})
SIGNING = (
    POLICY
    + """
[[permit]]
name = "sign a payment"
sign = "TransferWithAuthorization"
contract = "USDC"
max_ttl = "2h"
"""
)


def run(work: Any) -> Any:
    return asyncio.run(work)


def used(bench: Bench, bucket: Bucket = SPENT) -> int:
    return bench.gate.state.book.used(bucket, None, bench.clock.now_ms)


def now(bench: Bench, request: Request) -> Request:
    found = bench.gate.find(request.id)
    assert found is not None
    return found


def at_price(gwei: int, nonce: int | None = None) -> dict[str, str]:
    price = {"maxFeePerGas": hex(gwei * GWEI), "maxPriorityFeePerGas": hex(gwei * GWEI)}
    return price if nonce is None else {**price, "nonce": hex(nonce)}


async def pay(bench: Bench, usdc: float, gwei: int, nonce: int | None = None) -> Request:
    return await bench.ask({"payload": payment(usdc, **at_price(gwei, nonce))})


def test_rivals_for_a_nonce_count_as_the_largest_and_the_loser_is_given_back(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            first = await pay(bench, 20, 2)
            second = await pay(bench, 5, 4, nonce=first.nonce)
            assert (second.status, second.nonce, second.replaces) == (Status.SIGNED, first.nonce, first.id)
            assert used(bench) == 20_000_000
            assert used(bench, FEES) == 60_000 * 4 * GWEI
            await bench.quiet()
            chain.drop(first.tx_hash)  # type: ignore[arg-type]
            chain.mine(3)
            await bench.settle()
            assert (now(bench, first).status, now(bench, second).status) == (Status.REPLACED, Status.CONFIRMED)
            assert (used(bench), used(bench, FEES)) == (5_000_000, 21_000 * GWEI)
            assert bench.gate.next_nonce(WALLET, 31337) == 1

    run(work())


def test_a_replacement_may_use_the_budget_of_what_it_replaces_and_no_more(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            for _ in range(4):
                assert (await pay(bench, 20, 2)).status is Status.SIGNED
            last = await pay(bench, 20, 2)
            assert (await pay(bench, 1, 2)).status is Status.DENIED
            assert (await pay(bench, 20, 4, nonce=last.nonce)).status is Status.SIGNED
            assert used(bench) == 100_000_000
            assert (await pay(bench, 0.000001, 2)).status is Status.DENIED

    run(work())


@pytest.mark.parametrize(
    ("usdc", "gwei", "nonce", "code"),
    [
        (5, 2, 0, "replacement_underpriced"),
        (21, 4, 0, "replacement_needs_approval"),
        (51, 4, 0, "over_per_request"),
        (5, 4, 1, "nonce_not_next"),
        (5, 4, 2, "nonce_not_next"),
    ],
)
def test_a_replacement_that_would_be_no_replacement_is_denied(
    tmp_path: Path, usdc: float, gwei: int, nonce: int, code: str
) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(mine_at_once=False), settings=SETTINGS) as bench:
            await pay(bench, 20, 2)
            wanted = nonce if nonce != 1 else 7
            refused = await pay(bench, usdc, gwei, nonce=wanted)
            assert refused.status is Status.DENIED
            assert code in refused.decision
            assert used(bench) == 20_000_000

    run(work())


def test_another_grant_cannot_take_a_nonce_again(tmp_path: Path) -> None:
    async def work() -> None:
        tokens = {"shopper": "wg_grant_" + "a" * 43, "thief": "wg_grant_" + "b" * 43}
        async with make_gate(tmp_path, chain=FakeChain(mine_at_once=False), tokens=tokens) as bench:
            first = await pay(bench, 20, 2)
            body = {"payload": payment(1, **at_price(9, first.nonce))}
            refused = await bench.ask(body, bench.gate.session("grant_2"))
            assert (refused.status, "nonce_not_next" in refused.decision) == (Status.DENIED, True)

    run(work())


def test_what_a_reorganisation_takes_back_is_pending_again_and_sent_again(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            request = await pay(bench, 20, 2)
            await bench.quiet()
            chain.mine(2)
            await bench.settle()
            assert now(bench, request).status is Status.CONFIRMED
            bench.clock.forward(3600)
            chain.reorganise(2)
            chain.drop(request.tx_hash)  # type: ignore[arg-type]
            chain.head += 2
            await bench.settle()
            assert now(bench, request).status is Status.BROADCAST
            assert (used(bench), used(bench, FEES)) == (20_000_000, 60_000 * 2 * GWEI)
            assert "transaction_reorged" in bench.kinds()
            bench.clock.forward(90_000)
            assert used(bench) == 20_000_000, "what is pending leaves no window"
            await bench.quiet()
            assert chain.received.count(request.raw or b"") == 2
            chain.mine(2)
            await bench.settle()
            assert now(bench, request).status is Status.CONFIRMED
            chain.mine(5)
            await bench.settle()
            assert (now(bench, request).moving, bench.gate.state.requests) == (False, {})

    run(work())


def test_a_reorganisation_is_noticed_after_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            request = await pay(bench, 20, 2)
            await bench.quiet()
            chain.mine(2)
            await bench.settle()
        chain.reorganise(2)
        chain.head += 2
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            await bench.settle()
            assert now(bench, request).status is Status.BROADCAST
            assert used(bench) == 20_000_000

    run(work())


def test_a_reorganisation_may_make_the_rival_win(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            first, second = await pay(bench, 20, 2), None
            await bench.quiet()
            second = await pay(bench, 5, 4, nonce=first.nonce)
            await bench.quiet()
            held = chain.sent.pop(second.tx_hash)  # type: ignore[arg-type]
            chain.mine(2)
            await bench.settle()
            assert (now(bench, first).status, now(bench, second).status) == (Status.CONFIRMED, Status.REPLACED)
            chain.reorganise(2)
            chain.sent = {second.tx_hash: held}  # type: ignore[dict-item]
            chain.mine(2)
            await bench.settle()
            await bench.settlement.step()
            assert now(bench, second).status is Status.CONFIRMED
            assert used(bench) == 5_000_000

    run(work())


def test_a_transaction_that_nobody_mines_is_called_stuck_once(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        async with make_gate(tmp_path, chain=chain, settings=SETTINGS) as bench:
            request = await pay(bench, 20, 2)
            await bench.settle()
            bench.clock.forward(301)
            await bench.settle()
            await bench.settle()
            assert bench.kinds().count("transaction_stuck") == 1
            assert "stuck" in (now(bench, request).outcome or "")
            chain.mine(2)
            await bench.settle()
            assert now(bench, request).status is Status.CONFIRMED

    run(work())


# --- signatures -------------------------------------------------------------------------------------------------------


def authorization(valid_before: int, nonce: int = 1) -> dict[str, Any]:
    fields = [("from", "address"), ("to", "address"), ("value", "uint256"), ("validAfter", "uint256"),
              ("validBefore", "uint256"), ("nonce", "bytes32")]  # fmt: skip
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"}, {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"}, {"name": "verifyingContract", "type": "address"},
            ],
            "TransferWithAuthorization": [{"name": name, "type": kind} for name, kind in fields],
        },
        "primaryType": "TransferWithAuthorization",
        "domain": {"name": "USD Coin", "version": "2", "chainId": 31337, "verifyingContract": checksum_address(USDC)},
        "message": {
            "from": checksum_address(WALLET), "to": checksum_address(ACME), "value": 7_000_000, "validAfter": 0,
            "validBefore": valid_before, "nonce": f"0x{nonce:064x}",
        },
    }  # fmt: skip


def answer(chain: FakeChain, document: dict[str, Any], *, used: bool | None) -> None:
    (question,) = questions(TypedData(WALLET, document))
    key = (checksum_address(question.to).lower(), to_hex(question.data).lower())
    chain.reads.pop(key, None)
    if used is not None:
        chain.reads[key] = f"0x{int(used):064x}"


@pytest.mark.parametrize(
    ("used_on_chain", "wait_ms", "chain_is_late", "status", "spent"),
    [
        (False, 0, False, Status.SIGNED, 7_000_000),
        (True, 0, False, Status.CONFIRMED, 7_000_000),
        (False, DEADLINE_MARGIN_MS, False, Status.DROPPED, 0),
        (False, DEADLINE_MARGIN_MS, True, Status.SIGNED, 7_000_000),
        (None, DEADLINE_MARGIN_MS, False, Status.SIGNED, 7_000_000),
        (None, DEADLINE_MARGIN_MS + PATIENCE_MS, False, Status.CONFIRMED, 7_000_000),
    ],
)
def test_a_signature_is_given_back_only_when_it_is_provably_void(
    tmp_path: Path, used_on_chain: bool | None, wait_ms: int, chain_is_late: bool, status: Status, spent: int
) -> None:
    async def work() -> None:
        chain = FakeChain()
        async with make_gate(tmp_path, chain=chain, policy=SIGNING) as bench:
            document = authorization(bench.clock.now_ms // 1000 + 600)
            request = await bench.ask({"kind": "typed_data", "payload": document})
            assert request.status is Status.SIGNED, request.decision
            chain.clock_ms = bench.clock
            answer(chain, document, used=used_on_chain)
            if wait_ms:
                bench.clock.forward(600)
                chain.times_s[chain.head] = bench.clock.now_ms // 1000 - (1 if chain_is_late else -wait_ms // 1000)
                bench.clock.now_ms += wait_ms
            await bench.settlement.step()
            assert (now(bench, request).status, used(bench)) == (status, spent)

    run(work())


def test_what_cannot_be_asked_about_is_spent_when_its_time_is_over(tmp_path: Path) -> None:
    assert questions(TypedData(WALLET, {**authorization(1), "primaryType": "Unknown"})) == ()
    unnamed = authorization(1)
    unnamed["message"] = {}
    assert questions(TypedData(WALLET, unnamed)) == ()

"""The one path of a request: what is decided, booked, signed, broadcast and settled, and in which order."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ACME, NOW_MS, OTHER, POLICY, TOKEN, USDC, WALLET, Clock, make_gate, payment
from tests.fakes import FakeChain, sender_and_nonce
from walletgate.encoding import checksum_address, to_hex
from walletgate.errors import (
    AuthenticationError,
    ChainError,
    ConflictError,
    InvalidRequestError,
    StoreError,
)  # fmt: skip
from walletgate.gate import Settings
from walletgate.types import Asset, Bucket, Measure, Status

DAY_MS = 24 * 3600 * 1000
SPENT = Bucket(Measure.AMOUNT, Asset(31337, USDC), grant="grant_1")
FEES = Bucket(Measure.FEE, Asset(31337, bytes([0xEE]) * 20), grant="grant_1")  # type: ignore[arg-type]


def run(work: Any) -> Any:
    return asyncio.run(work)


def codes(request: Any) -> list[str]:
    return [reason["code"] for reason in json.loads(request.decision)["reasons"]]


def test_an_allowed_payment_is_signed_broadcast_confirmed_and_posted(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(5)
            assert request.status in (Status.SIGNED, Status.BROADCAST)
            assert sender_and_nonce(bench.chain.received[0]) == (WALLET, 0)
            assert bench.gate.state.book.used(SPENT, DAY_MS, bench.clock.now_ms) == 5_000_000
            await bench.settle()
            done = bench.gate.find(request.id)
            assert done is not None and done.status is Status.CONFIRMED
            assert bench.gate.state.book.pending(request.id) == ()
            assert bench.gate.state.book.used(SPENT, DAY_MS, bench.clock.now_ms) == 5_000_000
            assert bench.gate.state.book.used(FEES, None, bench.clock.now_ms) == 21_000 * 10**9
            assert bench.kinds() == [
                "gate_started", "transaction_signed", "transaction_broadcast", "transaction_confirmed",
            ]  # fmt: skip

    run(work())


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("pay 50", "awaiting_approval"),
        ("pay 50.000001", "denied over_per_request"),
        ("pay 20", "signed"),
        ("pay 20.000001", "awaiting_approval"),
        ("pay 20, pay 20, pay 20, pay 20, pay 20", "signed"),
        ("pay 20, pay 20, pay 20, pay 20, pay 20, pay 0.000001", "denied over_window"),
        ("pay 20, pay 20, pay 20, pay 20, pay 20, wait 86399, settle, pay 1", "denied over_window"),
        ("pay 20, settle, pay 20, settle, pay 20, settle, pay 20, settle, pay 20, settle, wait 86399.999, pay 1",
         "denied over_window"),
        ("pay 20, settle, pay 20, settle, pay 20, settle, pay 20, settle, pay 20, settle, wait 86400, pay 1", "signed"),
        ("other 1", "denied recipient_not_permitted"),
    ],
)  # fmt: skip
def test_scenarios(tmp_path: Path, steps: str, expected: str) -> None:
    """Each line a life: at most 50 a request, 100 in any 24 hours, more than 20 asks a person."""

    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            last = None
            for step in steps.split(", "):
                verb, _, number = step.partition(" ")
                match verb:
                    case "pay":
                        last = await bench.ask({"payload": payment(number)})
                        if last.status is Status.AWAITING_APPROVAL and not step == steps.rsplit(", ", maxsplit=1)[-1]:
                            last = await bench.approve(last)
                    case "other":
                        last = await bench.ask({"payload": payment(number, OTHER)})
                    case "wait":
                        bench.clock.forward(float(number))
                    case "settle":
                        await bench.settle()
            status, _, code = expected.partition(" ")
            assert last is not None
            assert (last.status.value if last.status is not Status.BROADCAST else "signed") == status
            assert not code or code in codes(last)

    run(work())


def test_a_denied_request_books_nothing_and_is_an_entry(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(51)
            assert request.status is Status.DENIED
            assert bench.chain.received == []
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 0
            entry = bench.last_entry()
            assert entry["kind"] == "request_denied"
            assert entry["reasons"][0]["actual"] == "51000000"
            assert entry["reasons"][0]["bound"] == "50000000"

    run(work())


def test_a_waiting_request_holds_its_budget_and_gives_it_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            first = await bench.pay(45)
            second = await bench.pay(45)
            assert codes(await bench.pay(11)) == ["over_window"]
            await bench.gate.withdraw(bench.session, first.client_id)
            await bench.operations.decide(bench.approval(second, approve=False))
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 0
            assert (await bench.pay(11)).status is not Status.DENIED

    run(work())


def test_the_same_id_returns_the_first_and_signs_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            same = {"id": "order-1", "payload": payment(5)}
            results = await asyncio.gather(*(bench.ask(same) for _ in range(20)))
            assert len({request.id for request in results}) == 1
            assert (await bench.ask(same)).id == results[0].id
            assert len(bench.chain.received) == 1
            with pytest.raises(ConflictError) as caught:
                await bench.ask({"id": "order-1", "payload": payment(6)})
            assert caught.value.code == "id_reused"

    run(work())


def test_200_parallel_requests_never_exceed_a_limit(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            results = await asyncio.gather(*(bench.pay(3) for _ in range(200)))
            passed = [r for r in results if r.status is not Status.DENIED]
            assert len(passed) == 33
            assert bench.gate.state.book.used(SPENT, DAY_MS, bench.clock.now_ms) == 99_000_000
            assert sorted(r.nonce for r in passed) == list(range(33))  # type: ignore[type-var]

    run(work())


def test_nonces_go_on_where_the_chain_is(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(starts={WALLET: 41})) as bench:
            assert [(await bench.pay(1)).nonce for _ in range(3)] == [41, 42, 43]

    run(work())


@pytest.mark.parametrize(("nonce", "status"), [(0, Status.SIGNED), (1, Status.DENIED), (7, Status.DENIED)])
def test_an_agents_nonce_must_be_the_next(tmp_path: Path, nonce: int, status: Status) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.ask({"payload": payment(1, nonce=hex(nonce))})
            assert (request.status is Status.DENIED) is (status is Status.DENIED)
            if status is Status.DENIED:
                assert "nonce_not_next" in codes(request)

    run(work())


def test_a_call_that_would_revert_is_denied_before_it_takes_a_nonce(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(estimate="execution reverted: no")) as bench:
            call = payment(1)
            del call["gas"]
            assert "would_revert" in codes(await bench.ask({"payload": call}))
            assert (await bench.pay(1)).nonce == 0

    run(work())


def test_a_policy_denial_asks_the_node_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain()
        async with make_gate(tmp_path, chain=chain) as bench:
            call = payment(51)
            del call["gas"]
            call |= {"maxFeePerGas": hex(10**9), "maxPriorityFeePerGas": hex(10**8)}
            chain.away = True
            assert codes(await bench.ask({"payload": call})) == ["over_per_request"]

    run(work())


def test_fees_that_the_gate_fills_in_are_capped_too(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(base_fee=10**14)) as bench:
            assert codes(await bench.pay(1)) == ["over_per_request"]

    run(work())


def test_a_node_that_is_away_reserves_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(away=True)) as bench:
            with pytest.raises(ChainError) as caught:
                await bench.pay(1)
            assert caught.value.code == "chain_unavailable"
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 0

    run(work())


@pytest.mark.parametrize("trouble", ["silent", "refuse"])
def test_what_the_node_may_have_taken_stays_reserved(tmp_path: Path, trouble: str) -> None:
    async def work() -> None:
        chain = FakeChain()
        async with make_gate(tmp_path, chain=chain) as bench:
            setattr(chain, trouble, True if trouble == "silent" else "insufficient funds")
            request = await bench.pay(5)
            assert request.status is Status.SIGNED
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 5_000_000
            assert "broadcast_failed" in bench.kinds()

    run(work())


def test_a_revert_keeps_the_fee_and_gives_back_the_rest(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, chain=FakeChain(revert=True)) as bench:
            request = await bench.pay(5)
            await bench.settle()
            assert bench.gate.find(request.id).status is Status.REVERTED  # type: ignore[union-attr]
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 0
            assert bench.gate.state.book.used(FEES, None, bench.clock.now_ms) == 21_000 * 10**9

    run(work())


def test_a_dropped_transaction_is_released_only_when_its_nonce_is_final_elsewhere(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(mine_at_once=False)
        settings = Settings(confirmations_default=3)
        async with make_gate(tmp_path, chain=chain, settings=settings) as bench:
            request = await bench.pay(5)
            await bench.quiet()
            assert request.tx_hash is not None
            chain.drop(request.tx_hash)
            await bench.settlement.step()
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 5_000_000
            chain.starts[WALLET] = 0
            other = chain.take(request.raw or b"")
            other.raw = b"foreign"
            chain.sent = {b"\x01" * 32: other}  # type: ignore[dict-item]
            chain.mine()
            await bench.settlement.step()
            assert bench.gate.find(request.id).status is Status.BROADCAST  # type: ignore[union-attr]
            chain.mine(3)
            await bench.settlement.step()
            assert bench.gate.find(request.id).status is Status.DROPPED  # type: ignore[union-attr]
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 0

    run(work())


def test_confirmations_are_waited_for(tmp_path: Path) -> None:
    async def work() -> None:
        settings = Settings(confirmations_default=3)
        async with make_gate(tmp_path, settings=settings) as bench:
            request = await bench.pay(5)
            for blocks, status in ((0, Status.BROADCAST), (1, Status.BROADCAST), (1, Status.CONFIRMED)):
                bench.chain.head += blocks
                await bench.settle()
                assert bench.gate.find(request.id).status is status  # type: ignore[union-attr]

    run(work())


def test_a_message_the_policy_does_not_know_is_denied_and_never_signed(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.ask({"kind": "message", "payload": {"data": "0x" + "ab" * 32}})
            assert request.status is Status.DENIED
            assert request.signature is None

    run(work())


def test_an_expectation_that_differs_is_denied_whatever_the_policy_says(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            meant = {"asset": "USDC", "amount": "0.005", "recipient": checksum_address(ACME)}
            request = await bench.pay(5, expect=meant)
            assert request.status is Status.DENIED
            assert any(code.startswith("expect") for code in codes(request))
            assert (await bench.pay(5, expect={**meant, "amount": "5"})).status is not Status.DENIED

    run(work())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"payload": payment(1, **{"from": checksum_address(OTHER)})}, "wrong_wallet"),
        ({"payload": payment(1, chainId="0x1")}, "wrong_chain"),
    ],
)
def test_requests_for_another_wallet_or_chain_are_refused(tmp_path: Path, body: dict[str, Any], code: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            with pytest.raises(InvalidRequestError) as caught:
                await bench.ask(body)
            assert caught.value.code == code

    run(work())


def test_a_session_of_a_revoked_grant_ends(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            session = bench.session
            await bench.operations.command(bench.command("grant.revoke", {"grant": "grant_1"}))
            with pytest.raises(AuthenticationError) as caught:
                await bench.pay(1)
            assert caught.value.code == "grant_revoked"
            with pytest.raises(AuthenticationError):
                await bench.ask({"payload": payment(1)}, session)
            assert bench.chain.received == []

    run(work())


def test_an_unknown_token_opens_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            assert bench.gate.authenticate(TOKEN) == "grant_1"
            with pytest.raises(AuthenticationError) as caught:
                bench.gate.authenticate(TOKEN + "x")
            assert caught.value.code == "token_unknown"

    run(work())


def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            size = bench.store.log_size
            judged, _ = await bench.gate.preview(bench.session, bench.make_ask({"payload": payment(5)}))
            assert judged.decision.outcome.name == "ALLOW"
            assert bench.store.log_size == size
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 0

    run(work())


def test_a_signed_transaction_for_the_agent_is_not_broadcast_but_counts(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.ask({"kind": "sign_transaction", "payload": payment(5)})
            await bench.quiet()
            assert request.status is Status.SIGNED
            assert bench.chain.received == []
            assert bench.gate.state.book.used(SPENT, None, bench.clock.now_ms) == 5_000_000
            assert bench.gate.find_raw(request.raw or b"") is not None

    run(work())


def test_a_clock_that_went_back_is_refused_across_runs_and_clamped_within(tmp_path: Path) -> None:
    async def work() -> None:
        clock = Clock(NOW_MS + 10**7)
        async with make_gate(tmp_path, clock=clock) as bench:
            await bench.pay(1)
            clock.now_ms -= 10**6
            assert bench.gate.now_ms() == NOW_MS + 10**7
        with pytest.raises(StoreError) as caught:
            async with make_gate(tmp_path, clock=Clock(NOW_MS)):
                pass
        assert caught.value.code == "clock_behind"

    run(work())


def test_a_second_gate_on_the_same_store_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path):
            with pytest.raises(StoreError) as caught:
                async with make_gate(tmp_path):
                    pass
            assert caught.value.code == "store_locked"

    run(work())


def test_the_log_says_what_the_chain_got(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=POLICY) as bench:
            request = await bench.pay(5, memo="for the \x1b[31mred\u202e one")
            signed = [
                e
                for e in map(json.loads, (e for _, _, e in bench.store.entries()))
                if e["kind"] == "transaction_signed"
            ]
            assert signed[0]["tx"] == to_hex(request.tx_hash or b"")
            assert signed[0]["effects"][0].startswith("pays 5")
            salt, text = bench.store.private(request.id)["memo"]
            assert signed[0]["private"] == {"memo": to_hex(sha256(salt + text.encode()).digest())}
            assert not any(b"red" in entry for _, _, entry in bench.store.entries())

    run(work())


def test_many_at_once_ask_the_node_once(tmp_path: Path) -> None:
    class Counting(FakeChain):
        asked = 0

        async def fees(self) -> Any:
            type(self).asked += 1
            await asyncio.sleep(0.01)
            return await super().fees()

    async def work() -> None:
        async with make_gate(tmp_path, chain=Counting()) as bench:
            await asyncio.gather(*(bench.pay(1) for _ in range(50)))
            assert Counting.asked == 1

    run(work())

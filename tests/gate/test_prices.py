"""Prices from feeds on chain: believed only when all of the answer makes sense, and asked for once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ACME, NOW_MS, POLICY, Clock, make_gate, payment
from tests.fakes import FakeChain
from walletgate.chain import NodeRefusedError
from walletgate.encoding import checksum_address
from walletgate.errors import ChainError
from walletgate.gate.prices import Round, read_round, value_of
from walletgate.policy.model import Feed
from walletgate.types import Address, Status

FEED = Address(b"\x0f" * 20)
OTHER_FEED = Address(b"\x1f" * 20)
NOW_S = NOW_MS // 1000
E18 = 10**18
PRICES = f"""
[prices.USD]
max_age = "1h"
fixed = {{ USDC = "1" }}
[prices.USD.live.ETH]
feed = "{checksum_address(FEED)}"
decimals = 8
reference = "2000"
max_deviation = "10%"
[[limits]]
quote = "USD"
per_request = "100"
"""
FIVE_CENTS_OF_ETH = 5 * 10**16  # 100 USD at 2,000


def answer(price: int = 2000 * 10**8, *, at_s: int = NOW_S, round_id: int = 7, answered_in: int = 7) -> str:
    words = (round_id, price % 2**256, at_s, at_s, answered_in)
    return "0x" + "".join(f"{word:064x}" for word in words)


@dataclass
class FeedChain(FakeChain):
    """A fake chain with feeds; each answers after `slow_s`."""

    feeds: dict[str, Any] = field(default_factory=lambda: {checksum_address(FEED): answer()})
    slow_s: float = 0.0

    async def forward(self, method: str, params: Sequence[object]) -> object:
        found = await super().forward(method, params)
        call = params[0] if params else None
        if method != "eth_call" or not isinstance(call, dict):
            return found
        assert call["data"] == "0xfeaf968c"
        await asyncio.sleep(self.slow_s)
        said = self.feeds.get(call["to"])
        if isinstance(said, Exception):
            raise said
        return said

    @property
    def asked(self) -> int:
        return sum(method == "eth_call" for method, _ in self.forwarded)


def pay_ether(wei: int) -> dict[str, Any]:
    return {"payload": {"to": checksum_address(ACME), "value": hex(wei), "gas": hex(21_000)}}


def codes(request: Any) -> set[str]:
    return {reason["code"] for reason in json.loads(request.decision)["reasons"]} - {"permitted"}


def outcome(
    path: Path, chain: FeedChain, wei: int = 10**15, *, policy: str = POLICY + PRICES
) -> tuple[Status, set[str]]:
    async def work() -> Any:
        async with make_gate(path, policy=policy, chain=chain) as bench:
            request = await bench.ask(pay_ether(wei))
            return request.status, codes(request)

    found: tuple[Status, set[str]] = asyncio.run(work())
    return found


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (ChainError("no answer"), "price_missing"),
        (NodeRefusedError(3, "execution reverted"), "price_missing"),
        (None, "price_missing"),
        ("garbage", "price_missing"),
        ("0x", "price_missing"),
        (12, "price_missing"),
        (answer()[:-2], "price_missing"),
        (answer()[:-64], "price_missing"),
        (answer() + "00" * 32, "price_missing"),
        (" " + answer()[1:], "price_missing"),
        (answer(0), "price_missing"),
        (answer(-1), "price_missing"),
        (answer(-2000 * 10**8), "price_missing"),
        (answer(2**191), "price_missing"),
        (answer(at_s=0), "price_missing"),
        (answer(at_s=NOW_S + 61), "price_missing"),
        (answer(at_s=NOW_S + 3600), "price_missing"),
        (answer(round_id=8), "price_missing"),
        (answer(answered_in=2**80), "price_missing"),
        (answer(2200 * 10**8 + 1), "price_missing"),
        (answer(1800 * 10**8 - 1), "price_missing"),
        (answer(at_s=NOW_S - 3601), "price_too_old"),
    ],
)  # fmt: skip
def test_what_is_no_price_denies(tmp_path: Path, said: Any, code: str) -> None:
    chain = FeedChain(feeds={checksum_address(FEED): said})
    assert outcome(tmp_path, chain) == (Status.DENIED, {code})
    assert chain.received == []


@pytest.mark.parametrize(
    "said",
    [
        answer(), answer(at_s=NOW_S - 3600), answer(at_s=NOW_S + 60), answer(2200 * 10**8), answer(1800 * 10**8),
        answer(round_id=6), answer(round_id=2**80 - 1, answered_in=2**80 - 1),
    ],
)  # fmt: skip
def test_a_price_at_the_edge_of_sense_is_one(tmp_path: Path, said: str) -> None:
    chain = FeedChain(feeds={checksum_address(FEED): said})
    status, found = outcome(tmp_path, chain)
    assert (status in (Status.SIGNED, Status.BROADCAST), found) == (True, set())


@pytest.mark.parametrize(("extra", "denied"), [(-1, set()), (0, set()), (1, {"over_per_request"})])
def test_a_limit_in_a_currency_holds_to_the_wei(tmp_path: Path, extra: int, denied: set[str]) -> None:
    status, found = outcome(tmp_path, FeedChain(), FIVE_CENTS_OF_ETH + extra)
    assert (found, status is Status.DENIED) == (denied, bool(denied))


def test_a_feed_on_a_chain_that_the_gate_does_not_serve_is_no_price(tmp_path: Path) -> None:
    policy = POLICY + PRICES.replace("decimals = 8", 'decimals = 8\nchain = "ethereum"')
    chain = FeedChain()
    assert outcome(tmp_path, chain, policy=policy) == (Status.DENIED, {"price_missing"})
    assert chain.asked == 0


def test_feeds_are_not_asked_where_nothing_counts_in_their_currency(tmp_path: Path) -> None:
    chain = FeedChain()
    policy = POLICY + PRICES.split("[[limits]]", maxsplit=1)[0]
    assert outcome(tmp_path, chain, policy=policy)[0] is not Status.DENIED
    assert chain.asked == 0


def test_requests_at_the_same_time_ask_once_and_later_ones_again(tmp_path: Path) -> None:
    async def work() -> None:
        chain, clock = FeedChain(slow_s=0.02), Clock()
        async with make_gate(tmp_path, policy=POLICY + PRICES, chain=chain, clock=clock) as bench:
            requests = await asyncio.gather(*(bench.ask(pay_ether(10**15)) for _ in range(20)))
            assert all(request.status is not Status.DENIED for request in requests)
            assert chain.asked == 1
            clock.forward(2.9)
            await bench.ask(pay_ether(10**15))
            assert chain.asked == 1
            chain.feeds[checksum_address(FEED)] = answer(2100 * 10**8)
            clock.forward(0.1)
            assert codes(await bench.ask(pay_ether(FIVE_CENTS_OF_ETH))) == {"over_per_request"}
            assert chain.asked == 2

    asyncio.run(work())


def test_failures_are_not_kept(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FeedChain(feeds={})
        async with make_gate(tmp_path, policy=POLICY + PRICES, chain=chain) as bench:
            assert codes(await bench.ask(pay_ether(10**15))) == {"price_missing"}
            chain.feeds[checksum_address(FEED)] = answer()
            assert codes(await bench.ask(pay_ether(10**15))) == set()

    asyncio.run(work())


def test_fixed_prices_need_no_feed_but_every_live_one_is_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        policy = POLICY + PRICES.replace("[[limits]]", f"""
[prices.USD.live.GOLD]
feed = "{checksum_address(OTHER_FEED)}"
decimals = 8
[[limits]]""", 1).replace("[prices.USD]", f"""
[assets.GOLD]
address = "{checksum_address(bytes([9]) * 20)}"
decimals = 18
[prices.USD]""", 1)  # fmt: skip
        async with make_gate(tmp_path, policy=policy, chain=FeedChain()) as bench:
            assert codes(await bench.ask({"payload": payment(5)})) == set()
            assert codes(await bench.ask(pay_ether(10**15))) == set()

    asyncio.run(work())


def test_an_approval_is_judged_by_the_price_of_its_moment(tmp_path: Path) -> None:
    async def work() -> None:
        chain, clock = FeedChain(), Clock()
        policy = (
            POLICY + PRICES + '[[approve]]\nname = "dear"\nwhen = { quote = "USD", above = "50" }\nof = ["alice"]\n'
        )
        async with make_gate(tmp_path, policy=policy, chain=chain, clock=clock) as bench:
            request = await bench.ask(pay_ether(FIVE_CENTS_OF_ETH))
            assert request.status is Status.AWAITING_APPROVAL
            clock.forward(60)
            chain.feeds[checksum_address(FEED)] = answer(2100 * 10**8)
            denied = await bench.approve(request)
            assert denied.status is not Status.SIGNED and chain.received == []

    asyncio.run(work())


def test_prices_are_scaled_and_rounded_against_the_agent() -> None:
    assert read_round(answer(5), now_s=NOW_S) == Round(5, NOW_S)
    assert value_of(Round(2000 * 10**8, NOW_S), Feed((1, FEED), 8)) == 2000 * E18
    assert value_of(Round(7, NOW_S), Feed((1, FEED), 0)) == 7 * E18
    assert value_of(Round(1, NOW_S), Feed((1, FEED), 36)) == 1
    assert value_of(Round(10**18 + 1, NOW_S), Feed((1, FEED), 36)) == 2

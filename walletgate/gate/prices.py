"""Prices from feeds on chain: `latestRoundData()` of the contracts that policies name, and of no others.

What a feed says counts only when all of it makes sense: exactly five words, a price above zero, a round that was
answered and is the newest (`answeredInRound >= roundId`), a time that is not ahead of the clock by more than
`AHEAD_S_MAX`, and a value near enough to the operator's reference where there is one. Anything else, and a node
that does not answer, is no price: the judge then refuses whatever a limit in that currency counts. How old a
price may be is the judge's business, because it depends on when the request is judged.

Rounds are kept for `KEPT_MS`, by feed, and requests that want the same one at the same time wait for one call: a feed
moves every few minutes at most, and no request should pay for it twice. Failures are not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from walletgate.chain import Chain, NodeRefusedError
from walletgate.encoding import checksum_address, parse_hex
from walletgate.errors import ChainError, InvalidRequestError
from walletgate.policy import Policy, PriceFact
from walletgate.policy.addresses import ContractId
from walletgate.policy.amounts import QUOTE_DECIMALS
from walletgate.policy.model import Feed
from walletgate.types import Asset

LATEST_ROUND_DATA: Final = "0xfeaf968c"
KEPT_MS: Final = 3_000
AHEAD_S_MAX: Final = 60
"""How far a block's time may be ahead of this clock."""

ANSWER_MAX: Final = 2**191 - 1
"""Feeds answer an int192, carried in a word."""

ROUND_MAX: Final = 2**80 - 1
_WORD: Final = 32


@dataclass(frozen=True, slots=True)
class Round:
    """A feed's newest answer in its own decimals, and when it was given (Unix seconds)."""

    answer: int
    updated_at: int


class PriceSource:
    """The feeds of all chains that a gate serves."""

    def __init__(self, chains: Mapping[int, Chain], now_ms: Callable[[], int]) -> None:
        self._chains = chains
        self._now_ms = now_ms
        self._kept: dict[ContractId, tuple[int, Round]] = {}
        self._asking: dict[ContractId, asyncio.Task[Round | None]] = {}

    async def known(self, policy: Policy, chain_id: int) -> dict[tuple[Asset, str], PriceFact]:
        """What assets on `chain_id` are worth in the currencies that `policy` counts in, as far as it is known."""
        wanted = [
            (price, price.feed)
            for price in policy.terms.prices
            if price.feed is not None and price.unit in policy.index.units and price.asset.chain_id == chain_id
        ]
        rounds = await asyncio.gather(*(self._round(feed.contract) for _, feed in wanted))
        found = {}
        for (price, feed), newest in zip(wanted, rounds, strict=True):
            value = None if newest is None else value_of(newest, feed)
            if newest is not None and value is not None:
                at_s = min(newest.updated_at, self._now_ms() // 1000)
                found[price.asset, price.unit] = PriceFact(value, at_s)
        return found

    async def _round(self, feed: ContractId) -> Round | None:
        kept = self._kept.get(feed)
        if kept is not None and self._now_ms() - kept[0] < KEPT_MS:
            return kept[1]
        task = self._asking.get(feed)
        if task is None:
            task = self._asking[feed] = asyncio.ensure_future(self._ask(feed))
            task.add_done_callback(lambda _: self._asking.pop(feed, None))
        return await asyncio.shield(task)

    async def _ask(self, feed: ContractId) -> Round | None:
        chain_id, contract = feed
        chain = self._chains.get(chain_id)
        if chain is None:
            return None
        call = {"to": checksum_address(contract), "data": LATEST_ROUND_DATA}
        try:
            answer = await chain.forward("eth_call", (call, "latest"))
        except (ChainError, NodeRefusedError):
            return None
        newest = read_round(answer, now_s=self._now_ms() // 1000)
        if newest is not None:
            self._kept[feed] = (self._now_ms(), newest)
        return newest


def read_round(answer: object, *, now_s: int) -> Round | None:
    """The round in a node's answer to `latestRoundData()`; None if any part of it does not make sense."""
    try:
        data = parse_hex(answer, where="the round", size_bytes=5 * _WORD)
    except InvalidRequestError:
        return None
    words = [int.from_bytes(data[at : at + _WORD], "big") for at in range(0, len(data), _WORD)]
    round_id, price, _started_at, updated_at, answered_in = words
    if max(round_id, answered_in) > ROUND_MAX or answered_in < round_id:
        return None
    if not 0 < price <= ANSWER_MAX or not 0 < updated_at <= now_s + AHEAD_S_MAX:
        return None
    return Round(price, updated_at)


def value_of(newest: Round, feed: Feed) -> int | None:
    """What `newest` says in 10^-18 parts, rounded up and so against the agent; None if it is too far off."""
    value: int = -(-newest.answer * 10**QUOTE_DECIMALS // 10**feed.decimals)
    if feed.reference is None or feed.deviation_bips is None:
        return value
    is_near = abs(value - feed.reference) * 10_000 <= feed.reference * feed.deviation_bips
    return value if is_near else None

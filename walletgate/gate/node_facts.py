"""What every transaction needs of its chain before it can be judged: prices and the wallet's first nonce.

Asked once for all who want to know at the same moment, and kept for as long as it is good, so that a thousand
requests at once are one question to the node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any, TypeVar

from walletgate.chain import Chain
from walletgate.gate.judging import Fees
from walletgate.gate.state import State
from walletgate.types import Address, TransactionRequest

T = TypeVar("T")

FEE_QUOTE_MS = 2_000
"""How long a price per gas is good for filling in."""


class NodeFacts:
    """What the gate knows of its chains right now."""

    def __init__(self, chains: Mapping[int, Chain], state: State, now_ms: Callable[[], int]) -> None:
        self._chains = chains
        self._state = state
        self._now_ms = now_ms
        self._quotes: dict[int, tuple[int, Fees]] = {}
        self._asking: dict[Hashable, asyncio.Future[Any]] = {}

    async def fees(self, chain_id: int, asked: TransactionRequest) -> Fees:
        """Prices to fill in; no node is asked when the agent left none open.

        Raises:
            ChainError: the node was needed and failed.
        """
        if asked.gas_price is not None or None not in (asked.max_fee_per_gas, asked.max_priority_fee_per_gas):
            return Fees(0, 0)
        return await self.quote(chain_id)

    async def quote(self, chain_id: int) -> Fees:
        """Prices of now, at most `FEE_QUOTE_MS` old.

        Raises:
            ChainError: the node was needed and failed.
        """
        known = self._quotes.get(chain_id)
        if known is not None and self._now_ms() - known[0] < FEE_QUOTE_MS:
            return known[1]
        return await self._shared(("fees", chain_id), lambda: self._quote(chain_id))

    async def know_nonce(self, wallet: Address, chain_id: int) -> None:
        """Before the first use of a wallet on a chain: where its nonces stand, by the chain's own count.

        Raises:
            ChainError: the node was needed and failed.
        """
        if (wallet, chain_id) in self._state.chain_counts:
            return

        async def count() -> None:
            number = await self._chains[chain_id].nonce(wallet, "pending")
            self._state.count_on_chain(wallet, chain_id, number)

        await self._shared(("nonce", wallet, chain_id), count)

    async def _quote(self, chain_id: int) -> Fees:
        quote = await self._chains[chain_id].fees()
        fees = Fees(2 * quote.base_fee + quote.priority_fee, quote.priority_fee)
        self._quotes[chain_id] = (self._now_ms(), fees)
        return fees

    async def _shared(self, key: Hashable, ask: Callable[[], Coroutine[None, None, T]]) -> T:
        """The answer to one question, asked once for all who want to know it now."""
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(ask())
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        answer: T = await asyncio.shield(task)
        return answer

"""Limits by share of the balance, as an agent and an operator read them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.endpoints import make_endpoints
from tests.factories import POLICY, WALLET
from tests.fakes import FakeChain

SHARE = POLICY + '\n[[limits]]\nname = "tenth"\nasset = "ETH"\nmax_share = "10%"\n'


def test_a_share_is_listed_with_what_it_comes_to_now(tmp_path: Path) -> None:
    async def work() -> None:
        chain = FakeChain(balances={WALLET: 10**18})
        async with make_endpoints(tmp_path, policy=SHARE, chain=chain) as endpoints:
            _, seen = await endpoints.api("GET", "/v1/limits")
            (mine,) = [limit for limit in seen["limits"] if limit["kind"] == "share"]
            assert (mine["limit"], mine["available"]) == (str(10**17), str(10**17))
            assert mine["limit_text"] == "10% of what the wallet holds: 0.1 ETH"
            _, status = await endpoints.operate("GET", "/v1/status")
            assert mine in status["grants"][0]["limits"]
            chain.away = True
            _, blind = await endpoints.api("GET", "/v1/limits")
            (unknown,) = [limit for limit in blind["limits"] if limit["kind"] == "share"]
            assert (unknown["limit"], "not known now" in unknown["limit_text"]) == ("0", True)

    asyncio.run(work())

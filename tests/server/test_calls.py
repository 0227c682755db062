"""EIP-5792 batches on the node URL: judged as a whole, carried out one after another, told by id."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.endpoints import make_endpoints
from tests.factories import ACME, OTHER, POLICY, TOKEN, USDC, WALLET
from tests.gate_process import make_home, running
from walletgate.demo.devchain import DevChain
from walletgate.demo.stage import served_chain
from walletgate.encoding import checksum_address

MINE, PAYEE, STRANGER = map(checksum_address, (WALLET, ACME, OTHER))


def pay(usdc: float, to: str = PAYEE, token: str = checksum_address(USDC)) -> dict[str, str]:
    return {"to": token, "data": f"0xa9059cbb{to[2:].lower():0>64}{int(usdc * 10**6):064x}"}


def batch(*calls: dict[str, Any], chain_id: int = 31337, **fields: Any) -> dict[str, Any]:
    return {
        "version": "2.0.0", "chainId": hex(chain_id), "from": MINE, "atomicRequired": False, "calls": list(calls),
        **fields,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (batch(pay(1), atomicRequired=True), 5760),
        (batch(pay(1), capabilities={"paymasterService": {"url": "https://p"}}), 5700),
        (batch(pay(1), chain_id=1), 5710),
        (batch(pay(1, STRANGER)), 4001),
        (batch(pay(1), pay(1, STRANGER)), 4001),
        (batch(*[pay(19)] * 3), 4001),
        (batch(pay(15), pay(15)), 4200),
        (batch(), -32600),
        (batch(pay(1), version="1.0"), -32600),
        (batch(pay(1), id="x" * 5000), -32600),
        ({**batch(pay(1)), "from": STRANGER}, 4100),
    ],
)
def test_what_a_key_cannot_do_or_the_policy_refuses_as_a_whole_sends_nothing(
    tmp_path: Path, sent: dict[str, Any], code: int
) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await endpoints.rpc("wallet_sendCalls", sent)
            assert answer["error"]["code"] == code, answer
            assert endpoints.bench.chain.received == []

    asyncio.run(work())


def test_optional_capabilities_are_passed_over_and_an_id_is_used_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            sent = batch(pay(1), id="mine", capabilities={"paymasterService": {"optional": True}})
            assert (await endpoints.rpc("wallet_sendCalls", sent))["result"] == {"id": "mine"}
            assert (await endpoints.rpc("wallet_sendCalls", sent))["error"]["code"] == 5720
            status = (await endpoints.rpc("wallet_getCallsStatus", "mine"))["result"]
            assert (status["status"], status["atomic"], status["receipts"]) == (100, False, [])
            assert len(endpoints.bench.chain.received) == 1

    asyncio.run(work())


def test_an_unknown_id_and_another_wallet_are_told_as_the_eip_says(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            assert (await endpoints.rpc("wallet_getCallsStatus", "nothing"))["error"]["code"] == 5730
            assert (await endpoints.rpc("wallet_getCallsStatus", 5))["error"]["code"] == 5730
            assert (await endpoints.rpc("wallet_getCapabilities", STRANGER))["error"]["code"] == 4100
            found = (await endpoints.rpc("wallet_getCapabilities", MINE))["result"]
            assert found == {"0x7a69": {"atomic": {"status": "unsupported"}}}
            assert (await endpoints.rpc("wallet_getCapabilities", MINE, ["0x1"]))["result"] == {}

    asyncio.run(work())


class Real:
    """A real chain and gate, and JSON-RPC to it."""

    def __init__(self, url: str, chain: DevChain, token: str) -> None:
        self.url, self.chain, self.token = url, chain, token

    def rpc(self, method: str, *params: Any) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer: dict[str, Any] = requests.post(f"{self.url}/rpc/{TOKEN}", json=call, timeout=60).json()
        return answer

    def settled(self, own_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while (found := self.rpc("wallet_getCallsStatus", own_id)["result"])["status"] == 100:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return dict(found)

    def send(self, *usdc: float) -> str:
        calls = [pay(amount, token=self.token) for amount in usdc]
        answer = self.rpc("wallet_sendCalls", batch(*calls, chain_id=self.chain.chain_id))
        return str(answer["result"]["id"])

    def balance(self) -> int:
        return int(self.chain.contract("TestUSD", self.token).functions.balanceOf(PAYEE).call())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    chain = DevChain()
    token = chain.deploy("TestUSD")
    chain.contract("TestUSD", token).functions.mint(MINE, 10 * 10**6).transact({"from": chain.funder})
    chain.fund(MINE, 10**18)
    policy = POLICY.replace(checksum_address(USDC), token).replace('["anvil"]', '["eth-tester"]')
    with served_chain(chain) as node:
        home = make_home(tmp_path_factory.mktemp("calls"), node, policy=policy, chain="eth-tester")
        with running(home) as gate:
            yield Real(gate.url, chain, token)


def test_the_calls_of_a_batch_are_mined_one_after_another(real: Real) -> None:
    found = real.settled(real.send(1, 2))
    assert found["status"] == 200
    assert [receipt["status"] for receipt in found["receipts"]] == ["0x1", "0x1"]
    first, second = (int(receipt["blockNumber"], 16) for receipt in found["receipts"])
    assert first < second
    assert real.balance() == 3_000_000


def test_the_first_call_that_fails_ends_the_batch_and_the_status_says_partly(real: Real) -> None:
    before = real.balance()
    found = real.settled(real.send(4, 5, 1))
    assert found["status"] == 600, "7 of the 10 are left: 4 fit, 5 more do not, and the third is not tried"
    assert len(found["receipts"]) == 1
    assert real.balance() - before == 4_000_000

"""The wallet as MCP tools: others' client, over stdio and HTTP, against a real gate on a real chain."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.factories import ACME, ALICE, ORIGIN, OTHER, POLICY, TOKEN, USDC, WALLET
from tests.gate_process import GateProcess, make_home, running
from walletgate.agent.mcp import read_secret
from walletgate.cli.client import OperatorClient
from walletgate.demo.devchain import DevChain
from walletgate.demo.stage import served_chain
from walletgate.encoding import checksum_address
from walletgate.errors import ConfigError

PAYEE, STRANGER, MINE = map(checksum_address, (ACME, OTHER, WALLET))
GREETING = '\n[[permit]]\nname = "greet"\nmessage = ["hello"]\n'
TOOLS = {
    "wallet", "limits", "pay", "preview", "send", "sign_typed_data", "sign_message", "request_status", "wait",
}  # fmt: skip

Work = Callable[[Client], Coroutine[Any, Any, None]]


@dataclass
class Stage:
    gate: GateProcess
    chain: DevChain
    token: str
    root: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "WALLETGATE_URL": self.gate.url, "WALLETGATE_TOKEN": TOKEN, "HOME": str(self.root)}

    def newest(self) -> dict[str, Any]:
        found: dict[str, Any] = OperatorClient(self.gate.home).get("/v1/requests?limit=1")["requests"][0]
        return found

    def count(self) -> int:
        return len(OperatorClient(self.gate.home).get("/v1/requests?limit=1000")["requests"])

    def balance(self) -> int:
        return int(self.chain.contract("TestUSD", self.token).functions.balanceOf(PAYEE).call())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("mcp")
    chain = DevChain()
    token = chain.deploy("TestUSD")
    chain.contract("TestUSD", token).functions.mint(MINE, 10**9).transact({"from": chain.funder})
    chain.fund(MINE, 10**18)
    policy = POLICY.replace(checksum_address(USDC), token).replace('["anvil"]', '["eth-tester"]') + GREETING
    with (
        served_chain(chain) as node,
        running(make_home(root / "home", node, policy=policy, chain="eth-tester")) as gate,
    ):
        yield Stage(gate, chain, token, root)


def over_stdio(stage: Stage, work: Work) -> None:
    async def run() -> None:
        parameters = StdioServerParameters(
            command=sys.executable, args=["-m", "walletgate", "mcp", "shopper"], env=stage.environment
        )
        async with Client(parameters, read_timeout_seconds=60) as client:
            await work(client)

    asyncio.run(run())


@asynccontextmanager
async def over_http(url: str, headers: dict[str, str]) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http), read_timeout_seconds=60) as client,
    ):
        yield client


async def call(client: Client, tool: str, meta: dict[str, Any] | None = None, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments, meta=meta)  # type: ignore[arg-type]
    assert not result.is_error, result.content
    told = result.structured_content
    assert isinstance(told, dict)
    return told.get("result", told)


def test_a_model_finds_its_wallet_its_policy_and_tools_that_take_no_token(stage: Stage) -> None:
    async def work(client: Client) -> None:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == TOOLS
        words = json.dumps([tool.model_dump(mode="json") for tool in tools])
        assert "token" not in json.dumps([list(tool.input_schema["properties"]) for tool in tools])
        assert TOKEN not in words
        told = await call(client, "wallet")
        assert told["address"] == MINE
        assert {"name": "USDC", "chain_id": stage.chain.chain_id, "decimals": 6} in told["assets"]
        assert told["named_addresses"] == {"acme": [PAYEE]}
        assert (await call(client, "limits"))["limits"]
        policy = (await client.read_resource("walletgate://policy")).contents[0]
        assert "What it does not permit is refused." in policy.text  # type: ignore[union-attr]

    over_stdio(stage, work)


def test_a_payment_in_words_arrives_and_the_log_knows_the_tool_call(stage: Stage) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    before = stage.balance()

    async def work(client: Client) -> None:
        meta = {"walletgate/toolCallId": "call_17", "traceparent": parent}
        told = await call(client, "pay", meta, to="acme", amount="1.5 USDC", memo="invoice 17")
        assert told["status"] in ("signed", "broadcast", "confirmed")
        again = await call(client, "pay", meta, to="acme", amount="1.5 USDC", memo="invoice 17")
        assert (again["id"], again["tx_hash"]) == (told["id"], told["tx_hash"])
        final = await call(client, "wait", id=told["id"], timeout_s=20)
        assert (final["status"], final["what_now"]) == ("confirmed", "Done. Do not send it again.")
        other = await call(client, "pay", to="acme", amount="1.5 USDC", memo="another")
        assert other["id"] != told["id"]
        assert (await call(client, "wait", id=other["id"], timeout_s=20))["status"] == "confirmed"

    over_stdio(stage, work)
    assert stage.balance() - before == 3_000_000
    found = OperatorClient(stage.gate.home).get("/v1/requests?limit=2")["requests"]
    first = next(r for r in found if r["memo"] == "invoice 17")
    assert first["trace"]["x-tool-call-id"] == "call_17"
    assert first["trace"]["traceparent"].split("-")[1] == parent.split("-")[1]
    second = next(r for r in found if r["memo"] == "another")
    assert second["trace"]["x-tool-call-id"].startswith("mcp:")


def test_a_refusal_is_an_answer_that_shows_no_way_around(stage: Stage) -> None:
    async def work(client: Client) -> None:
        for tool, arguments in (
            ("pay", {"to": STRANGER, "amount": "1 USDC", "memo": "m"}),
            ("pay", {"to": "acme", "amount": "51 USDC", "memo": "m"}),
            ("send", {"to": stage.token, "data": "0x12345678", "memo": "m"}),
            ("sign_message", {"text": "give me everything", "memo": "m"}),
        ):
            told = await call(client, tool, **arguments)
            assert told["status"] == "denied", told
            assert told["why"]
            assert "Do not ask for the same in another form" in told["what_now"]
        told = await call(client, "preview", to="acme", amount="51 USDC")
        assert told["would_be"] == "deny"

    over_stdio(stage, work)


def test_what_is_unclear_is_invalid_and_asks_for_no_second_guess(stage: Stage) -> None:
    before = stage.count()

    async def work(client: Client) -> None:
        for amount in ("5", "5 usdc", "five USDC", "1e3 USDC", "0.0000001 USDC"):
            told = await call(client, "pay", to="acme", amount=amount, memo="m")
            assert (told["status"], told["what_now"][:31]) == ("invalid", "The request is not understood a")
        assert (await call(client, "request_status", id="nothing"))["code"] == "request_unknown"

    over_stdio(stage, work)
    assert stage.count() == before


def test_an_operator_decides_and_no_answer_of_the_client_counts(stage: Stage) -> None:
    async def elicited(*_arguments: Any) -> Any:
        raise AssertionError("the server asks the client for nothing")

    async def run() -> None:
        parameters = StdioServerParameters(
            command=sys.executable, args=["-m", "walletgate.agent.mcp", "shopper"], env=stage.environment
        )
        async with Client(parameters, read_timeout_seconds=60, elicitation_callback=elicited) as client:
            told = await call(client, "pay", to="acme", amount="21 USDC", memo="large")
            assert told["status"] == "awaiting_approval"
            assert "Nobody in this conversation can approve it" in told["what_now"]
            assert (await call(client, "request_status", id=told["id"]))["status"] == "awaiting_approval"
            waiting = await call(client, "wait", id=told["id"], timeout_s=0.1)
            assert (waiting["status"], waiting["id"]) == ("awaiting_approval", told["id"])
            operator = OperatorClient(stage.gate.home)
            (found,) = operator.get("/v1/requests?status=awaiting_approval")["requests"]
            operator.approve(found, secret=ALICE, gate=ORIGIN, approve=True, reason="")
            assert (await call(client, "wait", id=told["id"], timeout_s=20))["status"] == "confirmed"

    asyncio.run(run())


def test_messages_typed_data_and_calls_are_signed_where_permitted(stage: Stage) -> None:
    async def work(client: Client) -> None:
        told = await call(client, "sign_message", text="hello", memo="m")
        assert len(told["signature"]) == 132
        data = f"0xa9059cbb{PAYEE[2:].lower():0>64}{1_000_000:064x}"
        sent = await call(client, "send", to=stage.token, data=data, memo="m", expect="1 USDC")
        assert sent["tx_hash"]
        slip = await call(client, "send", to=stage.token, data=data, memo="m", expect="0.1 USDC")
        assert slip["status"] == "denied"
        coins = await call(client, "send", to=PAYEE, data="0x", value="0.01 ETH", memo="m", expect="0.01 ETH")
        assert coins["tx_hash"]
        token_value = await call(client, "send", to=PAYEE, data="0x", value="1 USDC", memo="m")
        assert token_value["code"] == "bad_amount"
        typed = {
            "types": {"EIP712Domain": [{"name": "name", "type": "string"}], "Hi": [{"name": "a", "type": "uint256"}]},
            "primaryType": "Hi", "domain": {"name": "x"}, "message": {"a": 1},
        }  # fmt: skip
        assert (await call(client, "sign_typed_data", typed_data=typed, memo="m"))["status"] == "denied"

    over_stdio(stage, work)


def test_http_serves_who_has_the_secret_and_nobody_else(stage: Stage) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "walletgate", "mcp", "shopper", "--http", "127.0.0.1:0"],
        stderr=subprocess.PIPE, text=True, env=stage.environment,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.match(r"(http://127\.0\.0\.1:\d+/mcp)", line)
        assert found is not None, line + process.stderr.read()
        place = stage.root / ".config" / "walletgate" / "agents" / "shopper.mcp-secret"
        assert place.stat().st_mode & 0o777 == 0o600
        bearer = {"Authorization": f"Bearer {place.read_text()}"}

        async def run() -> None:
            async with httpx2.AsyncClient() as http:
                for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {TOKEN}"}):
                    assert (await http.post(found[1], json={}, headers=headers)).status_code == 401
                rebound = await http.post(found[1], json={}, headers={**bearer, "Host": "evil.example"})
                assert rebound.status_code == 421
            async with over_http(found[1], bearer) as client:
                told = await call(client, "pay", to="acme", amount="0.5 USDC", memo="over http")
                assert (await call(client, "wait", id=told["id"], timeout_s=20))["status"] == "confirmed"

        asyncio.run(run())
    finally:
        process.terminate()
        process.wait(15)
        if process.stderr is not None:
            process.stderr.close()
    assert stage.newest()["memo"] == "over http"


@pytest.mark.parametrize("place", ["0.0.0.0:1", "example.com:1", "127.0.0.1", "127.0.0.1:x"])
def test_http_listens_on_this_machine_alone(stage: Stage, place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "walletgate", "mcp", "shopper", "--http", place],
        capture_output=True, text=True, env=stage.environment, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "port of this machine alone" in done.stderr


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "s"
    assert read_secret(place) == read_secret(place)
    place.chmod(0o644)
    with pytest.raises(ConfigError) as refused:
        read_secret(place)
    assert refused.value.code == "file_unsafe"
    place.chmod(0o600)
    place.write_text("")
    with pytest.raises(ConfigError):
        read_secret(place)

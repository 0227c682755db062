"""Policy tools beside a node: lint against the chain, explain with the price used, replay with what was recorded."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from tests.cli.test_cli import NOWHERE, quick, run
from tests.factories import ACME, ORIGIN, USDC, WALLET, make_gate
from tests.factories import POLICY as PLAIN
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate.test_prices import FEED, PRICES, FeedChain, answer, pay_ether
from walletgate.encoding import checksum_address, to_hex
from walletgate.gate.prices import LATEST_ROUND_DATA
from walletgate.server import create_home

assert quick

DECIMALS, SYMBOL = "0x313ce567", "0x95d89b41"


def word(number: int) -> str:
    return f"0x{number:064x}"


def chain_with(*, decimals: int = 6, symbol: bytes = b"USDC") -> FakeChain:
    chain = FakeChain()
    chain.reads[to_hex(USDC), "code"] = "0x60"
    chain.reads[to_hex(USDC), DECIMALS] = word(decimals)
    chain.reads[to_hex(USDC), SYMBOL] = "0x" + symbol.ljust(32, b"\0").hex()
    return chain


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(PLAIN)
    return path


def test_lint_holds_the_policy_against_the_chain(policy: Path) -> None:
    with served(chain_with()) as node:
        assert run("policy", "lint", policy, "--node", node).code == 0
        assert run("policy", "lint", policy, "--node", f"anvil={node}").code == 0
    with served(chain_with(decimals=18, symbol=b"\x1b[31mUSDC")) as node:
        said = run("policy", "lint", policy, "--node", node)
        assert said.code == 1
        assert "decimals_differ" in said.out
        assert "\x1b" not in said.out
        found = {
            each["code"]: each["severity"] for each in run("policy", "lint", policy, "--node", node, "--json").json
        }
        assert (found["decimals_differ"], found["symbol_differs"]) == ("error", "warning")


def test_lint_asks_the_homes_nodes_when_told(policy: Path, tmp_path: Path) -> None:
    with served(chain_with(decimals=8)) as node:
        home = create_home(tmp_path / "home", name="x/1", chains={"anvil": node})
        assert "decimals_differ" not in run("policy", "lint", policy, home=home).out
        assert "decimals_differ" in run("policy", "lint", policy, "--on-chain", home=home).out


def test_lint_without_an_answer_says_so(policy: Path) -> None:
    found = run("policy", "lint", policy, "--node", NOWHERE, "--json").json
    assert "chain_not_asked" in {each["code"] for each in found}


def test_lint_on_another_chain_is_an_error(policy: Path) -> None:
    with served(FakeChain(chain_id=1)) as node:
        said = run("policy", "lint", policy, "--node", node, "--json")
        assert said.code == 1
        assert said.json[0]["code"] == "chain_differs"


@pytest.mark.parametrize("node", ["ftp://x", "atlantis=http://x", "anvil=", ""])
def test_a_node_that_is_none_is_refused(policy: Path, node: str) -> None:
    said = run("policy", "lint", policy, "--node", node, "--json")
    assert (said.code, said.error) == (2, "node_invalid")


def request_file(folder: Path) -> Path:
    path = folder / "request.json"
    tip = {"to": checksum_address(ACME), "value": hex(10**15), "gas": hex(21_000)}
    path.write_text(json.dumps({"kind": "transaction", "payload": tip}))
    return path


def test_explain_says_which_price_was_used_and_how_old_it_is(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(PLAIN + PRICES)
    arguments = ["policy", "explain", policy, request_file(tmp_path), "--wallet", checksum_address(WALLET)]
    chain = FakeChain()
    chain.reads[to_hex(FEED), LATEST_ROUND_DATA] = answer(2100 * 10**8, at_s=int(time.time()) - 60)
    with served(chain) as node:
        said = run(*arguments, "--node", node)
        assert said.code == 0, said
        assert re.search(r"price used: 1 ETH = 2100 USD, 6\d s old, from its feed", said.out)
        assert "1 USDC = 1 USD, fixed" in said.out
        home = create_home(tmp_path / "home", name="x/1", chains={"anvil": node})
        assert "2100 USD" in run(*arguments, home=home).out
    said = run(*arguments, home=tmp_path / "none")
    assert said.code == 3
    assert "no price: 1 ETH in USD is not known; name a node with --node" in said.out


def test_explain_asks_for_the_balance_that_a_share_is_of(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(PLAIN + '\n[[limits]]\nname = "tenth"\nasset = "ETH"\nmax_share = "10%"\n')
    arguments = ["policy", "explain", policy, request_file(tmp_path), "--wallet", checksum_address(WALLET)]
    chain = FakeChain(answers={"eth_getBalance": hex(10**16)})
    with served(chain) as node:
        assert run(*arguments, "--node", node).code == 0
        chain.answers["eth_getBalance"] = hex(10**16 - 1)
        assert run(*arguments, "--node", node).code == 3


def test_replay_uses_recorded_prices_and_says_where_there_were_none(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", name=ORIGIN, chains={"anvil": NOWHERE})

    async def work(policy: str) -> None:
        async with make_gate(home.root, policy=policy, chain=FeedChain()) as bench:
            await bench.ask(pay_ether(10**15))
            await bench.quiet()

    asyncio.run(work(PLAIN + PRICES))
    policy = tmp_path / "policy.toml"
    policy.write_text(PLAIN + PRICES)
    same = run("policy", "replay", policy, "--since", "3000d", "--json", home=home).json
    assert same == {"requests": 1, "changed": [], "not_recorded": {}}
    policy.write_text(PLAIN + PRICES.replace('per_request = "100"', 'per_request = "1"'))
    (less,) = run("policy", "replay", policy, "--since", "3000d", "--json", home=home).json["changed"]
    assert (less["after"], less["notes"]) == ("deny", [])
    policy.write_text(PLAIN + PRICES.replace('"USD"', '"EUR"').replace("prices.USD", "prices.EUR"))
    said = run("policy", "replay", policy, "--since", "3000d", home=home).out
    assert "price not recorded: 1 requests were judged without it" in said

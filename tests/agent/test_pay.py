"""Payments in words: exact, by the policy's names, and nothing guessed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import walletgate
from tests.factories import ACME, OTHER, POLICY, TOKEN, USDC, WALLET
from tests.gate_process import make_home, running
from walletgate.agent.amounts import asset_named, from_units, split_amount, to_units
from walletgate.agent.answers import PinnedAsset, PolicyView
from walletgate.agent.pay import plan_payment
from walletgate.cli.client import OperatorClient
from walletgate.demo.devchain import DevChain
from walletgate.demo.stage import served_chain
from walletgate.encoding import checksum_address
from walletgate.errors import InvalidRequestError

PAYEE, STRANGER, MINE = map(checksum_address, (ACME, OTHER, WALLET))
COIN = PinnedAsset("ETH", 1, None, 18)
DOLLAR = PinnedAsset("USDC", 1, checksum_address(USDC), 6)
DOLLAR_ON_BASE = PinnedAsset("USDC", 8453, checksum_address(OTHER), 6)
BOOK = {"acme": ((None, PAYEE),), "two": ((None, PAYEE), (None, STRANGER)), "base-only": ((8453, PAYEE),)}
VIEW = PolicyView("p", "0x", (1, 8453), (COIN, DOLLAR), BOOK, ())
WIDE = PolicyView("p", "0x", (1, 8453), (DOLLAR, DOLLAR_ON_BASE), BOOK, ())


@given(st.integers(1, 2**256 - 1), st.integers(0, 30))
def test_units_become_words_and_the_same_units_again(units: int, decimals: int) -> None:
    asset = PinnedAsset("X", 1, None, decimals)
    assert to_units(from_units(units, asset), asset) == units


@pytest.mark.parametrize(
    "words",
    ["5", "USDC", "5USDC", "5  USDC", " 5 USDC", "5 USDC ", "-5 USDC", "+5 USDC", "1e3 USDC", "1,000 USDC", ".5 USDC",
     "5. USDC", "05 USDC", "$5 USDC", "\uff15 USDC", "5 US DC", "five USDC", "", None, 5, "NaN USDC", "0x5 USDC"],
)  # fmt: skip
def test_words_that_are_unclear_are_refused(words: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        split_amount(words)
    assert refused.value.code == "bad_amount"


@pytest.mark.parametrize("number", ["0", "0.0", "0.0000001", "1.1234567", str(2**256)])
def test_more_decimals_than_the_asset_has_and_nothing_are_no_amounts(number: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        to_units(number, DOLLAR)
    assert refused.value.code == "bad_amount"


def test_zeros_behind_what_counts_are_harmless() -> None:
    assert to_units("1.10000000000", DOLLAR) == 1_100_000


@pytest.mark.parametrize(
    ("view", "to", "amount", "chain", "code"),
    [
        (VIEW, "acme", "5 usdc", None, "asset_unknown"),
        (VIEW, "acme", "5 USD", None, "asset_unknown"),
        (VIEW, "Acme", "5 USDC", None, "payee_unknown"),
        (VIEW, "0x1234", "5 USDC", None, "payee_unknown"),
        (VIEW, "two", "5 USDC", None, "payee_unclear"),
        (VIEW, "base-only", "5 USDC", None, "payee_unknown"),
        (WIDE, "acme", "5 USDC", None, "chain_unclear"),
        (VIEW, "acme", "5 USDC", "polygon", "wrong_chain"),
        (VIEW, "acme", "5 USDC", "nowhere", "wrong_chain"),
        (VIEW, "acme", "5 USDC", "base", "asset_unknown"),
    ],
)
def test_names_that_do_not_say_one_thing_are_refused(
    view: PolicyView, to: str, amount: str, chain: str | None, code: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        plan_payment(view, to, amount, chain)
    assert refused.value.code == code


def test_a_plan_is_the_transfer_and_what_is_meant_by_it() -> None:
    plan = plan_payment(WIDE, "base-only", "5.25 USDC", "base")
    assert plan.payload["to"] == DOLLAR_ON_BASE.address
    assert plan.payload["chainId"] == "0x2105"
    assert plan.payload["data"] == f"0xa9059cbb{PAYEE[2:].lower():0>64}{5_250_000:064x}"
    assert plan.expect == {"asset": "USDC", "amount": "5.25", "recipient": PAYEE}
    assert asset_named(VIEW, "ETH", None) is COIN
    assert plan_payment(VIEW, "acme", "0.5 ETH").payload == {
        "chainId": "0x1", "to": PAYEE, "value": hex(5 * 10**17),
    }  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DevChain, str, walletgate.GateAccount, object]]:
    chain = DevChain()
    token = chain.deploy("TestUSD")
    chain.contract("TestUSD", token).functions.mint(MINE, 10**9).transact({"from": chain.funder})
    chain.fund(MINE, 10**18)
    policy = POLICY.replace(checksum_address(USDC), token).replace('["anvil"]', '["eth-tester"]')
    with served_chain(chain) as node:
        home = make_home(tmp_path_factory.mktemp("pay"), node, policy=policy, chain="eth-tester")
        with running(home) as gate:
            yield chain, token, walletgate.account("shopper", url=gate.url, token=TOKEN, wait_s=0.2), home


def test_five_dollars_to_acme_arrive(stage: tuple[DevChain, str, walletgate.GateAccount, object]) -> None:
    chain, token, account, home = stage
    balance = chain.contract("TestUSD", token).functions.balanceOf
    tx_hash = account.pay("acme", "5.5 USDC", memo="invoice 17", id="invoice-17")
    assert account.pay("acme", "5.5 USDC", memo="invoice 17", id="invoice-17") == tx_hash
    account.client.wait("invoice-17", 20, final=True)
    assert balance(PAYEE).call() == 5_500_000
    newest = OperatorClient(home).get("/v1/requests?limit=1")["requests"][0]  # type: ignore[arg-type]
    assert newest["memo"] == "invoice 17"
    assert "expect" in json.dumps(newest) or newest["effects"][0].startswith("pays 5.5 USDC")
    request = account.client.pay("acme", "0.25 ETH", chain="eth-tester")
    account.client.wait(request.id, 20, final=True)
    assert chain.web3.eth.get_balance(chain.web3.to_checksum_address(PAYEE)) == 25 * 10**16
    asyncio.run(account.async_pay("acme", "0.5 USDC"))


def test_what_the_policy_does_not_permit_is_denied_in_words_too(
    stage: tuple[DevChain, str, walletgate.GateAccount, object],
) -> None:
    account = stage[2]
    with pytest.raises(walletgate.GateDenied):
        account.pay(STRANGER, "1 USDC")
    with pytest.raises(walletgate.GateDenied):
        account.pay("acme", "51 USDC")
    with pytest.raises(walletgate.ApprovalPending):
        account.pay("acme", "21 USDC")


def test_the_async_client_pays_too(stage: tuple[DevChain, str, walletgate.GateAccount, object], tmp_path: Path) -> None:
    url = stage[2].client._transport.url

    async def work() -> str:
        client = walletgate.AsyncClient(url, TOKEN)
        try:
            assert (await client.policy()).name == "test"
            return (await client.pay("acme", "0.01 USDC")).status.value
        finally:
            await client.close()

    assert asyncio.run(work()) in ("signed", "broadcast", "confirmed")

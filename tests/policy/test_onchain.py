"""What a policy pins, held against what a node says; nothing that a node says can do more than raise a finding."""

from __future__ import annotations

import pytest

from tests.policy.conftest import ACME, APES, BASE, HEAD, ROUTER, USDC, WETH
from walletgate.policy import load
from walletgate.policy.lint import Severity
from walletgate.policy.onchain import ChainSays, disagreements, read_code, read_number, read_text, wanted

BODY = f"""
[[permit]]
name = "swap"
call = "router"
function = "f(uint256)"
[[permit]]
name = "pay"
transfer = "USDC"
to = ["acme"]
[[permit]]
name = "give"
nft = "apes"
to = ["safe"]
[[permit]]
name = "order"
sign = "Order"
contract = "shop"
[[limits]]
quote = "USD"
per_request = "100"
[prices.USD]
fixed = {{ USDC = "1" }}
[prices.USD.live.WETH]
feed = "{"0x" + "07" * 20}"
decimals = 8
max_age = "1h"
"""
FEED = b"\x07" * 20
POLICY = load(HEAD + BODY, source="p")
SHOP = b"\x02" * 20
EVERYTHING = {USDC.address, WETH.address, ROUTER, APES, SHOP, FEED}


def says(**changes):
    said = {
        "chain_id": BASE, "code": dict.fromkeys(EVERYTHING, True),
        "decimals": {USDC.address: 6, WETH.address: 18, FEED: 8},
        "symbols": {USDC.address: "USDC", WETH.address: "WETH"},
    }  # fmt: skip
    return ChainSays(**(said | changes))


def codes(said):
    return [(each.code, each.severity) for each in disagreements(POLICY, {BASE: said})]


def test_everything_that_rules_call_or_count_is_asked_for():
    asked = wanted(POLICY)[BASE]
    assert asked.code == EVERYTHING
    assert asked.tokens == {USDC.address, WETH.address}
    assert asked.numbers == asked.tokens | {FEED}
    assert ACME not in asked.code


def test_a_chain_that_agrees_is_no_finding():
    assert codes(says()) == []


def test_other_decimals_are_an_error_that_says_how_far_off():
    (found,) = disagreements(POLICY, {BASE: says(decimals={USDC.address: 18, WETH.address: 18, FEED: 8})})
    assert (found.code, found.severity) == ("decimals_differ", Severity.ERROR)
    assert "18 decimals on the chain and 6 here" in found.text
    assert "10^12 times too small" in found.text


def test_a_feed_of_other_decimals_is_an_error():
    assert codes(says(decimals={USDC.address: 6, WETH.address: 18, FEED: 18})) == [("decimals_differ", Severity.ERROR)]


@pytest.mark.parametrize("address", sorted(EVERYTHING))
def test_no_code_is_an_error(address):
    found = codes(says(code={**dict.fromkeys(EVERYTHING, True), address: False}))
    assert ("no_code", Severity.ERROR) in found


def test_a_contract_without_code_names_its_rule():
    (found,) = disagreements(POLICY, {BASE: says(code={**dict.fromkeys(EVERYTHING, True), ROUTER: False})})
    assert found.rule == "swap"


def test_a_foreign_symbol_is_a_warning_and_cannot_draw_on_the_screen():
    evil = "\x1b[2J\u202eCDSU\n"
    (found,) = disagreements(POLICY, {BASE: says(symbols={USDC.address: evil})})
    assert (found.code, found.severity) == ("symbol_differs", Severity.WARNING)
    assert found.text.isprintable()
    assert "\u202e" not in found.text


def test_unanswered_decimals_are_a_warning():
    found = codes(says(decimals={USDC.address: None, WETH.address: 18, FEED: 8}))
    assert found == [("decimals_unknown", Severity.WARNING)]


def test_another_chain_is_an_error_and_nothing_else_of_it_is_believed():
    assert codes(says(chain_id=1, decimals={USDC.address: 18})) == [("chain_differs", Severity.ERROR)]


def test_a_chain_that_was_not_asked_is_named():
    assert codes(ChainSays(problem="no answer")) == [("chain_not_asked", Severity.WARNING)]
    assert [each.code for each in disagreements(POLICY, {})] == ["chain_not_asked"]


def word(number):
    return f"{number:064x}"


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("0x" + word(6), 6), ("0x" + word(255), 255), ("0x" + word(256), None), ("0x", None), (None, None), (6, None),
        ("0x" + word(6) + "00", None), ("0x" + "f" * 10**6, None), ("0x" + word(6)[:-1] + " ", None), ({}, None),
    ],
)  # fmt: skip
def test_decimals_are_one_small_word(answer, number):
    assert read_number(answer) == number


def text(data, *, offset=32, size=None):
    return "0x" + word(offset) + word(len(data) if size is None else size) + data.ljust(32, b"\0").hex()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (text(b"USDC"), "USDC"), ("0x" + b"MKR".ljust(32, b"\0").hex(), "MKR"), ("0x" + word(0), None),
        (text(b"USDC", offset=64), None), (text(b"USDC", size=2**255), None), (text(b"USDC", size=0), None),
        (text(b"\xff\xfe"), None), (text(b"x" * 65), None), ("0x" + "ff" * 10**6, None), (None, None), ("USDC", None),
        (text(b"x" * 64), "x" * 64),
    ],
)  # fmt: skip
def test_symbols_are_short_text(answer, said):
    assert read_text(answer) == said


@pytest.mark.parametrize(("answer", "is_there"), [("0x", False), ("0x60", True), (None, None), (1, None), ("ok", None)])
def test_code_is_there_or_not_or_unknown(answer, is_there):
    assert read_code(answer) is is_there

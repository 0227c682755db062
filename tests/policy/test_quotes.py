"""Limits in a currency: with prices that are fixed or fresh, and never without."""

import pytest

from walletgate.policy import Facts, PriceFact
from walletgate.types import Booking, Bucket, Measure

BODY = """
[[permit]]
transfer = "*"
to = "acme"
[prices.USD]
fixed = { USDC = "1" }
live = { ETH = { feed = "router", decimals = 8 } }
max_age = "5m"
[[limits]]
quote = "USD"
per_request = "100"
per = { "24h" = "150" }
"""
E18 = 10**18


def eth_at(desk, value=2000, age_s=0):
    return Facts(prices={(desk.eth, "USD"): PriceFact(value * E18, desk.now - age_s)})


@pytest.mark.parametrize(("extra", "expected"), [(-1, "allow"), (0, "allow"), (1, "deny over_per_request")])
def test_assets_are_added_up_in_the_currency(desk, extra, expected):
    eth, usdc = 25 * 10**15, 50 * 10**6  # 50 USD each
    assert desk.outcome(BODY, desk.pay(eth, asset=desk.eth), desk.pay(usdc + extra), facts=eth_at(desk)) == expected


def test_value_rounds_against_the_agent(desk):
    body = BODY.replace('"100"', '"0.000000000000002"').replace('"150"', '"1"')
    assert desk.outcome(body, desk.pay(1, asset=desk.eth), facts=eth_at(desk, 2000)) == "allow"
    assert desk.outcome(body, desk.pay(1, asset=desk.eth), facts=eth_at(desk, 2001)) == "deny over_per_request"


def test_an_asset_without_a_price_is_denied(desk):
    assert desk.outcome(BODY, desk.pay(1, asset=desk.weth)) == "deny price_missing"
    assert desk.outcome(BODY, desk.pay(1, asset=desk.eth)) == "deny price_missing"
    assert desk.outcome(BODY, desk.pay(0, asset=desk.weth)) == "deny price_missing"
    zero = Facts(prices={(desk.eth, "USD"): PriceFact(0, desk.now)})
    assert desk.outcome(BODY, desk.pay(1, asset=desk.eth), facts=zero) == "deny price_missing"


@pytest.mark.parametrize(
    ("age_s", "expected"), [(-1, "deny price_too_old"), (0, "allow"), (300, "allow"), (301, "deny price_too_old")]
)
def test_a_price_has_an_age(desk, age_s, expected):
    assert desk.outcome(BODY, desk.pay(1, asset=desk.eth), facts=eth_at(desk, age_s=age_s)) == expected


def test_windows_ask_for_the_currencys_bucket_and_bookings_fill_it(desk):
    asked = []

    def count(bucket, _window):
        asked.append(bucket)
        return 0

    decision = desk.decide(BODY, desk.pay(5 * 10**6), used=count)
    assert asked == [Bucket(Measure.QUOTE, grant="g1", unit="USD")]
    assert Booking(Measure.QUOTE, 5 * E18, desk.usdc, desk.acme, None, "USD") in decision.bookings
    assert desk.outcome(BODY, desk.pay(5 * 10**6), used=145 * E18) == "allow"
    assert desk.outcome(BODY, desk.pay(5 * 10**6), used=145 * E18 + 1) == "deny over_window"


def test_an_approval_may_count_in_the_currency(desk):
    body = BODY + '[[approve]]\nwhen = {quote = "USD", above = "10"}\n'
    assert desk.outcome(body, desk.pay(10 * 10**6)) == "allow"
    assert desk.outcome(body, desk.pay(10 * 10**6 + 1)) == "require_approval needs_approval"


def test_prices_that_nothing_counts_in_are_not_needed(desk):
    body = BODY.split("[[limits]]", maxsplit=1)[0]
    assert desk.outcome(body, desk.pay(1, asset=desk.weth)) == "allow"

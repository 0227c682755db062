"""How a policy names where prices come from, and how it is refused when it does not say it in full."""

import pytest

from walletgate.encoding import checksum_address
from walletgate.policy import Facts, Need, PriceFact
from walletgate.policy.cases import run_cases
from walletgate.policy.model import Feed, Price
from walletgate.policy.words import show

E18 = 10**18
LIMIT = '[[limits]]\nquote = "USD"\nper_request = "100"\n'
FEED = 'feed = "router"\ndecimals = 8\n'


def live(text, age='max_age = "5m"\n'):
    return f"[prices.USD]\n{age}[prices.USD.live.ETH]\n{text}"


def test_a_feed_is_read_in_full(desk):
    policy = desk.load(
        live(FEED + 'chain = "ethereum"\nreference = "3000"\nmax_deviation = "12.5%"\nmax_age = "20m"\n')
    )
    feed = Feed((1, desk.router), 8, 3000 * E18, 1250)
    assert policy.terms.prices == (Price(desk.eth, "USD", None, 1200, feed),)


def test_a_feed_is_on_the_policys_only_chain_unless_it_says_otherwise(desk):
    (price,) = desk.load(live(f'feed = "{checksum_address(desk.acme)}"\ndecimals = 18\n')).terms.prices
    assert (price.feed, price.age_max_s) == (Feed((desk.base, desk.acme), 18), 300)
    seven = bytes([7]) * 20
    pinned = f'[addresses.pinned]\naddress = "{checksum_address(seven)}"\nchain = "base"\n'
    (price,) = desk.load(live('feed = "pinned"\ndecimals = 0\n') + pinned).terms.prices
    assert price.feed.contract == (desk.base, seven)


@pytest.mark.parametrize(
    ("text", "key", "code"),
    [
        ("decimals = 8", ".feed", "missing_key"),
        ('feed = "router"', ".decimals", "missing_key"),
        ('feed = "nobody"\ndecimals = 8', ".feed", "unknown_name"),
        ('feed = "*"\ndecimals = 8', ".feed", "too_wide"),
        ('feed = "self"\ndecimals = 8', ".feed", "too_wide"),
        ('feed = "tornado"\ndecimals = 8', ".feed", "too_wide"),
        (f'feed = "0x{"ab" * 20}"\ndecimals = 8', ".feed", "bad_checksum"),
        ('feed = ["router"]\ndecimals = 8', ".feed", "wrong_type"),
        ('feed = "router"\ndecimals = 37', ".decimals", "out_of_range"),
        ('feed = "router"\ndecimals = -1', ".decimals", "out_of_range"),
        ('feed = "router"\ndecimals = "8"', ".decimals", "wrong_type"),
        (FEED + 'chain = "bases"', ".chain", "unknown_chain"),
        (FEED + 'chain = ["base", "ethereum"]', ".chain", "wrong_type"),
        (FEED + 'reference = "3000"', ".max_deviation", "missing_key"),
        (FEED + 'max_deviation = "5%"', ".reference", "missing_key"),
        (FEED + 'reference = "0"\nmax_deviation = "5%"', ".reference", "bad_amount"),
        (FEED + 'reference = "1"\nmax_deviation = "101%"', ".max_deviation", "bad_share"),
        (FEED + 'max_age = "soon"', ".max_age", "bad_duration"),
        (FEED + "address = 1", ".address", "unknown_key"),
    ],
)  # fmt: skip
def test_refuses_a_feed_that_is_not_said_in_full(desk, text, key, code):
    assert desk.refuse(live(text), "prices.USD.live.ETH" + key) == code


def test_a_feed_needs_its_chain_where_there_are_several(desk):
    text = desk.head.replace('["base"]', '["base", "ethereum"]').replace("decimals = ", 'chain = "base"\ndecimals = ')
    assert desk.refuse(text + live(FEED), "prices.USD.live.ETH.feed", whole=True) == "missing_key"


def test_prices_are_needed_only_where_something_counts_in_them(desk):
    assert Need.PRICES not in desk.load(live(FEED)).needs
    assert Need.PRICES in desk.load(live(FEED) + LIMIT).needs
    fixed = '[prices.USD]\nfixed = {ETH = "1"}\n'
    assert Need.PRICES not in desk.load(fixed + LIMIT).needs
    euro = '[prices.EUR]\nfixed = {ETH = "1"}\n[[limits]]\nquote = "EUR"\nper_request = "1"\n'
    assert Need.PRICES not in desk.load(live(FEED) + euro).needs


def test_where_a_price_comes_from_is_in_the_policys_hash(desk):
    texts = [
        live(FEED), live(FEED.replace("8", "9")), live(FEED.replace("router", "safe")), live(FEED + 'max_age = "6m"\n'),
        live(FEED + 'reference = "1"\nmax_deviation = "5%"\n'), live(FEED + 'chain = "ethereum"\n'),
    ]  # fmt: skip
    assert len({desk.load(text).hash for text in texts}) == len(texts)
    assert desk.load(live(FEED)).hash == desk.load(live(FEED + 'chain = "base"\nmax_age = "5m"\n', age="")).hash


def test_words_say_where_prices_come_from(desk):
    text = '[prices.USD]\nmax_age = "1h"\nfixed = { USDC = "1" }\n[prices.USD.live.ETH]\n' + FEED
    lines = show(desk.load(text + 'reference = "3000"\nmax_deviation = "25%"\n'))
    assert "1 USDC is worth 1 USD." in lines
    assert (
        "1 ETH is worth what router on base says in USD, with 8 decimals, at most 1 hour ago and within 25% of 3000."
        in lines
    )


@pytest.mark.parametrize(("price", "expected"), [(1999, "allow"), (2000, "allow"), (2001, "deny over_per_request")])
def test_a_limit_in_a_currency_holds_to_the_unit(desk, price, expected):
    body = live(FEED) + LIMIT + '[[permit]]\ntransfer = "ETH"\nto = "acme"\n'
    facts = Facts(prices={(desk.eth, "USD"): PriceFact(price * E18, desk.now)})
    assert desk.outcome(body, desk.pay(5 * 10**16, asset=desk.eth), facts=facts) == expected


def test_cases_beside_a_policy_can_say_the_price(desk):
    policy = desk.load(live(FEED) + LIMIT + '[[permit]]\ntransfer = "ETH"\nto = "acme"\n')
    text = f"""
version = 1
wallet = "{checksum_address(desk.wallet)}"
chain = "base"
now = 2026-01-01T00:00:00Z
[[case]]
name = "known"
pay = "0.05 ETH"
to = "acme"
prices = {{ USD = {{ ETH = "2000" }} }}
want = "allow"
[[case]]
name = "dear"
pay = "0.05 ETH"
to = "acme"
prices = {{ USD = {{ ETH = "2000.01" }} }}
want = "deny"
because = "over_per_request"
[[case]]
name = "unknown"
pay = "0.05 ETH"
to = "acme"
want = "deny"
because = "price_missing"
"""
    assert [result.passed for result in run_cases(policy, text, source="cases.toml")] == [True, True, True]

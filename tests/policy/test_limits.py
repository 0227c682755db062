"""Limits: inclusive, summed over the whole request, in every scope; boundaries in threes."""

import pytest

from walletgate.policy import Facts
from walletgate.types import Booking, Bucket, Call, Fee, Measure

PAY = '[[permit]]\ntransfer = "*"\nto = ["acme", "shop"]\n'
TEN = 10 * 10**6


def limit(**keys):
    lines = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return PAY + "[[limits]]\n" + lines


@pytest.mark.parametrize(
    ("amount", "expected"), [(TEN - 1, "allow"), (TEN, "allow"), (TEN + 1, "deny over_per_request")]
)
def test_per_request_is_inclusive(desk, amount, expected):
    assert desk.outcome(limit(asset='"USDC"', per_request='"10"'), desk.pay(amount)) == expected


@pytest.mark.parametrize(("used", "expected"), [(TEN - 2, "allow"), (TEN - 1, "allow"), (TEN, "deny over_window")])
def test_a_window_is_inclusive(desk, used, expected):
    assert desk.outcome(limit(asset='"USDC"', per='{"24h" = "10"}'), desk.pay(1), used=used) == expected


@pytest.mark.parametrize(("used", "expected"), [(TEN - 2, "allow"), (TEN - 1, "allow"), (TEN, "deny over_lifetime")])
def test_a_lifetime_is_inclusive(desk, used, expected):
    asked = []

    def count(bucket, window):
        asked.append((bucket, window))
        return used

    assert desk.outcome(limit(asset='"USDC"', lifetime='"10"'), desk.pay(1), used=count) == expected
    assert asked == [(Bucket(Measure.AMOUNT, desk.usdc, grant="g1"), None)]


def test_the_whole_request_is_summed(desk):
    body = limit(asset='"USDC"', per_request='"10"')
    assert desk.outcome(body, desk.pay(TEN - 1), desk.pay(1, to=desk.shop)) == "allow"
    assert desk.outcome(body, desk.pay(TEN), desk.pay(1, to=desk.shop)) == "deny over_per_request"
    assert desk.outcome(body, *[desk.pay(1)] * 3, desk.pay(TEN, asset=desk.eth)) == "allow"


def test_every_window_is_asked(desk):
    body = limit(asset='"USDC"', per='{"24h" = "50", "30d" = "500", "1h" = "20"}')
    asked = []

    def count(bucket, window):
        asked.append(window)
        return 0

    desk.decide(body, desk.pay(1), used=count)
    assert asked == [3_600_000, 86_400_000, 2_592_000_000]
    assert desk.outcome(body, desk.pay(1), used=lambda _b, w: 500 * 10**6 if w > 10**9 else 0) == "deny over_window"


def test_a_denial_carries_the_rule_and_both_numbers(desk):
    body = limit(name='"daily"', asset='"USDC"', per='{"24h" = "10"}')
    (reason,) = desk.decide(body, desk.pay(3), used=TEN).reasons
    assert (reason.code, reason.rule, reason.actual, reason.bound, reason.unit) == (
        "over_window", "daily", TEN + 3, TEN, "USDC",
    )  # fmt: skip
    assert reason.text == "10.000003 USDC in any 24 hours would be more than 10 USDC"


@pytest.mark.parametrize(
    ("scope", "bucket"),
    [
        ("wallet", {"wallet": b"\xaa" * 20}),
        ("grant", {"grant": "g1"}),
        ("group", {"group": "team"}),
        ("recipient", {"grant": "g1", "recipient": b"\x01" * 20}),
    ],
)
def test_a_scope_asks_for_its_own_bucket(desk, scope, bucket):
    asked = []

    def count(found, _window):
        asked.append(found)
        return 0

    body = limit(asset='"USDC"', scope=f'"{scope}"', per='{"24h" = "10"}')
    assert desk.outcome(body, desk.pay(1), used=count, group="team") == "allow"
    assert asked == [Bucket(Measure.AMOUNT, desk.usdc, **bucket)]


def test_a_group_limit_needs_a_group(desk):
    body = limit(asset='"USDC"', scope='"group"', per_request='"10"')
    assert desk.outcome(body, desk.pay(1)) == "deny fact_missing"


def test_a_recipient_limit_is_each_recipients_own(desk):
    body = limit(asset='"USDC"', scope='"recipient"', per_request='"10"')
    assert desk.outcome(body, desk.pay(TEN), desk.pay(TEN, to=desk.shop)) == "allow"
    assert desk.outcome(body, desk.pay(TEN), desk.pay(1)) == "deny over_per_request"


def test_a_limit_may_speak_of_some_recipients(desk):
    body = limit(asset='"USDC"', to='"shop"', per_request='"10"')
    assert desk.outcome(body, desk.pay(TEN + 1)) == "allow"
    assert desk.outcome(body, desk.pay(TEN + 1, to=desk.shop)) == "deny over_per_request"


def test_a_contract_limit_counts_what_goes_through_it(desk):
    body = limit(asset='"USDC"', contract='"router"', per_request='"10"').replace('shop"]', 'shop"]\nvia = "*"')
    assert desk.outcome(body, desk.pay(TEN, via=desk.router)) == "allow"
    assert desk.outcome(body, desk.pay(TEN + 1, via=desk.router)) == "deny over_per_request"
    assert desk.outcome(body, desk.pay(TEN + 1)) == "allow"


FEE_CAP = 10**15


@pytest.mark.parametrize(
    ("fee", "expected"), [(FEE_CAP - 1, "allow"), (FEE_CAP, "allow"), (FEE_CAP + 1, "deny over_per_request")]
)
def test_fees_per_request_are_inclusive(desk, fee, expected):
    assert desk.outcome(PAY, desk.pay(1), Fee(desk.base, fee)) == expected


def test_fees_are_summed_and_have_windows(desk):
    body = limit(fees='"ETH"', per='{"24h" = "0.002"}')
    assert desk.outcome(body, desk.pay(1), Fee(desk.base, FEE_CAP), Fee(desk.base, 1)) == "deny over_per_request"
    assert desk.outcome(body, desk.pay(1), Fee(desk.base, FEE_CAP), used=FEE_CAP) == "allow"
    assert desk.outcome(body, desk.pay(1), Fee(desk.base, FEE_CAP), used=FEE_CAP + 1) == "deny over_window"


def test_fees_do_not_use_up_the_coins_own_limit(desk):
    body = limit(asset='"ETH"', per_request='"0.0005"')
    assert desk.outcome(body, desk.pay(5 * 10**14, asset=desk.eth), Fee(desk.base, FEE_CAP)) == "allow"


@pytest.mark.parametrize(("used", "expected"), [(18, "allow"), (19, "allow"), (20, "deny over_window")])
def test_requests_are_counted(desk, used, expected):
    body = limit(count='"requests"', per='{"1h" = 20}')
    assert desk.outcome(body, desk.pay(1), desk.pay(2), used=used) == expected


@pytest.mark.parametrize(("amount", "expected"), [(99, "allow"), (100, "allow"), (101, "deny over_share")])
def test_a_share_of_the_balance_is_inclusive_and_rounds_against_the_agent(desk, amount, expected):
    body = limit(asset='"USDC"', max_share='"10%"')
    assert desk.outcome(body, desk.pay(amount), facts=Facts(balances={desk.usdc: 1009})) == expected


def test_a_share_of_an_unknown_balance_is_denied(desk):
    body = limit(asset='"USDC"', max_share='"10%"')
    assert desk.outcome(body, desk.pay(0)) == "deny fact_missing"
    assert desk.outcome(body, desk.pay(1), facts=Facts(balances={desk.eth: 10**9})) == "deny fact_missing"


def test_what_comes_in_takes_nothing(desk):
    body = PAY.replace('"shop"]', '"shop", "self"]\nfrom = "*"') + '[[limits]]\nasset = "USDC"\nper_request = "10"\n'
    decision = desk.decide(body, desk.pay(TEN + 1, sender=desk.thief, to=desk.wallet))
    assert decision.outcome.name == "ALLOW"
    assert [each.measure for each in decision.bookings] == [Measure.COUNT]
    assert desk.outcome(body, desk.pay(TEN + 1, sender=desk.thief)) == "deny over_per_request"


def test_bookings_name_asset_recipient_and_contract(desk):
    decision = desk.decide(PAY + 'via = "router"\n', desk.pay(1), desk.pay(2), desk.pay(3, via=desk.router), desk.fee)
    assert decision.bookings == (
        Booking(Measure.AMOUNT, 3, desk.usdc, desk.acme),
        Booking(Measure.AMOUNT, 3, desk.usdc, desk.acme, desk.router),
        Booking(Measure.FEE, 10**14, desk.eth),
        Booking(Measure.COUNT, 1),
    )


def test_a_denied_request_books_nothing(desk):
    assert desk.decide("", desk.pay(1)).bookings == ()


def test_a_coin_of_several_chains_has_a_limit_on_each(desk):
    policy = desk.load(
        'version = 1\nname = "x"\nchains = ["base", "ethereum"]\n[[limits]]\nasset = "ETH"\nper_request = "1"\n'
        '[[limits]]\nasset = "ETH"\nper_request = "0.1"\nchain = "ethereum"\n',
        head="",
    )
    assert len(policy.terms.limits) == 3


def test_value_of_a_call_counts(desk):
    body = limit(asset='"ETH"', per_request='"1"') + '[[permit]]\ncall = "router"\nfunction = "f()"\nspend = "ETH"\n'
    call = Call(desk.base, desk.router, bytes.fromhex("26121ff0"), "f()", (), value=10**18)
    assert desk.outcome(body, call, desk.pay(10**18, asset=desk.eth, to=desk.router, via=desk.router)) == "allow"
    assert (
        desk.outcome(body, call, desk.pay(10**18 + 1, asset=desk.eth, to=desk.router, via=desk.router))
        == "deny over_per_request"
    )


def test_gas_has_a_bound(desk):
    policy = desk.load(PAY, top="max_gas = 50000\n")
    for gas, expected in (
        (49_999, "allow"),
        (50_000, "allow"),
        (50_001, "deny gas_too_high"),
        (None, "deny fact_missing"),
    ):
        assert desk.outcome(policy, desk.pay(1), desk.fee, facts=Facts(gas=gas)) == expected

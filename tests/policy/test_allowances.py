"""Allowances: to whom, how much, for how long, and what they count as."""

import pytest

from walletgate.policy import Facts
from walletgate.types import UINT256_MAX, ZERO_ADDRESS, Allowance, Asset, Measure, NftApproval, OperatorApproval

BODY = '[[permit]]\nname = "let"\nallowance = "USDC"\nspender = ["router"]\nmax = "50"\n'
LIMIT = '[[limits]]\nasset = "USDC"\nper_request = "20"\nper = {"24h" = "60"}\n'
FIFTY = 50 * 10**6


@pytest.fixture
def give(desk):
    def make(amount, spender=None, **changes):
        asset, owner = changes.pop("asset", desk.usdc), changes.pop("owner", desk.wallet)
        return Allowance(asset, owner, spender or desk.router, amount, **changes)

    return make


@pytest.mark.parametrize(
    ("amount", "expected"), [(FIFTY - 1, "allow"), (FIFTY, "allow"), (FIFTY + 1, "deny allowance_too_large")]
)
def test_an_allowance_has_a_most(desk, give, amount, expected):
    assert desk.outcome(BODY, give(amount)) == expected


def test_other_allowances_are_denied(desk, give):
    assert desk.outcome(BODY, give(1, desk.thief)) == "deny spender_not_permitted"
    assert desk.outcome(BODY, give(1, asset=desk.weth)) == "deny spender_not_permitted"
    assert desk.outcome(BODY, give(UINT256_MAX)) == "deny allowance_too_large"
    assert desk.outcome(BODY, give(1, owner=desk.shop)) == "deny foreign_sender"
    assert desk.outcome("", give(1)) == "deny spender_not_permitted"


def test_an_allowance_counts_like_a_payment(desk, give):
    assert desk.outcome(BODY + LIMIT, give(20 * 10**6)) == "allow"
    assert desk.outcome(BODY + LIMIT, give(20 * 10**6 + 1)) == "deny over_per_request"
    assert desk.outcome(BODY + LIMIT, give(20 * 10**6), used=40 * 10**6 + 1) == "deny over_window"
    (booking, _) = desk.decide(BODY + LIMIT, give(7)).bookings
    assert (booking.measure, booking.amount, booking.recipient) == (Measure.AMOUNT, 7, desk.router)


def test_an_unlimited_allowance_exceeds_every_limit(desk, give):
    body = BODY.replace('"50"', '"unlimited"')
    assert desk.outcome(body, give(UINT256_MAX)) == "allow"
    assert desk.outcome(body + LIMIT, give(UINT256_MAX)) == "deny over_per_request over_window"


def test_an_allowance_that_does_not_count_is_bounded_by_its_rule_alone(desk, give):
    body = BODY + "counted = false\n" + LIMIT
    assert desk.outcome(body, give(FIFTY), used=60 * 10**6) == "allow"
    assert desk.outcome(body, give(FIFTY + 1)) == "deny allowance_too_large"
    assert [each.measure for each in desk.decide(body, give(FIFTY)).bookings] == [Measure.COUNT]
    unlimited = body.replace('"50"', '"unlimited"')
    assert desk.outcome(unlimited, give(UINT256_MAX)) == "allow"


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        (3599, "allow"),
        (3600, "allow"),
        (3601, "deny allowance_too_long"),
        (None, "deny allowance_too_long"),
        (-5, "allow"),
    ],
)
def test_an_allowance_has_an_end(desk, give, life, expected):
    end = None if life is None else desk.now + life
    assert desk.outcome(BODY + 'max_ttl = "1h"\n', give(1, expires_at=end)) == expected


def test_without_a_longest_life_an_allowance_may_stay(desk, give):
    assert desk.outcome(BODY, give(1)) == "allow"


def test_increases_are_added_to_what_is_there(desk, give):
    def facts(amount):
        return Facts(allowances={(desk.usdc, desk.wallet, desk.router): amount})

    assert desk.outcome(BODY, give(1, added=True)) == "deny fact_missing"
    assert desk.outcome(BODY, give(1, added=True), facts=facts(FIFTY - 1)) == "allow"
    assert desk.outcome(BODY, give(1, added=True), facts=facts(FIFTY)) == "deny allowance_too_large"
    assert desk.outcome(BODY, give(FIFTY), give(1, added=True)) == "deny allowance_too_large"
    assert desk.outcome(BODY, give(1), give(2, added=True), facts=facts(FIFTY)) == "allow"
    twice = give(FIFTY, added=True), give(1, added=True)
    assert desk.outcome(BODY, *twice, facts=facts(0)) == "deny allowance_too_large"


def test_increases_without_a_most_need_no_fact(desk, give):
    assert desk.outcome(BODY.replace('"50"', '"unlimited"'), give(1, added=True)) == "allow"


REVOKE = '[[permit]]\nrevoke = "*"\n'


def test_taking_back_is_permitted_only_when_named(desk, give):
    assert desk.outcome(REVOKE, give(0, desk.thief)) == "allow"
    assert desk.outcome(REVOKE, give(0, asset=Asset(desk.base, desk.thief))) == "allow"
    assert desk.outcome("", give(0)) == "deny revoke_not_permitted"
    assert desk.outcome(BODY, give(0)) == "allow"
    assert desk.outcome(BODY, give(0, desk.thief)) == "deny revoke_not_permitted"
    assert desk.outcome(REVOKE, give(0, added=True)) == "deny spender_not_permitted"
    assert desk.outcome(REVOKE, give(0, owner=desk.shop)) == "deny foreign_sender"


def test_operators_and_approved_tokens_are_taken_back_too(desk):
    apes = Asset(desk.base, desk.apes)
    assert desk.outcome(REVOKE, NftApproval(apes, 1, desk.wallet, ZERO_ADDRESS)) == "allow"
    assert desk.outcome(REVOKE, OperatorApproval(apes, desk.wallet, desk.thief, approved=False)) == "allow"
    assert (
        desk.outcome(REVOKE, OperatorApproval(apes, desk.wallet, desk.thief, approved=True))
        == "deny operator_not_permitted"
    )
    assert (
        desk.outcome("", OperatorApproval(apes, desk.wallet, desk.thief, approved=False))
        == "deny operator_not_permitted"
    )


def test_the_widest_rule_for_a_spender_holds(desk, give):
    wider = BODY.replace('"50"', '"80"').replace('"let"', '"let more"')
    assert desk.outcome(BODY + wider, give(80 * 10**6)) == "allow"
    assert desk.outcome(wider + BODY, give(80 * 10**6)) == "allow"
    assert desk.outcome(wider + BODY, give(80 * 10**6 + 1)) == "deny allowance_too_large"

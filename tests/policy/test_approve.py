"""When people are asked, which, how many, for how long; and what an approval can never lift."""

import pytest

from walletgate.policy import Facts
from walletgate.types import Allowance, ApprovalTerms, Booking, Bucket, Call, Fee, Measure, Redirect

PAY = '[[permit]]\ntransfer = "*"\nto = "*"\n'
ABOVE = (
    PAY
    + '[[approve]]\nname = "large"\nwhen = {asset = "USDC", above = "2"}\nof = ["bob", "alice"]\nquorum = 2\nwithin = "30m"\n'
)
TWO = 2 * 10**6
ASK = "require_approval needs_approval"


@pytest.mark.parametrize(("amount", "expected"), [(TWO - 1, "allow"), (TWO, "allow"), (TWO + 1, ASK)])
def test_above_is_strict(desk, amount, expected):
    assert desk.outcome(ABOVE, desk.pay(amount)) == expected


def test_the_whole_request_is_summed(desk):
    assert desk.outcome(ABOVE, desk.pay(TWO), desk.pay(1, to=desk.shop)) == ASK
    assert desk.outcome(ABOVE, desk.pay(TWO), desk.pay(10**18, asset=desk.eth)) == "allow"


def test_a_decision_says_who_must_approve_and_what_will_be_booked(desk):
    decision = desk.decide(ABOVE, desk.pay(TWO + 1))
    assert decision.approvals == (ApprovalTerms("large", 2, ("alice", "bob"), 1800),)
    assert Booking(Measure.AMOUNT, TWO + 1, desk.usdc, desk.acme) in decision.bookings
    (reason, _) = decision.reasons
    assert (reason.rule, reason.actual, reason.bound, reason.unit) == ("large", TWO + 1, TWO, "USDC")


def test_without_names_any_operator_may_approve_within_an_hour(desk):
    decision = desk.decide(PAY + '[[approve]]\nname = "any"\nwhen = {always = true}\n', desk.pay(1))
    assert decision.approvals == (ApprovalTerms("any", 1, (), 3600),)


def test_all_approvals_that_are_met_are_needed(desk):
    body = ABOVE + '[[approve]]\nname = "every"\nwhen = {always = true}\n'
    assert {terms.rule for terms in desk.decide(body, desk.pay(TWO + 1)).approvals} == {"large", "every"}


@pytest.mark.parametrize(("used", "expected"), [(TWO - 2, "allow"), (TWO - 1, "allow"), (TWO, ASK)])
def test_above_may_count_a_window(desk, used, expected):
    body = ABOVE.replace('above = "2"', 'above = "2", per = "24h"')
    asked = []

    def count(bucket, window):
        asked.append((bucket, window))
        return used

    assert desk.outcome(body, desk.pay(1), used=count) == expected
    assert asked == [(Bucket(Measure.AMOUNT, desk.usdc, grant="g1"), 86_400_000)]


def test_fees_and_counts_may_ask(desk):
    body = PAY + '[[approve]]\nwhen = {fees = "ETH", above = "0.0001"}\n'
    assert desk.outcome(body, desk.pay(1), Fee(desk.base, 10**14)) == "allow"
    assert desk.outcome(body, desk.pay(1), Fee(desk.base, 10**14 + 1)) == ASK
    body = PAY + '[[approve]]\nwhen = {count = "requests", above = "5", per = "1h"}\n'
    assert desk.outcome(body, desk.pay(1), used=4) == "allow"
    assert desk.outcome(body, desk.pay(1), used=5) == ASK


def test_some_recipients_may_ask(desk):
    body = PAY + '[[approve]]\nwhen = {transfer = "*", not_to = ["acme", "self"]}\n'
    assert desk.outcome(body, desk.pay(1)) == "allow"
    assert desk.outcome(body, desk.pay(1, to=desk.shop)) == ASK
    body = PAY + '[[approve]]\nwhen = {transfer = "USDC", to = "shop"}\n'
    assert desk.outcome(body, desk.pay(1, to=desk.shop)) == ASK
    assert desk.outcome(body, desk.pay(1, asset=desk.eth, to=desk.shop)) == "allow"


NEW = PAY + '[[approve]]\nname = "new"\nwhen = {new_recipient = "7d", except = ["shop"]}\n'
WEEK_MS = 7 * 86_400_000


@pytest.mark.parametrize(
    ("age_ms", "expected"), [(WEEK_MS + 1, "allow"), (WEEK_MS, "allow"), (WEEK_MS - 1, ASK), (None, ASK)]
)
def test_new_recipients_ask(desk, age_ms, expected):
    seen = {} if age_ms is None else {desk.acme: desk.now * 1000 - age_ms}
    assert desk.outcome(NEW, desk.pay(1), facts=Facts(first_seen_ms=seen)) == expected


def test_new_recipients_are_found_wherever_value_goes(desk):
    facts = Facts(first_seen_ms={})
    assert desk.outcome(NEW, desk.pay(1)) == "deny fact_missing"
    assert desk.outcome(NEW, desk.pay(1, to=desk.shop)) == "allow"
    assert desk.outcome(NEW, desk.pay(1, to=desk.wallet), facts=facts) == "allow"
    body = (
        NEW
        + '[[permit]]\ncall = "router"\nfunction = "f()"\nto = "*"\n[[permit]]\nallowance = "USDC"\nspender = "*"\nmax = "1"\n'
    )
    call = Call(desk.base, desk.router, bytes.fromhex("26121ff0"), "f()", ())
    assert desk.outcome(body, call, Redirect(desk.thief, "shares"), facts=facts) == ASK
    assert desk.outcome(body, Allowance(desk.usdc, desk.wallet, desk.thief, 1), facts=facts) == ASK


def test_an_approval_lifts_no_denial(desk):
    body = ABOVE + '[[limits]]\nasset = "USDC"\nper_request = "10"\n'
    assert desk.outcome(body, desk.pay(10 * 10**6)) == ASK
    assert desk.outcome(body, desk.pay(10 * 10**6 + 1)) == "deny over_per_request"

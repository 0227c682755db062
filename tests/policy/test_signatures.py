"""What is signed without a transaction: typed data, logins, texts."""

import pytest

from walletgate.types import Login, MessageSignature, Receive, TypedSignature

SIGN = '[[permit]]\nname = "orders"\nsign = ["Order"]\ncontract = "router"\nspend = ["USDC"]\nvia = ["shop"]\n'


@pytest.fixture
def typed(desk):
    def make(contract=None, primary="Order", chain=None, **changes):
        return TypedSignature(chain or desk.base, contract or desk.router, primary, b"\x00" * 32, **changes)

    return make


def test_a_signature_is_permitted_by_contract_and_type(desk, typed):
    assert desk.outcome(SIGN, typed()) == "allow"
    assert desk.outcome(SIGN, typed(primary="Permit")) == "deny signature_not_permitted"
    assert desk.outcome(SIGN, typed(desk.thief)) == "deny signature_not_permitted"
    assert desk.outcome(SIGN, typed(chain=1)) == "deny chain_mismatch"
    assert desk.outcome("", typed()) == "deny signature_not_permitted"


@pytest.mark.parametrize(
    ("life", "expected"), [(3599, "allow"), (3600, "allow"), (3601, "deny signature_too_long"), (None, "allow")]
)
def test_a_signature_lives_an_hour_unless_the_policy_says_otherwise(desk, typed, life, expected):
    until = None if life is None else desk.now + life
    assert desk.outcome(SIGN, typed(valid_until=until)) == expected


def test_the_longest_life_of_a_rule_comes_before_the_policys(desk, typed):
    until = typed(valid_until=desk.now + 7200)
    assert desk.outcome(SIGN + 'max_ttl = "2h"\n', until) == "allow"
    assert desk.outcome(SIGN + '[signatures]\nmax_ttl = "2h"\n', until) == "allow"
    assert desk.outcome(SIGN + 'max_ttl = "1h"\n[signatures]\nmax_ttl = "2h"\n', until) == "deny signature_too_long"
    assert desk.outcome(SIGN + 'max_ttl = "unlimited"\n', typed(valid_until=2**256 - 1)) == "allow"


@pytest.mark.parametrize(("after", "expected"), [(-1, "allow"), (0, "allow"), (1, "deny signature_not_yet_valid")])
def test_a_signature_for_later_is_denied(desk, typed, after, expected):
    assert desk.outcome(SIGN, typed(valid_after=desk.now + after, valid_until=desk.now + 60)) == expected


def test_an_order_takes_only_what_its_rule_names(desk, typed):
    proceeds = Receive(desk.weth, desk.wallet, 1)
    assert desk.outcome(SIGN, typed(), desk.pay(5, to=desk.router, via=desk.router), proceeds) == "allow"
    assert desk.outcome(SIGN, typed(), desk.pay(5, to=desk.shop, via=desk.shop), proceeds) == "allow"
    assert desk.outcome(SIGN, typed(), desk.pay(5, to=desk.thief, via=desk.thief)) == "deny spend_not_permitted"
    assert (
        desk.outcome(SIGN, typed(), desk.pay(5, asset=desk.weth, to=desk.router, via=desk.router))
        == "deny spend_not_permitted"
    )
    assert desk.outcome(SIGN, typed(), desk.pay(5)) == "deny recipient_not_permitted"


LOGIN = '[[permit]]\nlogin = ["app.example.com"]\n'


@pytest.fixture
def login(desk):
    def make(domain="app.example.com", life=3600, chain=None):
        end = None if life is None else desk.now + life
        return Login(domain, f"https://{domain}/", chain or desk.base, expires_at=end)

    return make


def test_logins_are_permitted_by_exact_domain_and_for_an_hour(desk, login):
    assert desk.outcome(LOGIN, login()) == "allow"
    for domain in ("app.example.com.thief.io", "example.com", "APP.example.com", "app.example.com:8080", ""):
        assert desk.outcome(LOGIN, login(domain)) == "deny login_not_permitted"
    assert desk.outcome(LOGIN, login(life=3601)) == "deny login_too_long"
    assert desk.outcome(LOGIN, login(life=None)) == "deny login_too_long"
    assert desk.outcome(LOGIN, login(chain=1)) == "deny chain_mismatch"
    assert desk.outcome(LOGIN + 'max_ttl = "unlimited"\n', login(life=None)) == "allow"


def test_texts_are_permitted_exactly_or_by_their_beginning(desk):
    body = '[[permit]]\nmessage = ["I agree", "Order *"]\n'
    assert desk.outcome(body, MessageSignature("I agree")) == "allow"
    assert desk.outcome(body, MessageSignature("Order 5")) == "allow"
    for text in ("I agree!", "i agree", "An Order", "", "Order"):
        assert desk.outcome(body, MessageSignature(text)) == "deny message_not_permitted"
    assert desk.outcome('[[permit]]\nmessage = "*"\n', MessageSignature("anything")) == "allow"
    assert desk.outcome("", MessageSignature("anything")) == "deny message_not_permitted"


def test_texts_may_need_a_human(desk):
    body = '[[permit]]\nmessage = "*"\n[[approve]]\nwhen = {message = "*"}\n'
    assert desk.outcome(body, MessageSignature("x")) == "require_approval needs_approval"

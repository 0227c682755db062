"""Payments: who may be paid in what, from whom, and through which contract."""

import pytest

from walletgate.types import ZERO_ADDRESS, Asset, Fee

PAY = '[[permit]]\nname = "pay"\ntransfer = "USDC"\nto = ["acme"]\n'


def test_a_named_payment_is_allowed_and_says_by_which_rule(desk):
    decision = desk.decide(PAY, desk.pay(5), desk.fee)
    assert decision.outcome.name == "ALLOW"
    assert [(reason.code, reason.rule) for reason in decision.reasons] == [("permitted", "pay")]


@pytest.mark.parametrize(
    "body", ["", '[[permit]]\nrevoke = "*"\n', '[[limits]]\nasset = "USDC"\nper_request = "100"\n']
)
def test_a_policy_without_a_rule_for_it_denies(desk, body):
    assert desk.outcome(body, desk.pay(1), desk.fee) == "deny recipient_not_permitted"


def test_other_payments_are_denied(desk):
    outcome = desk.outcome
    assert outcome(PAY, desk.pay(1, to=desk.thief)) == "deny recipient_not_permitted"
    assert outcome(PAY, desk.pay(0, to=desk.thief)) == "deny recipient_not_permitted"
    assert outcome(PAY, desk.pay(1, asset=desk.eth)) == "deny recipient_not_permitted"
    assert outcome(PAY, desk.pay(1, asset=Asset(desk.base, desk.thief))) == "deny asset_not_permitted"
    assert outcome(PAY, desk.pay(1, to=desk.wallet)) == "deny recipient_not_permitted"
    assert outcome(PAY, desk.pay(1, to=ZERO_ADDRESS)) == "deny recipient_not_permitted"
    assert outcome(PAY, desk.pay(1, sender=desk.shop)) == "deny foreign_sender"
    assert outcome(PAY, desk.pay(1, via=desk.router)) == "deny spend_not_permitted"
    assert outcome(PAY, desk.pay(1), desk.pay(1, to=desk.thief)) == "deny recipient_not_permitted"


def test_self_and_everybody_are_words_of_their_own(desk):
    assert desk.outcome(PAY.replace('"acme"', '"self"'), desk.pay(1, to=desk.wallet)) == "allow"
    assert desk.outcome(PAY.replace('"acme"', '"self"'), desk.pay(1)) == "deny recipient_not_permitted"
    assert desk.outcome(PAY.replace('"acme"', '"*"'), desk.pay(1, to=desk.thief)) == "allow"


def test_every_asset_means_every_declared_one(desk):
    body = PAY.replace('"USDC"', '"*"')
    assert desk.outcome(body, desk.pay(1, asset=desk.weth)) == "allow"
    assert desk.outcome(body, desk.pay(1, asset=desk.eth)) == "allow"
    assert desk.outcome(body, desk.pay(1, asset=Asset(desk.base, desk.thief))) == "deny asset_not_permitted"


def test_an_account_counts_as_the_wallet(desk):
    policy = desk.load(PAY, top='accounts = ["0x0404040404040404040404040404040404040404"]\n')
    assert desk.outcome(policy, desk.pay(1, sender=desk.safe)) == "allow"
    assert desk.outcome(policy, desk.pay(1, sender=desk.thief)) == "deny foreign_sender"


def test_allowances_of_others_are_used_only_when_named(desk):
    assert desk.outcome(PAY + 'from = ["shop"]\n', desk.pay(1, sender=desk.shop)) == "allow"
    assert desk.outcome(PAY + 'from = ["shop"]\n', desk.pay(1)) == "deny recipient_not_permitted"
    assert desk.outcome(PAY + 'from = "*"\n', desk.pay(1, sender=desk.thief)) == "allow"


def test_the_true_reason_of_a_denial_is_given(desk):
    body = PAY + 'from = "*"\n'
    assert desk.outcome(body, desk.pay(1, sender=desk.shop, to=desk.thief)) == "deny recipient_not_permitted"
    assert desk.outcome(PAY, desk.pay(1, sender=desk.shop, to=desk.thief)) == "deny foreign_sender"


def test_a_contract_may_carry_a_payment_only_when_named(desk):
    body = PAY + 'via = ["router"]\n'
    assert desk.outcome(body, desk.pay(1, via=desk.router)) == "allow"
    assert desk.outcome(body, desk.pay(1)) == "allow"
    assert desk.outcome(body, desk.pay(1, via=desk.thief)) == "deny spend_not_permitted"
    assert desk.outcome(body, desk.pay(1, to=desk.thief, via=desk.router)) == "deny spend_not_permitted"


def test_an_address_pinned_to_a_chain_is_no_other(desk):
    text = (
        'version = 1\nname = "x"\nchains = ["base", "ethereum"]\n'
        '[addresses]\nacme = {address = "0x0101010101010101010101010101010101010101", chain = "ethereum"}\n'
        '[[permit]]\ntransfer = "ETH"\nto = "acme"\n[[limits]]\nfees = "ETH"\nper_request = "1"\n'
    )
    policy = desk.load(text, head="")
    assert desk.outcome(policy, desk.pay(1, asset=Asset(1, desk.eth.address)), chain_id=1) == "allow"
    assert desk.outcome(policy, desk.pay(1, asset=desk.eth)) == "deny recipient_not_permitted"


def test_fees_need_a_limit(desk):
    head = desk.head.split("[[limits]]")[0]
    policy = desk.load(PAY, head=head)
    assert desk.outcome(policy, desk.pay(1), desk.fee) == "deny fees_not_permitted"
    assert desk.outcome(policy, desk.pay(1), Fee(desk.base, 0)) == "deny fees_not_permitted"
    assert desk.outcome(policy, desk.pay(1)) == "allow"


@pytest.mark.parametrize(
    ("now", "expected"),
    [("-1", "allow"), ("0", "deny rule_not_active"), ("1", "deny rule_not_active")],
)
def test_a_rule_ends_at_its_end(desk, now, expected):
    body = PAY + "expires = 2026-01-01T00:00:00Z\n"  # 1_767_225_600
    assert desk.outcome(body, desk.pay(1), now_ms=(desk.now + int(now)) * 1000) == expected

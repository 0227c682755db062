"""The request as a whole: chain, method, validity, and effects that are none."""

import dataclasses

import pytest

from walletgate.types import (
    AdminChange,
    Allowance,
    Asset,
    Deployment,
    Fee,
    FeeShare,
    Login,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Outcome,
    Receive,
    Redirect,
    Transfer,
)

PAY = '[[permit]]\ntransfer = "*"\nto = "*"\n'


def test_another_chain_is_denied(desk):
    assert desk.outcome(PAY, desk.pay(1), chain_id=1) == "deny chain_mismatch"
    elsewhere = Asset(1, desk.usdc.address)
    effects = [
        Transfer(elsewhere, desk.wallet, desk.acme, 1),
        Allowance(elsewhere, desk.wallet, desk.acme, 1),
        NftTransfer(elsewhere, 1, 1, desk.wallet, desk.acme),
        NftApproval(elsewhere, 1, desk.wallet, desk.acme),
        OperatorApproval(elsewhere, desk.wallet, desk.acme, approved=False),
        AdminChange(elsewhere, "upgrade"),
        Deployment(1, 0, b"\x00" * 32),
        Fee(1, 0),
        Login("a.example", "https://a.example", 1),
    ]
    for effect in effects:
        assert "chain_mismatch" in desk.outcome(PAY, desk.pay(1), effect), effect


def test_other_methods_are_denied(desk):
    assert desk.outcome(PAY, desk.pay(1), method="eth_sign") == "deny method_not_permitted"
    assert desk.outcome(PAY, desk.pay(1), method="eth_sendRawTransaction") == "deny method_not_permitted"
    policy = desk.load(PAY, top='methods = ["eth_sign"]\n')
    assert desk.outcome(policy, desk.pay(1), method="eth_sign") == "allow"
    assert desk.outcome(policy, desk.pay(1)) == "deny method_not_permitted"
    assert desk.outcome(desk.load(PAY, top="methods = []\n"), desk.pay(1)) == "deny method_not_permitted"


@pytest.mark.parametrize(
    ("second", "expected"), [(-1, "allow"), (0, "deny policy_expired"), (1, "deny policy_expired")]
)
def test_a_policy_ends_at_its_end(desk, second, expected):
    policy = desk.load(PAY, top="expires = 2026-01-01T00:00:00Z\n")
    assert desk.outcome(policy, desk.pay(1), now_ms=(desk.now + second) * 1000) == expected


def test_a_request_without_effects_is_denied(desk):
    assert desk.outcome(PAY) == "deny no_effects"


@pytest.mark.parametrize("what", ["fee", "receive", "redirect", "share"])
def test_a_request_of_nothing_but_company_is_denied(desk, what):
    effect = {"fee": desk.fee, "receive": Receive(desk.usdc, desk.wallet, 1), "redirect": Redirect(desk.wallet, "x"),
              "share": FeeShare(desk.wallet, 1)}[what]  # fmt: skip
    assert "nothing_permitted" in desk.outcome(PAY, effect)


def test_an_effect_of_an_unknown_kind_is_denied(desk):
    @dataclasses.dataclass(frozen=True)
    class Teleport:
        path: str = ""

    assert desk.outcome(PAY, desk.pay(1), Teleport()) == "deny unknown_effect"
    assert desk.outcome(PAY, desk.pay(1), None) == "deny unknown_effect"


@pytest.mark.parametrize("amount", [-1, 2**256])
def test_an_amount_that_is_none_is_denied(desk, amount):
    assert "invalid_amount" in desk.outcome(PAY, desk.pay(amount))
    assert "invalid_amount" in desk.outcome(PAY, desk.pay(1), Fee(desk.base, amount))
    assert "invalid_amount" in desk.outcome(PAY, desk.pay(1), Allowance(desk.usdc, desk.wallet, desk.acme, amount))


def test_every_reason_is_given(desk):
    decision = desk.decide(PAY, desk.pay(-1), Fee(desk.base, 10**16), method="x", chain_id=1)
    assert decision.outcome is Outcome.DENY
    assert {reason.code for reason in decision.reasons} >= {"method_not_permitted", "chain_mismatch"}


def test_the_shortest_policy_denies_everything(desk):
    policy = desk.load('version = 1\nname = "x"\nchains = "base"\n', head="")
    for effect in (desk.pay(0), desk.fee, Allowance(desk.usdc, desk.wallet, desk.acme, 0)):
        assert desk.decide(policy, effect).outcome is Outcome.DENY

"""Calls: contract and function by name, and what a permitted call may take and where it may send things."""

import pytest

from walletgate.policy import load
from walletgate.types import Call, Delegation, Redirect

SUPPLY = "supply(address,uint256)"
BODY = f'[[permit]]\nname = "lend"\ncall = "router"\nfunction = "{SUPPLY}"\nspend = ["USDC"]\n'


@pytest.fixture
def call(desk):
    def make(to=None, selector="f2b9fdb8", signature=SUPPLY, chain=None, **changes):
        target = desk.router if to is None else to
        return Call(chain or desk.base, target, bytes.fromhex(selector), signature, (), **changes)

    return make


def test_a_named_function_is_allowed_with_what_it_takes(desk, call):
    assert desk.outcome(BODY, call(), desk.pay(5, to=desk.router, via=desk.router), desk.fee) == "allow"


def test_everything_else_about_a_call_is_denied(desk, call):
    outcome = desk.outcome
    assert outcome(BODY, call(to=desk.thief)) == "deny call_not_permitted"
    assert outcome(BODY, call(selector="00000000", signature="drain()")) == "deny call_not_permitted"
    assert outcome(BODY, call(chain=1)) == "deny chain_mismatch"
    assert outcome(BODY, call(delegate=True)) == "deny delegatecall_not_permitted"
    assert outcome(BODY, call(), desk.pay(5, to=desk.thief, via=desk.router)) == "deny spend_not_permitted"
    assert outcome(BODY, call(), desk.pay(5, to=desk.thief, via=desk.thief)) == "deny spend_not_permitted"
    assert (
        outcome(BODY, call(), desk.pay(5, asset=desk.eth, to=desk.router, via=desk.router))
        == "deny spend_not_permitted"
    )
    assert (
        outcome(BODY, call(), desk.pay(5, to=desk.router, via=desk.router, sender=desk.shop))
        == "deny spend_not_permitted"
    )
    assert outcome(BODY, desk.pay(5, to=desk.router, via=desk.router)) == "deny spend_not_permitted"
    assert outcome(BODY, call(), desk.pay(5, to=desk.router)) == "deny recipient_not_permitted"


def test_one_bad_call_spoils_all(desk, call):
    assert desk.outcome(BODY, call(), call(to=desk.thief)) == "deny call_not_permitted"


def test_every_function_means_every_decoded_one(desk, call):
    body = BODY.replace(f'"{SUPPLY}"', '"*"')
    assert desk.outcome(body, call(selector="00000000", signature="drain()")) == "allow"
    assert desk.outcome(body, call(to=desk.thief)) == "deny call_not_permitted"


def test_delegatecalls_only_when_named(desk, call):
    assert desk.outcome(BODY + "delegatecall = true\n", call(delegate=True)) == "allow"


def test_value_is_routed_to_the_wallet_unless_named(desk, call):
    assert desk.outcome(BODY, call(), Redirect(desk.wallet, "shares")) == "allow"
    assert desk.outcome(BODY, call(), Redirect(desk.acme, "shares")) == "deny redirect_not_permitted"
    body = BODY + 'to = ["acme"]\n'
    assert desk.outcome(body, call(), Redirect(desk.acme, "shares")) == "allow"
    assert desk.outcome(body, call(), Redirect(desk.wallet, "shares")) == "deny redirect_not_permitted"
    assert desk.outcome(body, call(), desk.pay(5, to=desk.acme, via=desk.router)) == "allow"


def test_a_rule_covers_only_what_is_inside_its_own_call(desk, call):
    other = '[[permit]]\ncall = "shop"\nfunction = "f()"\nto = ["thief"]\n'
    inside = call(path="calls[0]"), Redirect(desk.thief, "shares", path="calls[0].multicall[1]")
    second = Call(desk.base, desk.shop, bytes.fromhex("26121ff0"), "f()", (), path="calls[1]")
    assert desk.outcome(BODY + other, *inside, second) == "deny redirect_not_permitted"
    beside = Redirect(desk.thief, "shares", path="calls[1].inner")
    assert desk.outcome(BODY + other, call(path="calls[0]"), second, beside) == "allow"
    almost = Redirect(desk.thief, "shares", path="calls[10]")
    assert desk.outcome(BODY + other, call(path="calls[0]"), second, almost) == "deny redirect_not_permitted"


def test_votes_for_oneself_come_with_the_call(desk, call):
    assert desk.outcome(BODY, call(), Delegation("votes", desk.wallet, desk.base)) == "allow"
    assert desk.outcome(BODY, call(), Delegation("votes", desk.thief, desk.base)) == "deny delegation_not_permitted"
    assert desk.outcome(BODY, call(), Delegation("set_code", desk.wallet, desk.base)) == "deny delegation_not_permitted"


def test_the_same_address_on_another_chain_is_another_contract(desk):
    text = (
        'version = 1\nname = "x"\nchains = ["base", "ethereum"]\n'
        '[[permit]]\ncall = "permit2"\nfunction = "f()"\nchain = "ethereum"\n'
    )
    policy = load(text, source="p")
    (key,) = policy.functions
    assert key[0] == 1
    call = Call(desk.base, key[1], key[2], "f()", ())
    assert desk.outcome(policy, call) == "deny call_not_permitted"


def test_the_same_function_may_be_named_by_several_rules(desk):
    named = BODY.replace(SUPPLY, "supply(address asset,uint256 amount)").replace('"lend"', '"lend again"')
    policy = desk.load(BODY + named)
    (function,) = policy.functions.values()
    assert [param.name for param in function.params] == ["asset", "amount"]
    other = BODY.replace(SUPPLY, "supply(address to,uint256 amount)").replace('"lend"', '"third"')
    assert desk.refuse(named + other, "permit[1].function") == "duplicate_name"

"""What the agent says it means, against what the request would do."""

import pytest

from walletgate.types import (
    Allowance,
    Asset,
    Delegation,
    Deployment,
    Expectation,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Receive,
)

PAY = '[[permit]]\ntransfer = "*"\nto = "*"\n[[permit]]\nallowance = "*"\nspender = "*"\nmax = "unlimited"\n'


def expect(desk, *effects, body=PAY, top="", **fields):
    policy = desk.load(body, top=top)
    return desk.outcome(policy, *effects, expect=Expectation(**fields) if fields else None)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [("2.5", "allow"), ("2.50", "allow"), ("2.499999", "deny expect_amount"), ("2.500001", "deny expect_amount"),
     ("2500000", "deny expect_amount"), ("0", "deny expect_amount"), ("2.5000001", "deny expect_invalid"),
     ("2,5", "deny expect_invalid"), ("-2.5", "deny expect_invalid")],
)  # fmt: skip
def test_the_amount_is_exact(desk, amount, expected):
    assert expect(desk, desk.pay(2_500_000), asset="USDC", amount=amount) == expected
    assert expect(desk, desk.pay(2_500_000), amount=amount) == expected


def test_a_unit_error_is_caught_whatever_the_policy_permits(desk):
    decision = desk.decide(PAY, desk.pay(52_439_283 * 10**6), expect=Expectation("USDC", "52439.283"))
    (reason,) = decision.reasons
    assert (reason.code, reason.actual, reason.bound) == ("expect_amount", 52_439_283 * 10**6, 52_439_283_000)


def test_the_asset_must_be_it_and_nothing_else(desk):
    assert expect(desk, desk.pay(1), asset="USDC") == "allow"
    assert expect(desk, desk.pay(1), asset="WETH") == "deny expect_asset"
    assert expect(desk, desk.pay(1), asset="usdc") == "deny expect_unknown_asset"
    assert expect(desk, desk.pay(1), desk.pay(1, asset=desk.eth), asset="USDC") == "deny expect_asset"
    assert (
        expect(
            desk, Allowance(desk.usdc, desk.wallet, desk.acme, 0), asset="USDC", body=PAY + '[[permit]]\nrevoke = "*"\n'
        )
        == "deny expect_asset"
    )
    assert expect(desk, desk.pay(1), desk.pay(1, asset=desk.eth), amount="0.000001") == "deny expect_asset"
    assert expect(desk, desk.pay(1, asset=Asset(desk.base, desk.thief)), amount="1") == (
        "deny asset_not_permitted expect_unknown_asset"
    )


def test_the_recipient_must_be_it_and_nobody_else(desk):
    assert expect(desk, desk.pay(1), recipient=desk.acme) == "allow"
    assert expect(desk, desk.pay(1), recipient=desk.shop) == "deny expect_recipient"
    assert expect(desk, desk.pay(1), desk.pay(0, to=desk.thief), recipient=desk.acme) == "deny expect_recipient"
    assert expect(desk, desk.pay(1), desk.pay(1), recipient=desk.acme, amount="0.000002") == "allow"


def test_allowances_are_outflows(desk):
    give = Allowance(desk.usdc, desk.wallet, desk.shop, 5)
    assert expect(desk, give, asset="USDC", amount="0.000005", recipient=desk.shop) == "allow"
    assert expect(desk, desk.pay(1), give, asset="USDC", amount="0.000001") == "deny expect_amount"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, "deny expect_required"), ({"asset": "USDC"}, "deny expect_required"), ({"amount": "0.000001"}, "deny expect_required"),
     ({"asset": "USDC", "amount": "0.000001"}, "allow")],
)  # fmt: skip
def test_a_policy_may_demand_it(desk, fields, expected):
    assert expect(desk, desk.pay(1), top="require_expect = true\n", **fields) == expected


def test_what_does_not_pay_needs_no_expectation(desk):
    body = PAY + '[[permit]]\nrevoke = "*"\n'
    assert (
        expect(desk, Allowance(desk.usdc, desk.wallet, desk.acme, 0), body=body, top="require_expect = true\n")
        == "allow"
    )


def test_power_and_tokens_are_never_expected(desk):
    apes = Asset(desk.base, desk.apes)
    body = (
        PAY
        + '[[permit]]\nnft = "apes"\nto = "*"\noperators = "*"\n[[permit]]\ndelegate = "votes"\nto = "*"\n[[permit]]\ndeploy = "*"\n'
    )
    for effect in (
        NftTransfer(apes, 1, 1, desk.wallet, desk.acme),
        NftApproval(apes, 1, desk.wallet, desk.acme),
        OperatorApproval(apes, desk.wallet, desk.acme, approved=True),
        Delegation("votes", desk.acme, desk.base),
    ):
        assert expect(desk, desk.pay(1), effect, body=body) == "allow"
        assert expect(desk, desk.pay(1), effect, body=body, asset="USDC") == "deny expect_other"
    new = Deployment(desk.base, 5, b"\x00" * 32)
    assert expect(desk, new, body=body, asset="ETH", amount="0.000000000000000005") == "allow"
    assert expect(desk, desk.pay(1), new, body=body, asset="USDC") == "deny expect_asset"


def test_proceeds_are_not_outflows(desk):
    effects = desk.pay(1), Receive(desk.eth, desk.acme, 5)
    assert "expect" not in expect(desk, *effects, asset="USDC", amount="0.000001")

"""Tokens of collections: to whom they go, who may operate them, and the least they are sold for."""

import pytest

from walletgate.types import Asset, NftApproval, NftTransfer, OperatorApproval, TypedSignature

BODY = '[[permit]]\nname = "apes"\nnft = "apes"\nto = ["acme"]\noperators = ["shop"]\nsell_above = "10"\n'
TEN_ETH = 10 * 10**18


@pytest.fixture
def apes(desk):
    return Asset(desk.base, desk.apes)


@pytest.fixture
def give(desk, apes):
    def make(to=None, collection=None, **changes):
        sender = changes.pop("sender", desk.wallet)
        return NftTransfer(collection or apes, 7, 1, sender, to or desk.acme, **changes)

    return make


def test_a_token_goes_to_whom_is_named(desk, give):
    assert desk.outcome(BODY, give()) == "allow"
    assert desk.outcome(BODY, give(desk.thief)) == "deny nft_not_permitted"
    assert desk.outcome(BODY, give(desk.shop)) == "deny nft_not_permitted"
    assert desk.outcome(BODY, give(collection=Asset(desk.base, desk.thief))) == "deny nft_not_permitted"
    assert desk.outcome(BODY, give(sender=desk.shop)) == "deny foreign_sender"
    assert desk.outcome(BODY, give(collection=Asset(1, desk.apes))) == "deny chain_mismatch"
    assert desk.outcome("", give()) == "deny nft_not_permitted"


@pytest.mark.parametrize(
    ("price", "expected"),
    [
        (TEN_ETH - 1, "deny nft_price_too_low"),
        (TEN_ETH, "allow"),
        (TEN_ETH + 1, "allow"),
        (0, "deny nft_price_too_low"),
    ],
)
def test_a_sale_has_a_least_price(desk, give, price, expected):
    body = BODY + '[[permit]]\nsign = "Order"\ncontract = "router"\n'
    order = TypedSignature(desk.base, desk.router, "Order", b"\x00" * 32)
    assert desk.outcome(body, order, give(desk.router, price=price, via=desk.router)) == expected


def test_sales_are_permitted_only_with_a_least_price(desk, give):
    body = BODY.replace('sell_above = "10"\n', "")
    assert desk.outcome(body, give(desk.router, price=TEN_ETH)) == "deny nft_price_too_low"


def test_operators_are_named(desk, apes):
    outcome = desk.outcome
    assert outcome(BODY, OperatorApproval(apes, desk.wallet, desk.shop, approved=True)) == "allow"
    assert outcome(BODY, NftApproval(apes, 7, desk.wallet, desk.shop)) == "allow"
    assert outcome(BODY, OperatorApproval(apes, desk.wallet, desk.acme, approved=True)) == "deny operator_not_permitted"
    assert outcome(BODY, NftApproval(apes, 7, desk.wallet, desk.thief)) == "deny operator_not_permitted"
    assert outcome(BODY, OperatorApproval(apes, desk.shop, desk.shop, approved=True)) == "deny foreign_sender"

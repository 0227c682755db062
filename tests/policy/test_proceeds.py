"""Proceeds of swaps and orders: to the wallet, never for nothing, at a price, before a deadline."""

import pytest

from walletgate.types import Asset, Call, FeeShare, Receive

SWAP = '[[permit]]\nname = "swap"\ncall = "router"\nfunction = "swap()"\nspend = "USDC"\nto = ["self", "acme"]\n'


@pytest.fixture
def swap(desk):
    return Call(desk.base, desk.router, bytes.fromhex("8119c065"), "swap()", ())


@pytest.fixture
def get(desk):
    def make(amount=1, to=None, asset=None, **changes):
        return Receive(asset or desk.weth, to or desk.wallet, amount, **changes)

    return make


def test_proceeds_go_to_the_wallet(desk, swap, get):
    assert desk.outcome(SWAP, swap, get()) == "allow"
    assert desk.outcome(SWAP, swap, get(to=desk.thief)) == "deny proceeds_not_permitted"
    assert desk.outcome(SWAP, swap, get(to=desk.acme)) == "deny proceeds_not_permitted"
    assert desk.outcome(SWAP + '[swap]\nto = ["self", "acme"]\n', swap, get(to=desk.acme)) == "allow"
    assert desk.outcome(SWAP, get()) == "deny nothing_permitted proceeds_not_permitted"


def test_proceeds_may_arrive_on_another_chain(desk, swap, get):
    assert desk.outcome(SWAP, swap, get(asset=Asset(1, desk.weth.address))) == "allow"


@pytest.mark.parametrize(("amount", "expected"), [(0, "deny min_out_zero"), (1, "allow"), (2, "allow")])
def test_a_minimum_is_above_zero(desk, swap, get, amount, expected):
    assert desk.outcome(SWAP, swap, get(amount)) == expected
    assert desk.outcome(SWAP + '[swap]\nmin_out = "any"\n', swap, get(amount)) == "allow"


@pytest.mark.parametrize(
    ("life", "expected"),
    [(1199, "allow"), (1200, "allow"), (1201, "deny deadline_too_late"), (None, "allow"), (-1, "allow")],
)
def test_a_deadline_is_near(desk, swap, get, life, expected):
    end = None if life is None else desk.now + life
    assert desk.outcome(SWAP + '[swap]\nmax_deadline = "20m"\n', swap, get(deadline=end)) == expected
    assert desk.outcome(SWAP, swap, get(deadline=end)) == "allow"


FLOOR = SWAP + '[[swap.floor]]\nsell = "USDC"\nbuy = "WETH"\nat_least = "0.0003"\n'
BOUND = 3 * 10**17 // 1000  # 0.0003 WETH for each of one USDC


@pytest.mark.parametrize(
    ("amount", "expected"), [(BOUND - 1, "deny price_too_low"), (BOUND, "allow"), (BOUND + 1, "allow")]
)
def test_a_price_floor_is_inclusive(desk, swap, get, amount, expected):
    assert desk.outcome(FLOOR, swap, get(amount, sold=desk.usdc, sold_amount=10**6)) == expected


def test_a_floor_rounds_against_the_agent(desk, swap, get):
    floor = FLOOR.replace("0.0003", "1/3000000000000")  # base units: one third of a wei for each unit
    assert desk.outcome(floor, swap, get(1, sold=desk.usdc, sold_amount=4)) == "deny price_too_low"
    assert desk.outcome(floor, swap, get(2, sold=desk.usdc, sold_amount=4)) == "allow"


def test_what_has_a_floor_is_sold_only_for_what_it_has_a_floor_against(desk, swap, get):
    junk = Asset(desk.base, desk.thief)
    assert (
        desk.outcome(FLOOR, swap, get(10**30, asset=junk, sold=desk.usdc, sold_amount=1)) == "deny pair_not_permitted"
    )
    assert desk.outcome(FLOOR, swap, get(10**30)) == "deny pair_not_permitted"
    nameless = Receive(None, desk.wallet, 10**30, sold=desk.usdc, sold_amount=1)
    assert desk.outcome(FLOOR, swap, nameless) == "deny pair_not_permitted"
    assert desk.outcome(FLOOR, swap, get(1, sold=desk.eth, sold_amount=5)) == "allow"


SHARE = SWAP + '[[permit]]\nfee_share = "shop"\nmax_bips = 100\n'


@pytest.mark.parametrize(("bips", "expected"), [(99, "allow"), (100, "allow"), (101, "deny fee_share_too_large")])
def test_a_share_of_proceeds_is_bounded(desk, swap, bips, expected):
    assert desk.outcome(SHARE, swap, FeeShare(desk.shop, bips)) == expected


def test_shares_are_added_up_and_only_for_whom_is_named(desk, swap):
    assert desk.outcome(SHARE, swap, FeeShare(desk.shop, 60), FeeShare(desk.shop, 41)) == "deny fee_share_too_large"
    assert desk.outcome(SHARE, swap, FeeShare(desk.thief, 1)) == "deny fee_share_not_permitted"
    assert desk.outcome(SWAP, swap, FeeShare(desk.shop, 1)) == "deny fee_share_not_permitted"
    assert desk.outcome(SWAP, swap, FeeShare(desk.wallet, 10_000)) == "allow"

"""Proceeds of swaps and orders: to the wallet, never for nothing, at a price, before a deadline."""

import pytest

from walletgate.effects import DecodeContext, decode
from walletgate.effects.abi import parse_signature
from walletgate.types import Asset, Call, FeeShare, Receive, Transaction, TransactionType

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


@pytest.mark.parametrize(("life", "expected"), [(None, "deny deadline_missing"), (1, "allow"), (-1, "allow")])
def test_a_deadline_may_be_demanded_of_every_swap(desk, swap, get, life, expected):
    end = None if life is None else desk.now + life
    demanded = SWAP + "[swap]\nrequire_deadline = true\n"
    assert desk.outcome(demanded, swap, get(deadline=end)) == expected
    assert desk.outcome(SWAP + "[swap]\nrequire_deadline = false\n", swap, get(deadline=end)) == "allow"
    nameless = Receive(None, desk.wallet, 1, deadline=end)
    assert desk.outcome(demanded, swap, nameless) == expected


def test_wrapping_and_bridging_need_no_deadline(desk, swap, get):
    demanded = SWAP + "[swap]\nrequire_deadline = true\n"
    assert desk.outcome(demanded, swap, get(5, sold=desk.eth, sold_amount=5)) == "allow"
    assert desk.outcome(demanded, swap, get(5, asset=desk.eth, sold=desk.weth, sold_amount=5)) == "allow"
    assert desk.outcome(demanded, swap, get(4, sold=desk.eth, sold_amount=5)) == "deny deadline_missing"
    assert (
        desk.outcome(demanded, swap, get(5, asset=desk.usdc, sold=desk.eth, sold_amount=5)) == "deny deadline_missing"
    )
    assert desk.outcome(demanded, swap, get(asset=Asset(1, desk.weth.address))) == "allow"


def test_a_demanded_deadline_is_that_of_the_plan_around_the_swap(desk):
    """SwapRouter02's swaps have none of their own: the multicall around them does, or nothing."""
    single = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
    outer = ("multicall(bytes[])", "multicall(uint256,bytes[])")
    functions = ", ".join(f'"{each}"' for each in (single, *outer))
    policy = desk.load(
        f'[[permit]]\ncall = "router"\nfunction = [{functions}]\nspend = "USDC"\n[swap]\nrequire_deadline = true\n'
    )
    inner = parse_signature(single).encode((desk.usdc.address, desk.weth.address, 500, desk.wallet, 9, 1, 0))

    def outcome(data):
        tx = Transaction(TransactionType.FEE_MARKET, desk.base, desk.wallet, desk.router, 0, data, 9, 1, 1)
        return desk.outcome(policy, *decode(tx, DecodeContext(desk.base, desk.wallet, desk.now)))

    assert outcome(inner) == "deny deadline_missing"
    assert outcome(parse_signature(outer[0]).encode((inner,))) == "deny deadline_missing"
    assert outcome(parse_signature(outer[1]).encode(desk.now + 60, (inner,))) == "allow"


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

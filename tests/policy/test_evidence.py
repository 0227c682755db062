"""What running a transaction adds to what was read in it: denials, and never anything else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.policy import AGREES, Facts, Need, Simulation
from walletgate.policy.compare import Direction, compare
from walletgate.policy.words import show
from walletgate.types import (
    ZERO_ADDRESS,
    Address,
    Allowance,
    Asset,
    Call,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Outcome,
    Transfer,
    TypedSignature,
)

TOP = 'simulate = "required"\n'
POOL = Address(b"\x77" * 20)
SHOP = Address(b"\x02" * 20)
WALLET, ACME, ROUTER, SAFE, THIEF = (Address(bytes([n]) * 20) for n in (0xAA, 1, 3, 4, 0x66))
BASE = 8453
USDC = Asset(BASE, Address(bytes.fromhex("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")))
ETH = Asset(BASE, Address(b"\xee" * 20))
APES = Asset(BASE, Address(b"\x05" * 20))
BODY = """
[[permit]]
transfer = ["USDC", "ETH"]
to = ["acme", "shop"]
[[permit]]
call = "router"
function = "swap(uint256)"
spend = ["USDC", "ETH"]
[[permit]]
allowance = "USDC"
spender = "router"
max = "100"
[[permit]]
nft = "apes"
to = "acme"
operators = "router"
"""
SWAP = Call(BASE, ROUTER, bytes.fromhex("94b918de"), "swap(uint256)", (1,))


def move(amount, to=ACME, *, asset=USDC, sender=WALLET, via=None):
    return Transfer(asset, sender, to, amount, via)


def let(amount, to=ROUTER, *, added=False):
    return Allowance(USDC, WALLET, to, amount, added=added)


def ape(token=7, to=ACME, amount=1, via=None, sender=WALLET):
    return NftTransfer(APES, token, amount, sender, to, via=via)


def run(desk, read, ran, before=None):
    policy = desk.load(BODY, top=TOP)
    facts = Facts(simulation=Simulation(tuple(ran), before or {}), allowances={(USDC, WALLET, ROUTER): 0})
    return desk.decide(policy, *read, desk.fee, facts=facts)


def codes(decision):
    return {reason.code for reason in decision.reasons} - {"permitted"}


PAID = [move(100)]
SWAPPED = [SWAP, move(100, ROUTER, via=ROUTER)]


@pytest.mark.parametrize(
    ("read", "ran"),
    [
        (PAID, []),
        (PAID, [move(100)]),
        (PAID, [move(99), move(1)]),
        (PAID, [move(100), move(5, WALLET, sender=POOL)]),
        (PAID, [move(100), move(500, THIEF, sender=POOL)]),
        (PAID, [move(100), move(5, WALLET)]),
        (SWAPPED, [move(100, POOL)]),
        (SWAPPED, [move(60, POOL), move(40, ROUTER)]),
        (SWAPPED, [move(100, ROUTER), move(100, POOL, sender=ROUTER)]),
        ([*SWAPPED, move(7)], [move(100, POOL), move(7)]),
        ([SWAP, move(7), move(3, SHOP)], [move(10, ROUTER), move(7, sender=ROUTER), move(3, SHOP, sender=ROUTER)]),
        ([let(50)], [let(50)]),
        ([let(50)], [let(20)]),
        ([let(50, added=True)], [let(50)]),
        ([ape()], [ape()]),
        ([ape()], [NftApproval(APES, 7, WALLET, ZERO_ADDRESS), ape()]),
        ([OperatorApproval(APES, WALLET, ROUTER, approved=True)], [OperatorApproval(APES, WALLET, ROUTER, approved=True)]),
        (PAID, [OperatorApproval(APES, WALLET, THIEF, approved=False), move(100)]),
        (PAID, [OperatorApproval(APES, POOL, THIEF, approved=True), ape(sender=POOL)]),
        ([NftApproval(APES, 7, WALLET, ROUTER)], [NftApproval(APES, 7, WALLET, ROUTER)]),
    ],
)  # fmt: skip
def test_a_run_that_takes_no_more_than_was_read_changes_nothing(desk, read, ran):
    assert codes(run(desk, read, ran)) == set()
    assert run(desk, read, ran).outcome is Outcome.ALLOW


@pytest.mark.parametrize(
    ("read", "ran", "actual", "bound"),
    [
        (PAID, [move(101)], 1, 0),
        (PAID, [move(100, THIEF)], 100, 0),
        (PAID, [move(100), move(1, THIEF)], 1, 0),
        (PAID, [move(100), move(1, asset=ETH)], 1, 0),
        (PAID, [move(100), move(1, THIEF, asset=Asset(BASE, POOL))], 1, 0),
        (PAID, [move(100), move(9, ZERO_ADDRESS)], 9, 0),
        (SWAPPED, [move(101, POOL)], 101, 100),
        (SWAPPED, [move(60, POOL), move(41, THIEF)], 101, 100),
        ([*SWAPPED, move(7)], [move(100, POOL), move(8)], 101, 100),
        ([SWAP, move(7)], [move(8, ROUTER), move(7, sender=ROUTER)], 1, 0),
        ([SWAP, move(7)], [move(7, ROUTER), move(7, THIEF, sender=ROUTER)], 7, 0),
        ([SWAP, move(7)], [move(7), move(7, ROUTER), move(7, sender=ROUTER)], 7, 0),
        ([let(50)], [let(51)], 51, 50),
        ([let(50)], [let(50), let(1, THIEF)], 1, 0),
        (PAID, [move(100), let(2**256 - 1)], 2**256 - 1, 0),
        ([let(50, added=True)], [let(51)], 51, 50),
        ([ape()], [ape(8)], 1, 0),
        ([ape()], [ape(to=THIEF)], 1, 0),
        ([ape()], [ape(amount=2)], 2, 1),
        ([ape()], [ape(), ape()], 1, 0),
        (PAID, [move(100), ape()], 1, 0),
        (PAID, [OperatorApproval(APES, WALLET, THIEF, approved=True)], 1, 0),
        (PAID, [NftApproval(APES, 7, WALLET, THIEF)], 1, 0),
        ([NftApproval(APES, 7, WALLET, ROUTER)], [OperatorApproval(APES, WALLET, ROUTER, approved=True)], 1, 0),
    ],
)  # fmt: skip
def test_a_run_that_takes_more_than_was_read_is_refused_with_both_numbers(desk, read, ran, actual, bound):
    decision = run(desk, read, ran)
    assert codes(decision) == {"simulation_disagrees"}
    (reason,) = [reason for reason in decision.reasons if reason.code == "simulation_disagrees"]
    assert (reason.actual, reason.bound) == (actual, bound)
    assert decision.bookings == ()


@pytest.mark.parametrize(("left", "expected"), [(399, set()), (400, set()), (401, {"simulation_disagrees"})])
def test_what_is_left_of_an_allowance_is_no_new_one(desk, left, expected):
    decision = run(desk, SWAPPED, [let(left), move(100, POOL)], {(USDC, WALLET, ROUTER): 400})
    assert codes(decision) == expected


def test_the_policys_accounts_are_the_wallets_own(desk):
    policy = desk.load(BODY, top=TOP + 'accounts = ["safe"]\n')
    for ran, expected in (
        (move(5, SAFE), set()),
        (move(5, THIEF, sender=SAFE), {"simulation_disagrees"}),
    ):
        facts = Facts(simulation=Simulation((ran,)))
        assert codes(desk.decide(policy, move(100), desk.fee, facts=facts)) == expected


def test_a_failed_run_and_none_at_all_are_refused(desk):
    policy = desk.load(BODY, top=TOP)
    assert codes(desk.decide(policy, move(1), desk.fee)) == {"simulation_failed"}
    for method in ("eth_signTransaction", "wallet_sendCalls"):
        assert codes(desk.decide(policy, move(1), desk.fee, method=method)) == {"simulation_failed"}
    facts = Facts(simulation=Simulation(reverted="not \x1b[31menough"))
    decision = desk.decide(policy, move(1), desk.fee, facts=facts)
    assert codes(decision) == {"would_revert"}
    assert "\x1b" not in "".join(reason.text for reason in decision.reasons)


def test_where_it_is_off_nothing_is_compared(desk):
    for text in ("", 'simulate = "off"\n'):
        policy = desk.load(BODY, top=text)
        assert Need.SIMULATION not in policy.needs
        facts = Facts(simulation=Simulation((move(100, THIEF),)))
        assert codes(desk.decide(policy, move(1), desk.fee, facts=facts)) == set()
    assert desk.load(BODY).hash == desk.load(BODY, top='simulate = "off"\n').hash
    assert desk.load(BODY).hash != desk.load(BODY, top=TOP).hash


def test_signatures_are_judged_by_reading(desk):
    policy = desk.load('[[permit]]\nsign = "Order"\ncontract = "router"\n', top=TOP)
    order = TypedSignature(BASE, desk.router, "Order", b"\x00" * 32, None, desk.now + 60)
    for method in ("eth_signTypedData_v4", "eth_signTypedData_v3"):
        loose = desk.load('[[permit]]\nsign = "Order"\ncontract = "router"\n', top=TOP + f'methods = ["{method}"]\n')
        assert codes(desk.decide(loose, order, method=method)) == set()
    assert Need.SIMULATION in policy.needs


@pytest.mark.parametrize("word", ['"on"', "true", '"Required"', "1"])
def test_other_words_for_it_are_refused(desk, word):
    assert desk.refuse(f"simulate = {word}\n" + desk.head, "simulate", whole=True) in ("out_of_range", "wrong_type")


def test_requiring_it_is_tighter_and_said(desk):
    loose, tight = desk.load(BODY), desk.load(BODY, top=TOP)
    assert compare(loose, tight).direction is Direction.TIGHTER
    assert compare(tight, loose).direction is Direction.LOOSER
    assert any("first run by a node" in line for line in show(tight))
    assert not any("first run by a node" in line for line in show(loose))


ends = st.sampled_from([WALLET, ACME, ROUTER, THIEF, POOL])
ran_effects = st.lists(
    st.one_of(
        st.builds(Transfer, st.sampled_from([USDC, ETH]), ends, ends, st.integers(0, 200)),
        st.builds(Allowance, st.just(USDC), ends, ends, st.integers(0, 2**256 - 1)),
        st.builds(NftTransfer, st.just(APES), st.integers(0, 9), st.integers(0, 2), ends, ends),
        st.builds(OperatorApproval, st.just(APES), ends, ends, approved=st.booleans()),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    ran_effects, st.lists(st.sampled_from([move(100), move(100, THIEF), SWAP, *SWAPPED, let(50), let(200)]), max_size=4)
)
def test_a_run_never_permits_what_reading_does_not(ran, read):
    from tests.policy.conftest import Desk  # noqa: PLC0415

    desk = Desk()
    policy, plain = desk.load(BODY, top=TOP), desk.load(BODY)
    facts = Facts(simulation=Simulation(tuple(ran)))
    with_run, without = desk.decide(policy, *read, facts=facts), desk.decide(plain, *read, facts=facts)
    assert with_run.outcome <= without.outcome
    assert desk.decide(policy, *read, facts=Facts(simulation=AGREES)).outcome is without.outcome
    extra = codes(with_run) - codes(without)
    assert extra <= {"simulation_disagrees"}

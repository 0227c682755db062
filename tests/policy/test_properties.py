"""What must hold for every policy and every request."""

from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.policy import Case, Facts, judge, load
from walletgate.policy.compare import Direction, compare
from walletgate.types import (
    NATIVE,
    Allowance,
    Asset,
    Call,
    Fee,
    FeeShare,
    Opaque,
    Outcome,
    Receive,
    Redirect,
    Transfer,
    TypedSignature,
)

WALLET, BASE = b"\xaa" * 20, 8453
ENDS = [bytes([n]) * 20 for n in (1, 2, 3)]
USDC, ETH = Asset(BASE, bytes.fromhex("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")), Asset(BASE, NATIVE)
HEAD = """
version = 1
name = "p"
chains = ["base"]
[assets.USDC]
address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
decimals = 6
[addresses]
a = "0x0101010101010101010101010101010101010101"
b = "0x0202020202020202020202020202020202020202"
c = "0x0303030303030303030303030303030303030303"
"""

names = st.sampled_from(["a", "b", "c", "self", "*"])
assets = st.sampled_from(["USDC", "ETH", "*"])
number = st.integers(0, 8).map(str)
permits = st.one_of(
    st.builds('[[permit]]\ntransfer = "{}"\nto = "{}"\nvia = "{}"\n'.format, assets, names, names),
    st.builds('[[permit]]\nallowance = "USDC"\nspender = "{}"\nmax = "{}"\ncounted = {}\n'.format, names, number,
              st.sampled_from(["true", "false"])),
    st.builds('[[permit]]\ncall = "{}"\nfunction = "f()"\nspend = "{}"\nto = "{}"\n'.format,
              st.sampled_from("abc"), assets, names),
    st.builds('[[permit]]\nsign = "Order"\ncontract = "{}"\nspend = "{}"\n'.format, st.sampled_from("abc"), assets),
    st.just('[[permit]]\nrevoke = "*"\n'),
    st.just('[[permit]]\nfee_share = "a"\nmax_bips = 5\n'),
)  # fmt: skip
limits = st.one_of(
    st.builds('[[limits]]\nasset = "{}"\nper_request = "{}"\n'.format, st.sampled_from(["USDC", "ETH"]), number),
    st.builds('[[limits]]\nasset = "USDC"\nscope = "recipient"\nper = {{"1h" = "{}"}}\n'.format, number),
    st.builds('[[limits]]\ncount = "requests"\nlifetime = {}\n'.format, number),
    st.just('[[limits]]\nfees = "ETH"\nper_request = "5"\n'),
)
forbids = st.one_of(
    st.builds('[[forbid]]\ntransfer = "{}"\nto = "{}"\n'.format, assets, names),
    st.builds('[[forbid]]\ncall = "{}"\n'.format, st.sampled_from(["a", "*"])),
    st.builds('[[forbid]]\nallowance = "*"\nspender = "{}"\n'.format, names),
)
approves = st.one_of(
    st.builds('[[approve]]\nwhen = {{asset = "USDC", above = "{}"}}\n'.format, number),
    st.builds('[[approve]]\nwhen = {{transfer = "*", to = "{}"}}\n'.format, names),
    st.just('[[approve]]\nwhen = {new_recipient = "1h"}\n'),
)
rules = st.lists(st.one_of(permits, permits, limits, forbids, approves), max_size=8)

amounts = st.integers(0, 9).map(lambda n: n * 10**6)
ends = st.sampled_from([*ENDS, WALLET])
vias = st.sampled_from([None, *ENDS])
some_effects = st.lists(
    st.one_of(
        st.builds(Transfer, st.sampled_from([USDC, ETH]), ends, ends, amounts, vias),
        st.builds(lambda to, n: Transfer(USDC, WALLET, to, n), ends, amounts),
        st.builds(lambda to, n, plus: Allowance(USDC, WALLET, to, n, added=plus), ends, amounts, st.booleans()),
        st.builds(lambda to: Call(BASE, to, bytes.fromhex("26121ff0"), "f()", ()), st.sampled_from(ENDS)),
        st.builds(lambda to: TypedSignature(BASE, to, "Order", b"\x00" * 32), st.sampled_from(ENDS)),
        st.builds(lambda to, n: Receive(USDC, to, n), ends, amounts),
        st.builds(lambda to: Redirect(to, "shares"), ends),
        st.builds(lambda to: FeeShare(to, 3), ends),
        st.just(Fee(BASE, 10**18)),
        st.just(Opaque("unknown_function", "x", ENDS[0])),
    ),
    max_size=5,
).map(tuple)
cases = st.builds(
    lambda effects, seen: Case("g", "a", WALLET, BASE, 10**12, "eth_sendTransaction", effects, facts=Facts(first_seen_ms=seen)),
    some_effects, st.sampled_from([None, {}, {ENDS[0]: 0}]),
)  # fmt: skip
used_amounts = st.integers(0, 9).map(lambda n: n * 10**6)


def decide(found, case, used):
    return judge(load(HEAD + "".join(found), source="p"), case, lambda _bucket, _window: used)


@given(rules, forbids, cases, used_amounts)
@settings(max_examples=150, deadline=None)
def test_adding_a_forbid_never_allows_more(found, forbid, case, used):
    assert decide([*found, forbid], case, used).outcome <= decide(found, case, used).outcome


@given(rules, st.one_of(limits.filter(lambda text: "fees" not in text), approves), cases, used_amounts)
@settings(max_examples=150, deadline=None)
def test_adding_a_limit_or_an_approval_never_allows_more(found, rule, case, used):
    assert decide([*found, rule], case, used).outcome <= decide(found, case, used).outcome


@given(rules, permits.filter(lambda text: "allowance" not in text), cases, used_amounts)
@settings(max_examples=150, deadline=None)
def test_taking_a_permit_away_never_allows_more(found, rule, case, used):
    assert decide(found, case, used).outcome <= decide([*found, rule], case, used).outcome


@given(rules.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))), cases, used_amounts)
@settings(max_examples=100, deadline=None)
def test_the_order_of_rules_never_matters(both, case, used):
    one, two = (decide(found, case, used) for found in both)
    assert (one.outcome, one.policy_hash, one.bookings) == (two.outcome, two.policy_hash, two.bookings)
    assert sorted(map(str, one.reasons)) == sorted(map(str, two.reasons))
    assert set(one.approvals) == set(two.approvals)


@given(rules, cases, used_amounts)
@settings(max_examples=100, deadline=None)
def test_judging_twice_is_equal(found, case, used):
    assert decide(found, case, used) == decide(found, case, used)


@given(rules, cases, used_amounts, st.sampled_from(range(5)))
@settings(max_examples=100, deadline=None)
def test_an_opaque_effect_denies_wherever_it_stands(found, case, used, at):
    effects = (*case.effects[:at], Opaque("too_deep", "x"), *case.effects[at:])
    assert decide(found, Case("g", "a", WALLET, BASE, 10**12, case.method, effects), used).outcome is Outcome.DENY


@given(rules, cases, used_amounts)
@settings(max_examples=100, deadline=None)
def test_without_permits_nothing_is_allowed(found, case, used):
    assert decide([rule for rule in found if "permit" not in rule], case, used).outcome is Outcome.DENY


@given(rules, rules, cases, used_amounts)
@settings(max_examples=150, deadline=None)
def test_what_compares_as_tighter_never_allows_more(old, new, case, used):
    direction = compare(*(load(HEAD + "".join(found), source="p") for found in (old, new))).direction
    before, after = decide(old, case, used).outcome, decide(new, case, used).outcome
    if direction in (Direction.TIGHTER, Direction.SAME):
        assert after <= before
    if direction in (Direction.LOOSER, Direction.SAME):
        assert after >= before


@given(rules, st.sampled_from(["forbid", "limits", "approve", "permit"]), cases, used_amounts)
@settings(max_examples=150, deadline=None)
def test_taking_rules_away_compares_the_right_way(old, section, case, used):
    new = [rule for rule in old if section not in rule]
    direction = compare(*(load(HEAD + "".join(found), source="p") for found in (old, new))).direction
    if section in ("forbid", "approve"):
        assert direction in (Direction.LOOSER, Direction.SAME)
    if section == "permit":
        assert direction in (Direction.TIGHTER, Direction.SAME)

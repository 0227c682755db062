"""The most a hostile agent can take: exact where rules bound it, unlimited where they do not, and never exceeded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.limits import LimitBook, falls_into
from walletgate.policy import Case, judge, load
from walletgate.policy.bound import bound, bound_lines
from walletgate.types import Asset, Measure, Outcome, Transfer

PAY = '[[permit]]\nname = "pay"\ntransfer = "USDC"\nto = ["acme", "shop"]\n'
U = 10**6


def usdc(policy, **how):
    for each in bound(policy, **how).exposures:
        if each.measure is Measure.AMOUNT and policy.index.asset_names[each.asset] == "USDC":
            return each.hour, each.day, each.ever
    return 0, 0, 0


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("", (None, None, None)),
        ('asset = "USDC"\nper_request = "10"', (None, None, None)),
        ('asset = "USDC"\nper = {"24h" = "50"}', (50 * U, 50 * U, None)),
        ('asset = "USDC"\nper = {"1h" = "5"}', (5 * U, 120 * U, None)),
        ('asset = "USDC"\nper = {"7h" = "5"}', (5 * U, 20 * U, None)),
        ('asset = "USDC"\nper = {"1h" = "5", "24h" = "50"}', (5 * U, 50 * U, None)),
        ('asset = "USDC"\nlifetime = "1000"', (1000 * U, 1000 * U, 1000 * U)),
        ('asset = "USDC"\nper = {"30m" = "5"}\nlifetime = "1000"', (10 * U, 240 * U, 1000 * U)),
        ('asset = "USDC"\nper_request = "0"', (0, 0, 0)),
        ('asset = "USDC"\nscope = "wallet"\nper = {"24h" = "50"}', (50 * U, 50 * U, None)),
        ('asset = "USDC"\nscope = "recipient"\nper = {"24h" = "50"}', (100 * U, 100 * U, None)),
        ('asset = "USDC"\nto = "acme"\nper = {"24h" = "50"}', (None, None, None)),
        ('asset = "USDC"\nto = ["acme", "shop"]\nper = {"24h" = "50"}', (100 * U, 100 * U, None)),
        ('asset = "USDC"\nscope = "contract"\nper = {"24h" = "50"}', (None, None, None)),
        ('asset = "USDC"\nper_request = "2"\n[[limits]]\ncount = "requests"\nper = {"1h" = 10}', (20 * U, 480 * U, None)),
        ('asset = "USDC"\nmax_share = "10%"', (None, None, None)),
    ],
)  # fmt: skip
def test_limits_bound_what_can_be_taken(desk, limits, expected):
    policy = desk.load(PAY + (f"[[limits]]\n{limits}\n" if limits else ""))
    assert usdc(policy) == expected


def test_humans_bound_what_goes_without_them(desk):
    body = PAY + '[[limits]]\nasset = "USDC"\nper = {"24h" = "50"}\n'
    ask = '[[approve]]\nwhen = {asset = "USDC", above = "20", per = "24h"}\n'
    assert usdc(desk.load(body + ask)) == (20 * U, 20 * U, None)
    assert usdc(desk.load(body + ask), approved=True) == (50 * U, 50 * U, None)
    assert usdc(desk.load(body + "[[approve]]\nwhen = {always = true}\n")) == (0, 0, 0)
    assert usdc(desk.load(body + '[[approve]]\nwhen = {transfer = "*"}\n')) == (0, 0, 0)
    for some in ('to = "shop"', 'not_to = "shop"', 'from = "shop"'):
        assert usdc(desk.load(body + f'[[approve]]\nwhen = {{transfer = "*", {some}}}\n')) == (50 * U, 50 * U, None)
    deploys = desk.load('[[permit]]\ndeploy = "*"\n[[approve]]\nwhen = {transfer = "*"}\n')
    assert [each.ever for each in bound(deploys).exposures if each.measure is Measure.AMOUNT] == [None]


def test_nothing_permitted_is_nothing_taken(desk):
    head = desk.head.split("[[limits]]")[0]
    bounds = bound(desk.load("", head=head))
    assert bounds.exposures == ()
    assert bound_lines(desk.load("", head=head), bounds) == ["Nothing can be taken."]
    assert usdc(desk.load('[[permit]]\ntransfer = "USDC"\nto = "self"\n')) == (0, 0, 0)


@pytest.mark.parametrize(
    "rule",
    [
        'blind = "blind_hash"',
        'delegate = "set_code"\nto = "acme"',
        'admin = "safe"\naction = "upgrade"',
        'call = "router"\nfunction = "*"',
        'call = "router"\nfunction = "f()"\ndelegatecall = true',
        'sign = "*"\ncontract = "router"',
    ],
)
def test_power_beyond_amounts_is_unlimited(desk, rule):
    policy = desk.load(PAY + f'[[permit]]\nname = "power"\n{rule}\n[[limits]]\nasset = "USDC"\nlifetime = "1"\n')
    bounds = bound(policy)
    assert len(bounds.powers) == 1
    assert usdc(policy) == (None, None, None)
    assert "power" in bound_lines(policy, bounds)[0]


def test_every_way_out_is_seen(desk):
    limit = '[[limits]]\nasset = "USDC"\nper = {"24h" = "50"}\n'
    for rule in (
        'allowance = "USDC"\nspender = "router"\nmax = "5"',
        'call = "router"\nfunction = "f()"\nspend = "USDC"',
        'sign = "Order"\ncontract = "router"\nspend = "USDC"',
    ):
        assert usdc(desk.load(f"[[permit]]\n{rule}\n" + limit)) == (50 * U, 50 * U, None)
    deploy = desk.load('[[permit]]\ndeploy = "*"\n')
    assert any(
        each.asset == desk.eth and each.ever is None and each.measure is Measure.AMOUNT
        for each in bound(deploy).exposures
    )


def test_notes_name_what_no_limit_counts(desk):
    policy = desk.load(
        '[[permit]]\nname = "a"\nallowance = "USDC"\nspender = "permit2"\nmax = "unlimited"\ncounted = false\n'
        '[[permit]]\nname = "n"\nnft = "apes"\nto = "acme"\n[[permit]]\nname = "m"\nmessage = "*"\n'
    )
    assert [note.split()[0] for note in bound(policy).notes] == ["'a'", "'m':", "'n'"]


def test_lines_are_for_reading(desk):
    policy = desk.load(PAY + '[[limits]]\nasset = "USDC"\nper = {"24h" = "50"}\n')
    assert bound_lines(policy, bound(policy)) == [
        "unlimited ETH in fees in any hour, unlimited ETH in fees in any day, unlimited ETH in fees ever.",
        "50 USDC in any hour, 50 USDC in any day, unlimited USDC ever.",
    ]


HEAD = """
version = 1
name = "b"
chains = ["base"]
[assets.USDC]
address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
decimals = 6
[addresses]
a = "0x0101010101010101010101010101010101010101"
b = "0x0202020202020202020202020202020202020202"
[[permit]]
transfer = "USDC"
to = ["a", "b"]
"""
bounds_text = st.one_of(
    st.builds('[[limits]]\nasset = "USDC"\nper = {{"{}" = "{}"}}\n'.format, st.sampled_from(["20m", "1h", "5h", "24h"]), st.integers(0, 9)),
    st.builds('[[limits]]\nasset = "USDC"\nscope = "recipient"\nper = {{"1h" = "{}"}}\n'.format, st.integers(0, 5)),
    st.builds('[[limits]]\nasset = "USDC"\nper_request = "{}"\n[[limits]]\ncount = "requests"\nper = {{"{}" = {}}}\n'.format,
              st.integers(0, 5), st.sampled_from(["30m", "2h"]), st.integers(0, 4)),
    st.builds('[[limits]]\nasset = "USDC"\nlifetime = "{}"\n'.format, st.integers(0, 40)),
    st.builds('[[approve]]\nwhen = {{asset = "USDC", above = "{}", per = "3h"}}\n'.format, st.integers(0, 5)),
)  # fmt: skip


@given(
    st.lists(bounds_text, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 2)), max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_no_agent_takes_more_than_its_bound(found, attempts):
    policy = load(HEAD + "".join(found), source="p")
    asset = Asset(8453, bytes.fromhex("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"))
    past, now, taken = [], 10**12, []
    book = LimitBook(
        lambda bucket, after_ms: [(m.at_ms, m.spent) for m in past if m.at_ms > after_ms and falls_into(m, bucket)],
        lambda bucket: sum(m.spent for m in past if falls_into(m, bucket)),
    )
    for step, amount, to in attempts:
        now += step * 20 * 60_000
        effect = Transfer(asset, b"\xaa" * 20, bytes([to]) * 20, amount * U)
        case = Case("g", "a", b"\xaa" * 20, 8453, now, "eth_sendTransaction", (effect,))
        decision = judge(policy, case, lambda bucket, window, at=now: book.used(bucket, window, at))
        if decision.outcome is Outcome.ALLOW:
            book.reserve(str(len(taken)), decision.bookings, grant="g", group=None, wallet=b"\xaa" * 20, now_ms=now)
            past += book.post(str(len(taken)), now_ms=now)
            book.saved()
            taken.append((now, amount * U))
    hour, day, ever = usdc(policy)
    for span, most in ((3_600_000, hour), (86_400_000, day), (2**60, ever)):
        worst = max((sum(n for at, n in taken if start <= at < start + span) for start, _ in taken), default=0)
        assert most is None or worst <= most

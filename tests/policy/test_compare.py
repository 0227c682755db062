"""Comparing: which way each change goes, that `tighter` is never wrong, and examples that are true."""

import pytest

from walletgate.policy.compare import Direction, compare, comparison_lines

PAY = '[[permit]]\nname = "pay"\ntransfer = "USDC"\nto = "acme"\n'
OLD = """
[[permit]]
name = "pay"
transfer = "USDC"
to = ["acme", "shop"]
[[permit]]
name = "let"
allowance = "USDC"
spender = "router"
max = "50"
max_ttl = "1h"
[[permit]]
name = "swap"
call = "router"
function = "swap(uint256 amount)"
spend = ["USDC", "ETH"]
[[permit]]
name = "sign in"
login = ["a.example"]
[[limits]]
name = "day"
asset = "USDC"
per_request = "10"
per = { "24h" = "50" }
[[approve]]
name = "large"
when = { asset = "USDC", above = "2" }
of = ["alice", "bob"]
within = "30m"
[[forbid]]
name = "no mixers"
transfer = "*"
to = ["tornado"]
[swap]
max_deadline = "20m"
"""


@pytest.fixture
def change(desk):
    def make(old, new, *, top="", count=1):
        assert old in OLD
        return compare(desk.load(OLD), desk.load(OLD.replace(old, new, count), top=top))

    return make


@pytest.mark.parametrize(
    ("old", "new", "direction"),
    [
        ('to = ["acme", "shop"]', 'to = ["acme"]', "tighter"),
        ('to = ["acme", "shop"]', 'to = ["acme", "shop", "thief"]', "looser"),
        ('to = ["acme", "shop"]', 'to = ["acme", "thief"]', "both"),
        ('to = ["acme", "shop"]', 'to = "*"', "looser"),
        ('to = ["acme", "shop"]', 'to = ["acme", "shop"]\nvia = "router"', "looser"),
        ('to = ["acme", "shop"]', 'to = ["acme", "shop"]\nexpires = 2027-01-01T00:00:00Z', "tighter"),
        ('to = ["acme", "shop"]', 'to = ["acme", "shop"]\nhours = {zone = "UTC", days = "mon"}', "tighter"),
        ('transfer = "USDC"', 'transfer = ["USDC", "ETH"]', "looser"),
        ('max = "50"', 'max = "49"', "tighter"),
        ('max = "50"', 'max = "51"', "looser"),
        ('max = "50"', 'max = "50"\ncounted = false', "looser"),
        ('max_ttl = "1h"', 'max_ttl = "2h"', "looser"),
        ('max_ttl = "1h"', "", "looser"),
        ('function = "swap(uint256 amount)"', 'function = "*"', "looser"),
        ('function = "swap(uint256 amount)"', 'function = "swap(uint256 amount)"\nwhere = {amount = "1"}', "tighter"),
        ('function = "swap(uint256 amount)"', 'function = "swap(uint256 amount)"\ndelegatecall = true', "looser"),
        ('spend = ["USDC", "ETH"]', 'spend = ["USDC"]', "tighter"),
        ('spend = ["USDC", "ETH"]', 'spend = ["USDC", "ETH"]\nto = "*"', "looser"),
        ('login = ["a.example"]', 'login = ["a.example", "b.example"]', "looser"),
        ('per_request = "10"', 'per_request = "9"', "tighter"),
        ('per_request = "10"', 'per_request = "11"', "looser"),
        ('per_request = "10"', "", "looser"),
        ('"24h" = "50"', '"24h" = "51"', "looser"),
        ('"24h" = "50"', '"24h" = "50", "30d" = "500"', "tighter"),
        ('"24h" = "50"', '"48h" = "50"', "tighter"),
        ('"24h" = "50"', '"12h" = "50"', "looser"),
        ('"24h" = "50"', '"12h" = "25"', "both"),
        ('per = { "24h" = "50" }', 'lifetime = "50"', "tighter"),
        ('above = "2"', 'above = "1"', "tighter"),
        ('above = "2"', 'above = "3"', "looser"),
        ('above = "2"', 'above = "2", per = "24h"', "tighter"),
        ('of = ["alice", "bob"]', 'of = ["alice"]', "tighter"),
        ('of = ["alice", "bob"]', 'of = ["alice", "bob", "eve"]', "looser"),
        ('of = ["alice", "bob"]', "", "looser"),
        ('of = ["alice", "bob"]', 'of = ["alice", "bob"]\nquorum = 2', "tighter"),
        ('within = "30m"', 'within = "31m"', "looser"),
        ('to = ["tornado"]', 'to = ["tornado", "thief"]', "tighter"),
        ('to = ["tornado"]', 'to = ["thief"]', "both"),
        ('to = ["tornado"]', 'to = ["tornado"]\nhours = {zone = "UTC", days = "mon"}', "looser"),
        ('max_deadline = "20m"', 'max_deadline = "21m"', "looser"),
        ('max_deadline = "20m"', 'max_deadline = "19m"', "tighter"),
        ('max_deadline = "20m"', 'max_deadline = "20m"\nmin_out = "any"', "looser"),
        ('max_deadline = "20m"', 'max_deadline = "20m"\nrequire_deadline = true', "tighter"),
        ('max_deadline = "20m"', 'max_deadline = "21m"\nrequire_deadline = true', "both"),
        ('max_deadline = "20m"', 'max_deadline = "20m"\n[[swap.floor]]\nsell = "USDC"\nbuy = "WETH"\nat_least = "1"', "tighter"),
        ('name = "pay"', 'name = "paying"', "same"),
        ("[swap]", '[[forbid]]\nnew_recipient = "1d"\n[swap]', "tighter"),
        ('[[approve]]\nname = "large"\nwhen = { asset = "USDC", above = "2" }', '[[approve]]\nname = "all"\nwhen = { always = true }', "tighter"),
    ],
)  # fmt: skip
def test_each_change_goes_one_way(change, old, new, direction):
    assert change(old, new).direction.value == direction


KINDS = [
    ('call = "router"\nfunction = "f()"', 'call = "router"\nfunction = ["f()", "g()"]'),
    ('call = "router"\nfunction = "f()"', 'call = ["router", "shop"]\nfunction = "f()"'),
    ('allowance = "USDC"\nspender = "router"\nmax = "5"', 'allowance = "USDC"\nspender = "router"\nmax = "unlimited"'),
    ('nft = "apes"\nto = "acme"', 'nft = "apes"\nto = "acme"\noperators = "shop"'),
    ('nft = "apes"\nsell_above = "10"', 'nft = "apes"\nsell_above = "9"'),
    ('sign = "A"\ncontract = "router"', 'sign = ["A", "B"]\ncontract = "router"'),
    ('sign = "A"\ncontract = "router"', 'sign = "A"\ncontract = "router"\nspend = "USDC"'),
    ('login = "a"', 'login = "*"'),
    ('login = "a"', 'login = "a"\nmax_ttl = "2h"'),
    ('message = "abc"', 'message = "ab*"'),
    ('message = "ab*"', 'message = "*"'),
    (f'deploy = "0x{"11" * 32}"', 'deploy = "*"'),
    ('delegate = "votes"\nto = "acme"', 'delegate = "votes"\nto = "acme"\nany_chain = true'),
    ('admin = "safe"\naction = "a"', 'admin = "safe"\naction = ["a", "b"]'),
    ('fee_share = "shop"\nmax_bips = 5', 'fee_share = "shop"\nmax_bips = 6'),
    ("trailing_bytes = 5", "trailing_bytes = 6"),
    ('blind = "a"', 'blind = ["a", "b"]'),
    ('blind = "a"\ncontract = "router"', 'blind = "a"\ncontract = ["router", "shop"]'),
    ('revoke = "*"\nexpires = 2027-01-01T00:00:00Z', 'revoke = "*"'),
]


@pytest.mark.parametrize(("small", "big"), KINDS)
def test_every_kind_of_rule_has_an_order(desk, small, big):
    one, two, nothing = (
        desk.load(PAY + f'[[permit]]\nname = "k"\n{rule}\n')
        for rule in (small, big, 'revoke = "*"\nexpires = 2020-01-01T00:00:00Z')
    )
    assert compare(one, two).direction is Direction.LOOSER
    assert compare(two, one).direction is Direction.TIGHTER
    come, gone = compare(nothing, two), compare(two, nothing)
    if "revoke" not in big:
        assert (come.direction, gone.direction) == (Direction.BOTH, Direction.BOTH)
    sections = [change for change in (*come.changes, *gone.changes) if change.example is not None]
    for change in sections:
        assert change.example.old is not change.example.new


@pytest.mark.parametrize(
    "when",
    ['login = "*"', 'transfer = "USDC"\nto = "acme"', 'message = "*"', 'allowance = "*"', 'new_recipient = "7d"', 'fees = "ETH"\nabove = "0.0001"'],
)  # fmt: skip
def test_questions_have_an_order(desk, when):
    inner = when.replace("\n", ", ")
    plain, asks = desk.load(PAY), desk.load(PAY + f'[[approve]]\nname = "q"\nwhen = {{ {inner} }}\n')
    later = desk.load(PAY + f'[[approve]]\nname = "q"\nwhen = {{ {inner} }}\nwithin = "2h"\n')
    assert compare(plain, asks).direction is Direction.TIGHTER
    assert compare(asks, plain).direction is Direction.LOOSER
    assert compare(asks, later).direction is Direction.LOOSER


def test_shares_of_the_balance_have_an_order(desk):
    one, two = (
        desk.load(PAY + f'[[limits]]\nname = "s"\nasset = "USDC"\nmax_share = "{share}"\n') for share in ("10%", "20%")
    )
    comparison = compare(one, two)
    assert comparison.direction is Direction.LOOSER
    assert any(change.example is not None for change in comparison.changes)


def test_waiting_times_have_an_order(desk):
    one, two = (desk.load(PAY + f'[[forbid]]\nname = "w"\nnew_recipient = "{age}"\n') for age in ("1d", "2d"))
    assert compare(one, two).direction is Direction.TIGHTER
    assert compare(two, one).direction is Direction.LOOSER
    assert compare(desk.load(PAY), one).changes[0].example.lines[0] == "a request that pays 0.000001 USDC to acme"


@pytest.mark.parametrize(
    ("top", "direction"),
    [
        ("require_expect = true\n", "tighter"),
        ("expires = 2027-01-01T00:00:00Z\n", "tighter"),
        ("max_gas = 100000\n", "tighter"),
        ('methods = ["eth_sendTransaction"]\n', "tighter"),
        ('methods = ["eth_sendTransaction", "eth_sign"]\n', "both"),
        ('read_methods = ["eth_call", "debug_traceCall"]\n', "both"),
        ('accounts = ["0x0404040404040404040404040404040404040404"]\n', "both"),
    ],
)
def test_the_head_of_a_policy_counts(desk, top, direction):
    assert compare(desk.load(OLD), desk.load(OLD, top=top)).direction.value == direction


def test_the_same_meaning_is_the_same(desk):
    comparison = compare(desk.load(OLD), desk.load(OLD.replace('"24h" = "50"', '"1d" = "50.00"')))
    assert (comparison.direction, comparison.changes) == (Direction.SAME, ())
    assert comparison_lines(comparison) == ["The two policies mean the same."]


def test_opening_fees_is_looser(desk):
    head = desk.head.split("[[limits]]")[0]
    without, with_fees = desk.load(OLD, head=head), desk.load(OLD)
    assert compare(without, with_fees).direction is Direction.LOOSER
    assert compare(with_fees, without).direction is Direction.BOTH


def test_a_split_limit_is_the_same_limit(desk):
    split = OLD.replace('per = { "24h" = "50" }', '[[limits]]\nname = "day 2"\nasset = "USDC"\nper = { "24h" = "50" }')
    assert compare(desk.load(OLD), desk.load(split)).direction is Direction.SAME


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            'per_request = "10"',
            'per_request = "11"',
            ("a request that pays 10.000001 USDC to acme", "the old policy refuses it, the new one asks about it"),
        ),
        (
            '"24h" = "50"',
            '"24h" = "40"',
            (
                "a request that pays 0.000001 USDC to acme after 40 USDC before it",
                "the old policy allows it, the new one refuses it",
            ),
        ),
        (
            'to = ["acme", "shop"]',
            'to = ["thief"]',
            ("a request that pays 0.000001 USDC to thief", "the old policy refuses it, the new one allows it"),
        ),
        (
            'above = "2"',
            'above = "3"',
            ("a request that pays 2.000001 USDC to acme", "the old policy asks about it, the new one allows it"),
        ),
        (
            'login = ["a.example"]',
            'login = ["b.example"]',
            ('a request that logs in at "b.example" until 2026-01-01 01:00 UTC',
             "the old policy refuses it, the new one allows it"),
        ),
    ],
)  # fmt: skip
def test_an_example_shows_the_change(change, old, new, lines):
    examples = [each.example.lines for each in change(old, new).changes if each.example is not None]
    assert lines in examples


def test_lines_say_which_way_and_why(change):
    lines = comparison_lines(change('per_request = "10"', 'per_request = "11"'))
    assert lines[:2] == [
        "The new policy is looser.",
        "- looser: limits 'day' no longer at most 10 USDC a request",
    ]

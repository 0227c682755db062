"""Lint: each finding has a code, and a policy that is in order has none."""

import pytest

from walletgate.encoding import checksum_address
from walletgate.policy.lint import Severity, lint

CLEAN = """
[[permit]]
name = "pay"
transfer = "USDC"
to = ["acme", "shop"]
[[permit]]
name = "call"
call = "router"
function = "f(uint256)"
spend = ["WETH"]
[[permit]]
name = "give"
nft = "apes"
to = ["safe"]
[[limits]]
name = "usdc"
asset = "USDC"
per_request = "10"
per = { "24h" = "50", "30d" = "500" }
[[limits]]
name = "weth"
asset = "WETH"
per = { "24h" = "1" }
[[limits]]
name = "fees"
fees = "ETH"
per = { "24h" = "0.01" }
[[approve]]
name = "large"
when = { asset = "USDC", above = "2" }
[[forbid]]
name = "thief"
transfer = "*"
to = ["thief"]
"""


def codes(policy, **how):
    return [(each.code, each.rule) for each in lint(policy, **how)]


def test_a_policy_in_order_has_no_findings(desk):
    assert lint(desk.load(CLEAN)) == ()


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        ('[[permit]]\nname = "x"\ntransfer = "USDC"\nto = ["thief"]', ("never_matches", "x")),
        ('[[forbid]]\ncall = "router"', ("never_matches", "call")),
        ('[[forbid]]\nnft = "*"', ("never_matches", "give")),
        ('[[permit]]\nname = "x"\nallowance = "USDC"\nspender = "shop"\nmax = "unlimited"', ("never_matches", "x")),
        ('[[permit]]\nname = "x"\ntransfer = "USDC"\nto = ["acme"]', ("shadowed", "x")),
        ('[[forbid]]\nname = "x"\ntransfer = "USDC"\nto = ["thief"]', ("shadowed", "x")),
        ('[[limits]]\nname = "x"\nasset = "USDC"\nper_request = "20"\nper = {"24h" = "10"}', ("dead_bound", "x")),
        ('[[limits]]\nname = "x"\nasset = "USDC"\nper = {"24h" = "20"}\nlifetime = "10"', ("dead_bound", "x")),
        ('[[limits]]\nname = "x"\nasset = "USDC"\nper = {"24h" = "0"}', ("zero_limit", "x")),
        ('[[approve]]\nname = "x"\nwhen = {asset = "USDC", above = "10"}', ("never_asks", "x")),
        ('[[approve]]\nname = "x"\nwhen = {asset = "ETH", above = "10"}', ("never_asks", "x")),
        ('[[permit]]\nname = "x"\ntransfer = "USDC"\nto = "*"', ("anybody", "x")),
        ('[[permit]]\nname = "x"\ntransfer = "USDC"\nto = "acme"\nfrom = "*"', ("others_money", "x")),
        ('[[permit]]\nname = "x"\ncall = "shop"\nfunction = "*"', ("any_function", "x")),
        ('[[permit]]\nname = "x"\ncall = "shop"\nfunction = "f()"\ndelegatecall = true', ("foreign_code", "x")),
        ('[[permit]]\nname = "x"\ncall = "shop"\nfunction = "f()"\nto = "*"', ("anybody", "x")),
        ('[[permit]]\nname = "x"\nallowance = "USDC"\nspender = "*"\nmax = "1"', ("anybody", "x")),
        ('[[permit]]\nname = "x"\nallowance = "USDC"\nspender = "shop"\nmax = "1"\ncounted = false', ("not_counted", "x")),
        ('[[permit]]\nname = "x"\nsign = "*"\ncontract = "shop"', ("any_signature", "x")),
        ('[[permit]]\nname = "x"\nsign = "A"\ncontract = "shop"\nmax_ttl = "unlimited"', ("no_end", "x")),
        ('[[permit]]\nname = "x"\ntransfer = "ETH"\nto = "acme"', ("unlimited", "x")),
        ('[[permit]]\nname = "x"\ntransfer = "ETH"\nto = "acme"\n[[limits]]\nname = "y"\nasset = "ETH"\nper_request = "1"', ("unlimited", "y")),
        ('[[permit]]\nname = "x"\ntransfer = "USDC"\nto = ["%s"]', ("pays_a_token", "x")),
    ],
)  # fmt: skip
def test_finds(desk, body, finding):
    body = body.replace("%s", checksum_address(desk.weth.address))
    assert finding in codes(desk.load(CLEAN + body))


def test_finds_what_has_ended(desk):
    policy = desk.load(CLEAN.replace('to = ["safe"]', 'to = ["safe"]\nexpires = 2026-01-01T00:00:00Z'))
    assert codes(policy, now_s=desk.now - 1) == []
    assert codes(policy, now_s=desk.now) == [("ended", "give")]
    policy = desk.load(CLEAN, top="expires = 2026-01-01T00:00:00Z\n")
    assert ("ended", None) in codes(policy, now_s=desk.now)


def test_finds_a_policy_without_fees(desk):
    head = desk.head.split("[[limits]]")[0]
    body = CLEAN.replace('fees = "ETH"', 'asset = "ETH"')
    assert ("no_fees", None) in codes(desk.load(body, head=head))


def test_finds_fees_that_only_a_request_bounds(desk):
    assert ("unlimited", "limit fees ETH") in codes(desk.load(CLEAN.replace('fees = "ETH"', 'asset = "ETH"')))
    counted = CLEAN.replace('fees = "ETH"', 'asset = "ETH"') + '[[limits]]\ncount = "requests"\nper = {"1h" = 5}\n'
    assert codes(desk.load(counted)) == []


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("0101" + "77" * 16 + "0101", "look_alike"),
        ("01" * 20, "two_names"),
        ("8335" + "77" * 16 + "2913", "look_alike"),
    ],
)
def test_finds_addresses_that_look_alike(desk, address, code):
    line = f'again = "{checksum_address(bytes.fromhex(address))}"\n[[limits]]'
    policy = desk.load(CLEAN, head=desk.head.replace("[[limits]]", line, 1))
    assert (code, None) in codes(policy)


def test_finds_names_that_nothing_uses(desk):
    line = 'old = "0x7777777777777777777777777777777777777777"\n[[limits]]'
    policy = desk.load(CLEAN, head=desk.head.replace("[[limits]]", line, 1))
    assert [(each.code, each.severity, each.text) for each in lint(policy)] == [
        ("unused_name", Severity.HINT, "no rule speaks of 'old'")
    ]
    assert ("unused_name", None) in codes(desk.load(CLEAN.replace("WETH", "ETH")))


@pytest.mark.parametrize(
    ("function", "where", "found"),
    [
        ("f(address to)", "", False),
        ("f(address)", "", False),
        ("f(address referral)", "", True),
        ("f(address referral)", '{ referral = "acme" }', False),
        ("f(address referral,uint256 a)", '{ referral = "acme", a = "1" }', False),
        ("f(address referral,uint256 a)", '{ a = "1" }', True),
        ("f(address[] path)", "", True),
        ("f((address,uint256) p)", '{ p = { "0" = "acme" } }', False),
        ("transfer(address dst,uint256 n)", "", False),
    ],
)
def test_finds_addresses_that_nothing_looks_at(desk, function, where, found):
    rule = f'[[permit]]\nname = "x"\ncall = "shop"\nfunction = "{function}"\n' + (f"where = {where}\n" if where else "")
    assert (("unwatched_address", "x") in codes(desk.load(CLEAN + rule))) is found


def test_inline_addresses_may_look_alike_too(desk):
    twin = checksum_address(bytes.fromhex("0101" + "77" * 16 + "0101"))
    rule = f'[[permit]]\nname = "x"\ntransfer = "USDC"\nto = ["{twin}"]\n'
    assert ("look_alike", None) in codes(desk.load(CLEAN + rule))


def test_errors_come_first(desk):
    body = (
        CLEAN
        + '[[permit]]\nname = "x"\ntransfer = "*"\nto = "*"\n[[permit]]\nname = "y"\ntransfer = "USDC"\nto = "thief"'
    )
    severities = [each.severity for each in lint(desk.load(body))]
    assert severities == sorted(severities, key=list(Severity).index)
    assert severities[0] is Severity.ERROR


def test_a_policy_that_sends_nothing_needs_no_fees(desk):
    head = desk.head.split("[[limits]]")[0]
    for methods in ('["eth_signTypedData_v4", "personal_sign"]', "[]"):
        assert ("no_fees", None) not in codes(desk.load(head=f"methods = {methods}\n" + head))
    for method in ("eth_sendTransaction", "eth_signTransaction", "wallet_sendCalls"):
        assert ("no_fees", None) in codes(desk.load(head=f'methods = ["{method}"]\n' + head))


def test_a_feed_is_a_use_of_its_name(desk):
    text = '[prices.USD]\nmax_age = "1h"\nlive = {ETH = {feed = "safe", decimals = 8}}\n[[limits]]\nquote = "USD"\nper_request = "1"\n'
    assert not any("'safe'" in finding.text for finding in lint(desk.load(text)))
    assert any("'safe'" in finding.text for finding in lint(desk.load()))


def test_a_bound_on_deadlines_that_need_not_be_there_is_found(desk):
    bounded = CLEAN + '[swap]\nmax_deadline = "20m"\n'
    assert codes(desk.load(bounded)) == [("no_deadline", None)]
    assert codes(desk.load(bounded + "require_deadline = true\n")) == []

"""What is forbidden stays forbidden, by every way of getting there."""

import pytest

from walletgate.policy import Facts, Need
from walletgate.types import (
    ZERO_ADDRESS,
    AdminChange,
    Allowance,
    Asset,
    Call,
    Delegation,
    Deployment,
    FeeShare,
    Login,
    MessageSignature,
    NftApproval,
    NftTransfer,
    Opaque,
    OperatorApproval,
    Receive,
    Redirect,
    TrailingBytes,
    TypedSignature,
)

OPEN = """
[[permit]]
transfer = "*"
to = "*"
via = "*"
from = "*"
[[permit]]
allowance = "*"
spender = "*"
max = "unlimited"
[[permit]]
revoke = "*"
[[permit]]
call = ["router", "shop"]
function = ["f()", "g(uint256)"]
spend = "*"
to = "*"
[[permit]]
nft = "apes"
to = "*"
operators = "*"
[[permit]]
sign = "*"
contract = "router"
[[permit]]
login = "*"
[[permit]]
message = "*"
[[permit]]
deploy = "*"
[[permit]]
fee_share = "*"
max_bips = 10000
[[permit]]
trailing_bytes = 100
[[permit]]
blind = "unknown_function"
contract = "router"
[swap]
to = "*"
"""
TO_THIEF = '[[forbid]]\nname = "no thief"\ntransfer = "*"\nto = ["thief"]\n'


@pytest.fixture
def call(desk):
    return Call(desk.base, desk.router, bytes.fromhex("26121ff0"), "f()", ())


def test_a_forbidden_address_is_reached_in_no_way(desk, call):
    ways = [
        desk.pay(1, to=desk.thief),
        desk.pay(0, to=desk.thief),
        desk.pay(1, asset=desk.eth, to=desk.thief),
        desk.pay(1, via=desk.thief),
        desk.pay(1, to=desk.thief, via=desk.router),
        desk.pay(1, to=desk.thief, sender=desk.shop),
        Allowance(desk.usdc, desk.wallet, desk.thief, 1),
        Allowance(desk.usdc, desk.wallet, desk.thief, 0, added=True),
        Receive(desk.usdc, desk.thief, 1),
        Redirect(desk.thief, "shares"),
        FeeShare(desk.thief, 1),
    ]
    for way in ways:
        assert "forbidden" in desk.outcome(OPEN + TO_THIEF, call, way), way
        assert "forbidden" not in desk.outcome(OPEN, call, way), way


def test_other_ways_stay_open(desk, call):
    for way in (desk.pay(1), Allowance(desk.usdc, desk.wallet, desk.thief, 0), Redirect(desk.wallet, "shares")):
        assert desk.outcome(OPEN + TO_THIEF, call, way) == "allow"


def test_a_forbidden_asset_goes_nowhere(desk, call):
    body = OPEN + '[[forbid]]\ntransfer = "WETH"\n'
    assert desk.outcome(body, desk.pay(1, asset=desk.weth)) == "deny forbidden"
    assert desk.outcome(body, desk.pay(1)) == "allow"
    assert desk.outcome(body, call, Receive(desk.weth, desk.wallet, 1)) == "allow"
    assert desk.outcome(body, call, Receive(desk.weth, desk.acme, 1)) == "deny forbidden"


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ('call = "router"', "call"),
        ('call = "*"\nfunction = "f()"', "call"),
        ('call = "router"\nfunction = "f()"', "call"),
        ('allowance = "*"', "allowance"),
        ('allowance = "USDC"\nspender = "router"', "allowance"),
        ('revoke = "*"', "revoke"),
        ('nft = "*"', "nft"),
        ('nft = "apes"\nto = "acme"', "nft"),
        ('nft = "apes"\noperators = "acme"', "operator"),
        ('sign = "Order"', "sign"),
        ('sign = "*"\ncontract = "router"', "sign"),
        ('login = "*"', "login"),
        ('message = "a*"', "message"),
        ('deploy = "*"', "deploy"),
        ('fee_share = "*"', "fee_share"),
        ("trailing_bytes = 1", "trailing"),
        ('blind = "*"', "blind"),
    ],
)
def test_every_kind_can_be_forbidden(desk, call, rule, kind):
    apes = Asset(desk.base, desk.apes)
    effects = {
        "call": [call],
        "allowance": [Allowance(desk.usdc, desk.wallet, desk.router, 1)],
        "revoke": [Allowance(desk.usdc, desk.wallet, desk.router, 0)],
        "nft": [NftTransfer(apes, 1, 1, desk.wallet, desk.acme)],
        "operator": [OperatorApproval(apes, desk.wallet, desk.acme, approved=True)],
        "sign": [TypedSignature(desk.base, desk.router, "Order", b"\x00" * 32)],
        "login": [Login("a.example", "https://a.example", desk.base, expires_at=desk.now)],
        "message": [MessageSignature("abc")],
        "deploy": [Deployment(desk.base, 0, b"\x00" * 32)],
        "fee_share": [call, FeeShare(desk.acme, 1)],
        "trailing": [call, TrailingBytes(1)],
        "blind": [Opaque("unknown_function", "x", desk.router)],
    }
    for name, found in effects.items():
        expected = "deny forbidden" if name == kind else "allow"
        if (name, kind) in {("fee_share", "call"), ("trailing", "call"), ("operator", "nft"), ("nft", "operator")}:
            expected = "deny forbidden"
        assert desk.outcome(OPEN + f"[[forbid]]\n{rule}\n", *found) == expected, name


def test_powers_can_be_forbidden(desk):
    safe = Asset(desk.base, desk.safe)
    body = (
        OPEN
        + '[[permit]]\ndelegate = ["votes", "set_code"]\nto = "*"\n[[permit]]\nadmin = "safe"\naction = ["upgrade", "pause"]\nto = "*"\n'
    )
    votes, code = (Delegation(kind, desk.acme, desk.base) for kind in ("votes", "set_code"))
    upgrade, pause = (AdminChange(safe, action, desk.acme) for action in ("upgrade", "pause"))
    for rule, forbidden, free in (
        ('delegate = "set_code"', code, votes),
        ('delegate = "*"\nto = "acme"', code, upgrade),
        ('admin = "*"\naction = "upgrade"', upgrade, pause),
        ('admin = "safe"\nto = "acme"', pause, code),
    ):
        assert desk.outcome(body + f"[[forbid]]\n{rule}\n", forbidden) == "deny forbidden"
        assert desk.outcome(body + f"[[forbid]]\n{rule}\n", free) == "allow"


def test_some_things_stay_out_of_a_forbids_reach(desk, call):
    apes, other = Asset(desk.base, desk.apes), Call(desk.base, desk.shop, bytes.fromhex("26121ff0"), "f()", ())
    third = Call(desk.base, desk.router, bytes.fromhex("e420264a"), "g(uint256)", (1,))
    assert desk.outcome(OPEN + '[[forbid]]\ncall = "router"\nfunction = "f()"\n', other) == "allow"
    assert desk.outcome(OPEN + '[[forbid]]\ncall = "router"\nfunction = "f()"\n', third) == "allow"
    assert desk.outcome(OPEN + '[[forbid]]\ntransfer = "*"\nfrom = "shop"\n', desk.pay(1)) == "allow"
    assert desk.outcome(OPEN + '[[forbid]]\nnft = "*"\n', NftApproval(apes, 1, desk.wallet, ZERO_ADDRESS)) == "allow"
    assert (
        desk.outcome(OPEN + '[[forbid]]\nnft = "*"\n', NftApproval(apes, 1, desk.wallet, desk.acme)) == "deny forbidden"
    )
    assert (
        desk.outcome(OPEN + '[[forbid]]\nrevoke = "*"\n', NftApproval(apes, 1, desk.wallet, ZERO_ADDRESS))
        == "deny forbidden"
    )


def test_a_forbid_may_leave_some_out(desk):
    body = OPEN + '[[forbid]]\ntransfer = "*"\nnot_to = ["acme", "shop"]\n'
    assert desk.outcome(body, desk.pay(1)) == "allow"
    assert desk.outcome(body, desk.pay(1, to=desk.thief)) == "deny forbidden"
    assert desk.outcome(body, desk.pay(1, via=desk.router)) == "allow"
    body = OPEN + '[[forbid]]\nallowance = "*"\nnot_spender = ["router"]\n'
    assert desk.outcome(body, Allowance(desk.usdc, desk.wallet, desk.router, 1)) == "allow"
    assert desk.outcome(body, Allowance(desk.usdc, desk.wallet, desk.thief, 1)) == "deny forbidden"


COOL = OPEN + '[[forbid]]\nname = "wait"\nnew_recipient = "24h"\nexcept = ["shop"]\n'


@pytest.mark.parametrize(
    ("age_s", "expected"),
    [(86_401, "allow"), (86_400, "allow"), (86_399, "deny new_recipient"), (None, "deny new_recipient")],
)
def test_a_new_recipient_has_to_wait(desk, call, age_s, expected):
    seen = {} if age_s is None else {desk.acme: (desk.now - age_s) * 1000}
    assert desk.outcome(COOL, desk.pay(1), facts=Facts(first_seen_ms=seen)) == expected
    assert desk.outcome(COOL, call, Redirect(desk.acme, "shares"), facts=Facts(first_seen_ms=seen)) == expected


def test_waiting_needs_to_know_since_when(desk):
    assert desk.outcome(COOL, desk.pay(1)) == "deny fact_missing"
    assert desk.outcome(COOL, desk.pay(1, to=desk.shop)) == "allow"
    assert desk.outcome(COOL, desk.pay(1, to=desk.wallet)) == "allow"
    assert desk.load(COOL).needs == {Need.FIRST_SEEN}


def test_the_known_mixer_needs_no_declaration(desk):
    pool = next(
        iter(desk.load(OPEN + '[[forbid]]\ntransfer = "*"\nto = "tornado"\n').terms.forbids[0].match.to.members)
    )
    assert desk.outcome(OPEN + '[[forbid]]\ntransfer = "*"\nto = "tornado"\n', desk.pay(1, to=pool)) == "deny forbidden"


def test_a_forbid_beats_an_approval(desk):
    body = OPEN + TO_THIEF + "[[approve]]\nwhen = {always = true}\n"
    assert desk.outcome(body, desk.pay(1, to=desk.thief)) == "deny forbidden"


def test_forbidden_hours(desk):
    hours = 'hours = {zone = "UTC", days = "thu", from = "00:00", to = "08:00"}\n'  # 2026-01-01 is a Thursday
    body = OPEN + '[[forbid]]\ntransfer = "*"\n' + hours
    for second, expected in ((-1, "allow"), (0, "deny forbidden"), (28_799, "deny forbidden"), (28_800, "allow")):
        assert desk.outcome(body, desk.pay(1), now_ms=(desk.now + second) * 1000) == expected

"""What people read: names of the address book, human amounts, and text from outside that can only look like text."""

import pytest

from walletgate.policy import describe, explain, judge, load, show
from walletgate.policy.document import Policy
from walletgate.types import (
    UINT256_MAX,
    ZERO_ADDRESS,
    AdminChange,
    Allowance,
    Asset,
    Call,
    Delegation,
    Deployment,
    Fee,
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
    Transfer,
    TypedSignature,
)

BODY = """
[[limits]]
name = "spending"
asset = "USDC"
per_request = "10"
per = { "24h" = "50" }
lifetime = "1000"
max_share = "10%"
[[limits]]
asset = "USDC"
to = "shop"
per_request = "1"
[[limits]]
count = "requests"
scope = "wallet"
per = { "1h" = 20 }
[[permit]]
name = "buy"
transfer = "USDC"
to = ["acme", "self"]
via = ["x402-exact"]
[[permit]]
name = "swap"
call = "router"
function = "swap(uint256)"
spend = ["USDC", "ETH"]
[[permit]]
name = "allow"
allowance = "USDC"
spender = "permit2"
max = "unlimited"
counted = false
[[permit]]
name = "apes"
nft = "apes"
to = "acme"
operators = "shop"
sell_above = "10"
expires = 2027-01-01T00:00:00Z
hours = { days = "mon-fri", from = "09:00", to = "17:00", zone = "Europe/Oslo" }
[[permit]]
name = "sign"
sign = "Order"
contract = "router"
spend = "WETH"
[[permit]]
name = "blind"
blind = "blind_hash"
[[permit]]
name = "all"
transfer = "WETH"
to = "*"
from = "*"
[[approve]]
name = "large"
when = { asset = "USDC", above = "2" }
of = ["alice", "bob"]
within = "30m"
[[approve]]
name = "new"
when = { new_recipient = "7d" }
[[forbid]]
transfer = "*"
to = ["tornado", "thief"]
[[forbid]]
new_recipient = "24h"
except = "shop"
[swap]
max_deadline = "20m"
require_deadline = true
"""


@pytest.fixture
def policy(desk) -> Policy:
    return desk.load(BODY)


def test_shows_the_policy_in_sentences(policy):
    assert show(policy) == [
        "Policy 'test' is for base. What it does not permit is refused.",
        "Never: pay any asset to thief or tornado.",
        "Never: pay anybody this wallet has known for less than 24 hours, except shop.",
        "At most: 10 USDC a request, 50 USDC in any 24 hours, 1,000 USDC in all, 10% of the wallet's USDC a request.",
        "At most: 1 USDC a request, to each of shop.",
        "At most: 20 requests in any 1 hour, over all agents of the wallet.",
        "At most: 0.001 ETH in fees a request.",
        "May pay WETH to ANYBODY, also out of allowances that others gave to the wallet ('all').",
        "May let permit2 spend any amount of USDC, which counts against no limit ('allow').",
        APES,
        "May sign BLINDLY what is blind_hash ('blind').",
        "May pay USDC to the wallet itself or acme, also through x402-exact ('buy').",
        "May sign Order for router, which may take WETH, valid for at most 1 hour ('sign').",
        "May call swap(uint256) on router, which may take ETH or USDC ('swap').",
        "Asks a human for more than 2 USDC in a request ('large': 1 of alice, bob, within 30 minutes).",
        "Asks a human for anybody this wallet has known for less than 7 days ('new': 1 of the operators, within 1 hour).",
        "Proceeds of swaps and orders go to the wallet itself.",
        "A swap's deadline is at most 20 minutes away.",
        "A swap without a deadline is refused, also inside a router's plan.",
    ]


APES = (
    "May give tokens of apes to acme and let shop operate apes and sell tokens of apes for 10 ETH or more,"
    " until 2027-01-01 00:00 UTC, only on mon, tue, wed, thu, fri from 09:00 to 17:00 (Europe/Oslo) ('apes')."
)


def test_explains_a_denial_with_both_numbers(desk):
    policy = desk.load(
        '[[limits]]\nname = "cap"\nasset = "USDC"\nper_request = "10"\n[[permit]]\ntransfer = "USDC"\nto = "acme"'
    )
    decision = judge(policy, desk.case(desk.pay(25 * 10**6)), lambda _b, _w: 0)
    assert explain(decision, policy) == [
        "Denied.",
        "- 25 USDC in a request would be more than 10 USDC (rule 'cap') [over_per_request]",
    ]


def test_explains_who_must_approve(desk):
    policy = desk.load(
        '[[permit]]\nname = "p"\ntransfer = "USDC"\nto = "acme"\n'
        '[[approve]]\nname = "large"\nwhen = {asset = "USDC", above = "2"}\nof = ["alice", "bob"]\nquorum = 2\n'
    )
    decision = judge(policy, desk.case(desk.pay(3 * 10**6, path="calls[0]")), lambda _b, _w: 0)
    assert explain(decision, policy) == [
        "Needs approval.",
        "- 3 USDC is more than 2 USDC (rule 'large') [needs_approval]",
        "- permitted by 'p' at calls[0] [permitted]",
        "- 'large': 2 of alice or bob must approve within 1 hour.",
    ]


def test_says_when_a_decision_belongs_to_another_policy(desk, policy):
    other = desk.load("")
    lines = explain(judge(other, desk.case(desk.pay(1)), lambda _b, _w: 0), policy)
    assert "another policy" in lines[-1]


def test_describes_every_kind_of_effect(desk, policy):
    apes, strange = Asset(desk.base, desk.apes), Asset(desk.base, desk.shop)
    code = b"\x07" * 32
    table = {
        Transfer(desk.usdc, desk.wallet, desk.acme, 25_000_000): "pays 25 USDC to acme",
        Transfer(desk.usdc, desk.wallet, desk.acme, 1, via=desk.router): "pays 0.000001 USDC to acme through router",
        Transfer(desk.eth, desk.wallet, desk.router, 10**18, via=desk.router): "lets router take 1 ETH now",
        Transfer(desk.usdc, desk.wallet, ZERO_ADDRESS, 5): "destroys 0.000005 USDC",
        Transfer(strange, desk.wallet, desk.acme, 5): (
            "pays 5 base units of token 0x0202020202020202020202020202020202020202 on base to acme"
        ),
        Transfer(Asset(1, desk.eth.address), desk.wallet, desk.acme, 10**18): "pays 1 the coin on ethereum to acme",
        Allowance(desk.usdc, desk.wallet, b"\x77" * 20, UINT256_MAX): (
            "lets 0x7777777777777777777777777777777777777777 spend unlimited USDC"
        ),
        Allowance(desk.usdc, desk.wallet, desk.shop, 2**160 - 1, 1_767_225_600): (
            "lets shop spend unlimited USDC until 2026-01-01 00:00 UTC"
        ),
        Allowance(desk.usdc, desk.wallet, desk.shop, 5, added=True): "lets shop spend 0.000005 USDC more",
        Allowance(desk.usdc, desk.wallet, desk.shop, 0): "no longer lets shop spend USDC",
        NftTransfer(apes, 7, 1, desk.wallet, desk.acme): "gives token 7 of apes to acme",
        NftTransfer(
            apes, 7, 3, desk.wallet, desk.acme, price=10**18
        ): "gives 3 of token 7 of apes to acme for at least 1 ETH",
        NftApproval(apes, 7, desk.wallet, desk.shop): "lets shop take token 7 of apes",
        NftApproval(apes, 7, desk.wallet, ZERO_ADDRESS): "takes back the approval of token 7 of apes",
        OperatorApproval(apes, desk.wallet, desk.thief, approved=True): "lets thief take everything in apes",
        OperatorApproval(apes, desk.wallet, desk.thief, approved=False): "takes back thief's power over apes",
        Call(desk.base, desk.router, b"1234", "f()", ()): "calls f() on router",
        Call(
            desk.base, desk.router, b"1234", "f()", (), delegate=True
        ): "calls f(), as the wallet's own code, on router",
        Receive(desk.weth, desk.shop, 5, desk.usdc, 10**6): "brings shop at least 0.000000000000000005 WETH for 1 USDC",
        Receive(None, desk.shop, 5): "brings shop at least 5 base units of something",
        Redirect(desk.thief, "shares"): "sends shares to thief",
        FeeShare(desk.shop, 25): "gives shop 25 of 10,000 of the proceeds",
        Delegation("set_code", desk.thief, 0): "hands set_code to thief on every chain",
        AdminChange(apes, "upgrade", desk.thief): "does upgrade on apes in favour of thief",
        AdminChange(apes, "pause"): "does pause on apes",
        Deployment(desk.base, 0, code): f"creates a contract with 0 ETH and code 0x{code.hex()}",
        TypedSignature(desk.base, desk.router, "Order", code, None, 1_767_225_600): (
            "signs Order for router until 2026-01-01 00:00 UTC"
        ),
        Login("a.example", "https://a.example", desk.base): 'logs in at "a.example"',
        MessageSignature("hi"): 'signs the text "hi"',
        TrailingBytes(5): "carries 5 more bytes than its function takes",
        Fee(desk.base, 10**14): "costs at most 0.0001 ETH in fees",
        Opaque("unknown_function", "selector 0x1", desk.thief): (
            "does something that is not understood on thief: unknown_function (selector 0x1)"
        ),
    }
    for effect, words in table.items():
        assert describe(effect, policy) == words


def test_names_the_wallet_and_whose_money_moves(desk, policy):
    def words(effect):
        return describe(effect, policy, wallet=desk.wallet)

    assert words(Transfer(desk.usdc, desk.wallet, desk.acme, 5)) == "pays 0.000005 USDC to acme"
    assert (
        words(Transfer(desk.usdc, desk.shop, desk.wallet, 5))
        == "pays 0.000005 USDC to the wallet itself out of shop's funds"
    )
    assert (
        words(Transfer(desk.usdc, desk.shop, desk.router, 5, via=desk.router))
        == "lets router take 0.000005 USDC now out of shop's funds"
    )
    assert words(Transfer(desk.usdc, desk.shop, ZERO_ADDRESS, 5)) == "destroys 0.000005 USDC out of shop's funds"
    assert words(Redirect(desk.wallet, "shares")) == "sends shares to the wallet itself"
    assert words(Receive(desk.eth, desk.wallet, 5)) == "brings the wallet itself at least 0.000000000000000005 ETH"


@pytest.mark.parametrize("evil", ["\x1b[2J", "\u202e", "a\nb", "\u200b", "\r", "\x07"])
def test_text_from_outside_is_escaped(policy, desk, evil):
    effects = [
        MessageSignature(evil),
        Login(evil, evil, desk.base),
        Redirect(desk.thief, evil),
        Call(desk.base, desk.router, b"1234", evil, ()),
        TypedSignature(desk.base, desk.router, evil, b"\x00" * 32),
        Opaque("x", evil),
        AdminChange(desk.usdc, evil),
        Delegation(evil, desk.thief, desk.base),
    ]
    for effect in effects:
        assert evil not in describe(effect, policy), effect
        decision = judge(policy, desk.case(effect), lambda _b, _w: 0)
        assert evil not in "".join(explain(decision, policy)), effect


def test_a_long_text_is_cut(policy):
    assert len(describe(MessageSignature("a" * 10_000), policy)) < 600


def test_an_asset_of_several_chains_says_which(desk):
    policy = load('version = 1\nname = "x"\nchains = ["base", "ethereum"]\n', source="p")
    assert describe(Fee(1, 10**18), policy) == "costs at most 1 ETH on ethereum in fees"

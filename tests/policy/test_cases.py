"""Policy tests: what operators write beside a policy, and how it is refused when it is not understood."""

import json

import pytest

from walletgate.encoding import checksum_address
from walletgate.errors import ConfigError
from walletgate.policy.cases import result_lines, run_cases

POLICY = """
[[permit]]
name = "pay"
transfer = ["USDC", "ETH"]
to = ["acme"]
via = "x402-exact"
[[permit]]
name = "let"
allowance = "USDC"
spender = "router"
max = "unlimited"
max_ttl = "1d"
counted = false
[[permit]]
name = "swap"
call = "router"
function = "swap(uint256)"
spend = "USDC"
[[permit]]
name = "order"
sign = "Order"
contract = "router"
spend = "USDC"
[[permit]]
name = "in"
login = "a.example"
[[permit]]
name = "text"
message = "I agree"
[[limits]]
name = "day"
asset = "USDC"
per_request = "10"
per = { "24h" = "50" }
max_share = "50%"
[[limits]]
count = "requests"
per = { "1h" = 5 }
[[approve]]
name = "large"
when = { asset = "USDC", above = "2" }
[[approve]]
name = "new"
when = { new_recipient = "7d" }
"""
WALLET = checksum_address(b"\xaa" * 20)
HEAD = f"""
version = 1
wallet = "{WALLET}"
chain = "base"
now = 2026-01-01T12:00:00Z
"""


@pytest.fixture
def run(desk):
    def make(body, head=HEAD):
        return run_cases(desk.load(POLICY), head + body, source="cases.toml")

    return make


@pytest.mark.parametrize(
    ("body", "got"),
    [
        ('pay = "1.5 USDC"\nto = "acme"\nbalances = "100 USDC"\nknown = "acme"', "allow"),
        ('pay = "1.5 USDC"\nto = "acme"\nbalances = "100 USDC"', "approve"),
        ('pay = "2.5 USDC"\nto = "acme"\nbalances = "100 USDC"\nknown = "acme"', "approve"),
        ('pay = "1.5 USDC"\nto = "acme"\nknown = "acme"', "deny"),
        ('pay = "1.5 USDC"\nto = "acme"\nbalances = "2 USDC"\nknown = "acme"', "deny"),
        ('pay = "1.5 USDC"\nto = "acme"\nbalances = "100 USDC"\nknown = "acme"\nused = "48.5 USDC"', "allow"),
        ('pay = "1.5 USDC"\nto = "acme"\nbalances = "100 USDC"\nknown = "acme"\nused = "48.6 USDC"', "deny"),
        ('pay = "1.5 USDC"\nto = "acme"\nbalances = "100 USDC"\nknown = "acme"\nrequests = 5', "deny"),
        ('pay = "1.5 USDC"\nto = "acme"\nbalances = "100 USDC"\nknown = "acme"\nvia = "x402-exact"', "allow"),
        ('pay = "1.5 USDC"\nto = "self"', "deny"),
        ('pay = "1.5 USDC"\nto = "USDC"', "deny"),
        ('pay = "1.5 USDC"\nto = "thief"\nbalances = "100 USDC"\nknown = "thief"', "deny"),
        ('pay = "1 ETH"\nto = "acme"\nknown = "acme"\nfee = "0.0005 ETH"', "allow"),
        ('pay = "1 ETH"\nto = "acme"\nknown = "acme"\nfee = "0.0011 ETH"', "deny"),
        ('pay = "1 ETH"\nto = "acme"\nknown = "acme"\nmethod = "eth_sign"', "deny"),
        ('pay = "1 ETH"\nto = "acme"\nknown = "acme"\nexpect = {asset = "ETH", amount = "1", to = "acme"}', "allow"),
        ('pay = "1 ETH"\nto = "acme"\nknown = "acme"\nexpect = {asset = "ETH", amount = "1.1"}', "deny"),
        ('allow = "unlimited USDC"\nspender = "router"\nfor = "1d"\nknown = "router"', "allow"),
        ('allow = "5 USDC"\nspender = "router"\nfor = "2d"\nknown = "router"', "deny"),
        ('allow = "5 USDC"\nspender = "router"\nknown = "router"', "deny"),
        ('call = "router"\nfunction = "swap(uint256)"\ntake = "1 USDC"\nbalances = "9 USDC"\nknown = "router"', "allow"),
        ('call = "router"\nfunction = "sweep()"', "deny"),
        ('sign = "Order"\ncontract = "router"\ntake = "1 USDC"\nbalances = "9 USDC"\nknown = "router"', "allow"),
        ('sign = "Order"\ncontract = "router"\nfor = "2h"', "deny"),
        ('login = "a.example"', "allow"),
        ('login = "a.example"\nfor = "2h"', "deny"),
        ('message = "I agree"', "allow"),
        ('message = "I do not"', "deny"),
        ('do = [{pay = "1 ETH", to = "acme"}, {allow = "1 USDC", spender = "router", for = "1h"}]\nknown = ["acme", "router"]', "allow"),
        ('do = [{pay = "1 ETH", to = "acme"}, {pay = "1 ETH", to = "thief"}]\nknown = ["acme", "thief"]', "deny"),
    ],
)  # fmt: skip
def test_cases_are_judged(run, body, got):
    (result,) = run(f'[[case]]\nname = "x"\nwant = "{got}"\n{body}\n')
    assert result.passed, result.decision.reasons


def test_a_whole_request_goes_through_the_decoder(run, desk):
    data = "0xa9059cbb" + desk.acme.hex().rjust(64, "0") + f"{10**6:064x}"
    request = {"to": checksum_address(desk.usdc.address), "data": data, "gas": "0xffff", "maxFeePerGas": "0x1"}
    body = '[[case]]\nname = "x"\nwant = "allow"\nknown = "acme"\nbalances = "9 USDC"\ntransaction = \'%s\'\n'
    (result,) = run(body % json.dumps(request))
    assert result.passed, result.decision.reasons
    (result,) = run(body.replace('"allow"', '"deny"') % json.dumps(request | {"data": data[:-2] + "0000"}))
    assert result.passed, result.decision.reasons


def test_lines_show_what_failed_and_why(run):
    results = run(
        '[[case]]\nname = "one"\nwant = "deny"\nbecause = "message_not_permitted"\nmessage = "x"\n'
        '[[case]]\nname = "two"\nwant = "allow"\nmessage = "x"\n'
        '[[case]]\nname = "three"\nwant = "deny"\nbecause = "over_window"\nmessage = "x"\n'
    )
    assert result_lines(results) == [
        "ok    one: deny",
        "FAIL  two: wanted allow, got deny",
        "        no rule permits signing this text [message_not_permitted]",
        "FAIL  three: wanted deny because over_window, got deny",
        "        no rule permits signing this text [message_not_permitted]",
        "1 of 3 cases are as wanted.",
    ]


def test_typed_data_goes_through_the_decoder(run):
    document = {
        "types": {"EIP712Domain": [{"name": "name", "type": "string"}], "Hi": [{"name": "text", "type": "string"}]},
        "primaryType": "Hi",
        "domain": {"name": "x"},
        "message": {"text": "y"},
    }
    (result,) = run(
        f'[[case]]\nname = "x"\nwant = "deny"\nbecause = "unknown_type_hash"\ntyped_data = \'{json.dumps(document)}\'\n'
    )
    assert result.passed, result.decision.reasons


@pytest.mark.parametrize(
    ("body", "key", "code"),
    [
        ("[[case]]\n", "case[0].name", "missing_key"),
        ('[[case]]\nname = "x"\nmessage = "x"\n', "case[0].want", "missing_key"),
        ('[[case]]\nname = "x"\nwant = "ok"\nmessage = "x"\n', "case[0].want", "out_of_range"),
        ('[[case]]\nname = "x"\nwant = "deny"\n', "case[0]", "missing_key"),
        ('[[case]]\nname = "x"\nwant = "deny"\nmessage = "x"\nlogin = "y"\n', "case[0]", "ambiguous_rule"),
        ('[[case]]\nname = "x"\nwant = "deny"\nmessage = "x"\nto = "acme"\n', "case[0].to", "unknown_key"),
        ('[[case]]\nname = "x"\nwant = "deny"\npay = "1 USDX"\nto = "acme"\n', "case[0].pay", "unknown_name"),
        ('[[case]]\nname = "x"\nwant = "deny"\npay = "1,5 USDC"\nto = "acme"\n', "case[0].pay", "bad_amount"),
        ('[[case]]\nname = "x"\nwant = "deny"\npay = "1 USDC"\nto = "tornado"\n', "case[0].to", "wrong_type"),
        ('[[case]]\nname = "x"\nwant = "deny"\npay = "1 USDC"\nto = "acme"\nfee = "1 USDC"\n', "case[0].fee", "unknown_name"),
        ('[[case]]\nname = "x"\nwant = "deny"\ncall = "router"\nfunction = "f"\n', "case[0].function", "bad_function"),
        ('[[case]]\nname = "x"\nwant = "deny"\nsign = "A"\ncontract = "router"\nfor = "1"\n', "case[0].for", "bad_duration"),
        ('[[case]]\nname = "x"\nwant = "deny"\ntransaction = "[]"\n', "case[0].transaction", "wrong_type"),
        ('[[case]]\nname = "x"\nwant = "deny"\ntransaction = \'{"to": 5}\'\n', "case[0].transaction", "bad_address"),
        ("[[cases]]\n", "cases", "unknown_key"),
    ],
)  # fmt: skip
def test_refuses(run, body, key, code):
    with pytest.raises(ConfigError) as caught:
        run(body)
    assert (caught.value.data["key"], caught.value.code) == (key, code)


@pytest.mark.parametrize(
    ("old", "new", "key", "code"),
    [
        ("version = 1", "version = 2", "version", "bad_version"),
        ("now = 2026-01-01T12:00:00Z", "", "now", "missing_key"),
        ('chain = "base"', 'chain = "ethereum"', "chain", "unknown_chain"),
        ("wallet = ", "walet = ", "wallet", "missing_key"),
    ],
)
def test_refuses_the_head(run, old, new, key, code):
    with pytest.raises(ConfigError) as caught:
        run("", HEAD.replace(old, new))
    assert (caught.value.data["key"], caught.value.code) == (key, code)

"""Every address that a known function takes is judged, unless it can route nothing.

Each address argument of each rule is replaced by a thief's. Either an effect names the thief and a policy that
permits the function for the wallet itself refuses, or the argument is listed below, with the reason.
"""

import re
from dataclasses import fields

import pytest

from walletgate.effects import REGISTRY, DecodeContext, decode
from walletgate.encoding import checksum_address
from walletgate.policy import Case, Facts, judge, load
from walletgate.types import Asset, Call, Opaque, Outcome, Transaction, TransactionType

WALLET, THIEF, HERE = b"\xaa" * 20, b"\x66" * 20, b"\x11" * 20
NOW = 1_767_225_600

HARMLESS = {
    r"cancelAuthorization authorizer": "takes a signature back; the token checks whose it is",
    r"(removeOwner|swapOwner|disableModule) (prev|old)\w+": "who loses power; who gains it is the subject",
    r"handleOps ops\[0\]\.sender": "the account: what it does is unrolled, and nothing is nothing",
    r"swapExactTokensForETH\w* (path\[1\]|routes\[0\]\.to)": "the router demands wrapped ether there",
    r"swapTokensForExactETH path\[1\]": "the router demands wrapped ether there",
    r"swap(Exact)?ETHFor\w+ (path\[0\]|routes\[0\]\.from)": "the router demands wrapped ether there",
    r"swapExact\w+ routes\[0\]\.factory": "the router takes only registered factories, and the minimum holds",
    r"removeLiquidity(ETH)? token\w*": "which pool gives back; only to the recipient",
    r"sweepTokenWithFee token": "what the router holds; only to the recipient",
    r"swap (executor|desc\.srcReceiver)": "the route, bounded by amount, minimum and receiver",
    r"(withdraw|withdrawTo|withdrawFrom|borrow|repayWithATokens|setUserUseReserveAsCollateral) asset": "which position",
    r"(deposit|withdraw|borrow|repay)ETH pool": "the gateway has one pool and ignores the argument",
    r"repay market\.\w+": "only a debt that is there can be repaid",
    r"(supply|supplyCollateral) market\.irm": "the market takes only enabled rate models",
    r"supplyCollateral market\.loanToken": "collateral without a debt is nobody's but its owner's",
    r"(withdraw|borrow|withdrawCollateral) market\.\w+": "which market pays; nothing goes in",
    r"submit referral": "a name in an event",
    r"depositV3 exclusiveRelayer": "who may fill first, on the same terms",
    r"(upgrade|upgradeAndCall|changeProxyAdmin) proxy": "which proxy; who gains is the subject",
    r"invalidateNonces \w+": "takes signatures back",
    r"(decreaseAllowance|decreaseApproval|revokeOperator) \w+": "takes power back",
    r"lockdown .*": "takes power back",
    r"cancel orders.*": "takes an order back",
    r"revoke permission\.\w+": "takes power back",
    r"exchange (route\[[1-9]\]|pools\[\d\])": "between the first token and the last, of which enough must arrive",
    r"initializePool key\.\w+": "opens a pool; nothing goes in",
    r"fulfill\w+ (parameters|order\.parameters|orders\[0\]\.parameters)\.(offerer|zone)": "sells what is bought; may refuse",
    r"fulfillBasicOrder\w* parameters\.(considerationToken|additionalRecipients\[0\]\.recipient)": "ether; a signed share",
    r"match\w+ orders\[0\]\.parameters\.(offerer|zone)": "another's order needs its signature; may refuse",
}


BOUGHT = (
    r"exchange route\[10\]|fulfillBasicOrder\w* parameters\.offerToken|match\w+ .*consideration\[0\]\.token|"
    r"(swap\w*|exact\w+|sweepToken) (path\[1\]|routes\[0\]\.to|params\.tokenOut|desc\.dstToken|single\.assetOut|token)"
)
"""What is bought: worth nothing if the thief made it, which only the policy's price floors can tell."""

FLOORS = """
[[swap.floor]]
sell = "T"
buy = "ETH"
at_least = "1"
[[swap.floor]]
sell = "ETH"
buy = "T"
at_least = "1"
"""


def rules():
    seen = set()
    for rule in REGISTRY.rules():
        key = (rule.function.signature, rule.at)
        if rule.function.params and key not in seen:
            seen.add(key)
            yield rule


def benign(kind):
    if kind.kind == "tuple":
        return tuple(map(benign, kind.components))
    if kind.kind == "array":
        count = kind.length or (2 if kind.name == "path" else 1)
        return (benign(kind.item),) * count
    if kind.name in ("path", "target") and kind.kind == "bytes":
        return WALLET + b"\0\0\1" + WALLET if kind.name == "path" else WALLET
    empty = {"address": WALLET, "uint": 1, "int": 1, "bool": True, "bytes": b"", "string": ""}
    return bytes(kind.size) if kind.kind == "fixed" else empty[kind.kind]


def places(kind, value, where=""):
    """(name, value with the thief there) for each address inside `value`."""
    name = ".".join(filter(None, (where, kind.name)))
    if kind.kind == "address":
        yield name, THIEF
    for index, each in enumerate(value if isinstance(value, tuple) else ()):
        inner = kind.components[index] if kind.kind == "tuple" else kind.item
        for found, changed in places(inner, each, name if kind.kind == "tuple" else f"{name}[{index}]"):
            yield found, (*value[:index], changed, *value[index + 1 :])


def names_thief(value):
    if isinstance(value, bytes):
        return THIEF in value
    return value.address == THIEF if isinstance(value, Asset) else False


def effects_of(rule, args):
    to = min(rule.at) if rule.at else HERE
    data = rule.function.encode(*args)
    transaction = Transaction(TransactionType.FEE_MARKET, 1, WALLET, to, 0, data, 21_000, 1, 1)
    context = DecodeContext(1, WALLET, NOW, underlying={(1, HERE): WALLET})
    return to, decode(transaction, context)


def decision_on(rule, to, effects, more=""):
    policy = load(
        f"""
version = 1
name = "for itself"
chains = ["ethereum"]
[assets.T]
address = "{checksum_address(WALLET)}"
decimals = 0
[[limits]]
fees = "ETH"
per_request = "1"
[[permit]]
call = "{checksum_address(to)}"
function = ["{rule.function.signature}"]
spend = ["T", "ETH"]
to = ["self"]
[[permit]]
transfer = ["T", "ETH"]
to = ["self"]
[[permit]]
allowance = "T"
spender = "{checksum_address(HERE)}"
max = "unlimited"
[[permit]]
revoke = "*"
{more}
""",
        source="test",
    )
    case = Case("g", "a", WALLET, 1, NOW * 1000, "eth_sendTransaction", effects, facts=Facts())
    return judge(policy, case, lambda _bucket, _window: 0)


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule.function.signature[:60])
def test_every_address_is_judged_or_routes_nothing(rule):
    values = tuple(map(benign, rule.function.params))
    for index, kind in enumerate(rule.function.params):
        for place, changed in places(kind, values[index]):
            to, found = effects_of(rule, (*values[:index], changed, *values[index + 1 :]))
            judged = [e for e in found if not isinstance(e, Call)]
            seen = any(names_thief(getattr(e, f.name)) for e in judged for f in fields(e))
            where = f"{rule.function.name} {place}"
            harmless = any(re.fullmatch(pattern, where) for pattern in HARMLESS)
            assert seen or harmless or any(isinstance(e, Opaque) for e in judged), (where, found)
            more = FLOORS if re.fullmatch(BOUGHT, where) else ""
            assert harmless or decision_on(rule, to, found, more).outcome is Outcome.DENY, (where, found)


def test_no_exception_is_stale():
    named = [
        f"{rule.function.name} {place}"
        for rule in rules()
        for kind in rule.function.params
        for place, _ in places(kind, benign(kind))
    ]
    assert [p for p in HARMLESS if not any(re.fullmatch(p, each) for each in named)] == []

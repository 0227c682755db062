"""What a call does is judged alike wherever it stands: alone, or in any nest that the policy permits."""

from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.effects import DecodeContext, decode
from walletgate.effects.abi import encode, parse_signature, parse_types
from walletgate.effects.positions import MANAGERS
from walletgate.effects.registry import address
from walletgate.effects.seaport import CALLS as FILLS
from walletgate.effects.seaport import SEAPORTS
from walletgate.encoding import checksum_address
from walletgate.policy import Case, judge, load
from walletgate.types import Batch, Fee, Measure, Transaction, TransactionRequest, TransactionType

WALLET, SAFE, ACCOUNT, THIEF, ACME, ROUTER = (bytes([n]) * 20 for n in (0xAA, 0x5A, 0xAC, 0x66, 0x01, 0x03))
USDC, DAI = b"\x0c" * 20, b"\x0d" * 20
MULTISEND = bytes.fromhex("9641d764fc13c8B624c04430C7356C1C7C8102e2")
NOW = 1_767_225_600

EXEC = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
EXECUTE = "execute(address,uint256,bytes)"
BATCH = "executeBatch((address,uint256,bytes)[])"
LISTS = "executeBatch(address[],uint256[],bytes[])"
MODE = "execute(bytes32,bytes)"
SWAP = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"
MULTICALL = "multicall(bytes[])"
CURVE = "exchange(address[11],uint256[5][5],uint256,uint256,address[5],address)"
MANAGER, SEAPORT = address(MANAGERS[0]), address(SEAPORTS[0])
MODIFY = "modifyLiquidities(bytes,uint256)"
FILL = next(rule.function for rule in FILLS if rule.function.name == "fulfillAdvancedOrder")

POLICY = load(
    f"""
version = 1
name = "nests"
chains = ["ethereum"]
accounts = ["{checksum_address(SAFE)}", "{checksum_address(ACCOUNT)}"]
[assets.USDC]
address = "{checksum_address(USDC)}"
decimals = 0
[assets.DAI]
address = "{checksum_address(DAI)}"
decimals = 0
[addresses]
acme = "{checksum_address(ACME)}"
router = "{checksum_address(ROUTER)}"
[[limits]]
asset = "USDC"
per_request = "50"
[[limits]]
fees = "ETH"
per_request = "1"
[[permit]]
transfer = ["USDC", "ETH"]
to = ["acme"]
[[permit]]
allowance = "USDC"
spender = "router"
max = "20"
[[permit]]
call = "router"
function = ["{SWAP}", "{MULTICALL}", "{CURVE}"]
spend = "USDC"
[[permit]]
call = "{checksum_address(MANAGER)}"
function = "{MODIFY}"
spend = "USDC"
[[permit]]
call = "{checksum_address(SEAPORT)}"
function = "{FILL.signature}"
spend = "USDC"
[[permit]]
call = "{checksum_address(SAFE)}"
function = ["{EXEC}"]
[[permit]]
call = "{checksum_address(MULTISEND)}"
function = ["multiSend(bytes)"]
delegatecall = true
[[permit]]
call = "{checksum_address(ACCOUNT)}"
function = ["{EXECUTE}", "{BATCH}", "{LISTS}", "{MODE}"]
[[approve]]
when = {{ asset = "USDC", above = "10" }}
""",
    source="test",
)
CONTEXT = DecodeContext(1, WALLET, NOW, functions=POLICY.functions)


def call(signature, *values):
    return parse_signature(signature).encode(*values)


def swap(caller, recipient, amount, least):
    return ROUTER, 0, call(SWAP, (USDC, DAI, 500, caller if recipient is None else recipient, amount, least, 0))


def curve(caller, recipient, amount):
    route = (USDC, ROUTER, DAI, *[bytes(20)] * 8)
    params, pools = ((0,) * 5,) * 5, (bytes(20),) * 5
    return ROUTER, 0, call(CURVE, route, params, amount, 1, pools, recipient or caller)


def mint(caller, owner, amount):
    """A position in USDC, settled from the caller."""
    types = parse_types("(address,address,uint24,int24,address),int24,int24,uint256,uint128,uint128,address,bytes")
    key = (USDC, DAI, 500, 10, bytes(20))
    opened = encode(types, (key, -1, 1, 1, amount % 2**128, 0, owner or caller, b""))
    paid = encode(parse_types("address"), (USDC,))
    return MANAGER, 0, call(MODIFY, encode(parse_types("bytes,bytes[]"), (b"\x02\x12", (opened, paid))), 9)


def fill(caller, recipient, amount):
    """One DAI of somebody's, for USDC."""
    none, seller = bytes(32), b"\x77" * 20
    offer, wanted = ((1, DAI, 0, 1, 1),), ((1, USDC, 0, amount, amount, seller),)
    order = (seller, bytes(20), offer, wanted, 0, NOW, NOW + 60, none, 1, none, 1)
    return SEAPORT, 0, FILL.encode((order, 1, 1, b"", b""), (), none, recipient or caller)


amounts = st.sampled_from([0, 1, 10, 11, 20, 21, 50, 51, 2**256 - 1])
someone = st.sampled_from([ACME, THIEF, ROUTER])


@st.composite
def leaves(draw):
    """A call as a function of who makes it."""
    amount, other = draw(amounts), draw(someone)
    kinds = {
        "pay": lambda _: (USDC, 0, call("transfer(address,uint256)", other, amount)),
        "ether": lambda _: (other, amount, b""),
        "allow": lambda _: (USDC, 0, call("approve(address,uint256)", other, amount)),
        "swap": lambda caller: swap(caller, None, amount, 1),
        "gift": lambda caller: swap(caller, THIEF, amount, 1),
        "bait": lambda caller: swap(caller, None, amount, 0),
        "curve": lambda caller: curve(caller, other if other == THIEF else None, amount),
        "mint": lambda caller: mint(caller, other if other == THIEF else None, amount),
        "fill": lambda caller: fill(caller, other if other == THIEF else None, amount),
        "list": lambda caller: (ROUTER, 0, call(MULTICALL, (swap(caller, None, amount, 1)[2],))),
        "unknown": lambda _: (other, 0, b"\x12\x34\x56\x78"),
        "dirty": lambda _: (USDC, 0, b"\xa9\x05\x9c\xbb" + b"\1" + bytes(11) + other + amount.to_bytes(32, "big")),
    }
    return kinds[draw(st.sampled_from(sorted(kinds)))]


def by_safe(inner):
    to, value, data = inner(SAFE)
    return SAFE, 0, call(EXEC, to, value, data, 0, 0, 0, 0, bytes(20), bytes(20), b"")


def by_multisend(inner):
    to, value, data = inner(SAFE)
    packed = b"\0" + to + value.to_bytes(32, "big") + len(data).to_bytes(32, "big") + data
    many = call("multiSend(bytes)", packed)
    return SAFE, 0, call(EXEC, MULTISEND, 0, many, 1, 0, 0, 0, bytes(20), bytes(20), b"")


def by_account(inner):
    return ACCOUNT, 0, call(EXECUTE, *inner(ACCOUNT))


def by_batch(inner):
    return ACCOUNT, 0, call(BATCH, (inner(ACCOUNT),))


def by_lists(inner):
    to, value, data = inner(ACCOUNT)
    return ACCOUNT, 0, call(LISTS, (to,), (value,), (data,))


def by_mode(inner):
    to, value, data = inner(ACCOUNT)
    return ACCOUNT, 0, call(MODE, bytes(32), to + value.to_bytes(32, "big") + data)


def by_mode_batch(inner):
    rows = encode(parse_types("(address,uint256,bytes)[]"), ((inner(ACCOUNT),),))
    return ACCOUNT, 0, call(MODE, b"\1" + bytes(31), rows)


def inside(wrapper, leaf):
    """The leaf in one more nest: whoever calls the nest, the nest makes the call."""
    return lambda _caller: wrapper(leaf)


nests = st.lists(
    st.sampled_from([by_safe, by_multisend, by_account, by_batch, by_lists, by_mode, by_mode_batch]), max_size=3
)
"""At most three: the deepest of them takes two levels, a leaf up to two, and eight levels is where decoding stops."""


def verdict(effects):
    case = Case("g", "a", WALLET, 1, NOW * 1000, "eth_sendTransaction", effects)
    decision = judge(POLICY, case, lambda _bucket, _window: 0)
    codes = {reason.code for reason in decision.reasons} - {"permitted"}
    spent = [b for b in decision.bookings if b.asset is not None and b.measure is Measure.AMOUNT]
    sums = sorted((b.amount, b.asset.address, b.recipient or b"") for b in spent)
    return decision.outcome, codes, sums


def effects_of(made):
    to, value, data = made(WALLET)
    found = decode(Transaction(TransactionType.FEE_MARKET, 1, WALLET, to, value, data, 21_000, 1, 1), CONTEXT)
    assert isinstance(found[-1], Fee)
    return found


@given(leaves(), nests)
@settings(max_examples=300, deadline=None)
def test_a_nest_never_changes_the_judgement(leaf, wrappers):
    made = leaf
    for wrapper in wrappers:
        made = inside(wrapper, made)
    assert verdict(effects_of(made)) == verdict(effects_of(leaf))


@given(leaves())
@settings(max_examples=60, deadline=None)
def test_a_batch_of_one_is_judged_like_the_call(leaf):
    to, value, data = leaf(WALLET)
    batch = Batch(1, WALLET, (TransactionRequest(None, WALLET, to, value, data),))
    assert verdict(decode(batch, CONTEXT)) == verdict(effects_of(leaf))


@given(leaves(), st.sampled_from([by_batch, by_safe, by_multisend]))
@settings(max_examples=60, deadline=None)
def test_a_bad_leaf_is_not_outweighed_by_good_ones(leaf, wrapper):
    good = (USDC, 0, call("transfer(address,uint256)", ACME, 1))
    alone = verdict(effects_of(leaf))[0]
    to, value, data = leaf(ACCOUNT)
    rows = (good, (to, value, data), good)
    together = effects_of(lambda _: wrapper(lambda _caller: (ACCOUNT, 0, call(BATCH, rows))))
    assert verdict(together)[0] <= alone

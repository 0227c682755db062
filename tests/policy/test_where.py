"""Conditions on arguments: trees over tuples and arrays, by type, with the whole of uint256."""

import pytest

from walletgate.types import UINT256_MAX, Call

SIGNATURE = "order((address token,uint256 amount,bytes32 salt) item,address[] path,bool flag,bytes data,string note,int24 tick,address)"
BODY = f'[[permit]]\nname = "order"\ncall = "router"\nfunction = "{SIGNATURE}"\nto = "*"\nwhere = %s\n'


@pytest.fixture
def holds(desk):
    """Whether a call with these arguments is permitted where the condition stands."""

    def run(where, body="", **changes):
        policy = desk.load(BODY % where + body)
        (function,) = policy.functions.values()
        values = {
            "item": (desk.usdc.address, 1000, b"\x00" * 32), "path": (desk.usdc.address, desk.weth.address), "flag": True,
            "data": b"\x01\x02", "note": "hi", "tick": -5, "last": desk.acme,
        } | changes  # fmt: skip
        args = tuple(values.values())
        outcome = desk.outcome(policy, Call(desk.base, desk.router, function.selector, function.signature, args))
        assert outcome in ("allow", "deny argument_not_permitted")
        return outcome == "allow"

    return run


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{ flag = true }", True),
        ("{ flag = false }", False),
        ("{ flag = { ne = false } }", True),
        ('{ item = { token = "USDC" } }', True),
        ('{ item = { token = "WETH" } }', False),
        ('{ item = { token = ["WETH", "USDC"] } }', True),
        ('{ item = { token = { ne = "WETH" } } }', True),
        ('{ item = { token = { not = ["WETH", "USDC"] } } }', False),
        ('{ "0" = { "1" = "1000" } }', True),
        ('{ item = { amount = "0.001 USDC" } }', True),
        ('{ item = { amount = { lt = "1000" } } }', False),
        ('{ item = { amount = { lt = "1001" } } }', True),
        ('{ item = { amount = { le = "1000" } } }', True),
        ('{ item = { amount = { le = "999" } } }', False),
        ('{ item = { amount = { gt = "999" } } }', True),
        ('{ item = { amount = { gt = "1000" } } }', False),
        ('{ item = { amount = { ge = "1000", le = "1000" } } }', True),
        ('{ item = { amount = { ge = "1001" } } }', False),
        ('{ item = { amount = { in = ["1", "1000"] } } }', True),
        ('{ item = { amount = { eq = "1000" }, token = "WETH" } }', False),
        ('{ item = { either = [{ amount = "1" }, { token = "USDC" }] } }', True),
        ('{ either = [{ flag = false }, { note = "no" }] }', False),
        ('{ item = { salt = "0x%s" } }' % ("00" * 32), True),
        ('{ path = { all = { in = ["USDC", "WETH"] } } }', True),
        ('{ path = { all = "USDC" } }', False),
        ('{ path = { any = "WETH" } }', True),
        ('{ path = { any = "thief" } }', False),
        ('{ path = { "0" = "USDC", "1" = "WETH" } }', True),
        ('{ path = { "2" = "USDC" } }', False),
        ('{ path = { not = { "2" = "USDC" } } }', False),
        ('{ path = { length = "2" } }', True),
        ('{ path = { length = { le = "1" } } }', False),
        ('{ data = "0x0102" }', True),
        ('{ data = { length = { lt = "2" } } }', False),
        ('{ note = "hi" }', True),
        ('{ note = { in = ["ho", "he"] } }', False),
        ('{ tick = "-5" }', True),
        ('{ tick = { lt = "-5" } }', False),
        ('{ tick = { gt = "-6", lt = "0" } }', True),
        ('{ "6" = "acme" }', True),
        ('{ "6" = "self" }', False),
        ('{ "6" = { ne = "self" } }', True),
        ("{ not = { flag = true } }", False),
    ],
)  # fmt: skip
def test_conditions(holds, where, expected):
    assert holds(where) is expected


@pytest.mark.parametrize("amount", [UINT256_MAX - 1, UINT256_MAX])
def test_the_whole_of_uint256_is_compared(desk, holds, amount):
    item = (desk.usdc.address, amount, b"\x00" * 32)
    assert holds(f'{{ item = {{ amount = "{amount}" }} }}', item=item)
    assert holds(f'{{ item = {{ amount = {{ lt = "{UINT256_MAX}" }} }} }}', item=item) is (amount < UINT256_MAX)


def test_self_is_the_wallet_and_its_accounts(desk, holds):
    assert holds('{ "6" = "self" }', last=desk.wallet)
    assert not holds('{ "6" = "self" }', last=desk.safe)


def test_every_item_of_nothing_holds_and_no_item_does(holds):
    assert holds('{ path = { all = "thief" } }', path=())
    assert not holds('{ path = { any = "USDC" } }', path=())


def test_fragments_are_named_once_and_used_often(desk, holds):
    body = '[fragments.small]\nle = "1000"\n[fragments."our tokens"]\nin = ["USDC", "WETH"]\n'
    where = '{ item = { amount = { use = "small" }, token = { use = "our tokens" } }, path = { all = { use = "our tokens" } } }'
    assert holds(where, body)
    assert not holds(where, body, item=(desk.usdc.address, 1001, b"\x00" * 32))


def test_the_order_of_conditions_does_not_change_the_hash(desk):
    one = desk.load(BODY % '{ flag = true, note = "a" }')
    assert one.hash == desk.load(BODY % '{ note = { eq = "a" }, flag = true }').hash
    assert one.hash != desk.load(BODY % '{ note = "b", flag = true }').hash


def test_a_forbid_reaches_what_its_condition_cannot_see(desk):
    body = '[[permit]]\ncall = "router"\nfunction = "f(uint256[] xs)"\n[[forbid]]\ncall = "router"\nfunction = "f(uint256[] xs)"\n'
    policy = desk.load(body + 'where = { xs = { "1" = "7" } }\n')
    (function,) = policy.functions.values()

    def outcome(*xs):
        return desk.outcome(policy, Call(desk.base, desk.router, function.selector, function.signature, (xs,)))

    assert outcome(7, 8) == "allow"
    assert outcome(8, 7) == "deny forbidden"
    assert outcome(8) == "deny forbidden"


@pytest.mark.parametrize(
    ("where", "key", "code"),
    [
        ("{}", "where", "bad_condition"),
        ("{ flagg = true }", "where.flagg", "bad_condition"),
        ('{ "7" = "1" }', "where.7", "bad_condition"),
        ('{ flag = "true" }', "where.flag", "wrong_type"),
        ('{ flag = { lt = "1" } }', "where.flag.lt", "bad_condition"),
        ('{ item = "USDC" }', "where.item", "wrong_type"),
        ("{ item = { amount = 5 } }", "where.item.amount", "wrong_type"),
        ('{ item = { amount = "1e3" } }', "where.item.amount", "bad_amount"),
        ('{ item = { amount = "-1" } }', "where.item.amount", "bad_amount"),
        (f'{{ item = {{ amount = "{UINT256_MAX + 1}" }} }}', "where.item.amount", "bad_amount"),
        ('{ item = { amount = "1 USDX" } }', "where.item.amount", "unknown_name"),
        ('{ item = { amount = "1.0000001 USDC" } }', "where.item.amount", "bad_amount"),
        ("{ item = { amount = [] } }", "where.item.amount", "wrong_type"),
        ('{ item = { amount = { in = "5" } } }', "where.item.amount.in", "wrong_type"),
        ('{ item = { token = "*" } }', "where.item.token", "wrong_type"),
        ('{ item = { token = "nobody" } }', "where.item.token", "unknown_name"),
        ('{ item = { token = { lt = "acme" } } }', "where.item.token.lt", "bad_condition"),
        ('{ item = { salt = "0x00" } }', "where.item.salt", "wrong_type"),
        ('{ path = "USDC" }', "where.path", "wrong_type"),
        ('{ path = { eq = "USDC" } }', "where.path.eq", "bad_condition"),
        ('{ path = { length = "-1" } }', "where.path.length", "bad_amount"),
        ('{ tick = "8388608" }', "where.tick", "bad_amount"),
        ("{ either = [{ flag = true }] }", "where.either", "bad_condition"),
        ('{ flag = { use = "f" } }', "where.flag.use", "unknown_name"),
    ],
)  # fmt: skip
def test_refuses(desk, where, key, code):
    assert desk.refuse(BODY % where, f"permit[0].{key}") == code


def test_refuses_fragments_that_nobody_uses_or_that_use_themselves(desk):
    assert desk.refuse('[fragments.f]\nle = "5"\n', "fragments.f") == "unused_fragment"
    assert (
        desk.refuse(BODY % '{ tick = { use = "f" } }' + '[fragments.f]\nuse = "f"\n', "fragments.f.use")
        == "bad_condition"
    )


def test_a_condition_speaks_of_one_function(desk):
    body = '[[permit]]\ncall = "router"\nfunction = ["f(uint256 a)", "g(uint256 a)"]\nwhere = { a = "1" }\n'
    assert desk.refuse(body, "permit[0].where") == "ambiguous_rule"
    assert desk.refuse(body.replace('["f(uint256 a)", "g(uint256 a)"]', '"*"'), "permit[0].where") == "unknown_key"

"""Swaps: what is taken at most, what comes back at least, and to whom."""

import pytest
from eth_abi import encode as abi_encode

from walletgate.effects.abi import encode, parse_types
from walletgate.effects.registry import address
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Allowance,
    Asset,
    Call,
    FeeShare,
    Receive,
    Redirect,
    TrailingBytes,
    Transfer,
)

ROUTER, IN, OUT, OTHER = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20, b"\x44" * 20
WETH = WRAPPED[1]
CALLER, SELF = bytes(19) + b"\1", bytes(19) + b"\2"
A_IN, A_OUT, COIN, A_WETH = Asset(1, IN), Asset(1, OUT), Asset(1, NATIVE), Asset(1, WETH)
ALL = 1 << 255
SINGLE = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))"


def leaves(found):
    return [e for e in found if not isinstance(e, Call)]


def summary(found):
    """(taken, brought) as plain tuples."""
    taken = [(e.asset, e.recipient, e.amount) for e in found if isinstance(e, Transfer)]
    brought = [(e.asset, e.recipient, e.min_amount) for e in found if isinstance(e, Receive)]
    return taken, brought


V2 = "(uint256,uint256,address[],address,uint256)"
ROUTE = ((IN, OTHER, False, ZERO_ADDRESS), (OTHER, OUT, True, ZERO_ADDRESS))


def expected(wallet, *, sold=A_IN, spent=100, bought=A_OUT, least=90):
    return [(sold, ROUTER, spent)], [(bought, wallet, least)]


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("swapExactTokensForTokens" + V2, (100, 90, (IN, OTHER, OUT), None, 5)),
        ("swapExactTokensForTokensSupportingFeeOnTransferTokens" + V2, (100, 90, (IN, OUT), None, 5)),
        ("swapTokensForExactTokens" + V2, (90, 100, (IN, OUT), None, 5)),
        ("swapExactTokensForTokens(uint256,uint256,address[],address)", (100, 90, (IN, OUT), None)),
        ("swapTokensForExactTokens(uint256,uint256,address[],address)", (90, 100, (IN, OUT), None)),
        ("swapExactTokensForTokens(uint256,uint256,(address,address,bool,address)[],address,uint256)", (100, 90, ROUTE, None, 5)),
        (SINGLE, ((IN, OUT, 500, None, 100, 90, 0),)),
        ("exactOutputSingle((address,address,uint24,address,uint256,uint256,uint160))", ((IN, OUT, 500, None, 90, 100, 0),)),
        ("exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))", ((IN, OUT, 500, None, 5, 100, 90, 0),)),
        ("exactOutputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))", ((IN, OUT, 500, None, 5, 90, 100, 0),)),
        ("exactInput((bytes,address,uint256,uint256))", ((IN + b"\0\1\2" + OUT, None, 100, 90),)),
        ("exactInput((bytes,address,uint256,uint256,uint256))", ((IN + b"\0\1\2" + OTHER + b"\0\1\2" + OUT, None, 5, 100, 90),)),
        ("exactOutput((bytes,address,uint256,uint256))", ((OUT + b"\0\1\2" + IN, None, 90, 100),)),
        ("exactOutput((bytes,address,uint256,uint256,uint256))", ((OUT + b"\0\1\2" + IN, None, 5, 90, 100),)),
        ("swap(address,(address,address,address,address,uint256,uint256,uint256),bytes)", (OTHER, (IN, OUT, OTHER, None, 100, 90, 0), b"route")),
    ],
)  # fmt: skip
def test_swaps_take_the_most_and_bring_the_least(effects, call, wallet, signature, values):
    def fill(value, recipient):
        if isinstance(value, tuple):
            return tuple(fill(each, recipient) for each in value)
        return recipient if value is None else value

    assert summary(effects(ROUTER, call(signature, *fill(values, wallet)))) == expected(wallet)
    assert summary(effects(ROUTER, call(signature, *fill(values, OTHER))))[1] == [(A_OUT, OTHER, 90)]


def test_ether_is_counted_once_by_the_calls_value(effects, call, wallet):
    swap = call("swapExactETHForTokens(uint256,address[],address,uint256)", 90, (WETH, OUT), wallet, 5)
    assert summary(effects(ROUTER, swap, 100)) == expected(wallet, sold=COIN)
    single = call(SINGLE, (WETH, OUT, 500, wallet, 100, 90, 0))
    assert summary(effects(ROUTER, single, 100)) == expected(wallet, sold=COIN)
    assert summary(effects(ROUTER, single)) == expected(wallet, sold=A_WETH)
    assert summary(effects(ROUTER, single, 99))[0] == [(COIN, ROUTER, 99), (A_WETH, ROUTER, 100)]


def test_the_same_ether_does_not_pay_twice(effects, call, wallet):
    single = call(SINGLE, (WETH, OUT, 500, wallet, 100, 90, 0))
    taken, _ = summary(effects(ROUTER, call("multicall(bytes[])", (single, single)), 100))
    assert taken == [(COIN, ROUTER, 100), (A_WETH, ROUTER, 100)]


def test_swaps_to_ether_bring_ether(effects, call, wallet):
    swap = call("swapExactTokensForETH" + V2, 100, 90, (IN, WETH), wallet, 5)
    assert summary(effects(ROUTER, swap)) == expected(wallet, bought=COIN)


def test_router_constants_are_the_caller_and_the_router(effects, call, wallet, codes):
    assert summary(effects(ROUTER, call(SINGLE, (IN, OUT, 500, CALLER, 100, 90, 0)))) == expected(wallet)
    assert codes(effects(ROUTER, call(SINGLE, (IN, OUT, 500, SELF, 100, 90, 0)))) == ["stranded_funds"]
    first = "exactInputSingle((address,address,uint24,address,uint256,uint256,uint256,uint160))"
    assert codes(effects(ROUTER, call(first, (IN, OUT, 500, ZERO_ADDRESS, 5, 100, 90, 0)))) == ["stranded_funds"]


def test_the_last_step_says_who_gets_how_much(effects, call, wallet, codes):
    swap = call(SINGLE, (IN, WETH, 500, SELF, 100, 0, 0))
    unwrap = call("unwrapWETH9(uint256,address)", 90, wallet)
    plan = "multicall(uint256,bytes[])"
    found = effects(ROUTER, call(plan, 7, (swap, unwrap)))
    assert summary(found) == expected(wallet, bought=COIN)
    assert found[-1].deadline == 7
    assert summary(effects(ROUTER, call(plan, 7, (swap, call("unwrapWETH9(uint256,address)", 90, OTHER)))))[1] == [
        (COIN, OTHER, 90)
    ]
    assert codes(effects(ROUTER, call(plan, 7, (swap,)))) == ["stranded_funds"]
    sweep = call("sweepToken(address,uint256,address)", OUT, 90, wallet)
    assert summary(effects(ROUTER, call(plan, 7, (call(SINGLE, (IN, OUT, 500, SELF, 100, 0, 0)), sweep)))) == expected(
        wallet
    )


def test_a_swap_of_what_the_router_holds_keeps_the_first_price(effects, call, wallet):
    first = call(SINGLE, (IN, OTHER, 500, SELF, 100, 0, 0))
    second = call(SINGLE, (OTHER, OUT, 500, wallet, 0, 90, 0))
    found = effects(ROUTER, call("multicall(bytes[])", (first, second)))
    assert summary(found) == expected(wallet)
    assert (found[-1].sold, found[-1].sold_amount) == (A_IN, 100)


def test_ether_that_nobody_asks_back_is_stranded(effects, call, wallet, codes):
    single = call(SINGLE, (WETH, OUT, 500, wallet, 60, 50, 0))
    assert codes(effects(ROUTER, single, 100)) == ["stranded_funds"]
    assert codes(effects(ROUTER, call("multicall(bytes[])", (single,)), 100)) == ["stranded_funds"]
    assert codes(effects(ROUTER, call("multicall(bytes[])", (single, call("refundETH()"))), 100)) == []


def test_the_rest_of_an_exact_output_must_be_asked_back(effects, call, wallet, codes, plan):
    single = call(
        "exactOutputSingle((address,address,uint24,address,uint256,uint256,uint160))",
        (WETH, OUT, 500, wallet, 90, 100, 0),
    )
    assert codes(effects(ROUTER, single, 100)) == ["stranded_funds"]
    assert codes(effects(ROUTER, call("multicall(bytes[])", (single, call("refundETH()"))), 100)) == []
    wrap = (0x0B, command("address,uint256", SELF, 100))
    swap = (0x01, command(SWAP, CALLER, 90, 100, OUT + b"\0\1\xf4" + WETH, False))
    assert codes(plan(wrap, swap, value=100)) == ["stranded_funds"]
    assert codes(plan(wrap, swap, (0x0C, command("address,uint256", CALLER, 0)), value=100)) == []
    v4_swap = (0x08, command(V4_SINGLE, ((ZERO_ADDRESS, OUT, 500, 10, ZERO_ADDRESS), True, 90, 100, b"")))
    settle = (0x0C, command("address,uint256", ZERO_ADDRESS, 100))
    assert codes(plan(v4(v4_swap, settle, TAKE_ALL), value=100)) == ["stranded_funds"]
    sweep = (0x04, command("address,address,uint256", ZERO_ADDRESS, CALLER, 0))
    assert codes(plan(v4(v4_swap, settle, TAKE_ALL), sweep, value=100)) == []
    assert (
        codes(
            effects(
                ROUTER,
                call("swapETHForExactTokens(uint256,address[],address,uint256)", 90, (WETH, OUT), wallet, 5),
                100,
            )
        )
        == []
    )


def test_what_is_settled_too_much_is_somebodys_credit(plan, wallet, codes):
    swap = (0x06, command(V4_SINGLE, (KEY, True, 100, 80, b"")))
    settle = (0x0B, command("address,uint256,bool", IN, 1000, True))
    steal = (0x0E, command("address,address,uint256", IN, OTHER, 0))
    taken, brought = summary(plan(v4(swap, settle, TAKE_ALL, steal)))
    assert taken == [(A_IN, ROUTER, 1000)]
    assert brought == [(A_OUT, wallet, 90), (A_IN, OTHER, 900)]


def test_a_bad_sale_does_not_hide_behind_a_good_one(effects, call, wallet, codes):
    bad = call(SINGLE, (IN, OUT, 500, SELF, 1000, 0, 0))
    good = call(SINGLE, (OTHER, OUT, 500, SELF, 1, 90, 0))
    sweep = call("sweepToken(address,uint256,address)", OUT, 0, wallet)
    assert codes(effects(ROUTER, call("multicall(bytes[])", (bad, good, sweep)))) == ["mixed_proceeds"]
    own = call("pull(address,uint256)", OUT, 90)
    assert codes(effects(ROUTER, call("multicall(bytes[])", (own, bad, sweep)))) == ["mixed_proceeds"]
    assert codes(effects(ROUTER, call("multicall(bytes[])", (bad, own, sweep)))) == ["mixed_proceeds"]


def test_payments_of_the_router_know_no_constants(effects, call):
    swap = call(SINGLE, (IN, WETH, 500, SELF, 100, 0, 0))
    found = effects(ROUTER, call("multicall(bytes[])", (swap, call("unwrapWETH9(uint256,address)", 90, CALLER))))
    assert summary(found)[1] == [(COIN, CALLER, 90)]


def test_fees_on_the_way_out(effects, call, wallet):
    swap = call(SINGLE, (IN, OUT, 500, SELF, 100, 0, 0))
    sweep = call("sweepTokenWithFee(address,uint256,address,uint256,address)", OUT, 100, wallet, 25, OTHER)
    found = effects(ROUTER, call("multicall(bytes[])", (swap, sweep)))
    assert FeeShare(OTHER, 25, "multicall[1]") in found
    assert summary(found)[1] == [(A_OUT, wallet, 99)]


def test_router_permits_are_allowances(effects, call, wallet):
    permit = call("selfPermit(address,uint256,uint256,uint8,bytes32,bytes32)", IN, 7, 5, 27, b"\1" * 32, b"\2" * 32)
    assert leaves(effects(ROUTER, permit)) == [Allowance(A_IN, wallet, ROUTER, 7)]
    forever = call(
        "selfPermitAllowed(address,uint256,uint256,uint8,bytes32,bytes32)", IN, 0, 5, 27, b"\1" * 32, b"\2" * 32
    )
    assert leaves(effects(ROUTER, forever))[0].amount == UINT256_MAX


@pytest.mark.parametrize(
    ("signature", "values"),
    [
        ("swapExactTokensForTokens" + V2, (1, 1, (IN,), OTHER, 5)),
        ("swapExactTokensForTokens" + V2, (1, 1, (), OTHER, 5)),
        (
            "swapExactTokensForTokens(uint256,uint256,(address,address,bool,address)[],address,uint256)",
            (1, 1, (ROUTE[0], ROUTE[0]), OTHER, 5),
        ),
        ("exactInput((bytes,address,uint256,uint256))", ((IN + b"\0\1" + OUT, OTHER, 1, 1),)),
        ("exactInput((bytes,address,uint256,uint256))", ((IN, OTHER, 1, 1),)),
    ],
)
def test_broken_paths_are_opaque(effects, call, codes, signature, values):
    assert codes(effects(ROUTER, call(signature, *values))) == ["malformed_path"]


def test_liquidity_is_spent_and_belongs_to_somebody(effects, call):
    add = "addLiquidity(address,address,uint256,uint256,uint256,uint256,address,uint256)"
    ether = effects(
        ROUTER, call("addLiquidityETH(address,uint256,uint256,uint256,address,uint256)", IN, 5, 1, 1, OTHER, 9), 3
    )
    assert [(e.asset, e.amount) for e in ether if isinstance(e, Transfer)] == [(COIN, 3), (A_IN, 5)]
    assert ether[-1] == Redirect(OTHER, "liquidity")
    found = effects(ROUTER, call(add, IN, OUT, 5, 6, 1, 1, OTHER, 9))
    assert [(e.asset, e.amount) for e in found if isinstance(e, Transfer)] == [(A_IN, 5), (A_OUT, 6)]
    assert found[-1] == Redirect(OTHER, "liquidity")


def test_oneinch_writes_zero_for_the_caller(effects, call, wallet):
    swap = "swap(address,(address,address,address,address,uint256,uint256,uint256),bytes)"
    found = effects(ROUTER, call(swap, OTHER, (NATIVE, OUT, OTHER, ZERO_ADDRESS, 100, 90, 0), b""), 100)
    assert summary(found) == expected(wallet, sold=COIN)


def test_unoswap_does_not_say_what_it_brings(effects, call, wallet, codes):
    found = effects(ROUTER, call("unoswap(uint256,uint256,uint256,uint256)", int.from_bytes(IN, "big"), 100, 90, 0))
    assert summary(found) == ([(A_IN, ROUTER, 100)], [(None, wallet, 90)])
    flagged = call("unoswap(uint256,uint256,uint256,uint256)", 1 << 255, 100, 90, 0)
    assert codes(effects(ROUTER, flagged)) == ["noncanonical_abi"]


def test_allowance_holder_is_bounded_by_its_settlement(effects, call, codes):
    holder = address("0x0000000000001fF3684f28c67538d4D072C22734")
    settle = call("execute((address,address,uint256),bytes[],bytes32)", (OTHER, OUT, 90), (), b"\0" * 32)
    execute = "exec(address,address,uint256,address,bytes)"
    found = effects(holder, call(execute, ROUTER, IN, 100, ROUTER, settle))
    assert summary(found) == ([(A_IN, holder, 100)], [(A_OUT, OTHER, 90)])
    assert codes(effects(holder, call(execute, ROUTER, IN, 100, ROUTER, b"unknown"))) == ["opaque_route"]
    assert codes(effects(holder, call(execute, ROUTER, IN, 100, ROUTER, settle + b"x"))) == ["noncanonical_abi"]
    routed = [
        e.recipient for e in effects(holder, call(execute, OTHER, IN, 100, ROUTER, settle)) if isinstance(e, Redirect)
    ]
    assert routed == [OTHER, ROUTER]


# --- Universal Router ------------------------------------------------------------------------------

SWAP = "address,uint256,uint256,bytes,bool"
POOL_PATH = IN + b"\0\1\xf4" + OUT


def command(types, *values):
    return encode(parse_types(types), values)


@pytest.fixture
def plan(effects, call):
    def run(*steps, value=0, deadline=7):
        commands = bytes(code for code, _ in steps)
        inputs = tuple(data for _, data in steps)
        return effects(ROUTER, call("execute(bytes,bytes[],uint256)", commands, inputs, deadline), value)

    return run


def v3(recipient, amount=100, least=90, *, path=POOL_PATH, by_user=True):
    return 0x00, command(SWAP, recipient, amount, least, path, by_user)


def test_a_plan_brings_what_its_last_step_enforces(plan, wallet):
    found = plan(v3(CALLER))
    assert summary(found) == expected(wallet)
    assert found[-1].deadline == 7


@pytest.mark.parametrize(
    ("code", "types", "values"),
    [
        (0x01, SWAP, (CALLER, 90, 100, OUT + b"\0\1\xf4" + IN, True)),
        (0x08, "address,uint256,uint256,address[],bool", (CALLER, 100, 90, (IN, OTHER, OUT), True)),
        (0x09, "address,uint256,uint256,address[],bool", (CALLER, 90, 100, (IN, OUT), True)),
        (0x00, SWAP + ",uint256[]", (CALLER, 100, 90, POOL_PATH, True, (1,))),
    ],
)
def test_every_kind_of_swap_command(plan, wallet, code, types, values):
    assert summary(plan((code, command(types, *values)))) == expected(wallet)


def test_sweep_and_unwrap_decide_for_what_stays_in_the_router(plan, wallet, codes):
    inside = v3(SELF, least=0)
    sweep = (0x04, command("address,address,uint256", OUT, CALLER, 90))
    assert summary(plan(inside, sweep)) == expected(wallet)
    stolen = (0x04, command("address,address,uint256", OUT, OTHER, 90))
    assert summary(plan(inside, stolen))[1] == [(A_OUT, OTHER, 90)]
    assert codes(plan(inside)) == ["stranded_funds"]
    to_weth = v3(SELF, least=0, path=IN + b"\0\1\xf4" + WETH)
    unwrap = (0x0C, command("address,uint256", CALLER, 90))
    assert summary(plan(to_weth, unwrap)) == expected(wallet, bought=COIN)


def test_wrapped_ether_pays_for_a_plan(plan, wallet):
    wrap = (0x0B, command("address,uint256", SELF, 100))
    swap = v3(CALLER, ALL, path=WETH + b"\0\1\xf4" + OUT, by_user=False)
    found = plan(wrap, swap, value=100)
    assert summary(found) == expected(wallet, sold=COIN)
    assert found[-1].sold_amount == 100


def test_unused_ether_in_a_plan_is_stranded(plan, codes):
    assert codes(plan(v3(CALLER), value=5)) == ["stranded_funds"]
    sweep = (0x04, command("address,address,uint256", ZERO_ADDRESS, CALLER, 0))
    assert codes(plan(v3(CALLER), sweep, value=5)) == []


def test_two_sales_in_one_v4_list_are_opaque(plan, codes):
    first = (0x06, command(V4_SINGLE, (KEY, True, 100, 0, b"")))
    second = (0x06, command(V4_SINGLE, ((OTHER, OUT, 500, 10, ZERO_ADDRESS), True, 1, 90, b"")))
    settle = (0x0C, command("address,uint256", OTHER, 1))
    assert codes(plan(v4(first, second, SETTLE_ALL, settle, TAKE_ALL))) == ["mixed_proceeds"]


def test_interface_fees_are_shares(plan, wallet):
    fee = (0x06, command("address,address,uint256", OUT, OTHER, 25))
    sweep = (0x04, command("address,address,uint256", OUT, CALLER, 89))
    found = plan(v3(SELF), fee, sweep)
    assert FeeShare(OTHER, 25, "commands[1]") in found
    assert summary(found)[1] == [(A_OUT, wallet, 89)]
    precise = (0x07, command("address,address,uint256", OUT, OTHER, 25 * 10**14 + 1))
    assert FeeShare(OTHER, 26, "commands[1]") in plan(v3(SELF), precise, sweep)


def test_permit2_steps_are_transfers_and_allowances(plan, wallet):
    moved = plan((0x02, command("address,address,uint160", IN, OTHER, 7)))
    assert leaves(moved) == [Transfer(A_IN, wallet, OTHER, 7, path="commands[0]")]
    batch = plan((0x0D, command("(address,address,uint160,address)[]", ((wallet, OTHER, 7, IN),))))
    assert leaves(batch)[0].recipient == OTHER
    permit = ((IN, 7, 99, 0), ROUTER, 5)
    single = plan((0x0A, command("((address,uint160,uint48,uint48),address,uint256),bytes", permit, b"s")))
    assert leaves(single) == [Allowance(A_IN, wallet, ROUTER, 7, 99, path="commands[0]")]
    many = plan(
        (
            0x83,
            command("((address,uint160,uint48,uint48)[],address,uint256),bytes", (((IN, 7, 99, 0),), OTHER, 5), b"s"),
        )
    )
    assert leaves(many)[0].spender == OTHER


def test_payments_out_of_the_router_are_redirects(plan, codes):
    pay = (0x05, command("address,address,uint256", ZERO_ADDRESS, OTHER, 5))
    assert Redirect(OTHER, "payment out of the router", "commands[0]") in plan(pay, value=5)
    everything = (0x05, command("address,address,uint256", ZERO_ADDRESS, OTHER, ALL))
    assert Redirect(OTHER, "what the router holds", "commands[0]") in plan(everything, value=5)


def test_sub_plans_are_part_of_the_plan(plan, wallet, codes):
    swap = command(SWAP, CALLER, 100, 90, POOL_PATH, True)
    assert summary(plan((0x21, command("bytes,bytes[]", b"\0", (swap,))))) == expected(wallet)
    nested = (0x21, command("bytes,bytes[]", b"\0", (swap,)))
    for _ in range(12):
        nested = (0x21, command("bytes,bytes[]", bytes([nested[0]]), (nested[1],)))
    assert codes(plan(nested)) == ["too_deep"]


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ((0x40, b""), "unknown_command"),
        ((0x12, b""), "command_by_version"),
        ((0x3F, b""), "unknown_command"),
        ((0x00, b"\0" * 31), "noncanonical_abi"),
        ((0x80, command(SWAP, CALLER, 100, 90, POOL_PATH, True)), "may_revert"),
        ((0x00, command(SWAP, CALLER, 100, 90, POOL_PATH[:-1], True)), "malformed_path"),
        ((0x08, command("address,uint256,uint256,address[],bool", CALLER, 1, 1, (), True)), "malformed_path"),
    ],
)
def test_what_the_router_might_do_differently_is_opaque(plan, codes, step, code):
    assert codes(plan(step)) == [code]


def test_commands_and_inputs_must_match(effects, call, codes):
    assert codes(effects(ROUTER, call("execute(bytes,bytes[])", b"\0\0", (b"",)))) == ["malformed_batch"]


KEY = (IN, OUT, 500, 10, ZERO_ADDRESS)
V4_SINGLE = "((address,address,uint24,int24,address),bool,uint128,uint128,bytes)"
V4_PATH = "(address,(address,uint24,int24,address,bytes)[],uint128,uint128)"


def v4(*actions):
    codes = bytes(code for code, _ in actions)
    return 0x10, command("bytes,bytes[]", codes, tuple(data for _, data in actions))


SETTLE_ALL = (0x0C, command("address,uint256", IN, 100))
TAKE_ALL = (0x0F, command("address,uint256", OUT, 90))


@pytest.mark.parametrize(
    "swap",
    [
        (0x06, command(V4_SINGLE, (KEY, True, 100, 80, b""))),
        (0x08, command(V4_SINGLE, (KEY, True, 80, 100, b""))),
        (
            0x07,
            command(V4_PATH, (IN, ((OTHER, 500, 10, ZERO_ADDRESS, b""), (OUT, 500, 10, ZERO_ADDRESS, b"")), 100, 80)),
        ),
        (
            0x09,
            command(V4_PATH, (OUT, ((IN, 500, 10, ZERO_ADDRESS, b""), (OTHER, 500, 10, ZERO_ADDRESS, b"")), 80, 100)),
        ),
    ],
)
def test_v4_swaps_settle_and_take(plan, wallet, swap):
    assert summary(plan(v4(swap, SETTLE_ALL, TAKE_ALL))) == expected(wallet)


def test_v4_takes_may_go_to_somebody_else(plan, wallet, codes):
    swap = (0x06, command(V4_SINGLE, (KEY, True, 100, 80, b"")))
    take = (0x0E, command("address,address,uint256", OUT, OTHER, 0))
    assert summary(plan(v4(swap, SETTLE_ALL, take)))[1] == [(A_OUT, OTHER, 80)]
    inside = (0x0E, command("address,address,uint256", OUT, SELF, 0))
    sweep = (0x04, command("address,address,uint256", OUT, CALLER, 90))
    assert summary(plan(v4(swap, SETTLE_ALL, inside), sweep)) == expected(wallet)
    assert codes(plan(v4(swap, SETTLE_ALL, inside))) == ["stranded_funds"]
    share = (0x10, command("address,address,uint256", OUT, OTHER, 100))
    found = plan(v4(swap, SETTLE_ALL, share, (0x0F, command("address,uint256", OUT, 0))))
    assert any(isinstance(e, FeeShare) and e.bips == 100 for e in found)
    assert summary(found)[1] == [(A_OUT, wallet, 79)]


@pytest.mark.parametrize(
    ("actions", "code"),
    [
        (((0x02, b""),), "unknown_command"),
        (((0x06, b""),), "noncanonical_abi"),
        (((0x0F, command("address,uint256", OUT, 90) + b"x"),), "noncanonical_abi"),
        (((0x07, command(V4_PATH, (IN, (), 1, 1))),), "malformed_path"),
    ],
)
def test_unknown_v4_actions_are_opaque(plan, codes, actions, code):
    assert codes(plan(v4(*actions))) == [code]


def test_v4_hops_through_a_credit(plan, wallet):
    key = (OTHER, OUT, 500, 10, ZERO_ADDRESS)
    first = (0x06, command(V4_SINGLE, ((IN, OTHER, 500, 10, ZERO_ADDRESS), True, 100, 0, b"")))
    second = (0x06, command(V4_SINGLE, (key, True, 0, 80, b"")))
    found = plan(v4(first, second, SETTLE_ALL, TAKE_ALL))
    assert summary(found) == expected(wallet)
    assert (found[-1].sold, found[-1].sold_amount) == (A_IN, 100)


def test_v4_may_settle_first_and_from_what_the_router_holds(plan, wallet, codes):
    open_swap = (0x06, command(V4_SINGLE, (KEY, True, 0, 80, b"")))
    settle = (0x0B, command("address,uint256,bool", IN, 100, True))
    assert summary(plan(v4(settle, open_swap, TAKE_ALL))) == expected(wallet)
    into_router = (0x00, command(SWAP, SELF, 100, 0, IN + b"\0\1\xf4" + OTHER, True))
    held = (0x0B, command("address,uint256,bool", OTHER, ALL, False))
    swap = (0x06, command(V4_SINGLE, ((OTHER, OUT, 500, 10, ZERO_ADDRESS), True, 0, 80, b"")))
    found = plan(into_router, v4(held, swap, TAKE_ALL))
    assert summary(found) == expected(wallet)
    assert (found[-1].sold, found[-1].sold_amount) == (A_IN, 100)
    unknown = (0x0B, command("address,uint256,bool", IN, 0, True))
    assert summary(plan(v4(unknown)))[0] == [(A_IN, ROUTER, UINT256_MAX)]


def test_v4_lists_must_match(plan, codes):
    assert codes(plan((0x10, command("bytes,bytes[]", b"\6\6", (b"",))))) == ["malformed_batch"]
    empty = (0x09, command(V4_PATH, (OUT, (), 80, 100)))
    assert codes(plan(v4(empty))) == ["malformed_path"]


def test_bytes_behind_an_input_are_reported(plan):
    code, data = v3(CALLER)
    assert any(isinstance(e, TrailingBytes) for e in plan((code, data + b"xyz")))


def test_what_was_moved_into_the_router_is_swapped_from_there(plan, wallet):
    moved = (0x02, command("address,address,uint160", IN, SELF, 100))
    found = plan(moved, v3(CALLER, ALL, by_user=False))
    assert summary(found) == expected(wallet)
    chained = plan(
        v3(SELF, least=0, path=IN + b"\0\1\xf4" + OTHER), v3(CALLER, ALL, path=OTHER + b"\0\1\xf4" + OUT, by_user=False)
    )
    assert summary(chained) == expected(wallet)
    assert (chained[-1].sold, chained[-1].sold_amount) == (A_IN, 100)
    nothing_held = plan(v3(CALLER, 100, by_user=False))
    assert nothing_held[-1].sold_amount == 100


def test_transfers_of_proceeds_to_the_caller_bring_them(plan, wallet):
    pay = (0x05, command("address,address,uint256", OUT, CALLER, 60))
    rest = (0x04, command("address,address,uint256", OUT, CALLER, 0))
    found = plan(v3(SELF), pay, rest)
    assert [e.min_amount for e in found if isinstance(e, Receive)] == [60, 30]
    inside = (0x05, command("address,address,uint256", OUT, SELF, 60))
    assert summary(plan(v3(SELF), inside, rest)) == expected(wallet)


def test_wrapped_ether_may_be_for_the_caller_or_somebody_else(plan, wallet):
    own = plan((0x0B, command("address,uint256", CALLER, ALL)), value=100)
    assert summary(own)[1] == [(A_WETH, wallet, 100)]
    assert Redirect(OTHER, "wrapped ether", "commands[0]") in plan(
        (0x0B, command("address,uint256", OTHER, 100)), value=100
    )


def test_a_fee_of_everything_leaves_nothing(plan, wallet):
    everything = (0x06, command("address,address,uint256", OUT, OTHER, 10_000))
    sweep = (0x04, command("address,address,uint256", OUT, CALLER, 0))
    assert summary(plan(v3(SELF), everything, sweep))[1] == [(A_OUT, wallet, 0)]


def test_balance_checks_move_nothing(plan):
    assert leaves(plan((0x0E, command("address,address,uint256", OTHER, OUT, 5)))) == []


def test_what_the_router_holds_does_not_pay_for_a_named_amount(effects, call, codes):
    """Only an amount of zero takes from the router; any other is pulled from the caller again."""
    first = call(SINGLE, (IN, WETH, 500, SELF, 100, 90, 0))
    second = call(SINGLE, (WETH, OUT, 500, CALLER, 90, 80, 0))
    found = effects(ROUTER, call("multicall(bytes[])", (first, second)))
    assert summary(found)[0] == [(A_IN, ROUTER, 100), (A_WETH, ROUTER, 90)]
    assert codes(found) == ["stranded_funds"]
    everything = call(SINGLE, (WETH, OUT, 500, CALLER, 0, 80, 0))
    found = effects(ROUTER, call("multicall(bytes[])", (first, everything)))
    assert summary(found)[0] == [(A_IN, ROUTER, 100)]
    assert codes(found) == []


@pytest.mark.parametrize("wrapped", [False, True])
def test_ether_that_a_swap_of_tokens_does_not_need_is_stranded(effects, call, wallet, codes, wrapped):
    swap = call(SINGLE, (IN, OUT, 500, wallet, 100, 90, 0))
    plan = call("multicall(bytes[])", (swap,)) if wrapped else swap
    assert codes(effects(ROUTER, plan, 5)) == ["stranded_funds"]
    refunded = call("multicall(bytes[])", (swap, call("refundETH()")))
    assert codes(effects(ROUTER, refunded, 5)) == []


def test_a_part_of_the_proceeds_leaves_a_rest_that_somebody_must_ask_for(effects, call, codes):
    """The minimum is not the outcome: paying out exactly the minimum leaves the rest to whoever comes next."""
    swap = encode(parse_types("address,uint256,uint256,bytes,bool"), (SELF, 100, 1, IN + b"\0\1\2" + OUT, True))
    pay = encode(parse_types("address,address,uint256"), (OUT, CALLER, 1))
    plan = "execute(bytes,bytes[],uint256)"
    assert codes(effects(ROUTER, call(plan, b"\x00\x05", (swap, pay), 9))) == ["stranded_funds"]
    assert codes(effects(ROUTER, call(plan, b"\x00\x05\x04", (swap, pay, pay), 9))) == []


def test_a_share_of_proceeds_may_be_followed_by_a_swap_of_all_the_rest(effects, call, codes):
    swap = encode(parse_types("address,uint256,uint256,bytes,bool"), (SELF, 100, 1, IN + b"\0\1\2" + WETH, True))
    share = encode(parse_types("address,address,uint256"), (WETH, OTHER, 25))
    rest = encode(parse_types("address,uint256,uint256,bytes,bool"), (CALLER, ALL, 5, WETH + b"\0\1\2" + OUT, False))
    found = effects(ROUTER, call("execute(bytes,bytes[],uint256)", b"\x00\x06\x00", (swap, share, rest), 9))
    assert codes(found) == []
    assert [(e.sold, e.sold_amount, e.min_amount) for e in found if isinstance(e, Receive)] == [(A_IN, 100, 5)]


def test_a_caller_who_settles_what_the_router_holds_pays_an_unknown_amount(effects, call, codes):
    settle = encode(parse_types("address,uint256,bool"), (IN, ALL, True))
    actions = encode(parse_types("bytes,bytes[]"), (b"\x0b", (settle,)))
    assert "amount_not_named" in codes(effects(ROUTER, call("execute(bytes,bytes[],uint256)", b"\x10", (actions,), 9)))


NEW_ROUTER = address("0x23617e59A5925b2A4Bf75d73ff6711cD0b29De85")
USDC, USDC_ON_BASE = (
    address("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
    address("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
)
POOL = address("0x5c7BCd6E7De5423a257D81B442095A1a6ced35C5")
DEPOSIT = "(address,address,address,address,address,uint256,uint256,uint256,address,uint32,uint32,uint32,bytes,bool)"


def deposit(owner, recipient, amount=1000, *, output=990, pool=POOL, sold=USDC, message=b"", native=False):
    values = (pool, owner, recipient, sold, USDC_ON_BASE, amount, output, 8453, ZERO_ADDRESS, 1, 2, 3, message, native)
    return 0x40, abi_encode([DEPOSIT], [values])


@pytest.fixture
def newer(effects, call):
    def run(*steps, value=0):
        plan = call("execute(bytes,bytes[],uint256)", bytes(code for code, _ in steps), tuple(d for _, d in steps), 9)
        return effects(NEW_ROUTER, plan, value)

    return run


PULL = (0x02, abi_encode(["address", "address", "uint160"], [USDC, SELF, 1000]))


def test_a_deposit_with_across_bridges_what_the_router_holds(newer, wallet, codes):
    found = newer(PULL, deposit(wallet, wallet))
    assert codes(found) == []
    assert summary(found) == ([(Asset(1, USDC), NEW_ROUTER, 1000)], [(Asset(8453, USDC_ON_BASE), wallet, 990)])
    assert Redirect(wallet, "refunds of the bridge", "commands[1]") in found
    assert summary(newer(PULL, deposit(wallet, wallet, ALL)))[1] == [(Asset(8453, USDC_ON_BASE), wallet, 990)]
    assert codes(newer(PULL, deposit(wallet, wallet, 900, output=890))) == ["stranded_funds"]


def test_a_deposit_with_across_says_who_gets_funds_and_refunds(newer, wallet, codes):
    assert summary(newer(PULL, deposit(wallet, OTHER)))[1] == [(Asset(8453, USDC_ON_BASE), OTHER, 990)]
    assert Redirect(OTHER, "refunds of the bridge", "commands[1]") in newer(PULL, deposit(OTHER, wallet))
    assert Redirect(OTHER, "is named to take the deposit", "commands[1]") in newer(
        PULL, deposit(wallet, wallet, pool=OTHER)
    )
    assert codes(newer(PULL, deposit(wallet, wallet, output=1))) == ["bridge_fee"]
    assert codes(newer(PULL, deposit(wallet, wallet, message=b"x"))) == ["bridge_message"]
    assert codes(newer(PULL, deposit(wallet, wallet, native=True))) == [
        "malformed_order", "stranded_funds",
    ]  # fmt: skip


def test_ether_is_deposited_as_wrapped_ether(newer, wallet, codes):
    found = newer(deposit(wallet, wallet, sold=WETH, native=True), value=1000)
    assert [(e.asset, e.amount) for e in found if isinstance(e, Transfer)] == [(COIN, 1000)]
    assert codes(found) == ["bridge_output_unknown"]


def test_proceeds_that_are_bridged_keep_their_first_price(newer, wallet):
    swap = abi_encode(
        ["address", "uint256", "uint256", "bytes", "bool"], [SELF, 100, 1000, IN + b"\0\1\xf4" + USDC, True]
    )
    found = newer((0x00, swap), deposit(wallet, wallet, ALL))
    assert [(e.sold, e.sold_amount) for e in found if isinstance(e, Receive)] == [(A_IN, 100)]


def test_a_deposit_is_read_only_where_the_router_knows_the_command(effects, call, wallet, codes):
    """Older routers mask the command to six bits, and would swap instead."""
    code, data = deposit(wallet, wallet)
    plan = call("execute(bytes,bytes[],uint256)", bytes([code]), (data,), 9)
    assert codes(effects(ROUTER, plan)) == ["unknown_command"]
    assert codes(effects(address("0x66a9893cC07D91D95644AEDD05D03f95e1dBA8Af"), plan)) == ["unknown_command"]
    allowed_to_fail = call("execute(bytes,bytes[],uint256)", bytes([code | 0x80]), (data,), 9)
    assert "may_revert" in codes(effects(NEW_ROUTER, allowed_to_fail))


def test_v4_takes_beyond_the_credit_are_debts_that_a_settlement_pays(plan):
    """Taking needs no credit: whoever settles afterwards pays for it."""
    swap = (0x06, command(V4_SINGLE, (KEY, True, 100, 80, b"")))
    take = (0x0E, command("address,address,uint256", IN, OTHER, 10**12))
    settle = (0x0B, command("address,uint256,bool", IN, 0, True))
    taken, brought = summary(plan(v4(swap, take, settle, TAKE_ALL)))
    assert taken == [(A_IN, ROUTER, 100 + 10**12)]
    assert (A_IN, OTHER, 10**12) in brought


def test_ether_for_a_multicall_of_nothing_is_stranded(effects, call, codes):
    for empty in (("multicall(bytes[])", ()), ("multicall(uint256,bytes[])", 9, ())):
        assert codes(effects(ROUTER, call(*empty), 5)) == ["stranded_funds"]
        assert codes(effects(ROUTER, call(*empty))) == []


V3_MANAGER = address("0xC36442b4a4522E871399CD717aBDD847Ab11FE88")
MINT = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"


def test_ether_pays_for_the_wrapped_side_of_a_position_once(effects, call, wallet, codes):
    mint = call(MINT, (OUT, WETH, 500, -10, 10, 7, 100, 0, 0, wallet, 9))
    whole = effects(V3_MANAGER, call("multicall(bytes[])", (mint, call("refundETH()"))), 100)
    assert [(e.asset, e.amount) for e in whole if isinstance(e, Transfer)] == [(COIN, 100), (A_OUT, 7)]
    assert codes(whole) == []
    assert codes(effects(V3_MANAGER, call("multicall(bytes[])", (mint,)), 100)) == ["stranded_funds"]
    assert codes(effects(V3_MANAGER, mint, 100)) == ["stranded_funds"]
    tokens = effects(V3_MANAGER, mint)
    assert [(e.asset, e.amount) for e in tokens if isinstance(e, Transfer)] == [(A_OUT, 7), (A_WETH, 100)]
    assert codes(tokens) == []

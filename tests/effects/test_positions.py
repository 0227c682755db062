"""Uniswap v4 positions, encoded by eth_abi: the most that goes in, whose the position is, who gets what comes out."""

import pytest
from eth_abi import encode

from walletgate.effects.abi import parse_signature
from walletgate.effects.positions import MANAGERS
from walletgate.effects.registry import address
from walletgate.types import NATIVE, UINT256_MAX, Allowance, Asset, Redirect, Transfer

MANAGER = address(MANAGERS[0])
COIN0, COIN1, OTHER, EMPTY = (bytes([n]) * 20 for n in (0x22, 0x33, 0x44, 0))
FIRST, SECOND, ETHER = Asset(1, COIN0), Asset(1, COIN1), Asset(1, NATIVE)
CALLER, SELF, ALL = bytes(19) + b"\1", bytes(19) + b"\2", 1 << 255
POOL = "(address,address,uint24,int24,address)"
PLAN = parse_signature("modifyLiquidities(bytes,uint256)")


def calldata(*actions):
    body = encode(["bytes", "bytes[]"], [bytes(code for code, _ in actions), [data for _, data in actions]])
    return PLAN.selector + encode(["bytes", "uint256"], [body, 9])


def mint(owner, *, coin0=COIN0, most=(100, 200)):
    types = [POOL, "int24", "int24", "uint256", "uint128", "uint128", "address", "bytes"]
    return 0x02, encode(types, [(coin0, COIN1, 500, 10, EMPTY), -10, 10, 5, *most, owner, b""])


def increase(most0, most1):
    return 0x00, encode(["uint256", "uint256", "uint128", "uint128", "bytes"], [7, 5, most0, most1, b""])


DECREASE = (0x01, encode(["uint256", "uint256", "uint128", "uint128", "bytes"], [7, 5, 90, 90, b""]))
BURN = (0x03, encode(["uint256", "uint128", "uint128", "bytes"], [7, 90, 90, b""]))


def settle(coin, amount, *, by_user=True):
    return 0x0B, encode(["address", "uint256", "bool"], [coin, amount, by_user])


def settle_pair(coin0=COIN0, coin1=COIN1):
    return 0x0D, encode(["address", "address"], [coin0, coin1])


def take(coin, recipient, amount=0):
    return 0x0E, encode(["address", "address", "uint256"], [coin, recipient, amount])


def take_pair(recipient):
    return 0x11, encode(["address", "address", "address"], [COIN0, COIN1, recipient])


def close(coin):
    return 0x12, encode(["address"], [coin])


def sweep(coin, recipient):
    return 0x14, encode(["address", "address"], [coin, recipient])


@pytest.fixture
def plan(effects):
    return lambda *actions, value=0: effects(MANAGER, calldata(*actions), value)[1:]


def spent(found):
    return [(e.asset, e.amount) for e in found if isinstance(e, Transfer)]


def ends(found):
    return [(e.recipient, e.what) for e in found if isinstance(e, Redirect)]


def test_minting_takes_at_most_the_maxima_and_names_the_owner(plan, wallet, codes):
    found = plan(mint(CALLER), settle_pair())
    assert spent(found) == [(FIRST, 100), (SECOND, 200)]
    assert all(e.via == MANAGER and e.sender == wallet for e in found if isinstance(e, Transfer))
    assert ends(found) == [(wallet, "liquidity position")]
    assert codes(found) == []
    assert spent(plan(mint(wallet), close(COIN0), close(COIN1))) == [(FIRST, 100), (SECOND, 200)]
    assert ends(plan(mint(OTHER), settle_pair())) == [(OTHER, "liquidity position")]
    assert ends(plan(mint(SELF), settle_pair())) == [(MANAGER, "liquidity position")]


def test_adding_to_a_position_counts_each_token_at_the_greater_maximum(plan):
    """The position's pool is not in the call, so the maxima belong to either token."""
    assert spent(plan(increase(100, 200), settle_pair())) == [(FIRST, 200), (SECOND, 200)]
    assert spent(plan(increase(100, 200), settle_pair(COIN1, OTHER))) == [(SECOND, 200), (Asset(1, OTHER), 200)]
    twice = plan(increase(100, 200), increase(5, 1), close(COIN0), close(COIN0), close(COIN1))
    assert spent(twice) == [(FIRST, 205), (SECOND, 205)]
    later = plan(increase(100, 0), close(COIN0), mint(CALLER), settle_pair())
    assert spent(later) == [(FIRST, 100), (FIRST, 100), (SECOND, 300)]


def test_what_comes_out_goes_to_whoever_takes_it(plan, wallet, codes):
    for out in (DECREASE, BURN):
        assert ends(plan(out, take_pair(CALLER))) == []
        assert ends(plan(out, take_pair(OTHER))) == [(OTHER, "withdrawn liquidity")] * 2
        assert ends(plan(out, take(COIN0, OTHER), close(COIN1))) == [(OTHER, "withdrawn liquidity")]
        assert codes(plan(out, take_pair(SELF))) == ["stranded_funds"]
        assert codes(plan(out, take_pair(SELF), sweep(COIN0, CALLER), sweep(COIN1, wallet))) == []
        kept = plan(out, take_pair(SELF), sweep(COIN0, OTHER), sweep(COIN1, OTHER))
        assert ends(kept) == [(OTHER, "what the router holds")] * 2


def test_taking_more_than_there_is_counts_as_a_debt(plan):
    """A take of a named amount needs no credit: the caller may settle it afterwards."""
    assert spent(plan(take(COIN0, OTHER, 10**30), settle_pair())) == [(FIRST, 10**30)]
    assert spent(plan(DECREASE, take(COIN0, CALLER, 50), close(COIN0))) == [(FIRST, 50)]


def test_settling_names_an_amount_or_everything(plan, codes):
    assert spent(plan(settle(COIN0, 70), mint(CALLER))) == [(FIRST, 70)]
    assert spent(plan(mint(CALLER), settle(COIN0, 0), settle(COIN1, 0))) == [(FIRST, 100), (SECOND, 200)]
    assert codes(plan(mint(CALLER), settle(COIN0, ALL))) == ["amount_not_named"]
    assert spent(plan(mint(CALLER), settle(COIN0, 0, by_user=False))) == []
    huge = plan(take(COIN0, CALLER, UINT256_MAX), take(COIN0, CALLER, UINT256_MAX), close(COIN0))
    assert spent(huge) == [(FIRST, UINT256_MAX)]


def test_ether_that_is_not_swept_back_is_stranded(plan, wallet, codes):
    opened = (mint(CALLER, coin0=EMPTY), settle_pair(EMPTY, COIN1))
    found = plan(*opened, sweep(EMPTY, CALLER), value=100)
    assert spent(found) == [(ETHER, 100), (SECOND, 200)]
    assert codes(found) == []
    assert codes(plan(*opened, value=100)) == ["stranded_funds"]
    assert ends(plan(*opened, sweep(EMPTY, OTHER), value=100))[-1] == (OTHER, "what the router holds")
    assert codes(plan(mint(CALLER), settle_pair(), value=5)) == ["stranded_funds"]
    assert codes(plan(mint(CALLER, coin0=EMPTY), settle(EMPTY, ALL, by_user=False), close(COIN1), value=100)) == []


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ((0x04, b""), "unknown_command"),
        ((0x05, b""), "unknown_command"),
        ((0x15, encode(["uint256"], [1])), "unknown_command"),
        ((0x17, b""), "unknown_command"),
        ((0x02, b""), "noncanonical_abi"),
        ((0x12, encode(["address"], [COIN0]) + bytes(32)), "noncanonical_abi"),
        ((0x13, encode(["address", "uint256"], [COIN0, 5])), "stranded_funds"),
    ],
)
def test_what_cannot_be_counted_is_opaque(plan, codes, action, code):
    assert codes(plan(action)) == [code]


def test_plans_that_do_not_parse_are_opaque(effects, codes):
    def run(body):
        return codes(effects(MANAGER, PLAN.selector + encode(["bytes", "uint256"], [body, 9])))

    assert run(b"") == ["noncanonical_abi"]
    assert run(encode(["bytes", "bytes[]"], [b"\2", []])) == ["malformed_batch"]
    assert run(encode(["bytes", "bytes[]"], [b"\x13", [encode(["address", "uint256"], [COIN0, 0])]])) == []
    assert codes(effects(OTHER, calldata(close(COIN0)))) == ["unknown_function"]


def test_a_multicall_of_a_permit_a_pool_and_a_plan_is_their_sum(effects, call, wallet, codes):
    details = (COIN0, 100, 9, 0)
    permit = call(
        "permitBatch(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)",
        wallet, ((details,), MANAGER, 9), b"",
    )  # fmt: skip
    pool = call(f"initializePool({POOL},uint160)", (EMPTY, COIN1, 500, 10, EMPTY), 1)
    opened = calldata(mint(CALLER, coin0=EMPTY), settle_pair(EMPTY, COIN1), sweep(EMPTY, CALLER))
    found = effects(MANAGER, call("multicall(bytes[])", (permit, pool, opened)), 100)
    assert [(e.asset, e.spender, e.amount) for e in found if isinstance(e, Allowance)] == [(FIRST, MANAGER, 100)]
    assert spent(found) == [(ETHER, 100), (SECOND, 200)]
    assert codes(found) == []
    unswept = calldata(mint(CALLER, coin0=EMPTY), settle_pair(EMPTY, COIN1))
    assert codes(effects(MANAGER, call("multicall(bytes[])", (unswept,)), 100)) == ["stranded_funds"]

"""Curve's exchanges, encoded by eth_abi: what is sold, the least that is bought, and for whom."""

import pytest
from eth_abi import encode

from walletgate.effects.abi import parse_signature
from walletgate.effects.curve import COINS
from walletgate.types import NATIVE, Asset, Receive, Transfer

ROUTER, IN, OUT, MID, OTHER, POOL = (bytes([n]) * 20 for n in (0x11, 0x22, 0x33, 0x44, 0x55, 0x66))
EMPTY, PARAMS = bytes(20), [[1, 2, 1, 1, 3]] * 5
FIRST, SECOND = Asset(1, IN), Asset(1, OUT)
THREEPOOL, STETH_POOL, TRICRYPTO = (
    min(pool for (_, pool), coins in COINS.items() if coins[0] == first and len(coins) == size)
    for first, size in ((COINS[1, bytes.fromhex("bebc44782c7db0a1a60cb6fe97d0b483032ff1c7")][0], 3), (NATIVE, 2), (COINS[1, bytes.fromhex("7f86bf177dd4f3494b841a37e810a34dd56c829b")][0], 3))
)  # fmt: skip


def calldata(signature, *values):
    """As an independent encoder writes it."""
    function = parse_signature(signature)
    return function.selector + encode([p.canonical for p in function.params], values)


def route(*steps):
    return [*steps, *[EMPTY] * (11 - len(steps))]


SHORT = "exchange(address[11],uint256[5][5],uint256,uint256)"
FULL = "exchange(address[11],uint256[5][5],uint256,uint256,address[5],address)"
NEWER = "exchange(address[11],uint256[4][5],uint256,uint256,address)"


def test_the_router_sells_the_first_token_for_the_last(effects, wallet):
    whole = route(IN, POOL, MID, POOL, OUT)
    _, taken, got = effects(ROUTER, calldata(SHORT, whole, PARAMS, 100, 90))
    assert taken == Transfer(FIRST, wallet, ROUTER, 100, ROUTER)
    assert got == Receive(SECOND, wallet, 90, FIRST, 100)
    *_, got = effects(ROUTER, calldata(FULL, whole, PARAMS, 100, 90, [EMPTY] * 5, OTHER))
    assert got == Receive(SECOND, OTHER, 90, FIRST, 100)
    *_, got = effects(ROUTER, calldata(NEWER, whole, [[1, 2, 1, 10]] * 5, 100, 0, wallet))
    assert got == Receive(SECOND, wallet, 0, FIRST, 100)


def test_the_router_sells_the_ether_that_is_sent_along(effects, wallet):
    found = effects(ROUTER, calldata(SHORT, route(NATIVE, POOL, OUT), PARAMS, 100, 90), 100)
    assert [e.amount for e in found if isinstance(e, Transfer)] == [100]
    assert found[-1] == Receive(SECOND, wallet, 90, Asset(1, NATIVE), 100)
    full = route(*[IN, POOL] * 5, OUT)
    assert effects(ROUTER, calldata(SHORT, full, PARAMS, 100, 90))[-1].asset == SECOND


@pytest.mark.parametrize(
    "broken",
    [
        route(IN),
        route(IN, POOL),
        route(IN, EMPTY, OUT),
        route(EMPTY, POOL, OUT),
        route(IN, POOL, OUT, EMPTY, OTHER),
        route(IN, POOL, OUT, EMPTY, EMPTY, POOL, OTHER),
    ],
)
def test_a_route_that_does_not_lead_from_token_to_token_is_opaque(effects, codes, broken):
    assert codes(effects(ROUTER, calldata(SHORT, broken, PARAMS, 100, 90))) == ["malformed_path"]


INT, UINT = "exchange(int128,int128,uint256,uint256", "exchange(uint256,uint256,uint256,uint256"


def test_known_pools_name_their_coins_by_index(effects, wallet):
    dai, usdc, _ = (Asset(1, coin) for coin in COINS[1, THREEPOOL])
    _, taken, got = effects(THREEPOOL, calldata(INT + ")", 1, 0, 100, 90))
    assert taken == Transfer(usdc, wallet, THREEPOOL, 100, THREEPOOL)
    assert got == Receive(dai, wallet, 90, usdc, 100)
    assert effects(THREEPOOL, calldata(INT + ",address)", 1, 0, 100, 90, OTHER))[-1].recipient == OTHER
    found = effects(STETH_POOL, calldata(INT + ")", 0, 1, 100, 90), 100)
    assert [e.amount for e in found if isinstance(e, Transfer)] == [100]
    assert found[-1].sold == Asset(1, NATIVE)


def test_wrapped_ether_means_ether_where_the_call_says_so(effects, wallet):
    usdc, _, weth = (Asset(1, coin) for coin in COINS[1, TRICRYPTO])
    for rest, coin in (("", weth), (",bool)", weth), (",bool,address)", Asset(1, NATIVE))):
        values = {"": (), ",bool)": (False,), ",bool,address)": (True, wallet)}[rest]
        found = effects(TRICRYPTO, calldata(UINT + (rest or ")"), 0, 2, 100, 90, *values))
        assert found[-1] == Receive(coin, wallet, 90, usdc, 100)


def test_other_pools_and_other_coins_are_opaque(effects, codes, context):
    assert codes(effects(POOL, calldata(INT + ")", 0, 1, 100, 90))) == ["asset_not_named"]
    assert codes(effects(THREEPOOL, calldata(INT + ")", 0, 3, 100, 90))) == ["malformed_path"]
    assert codes(effects(THREEPOOL, calldata(INT + ")", -1, 0, 100, 90))) == ["malformed_path"]
    assert codes(effects(THREEPOOL, calldata(INT + ")", 1, 1, 100, 90))) == ["malformed_path"]
    elsewhere = effects(THREEPOOL, calldata(INT + ")", 0, 1, 1, 1), ctx=context(chain_id=10), chain_id=10)
    assert codes(elsewhere) == ["asset_not_named"]

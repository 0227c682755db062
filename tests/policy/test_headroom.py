"""What is left of each limit: never less than nothing, and as the judge counts it."""

from walletgate.policy.headroom import Scope, headroom
from walletgate.types import Bucket, Measure

BODY = """
[[limits]]
name = "usdc"
asset = "USDC"
per_request = "10"
per = { "24h" = "50" }
lifetime = "100"
[[limits]]
name = "each"
asset = "USDC"
scope = "recipient"
per = { "24h" = "5" }
[[limits]]
name = "calls"
count = "requests"
scope = "wallet"
per = { "1h" = 20 }
[[limits]]
name = "team"
asset = "WETH"
scope = "group"
lifetime = "1"
"""
U = 10**6


def rows(desk, used, *, group="team", chain_id=None):
    scope = Scope("g1", group, desk.wallet, chain_id or desk.base)
    found = headroom(desk.load(BODY), scope, used)
    return {(row.name, row.kind): (row.limit, row.used, row.available) for row in found}


def test_each_bound_has_its_own_rest(desk):
    found = rows(desk, lambda bucket, window: 30 * U if window else 80 * U)
    assert found["usdc", "per_request"] == (10 * U, 0, 10 * U)
    assert found["usdc", "window"] == (50 * U, 30 * U, 20 * U)
    assert found["usdc", "lifetime"] == (100 * U, 80 * U, 20 * U)
    assert found["each", "window"] == (5 * U, None, None)


def test_nothing_is_ever_left_below_zero(desk):
    assert rows(desk, lambda _bucket, _window: 10**30)["usdc", "window"][2] == 0


def test_each_scope_asks_for_its_own_bucket(desk):
    asked = set()

    def used(bucket, _window):
        asked.add(bucket)
        return 0

    rows(desk, used)
    assert Bucket(Measure.AMOUNT, desk.usdc, grant="g1") in asked
    assert Bucket(Measure.COUNT, wallet=desk.wallet) in asked
    assert Bucket(Measure.AMOUNT, desk.weth, group="team") in asked
    assert rows(desk, used, group=None)["team", "lifetime"] == (10**18, None, None)


def test_other_chains_are_left_out(desk):
    assert {name for name, _ in rows(desk, lambda _b, _w: 0, chain_id=1)} == {"calls"}

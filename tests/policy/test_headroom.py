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


def test_a_share_is_of_what_the_wallet_holds_and_nothing_while_that_is_not_known(desk):
    policy = desk.load('[[limits]]\nname = "tenth"\nasset = "USDC"\nmax_share = "10%"\n')
    scope = Scope("g1", None, desk.wallet, desk.base)

    def shares(*args, **balances):
        return [row for row in headroom(*args, **balances) if row.kind == "share"]

    (known,) = shares(policy, scope, lambda _b, _w: 0, balances={desk.usdc: 99 * U + 9})
    assert (known.kind, known.limit, known.available) == ("share", 9_900_000, 9_900_000)
    assert known.limit_text == "10% of what the wallet holds: 9.9 USDC"
    (unknown,) = shares(policy, scope, lambda _b, _w: 0)
    assert (unknown.limit, unknown.available) == (0, 0)
    assert unknown.limit_text == "10% of what the wallet holds, which is not known now"

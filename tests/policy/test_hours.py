"""Hours are those of the wall in the zone, also on the days when the clock moves."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from walletgate.types import (
    Allowance,
    Asset,
    Call,
    Delegation,
    Deployment,
    Login,
    MessageSignature,
    NftTransfer,
    TypedSignature,
)

OSLO = ZoneInfo("Europe/Oslo")
PAY = '[[permit]]\ntransfer = "USDC"\nto = "acme"\nhours = {%s}\n'


def test_every_kind_of_rule_sleeps_outside_its_time(desk):
    apes = Asset(desk.base, desk.apes)
    table = {
        'call = "router"\nfunction = "f()"': Call(desk.base, desk.router, bytes.fromhex("26121ff0"), "f()", ()),
        'allowance = "USDC"\nspender = "router"\nmax = "1"': Allowance(desk.usdc, desk.wallet, desk.router, 1),
        'sign = "Order"\ncontract = "router"': TypedSignature(desk.base, desk.router, "Order", b"\x00" * 32),
        'login = "a.example"': Login("a.example", "https://a.example", desk.base, expires_at=desk.now),
        'message = "*"': MessageSignature("x"),
        'nft = "apes"\nto = "acme"': NftTransfer(apes, 1, 1, desk.wallet, desk.acme),
        'deploy = "*"': Deployment(desk.base, 0, b"\x00" * 32),
        'delegate = "votes"\nto = "acme"': Delegation("votes", desk.acme, desk.base),
        'transfer = "USDC"\nto = "acme"': desk.pay(1),
    }
    for rule, effect in table.items():
        body = f"[[permit]]\n{rule}\nexpires = 2026-01-01T00:00:00Z\n"
        assert desk.outcome(body, effect, now_ms=desk.now * 1000 - 1000) == "allow", rule
        assert desk.outcome(body, effect) == "deny rule_not_active", rule


def at(*when):
    return int(datetime(*when, tzinfo=OSLO).timestamp()) * 1000


@pytest.mark.parametrize(
    ("hours", "when", "expected"),
    [
        ('days = "mon-fri", from = "09:00", to = "17:30"', (2026, 7, 6, 8, 59, 59), False),
        ('days = "mon-fri", from = "09:00", to = "17:30"', (2026, 7, 6, 9, 0), True),
        ('days = "mon-fri", from = "09:00", to = "17:30"', (2026, 1, 5, 9, 0), True),
        ('days = "mon-fri", from = "09:00", to = "17:30"', (2026, 7, 6, 17, 29, 59), True),
        ('days = "mon-fri", from = "09:00", to = "17:30"', (2026, 7, 6, 17, 30), False),
        ('days = "mon-fri", from = "09:00", to = "17:30"', (2026, 7, 5, 12, 0), False),
        ('days = ["sat", "sun"]', (2026, 7, 5, 12, 0), True),
        ('days = "fri-mon"', (2026, 7, 6, 0, 0), True),
        ('days = "fri-mon"', (2026, 7, 7, 0, 0), False),
        ('days = "fri", from = "22:00", to = "02:00"', (2026, 7, 3, 21, 59), False),
        ('days = "fri", from = "22:00", to = "02:00"', (2026, 7, 3, 23, 0), True),
        ('days = "fri", from = "22:00", to = "02:00"', (2026, 7, 4, 1, 59), True),
        ('days = "fri", from = "22:00", to = "02:00"', (2026, 7, 4, 2, 0), False),
        ('days = "fri", from = "22:00", to = "02:00"', (2026, 7, 3, 1, 0), False),
        ('to = "24:00"', (2026, 7, 3, 23, 59, 59), True),
        ('from = "02:30"', (2026, 3, 29, 3, 0), True),
    ],
)
def test_a_rule_holds_in_its_hours(desk, hours, when, expected):
    body = PAY % f'zone = "Europe/Oslo", {hours}'
    assert desk.outcome(body, desk.pay(1), now_ms=at(*when)) == ("allow" if expected else "deny rule_not_active")

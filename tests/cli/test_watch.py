"""`request watch` as a screen: driven by keys over a real gate, hostile names included."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest
from textual.widgets import Input, Static

import walletgate
from tests.cli.test_cli import Live, quick, secret_file, terminal
from tests.factories import ALICE, ORIGIN, POLICY, TOKEN, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import make_home, running
from walletgate.cli.client import OperatorClient
from walletgate.cli.hand import Hand
from walletgate.cli.watch import WatchApp, bar_line, plain, queue_text, request_text

assert quick

EVIL = "\x1b[2J\x1b]0;x\x07\u202eevil\u200b [bold]no[/] \x9b31m\nsecond line"


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    chain = FakeChain()
    with served(chain) as node:
        home = make_home(tmp_path / "home", node, policy=POLICY.replace('"24h" = "100"', '"24h" = "1000"'))
        with running(home) as gate:
            yield Live(gate, chain)


def ask(live: Live, usdc: float, **options: Any) -> str:
    client = walletgate.Client(live.gate.url, TOKEN)
    with pytest.raises(walletgate.ApprovalPending) as caught:
        client.request("transaction", payment(usdc), **options)
    client.close()
    return caught.value.request_id


@dataclass
class Screen:
    """The app under a pilot."""

    app: WatchApp
    pilot: Any

    def text(self, name: str) -> str:
        return str(self.app.query_one(f"#{name}", Static).content)

    async def until(self, name: str, words: str) -> str:
        for _ in range(200):
            if words in self.text(name):
                return self.text(name)
            await self.pilot.pause(0.05)
        raise AssertionError(f"{words!r} is not in {self.text(name)!r}")


def watching(live: Live, work: Callable[[Screen], Awaitable[None]], *, size: tuple[int, int] = (80, 24)) -> None:
    async def run() -> None:
        app = WatchApp(OperatorClient(live.home), Hand(ALICE), operator="alice", gate=ORIGIN)
        async with app.run_test(size=size) as pilot:
            await work(Screen(app, pilot))

    asyncio.run(run())


def status(live: Live, request: str) -> str:
    found = OperatorClient(live.home).get(f"/v1/requests/{request}")["request"]
    return str(found["status"])


def test_a_request_is_shown_with_reason_budget_and_digest_and_approved_by_two_keys(live: Live) -> None:
    request = ask(live, 30, memo=EVIL)

    async def work(screen: Screen) -> None:
        shown = await screen.until("request", "it pays 30 USDC to acme")
        lines = shown.splitlines()
        assert any(line.startswith("because 30 USDC is more than 20 USDC (large)") for line in lines)
        assert any("needs 1 of alice, bob" in line for line in lines)
        assert any(line.startswith("[+") and "0 USDC -> 30 USDC of 1,000 USDC in 24h" in line for line in lines)
        assert lines[-1].startswith("the agent says (not checked):")
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert "1 waiting   alice at gate.test/audit/1" in screen.text("queue")
        await screen.pilot.press("a")
        asked = await screen.until("ask", f"Approve {request}? y signs")
        assert "digest 0x" in asked
        assert "it pays 30 USDC to acme and 1 more effects" in asked
        await screen.pilot.press("x")
        await screen.until("ask", "a approve")
        assert status(live, request) == "awaiting_approval"
        await screen.pilot.press("a", "y")
        await screen.until("ask", f"{request} is ")
        await screen.until("request", "Nothing waits.")

    watching(live, work)
    assert status(live, request) in ("signed", "broadcast", "confirmed")


def test_a_rejection_takes_a_reason_and_keys_in_it_do_nothing_else(live: Live) -> None:
    request = ask(live, 30)

    async def work(screen: Screen) -> None:
        await screen.until("request", "it pays 30 USDC")
        await screen.pilot.press("r", *"bad", "escape")
        assert status(live, request) == "awaiting_approval"
        await screen.pilot.press("r", *"yaf", "enter")
        await screen.until("ask", "is rejected")

    watching(live, work)
    found = OperatorClient(live.home).get(f"/v1/requests/{request}")["request"]
    assert (found["status"], found["approvals"][0]["reason"]) == ("rejected", "yaf")


def test_freezing_the_agent_ends_what_waits(live: Live) -> None:
    requests = [ask(live, 30), ask(live, 31)]

    async def work(screen: Screen) -> None:
        await screen.until("request", "it pays")
        await screen.pilot.press("f")
        await screen.until("ask", "Freeze agent:shopper? y signs")
        await screen.pilot.press("y")
        await screen.until("ask", "agent:shopper is frozen; 2 waiting requests ended")

    watching(live, work)
    assert [status(live, request) for request in requests] == ["rejected"] * 2


def test_the_queue_is_walked_by_keys_and_like_requests_are_one_line(live: Live) -> None:
    for usdc in (30, 31, 30):
        ask(live, usdc)

    async def work(screen: Screen) -> None:
        await screen.until("request", "it pays 30 USDC")
        lines = screen.text("queue").splitlines()
        assert sum(line.startswith((">", "  ")) for line in lines) == 2
        assert "(2 alike)" in screen.text("queue")
        await screen.pilot.press("down")
        await screen.until("request", "it pays 31 USDC")
        assert screen.text("queue").splitlines()[2].startswith(">")
        await screen.pilot.press("down", "up", "up")
        await screen.until("request", "it pays 30 USDC")

    watching(live, work)


@pytest.mark.parametrize("size", [(80, 24), (40, 16)])
def test_it_fits_small_screens(live: Live, size: tuple[int, int]) -> None:
    ask(live, 30)

    async def work(screen: Screen) -> None:
        await screen.until("request", "it pays 30 USDC")
        assert screen.app.query_one("#ask", Static).region.bottom <= size[1]
        assert isinstance(screen.app.query_one("#reason", Input), Input)

    watching(live, work, size=size)


def test_a_gate_that_goes_away_is_said_and_nothing_breaks(live: Live) -> None:
    ask(live, 30)

    async def work(screen: Screen) -> None:
        await screen.until("request", "it pays 30 USDC")
        live.gate.kill()
        await screen.until("ask", "error: no gate answers")
        await screen.pilot.press("a", "y")
        await screen.until("ask", "error: no gate answers")

    watching(live, work)


def test_in_a_terminal_without_colour_nothing_hostile_reaches_the_screen(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    request = ask(live, 30, memo=EVIL)
    child, screen = terminal(
        "request", "watch", "--operator-passphrase-file", str(secret_file(tmp_path)), "--home", str(live.home.root),
    )  # fmt: skip
    child.expect("not checked", timeout=20)
    child.send("a")
    child.expect("any other key goes back")
    child.send("y")
    child.expect("Nothing waits")
    child.send("q")
    child.expect(pexpect.EOF)
    assert isinstance(screen, io.BytesIO)
    for bad in (b"\x1b]0;x", "\u202e".encode(), "\u200b".encode(), "\x9b".encode()):
        assert bad not in screen.getvalue()
    assert status(live, request) in ("signed", "broadcast", "confirmed")


def test_nothing_from_outside_is_markup_or_control() -> None:
    request = {
        "request_id": "req_1", "created_ms": 0, "agent": EVIL, "effects": [EVIL], "memo": EVIL, "wallet_name": EVIL,
        "wallet": "0x", "chain_id": 1, "digest": "0x", "approvals": [], "decision": {"reasons": [{"text": EVIL, "rule": EVIL}]},
        "needs": [],
    }  # fmt: skip
    for found in (queue_text([(request, 2)], "req_1", EVIL), request_text(request)):
        assert all(char.isprintable() or char == "\n" for char in found.plain)
        assert "[bold]no[/]" in found.plain
        assert "second line" not in found.plain.splitlines()
    assert json.dumps(plain("ok\n")) == '"ok\\n"'


@pytest.mark.parametrize(
    ("before", "after", "limit", "bar"),
    [
        (0, 0, 100, "." * 20), (0, 1, 100, "+" + "." * 19), (50, 100, 100, "#" * 10 + "+" * 10),
        (100, 120, 100, "#" * 20), (0, 0, 0, "#" * 20), (99, 100, 100, "#" * 19 + "+"),
    ],
)  # fmt: skip
def test_bars_show_before_and_after(before: int, after: int, limit: int, bar: str) -> None:
    budget = {
        "before": str(before), "after": str(after), "limit": str(limit), "before_text": "b", "after_text": "a",
        "limit_text": "l", "span": "24h",
    }  # fmt: skip
    assert bar_line(budget).startswith(f"[{bar}] b -> a of l in 24h")

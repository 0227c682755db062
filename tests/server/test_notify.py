"""Notices: told once, with no power, signed, and never in the gate's way."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from tests.factories import ACME, ORIGIN, POLICY, WALLET, Bench, make_gate, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import PASSPHRASE, make_home
from walletgate.audit.witness import Cosigner
from walletgate.cli import app
from walletgate.cli.client import OperatorClient
from walletgate.errors import ConfigError
from walletgate.gate.notices import DENIALS, Event, Notice, Rules, inert, notice
from walletgate.server import notify
from walletgate.server.app import start
from walletgate.server.home import NotifyConfig, create_home, parse_config
from walletgate.server.notify import DeliveryError, Notifier, Route, Webhook, body_of, make_routes, read_secret
from walletgate.server.wire import ask_of_api
from walletgate.signers.keystore import read_keystore
from walletgate.types import Address

SECRET = b"a shared secret of thirty bytes"
ALL = frozenset(event.value for event in Event)
VERIFY = re.search(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "notify.md").read_text(), re.DOTALL)


@dataclass
class Receiver:
    """An endpoint that keeps what it gets and answers as told."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def take(self, http: web.Request) -> web.Response:
        self.got.append((dict(http.headers), await http.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(statuses))
    application = web.Application()
    application.router.add_post("/hook", receiver.take)
    async with TestServer(application) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


class Keeper:
    """A sink in memory."""

    def __init__(self) -> None:
        self.got: list[tuple[Notice, int]] = []

    async def send(self, message: Notice, dropped: int) -> None:
        self.got.append((message, dropped))

    def close(self) -> None:
        pass


class Away:
    """A sink that never answers well."""

    def __init__(self) -> None:
        self.tries = 0

    async def send(self, message: Notice, dropped: int) -> None:
        self.tries += 1
        raise DeliveryError("nobody there")

    def close(self) -> None:
        pass


def told(bench: Bench) -> tuple[Notifier, Callable[[], list[tuple[str, str]]]]:
    """A notifier over a gate, and what it has queued so far."""
    route = Route("all", ALL, Keeper())
    notifier = Notifier(bench.gate, [route], signed_size=lambda: 2**62)

    def queued() -> list[tuple[str, str]]:
        found = []
        while not route.queue.empty():
            each = route.queue.get_nowait()
            found.append((each.event.value, "\n".join((each.title, *each.lines))))
        return found

    return notifier, queued


def test_what_operators_should_know_is_told_from_the_log(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            notifier, queued = told(bench)
            request = await bench.pay(30)
            await notifier.step()
            ((event, text),) = queued()
            assert event == "approval" and "shopper needs an approval" in text and request.id in text
            await bench.operations.command(bench.command("freeze", {"scope": "all", "reason": "drill"}))
            await bench.operations.command(bench.command("unfreeze", {"scope": "all"}))
            looser = POLICY.replace('"100"', '"1000"')
            await bench.operations.command(bench.command("policy.apply", {"grant": "grant_1", "policy": looser}))
            await notifier.step()
            events = [event for event, _ in queued()]
            assert events[:3] == ["freeze", "freeze", "authority"]
            await notifier.step()
            assert queued() == []

    asyncio.run(work())


def test_a_limit_is_told_at_80_and_95_percent_once_each_and_again_after_it_fell(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            notifier, queued = told(bench)
            levels = []
            for amount in (20, 20, 20, 18, 2, 2, 13, 2):
                assert (await bench.pay(amount)).status.value not in ("denied", "awaiting_approval")
                await notifier.step()
                levels.append([text.split("\n")[0] for event, text in queued() if event == "limit"])
            first, second = "shopper has used 80 % of a limit", "shopper has used 95 % of a limit"
            assert levels == [[], [], [], [], [first], [], [second], []]
            await bench.settle()
            bench.clock.forward(25 * 3600)
            await bench.pay(1)
            await notifier.step()
            for _ in range(4):
                await bench.pay(20)
            await notifier.step()
            assert [text.split("\n")[0] for event, text in queued() if event == "limit"] == [
                "shopper has used 81 % of a limit"
            ]

    asyncio.run(work())


def test_a_burst_of_refusals_is_one_notice_and_a_slow_trickle_none(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            notifier, queued = told(bench)
            for _ in range(DENIALS):
                bench.clock.forward(30)
                await bench.ask({"payload": payment(1, to=Address(b"\x13" * 20))})
            await notifier.step()
            assert queued() == []
            for _ in range(3 * DENIALS):
                await bench.ask({"payload": payment(1, to=Address(b"\x13" * 20))})
            await notifier.step()
            ((event, text),) = queued()
            assert event == "denials" and "recipient" in text

    asyncio.run(work())


def test_a_stuck_transaction_and_a_foreign_nonce_are_told(tmp_path: Path) -> None:
    rules = Rules(ORIGIN)
    stuck = {"kind": "transaction_stuck", "ts_ms": 1, "seq": 4, "request": "req_1", "tx": "0xab", "nonce": 7}
    (first,) = rules.of_entry(stuck)
    (second,) = rules.of_entry({**stuck, "kind": "transaction_dropped", "seq": 5})
    assert (first.event, second.event) == (Event.STUCK, Event.KEY_USED)
    assert "nonce: 7" in second.lines
    assert first.id != second.id
    assert [each.id for each in Rules(ORIGIN).of_entry(stuck)] == [first.id]


def test_trouble_with_the_evidence_is_told_once_in_a_while(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            route = Route("all", ALL, Keeper())
            notifier = Notifier(bench.gate, [route], signed_size=lambda: 0)
            for _ in range(3):
                notifier.trouble("log_forked", "witness w.example")
            assert route.queue.qsize() == 1
            await notifier.step()
            bench.clock.forward(61)
            await notifier.step()
            await notifier.step()
            assert route.queue.qsize() == 2

    asyncio.run(work())


@pytest.mark.parametrize(
    "text",
    ["<!channel> hi", "<https://evil.example|ok>", "[ok](https://evil.example)", "@everyone", "www.evil.example/x",
     "<b>x</b>", "`x`", "*x*", "a\nb\x1b[31m", "\u202eevil"],
)  # fmt: skip
def test_what_others_wrote_is_no_link_mention_or_markup(text: str) -> None:
    shown = inert(text)
    assert not re.search(r"[<>&@\[\]`*\n\x1b\u202e]|://|[a-z]\.[a-z]", shown)


def test_amounts_stay_readable() -> None:
    assert inert("pays 1.5 USDC to acme (0xd62E)") == "pays 1.5 USDC to acme (0xd62E)"


def test_a_webhook_is_signed_as_the_document_says_and_its_ten_lines_verify_it() -> None:
    assert VERIFY is not None
    names: dict[str, Any] = {}
    exec(VERIFY.group(1), names)
    message = notice(ORIGIN, Event.FREEZE, "Frozen", ["scope: all"], 5, seq=9)

    async def work() -> None:
        async with receiving() as receiver:
            await Webhook(receiver.url, SECRET, "gate").send(message, 3)
        (headers, body), seen = receiver.got[0], set[str]()
        found = names["verify"](SECRET, headers, body, seen)
        assert (found["id"], found["seq"], found["dropped_before"]) == (message.id, 9, 3)
        assert names["verify"](SECRET, headers, body, seen) is None
        for wrong in (
            (b"x" * 30, headers, body), (SECRET, headers, body + b" "),
            (SECRET, {**headers, "X-WalletGate-Timestamp": "1700000000"}, body),
        ):  # fmt: skip
            with pytest.raises(PermissionError):
                names["verify"](*wrong, set())

    asyncio.run(work())
    code = [line for line in VERIFY.group(1).splitlines() if line.strip()]
    assert len(code) <= 10


def test_an_old_signature_is_refused_by_the_ten_lines() -> None:
    assert VERIFY is not None
    names: dict[str, Any] = {}
    exec(VERIFY.group(1), names)
    body = body_of(notice(ORIGIN, Event.TEST, "t", [], 1), "gate", 0)
    headers = {
        "X-WalletGate-Timestamp": "1700000000",
        "X-WalletGate-Signature": "v1=" + notify.signature_of(SECRET, "1700000000", body),
    }
    with pytest.raises(PermissionError):
        names["verify"](SECRET, headers, body, set())


def test_a_receiver_that_fails_is_asked_again_with_the_same_id() -> None:
    async def work() -> None:
        async with receiving(500, 302, 204) as receiver:
            route = Route("hook", ALL, Webhook(receiver.url, SECRET, "gate"))
            await route.deliver(notice(ORIGIN, Event.TEST, "t", [], 1), 0.001)
            assert len({body["id"] for body in receiver.bodies}) == 1
            assert (len(receiver.got), route.sent, route.dropped) == (3, 1, 0)

    asyncio.run(work())


def test_what_is_dropped_is_counted_and_said_with_the_next() -> None:
    async def work() -> None:
        away = Away()
        route = Route("hook", ALL, away)
        message = notice(ORIGIN, Event.TEST, "t", [], 1)
        await route.deliver(message, 0)
        assert (away.tries, route.dropped, route.problem) == (notify.TRIES, 1, "nobody there")
        for _ in range(notify.QUEUE_MAX + 5):
            route.offer(message)
        assert route.dropped == 6
        keeper = route.sink = Keeper()
        await route.deliver(message, 0)
        await route.deliver(message, 0)
        assert [dropped for _, dropped in keeper.got] == [6, 0]

    asyncio.run(work())


def test_the_gate_does_not_wait_for_a_sink_that_hangs(tmp_path: Path) -> None:
    async def work() -> None:
        class Hangs(Keeper):
            async def send(self, message: Notice, dropped: int) -> None:
                await asyncio.Event().wait()

        async with make_gate(tmp_path) as bench:
            notifier = Notifier(bench.gate, [Route("hangs", ALL, Hangs())], signed_size=lambda: 2**62)
            task = asyncio.create_task(notifier.run())
            await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.wait_for(bench.pay(30), 2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())


def test_events_choose_who_is_told() -> None:
    route = Route("few", frozenset({"freeze"}), Keeper())
    for event in Event:
        route.offer(notice(ORIGIN, event, "t", [], 1))
    assert route.queue.qsize() == 1


# --- Apprise ---------------------------------------------------------------------------------------


def test_apprise_delivers_to_a_real_endpoint() -> None:

    async def work() -> None:
        async with receiving() as receiver:
            url = receiver.url.replace("http://", "json://")
            (route,) = make_routes([NotifyConfig("m", ALL, (url,))], "gate.test")
            await route.deliver(notice(ORIGIN, Event.APPROVAL, "Needs you", ["pays <b>5</b>"], 1), 0)
            route.sink.close()
            assert (route.sent, route.dropped) == (1, 0)
            (body,) = receiver.bodies
            assert body["title"] == "WalletGate gate.test: Needs you"
            assert body["message"] == "pays \u2039b\u203a5\u2039/b\u203a"

    asyncio.run(work())


def test_an_apprise_url_never_leaves_in_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError) as caught:
        make_routes([NotifyConfig("m", ALL, ("nosuch://hunter2secret@x",))], "g")
    config = NotifyConfig("m", ALL, ("json://user:hunter2secret@127.0.0.1:1/x",))

    async def work() -> None:
        (route,) = make_routes([config], "g")
        with caplog.at_level(logging.DEBUG):
            await route.deliver(notice(ORIGIN, Event.TEST, "t", [], 1), 0)
        route.sink.close()
        assert route.dropped == 1
        assert "hunter2secret" not in route.problem

    asyncio.run(work())
    assert "hunter2secret" not in caplog.text + str(caught.value) + repr(config)


# --- configuration -----------------------------------------------------------------------------------

BASE = 'name = "g"\n[chains.base]\nurl = "http://127.0.0.1:1"\n'


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('webhook = "http://ops.example/hunter2"\nsecret_file = "/x"', "webhook"),
        ('webhook = "https://ops.example/hunter2"', "secret_file"),
        ('urls = ["hunter2"]', "urls"),
        ('urls = ["json://hunter2"]\nsecret_file = "/x"', "secret_file"),
        ('urls = ["json://hunter2"]\nwebhook = "https://x.example"\nsecret_file = "/x"', "notify[0]"),
        ('urls = ["json://hunter2"]\nevents = ["nope"]', "events"),
        ('urls = ["json://hunter2"]\nurl = "x"', "url"),
    ],
)
def test_a_wrong_table_is_refused_without_repeating_a_secret(table: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(f"{BASE}[[notify]]\n{table}\n", source="walletgate.toml")
    assert caught.value.code == "config_invalid"
    assert str(caught.value.data["key"]).endswith(key)
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_others_can_read_or_that_is_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("short\n")
    path.chmod(0o600)
    for mode in (0o600, 0o644):
        path.chmod(mode)
        with pytest.raises(ConfigError) as caught:
            read_secret(path)
        assert caught.value.code == "notify_secret"
    with pytest.raises(ConfigError):
        read_secret(tmp_path / "none")
    path.write_bytes(SECRET + b"\n")
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert read_secret(path) == SECRET


def test_the_command_sends_a_test_and_says_who_took_it(tmp_path: Path) -> None:
    home = create_home(tmp_path / "home", name="g", chains={"base": "http://127.0.0.1:1"})
    runner = CliRunner()
    none = runner.invoke(app, ["notify", "test", "--home", str(home.root), "--json"])
    assert (none.exit_code, json.loads(none.stdout)["error"]["code"]) == (2, "notify_missing")
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)

    async def work() -> None:
        async with receiving() as receiver:
            table = f'[[notify]]\nname = "ops"\nwebhook = "{receiver.url}"\nsecret_file = "{key}"\n'
            home.config.write_text(home.config.read_text() + table)
            command = ["notify", "test", "--home", str(home.root), "--json"]
            done = await asyncio.to_thread(runner.invoke, app, command)
            assert (done.exit_code, json.loads(done.stdout)) == (0, [{"name": "ops", "problem": None}])
            assert receiver.bodies[0]["event"] == "test"

    asyncio.run(work())
    gone = runner.invoke(app, ["notify", "test", "--home", str(home.root)])
    assert gone.exit_code == 1
    assert "ops" in gone.stdout and "127.0.0.1" not in gone.stdout
    assert ACME.hex() not in gone.stdout


# --- a gate that serves --------------------------------------------------------------------------------


def test_a_served_gate_tells_of_approvals_freezes_and_witnesses_that_are_away(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    cosigner = Cosigner("witness.example/w", b"\x09" * 32)

    async def work() -> None:
        async with receiving() as receiver:
            with served(FakeChain()) as node:
                home = await asyncio.to_thread(make_home, tmp_path / "home", node)
                tables = (
                    f'[[notify]]\nname = "ops"\nwebhook = "{receiver.url}"\nsecret_file = "{key}"\n'
                    f'[[witnesses]]\nurl = "http://127.0.0.1:1"\nkey = "{cosigner.key}"\n'
                )
                home.config.write_text(home.config.read_text() + tables)
                gate = await start(home, PASSPHRASE)
                try:
                    ask = ask_of_api(
                        {"id": "a", "kind": "transaction", "payload": payment(30)}, wallet=WALLET, surface="t", trace={}
                    )
                    await gate.gate.submit(gate.gate.session("grant_1"), ask)
                    secret = await asyncio.to_thread(read_keystore, home.operator("alice"), PASSPHRASE)
                    client = OperatorClient(home)
                    freeze = {"scope": "all", "reason": "<!channel> see evil.example"}
                    await asyncio.to_thread(client.command, "freeze", freeze, secret=secret)
                    for _ in range(120):
                        events = {body["event"] for body in receiver.bodies}
                        if events >= {"approval", "freeze", "evidence"}:
                            break
                        await asyncio.sleep(0.1)
                    headers = {"Authorization": f"Bearer {home.read_operator_token()}"}
                    async with (
                        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(home.operator_socket))) as session,
                        session.get("http://gate/metrics", headers=headers) as answer,
                    ):
                        text = await answer.text()
                    assert 'walletgate_notices_sent_total{sink="ops"}' in text
                finally:
                    await gate.close()
            assert {body["event"] for body in receiver.bodies} >= {"approval", "freeze", "evidence"}
            said = b"".join(body for _, body in receiver.got)
            assert b"<!channel>" not in said and b"evil.example" not in said
            assert b"wg_" not in said and b"://" not in said

    asyncio.run(work())

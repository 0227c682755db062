"""Notices leave the gate: through Apprise (mail, Slack, Telegram and more) and as signed webhooks.

`Notifier` follows the log by itself and holds up nothing: entries are read after they were committed, and each sink has
a queue of its own. A sink that is away is asked again with growing pauses; what does not fit into its queue, or was
refused too often, is dropped and counted, and the next notice that gets through says how many there were.
Nothing that is due is remembered across a restart: notices begin with the entries after the start.

A webhook is a POST of JSON, signed:

    X-WalletGate-Timestamp: Unix seconds of this attempt
    X-WalletGate-Signature: v1=HEX, HMAC-SHA256 with the shared secret over TIMESTAMP + "." + body

The body carries `id`, the same in every attempt: a receiver checks the signature, refuses timestamps older than some
minutes, and takes each id once (`docs/notify.md` has it in ten lines). URLs of Apprise and the secret never appear in a
log, an error or an answer; sinks are called by their names.
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import json
import logging
import re
import stat
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import orjson

from walletgate.errors import ConfigError, StoreError
from walletgate.gate import Gate
from walletgate.gate.judging import used_without
from walletgate.gate.notices import WATCHED, Event, Notice, Rules, notice
from walletgate.policy import Scope, headroom
from walletgate.server.home import NotifyConfig

_LOG = logging.getLogger(__name__)
POLL_S = 0.5
QUEUE_MAX = 256
TRIES = 6
PAUSE_S = 1.0
TIMEOUT_S = 15.0
ENTRIES_MAX = 2000
"""Entries looked at in one step; more wait for the next."""

BACKLOG_MAX = 100_000
"""Entries behind which the rest is passed over."""

LATE_MS = 60_000
"""How long entries may be without a signed checkpoint."""

SECRET_BYTES_MIN = 16
_WATCHED = re.compile(rb'"kind":"(?:%s)"' % "|".join(sorted(WATCHED)).encode())


class DeliveryError(Exception):
    """A sink did not take a notice. Says nothing that is secret."""


class Sink(Protocol):
    """Somewhere notices go."""

    async def send(self, message: Notice, dropped: int) -> None:
        """Delivers, or raises DeliveryError. `dropped` notices before it were lost."""

    def close(self) -> None:
        """Lets go of what it holds."""


class Webhook:
    """POSTs signed JSON."""

    def __init__(self, url: str, secret: bytes, gate: str, *, now_s: Callable[[], float] = time.time) -> None:
        self._url = url
        self._secret = secret
        self._gate = gate
        self._now_s = now_s

    async def send(self, message: Notice, dropped: int) -> None:
        """Delivers, or raises DeliveryError."""
        body = body_of(message, self._gate, dropped)
        stamp = str(int(self._now_s()))
        headers = {
            "Content-Type": "application/json",
            "X-WalletGate-Timestamp": stamp,
            "X-WalletGate-Signature": f"v1={signature_of(self._secret, stamp, body)}",
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise DeliveryError(f"no answer ({type(error).__name__})") from None
        if not 200 <= status < 300:
            raise DeliveryError(f"the receiver answered {status}")

    def close(self) -> None:
        """Nothing is held."""


class Messengers:
    """Sends through Apprise. It is loaded here and nowhere else."""

    def __init__(self, urls: Iterable[str], gate: str, *, name: str) -> None:
        """Reads the URLs.

        Raises:
            ConfigError: `notify_unavailable`, Apprise is not installed; `config_invalid`, it does not know a URL.
        """
        try:
            apprise = importlib.import_module("apprise")
        except ImportError:
            text = f"notify {name}: messengers need Apprise: pip install 'walletgate[notify]'"
            raise ConfigError(text, code="notify_unavailable") from None
        quiet = logging.getLogger("apprise")  # it logs URLs
        quiet.handlers, quiet.propagate = [logging.NullHandler()], False
        self._apprise: Any = apprise.Apprise()
        self._gate = gate
        for number, url in enumerate(urls):
            if not self._apprise.add(url):
                raise ConfigError(f"notify {name}: urls[{number}] is not a URL that Apprise knows")
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="notify")

    async def send(self, message: Notice, dropped: int) -> None:
        """Delivers, or raises DeliveryError."""
        text = "\n".join([*message.lines, *_lost(dropped)]) or message.title

        def work() -> bool:
            title = f"WalletGate {self._gate}: {message.title}"
            return bool(self._apprise.notify(title=title, body=text, body_format="text", interpret_escapes=False))

        try:
            done = await asyncio.wait_for(
                asyncio.get_running_loop().run_in_executor(self._threads, work), 2 * TIMEOUT_S
            )
        except (TypeError, ValueError, OSError, TimeoutError) as error:
            raise DeliveryError(f"Apprise failed ({type(error).__name__})") from None
        if not done:
            raise DeliveryError("Apprise could not deliver it everywhere")

    def close(self) -> None:
        """Ends its thread once what it sends is sent."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class Route:
    """One sink with its queue, and how it went so far."""

    name: str
    events: frozenset[str]
    sink: Sink
    queue: asyncio.Queue[Notice] = field(default_factory=lambda: asyncio.Queue(QUEUE_MAX))
    sent: int = 0
    dropped: int = 0
    unsaid: int = 0
    problem: str = ""

    def offer(self, message: Notice) -> None:
        """Takes a notice if it wants it; one that does not fit is counted."""
        if message.event not in self.events:
            return
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.drop("its queue is full")

    def drop(self, why: str) -> None:
        """Counts a notice that is lost."""
        self.dropped += 1
        self.unsaid += 1
        self.problem = why
        _LOG.warning("notify %s: a notice was dropped (%d so far): %s", self.name, self.dropped, why)

    async def run(self, pause_s: float) -> None:
        """Delivers one after the other until cancelled."""
        while True:
            await self.deliver(await self.queue.get(), pause_s)

    async def deliver(self, message: Notice, pause_s: float) -> None:
        """Tries until it is taken or was refused `TRIES` times."""
        for number in range(TRIES):
            said = self.unsaid
            try:
                await self.sink.send(message, said)
            except DeliveryError as error:
                self.problem = str(error)
                if number + 1 < TRIES:
                    await asyncio.sleep(pause_s * 2**number)
                continue
            self.sent += 1
            self.unsaid -= said
            self.problem = ""
            return
        self.drop(self.problem)


class Notifier:
    """Follows one gate's log and hands notices to its routes."""

    def __init__(
        self, gate: Gate, routes: Iterable[Route], *, signed_size: Callable[[], int], pause_s: float = PAUSE_S
    ) -> None:
        """`signed_size` is how many entries the newest checkpoint covers."""
        self.routes = tuple(routes)
        self._gate = gate
        self._signed_size = signed_size
        self._pause_s = pause_s
        self._rules = Rules(gate.store.origin)
        self._next = gate.store.log_size
        self._covered = (self._next, gate.now_ms())

    async def run(self) -> None:
        """Follows the log until cancelled."""
        workers = [asyncio.create_task(route.run(self._pause_s), name=f"notify-{route.name}") for route in self.routes]
        try:
            while True:
                try:
                    await self.step()
                except StoreError as error:
                    _LOG.warning("notices wait for the store: %s", error.detail)
                await asyncio.sleep(POLL_S)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            for route in self.routes:
                route.sink.close()

    async def step(self) -> None:
        """Looks at new entries and at the limits of whose grants they are about."""
        size = self._gate.store.log_size
        if not await self._gate.sharing.leads():
            self._next = size
            return
        if size - self._next > BACKLOG_MAX:
            for route in self.routes:
                route.drop(f"{size - self._next} log entries came too fast to be looked at")
            self._next = size
        grants: set[str] = set()
        stop = min(size, self._next + ENTRIES_MAX)
        for _, _, raw in self._gate.store.entries(self._next, stop):
            if _WATCHED.search(raw):
                entry = orjson.loads(raw)
                grants.add(str(entry.get("grant")))
                self._offer(self._rules.of_entry(entry))
        self._next = stop
        for grant in grants:
            await asyncio.sleep(0)
            self._look_at_limits(grant)
        self._look_at_checkpoints(size)

    def trouble(self, code: str, text: str) -> None:
        """Tells of trouble with the evidence."""
        self._offer(self._rules.of_trouble(code, text, self._gate.now_ms()))

    def _offer(self, notices: Iterable[Notice]) -> None:
        for each in notices:
            for route in self.routes:
                route.offer(each)

    def _look_at_limits(self, grant_id: str) -> None:
        state, now_ms = self._gate.state, self._gate.now_ms()
        grant = state.grants.get(grant_id)
        if grant is None:
            return
        policy, used = state.policies[grant.policy], used_without(state, None, now_ms)
        for chain_id in sorted(policy.chain_ids):
            limits = headroom(policy, Scope(grant.id, grant.team, grant.wallet, chain_id), used)
            self._offer(self._rules.of_limits(f"{grant.id} on chain {chain_id}", grant.agent, limits, now_ms))

    def _look_at_checkpoints(self, size: int) -> None:
        covered, since_ms = self._covered
        signed, now_ms = self._signed_size(), self._gate.now_ms()
        if signed >= size or signed > covered:
            self._covered = (signed, now_ms)
        elif now_ms - since_ms > LATE_MS:
            self.trouble("checkpoint_late", f"entries from {max(signed, 0)} on have no signed checkpoint")


def make_routes(configs: Iterable[NotifyConfig], gate: str) -> list[Route]:
    """The routes of a configuration; `gate` is the name notices are sent under.

    Raises:
        ConfigError: `notify_unavailable`, `notify_secret` (missing, short, or readable by others), `config_invalid`.
    """
    routes = []
    for config in configs:
        sink: Sink
        if config.webhook is not None and config.secret_file is not None:
            sink = Webhook(config.webhook, read_secret(config.secret_file), gate)
        else:
            sink = Messengers(config.urls, gate, name=config.name)
        routes.append(Route(config.name, config.events, sink))
    return routes


def read_secret(path: Path) -> bytes:
    """The shared secret of a webhook, without the line's end.

    Raises:
        ConfigError: `notify_secret`.
    """
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path} can be read by others: chmod 600 {path}", code="notify_secret")
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", code="notify_secret") from None
    if len(secret) < SECRET_BYTES_MIN:
        raise ConfigError(f"{path} holds fewer than {SECRET_BYTES_MIN} bytes", code="notify_secret")
    return secret


async def send_test(configs: Iterable[NotifyConfig], gate: str) -> list[tuple[str, str]]:
    """Sends one test notice by each route; (name, problem), where no problem is none.

    Raises:
        ConfigError: as `make_routes`.
    """
    message = notice(gate, Event.TEST, "A test", ["Nothing happened; notices arrive here."], time.time_ns() // 10**6)
    found = []
    for route in make_routes(configs, gate):
        try:
            await route.sink.send(message, 0)
            found.append((route.name, ""))
        except DeliveryError as error:
            found.append((route.name, str(error)))
        finally:
            route.sink.close()
    return found


def signature_of(secret: bytes, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 (RFC 2104) over the timestamp, a dot and the body, in hex."""
    return hmac.new(secret, timestamp.encode() + b"." + body, sha256).hexdigest()


def body_of(message: Notice, gate: str, dropped: int) -> bytes:
    """What a webhook sends."""
    return json.dumps(
        {
            "id": message.id, "gate": gate, "event": message.event.value, "title": message.title,
            "lines": list(message.lines), "at_ms": message.at_ms, "seq": message.seq, "dropped_before": dropped,
        },
        separators=(",", ":"),
    ).encode()  # fmt: skip


def _lost(dropped: int) -> list[str]:
    return [f"({dropped} notices before this one were lost)"] if dropped else []

"""A gate in its own process: store, signer, chains and endpoints, started and stopped in order.

Agents reach it on TCP (loopback by default) and on `agent.sock`; operators on `operator.sock`, a file that only the
gate's own user can open. If the writer stops, the process stops: a gate that cannot record does not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiohttp import web

from walletgate.chain import Chain, NodeChain
from walletgate.errors import ConfigError, InvariantViolation, SignerError
from walletgate.gate import Gate, Operations, Settings, Settlement
from walletgate.gate.checkpoints import Checkpoints
from walletgate.gate.meter import Meter
from walletgate.server.api import AgentApi
from walletgate.server.home import Config, Home, WitnessConfig
from walletgate.server.node import NodeEndpoint
from walletgate.server.notify import Notifier, make_routes
from walletgate.server.operators import OperatorApi
from walletgate.server.spans import make_spans
from walletgate.server.wire import BODY_SIZE_BYTES_MAX
from walletgate.server.witness import Outpost, Target, WitnessApi
from walletgate.signers import SignerProcess
from walletgate.store import Place, Store, open_store

_LOG = logging.getLogger(__name__)

Hook = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """A gate that serves. `url` is where agents reach it."""

    gate: Gate
    url: str
    broken: asyncio.Task[None]
    close: Callable[[], Awaitable[None]]


def clock_ms() -> int:
    """The system's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


async def start(
    home: Home, passphrase: str, *, place: Place | None = None, hook: Hook = lambda _point: None,
    clock: Callable[[], int] = clock_ms,
) -> Running:  # fmt: skip
    """Starts the gate of `home`; its wallets' keystores open with `passphrase`.

    `place` is a store instead of its own, `clock` (Unix milliseconds) a clock instead of the system's.

    Raises:
        ConfigError, StoreError, SignerError, AuditError: what is wrong, before anything is served.
    """
    config = home.read_config()
    store = open_store(place or config.store or home.store_file, origin=config.name)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        checkpoints = Checkpoints(store, home.read_log_key(), home.checkpoint)
        checkpoints.check_kept()
        if home.next_log_key.exists():
            await checkpoints.rotate(
                home.make_next_log_key(), home.adopt_next_log_key, max(clock(), store.last_time_ms())
            )
        signer, seal = await SignerProcess.start()
        stack.push_async_callback(signer.close)
        await _open_wallets(home, store, signer, passphrase)
        meter = Meter(watcher=make_spans() if config.spans else None)
        chains: dict[int, Chain] = {
            c.chain_id: NodeChain(c.url, c.chain_id, failed=partial(_count_failure, meter, c.chain_id))
            for c in config.chains
        }
        for chain in chains.values():
            stack.push_async_callback(chain.close)
        settings = Settings(
            confirmations={chain.chain_id: chain.confirmations for chain in config.chains},
            finality={chain.chain_id: chain.finality for chain in config.chains},
            poll_s=config.poll_s,
        )
        gate = Gate(
            store=store, signer=signer, seal=seal, chains=chains, clock_ms=clock, settings=settings, hook=hook,
            meter=meter,
        )  # fmt: skip
        broken = await gate.start()
        stack.push_async_callback(gate.close)
        notifier = Notifier(gate, make_routes(config.notify, config.name), signed_size=lambda: checkpoints.size)
        operators = OperatorApi(
            gate, Operations(gate, name=config.name), checkpoints, home=home, name=config.name,
            token=home.read_operator_token(), open_keystore=signer.open_keystore, routes=notifier.routes,
        )  # fmt: skip
        url = await _listen(stack, home, config, gate, operators)
        if config.witness is not None:
            await _listen_witness(stack, home, config.witness)
        targets = [Target(place, key) for place, key in config.witnesses]
        if notifier.routes:
            _spawn(stack, notifier.run(), broken)
        outpost = Outpost(store, lambda: checkpoints.newest, home.witness_folder, targets, notifier.trouble)
        if targets or config.sinks:
            _spawn(stack, outpost.run(config.sinks), broken)
        for task in (checkpoints.run(gate.now_ms), Settlement(gate).run()):
            _spawn(stack, task, broken)
        gc.collect()
        gc.freeze()
        closing = stack.pop_all()
        return Running(gate, url, broken, closing.aclose)


def _count_failure(meter: Meter, chain_id: int, code: str) -> None:
    meter.node_errors[chain_id, code] += 1


async def _open_wallets(home: Home, store: Store, signer: SignerProcess, passphrase: str) -> None:
    """Each from the file it was added with, or, where gates on other hosts share the store, from the home's own."""
    for wallet in store.wallets():
        kept = Path(wallet.keystore)
        own = home.wallet(wallet.name)
        address = await signer.open_keystore(own if store.shared and own.exists() else kept, passphrase)
        if address != wallet.address:
            raise SignerError(f"{wallet.keystore} is not the key of wallet {wallet.name}", code="keystore_mismatch")


async def _listen(
    stack: contextlib.AsyncExitStack, home: Home, config: Config, gate: Gate, operators: OperatorApi
) -> str:
    agents = web.Application(client_max_size=BODY_SIZE_BYTES_MAX)
    agents.add_routes([*NodeEndpoint(gate).routes(), *AgentApi(gate).routes()])
    trusted = web.Application(client_max_size=BODY_SIZE_BYTES_MAX)
    trusted.add_routes(operators.routes())
    runners = []
    for app in (agents, trusted):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        runners.append(runner)
    await _listen_tcp(runners[0], config.listen, home, "listen")
    port = runners[0].addresses[0][1]
    if config.operators is not None:
        await _listen_tcp(runners[1], config.operators, home, "operators")
    for runner, path in ((runners[0], home.agent_socket), (runners[1], home.operator_socket)):
        await _listen_unix(runner, path)
    return f"http://{config.listen[0]}:{port}"


async def _listen_witness(stack: contextlib.AsyncExitStack, home: Home, config: WitnessConfig) -> None:
    witness = WitnessApi(home.witness_folder, home.read_cosigner(), config.logs, lambda: clock_ms() // 1000)
    app = web.Application(client_max_size=BODY_SIZE_BYTES_MAX)
    app.add_routes(witness.routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await _listen_tcp(runner, config.listen, home, "witness.listen")


async def _listen_tcp(runner: web.AppRunner, place: tuple[str, int], home: Home, key: str) -> None:
    host, port = place
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
    except OSError as error:
        problem = f"cannot listen on {host}:{port}: {error.strerror}"
        raise ConfigError(problem, data={"file": str(home.config), "key": key}) from None


async def _listen_unix(runner: web.AppRunner, path: Path) -> None:
    await asyncio.to_thread(path.unlink, missing_ok=True)
    before = os.umask(0o177)
    try:
        await web.UnixSite(runner, str(path), backlog=1024).start()
    finally:
        os.umask(before)


def _spawn(stack: contextlib.AsyncExitStack, work: Awaitable[None], broken: asyncio.Task[None]) -> None:
    """Runs `work` beside the gate; if it breaks, so does the gate."""

    async def guarded() -> None:
        await work

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a task of the gate ended", exc_info=task.exception())
            broken.cancel()

    task = asyncio.create_task(guarded())
    task.add_done_callback(ended)
    stack.callback(task.cancel)


async def serve(
    home: Home, passphrase: str, *, ready: Callable[[str], None], place: Place | None = None,
    hook: Hook = lambda _point: None,
) -> None:  # fmt: skip
    """Serves until SIGINT or SIGTERM; `ready` is told the agents' URL.

    Raises:
        InvariantViolation: the gate broke one of its own promises and stopped.
    """
    running = await start(home, passphrase, place=place, hook=hook)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    ready(running.url)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, running.broken}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    failure = None if stop.is_set() or running.broken.cancelled() else running.broken.exception()
    await running.close()
    if not stop.is_set():
        _LOG.error("the gate stopped itself", exc_info=failure)
        raise InvariantViolation("the gate stopped itself") from failure

"""The plots in `docs/`: what a decision costs as history grows, and what one ledger carries as clients grow.

`make plots` measures on the machine it runs on and writes SVG files beside a table. Figures are for reading; the
floors (a raw signature, a raw durable commit) are measured in the same run, and so is Open Wallet Standard's Python
package (in-process signing with a declarative policy, no amounts, no log), where it is installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import QuickChain, commit_floor, load_run, policy_of, sign_floor
from tests.factories import ACME, ORIGIN, USDC, WALLET, fill_store, make_gate, payment
from tests.postgres import new_database
from walletgate.limits import Movement, MovementState
from walletgate.store import open_store
from walletgate.store.rows import movement_row
from walletgate.types import Asset, Booking, Measure

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "walletgate"
import matplotlib.pyplot as plt  # noqa: E402 - the backend comes first

DOCS = Path(__file__).parent.parent / "docs"
SIZES = (10**3, 10**5, 10**6, 10**7)
CLIENTS = (1, 4, 16, 64)
SECONDS = 3.0
MONTH_MS = 30 * 24 * 3600 * 1000
PRICE = {"maxFeePerGas": hex(10**9), "maxPriorityFeePerGas": hex(10**8)}


def history(count: int, now_ms: int) -> Iterator[tuple[Any, ...]]:
    """Payments of one grant, evenly over the last thirty days."""
    booking = Booking(Measure.AMOUNT, 1, Asset(31337, USDC), ACME)
    for number in range(count):
        at_ms = now_ms - MONTH_MS + number * MONTH_MS // count
        movement = Movement(
            number + 1, f"old-{number}", "grant_1", None, WALLET, booking, MovementState.POSTED, at_ms, 1
        )
        yield movement_row(movement, 0)


async def decision_cost(folder: Path, count: int) -> float:
    """Median microseconds of whole requests one after another, over `count` rows of history."""
    async with make_gate(folder, policy=policy_of(20), chain=QuickChain(), clock=None) as bench:
        db = bench.store.engine._db  # type: ignore[attr-defined]
        db.execute("BEGIN")
        marks = ",".join("?" * 16)
        db.executemany(f"INSERT INTO movement VALUES ({marks})", history(count, time.time_ns() // 10**6))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        await asyncio.to_thread(os.sync)  # gigabytes that are still being written would be measured instead
        bench.gate.state.load()

        async def one() -> None:
            await bench.ask({"payload": payment(1, **PRICE)})

        await one()
        latencies, _ = await load_run(one, 1, 600)
        return statistics.median(latencies) * 1e6


async def fill(place: str) -> None:
    """Before several gates come, one makes what an operator would have made."""
    store = open_store(place, origin=ORIGIN)
    await fill_store(store, policy=policy_of(20))
    await store.close()


async def gate_rate(place: str | None, folder: Path, clients: int, number: int) -> float:
    """Requests a second of one gate with `clients` callers in its own process."""
    async with make_gate(folder, policy=policy_of(20), chain=QuickChain(), clock=None, place=place) as bench:
        done = 0
        until = time.perf_counter() + SECONDS

        async def caller(caller_number: int) -> None:
            nonlocal done
            count = 0
            while time.perf_counter() < until:
                name = f"g{number}-{caller_number}-{count}"
                await bench.ask({"id": name, "payload": payment(1, **PRICE)})
                count += 1
                done += 1

        await asyncio.gather(*(caller(n) for n in range(clients)))
        return done / SECONDS


def rate(gates: int, clients: int, *, postgres: bool) -> float:
    """The sum over `gates` processes that share one store and `clients` callers."""
    with tempfile.TemporaryDirectory() as folder:
        place = new_database().gate if postgres else ""
        if postgres:
            asyncio.run(fill(place))
        runs = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.plots", "gate", place, folder, str(max(1, clients // gates)), str(n)],
                stdout=subprocess.PIPE, text=True,
            )
            for n in range(gates)
        ]  # fmt: skip
        return sum(float(run.communicate()[0]) for run in runs)


def peer_rate() -> float | None:
    """Signatures a second of Open Wallet Standard on the same transactions, with a policy and an agent's key."""
    if importlib.util.find_spec("ows") is None:
        return None
    import ows  # noqa: PLC0415 - measured where it is installed

    with tempfile.TemporaryDirectory() as vault:
        wallet = ows.create_wallet("bench", "owner-passphrase", vault_path_opt=vault)
        policy = {
            "id": "bench", "name": "bench", "version": 1, "created_at": "2026-01-01T00:00:00Z", "action": "deny",
            "rules": [{"type": "allowed_chains", "chain_ids": ["eip155:31337"]}],
        }  # fmt: skip
        ows.create_policy(json.dumps(policy), vault_path_opt=vault)
        key = ows.create_api_key("bench", [wallet["id"]], ["bench"], "owner-passphrase", vault_path_opt=vault)
        raw = "02" + "e3" + "827a69" + "80" + "8405f5e100" + "843b9aca00" + "82ea60" + "80" * 4 + "c0"
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            ows.sign_transaction("bench", "eip155:31337", raw, passphrase=key["token"], vault_path_opt=vault)
            count += 1
        return count / (time.perf_counter() - started)


def plot_history(costs: dict[int, float], floor_us: float) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.6), constrained_layout=True)
    axes.semilogx(list(costs), [cost / 1000 for cost in costs.values()], marker="o", label="one request, all of it")
    axes.axhline(floor_us / 1000, color="grey", linestyle="--", label="floor: one signature and one durable commit")
    axes.set(
        xlabel="payments in the ledger", ylabel="ms, median", title="A decision costs the same whatever was before"
    )
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(DOCS / "cost-by-history.svg", metadata={"Date": None})


def plot_rates(rates: dict[str, dict[int, float]], peer: float | None, sign_us: float) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    for label, points in rates.items():
        axes.plot(list(points), list(points.values()), marker="o", label=label)
    if peer is not None:
        axes.axhline(peer, color="tab:red", linestyle=":", label="Open Wallet Standard, one caller: signs, no ledger")
    axes.set(xlabel="callers", ylabel="requests a second", title="Decided, booked, logged and signed")
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.legend(title=f"signature floor {1e6 / sign_us:,.0f}/s", fontsize="small")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(DOCS / "throughput.svg", metadata={"Date": None})


def measure_history(table: Table) -> None:
    costs = {}
    with tempfile.TemporaryDirectory() as name:
        floor_us = sign_floor() + commit_floor(Path(name))
        for size in SIZES:
            folder = Path(name) / str(size)
            folder.mkdir()
            costs[size] = uvloop.run(decision_cost(folder, size))
            table.add_row(f"one request over {size:,} payments, median", f"{costs[size]:,.0f} µs")
            shutil.rmtree(folder)
    table.add_row("floor: one signature and one durable commit", f"{floor_us:.0f} µs")
    plot_history(costs, floor_us)


def measure_rates(table: Table) -> None:
    sign_us = sign_floor()
    rates: dict[str, dict[int, float]] = {"SQLite": {n: rate(1, n, postgres=False) for n in CLIENTS}}
    for gates in (1, 2, 4):
        label = f"PostgreSQL, {gates} gate{'s' if gates > 1 else ''}"
        rates[label] = {n: rate(gates, n, postgres=True) for n in CLIENTS if n >= gates}
    peer = peer_rate()
    plot_rates(rates, peer, sign_us)
    for label, points in rates.items():
        for clients, found in points.items():
            table.add_row(f"{label}, {clients} callers", f"{found:,.0f} /s")
    table.add_row("floor: one signature", f"{sign_us:.0f} µs")
    if peer is not None:
        table.add_row("Open Wallet Standard, signatures under a chain policy", f"{peer:,.0f} /s")


def main(wanted: Sequence[str]) -> None:
    """Measures, prints, draws; all of it, or `history`, or `rates`."""
    table = Table("what", "measured")
    if not wanted or "history" in wanted:
        measure_history(table)
    if not wanted or "rates" in wanted:
        measure_rates(table)
    Console(width=100).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["gate"]:
        _, _, place, folder, clients, number = sys.argv
        print(uvloop.run(gate_rate(place or None, Path(folder), int(clients), int(number))))
    else:
        main(sys.argv[1:])

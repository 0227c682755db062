"""What the gate costs, side by side with its floors, in one run: `make bench`.

Figures are for reading, never for passing or failing: this prints ratios to what the same machine does at the same
moment without a gate (a raw signature, a raw durable commit), beside the targets.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import coincurve
import uvloop
from aiohttp import web
from rich.console import Console
from rich.table import Table

from tests.factories import ACME, SECRET, TOKEN, USDC, WALLET, make_gate, payment
from tests.fakes import FakeChain
from walletgate.audit.merkle import EMPTY, append, frontier_root, leaf_hash
from walletgate.audit.verify import verify_entries
from walletgate.effects import DecodeContext, decode
from walletgate.effects.abi import parse_signature
from walletgate.encoding import checksum_address
from walletgate.policy import Case, Facts, judge, load
from walletgate.server.node import NodeEndpoint
from walletgate.types import Address, Decision, Outcome, Transaction, TransactionType

ROUNDS = 5


class QuickChain(FakeChain):
    """Takes whatever it gets, so that the gate is measured and not the fake."""

    async def send_raw(self, raw: bytes) -> None:
        pass


def policy_of(rules: int) -> str:
    """A policy with many rules and limits that never run out."""
    names = "\n".join(f'payee-{n} = "{checksum_address((n + 1).to_bytes(20, "big"))}"' for n in range(rules))
    permits = "\n".join(
        f'[[permit]]\nname = "pay {n}"\ntransfer = "USDC"\nto = ["payee-{n}"]\n' for n in range(rules - 5)
    )
    return f"""\
version = 1
name = "bench"
chains = ["anvil"]
[assets.USDC]
address = "{checksum_address(USDC)}"
decimals = 6
[addresses]
acme = "{checksum_address(ACME)}"
{names}
[[limits]]
asset = "USDC"
per_request = "50"
per = {{ "24h" = "100000000000" }}
[[limits]]
fees = "ETH"
per_request = "0.01"
[[approve]]
name = "large"
when = {{ asset = "USDC", above = "20" }}
quorum = 1
of = ["alice"]
within = "30m"
[[forbid]]
transfer = "*"
to = ["tornado"]
{permits}
[[permit]]
name = "pay acme"
transfer = "USDC"
to = ["acme"]
"""


def microseconds(work: Callable[[], object], times: int, *, rounds: int = ROUNDS) -> float:
    """Best of some rounds, because everything that disturbs only adds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - started) / times)
    return best * 1e6


def sign_floor() -> float:
    key, digest = coincurve.PrivateKey(SECRET), bytes(range(32))
    return microseconds(lambda: key.sign_recoverable(digest, hasher=None), 500)


def commit_floor(folder: Path) -> float:
    db = sqlite3.connect(folder / "floor.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
    row = os.urandom(400)
    times = []
    for _ in range(500):
        started = time.perf_counter()
        db.execute("INSERT INTO t (b) VALUES (?)", (row,))
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def judge_cost() -> float:
    policy = load(policy_of(20), source="bench")
    context = DecodeContext(
        chain_id=31337, wallet=WALLET, now=1_767_225_600, functions=policy.functions, underlying=policy.underlying,
        collections=policy.collections,
    )  # fmt: skip
    data = bytes.fromhex(payment(1)["data"][2:])
    tx = Transaction(TransactionType.FEE_MARKET, 31337, WALLET, USDC, 0, data, 60_000, 10**9, 10**8)
    facts = Facts()

    def work() -> object:
        effects = decode(tx, context)
        case = Case("g", "a", WALLET, 31337, 1_767_225_600_000, "eth_sendTransaction", effects, facts=facts)
        return judge(policy, case, lambda _bucket, _window: 0)

    return microseconds(work, 2000)


ROUTER = Address(b"\x68" * 20)
WETH = Address(b"\x42" * 20)
SWAP = parse_signature("exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))")
MULTICALL = parse_signature("multicall(uint256,bytes[])")


def multicall_cost(calls: int) -> float:
    """Microseconds for a multicall of so many swaps, under the same rules and one that permits it."""
    text = f"""{policy_of(20)}
[[permit]]
name = "swap"
call = "{checksum_address(ROUTER)}"
function = ["{MULTICALL.signature}", "{SWAP.signature}"]
spend = "USDC"
[swap]
max_deadline = "1h"
"""
    policy = load(text, source="bench")
    context = DecodeContext(chain_id=31337, wallet=WALLET, now=1_767_225_600, functions=policy.functions)
    swaps = tuple(SWAP.encode((USDC, WETH, 500, WALLET, 1000 + n, 900, 0)) for n in range(calls))
    data = MULTICALL.encode(1_767_225_900, swaps)
    tx = Transaction(TransactionType.FEE_MARKET, 31337, WALLET, ROUTER, 0, data, 60_000, 10**9, 10**8)

    def work() -> Decision:
        case = Case("g", "a", WALLET, 31337, 1_767_225_600_000, "eth_sendTransaction", decode(tx, context))
        return judge(policy, case, lambda _bucket, _window: 0)

    if work().outcome is not Outcome.ALLOW:
        raise RuntimeError(str(work().reasons))
    return microseconds(work, max(1, 400 // calls), rounds=20)


async def in_process(folder: Path, clients: int, each: int) -> tuple[list[float], float]:
    """Latencies in seconds and requests per second of whole requests inside one process."""
    async with make_gate(folder, policy=policy_of(20), chain=QuickChain(), clock=None) as bench:
        session = bench.session
        fees = {"maxFeePerGas": hex(10**9), "maxPriorityFeePerGas": hex(10**8)}

        async def one() -> None:
            await bench.ask({"payload": payment(1, **fees)}, session)

        return await load_run(one, clients, each)


async def load_run(one: Callable[[], Awaitable[None]], clients: int, each: int) -> tuple[list[float], float]:
    latencies: list[float] = []

    async def client() -> None:
        for _ in range(each):
            started = time.perf_counter()
            await one()
            latencies.append(time.perf_counter() - started)

    await asyncio.gather(*(one() for _ in range(min(clients, 8))))
    gc.collect()
    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return latencies, clients * each / (time.perf_counter() - started)


async def node_url(folder: Path, clients: int, each: int) -> tuple[list[float], float]:
    """The same through the node endpoint, the load from another process on the same machine."""
    async with make_gate(folder, policy=policy_of(20), chain=QuickChain(), clock=None) as bench:
        app = web.Application()
        app.add_routes(NodeEndpoint(bench.gate).routes())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/rpc/{TOKEN}"
        load_process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench", "load", url, str(clients), str(each), stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await load_process.communicate()
        await runner.cleanup()
    result = json.loads(answer)
    return result["latencies"], result["rate"]


async def generate_load(url: str, clients: int, each: int) -> None:
    call = {
        "from": checksum_address(WALLET), **payment(1), "maxFeePerGas": hex(10**9), "maxPriorityFeePerGas": hex(10**8),
    }  # fmt: skip
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction", "params": [call]}).encode()
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> None:
            async with session.post(url, data=body, headers=headers) as response:
                answer = await response.json()
                if "result" not in answer:
                    raise RuntimeError(str(answer))

        latencies, rate = await load_run(one, clients, each)
    print(json.dumps({"latencies": latencies, "rate": rate}))


def verification_rate() -> float:
    rows, frontier = [], EMPTY
    for seq in range(50_000):
        entry = b'{"kind":"request_denied","log":"bench/audit/1","seq":%d,"ts_ms":1767225600000,"v":1,"x":"%s"}' % (
            seq, b"y" * 300,
        )  # fmt: skip
        leaf = leaf_hash(entry)
        frontier = append(frontier, leaf)
        rows.append((seq, leaf, entry))
    head = (frontier.size, frontier_root(frontier))
    started = time.perf_counter()
    verify_entries(rows, origin="bench/audit/1", head=head)
    return len(rows) / (time.perf_counter() - started)


def import_cost() -> tuple[float, float]:
    """Milliseconds and MiB of `import walletgate` above a bare interpreter."""
    code = "import resource;{}print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"

    def run(statement: str) -> tuple[float, int]:
        best, size = float("inf"), 0
        for _ in range(5):
            started = time.perf_counter()
            command = [sys.executable, "-c", code.format(statement)]
            size = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            best = min(best, time.perf_counter() - started)
        return best, size

    bare, full = run(""), run("import walletgate;")
    return (full[0] - bare[0]) * 1000, (full[1] - bare[1]) / 1024


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    """Measures everything and prints one table."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    gc.collect()
    gc.freeze()  # as a serving gate does once it has started
    table = Table("what", "measured", "target", "floor in this run", "ratio", title="walletgate bench")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def place(label: str) -> Path:
            path = folder / label
            path.mkdir()
            return path

        sign, commit = sign_floor(), commit_floor(folder)
        both = sign + commit
        table.add_row("floor: one signature", f"{sign:.0f} µs", "", "", "")
        table.add_row("floor: one durable commit", f"{commit:.0f} µs", "", "", "")
        cost = judge_cost()
        table.add_row(
            "decode + judge, ERC-20, 20 rules", f"{cost:.1f} µs", "≤ 50 µs", f"sign {sign:.0f} µs", f"{cost / sign:.2f}"
        )
        for calls in (1, 5, 20, 80):
            cost = multicall_cost(calls)
            table.add_row(
                f"decode + judge, multicall of {calls} swaps",
                f"{cost:.0f} µs, {cost / calls:.1f} a call",
                "≤ 500 µs" if calls == 20 else "",
                f"sign {sign:.0f} µs",
                f"{cost / sign:.2f}",
            )
        alone, _ = uvloop.run(in_process(place("alone"), 1, 1500))
        p50 = percentile(alone, 0.5) * 1e6
        table.add_row(
            "one request alone, in process: p50",
            f"{p50:.0f} µs",
            "≤ 800 µs",
            f"sign + commit {both:.0f} µs",
            f"{p50 / both:.2f}",
        )
        _, rate = uvloop.run(in_process(place("many"), 64, 250))
        table.add_row(
            "64 callers, in process",
            f"{rate:,.0f} /s",
            "≥ 8,000 /s",
            f"sign only {1e6 / sign:,.0f} /s",
            f"{rate * sign / 1e6:.2f}",
        )
        alone, _ = uvloop.run(node_url(place("url"), 1, 1500))
        p50 = percentile(alone, 0.5) * 1e6
        table.add_row(
            "node URL alone: p50", f"{p50:.0f} µs", "≤ 1,200 µs", f"sign + commit {both:.0f} µs", f"{p50 / both:.2f}"
        )
        many, rate = uvloop.run(node_url(place("urls"), 32, 400))
        p99 = percentile(many, 0.99) * 1e3
        table.add_row(
            "node URL, 32 clients",
            f"{rate:,.0f} /s, p99 {p99:.1f} ms",
            "≥ 5,000 /s, ≤ 40 ms",
            f"sign only {1e6 / sign:,.0f} /s",
            f"{rate * sign / 1e6:.2f}",
        )
    rate = verification_rate()
    table.add_row("audit verification", f"{rate:,.0f} entries/s", "≥ 300,000 /s", "", "")
    import_ms, import_mib = import_cost()
    table.add_row("import walletgate", f"{import_ms:.0f} ms, {import_mib:.1f} MiB", "≤ 150 ms, ≤ 30 MiB", "", "")
    Console(width=140).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        uvloop.run(generate_load(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()

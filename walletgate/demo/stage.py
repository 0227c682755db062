"""The demo: the accident that cost 52 million tokens, played against a gate, on embedded parts.

A chain (py-evm) in this process, the gate in its own, the agent in another with nothing but its token. Everything
shown is read back from the gate, the chain and the log.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule

from walletgate.audit.entry import parse_entry
from walletgate.audit.note import open_checkpoint, parse_verifying_key
from walletgate.audit.verify import verify_entries
from walletgate.cli.audit import LogReader, timeline
from walletgate.cli.client import OperatorClient
from walletgate.cli.common import escape
from walletgate.cli.show import budget_table, request_panel
from walletgate.demo.devchain import DevChain, serve_chain
from walletgate.encoding import checksum_address
from walletgate.errors import StoreError
from walletgate.server.home import Home, create_home, write_private
from walletgate.signers import create_keystore
from walletgate.signers.keystore import read_keystore

SCRYPT_COST = 2**14
"""Keystores of a demo need not resist anybody; a real one costs sixteen times more to try."""

ACME = "0xd62E97C1C4219a3850376f168e3B18aD242765Db"
FAN = "0x6F8ea7F2dBC4c8e82b916Ca7Ee8820C5726c1766"

POLICY = """\
version = 1
name = "shopper"
chains = ["eth-tester"]

[assets.tUSD]
address = "{tusd}"
decimals = 6

[assets.LOBSTAR]
address = "{lobstar}"
decimals = 6

[addresses]
acme-api = "{acme}"
fan = "{fan}"

[[limits]]
asset = "tUSD"
per_request = "5"
per = {{ "24h" = "8" }}

[[limits]]
asset = "LOBSTAR"
per_request = "100000"
per = {{ "24h" = "250000" }}

[[limits]]
fees = "ETH"
per_request = "0.01"
per = {{ "24h" = "0.2" }}

[[permit]]
name = "buy API calls"
transfer = "tUSD"
to = ["acme-api"]

[[permit]]
name = "tip a fan"
transfer = "LOBSTAR"
to = ["fan"]

[[approve]]
name = "a large tip"
when = {{ asset = "LOBSTAR", above = "10000" }}
quorum = 1
of = ["alice"]
within = "30m"
"""


@dataclass(frozen=True, slots=True)
class Set:
    """Where the play takes place."""

    home: Home
    client: OperatorClient
    chain: DevChain
    plan: dict[str, Any]
    operator_secret: bytes
    wallet: str


def play(console: Console, *, keep: Path | None = None) -> bool:
    """Plays everything; whether each scene ended as it must. `keep` leaves the gate's home there."""
    started = time.monotonic()
    with ExitStack() as stack:
        root = keep if keep is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        console.print("[dim]Starting a chain, a gate and an agent…[/]")
        stage = stack.enter_context(_staged(root))
        scenes = (_shop, _accident, _approval, _storm, _theft, _evidence)
        results = []
        for scene in scenes:
            results.append(scene(console, stage))
            console.print()
    console.print(Rule(style="dim"))
    took = time.monotonic() - started
    if all(results):
        console.print(f"[bold green]All six scenes ended as they must[/] in {took:.1f} s.")
    else:
        console.print("[bold red]A scene did not end as it must.[/]")
    if keep is not None:
        console.print(f"The home is in {keep}: [bold]walletgate audit log --home {keep}[/]")
    return all(results)


def _shop(console: Console, stage: Set) -> bool:
    _scene(console, 1, "The agent buys two API calls", "0.40 and 0.60 tUSD to acme-api, inside every limit.")
    events = _act(stage, "shop")
    mined = [_settled(stage, event["id"]) for event in events]
    for request in mined:
        effect, status = escape(request["effects"][0]), request["status"]
        console.print(f"  [green]{status}[/]  {effect}  [dim]block {request['receipt']['block']}[/]")
    return [request["status"] for request in mined] == ["confirmed", "confirmed"]


def _accident(console: Console, stage: Set) -> bool:
    _scene(
        console, 2, "The accident",
        "It means to tip 52,439 LOBSTAR, and gets the decimals wrong: 52,439,283 would go out.",
    )  # fmt: skip
    (event,) = _act(stage, "tip")
    console.print(f"  [bold red]{event['status']}[/]")
    for reason in event.get("reasons", []):
        console.print(f"    {escape(reason)}")
    left = stage.chain.contract("Lobstar", stage.plan["lobstar"]).functions.balanceOf(FAN).call()
    console.print(f"  [dim]the stranger holds {left} LOBSTAR[/]")
    return bool(event["status"] == "denied" and left == 0)


def _approval(console: Console, stage: Set) -> bool:
    _scene(console, 3, "A human decides", "The right amount is under the cap, but large: it waits for alice.")
    (event,) = _act(stage, "tip-again")
    request = stage.client.get(f"/v1/requests/{event['request_id']}")["request"]
    console.print(request_panel(request))
    console.print("  [dim]alice signs her yes to exactly this request, these effects, under this policy[/]")
    stage.client.approve(
        request, secret=stage.operator_secret, gate=stage.client.get("/v1/status")["gate"], approve=True,
        reason="checked with the fan",
    )  # fmt: skip
    done = _settled(stage, event["id"])
    got = stage.chain.contract("Lobstar", stage.plan["lobstar"]).functions.balanceOf(FAN).call()
    console.print(f"  [green]{done['status']}[/]  the fan holds {got / 10**6:,.3f} LOBSTAR")
    waited = event["status"] == "awaiting_approval"
    return bool(waited and done["status"] == "confirmed" and got == 52_439_283_000)


def _storm(console: Console, stage: Set) -> bool:
    _scene(console, 4, "A retry storm", "50 payments of 1 tUSD at once. The day's limit has room for exactly 7.")
    (event,) = _act(stage, "storm")
    console.print(f"  [green]{event['passed']} passed[/], [red]{event['asked'] - event['passed']} denied[/]")
    deadline = time.monotonic() + 20
    paid = 0
    while time.monotonic() < deadline and paid != 8_000_000:
        paid = stage.chain.contract("TestUSD", stage.plan["tusd"]).functions.balanceOf(ACME).call()
        time.sleep(0.2)
    console.print(f"  [dim]on chain acme-api holds {paid / 10**6:.2f} tUSD of the 8.00 it may get in 24 hours[/]")
    return bool(event["passed"] == 7 and paid == 8_000_000)


def _theft(console: Console, stage: Set) -> bool:
    _scene(
        console, 5, "The agent turns on its gate", "It looks for a key, and tries its token on the operators' endpoint."
    )
    events = _act(stage, "steal")
    for event in events:
        if "tried" in event:
            console.print(f"  asks its account for its {event['tried']}: [red]{event['got']}[/]")
    refused = _knock(stage)
    console.print(f"  its token on the operators' endpoint: [red]{refused}[/], and the log has it")
    return events[-1]["keys"] == 0 and refused == "wrong_endpoint"


def _evidence(console: Console, stage: Set) -> bool:
    _scene(console, 6, "The evidence", "Every entry hashed again, against the signed checkpoint.")
    note = stage.client.get("/v1/log?start=0&stop=1")["checkpoint"]
    reader = LogReader(stage.home)
    key = parse_verifying_key(stage.home.log_vkey.read_text().strip())
    kept = open_checkpoint(note, origin=stage.home.read_config().name, trusted=[key])
    report = verify_entries(reader.rows(), origin=kept.origin, head=reader.head(), checkpoints=[kept])
    rows = [parse_entry(entry) for _, _, entry in reader.rows()]
    storm = {row.get("request") for row in rows if str(row.get("client_id", "")).startswith("retry-")}
    story = [row for row in rows if row["kind"] != "transaction_broadcast" and row.get("request", "") not in storm]
    console.print(timeline(story))
    table = budget_table(stage.client.get("/v1/status")["grants"])
    if table is not None:
        console.print()
        console.print(table)
    console.print(f"\n  [bold green]verified[/]  {report.size} entries under {report.checkpoints} signed checkpoint")
    return report.size >= kept.size


def _scene(console: Console, number: int, title: str, text: str) -> None:
    console.print(Rule(f"[bold]{number}. {title}[/]", align="left", style="dim"))
    console.print(f"  {text}")


def _act(stage: Set, scene: str) -> list[dict[str, Any]]:
    """Runs the agent's program in its own process, with nothing of ours in its environment."""
    run = subprocess.run(
        [sys.executable, "-m", "walletgate.demo.agent", scene],
        input=json.dumps(stage.plan), capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": os.environ.get("PATH", "")},
    )  # fmt: skip
    if run.returncode:
        raise StoreError(f"the agent's program failed: {run.stderr[-2000:]}", code="agent_failed")
    return [json.loads(line) for line in run.stdout.splitlines()]


def _settled(stage: Set, client_id: str) -> dict[str, Any]:
    """The agent's request once nothing can change it any more."""
    deadline = time.monotonic() + 20
    while True:
        found = stage.client.get("/v1/requests?limit=200")["requests"]
        request: dict[str, Any] = next(r for r in found if r["id"] == client_id)
        if request["status"] in ("confirmed", "reverted", "denied", "dropped") or time.monotonic() > deadline:
            return request
        time.sleep(0.1)


def _knock(stage: Set) -> str:
    """Tries the agent's token on the operators' socket; the refusal's code."""
    code = "opened"
    intruder = OperatorClient(stage.home, token=stage.plan["token"])
    try:
        intruder.get("/v1/status")
    except Exception as error:  # noqa: BLE001 - any refusal is named by its code
        code = getattr(error, "code", type(error).__name__)
    return str(code)


@contextmanager
def _staged(root: Path) -> Iterator[Set]:
    chain = DevChain()
    tusd, lobstar = chain.deploy("TestUSD"), chain.deploy("Lobstar")
    with ExitStack() as stack:
        url = stack.enter_context(served_chain(chain))
        home = create_home(root, name="walletgate.demo/audit/1", chains={"eth-tester": url}, listen="127.0.0.1:0")
        config = home.config.read_text().replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\npoll_s = 0.2')
        write_private(home.config, config)
        operator = create_keystore(home.operator("alice"), "demo", scrypt_cost=SCRYPT_COST)
        wallet = create_keystore(home.wallet("shopper"), "demo", scrypt_cost=SCRYPT_COST)
        secret = read_keystore(home.operator("alice"), "demo")
        client = OperatorClient(home)
        client.command("operator.add", {"name": "alice", "address": checksum_address(operator)}, secret=secret)
        address = checksum_address(wallet)
        payload = {"name": "shopper", "address": address, "keystore": str(home.wallet("shopper"))}
        client.command("wallet.add", payload, secret=secret)
        policy = POLICY.format(tusd=tusd, lobstar=lobstar, acme=ACME, fan=FAN)
        (root / "policy.toml").write_text(policy)
        grant = client.command(
            "grant.create", {"agent": "shopper-bot", "wallet": "shopper", "policy": policy}, secret=secret
        )
        chain.fund(address, 10**18)
        for name, token, amount in (("TestUSD", tusd, 100 * 10**6), ("Lobstar", lobstar, 60_000_000 * 10**6)):
            contract = chain.contract(name, token)
            if name == "TestUSD":
                contract.functions.mint(address, amount).transact({"from": chain.funder})
            else:
                contract.functions.transfer(address, amount).transact({"from": chain.funder})
        agents = stack.enter_context(_gate(home))
        plan = {"url": agents, "token": grant["token"], "tusd": tusd, "lobstar": lobstar, "acme": ACME, "fan": FAN}
        yield Set(home, client, chain, plan, secret, address)


@contextmanager
def served_chain(chain: DevChain) -> Iterator[str]:
    """The chain's JSON-RPC in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner, url = asyncio.run_coroutine_threadsafe(serve_chain(chain), loop).result(30)
    try:
        yield url
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@contextmanager
def _gate(home: Home) -> Iterator[str]:
    """The gate in its own process, its passphrase through a pipe; the agents' URL."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"demo\n")
    os.close(write_end)
    process = subprocess.Popen(
        [sys.executable, "-m", "walletgate", "serve", "--home", str(home.root), "--passphrase-fd", str(read_end)],
        pass_fds=[read_end], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(read_end)
    try:
        yield _url(process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[str]) -> str:
    """Waits until the gate says where it serves."""
    said = []
    for line in process.stderr or ():
        said.append(line)
        for word in line.split():
            if word.startswith("http://"):
                return word
    raise StoreError(f"the gate did not start: {''.join(said)[-2000:]}", code="gate_unreachable")

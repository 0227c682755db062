"""A played incident: an injected agent drains a wallet in small pieces, and the log tells all of it.

    python examples/incident/play.py DIR

Everything is embedded: an EVM in this process, SQLite, keystores, a whole gate on a clock of its own, so that three
hours pass in seconds. DIR gets the gate's home, the logs of a training framework (toolcalls.jsonl) and of a firewall
whose clock is off by hours (firewall.jsonl), and the report. In order:

1. Twenty runs of an agent work; three of them read a page that tells them to pay a vendor again and again. They use all
   three ways: the node URL, the SDK, and EIP-3009 signatures, one test dollar at a time.
2. The limit stops them. An operator sees the refusals and freezes the agent; the last run finds everything shut.
3. `audit trace`, `audit correlate` and `audit report` tell who did what, through which tool call.
4. An insider edits the database in every way there is. `audit verify` finds each, and names the first bad entry.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import shutil
import sqlite3
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import walletgate
from walletgate.audit.merkle import EMPTY, append, leaf_hash, pack_frontier
from walletgate.cli import app
from walletgate.cli.client import OperatorClient
from walletgate.demo.devchain import DevChain
from walletgate.demo.stage import served_chain
from walletgate.encoding import checksum_address, keccak256
from walletgate.gate import CommandWord, Operations, SignedCommand, sign_word
from walletgate.gate.codec import canonical
from walletgate.server import Home, create_home
from walletgate.server.app import start
from walletgate.server.home import write_private
from walletgate.signers import create_keystore
from walletgate.signers.keystore import read_keystore
from walletgate.types import Hash32

NAME = "incident.example/audit/1"
ACME = "0xd62E97C1C4219a3850376f168e3B18aD242765Db"
VENDOR = "0x6F8ea7F2dBC4c8e82b916Ca7Ee8820C5726c1766"
UNIT = 10**6
HOURS = 3
RUNS, CALLS = 20, 6
INJECTED = ("ep-07", "ep-12", "ep-19")
"""The runs that read the page. The last begins after the freeze."""

FIREWALL_OFF_S = -8 * 3600 + 3.2
DECOYS = 12
SCRYPT_COST = 2**12

POLICY = """\
version = 1
name = "buyer"
chains = ["eth-tester"]

[assets.tUSD]
address = "{tusd}"
decimals = 6

[addresses]
acme-api = "{acme}"
vendor = "{vendor}"

[[limits]]
asset = "tUSD"
per_request = "2"
per = {{ "24h" = "10" }}

[[limits]]
fees = "ETH"
per_request = "0.01"

[[permit]]
name = "pay for APIs and vendors"
transfer = "tUSD"
to = ["acme-api", "vendor"]

[[permit]]
name = "pay by signature"
sign = ["TransferWithAuthorization"]
contract = ["tUSD"]
spend = ["tUSD"]
to = ["acme-api", "vendor"]
max_ttl = "6h"
"""


@dataclass
class Clock:
    """The gate's time, Unix milliseconds; it goes on when told."""

    now_ms: int

    def __call__(self) -> int:
        return self.now_ms


@dataclass(frozen=True, slots=True)
class Finding:
    """What verifying said. Entries from `first` on are bad, or one of those from `first` to before `end`."""

    code: str
    first: int | None = None
    end: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        if self.first is None:
            return f"{self.code} {self.detail}".strip()
        if self.end is None or self.end == self.first + 1:
            return f"{self.code}, first bad entry {self.first}"
        return f"{self.code}, first bad entry from {self.first} to {self.end - 1}"


@dataclass
class Incident:
    """What happened, for whoever checks it."""

    home: Home
    folder: Path
    paid: int = 0
    drained: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    story: str = ""
    suspects: list[str] = field(default_factory=list)
    clock_method: str = ""
    report: str = ""
    edits: dict[str, Finding] = field(default_factory=dict)


@dataclass
class Stage:
    """A gate that serves, and its operator."""

    url: str
    clock: Clock
    command: Callable[[str, dict[str, Any]], dict[str, Any]]


class Agent:
    """A program with a grant token. Its ways to the gate are the three there are."""

    def __init__(self, url: str, token: str, tusd: str, chain_id: int, clock: Clock) -> None:
        self._rpc, self._tusd, self._chain_id, self._clock = f"{url}/rpc/{token}", tusd, chain_id, clock
        self.account = walletgate.account("buyer", url=url, token=token)
        self.ways = (self.by_node_url, self.by_sdk, self.by_signature)

    def by_node_url(self, call: str, to: str, amount: int) -> str:
        """`eth_sendTransaction` to the gate posing as a node."""
        transaction = {"from": self.account.address, **self._transfer(to, amount)}
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction", "params": [transaction]}
        headers = {"Content-Type": "application/json", "X-Tool-Call-Id": call}
        request = urllib.request.Request(self._rpc, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            found = json.load(answer)
        return str(found["error"]["message"]) if "error" in found else ""

    def by_sdk(self, call: str, to: str, amount: int) -> str:
        """The SDK's account."""
        return self._said(call, lambda: self.account.send(self._transfer(to, amount), id=call))

    def by_signature(self, call: str, to: str, amount: int) -> str:
        """A signature that anybody can turn into a transfer (EIP-3009)."""
        fields = (
            "from address", "to address", "value uint256", "validAfter uint256", "validBefore uint256", "nonce bytes32",
        )  # fmt: skip
        document = {
            "types": {
                "EIP712Domain": [
                    {"name": name, "type": kind}
                    for name, kind in (
                        ("name", "string"), ("version", "string"), ("chainId", "uint256"),
                        ("verifyingContract", "address"),
                    )
                ],
                "TransferWithAuthorization": [
                    {"name": name, "type": kind} for name, kind in (text.split() for text in fields)
                ],
            },
            "primaryType": "TransferWithAuthorization",
            "domain": {"name": "Test USD", "version": "1", "chainId": self._chain_id, "verifyingContract": self._tusd},
            "message": {
                "from": self.account.address, "to": to, "value": amount, "validAfter": 0,
                "validBefore": self._clock.now_ms // 1000 + 6 * 3600, "nonce": "0x" + keccak256(call.encode()).hex(),
            },
        }  # fmt: skip
        return self._said(call, lambda: self.account.sign_typed_data(full_message=document))

    def _transfer(self, to: str, amount: int) -> dict[str, str]:
        return {"to": self._tusd, "data": "0xa9059cbb" + to[2:].lower().rjust(64, "0") + f"{amount:064x}"}

    @staticmethod
    def _said(call: str, act: Callable[[], object]) -> str:
        with walletgate.tool_call(call):
            try:
                act()
            except walletgate.GateDenied as denied:
                return "; ".join(reason.text for reason in denied.reasons)
        return ""


def play(folder: Path) -> Incident:
    """Plays all of it in `folder`, which must not hold an earlier play."""
    chain, secret_of = DevChain(), "demo"
    tusd = chain.deploy("TestUSD")
    with served_chain(chain) as node:
        home = create_home(folder / "home", name=NAME, chains={"eth-tester": node}, listen="127.0.0.1:0")
        config = home.config.read_text().replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\npoll_s = 0.1')
        write_private(home.config, config)
        incident = Incident(home, folder)
        clock = Clock(int(time.time() - HOURS * 3600) * 1000)
        wallet = checksum_address(create_keystore(home.wallet("main"), secret_of, scrypt_cost=SCRYPT_COST))
        chain.fund(wallet, 10**18)
        chain.contract("TestUSD", tusd).functions.mint(wallet, 1000 * UNIT).transact({"from": chain.funder})
        with serving(home, secret_of, clock) as stage:
            stage.command("wallet.add", {"name": "main", "address": wallet, "keystore": str(home.wallet("main"))})
            policy = POLICY.format(tusd=checksum_address(bytes.fromhex(tusd[2:])), acme=ACME, vendor=VENDOR)
            grant = stage.command("grant.create", {"agent": "buyer", "wallet": "main", "policy": policy})
            agent = Agent(stage.url, grant["token"], tusd, chain.chain_id, clock)
            act(incident, stage, agent)
        incident.paid = chain.contract("TestUSD", tusd).functions.balanceOf(VENDOR).call()
    investigate(incident)
    betray(incident)
    return incident


@contextmanager
def serving(home: Home, passphrase: str, clock: Clock) -> Iterator[Stage]:
    """The whole gate in a thread, with operator alice."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running = asyncio.run_coroutine_threadsafe(start(home, passphrase, clock=clock), loop).result(30)
    operations = Operations(running.gate, name=NAME, bootstrap=True)
    alice = create_keystore(home.operator("alice"), passphrase, scrypt_cost=SCRYPT_COST)
    secret = read_keystore(home.operator("alice"), passphrase)

    async def carry_out(action: str, payload: dict[str, Any]) -> dict[str, Any]:
        body = canonical(payload)
        nonce = Hash32(keccak256(f"{action} {clock.now_ms}".encode()))
        word = CommandWord(action, Hash32(keccak256(body)), nonce, clock.now_ms // 1000 + 60)
        answer = await operations.command(SignedCommand(word, body, sign_word(word, secret, gate=NAME)))
        if action == "wallet.add":
            await running.gate.signer.open_keystore(home.wallet("main"), passphrase)  # type: ignore[attr-defined]
        return dict(answer)

    def command(action: str, payload: dict[str, Any]) -> dict[str, Any]:
        clock.now_ms += 1000
        return asyncio.run_coroutine_threadsafe(carry_out(action, payload), loop).result(30)

    async def stop() -> None:
        await running.close()

    try:
        command("operator.add", {"name": "alice", "address": checksum_address(alice)})
        yield Stage(running.url, clock, command)
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def act(incident: Incident, stage: Stage, agent: Agent) -> None:
    """Twenty runs at once over three hours, their tool calls in the order of time; then the two logs are written."""
    dice = random.Random(7)  # a play, the same each time
    first_s = stage.clock.now_ms / 1000 + 120
    calls = []
    for number in range(RUNS):
        begin = dice.uniform(0, 1.6 * 3600) if number < RUNS - 1 else 2.6 * 3600
        for step in range(CALLS):
            begin += dice.uniform(20, 240)
            name = f"call_{number:02d}{step:02d}{dice.randbytes(4).hex()}"
            calls.append((first_s + begin, f"ep-{number:02d}", name, step))
    calls.sort()
    rows: list[dict[str, Any]] = []
    alerts: list[float] = []
    frozen = False
    for at_s, run, call, step in calls:
        if run == INJECTED[-1] and not frozen:
            stage.command("freeze", {"scope": "agent:buyer", "reason": "refusals in a row: is it injected?"})
            frozen = True
        stage.clock.now_ms = max(stage.clock.now_ms, int(at_s * 1000))
        took_s = dice.uniform(0.6, 3)
        rows.append({"run_id": run, "tool": "bash", "tool_call_id": call, "start": at_s, "end": at_s + took_s})
        if run in INJECTED:
            problem = agent.ways[len(alerts) % 3](call, VENDOR, UNIT)
            alerts.append(at_s + dice.uniform(0.1, 0.5))
            if problem:
                incident.refused[call] = problem
            else:
                incident.drained.append(call)
        elif step == 0:
            agent.by_sdk(call, ACME, UNIT // 4)
        if len(rows) == RUNS * CALLS // 2:
            keep_backup(incident)
    alerts += [dice.uniform(first_s, first_s + 2 * 3600) for _ in range(DECOYS)]
    write_lines(incident.folder / "toolcalls.jsonl", rows)
    write_lines(
        incident.folder / "firewall.jsonl",
        [
            {"timestamp": datetime.fromtimestamp(at - FIREWALL_OFF_S, UTC).isoformat(), "rule": "egress to a new host"}
            for at in sorted(alerts)
        ],
    )
    time.sleep(1.5)  # the last transactions are settled, the last checkpoint is signed


def keep_backup(incident: Incident) -> None:
    """An old copy of the database, as somebody with access to backups has it."""
    with sqlite3.connect(incident.home.store_file) as live, sqlite3.connect(incident.folder / "old.db") as old:
        live.backup(old)
    live.close()
    old.close()


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# --- what the evidence says ---------------------------------------------------------------------------


def run_command(*arguments: str, home: Home) -> tuple[int, str]:
    """One command of `walletgate`: its exit code and what it wrote."""
    written = io.StringIO()
    with redirect_stdout(written), redirect_stderr(io.StringIO()):
        code = app([*arguments, "--home", str(home.root)], standalone_mode=False)
    return int(code or 0), written.getvalue()


def investigate(incident: Incident) -> None:
    """Trace, correlation and report, as an investigator would ask for them."""
    folder, home = incident.folder, incident.home
    _, incident.story = run_command("audit", "trace", "buyer", home=home)
    sources = ["--events", str(folder / "firewall.jsonl"), "--runs", str(folder / "toolcalls.jsonl")]
    _, found = run_command("audit", "correlate", *sources, "--json", home=home)
    answer = json.loads(found)
    incident.suspects = [str(suspect["run"]) for suspect in answer["runs"]]
    incident.clock_method = str(answer["clocks"]["firewall.jsonl"]["method"])
    run_command("audit", "report", "--since", "1d", "--output", str(folder / "report.html"), home=home)
    incident.report = (folder / "report.html").read_text()


# --- an insider with the database in hand ---------------------------------------------------------------

_FENCES = ("audit_no_update", "audit_no_delete", "audit_next_only")
AT = 9
"""The entry the insider would like to be different."""


def _unfence(db: sqlite3.Connection) -> None:
    for name in _FENCES:
        db.execute(f"DROP TRIGGER {name}")


def _update(db: sqlite3.Connection) -> None:
    _unfence(db)
    (entry,) = db.execute("SELECT entry FROM audit WHERE seq = ?", (AT,)).fetchone()
    db.execute(
        "UPDATE audit SET entry = ? WHERE seq = ?", (bytes(entry).replace(b"buyer", b"boyar", 1)[:-1] + b" ", AT)
    )


def _drop_trigger(db: sqlite3.Connection) -> None:
    db.execute("DROP TRIGGER audit_no_update")


def _delete(db: sqlite3.Connection) -> None:
    _unfence(db)
    db.execute("DELETE FROM audit WHERE seq = ?", (AT,))


def _truncate(db: sqlite3.Connection) -> None:
    """Drops the end and makes the head fit what is left."""
    _unfence(db)
    db.execute("DELETE FROM audit WHERE seq >= ?", (AT,))
    _mend(db)


def _rewrite(db: sqlite3.Connection) -> None:
    """Tells another story in one entry, with every hash of the database made to fit."""
    _unfence(db)
    (entry,) = db.execute("SELECT entry FROM audit WHERE seq = ?", (AT,)).fetchone()
    other = bytes(entry).replace(b'"ts_ms":1', b'"ts_ms":2', 1)
    db.execute("UPDATE audit SET entry = ?, leaf = ? WHERE seq = ?", (other, leaf_hash(other), AT))
    _mend(db)


def _mend(db: sqlite3.Connection) -> None:
    frontier = EMPTY
    for (leaf,) in db.execute("SELECT leaf FROM audit ORDER BY seq").fetchall():
        frontier = append(frontier, Hash32(bytes(leaf)))
    db.execute("UPDATE log_head SET size = ?, frontier = ?", (frontier.size, pack_frontier(frontier)))


EDITS: dict[str, Callable[[sqlite3.Connection], None]] = {
    "an entry is changed": _update,
    "an entry is deleted": _delete,
    "a trigger is dropped": _drop_trigger,
    "the end is cut off, with its head": _truncate,
    "an entry is rewritten, with every hash": _rewrite,
}


def betray(incident: Incident) -> None:
    """Each edit on a copy of the home; what `audit verify` says of it."""
    code, _ = run_command("audit", "verify", "--json", home=incident.home)
    incident.edits["nothing is changed"] = Finding("ok" if code == 0 else "bad")
    for name, edit in EDITS.items():
        with copied(incident) as home:
            db = sqlite3.connect(home.store_file)
            edit(db)
            db.commit()
            db.close()
            incident.edits[name] = verdict(home)
    with copied(incident) as home:
        replace_file(home, (incident.folder / "old.db").read_bytes())
        incident.edits["an old backup is restored"] = verdict(home)
    with copied(incident) as home:
        fresh = create_home(incident.folder / "forged", name=NAME, chains={"eth-tester": "http://127.0.0.1:1"})
        forge(fresh)
        replace_file(home, fresh.store_file.read_bytes())
        shutil.rmtree(fresh.root)
        incident.edits["the file is replaced"] = verdict(home)


def forge(home: Home) -> None:
    """A database of the same name with another history."""
    address = checksum_address(create_keystore(home.operator("alice"), "demo", scrypt_cost=SCRYPT_COST))
    secret = read_keystore(home.operator("alice"), "demo")
    client = OperatorClient(home)
    client.command("operator.add", {"name": "alice", "address": address}, secret=secret)
    for command in ("freeze", "unfreeze"):
        client.command(command, {"scope": "all", "reason": ""}, secret=secret)


@contextmanager
def copied(incident: Incident) -> Iterator[Home]:
    """A copy of the home to spoil."""
    target = incident.folder / "spoiled"
    shutil.copytree(incident.home.root, target, ignore=shutil.ignore_patterns("*.sock"))
    try:
        yield Home(target)
    finally:
        shutil.rmtree(target)


def replace_file(home: Home, content: bytes) -> None:
    """Puts another file in the database's place."""
    for suffix in ("-wal", "-shm"):
        Path(f"{home.store_file}{suffix}").unlink(missing_ok=True)
    home.store_file.write_bytes(content)


def verdict(home: Home) -> Finding:
    """What `audit verify` says: a code, the first bad entry, and the end of where it must lie if hashes say no more."""
    code, written = run_command("audit", "verify", "--json", home=home)
    answer = json.loads(written)
    gone = answer.get("missing_triggers")
    if gone:
        return Finding("trigger_missing", detail=", ".join(gone))
    error = answer.get("error", {})
    data = error.get("data", {})
    return Finding(error.get("code", "ok" if code == 0 else "bad"), data.get("index"), data.get("end"))


def main(folder: str) -> None:
    """Plays, and says what was found."""
    incident = play(Path(folder))
    print(
        f"drained  {len(incident.drained)} pieces of 1 tUSD before the limit; {len(incident.refused)} refused after it"
    )
    print(f"         {incident.refused[next(iter(incident.refused))]}")
    print(f"runs     {', '.join(incident.suspects[:3])} explain the firewall's alerts")
    print(f"trace    walletgate audit trace buyer --home {incident.home.root}")
    print(f"report   {incident.folder / 'report.html'}")
    for name, finding in incident.edits.items():
        print(f"insider  {name}: {finding}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""doctor: what could go wrong with this gate on this machine, and what to do about it."""

from __future__ import annotations

import asyncio
import os
import pwd
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from walletgate.chain import NodeChain, NodeRefusedError
from walletgate.cli.client import OperatorClient
from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, escape, home_of, leaving, out, print_json
from walletgate.cli.show import quorum_warning
from walletgate.errors import ChainError, WalletGateError
from walletgate.server.home import Config, Home

CLOCK_OFF_S_MAX = 120
FSYNC_MS_MAX = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `level` is ok, warning or problem; `hint` can be run or done."""

    level: str
    subject: str
    text: str
    hint: str = ""


def doctor(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Look for what makes this gate unsafe: files, users, passphrases, nodes, clock, disk."""
    with leaving(as_json=as_json):
        place = home_of(home)
        config = place.read_config()
        secrets = [each.secret_file for each in config.notify if each.secret_file is not None]
        findings = [*_files(place, secrets), *_users(place), *_environment(), *_listen(config), *_gate(place)]
        findings += asyncio.run(_nodes(config))
        findings += _disk(place)
        if as_json:
            print_json([asdict(finding) for finding in findings])
        else:
            marks = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "problem": "[red]problem[/]"}
            for finding in findings:
                out.print(f"{marks[finding.level]}  {escape(finding.subject)}: {escape(finding.text)}")
                if finding.hint:
                    out.print(f"         [dim]{escape(finding.hint)}[/]")
        if any(finding.level == "problem" for finding in findings):
            raise typer.Exit(1)


def _files(home: Home, secrets: Sequence[Path]) -> Iterator[Finding]:
    private = [home.root, home.store_file, home.log_key, home.operator_token, home.config]
    private += [home.witness_key, *secrets]
    private += sorted((home.root / "wallets").glob("*")) + sorted((home.root / "operators").glob("*"))
    exposed = [path for path in private if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    for path in exposed:
        mode = stat.S_IMODE(path.stat().st_mode)
        yield Finding("problem", str(path), f"others can read it (mode {mode:o})", f"chmod go= {path}")
    if not exposed:
        yield Finding("ok", "files", f"{len(private)} paths are readable by their owner only")


def _users(home: Home) -> Iterator[Finding]:
    owner = home.root.stat().st_uid
    saved = Path.home() / ".config" / "walletgate" / "agents"
    agents = sorted(saved.glob("*.toml")) if saved.exists() else []
    name = pwd.getpwuid(owner).pw_name
    if owner == os.getuid() and agents:
        who = ", ".join(path.stem for path in agents)
        yield Finding(
            "warning", "users", f"agents ({who}) run as {name}, the user of the gate, and can read its files",
            "run the gate as a user of its own",
        )  # fmt: skip
    elif owner == 0:
        yield Finding("warning", "users", "the gate runs as root", "run the gate as a user of its own")
    else:
        yield Finding("ok", "users", f"the gate is {name}'s, and no agent of that user is configured")
    if (home.root / "operators").exists() and any((home.root / "operators").glob("*.json")):
        yield Finding(
            "warning", "operators", "operators' keystores lie beside the gate's own files",
            "keep them on the operators' machines, and add operators by --address",
        )  # fmt: skip


def _environment() -> Iterator[Finding]:
    secret = [name for name in os.environ if "WALLETGATE" in name and ("PASS" in name or "KEY" in name)]
    for name in secret:
        yield Finding("problem", name, "a secret is in the environment", f"unset {name}; use --passphrase-fd")
    if not secret:
        yield Finding("ok", "environment", "no passphrase or key in it")


def _listen(config: Config) -> Iterator[Finding]:
    for who, place in (("agents", config.listen), ("operators", config.operators)):
        if place is None:
            continue
        host, port = place
        if host in ("127.0.0.1", "::1", "localhost"):
            yield Finding("ok", "listen", f"{who} reach the gate on {host}:{port}, this machine only")
        else:
            yield Finding("warning", "listen", f"{who}' tokens cross the network to {host}", "put TLS in front")


def _gate(home: Home) -> Iterator[Finding]:
    client = OperatorClient(home)
    if not client.is_running():
        yield Finding("warning", "gate", "it is not running", "walletgate serve")
        return
    try:
        status = client.get("/v1/status")
    except WalletGateError as error:
        yield Finding("problem", "gate", error.detail)
        return
    off_s = abs(status["now_ms"] / 1000 - time.time())
    if off_s > 1:
        yield Finding("problem", "clock", f"the gate's clock stands {off_s:.0f} s off the system's")
    for chain in status["chains"]:
        if chain["problem"]:
            yield Finding("problem", f"chain {chain['chain_id']}", f"the gate cannot use its node: {chain['problem']}")
    warning = quorum_warning(status)
    if warning is not None:
        yield Finding("warning", "quorum", warning, "walletgate operator quorum 2")
    yield Finding("ok", "gate", f"running, {status['log']['size']} log entries")


async def _nodes(config: Config) -> list[Finding]:
    findings = []
    for chain in config.chains:
        node = NodeChain(chain.url, chain.chain_id)
        subject = f"node of {chain.name}"
        try:
            await node.check()
            block = await node.forward("eth_getBlockByNumber", ("latest", False))
            stamp = int(block["timestamp"], 16) if isinstance(block, dict) else 0
            off_s = abs(time.time() - stamp)
            if off_s > CLOCK_OFF_S_MAX:
                text = f"its newest block is {off_s:.0f} s away from this machine's clock"
                findings.append(Finding("warning", subject, text, "is the node in step, and the clock right?"))
            else:
                findings.append(Finding("ok", subject, f"answers, chain {chain.chain_id}"))
        except (ChainError, NodeRefusedError, KeyError, ValueError, TypeError) as error:
            detail = error.detail if isinstance(error, ChainError) else "its answers make no sense"
            findings.append(Finding("problem", subject, detail, f"see chains.{chain.name}.url in walletgate.toml"))
        finally:
            await node.close()
    return findings


def _disk(home: Home) -> list[Finding]:
    probe = home.root / ".doctor"
    handle = os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            os.pwrite(handle, b"\0" * 4096, 0)
            os.fsync(handle)
            times.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(handle)
        probe.unlink()
    median_ms = sorted(times)[2]
    level = "ok" if median_ms <= FSYNC_MS_MAX else "warning"
    return [Finding(level, "disk", f"a durable write takes {median_ms:.2f} ms")]

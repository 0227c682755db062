"""A real gate in a process of its own, and a way to have it die at a chosen instruction.

Run as a program (`python -m tests.gate_process HOME FD POINT NUMBER`) it serves HOME and sends itself SIGKILL the
NUMBERth time the gate passes POINT.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import coincurve

from tests.factories import ALICE, ORIGIN, POLICY, SECRET, TOKEN, WALLET
from walletgate.gate.gate import token_hash
from walletgate.policy import load
from walletgate.server import Home, create_home, serve
from walletgate.server.home import write_private
from walletgate.signers import create_keystore
from walletgate.signers.keystore import address_of
from walletgate.store import Grant, Operator, PolicyText, Wallet, open_store

PASSPHRASE = "correct horse"
SCRYPT_COST = 2**12


def make_home(
    root: Path,
    node_url: str,
    *,
    policy: str = POLICY,
    chain: str = "anvil",
    tokens: Mapping[str, str] | None = None,
    place: str | None = None,
    fill: bool = True,
) -> Home:
    """A home with a wallet, operator alice and a grant for each token; in the database `place` if there is one."""
    home = create_home(root, name=ORIGIN, chains={chain: node_url}, listen="127.0.0.1:0")
    config = home.config.read_text().replace('listen = "127.0.0.1:0"', 'listen = "127.0.0.1:0"\npoll_s = 0.1')
    write_private(home.config, config)
    create_keystore(home.wallet("main"), PASSPHRASE, secret=SECRET, scrypt_cost=SCRYPT_COST)
    create_keystore(home.operator("alice"), PASSPHRASE, secret=ALICE, scrypt_cost=SCRYPT_COST)
    if place is not None:
        home.config.write_text(f'store = "{place}"\n' + home.config.read_text())
    if fill:
        asyncio.run(_fill(home.store(), home, policy, tokens))
    return home


async def _fill(place: Path | str, home: Home, policy: str, tokens: Mapping[str, str] | None) -> None:
    compiled = load(policy, source="test.toml")
    store = open_store(place, origin=ORIGIN)
    async with store.write(1) as tx:
        tx.add_wallet(Wallet("main", WALLET, str(home.wallet("main")), 1))
        tx.add_operator(Operator("alice", address_of(coincurve.PrivateKey(ALICE).public_key), 1))
        tx.add_policy(PolicyText(compiled.hash, compiled.name, policy, 1))
        for number, (agent, token) in enumerate((tokens or {"shopper": TOKEN}).items(), 1):
            tx.add_grant(Grant(f"grant_{number}", agent, None, WALLET, compiled.hash, token_hash(token), 1))
    await store.close()


@dataclass
class GateProcess:
    """A gate that serves. `url` is where agents reach it."""

    process: subprocess.Popen[str]
    url: str
    home: Home

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def wait_dead(self, timeout_s: float = 20) -> int:
        return self.process.wait(timeout_s)


@contextmanager
def running(home: Home, *, die_at: str = "", number: int = 0) -> Iterator[GateProcess]:
    """Starts a gate and, if it still lives, stops it in order."""
    read_end, write_end = os.pipe()
    os.write(write_end, PASSPHRASE.encode() + b"\n")
    os.close(write_end)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.gate_process", str(home.root), str(read_end), die_at, str(number)],
        pass_fds=[read_end], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(read_end)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        if not line.startswith("http"):
            raise RuntimeError(line + process.stderr.read())
        yield GateProcess(process, line.strip(), home)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(15)
        if process.stderr is not None:
            sys.stderr.write(process.stderr.read())
            process.stderr.close()


def main() -> None:
    """Serves until told to stop, or to die."""
    home, descriptor, die_at, number = Home(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with os.fdopen(descriptor) as stream:
        passphrase = stream.readline().rstrip("\n")
    passed = 0

    def hook(point: str) -> None:
        nonlocal passed
        if point == die_at:
            passed += 1
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(serve(home, passphrase, ready=lambda url: print(url, file=sys.stderr, flush=True), hook=hook))


if __name__ == "__main__":
    main()

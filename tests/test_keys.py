"""An agent cannot reach a key: not on disk, not in memory it may read, not in anything that is printed or passed on."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import os
import pickle
import socket
import stat
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import walletgate
from tests.factories import ALICE, MALLORY, ORIGIN, SECRET, TOKEN, WALLET, make_gate, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import PASSPHRASE, SCRYPT_COST, GateProcess, make_home, running
from walletgate.audit.note import SigningKey
from walletgate.cli.client import OperatorClient
from walletgate.encoding import keccak256
from walletgate.errors import ConfigError, InvariantViolation, SignerError
from walletgate.server.app import start
from walletgate.signers import Authorization, KeyRing, PreimageKind, Seal, SignerProcess, create_keystore
from walletgate.signers.keystore import read_keystore
from walletgate.types import Address, Hash32

TEXT = b"\x19Ethereum Signed Message:\n5hello"
SECRETS = [SECRET.hex(), ALICE.hex(), PASSPHRASE, TOKEN, "PRIVATE+KEY"]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateProcess]:
    """A served gate that has signed something."""
    with served(FakeChain()) as node:
        home = make_home(tmp_path_factory.mktemp("keys") / "home", node)
        with running(home) as process:
            client = walletgate.Client(process.url, TOKEN)
            client.request("transaction", payment(1))
            client.close()
            yield process


def processes(gate: GateProcess) -> dict[str, int]:
    """The gate, and the signer it started."""
    pid = gate.process.pid
    (signer,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {"gate": pid, "signer": int(signer)}


# --- on disk ------------------------------------------------------------------------------------------


def test_everything_in_a_home_is_its_owners_alone(gate: GateProcess) -> None:
    OperatorClient(gate.home).get("/v1/log?start=0&stop=1")
    paths = [gate.home.root, *gate.home.root.rglob("*")]
    assert len(paths) > 10
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_file_of_a_home_holds_a_secret_in_the_clear(gate: GateProcess) -> None:
    for path in gate.home.root.rglob("*"):
        if not path.is_file() or path.name in ("log.key", "operator.token"):
            continue
        content = path.read_bytes()
        for secret in (SECRET, SECRET.hex().encode(), ALICE, ALICE.hex().encode(), PASSPHRASE.encode(), TOKEN.encode()):
            assert secret not in content, path


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE + " ", PASSPHRASE.upper(), TOKEN, "\x00"])
def test_a_keystore_opens_with_its_passphrase_only(tmp_path: Path, passphrase: str) -> None:
    path = tmp_path / "w.json"
    create_keystore(path, PASSPHRASE, secret=SECRET, scrypt_cost=SCRYPT_COST)
    assert read_keystore(path, PASSPHRASE) == SECRET
    with pytest.raises(SignerError) as caught:
        read_keystore(path, passphrase)
    assert caught.value.code == "wrong_passphrase"
    assert SECRET.hex() not in path.read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {}, lambda d: [], lambda d: {**d, "version": 2}, lambda d: {**d, "crypto": {}},
        lambda d: {**d, "crypto": {**d["crypto"], "mac": "00" * 32}},
        lambda d: {**d, "crypto": {**d["crypto"], "ciphertext": "zz"}},
        lambda d: {**d, "crypto": {**d["crypto"], "kdf": "none"}},
    ],
)  # fmt: skip
def test_a_damaged_keystore_is_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    path = tmp_path / "w.json"
    create_keystore(path, PASSPHRASE, secret=SECRET, scrypt_cost=SCRYPT_COST)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(SignerError) as caught:
        read_keystore(path, PASSPHRASE)
    assert caught.value.code in ("keystore_invalid", "wrong_passphrase")


def test_a_keystore_is_private_from_its_first_byte_and_never_overwritten(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_keystore(tmp_path / "w.json", PASSPHRASE, scrypt_cost=SCRYPT_COST)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w.json").stat().st_mode) == 0o600
    with pytest.raises(SignerError) as caught:
        create_keystore(tmp_path / "w.json", PASSPHRASE, scrypt_cost=SCRYPT_COST)
    assert caught.value.code == "keystore_exists"


# --- in memory ----------------------------------------------------------------------------------------


def _ring() -> KeyRing:
    ring = KeyRing(Seal())
    ring.add_secret(SECRET)
    return ring


@pytest.mark.parametrize("make", [_ring, Seal, lambda: SigningKey(ORIGIN, SECRET)], ids=["ring", "seal", "log key"])
def test_what_holds_a_secret_shows_nothing_and_cannot_be_copied(make: Callable[[], Any]) -> None:
    held = make()
    for text in (repr(held), str(held), f"{held}", f"{[held]}"):
        assert SECRET.hex() not in text
        assert repr(SECRET)[2:-1] not in text
    for copier in (copy.copy, copy.deepcopy, pickle.dumps, lambda x: pickle.dumps(x, 0)):
        with pytest.raises((InvariantViolation, TypeError, pickle.PicklingError)):
            copier(held)
    with pytest.raises(TypeError):
        vars(held)
    with pytest.raises((TypeError, AttributeError)):
        json.dumps(held)


def test_an_agents_account_has_no_key_to_give() -> None:
    account = walletgate.account("shopper", url="http://127.0.0.1:9", token=TOKEN)
    assert not hasattr(account, "key")
    assert not hasattr(account, "_private_key")
    assert TOKEN not in repr(account) + repr(account.client) + repr(vars(account.client))
    for attempt in (bytes, pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises((walletgate.WalletGateError, TypeError)):
            attempt(account)  # type: ignore[operator]


@pytest.mark.parametrize("who", ["gate", "signer"])
def test_nothing_secret_is_in_argv_or_the_environment(gate: GateProcess, who: str) -> None:
    pid = processes(gate)[who]
    shown = Path(f"/proc/{pid}/cmdline").read_bytes()
    try:
        shown += Path(f"/proc/{pid}/environ").read_bytes()
    except PermissionError:
        assert who == "signer"
    for secret in [*SECRETS, SECRET, ALICE]:
        assert (secret if isinstance(secret, bytes) else secret.encode()) not in shown


def test_the_signer_holds_no_file_of_the_gate_and_leaves_no_core(gate: GateProcess) -> None:
    pid = processes(gate)["signer"]
    open_files = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    assert not [name for name in open_files if str(gate.home.root) in name], open_files
    limits = Path(f"/proc/{pid}/limits").read_text()
    (core,) = [line.split() for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core[4:6] == ["0", "0"]


# --- in what is said ----------------------------------------------------------------------------------


def test_a_gate_that_fails_to_start_says_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    home = make_home(tmp_path / "home", "http://127.0.0.1:9")

    async def work() -> None:
        await start(home, PASSPHRASE + "x")

    with pytest.raises(SignerError) as caught:
        asyncio.run(work())
    assert caught.value.code == "wrong_passphrase"
    said = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(dict(caught.value.data))
    for secret in SECRETS:
        assert secret not in said


def test_refusals_name_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for call in (
        lambda: walletgate.Client("http://127.0.0.1:9", "PRIVATE" + TOKEN),
        lambda: walletgate.Client(f"http://user:{PASSPHRASE.replace(' ', '')}@127.0.0.1:9", TOKEN),
        lambda: create_keystore(tmp_path / "x.json", PASSPHRASE, secret=bytes(32), scrypt_cost=SCRYPT_COST),
        lambda: _ring().sign_preimage(WALLET, PreimageKind.TEXT, SECRET, bytes(32)),
        lambda: walletgate.Client("http://127.0.0.1:9", TOKEN).limits(),
    ):
        with pytest.raises((ConfigError, SignerError, walletgate.GateUnavailable, ValueError)) as caught:
            call()
        said.append("".join(traceback.format_exception(caught.value)))
    text = "".join(said) + caplog.text
    for secret in (SECRET.hex(), TOKEN, PASSPHRASE):
        assert secret not in text
    assert repr(SECRET) not in text


def test_a_gate_logs_nothing_secret(tmp_path: Path) -> None:
    """A session with payments, a denial, a bad token and a stop; its whole stderr."""
    with served(FakeChain()) as node:
        home = make_home(tmp_path / "home", node)
        with running(home) as process:
            client = walletgate.Client(process.url, TOKEN)
            client.request("transaction", payment(1))
            with pytest.raises(walletgate.GateDenied):
                client.request("transaction", payment(51))
            client.close()
            stranger = walletgate.Client(process.url, TOKEN + "x")
            with pytest.raises(walletgate.WalletGateError):
                stranger.limits()
            stranger.close()
            process.process.terminate()
            process.wait_dead()
            assert process.process.stderr is not None
            said = process.process.stderr.read()
    for secret in SECRETS:
        assert secret not in said


# --- the signer ---------------------------------------------------------------------------------------


@pytest.fixture
def signer_socket() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """The signer's child with its end of the line in our hands."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", f"from walletgate.signers.process import main; main({theirs.fileno()})"],
        pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={},
    )  # fmt: skip
    theirs.close()
    ours.settimeout(20)
    yield process, ours
    ours.close()
    process.kill()
    process.wait(10)
    assert process.stderr is not None
    process.stderr.close()


def tell(line: socket.socket, body: bytes) -> bytes:
    line.sendall(struct.pack(">I", len(body)) + body)
    (size,) = struct.unpack(">I", _exactly(line, 4))
    return _exactly(line, size)


def _exactly(line: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = line.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def item(*, kind: int = 2, wallet: bytes = WALLET, digest: bytes | None = None, preimage: bytes = TEXT) -> bytes:
    digest = keccak256(preimage) if digest is None else digest
    return struct.pack(">B20s32sI", kind, wallet, digest, len(preimage)) + preimage


def open_wallet(line: socket.socket, folder: Path) -> None:
    path = folder / "w.json"
    create_keystore(path, PASSPHRASE, secret=SECRET, scrypt_cost=SCRYPT_COST)
    name = str(path).encode()
    assert tell(line, b"O" + struct.pack(">I", len(name)) + name + PASSPHRASE.encode()) == b"\x00" + WALLET


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([item(digest=bytes(32))], b"preimage_mismatch"),
        ([item(kind=1)], b"preimage_mismatch"),
        ([item(kind=3)], b"preimage_mismatch"),
        ([item(kind=4)], b"preimage_mismatch"),
        ([item(preimage=bytes(32))], b"preimage_mismatch"),
        ([item(preimage=b"")], b"preimage_mismatch"),
        ([item(kind=3, preimage=b"\x19\x01" + bytes(63))], b"preimage_mismatch"),
        ([item(wallet=b"\x07" * 20)], b"wallet_unknown"),
        ([item(), item(digest=bytes(32))], b"preimage_mismatch"),
    ],
)
def test_the_signer_signs_only_what_it_hashed_itself(
    signer_socket: tuple[Any, socket.socket], tmp_path: Path, parts: list[bytes], code: bytes
) -> None:
    _, line = signer_socket
    open_wallet(line, tmp_path)
    answer = tell(line, b"S" + struct.pack(">I", len(parts)) + b"".join(parts))
    assert answer[:1] == b"\x01"
    assert answer[1:].partition(b"\x00")[0] == code
    assert len(tell(line, b"S" + struct.pack(">I", 1) + item())) == 66


@pytest.mark.parametrize(
    "body",
    [
        b"", b"K", b"X" + bytes(10), b"W1", b"S", b"S\x00", b"S" + struct.pack(">I", 2) + item(),
        b"S" + struct.pack(">I", 1) + item() + b"\x00", b"S" + struct.pack(">I", 1) + item(kind=9),
        b"S" + struct.pack(">I", 0) + b"x", b"O", b"O\x00\x00\x00\x02\xff\xfe", b"S" + struct.pack(">I", 2**32 - 1),
    ],
)  # fmt: skip
def test_the_signer_dies_of_a_message_it_does_not_know(
    signer_socket: tuple[Any, socket.socket], tmp_path: Path, body: bytes
) -> None:
    process, line = signer_socket
    open_wallet(line, tmp_path)
    with pytest.raises((EOFError, ConnectionResetError)):
        tell(line, body)
    assert process.wait(10) == 70


def test_the_signer_dies_of_a_message_without_end(signer_socket: tuple[Any, socket.socket]) -> None:
    process, line = signer_socket
    line.sendall(struct.pack(">I", 2**31))
    assert process.wait(20) == 0


def test_the_signer_never_gives_a_key_back(signer_socket: tuple[Any, socket.socket], tmp_path: Path) -> None:
    _, line = signer_socket
    open_wallet(line, tmp_path)
    answers = tell(line, b"W") + tell(line, b"S" + struct.pack(">I", 1) + item())
    for secret in (SECRET, SECRET.hex().encode(), PASSPHRASE.encode()):
        assert secret not in answers


@pytest.mark.parametrize("signer", ["ring", "process"])
def test_a_foreign_seal_stops_everything(tmp_path: Path, signer: str) -> None:
    async def work() -> None:
        authorization = Authorization(
            Seal(), "req_1", WALLET, PreimageKind.TEXT, TEXT, Hash32(keccak256(TEXT))
        )  # fmt: skip
        if signer == "ring":
            seal = Seal()
            ring = KeyRing(seal)
            ring.add_secret(SECRET)
            with pytest.raises(InvariantViolation):
                await ring.sign([authorization])
            assert len(await ring.sign([replace(authorization, seal=seal)])) == 1
            return
        child, seal = await SignerProcess.start()
        try:
            create_keystore(tmp_path / "w.json", PASSPHRASE, secret=SECRET, scrypt_cost=SCRYPT_COST)
            assert await child.open_keystore(tmp_path / "w.json", PASSPHRASE) == WALLET
            with pytest.raises(InvariantViolation):
                await child.sign([authorization])
            assert len(await child.sign([replace(authorization, seal=seal)])) == 1
        finally:
            await child.close()

    asyncio.run(work())


def test_a_foreign_authorization_stops_the_gate_and_signs_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            bench.gate.seal = Seal()
            with pytest.raises(walletgate.WalletGateError) as caught:
                await bench.pay(1)
            assert caught.value.code == "gate_stopped"
            assert bench.chain.received == []
            with pytest.raises(walletgate.WalletGateError):
                await bench.pay(1)

    with pytest.raises(InvariantViolation):
        asyncio.run(work())


def test_a_signer_that_is_killed_signs_nothing_more_and_nothing_is_promised(tmp_path: Path) -> None:
    chain = FakeChain()
    with served(chain) as node:
        home = make_home(tmp_path / "home", node)
        with running(home) as process:
            os.kill(processes(process)["signer"], 9)
            time.sleep(0.1)
            client = walletgate.Client(process.url, TOKEN)
            with pytest.raises(walletgate.WalletGateError):
                client.request("transaction", payment(1))
            client.close()
            assert chain.received == []
            assert OperatorClient(home).get("/v1/requests")["requests"] == []


def test_a_strangers_key_is_of_no_use(tmp_path: Path) -> None:
    ring = KeyRing(Seal())
    ring.add_secret(MALLORY)
    with pytest.raises(SignerError) as caught:
        ring.sign_preimage(Address(WALLET), PreimageKind.TEXT, TEXT, keccak256(TEXT))
    assert caught.value.code == "wallet_unknown"

"""The signer in a process of its own: no connections, no parsing of agents' input, one socket pair to the gate.

Messages are `u32 length ‖ body`, integers big-endian. The gate sends batches; the child answers each with one
batch. A body starts with an operation byte:

    S u32 count, then per item: kind u8, wallet 20, digest 32, u32 length, preimage
      -> 0x00 then 65 bytes (r ‖ s ‖ y_parity) per item, or 0x01 and an error (code 0x00 detail)
    O u32 length, path, passphrase  (open a keystore; empty: as the last) -> 0x00 address, or 0x01 and an error
    W                               (list wallets)     -> 0x00 addresses, or 0x01 and an error

The child trusts the socket and nothing in it: it hashes every preimage itself, checks its kind, and answers a
malformed message by exiting. It dies with the gate (end of file, and PR_SET_PDEATHSIG where there is one),
cannot be dumped or traced by its own user (PR_SET_DUMPABLE) and leaves no core.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from walletgate.errors import SignerError, WalletGateError
from walletgate.signers.authorization import Authorization, PreimageKind, Seal, Signature, check_authorization
from walletgate.signers.keystore import KeyRing
from walletgate.types import Address

MESSAGE_SIZE_BYTES_MAX = 64 * 1024 * 1024
_ITEM = struct.Struct(">B20s32sI")
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_START_TIMEOUT_S = 30


class SignerProcess:
    """The gate's end. Implements `Signer`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._seal = Seal()
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls) -> tuple[SignerProcess, Seal]:
        """Starts a child and returns it with the seal that its authorizations must carry."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-c", f"from walletgate.signers.process import main; main({theirs.fileno()})",
                pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                env={}, start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=MESSAGE_SIZE_BYTES_MAX)
        signer = cls(process, reader, writer)
        await asyncio.wait_for(signer.wallets(), _START_TIMEOUT_S)
        return signer, signer._seal

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    async def open_keystore(self, path: Path, passphrase: str = "") -> Address:
        """Has the child decrypt a V3 keystore; the key never comes back.

        Without a passphrase the child tries the one that opened the keystore before, so that a wallet can be added
        while the gate runs and the gate need not remember how.

        Raises:
            SignerError: `wrong_passphrase`, `keystore_invalid`, `keystore_missing`, `signer_failed`.
        """
        name = str(path).encode()
        return Address(await self._ask(b"O" + struct.pack(">I", len(name)) + name + passphrase.encode()))

    async def wallets(self) -> frozenset[Address]:
        """See `Signer.wallets`."""
        body = await self._ask(b"W")
        return frozenset(Address(body[i : i + 20]) for i in range(0, len(body), 20))

    async def sign(self, authorizations: Sequence[Authorization]) -> list[Signature]:
        """See `Signer.sign`."""
        parts = [b"S", struct.pack(">I", len(authorizations))]
        for item in authorizations:
            check_authorization(item, self._seal)
            parts.append(_ITEM.pack(item.kind.value, item.wallet, item.digest, len(item.preimage)))
            parts.append(item.preimage)
        body = await self._ask(b"".join(parts))
        if len(body) != 65 * len(authorizations):
            raise SignerError("the signer answered with the wrong number of signatures")
        return [
            Signature(
                int.from_bytes(body[i : i + 32], "big"), int.from_bytes(body[i + 32 : i + 64], "big"), body[i + 64]
            )
            for i in range(0, len(body), 65)
        ]

    async def close(self) -> None:
        """See `Signer.close`."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _ask(self, body: bytes) -> bytes:
        async with self._turn:
            try:
                self._writer.write(struct.pack(">I", len(body)) + body)
                (size,) = struct.unpack(">I", await self._reader.readexactly(4))
                answer = await self._reader.readexactly(size)
            except (OSError, asyncio.IncompleteReadError):
                raise SignerError("the signer process is gone") from None
        if answer[:1] == b"\x00":
            return answer[1:]
        code, _, detail = answer[1:].partition(b"\x00")
        raise SignerError(detail.decode(errors="replace"), code=code.decode(errors="replace"))


def _harden() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class _Child:
    """What the child remembers: the keys, and the passphrase that opened the last keystore."""

    def __init__(self) -> None:
        self.ring = KeyRing(Seal())
        self._passphrase = ""

    def open(self, path: Path, passphrase: str) -> Address:
        address = self.ring.open_keystore(path, passphrase or self._passphrase)
        self._passphrase = passphrase or self._passphrase
        return address


def _answer(child: _Child, body: bytes) -> bytes:
    ring = child.ring
    match body[:1]:
        case b"S":
            return _sign(ring, memoryview(body)[1:])
        case b"O":
            (size,) = struct.unpack_from(">I", body, 1)
            path, passphrase = body[5 : 5 + size].decode(), body[5 + size :].decode()
            return child.open(Path(path), passphrase)
        case b"W" if len(body) == 1:
            return b"".join(sorted(asyncio.run(ring.wallets())))
        case _:
            raise ValueError(body[:1])


def _sign(ring: KeyRing, view: memoryview) -> bytes:
    (count,) = struct.unpack_from(">I", view)
    place, signatures = 4, []
    for _ in range(count):
        kind, wallet, digest, size = _ITEM.unpack_from(view, place)
        place += _ITEM.size
        preimage = bytes(view[place : place + size])
        place += size
        signature = ring.sign_preimage(Address(wallet), PreimageKind(kind), preimage, digest)
        signatures.append(
            signature.r.to_bytes(32, "big") + signature.s.to_bytes(32, "big") + bytes((signature.y_parity,))
        )
    if place != len(view):
        raise ValueError(place)
    return b"".join(signatures)


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def main(descriptor: int) -> None:
    """The child: answers one message after another until the gate is gone."""
    _harden()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = _Child()
    with socket.socket(fileno=descriptor) as connection:
        while True:
            try:
                (size,) = struct.unpack(">I", _read_exactly(connection, 4))
                if size > MESSAGE_SIZE_BYTES_MAX:
                    return
                body = _read_exactly(connection, size)
            except (EOFError, OSError):
                return
            try:
                answer = b"\x00" + _answer(child, body)
            except WalletGateError as error:
                answer = b"\x01" + error.code.encode() + b"\x00" + error.detail.encode()
            except (ValueError, struct.error):
                os._exit(70)
            connection.sendall(struct.pack(">I", len(answer)) + answer)

"""Checkpoints leave the machine: to files that are only appended to, and to witnesses; and this gate as a witness.

`WitnessApi` answers `POST /add-checkpoint` for the logs that the configuration names. What it has seen is one file a
log, replaced in one step and on disk before the answer; checking and storing happen under one lock, also across
processes, so that no two requests are judged against the same old checkpoint.

`Outpost` is the other end: it follows this gate's own checkpoints, appends each to the sinks, and has the witnesses
cosign them. A witness that is away is asked again and holds up nothing. One that has seen *more* than there is, or
another tree, is how a gate learns that its own past was changed; that is logged as an error each time.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import aiohttp
from aiohttp import web

from walletgate.audit.merkle import nodes_of, prove_consistency
from walletgate.audit.note import Checkpoint, VerifyingKey, parse_checkpoint
from walletgate.audit.witness import (
    REQUEST_BYTES_MAX,
    AddCheckpoint,
    Cosigner,
    CosignerKey,
    cosigned_at,
    judge,
    parse_request,
)
from walletgate.errors import AuditError, InvalidRequestError
from walletgate.server.wire import read_body
from walletgate.store import Store
from walletgate.types import Hash32

_LOG = logging.getLogger(__name__)
_STATUS = {
    "witness_unknown_log": 404, "witness_untrusted": 403, "witness_malformed": 400, "witness_conflict": 409,
    "witness_inconsistent": 422,
}  # fmt: skip
PERIOD_S = 5.0
"""How often new checkpoints are sent on."""

TIMEOUT_S = 10.0
_ANSWER_BYTES_MAX = 4096


class WitnessApi:
    """Cosigns checkpoints of other logs. `folder` holds what was seen."""

    def __init__(
        self, folder: Path, cosigner: Cosigner, logs: Mapping[str, Sequence[VerifyingKey]], now_s: Callable[[], int]
    ) -> None:
        self._folder = folder
        self._cosigner = cosigner
        self._logs = logs
        self._now_s = now_s
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def routes(self) -> list[web.RouteDef]:
        """Where it listens."""
        return [web.post("/add-checkpoint", self._add)]

    async def _add(self, http: web.Request) -> web.Response:
        try:
            body = await read_body(http)
            if len(body) > REQUEST_BYTES_MAX:
                raise InvalidRequestError("a checkpoint is smaller than this", code="body_too_large")
            return web.Response(text=self.add(body), content_type="text/plain")
        except InvalidRequestError as error:
            return web.Response(text=f"{error.detail}\n", status=413)
        except AuditError as error:
            if error.code == "witness_conflict":
                return web.Response(
                    body=f"{error.data['size']}\n".encode(), status=409, headers={"Content-Type": "text/x.tlog.size"}
                )
            return web.Response(text=f"{error.detail}\n", status=_STATUS.get(error.code, 400))

    def add(self, body: bytes) -> str:
        """The cosignature for a request, after what it is about was stored.

        Raises:
            AuditError: as `judge`.
        """
        request = parse_request(body)
        path = self.path(request.note.partition("\n")[0])
        with self._locked():
            known = read_seen(path)
            checkpoint = judge(request, self._logs, known)
            if known is None or checkpoint.size > known.size:
                _replace(path, request.note)
        return self._cosigner.cosign(request.note, self._now_s())

    def path(self, origin: str) -> Path:
        """Where the newest checkpoint of a log is kept."""
        return seen_path(self._folder, origin)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


@dataclass(frozen=True, slots=True)
class Target:
    """One witness of our log."""

    url: str
    key: CosignerKey


class Outpost:
    """Takes our own checkpoints out of the gate."""

    def __init__(
        self, store: Store, note: Callable[[], str | None], folder: Path, targets: Sequence[Target],
        trouble: Callable[[str, str], None] = lambda _code, _text: None,
    ) -> None:  # fmt: skip
        """`note` is the newest signed checkpoint; `folder` keeps the newest cosigned note of each witness.

        `trouble` is told a code and a text of whatever keeps a checkpoint from getting out.
        """
        self._trouble = trouble
        self._store = store
        self._note = note
        self._folder = folder
        self._targets = targets
        self._known: dict[str, int] = {}
        self._done: dict[str, str] = {}

    async def run(self, sinks: Sequence[Path]) -> None:
        """Sends on again and again until cancelled."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
            while True:
                await self.step(session, sinks)
                await asyncio.sleep(PERIOD_S)

    async def step(self, session: aiohttp.ClientSession, sinks: Sequence[Path]) -> None:
        """Sends the newest checkpoint to whoever does not have it yet."""
        note = self._note()
        if note is None:
            return
        for sink in sinks:
            if self._done.get(str(sink)) != note:
                self._append(sink, note)
        for target in self._targets:
            if self._done.get(target.url) == note:
                continue
            try:
                await self._send(session, target, note)
            except (aiohttp.ClientError, TimeoutError, AuditError) as error:
                _LOG.warning("witness %s: %s", target.key.name, error)
                code = error.code if isinstance(error, AuditError) else "witness_unreachable"
                self._trouble(code, f"witness {target.key.name}")

    def _append(self, sink: Path, note: str) -> None:
        try:
            handle = os.open(sink, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(handle, note.encode() + b"\n")
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            _LOG.warning("checkpoints cannot be written to %s: %s", sink, error.strerror)
            self._trouble("sink_failed", f"checkpoints cannot be written to {sink}: {error.strerror}")
            return
        self._done[str(sink)] = note

    async def _send(self, session: aiohttp.ClientSession, target: Target, note: str) -> None:
        size = parse_checkpoint(note.partition("\n\n")[0] + "\n").size
        old = self._known.get(target.url, 0)
        for _ in range(2):
            status, answer = await self._post(session, target, self._request(old, size, note))
            if status != 409:
                break
            text = answer.strip()
            if not text.isdigit() or len(text) > 19 or int(text) > size or int(text) == old:
                _LOG.error("witness %s has seen another history of this log (size %.20s)", target.key.name, text)
                raise AuditError("the witness has seen another history of this log", code="log_forked")
            old = int(text)
        if status != 200:
            raise AuditError(f"the witness answered {status}", code="witness_refused")
        cosigned = note + answer
        cosigned_at(cosigned, target.key)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(self._folder / f"cosigned-{target.key.key_id.hex()}.note", cosigned)
        self._known[target.url], self._done[target.url] = size, note

    def _request(self, old: int, size: int, note: str) -> str:
        proof: tuple[Hash32, ...] = ()
        if 0 < old < size:
            proof = prove_consistency(nodes_of([Hash32(leaf) for leaf in self._store.leaves(size)]), old, size)
        return str(AddCheckpoint(old, proof, note))

    @staticmethod
    async def _post(session: aiohttp.ClientSession, target: Target, body: str) -> tuple[int, str]:
        async with session.post(f"{target.url}/add-checkpoint", data=body.encode(), allow_redirects=False) as answer:
            content = await answer.content.read(_ANSWER_BYTES_MAX)
            return answer.status, content.decode(errors="replace")


def seen_path(folder: Path, origin: str) -> Path:
    """Where a witness keeps what it has seen of a log."""
    return folder / f"{sha256(origin.encode()).hexdigest()[:32]}.note"


def read_seen(path: Path) -> Checkpoint | None:
    """The checkpoint a witness stored, None if there is none.

    Raises:
        AuditError: `checkpoint_malformed`, the file is damaged; then nothing is cosigned for that log.
    """
    try:
        note = path.read_text()
    except FileNotFoundError:
        return None
    return parse_checkpoint(note.partition("\n\n")[0] + "\n")


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

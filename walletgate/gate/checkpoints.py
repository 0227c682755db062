"""Signed checkpoints of the log: the proof that nothing before them was changed.

A checkpoint is signed only over committed entries, at most once a second while the log grows, and written to a
file outside the database. At start the database must contain what the file says: if it is smaller or different,
somebody restored an old copy or changed history, and the gate does not serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from walletgate.audit.entry import Kind, parse_entry
from walletgate.audit.merkle import root_of
from walletgate.audit.note import Checkpoint, SigningKey, open_checkpoint, sign_checkpoint
from walletgate.errors import ConflictError, StoreError
from walletgate.store import Store
from walletgate.types import Hash32

INTERVAL_S = 1.0


class Checkpoints:
    """Signs the log of one store."""

    def __init__(self, store: Store, key: SigningKey, path: Path) -> None:
        self._store = store
        self._key = key
        self._path = path
        self._signed = -1
        self.newest: str | None = None
        """The newest signed note, for whoever lays it down elsewhere."""
        self.signed_ms: int | None = None
        """When it was signed."""

    @property
    def size(self) -> int:
        """Entries that the newest checkpoint of this run covers; -1 before the first."""
        return self._signed

    def check_kept(self) -> None:
        """Compares the database with the newest checkpoint on file.

        Raises:
            StoreError: `behind_checkpoint`, `history_changed`.
            AuditError: the file is not a checkpoint of this log under this key.
        """
        if not self._path.exists():
            return
        kept = open_checkpoint(self._path.read_bytes(), origin=self._store.origin, trusted=[self._key.verifying_key])
        size = self._store.log_size
        if size < kept.size:
            raise StoreError(
                f"the log has {size} entries, its own checkpoint {kept.size}: was an old copy restored?",
                code="behind_checkpoint",
                data={"actual": size, "expected": kept.size},
            )
        if root_of(Hash32(leaf) for leaf in self._store.leaves(kept.size)) != kept.root:
            raise StoreError("the log's history is not what its checkpoint says", code="history_changed")

    async def sign(self, now_ms: int) -> str:
        """Signs the log as it is committed now, keeps the note in file and database, and returns it."""
        size = self._store.log_size
        note = sign_checkpoint(Checkpoint(self._store.origin, size, Hash32(self._store.log_root())), [self._key])
        if size != self._signed:
            await self._keep(size, note, now_ms)
        return note

    async def _keep(self, size: int, note: str, now_ms: int) -> None:
        draft = self._path.with_name(f".{self._path.name}.new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        async with self._store.write(now_ms) as tx:
            tx.add_checkpoint(size, note)
        self._signed = size
        self.newest = note
        self.signed_ms = now_ms

    def check_rotation(self, before: str, after: SigningKey) -> None:
        """Refuses a change of key that would leave a gap in the chain, or sign for another log.

        Raises:
            ConflictError: `key_not_current`.
        """
        if before != str(self._key.verifying_key) or after.name != self._key.name:
            raise ConflictError("that is not the key that signs this log now", code="key_not_current")

    async def rotate(self, after: SigningKey, adopt: Callable[[], None], now_ms: int) -> bool:
        """Lets `after` sign from here, if the log says so; `adopt` puts it in its place on disk.

        The old key signs once more, over the entry that names the new one, and the new one with it: whoever knows the
        old key can follow. A crash before `adopt` leaves everything to be done again at the next start.
        """
        if not self._names(after):
            return False
        size = self._store.log_size
        checkpoint = Checkpoint(self._store.origin, size, Hash32(self._store.log_root()))
        await self._keep(size, sign_checkpoint(checkpoint, [self._key, after]), now_ms)
        adopt()
        self._key = after
        return True

    def _names(self, after: SigningKey) -> bool:
        """Whether the newest change of key in the log is from the present key to `after`."""
        kind = b'"kind":"%s"' % Kind.LOG_KEY_CHANGED.value.encode()
        changes = [entry for _, _, entry in self._store.entries() if kind in entry]
        if not changes:
            return False
        last = parse_entry(changes[-1])
        return (last.get("before"), last.get("after")) == (str(self._key.verifying_key), str(after.verifying_key))

    async def run(self, now_ms: Callable[[], int]) -> None:
        """Signs again and again while the log grows, until cancelled."""
        while True:
            if self._store.log_size != self._signed:
                with contextlib.suppress(StoreError):  # a database that is away for a while; the next second will do
                    await self.sign(now_ms())
            await asyncio.sleep(INTERVAL_S)

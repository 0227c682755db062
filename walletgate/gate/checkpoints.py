"""Signed checkpoints of the log: the proof that nothing before them was changed.

A checkpoint is signed only over committed entries, at most once a second while the log grows, and written to a
file outside the database. At start the database must contain what the file says: if it is smaller or different,
somebody restored an old copy or changed history, and the gate does not serve.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from walletgate.audit.merkle import root_of
from walletgate.audit.note import Checkpoint, SigningKey, open_checkpoint, sign_checkpoint
from walletgate.errors import StoreError
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

    def sign(self, now_ms: int) -> str:
        """Signs the log as it is committed now, keeps the note in file and database, and returns it."""
        size = self._store.log_size
        note = sign_checkpoint(Checkpoint(self._store.origin, size, Hash32(self._store.log_root())), [self._key])
        if size != self._signed:
            draft = self._path.with_name(f".{self._path.name}.new")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
            with self._store.write(now_ms) as tx:
                tx.add_checkpoint(size, note)
            self._signed = size
            self.newest = note
        return note

    async def run(self, now_ms: Callable[[], int]) -> None:
        """Signs again and again while the log grows, until cancelled."""
        while True:
            if self._store.log_size != self._signed:
                self.sign(now_ms())
            await asyncio.sleep(INTERVAL_S)

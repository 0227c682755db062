"""Several gates on one store: each follows what the others commit, and one of them settles.

Deciding needs no leader, because whoever decides holds the ledger's head. Settling does: asking the chain once is
enough. The one that does it holds a lease and says so again before it ends; when it is killed, another takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Sequence

from walletgate.errors import WalletGateError
from walletgate.gate.writer import GroupCommit, Job
from walletgate.signers import Signature
from walletgate.store import Store, Writer

FOLLOW_S = 0.2
LEASE_MS = 6_000
"""How long a gate that says nothing any more keeps the others from settling."""


class Sharing:
    """One gate among those that share its store; alone on a file, it always leads."""

    def __init__(self, store: Store, commits: GroupCommit, now_ms: Callable[[], int]) -> None:
        self.instance = f"{socket.gethostname()[:64]}/{os.getpid()}/{secrets.token_hex(4)}"
        self._store = store
        self._commits = commits
        self._now_ms = now_ms
        self._until_ms = 0
        self._follower: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to follow the others, if there can be any."""
        if self._store.shared:
            self._follower = asyncio.create_task(self._follow(), name="follow")

    async def close(self) -> None:
        """Stops following."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    async def leads(self) -> bool:
        """Whether this gate is the one that settles.

        Raises:
            StoreError: the store was needed and failed.
        """
        if not self._store.shared or self._now_ms() < self._until_ms - LEASE_MS // 2:
            return True
        return await self._commits.submit(Job(tuple, self._take_lease))

    def _take_lease(self, tx: Writer, _signatures: Sequence[Signature]) -> bool:
        held = self._store.lease("settle")
        if held is not None and held[0] != self.instance and held[1] > tx.now_ms:
            return False
        self._until_ms = tx.now_ms + LEASE_MS
        tx.set_lease("settle", self.instance, self._until_ms)
        return True

    async def _follow(self) -> None:
        """Learns soon what other gates commit, also when nobody asks this one for anything."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            with contextlib.suppress(WalletGateError):
                if self._store.is_behind():
                    await self._commits.submit(Job(tuple, _nothing))


def _nothing(_tx: Writer, _signatures: Sequence[Signature]) -> None:
    pass

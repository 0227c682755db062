"""Group commit: everything that waits is decided, signed, recorded and committed together.

A `Job` has three steps. `decide` looks at memory and books in memory, and says what must be signed; `record`
writes rows and entries with the signatures in hand; `done` runs after the commit. One batch of jobs shares one
call to the signer, one transaction and one flush. There is no timer: while one batch commits, the next gathers.

All of it happens inside the transaction. Where other gates share the store, that means: with the ledger's head in
hand, and with everything they committed before already in memory.

Signatures are made before the commit and leave the gate after it, so that one flush is enough and crash recovery
finds the signed bytes in the row. If signing or committing fails, nothing was promised to anybody: memory is
rebuilt from the store before anything else is decided, and every job of the batch fails with the same retryable
error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, TypeVar

from walletgate.errors import GatePausedError, SignerError, StoreError, WalletGateError
from walletgate.gate.meter import Meter
from walletgate.signers import Authorization, Signature, Signer
from walletgate.store import Store, Writer

BATCH_MAX = 128
QUEUE_MAX = 4096

T = TypeVar("T")


@dataclass(slots=True)
class Job(Generic[T]):
    """One state change. `decide` may raise a WalletGateError, and then must have booked nothing."""

    decide: Callable[[], Sequence[Authorization]]
    record: Callable[[Writer, Sequence[Signature]], T]
    done: Callable[[T], None] | None = None
    authorizations: Sequence[Authorization] = ()
    result: list[T] = field(default_factory=list)
    future: asyncio.Future[T] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: BaseException) -> None:
        """Answers the waiting caller with `error`."""
        if not self.future.done():
            self.future.set_exception(error)


class GroupCommit:
    """The only writer of a gate."""

    def __init__(
        self, store: Store, signer: Signer, *, now_ms: Callable[[], int], reload: Callable[[], None],
        saved: Callable[[], None], hook: Callable[[str], None], meter: Meter,
    ) -> None:  # fmt: skip
        """`reload` rebuilds memory from the store, `saved` tells it that both agree again.

        `hook` is told before and after each commit.
        """
        self._store = store
        self._signer = signer
        self._now_ms = now_ms
        self._reload = reload
        self._saved = saved
        self._hook = hook
        self._signing, self._committing = meter.stages["sign"], meter.stages["commit"]
        self._stale = False
        self._queue: asyncio.Queue[Job[object]] = asyncio.Queue(QUEUE_MAX)
        self._stopped = False

    async def submit(self, job: Job[T]) -> T:
        """Runs a job in the next batch and returns its result after the commit.

        Raises:
            GatePausedError: `busy`, when too many wait already.
            StoreError: `gate_stopped`, after a broken promise; `commit_failed`, nothing was done; `commit_uncertain`,
                the database was lost at the wrong moment and has not come back: ask again with the same id.
            WalletGateError: what `decide` raised, or why the batch failed.
        """
        if self._stopped:
            raise StoreError("the gate has stopped", code="gate_stopped")
        try:
            self._queue.put_nowait(job)  # type: ignore[arg-type]
        except asyncio.QueueFull:
            raise GatePausedError("the gate is busy; try again", code="busy", data={"retry_after_s": 1}) from None
        return await job.future

    async def run(self) -> None:
        """Commits batch after batch until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_MAX and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                if self._stale:
                    self._reload()
                    self._stale = False
                await self._commit(batch)
            except (SignerError, StoreError) as error:
                self._stale = True
                failure = StoreError(f"nothing was done: {error.detail}", code="commit_failed")
                for job in batch:
                    job.fail(error if error.code == "commit_uncertain" else failure)
            except BaseException:
                self._stop(batch)
                raise

    def _stop(self, batch: list[Job[object]]) -> None:
        """Answers everything that waits, and takes nothing more."""
        self._stopped = True
        waiting = [*batch]
        while not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        for job in waiting:
            job.fail(StoreError("the gate has stopped", code="gate_stopped"))

    @property
    def depth(self) -> int:
        """Jobs that wait for the next batch."""
        return self._queue.qsize()

    async def _sign(self, wanted: Sequence[Authorization]) -> Sequence[Signature]:
        began_s = perf_counter()
        signatures = await self._signer.sign(wanted)
        self._signing.observe(perf_counter() - began_s)
        return signatures

    async def _commit(self, batch: list[Job[object]]) -> None:
        decided: list[Job[object]] = []
        async with self._store.write(self._now_ms()) as tx:
            for job in batch:
                try:
                    job.authorizations = job.decide()
                    decided.append(job)
                except WalletGateError as error:
                    job.fail(error)
            if decided:
                wanted = [authorization for job in decided for authorization in job.authorizations]
                signatures = await self._sign(wanted) if wanted else []
                place = 0
                for job in decided:
                    following = place + len(job.authorizations)
                    job.result.append(job.record(tx, signatures[place:following]))
                    place = following
                self._hook("before_commit")
            began_s = perf_counter()
        self._committing.observe(perf_counter() - began_s)
        self._saved()
        self._hook("after_commit")
        for job in decided:
            if job.done is not None:
                job.done(job.result[0])
            if not job.future.done():
                job.future.set_result(job.result[0])

"""Gets signed bytes to the chain, in the order of their nonces, as often as it takes.

One queue for each wallet and chain: a node sees nonces in order, and one slow chain holds up no other. Sending the
same bytes again is harmless, so a crash or a lost answer costs nothing but a repetition. A refusal or a silence
changes nothing about what is reserved: the bytes are signed, and may be out there.

A freeze holds back what was signed and has reached no node: it stays reserved, and goes out after the freeze, when
settlement looks at it again. An operator's own transactions (a cancellation, a revocation) are not held back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from walletgate.audit.entry import Kind
from walletgate.encoding import printable, to_hex
from walletgate.errors import ChainError, WalletGateError
from walletgate.gate.codec import canonical
from walletgate.gate.writer import Job
from walletgate.signers import Signature
from walletgate.store import Request, Writer
from walletgate.types import Address, Status

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

NOTE_DELAY_S = 0.05
"""How long a record that bytes were sent waits for company: it costs a durable commit, and nobody waits for it."""

HELD = "held_by_freeze"
OPERATOR_SURFACE = "operator"
RETRY_S = 0.5
RETRY_S_MAX = 30.0


class Broadcaster:
    """Sends what was signed and records that it was sent."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._queues: dict[tuple[Address, int], asyncio.PriorityQueue[tuple[int, str]]] = {}
        self._workers: dict[tuple[Address, int], asyncio.Task[None]] = {}
        self._answers: dict[str, asyncio.Event] = {}
        self._queued: set[str] = set()
        self._sent: list[Request] = []
        self._noting: asyncio.Task[None] | None = None

    def enqueue(self, request: Request) -> None:
        """Has a signed transaction sent; one that is queued already stays where it is."""
        if request.id in self._queued or request.nonce is None or self._is_released(request):
            return
        key = (request.wallet, request.chain_id)
        if key not in self._workers:
            self._queues[key] = asyncio.PriorityQueue()
            self._workers[key] = asyncio.create_task(self._work(key), name=f"broadcast-{request.chain_id}")
        self._queued.add(request.id)
        self._answers.setdefault(request.id, asyncio.Event())
        self._queues[key].put_nowait((request.nonce, request.id))

    async def first_answer(self, request_id: str, wait_s: float) -> None:
        """Returns when a node has answered for the request, or after `wait_s`."""
        event = self._answers.get(request_id)
        if event is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), wait_s)

    async def close(self) -> None:
        """Stops sending; the rest is sent after the next start."""
        for worker in self._workers.values():
            worker.cancel()
        await asyncio.gather(*self._workers.values(), return_exceptions=True)
        self._workers.clear()
        if self._noting is not None:
            self._noting.cancel()
            await asyncio.gather(self._noting, return_exceptions=True)

    def is_held(self, request: Request) -> bool:
        """Whether a freeze keeps signed bytes that no node has yet from going out."""
        harmless = request.surface == OPERATOR_SURFACE and not request.client_id.startswith("speed-up:")
        if request.status is not Status.SIGNED or harmless:
            return False
        state = self._gate.state
        return state.frozen_by(state.grants[request.grant_id], request.chain_id) is not None

    async def _note_held(self, request: Request) -> None:
        if not was_held(request):
            await self._note_failure(request, ChainError("held back by a freeze", code=HELD))

    @staticmethod
    def _is_released(request: Request) -> bool:
        return '"release_raw":true' in request.payload

    async def _work(self, key: tuple[Address, int]) -> None:
        queue, chain = self._queues[key], self._gate.chains.get(key[1])
        pause_s = RETRY_S
        while chain is not None:
            nonce, request_id = await queue.get()
            request = self._gate.find(request_id)
            if request is None or request.raw is None or request.status not in (Status.SIGNED, Status.BROADCAST):
                self._finish(request_id)
                continue
            if self.is_held(request):
                await self._note_held(request)
                self._finish(request_id)
                continue
            self._gate.hook("before_broadcast")
            began_s = perf_counter()
            try:
                await chain.send_raw(request.raw)
            except ChainError as error:
                if error.code == "broadcast_rejected":
                    self._gate.meter.node_errors[key[1], error.code] += 1
                await self._note_failure(request, error)
                self._answered(request_id)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
                queue.put_nowait((nonce, request_id))
                continue
            pause_s = RETRY_S
            self._gate.meter.stages["broadcast"].observe(perf_counter() - began_s)
            self._gate.hook("after_broadcast")
            self._answered(request_id)
            self._note_sent(request)
            self._finish(request_id)

    def _answered(self, request_id: str) -> None:
        event = self._answers.get(request_id)
        if event is not None:
            event.set()

    def _finish(self, request_id: str) -> None:
        self._queued.discard(request_id)
        self._answered(request_id)
        self._answers.pop(request_id, None)

    def _note_sent(self, request: Request) -> None:
        """Has it recorded that a node took the bytes; what is sent while a record waits joins it."""
        self._sent.append(request)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.create_task(self._record_sent())

    async def _record_sent(self) -> None:
        def record(tx: Writer, _signatures: Sequence[Signature]) -> None:
            sent, self._sent = self._sent, []
            known = {request.id: self._gate.find(request.id) or request for request in sent}
            waiting = [request for request in known.values() if request.status is Status.SIGNED]
            for request in waiting:
                tx.entry(Kind.TRANSACTION_BROADCAST, {"request": request.id, "tx": to_hex(request.tx_hash or b"")})
            for moved in tx.mark_broadcast(waiting):
                self._gate.state.keep(moved)

        while self._sent:
            await asyncio.sleep(NOTE_DELAY_S)
            try:
                await self._gate.commits.submit(Job(tuple, record))
            except WalletGateError:
                await asyncio.sleep(RETRY_S)

    async def _note_failure(self, request: Request, error: ChainError) -> None:
        """Records the first failure of its kind, so that a node that is away does not fill the log."""
        outcome = canonical({"error": error.code, "detail": printable(error.detail), **_node_message(error)}).decode()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            current = self._gate.find(request.id) or request
            if current.status is not Status.SIGNED or current.outcome == outcome:
                return current
            tx.entry(
                Kind.BROADCAST_FAILED, {"request": current.id, "code": error.code, "detail": printable(error.detail)}
            )
            return self._gate.state.keep(tx.move_request(current, outcome=outcome))

        with contextlib.suppress(WalletGateError):
            await self._gate.commits.submit(Job(tuple, record, self._gate.noticed))


def was_held(request: Request) -> bool:
    """Whether the last that was noted of a request is that a freeze held it back."""
    return f'"error":"{HELD}"' in (request.outcome or "")


def _node_message(error: ChainError) -> dict[str, str]:
    message = error.data.get("node_message")
    return {"node_message": printable(str(message))} if message else {}

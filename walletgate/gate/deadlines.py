"""What ends by time: requests and drafts that wait for operators, and signatures that were handed out.

A signature counts in full from the moment it was made. It is posted as soon as the chain shows that it was used. It
is given back only when it provably never can be: a block that is deep enough to count is dated after its deadline
(with a margin, because chains' clocks and the gate's differ), and the contract says at that very block that it was
not used. Where there is nothing to ask (`effects.usage`), or the node does not answer, what is uncertain is spent:
it is posted when the deadline has passed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from walletgate.audit.entry import Kind
from walletgate.chain import Chain, NodeRefusedError
from walletgate.effects.usage import Question, questions
from walletgate.encoding import checksum_address, to_hex
from walletgate.errors import ChainError, ConflictError
from walletgate.gate.allowances import record_allowances
from walletgate.gate.codec import payload_from_json
from walletgate.gate.drafts import OPEN_MAX, sweep
from walletgate.gate.writer import Job
from walletgate.signers import Authorization, Signature
from walletgate.store import Request, Writer
from walletgate.types import Status, TypedData

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

DEADLINE_MARGIN_MS = 15 * 60 * 1000
"""How long after a signature's deadline it still counts as usable: chains' clocks and reorganisations."""

PATIENCE_MS = 60 * 60 * 1000
"""How much longer a node may fail to answer before what is uncertain is posted."""

DRAFTS_MS = 10_000
"""How often drafts are looked at for their time."""

LOOK_MS = 15_000
"""How often a signature is looked for on chain."""


class Deadlines:
    """Ends what time ends."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._looked: dict[str, int] = {}
        self._drafts_ms = 0

    async def expire_waiting(self) -> None:
        """Ends requests that nobody decided in time."""
        now_ms = self._gate.now_ms()
        for request in list(self._gate.state.requests.values()):
            late = request.expires_ms is not None and now_ms >= request.expires_ms
            if late and request.status is Status.AWAITING_APPROVAL:
                await self._expire(request)

    async def expire_drafts(self) -> None:
        """Ends drafts that nobody completed in time; looked for every `DRAFTS_MS`."""
        gate = self._gate
        now_ms = gate.now_ms()
        if now_ms - self._drafts_ms < DRAFTS_MS:
            return
        self._drafts_ms = now_ms
        if all(now_ms < draft.expires_ms for draft in gate.store.authority.drafts(status="open", limit=OPEN_MAX)):
            return

        def record(tx: Writer, _signatures: Sequence[Signature]) -> None:
            sweep(gate, tx)

        await gate.commits.submit(Job(tuple, record))

    async def look(self, chain: Chain, signatures: Sequence[Request], deep: int) -> None:
        """Looks for signatures on chain, as of the block at height `deep`."""
        now_ms = self._gate.now_ms()
        self._looked = {r.id: self._looked[r.id] for r in signatures if r.id in self._looked}
        for request in signatures:
            ends_ms = request.expires_ms
            if ends_ms is None:
                continue
            over = now_ms >= ends_ms + DEADLINE_MARGIN_MS
            if not over and now_ms - self._looked.get(request.id, 0) < LOOK_MS:
                continue
            self._looked[request.id] = now_ms
            asked = _questions_of(request)
            used = await self._is_used(chain, asked, deep) if asked else None
            if used:
                await self._end(request, posted=True, why="used")
            elif over and used is False and await self._is_dated_after(chain, deep, ends_ms):
                await self._end(request, posted=False, why="unused")
            elif over and (not asked or now_ms >= ends_ms + DEADLINE_MARGIN_MS + PATIENCE_MS):
                await self._end(request, posted=True, why="deadline")

    @staticmethod
    async def _is_used(chain: Chain, asked: Sequence[Question], deep: int) -> bool | None:
        """Whether one of the questions is answered with yes; None when one is not answered properly."""
        for question in asked:
            call = {"to": checksum_address(question.to), "data": to_hex(question.data)}
            try:
                answer = await chain.forward("eth_call", (call, hex(deep)))
            except (ChainError, NodeRefusedError):
                return None
            if not isinstance(answer, str) or not answer.startswith("0x") or len(answer) != 2 + 64 * question.words:
                return None
            try:
                data = bytes.fromhex(answer[2:])
            except ValueError:
                return None
            if question.used(tuple(int.from_bytes(data[at : at + 32], "big") for at in range(0, len(data), 32))):
                return True
        return False

    @staticmethod
    async def _is_dated_after(chain: Chain, deep: int, ends_ms: int) -> bool:
        try:
            block = await chain.block(deep)
        except (ChainError, NodeRefusedError):
            return False
        return block is not None and block.time_s * 1000 > ends_ms

    async def _end(self, request: Request, *, posted: bool, why: str) -> None:
        gate = self._gate

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            current = gate.find(request.id) or request
            if current.status is not Status.SIGNED or current.raw is not None:
                return current
            book = gate.state.book
            if book.pending(current.id):
                resolve = book.post if posted else book.void
                tx.resolve_movements(resolve(current.id, now_ms=tx.now_ms))
            kind = Kind.RESERVATION_POSTED if posted else Kind.RESERVATION_VOIDED
            tx.entry(kind, {"request": current.id, "why": why})
            if posted:
                record_allowances(tx, current, gate.store)
            status = Status.CONFIRMED if posted else Status.DROPPED
            return gate.state.keep(tx.move_request(current, status=status, moving=False))

        await gate.commits.submit(Job(tuple, record, gate.noticed))

    async def _expire(self, request: Request) -> None:
        gate = self._gate

        def decide() -> Sequence[Authorization]:
            gate.state.claim(request)
            return ()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            current = gate.state.requests[request.id]
            return gate.end_waiting(tx, current, Status.EXPIRED, Kind.REQUEST_EXPIRED, {})

        with contextlib.suppress(ConflictError):
            await gate.commits.submit(Job(decide, record, gate.noticed))


def _questions_of(request: Request) -> tuple[Question, ...]:
    payload = payload_from_json(json.loads(request.payload)["payload"])
    return questions(payload) if isinstance(payload, TypedData) else ()

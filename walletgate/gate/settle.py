"""What became of what was sent: receipts, confirmations, expiry. Run again and again; every step is safe to repeat.

A transaction is settled once its receipt is as deep as the chain's confirmations ask. Success posts what was
reserved, with the fee that was really paid; a revert posts the fee alone. A transaction without a receipt whose
nonce is taken at that depth can never be mined any more: only then is its reservation given back. Signed messages
count until their deadline and are posted, not released, when it passes, because nobody has looked whether they
were used. Waiting requests expire.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from walletgate.audit.entry import Json, Kind
from walletgate.chain import Chain, NodeRefusedError, Receipt
from walletgate.encoding import to_hex
from walletgate.errors import ChainError, ConflictError
from walletgate.gate.codec import canonical
from walletgate.gate.lifecycle import check_move
from walletgate.gate.writer import Job
from walletgate.signers import Authorization, Signature
from walletgate.store import Request, Writer
from walletgate.types import Hash32, Measure, Status

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

DEADLINE_MARGIN_MS = 15 * 60 * 1000
"""How long after a signature's deadline it still counts as usable: chains' clocks and reorganisations."""

REBROADCAST_MS = 30_000


class Settlement:
    """Moves requests on as time passes and blocks arrive."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def run(self) -> None:
        """Settles again and again until cancelled."""
        while True:
            await self.step()
            await asyncio.sleep(self._gate.settings.poll_s)

    async def step(self) -> None:
        """One look at every request that still moves."""
        await self._expire()
        watched: dict[int, list[Request]] = {}
        for request in list(self._gate.state.requests.values()):
            if request.raw is not None and request.status in (Status.SIGNED, Status.BROADCAST):
                watched.setdefault(request.chain_id, []).append(request)
        for chain_id, requests in watched.items():
            chain = self._gate.chains.get(chain_id)
            if chain is not None:
                await self._look(chain, requests)

    async def _look(self, chain: Chain, requests: Sequence[Request]) -> None:
        depth = self._gate.settings.confirmations.get(chain.chain_id, self._gate.settings.confirmations_default)
        try:
            head = await chain.block_number()
            deep = max(0, head - depth + 1)
            for request in requests:
                await self._look_at(chain, request, deep)
        except (ChainError, NodeRefusedError):
            return

    async def _look_at(self, chain: Chain, request: Request, deep: int) -> None:
        receipt = await chain.receipt(request.tx_hash or Hash32(b""))
        if receipt is not None:
            if receipt.block_number <= deep:
                await self._settle(request, receipt)
            return
        taken = await chain.nonce(request.wallet, hex(deep))
        if request.nonce is not None and taken > request.nonce:
            if await chain.receipt(request.tx_hash or Hash32(b"")) is None:
                await self._drop(request)
        elif self._gate.now_ms() - request.updated_ms > REBROADCAST_MS:
            self._gate.broadcaster.enqueue(request)

    async def _settle(self, request: Request, receipt: Receipt) -> None:
        gate = self._gate
        status = Status.CONFIRMED if receipt.succeeded else Status.REVERTED
        kind = Kind.TRANSACTION_CONFIRMED if receipt.succeeded else Kind.TRANSACTION_REVERTED

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            current = gate.find(request.id) or request
            if current.status not in (Status.SIGNED, Status.BROADCAST):
                return current
            check_move(current.status, status)
            actual = {}
            for movement in gate.state.book.pending(current.id):
                booked = movement.booking
                if booked.measure is Measure.FEE:
                    actual[movement.id] = min(receipt.fee, booked.amount)
                elif not receipt.succeeded and booked.measure is not Measure.COUNT:
                    actual[movement.id] = 0
            if gate.state.book.pending(current.id):
                tx.resolve_movements(gate.state.book.post(current.id, now_ms=tx.now_ms, actual=actual))
            outcome: dict[str, Json] = {
                "block": receipt.block_number, "gas_used": str(receipt.gas_used), "fee": str(receipt.fee),
                "succeeded": receipt.succeeded,
            }  # fmt: skip
            tx.entry(kind, {"request": current.id, "tx": to_hex(current.tx_hash or b""), **outcome})
            return gate.state.keep(tx.move_request(current, status=status, outcome=canonical(outcome).decode()))

        await gate.commits.submit(Job(tuple, record, gate.noticed))

    async def _drop(self, request: Request) -> None:
        gate = self._gate

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            current = gate.find(request.id) or request
            if current.status not in (Status.SIGNED, Status.BROADCAST):
                return current
            if gate.state.book.pending(current.id):
                tx.resolve_movements(gate.state.book.void(current.id, now_ms=tx.now_ms))
            tx.entry(Kind.TRANSACTION_DROPPED, {"request": current.id, "tx": to_hex(current.tx_hash or b"")})
            return gate.state.keep(tx.move_request(current, status=Status.DROPPED))

        await gate.commits.submit(Job(tuple, record, gate.noticed))

    async def _expire(self) -> None:
        now_ms = self._gate.now_ms()
        for request in list(self._gate.state.requests.values()):
            if request.expires_ms is None:
                continue
            if request.status is Status.AWAITING_APPROVAL and now_ms >= request.expires_ms:
                await self._expire_waiting(request)
            elif request.status is Status.SIGNED and now_ms >= request.expires_ms + DEADLINE_MARGIN_MS:
                await self._post_message(request)

    async def _expire_waiting(self, request: Request) -> None:
        gate = self._gate

        def decide() -> Sequence[Authorization]:
            gate.state.claim(request)
            return ()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            current = gate.state.requests[request.id]
            return gate.end_waiting(tx, current, Status.EXPIRED, Kind.REQUEST_EXPIRED, {})

        with contextlib.suppress(ConflictError):
            await gate.commits.submit(Job(decide, record, gate.noticed))

    async def _post_message(self, request: Request) -> None:
        gate = self._gate

        def record(tx: Writer, _signatures: Sequence[Signature]) -> Request:
            current = gate.find(request.id) or request
            if current.status is not Status.SIGNED:
                return current
            if gate.state.book.pending(current.id):
                tx.resolve_movements(gate.state.book.post(current.id, now_ms=tx.now_ms))
            tx.entry(Kind.RESERVATION_POSTED, {"request": current.id, "why": "deadline"})
            return gate.state.keep(tx.move_request(current, status=Status.CONFIRMED))

        await gate.commits.submit(Job(tuple, record, gate.noticed))

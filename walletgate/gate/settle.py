"""What became of what was sent: receipts, confirmations, reorganisations. Run again and again; steps repeat safely.

Requests that compete for one nonce (a transaction, its speed-up, its cancellation) are looked at together: one of
them can be mined. It is settled once its receipt is as deep as the chain's confirmations ask. Success posts what
was reserved, with the fee that was really paid; a revert posts the fee alone; what lost the nonce to it is
*replaced* and its reservation given back. If the nonce is taken at that depth and none of ours has a receipt,
somebody else used the key: all of them are *dropped*, and the log says so loudly.

Until a block is `finality` deep the chain may take it back. One question a step finds that out: a block whose hash
is unchanged has unchanged ancestors. What was settled in a block that is gone is pending again, in full, and is
broadcast again. A transaction that nobody mines for long is called stuck; what to do about it is an operator's
decision (`request speed-up`, `request cancel`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from walletgate.audit.entry import Json, Kind
from walletgate.chain import Chain, NodeRefusedError, Receipt
from walletgate.encoding import to_hex
from walletgate.errors import ChainError, GatePausedError, StoreError
from walletgate.gate.allowances import record_allowances
from walletgate.gate.broadcast import was_held
from walletgate.gate.codec import canonical
from walletgate.gate.deadlines import Deadlines
from walletgate.gate.lifecycle import SENT, SETTLED, check_move
from walletgate.gate.writer import Job
from walletgate.limits import Movement
from walletgate.signers import Signature
from walletgate.store import Request, Writer
from walletgate.types import Address, Hash32, Measure, Status

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

REBROADCAST_MS = 30_000
ORPHAN_MS = 3_000
"""After this long a transaction that was signed and never sent is taken to be of a gate that died."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Which of the rivals for a nonce was mined, and how."""

    request: Request
    receipt: Receipt


class Settlement:
    """Moves requests on as time passes and blocks arrive."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._deadlines = Deadlines(gate)

    async def run(self) -> None:
        """Settles again and again until cancelled."""
        while True:
            with contextlib.suppress(StoreError, GatePausedError):
                if await self._gate.sharing.leads():
                    await self.step()
            await asyncio.sleep(self._gate.settings.poll_s)

    async def step(self) -> None:
        """One look at every request that still moves."""
        await self._deadlines.expire_waiting()
        await self._deadlines.expire_drafts()
        watched: dict[int, list[Request]] = {}
        for request in list(self._gate.state.requests.values()):
            watched.setdefault(request.chain_id, []).append(request)
        for chain_id, requests in watched.items():
            chain = self._gate.chains.get(chain_id)
            if chain is not None:
                await self._look(chain, requests)

    async def _look(self, chain: Chain, requests: Sequence[Request]) -> None:
        settings = self._gate.settings
        try:
            head = await chain.block_number()
            deep = max(0, head - settings.depth_of(chain.chain_id) + 1)
            settled = [r for r in requests if r.raw is not None and r.status in SETTLED]
            await self._look_back(chain, settled, head - settings.finality_of(chain.chain_id) + 1)
            for slot in _slots(r for r in requests if r.raw is not None and r.status in SENT):
                await self._look_at(chain, slot, deep)
            signatures = [r for r in requests if r.raw is None and r.status is Status.SIGNED]
            await self._deadlines.look(chain, signatures, deep)
        except (ChainError, NodeRefusedError):
            return

    async def _look_at(self, chain: Chain, slot: Sequence[Request], deep: int) -> None:
        found = await self._receipt_of(chain, slot)
        if found is not None:
            if found.receipt.block_number <= deep:
                await self._settle(slot, found)
            return
        first = slot[0]
        taken = await chain.nonce(first.wallet, hex(deep))
        if first.nonce is not None and taken > first.nonce:
            if await self._receipt_of(chain, slot) is None:
                await self._drop(slot, deep)
            return
        await self._push(slot)

    async def _receipt_of(self, chain: Chain, slot: Iterable[Request]) -> _Found | None:
        for request in slot:
            receipt = await chain.receipt(request.tx_hash or Hash32(b""))
            if receipt is not None:
                return _Found(request, receipt)
        return None

    async def _push(self, slot: Sequence[Request]) -> None:
        """Sends again what a node may have forgotten, and says once when something is stuck."""
        gate, now_ms = self._gate, self._gate.now_ms()
        for request in slot:
            if gate.broadcaster.is_held(request) or was_held(request):
                gate.broadcaster.enqueue(request)
                continue
            patience = ORPHAN_MS if request.status is Status.SIGNED else REBROADCAST_MS
            if now_ms - request.updated_ms > patience:
                gate.broadcaster.enqueue(request)
            since_ms = request.updated_ms if request.status is Status.BROADCAST else request.created_ms
            if now_ms - since_ms > gate.settings.stuck_ms and not is_stuck(request):
                await self._say_stuck(request)

    # --- what was found --------------------------------------------------------------------------------

    async def _settle(self, slot: Sequence[Request], found: _Found) -> None:
        receipt = found.receipt
        status = Status.CONFIRMED if receipt.succeeded else Status.REVERTED
        kind = Kind.TRANSACTION_CONFIRMED if receipt.succeeded else Kind.TRANSACTION_REVERTED
        outcome: dict[str, Json] = {
            "block": receipt.block_number, "gas_used": str(receipt.gas_used), "fee": str(receipt.fee),
            "succeeded": receipt.succeeded,
        }  # fmt: skip
        kept = canonical({**outcome, "block_hash": receipt.block_hash}).decode()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> None:
            winner = self._current(found.request)
            if winner.status not in SENT:
                return
            self._post(tx, winner, receipt)
            tx.entry(kind, {**_about(winner), **outcome})
            if receipt.succeeded:
                record_allowances(tx, winner, self._gate.store)
            self._end(tx, winner, status, kept)
            for rival in self._rivals(slot, winner):
                self._void(tx, rival)
                tx.entry(Kind.TRANSACTION_REPLACED, {**_about(rival), "by": winner.id})
                lost = canonical({"block": receipt.block_number, "block_hash": receipt.block_hash, "by": winner.id})
                self._end(tx, rival, Status.REPLACED, lost.decode())

        await self._do(record, slot)

    async def _drop(self, slot: Sequence[Request], deep: int) -> None:
        def record(tx: Writer, _signatures: Sequence[Signature]) -> None:
            for request in self._rivals(slot, None):
                self._void(tx, request)
                tx.entry(Kind.TRANSACTION_DROPPED, {**_about(request), "nonce": request.nonce})
                lost = canonical({"block": deep, "block_hash": "", "by": None}).decode()
                self._end(tx, request, Status.DROPPED, lost)

        await self._do(record, slot)

    async def _say_stuck(self, request: Request) -> None:
        outcome = canonical({"error": "stuck", "since_ms": request.created_ms}).decode()

        def record(tx: Writer, _signatures: Sequence[Signature]) -> None:
            current = self._current(request)
            if current.status in SENT and not is_stuck(current):
                tx.entry(Kind.TRANSACTION_STUCK, {**_about(current), "nonce": current.nonce})
                self._gate.state.keep(tx.move_request(current, outcome=outcome))

        await self._do(record, (request,))

    # --- what the chain takes back -----------------------------------------------------------------------

    async def _look_back(self, chain: Chain, settled: Sequence[Request], final: int) -> None:
        """Ends the watch over what is final; reopens what was settled in a block that is gone."""
        if not settled:
            return
        places = {request.id: _block_of(request) for request in settled}
        newest, known = max(places.values())
        block = await chain.block(newest)
        if block is None or (known and block.hash and block.hash != known):
            for slot in _slots(settled):
                await self._look_again(chain, slot, {request.id: places[request.id] for request in slot})
            return
        done = [request for request in settled if places[request.id][0] <= final]
        if done:

            def record(tx: Writer, _signatures: Sequence[Signature]) -> None:
                for request in done:
                    current = self._current(request)
                    if current.status in SETTLED and current.moving:
                        self._gate.state.keep(tx.move_request(current, moving=False))

            await self._do(record, done)

    async def _look_again(self, chain: Chain, slot: Sequence[Request], places: Mapping[str, tuple[int, str]]) -> None:
        """Reopens rivals for a nonce unless the chain still says of them what was settled."""
        found = await self._receipt_of(chain, slot)
        won = next((r for r in slot if r.status in (Status.CONFIRMED, Status.REVERTED)), None)
        if found is not None and won is not None and found.request.id == won.id:
            status = Status.CONFIRMED if found.receipt.succeeded else Status.REVERTED
            place = (found.receipt.block_number, found.receipt.block_hash)
            if status is won.status and place == places[won.id]:
                return
        gate = self._gate

        def record(tx: Writer, _signatures: Sequence[Signature]) -> None:
            for request in slot:
                current = self._current(request)
                if current.status not in SETTLED:
                    continue
                check_move(current.status, Status.BROADCAST)
                before = gate.store.movements(current.id)
                after = gate.state.book.reopen(before, now_ms=tx.now_ms)
                tx.reopen_movements(before, after)
                tx.entry(Kind.TRANSACTION_REORGED, {**_about(current), "was": current.status.value})
                gate.state.keep(tx.move_request(current, status=Status.BROADCAST, outcome=None))

        await self._do(record, slot)
        for request in slot:
            gate.broadcaster.enqueue(self._current(request))

    # --- shared ------------------------------------------------------------------------------------------

    def _current(self, request: Request) -> Request:
        return self._gate.find(request.id) or request

    def _rivals(self, slot: Iterable[Request], winner: Request | None) -> list[Request]:
        """Those of the slot that still wait, and what joined it since it was looked at."""
        first = next(iter(slot))
        key = (first.wallet, first.chain_id, first.nonce)
        return [
            request
            for request in list(self._gate.state.requests.values())
            if (request.wallet, request.chain_id, request.nonce) == key
            and request.status in SENT
            and (winner is None or request.id != winner.id)
        ]

    def _post(self, tx: Writer, request: Request, receipt: Receipt) -> None:
        book = self._gate.state.book
        open_now = book.pending(request.id)
        if open_now:
            actual = _actual(open_now, receipt)
            tx.resolve_movements(book.post(request.id, now_ms=tx.now_ms, actual=actual))

    def _void(self, tx: Writer, request: Request) -> None:
        book = self._gate.state.book
        if book.pending(request.id):
            tx.resolve_movements(book.void(request.id, now_ms=tx.now_ms))

    def _end(self, tx: Writer, request: Request, status: Status, outcome: str) -> None:
        check_move(request.status, status)
        settings = self._gate.settings
        watched = settings.finality_of(request.chain_id) > settings.depth_of(request.chain_id)
        self._gate.state.keep(tx.move_request(request, status=status, outcome=outcome, moving=watched))

    async def _do(self, record: Callable[[Writer, Sequence[Signature]], None], about: Iterable[Request]) -> None:
        await self._gate.commits.submit(Job(tuple, record))
        for request in about:
            self._gate.noticed(self._current(request))


def _slots(requests: Iterable[Request]) -> list[list[Request]]:
    """Requests by the nonce they want, the newest first in each."""
    found: dict[tuple[Address, int | None], list[Request]] = {}
    for request in requests:
        found.setdefault((request.wallet, request.nonce), []).insert(0, request)
    return list(found.values())


def _actual(open_now: Sequence[Movement], receipt: Receipt) -> dict[int, int]:
    """What of each reserved amount was really spent, where that is less than all."""
    actual = {}
    for movement in open_now:
        booked = movement.booking
        if booked.measure is Measure.FEE:
            actual[movement.id] = min(receipt.fee, booked.amount)
        elif not receipt.succeeded and booked.measure is not Measure.COUNT:
            actual[movement.id] = 0
    return actual


def _block_of(request: Request) -> tuple[int, str]:
    outcome = json.loads(request.outcome or "{}")
    return int(outcome.get("block", 0)), str(outcome.get("block_hash", ""))


def is_stuck(request: Request) -> bool:
    """Whether nobody has mined it for long."""
    return request.outcome is not None and '"error":"stuck"' in request.outcome


def _about(request: Request) -> dict[str, Json]:
    return {"request": request.id, "tx": to_hex(request.tx_hash or b"")}

"""EIP-5792 for a wallet that is one key: `wallet_sendCalls`, `wallet_getCallsStatus`, `wallet_getCapabilities`.

A batch is judged as a whole first, and refused as a whole. Its calls then go down the one path as transactions of their
own, each when the one before it is confirmed, each judged and booked again; the first that does not succeed ends the
batch. That is not atomic, so `atomicRequired` is refused. A batch that as a whole an operator would have to decide on
is refused, too: sent one by one, its calls ask for what they need.

What became of a batch is read from its requests, which are durable. A gate that was stopped in the middle does not go
on with the rest, because nobody may be there any more to whom that rest still makes sense; the status then says which
part was done.

Codes of the EIP: 5700 capability, 5710 chain, 5720 id used before, 5730 id unknown, 5740 too many, 5760 atomicity.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from walletgate.effects.request import CALLS_MAX
from walletgate.encoding import checksum_address, parse_address, to_hex
from walletgate.errors import InvalidRequestError, WalletGateError
from walletgate.gate import Ask, Gate, Session
from walletgate.gate.codec import canonical
from walletgate.server.rpc_error import RpcError
from walletgate.server.wire import ask_of_rpc
from walletgate.store import Request
from walletgate.types import Batch, Hash32, Outcome, Status

METHODS: Final = frozenset({"wallet_sendCalls", "wallet_getCallsStatus", "wallet_getCapabilities"})

RUNNING_MAX: Final = 64
"""How many batches may be under way at once."""

ID_LENGTH_MAX: Final = 4096
"""As the EIP has it."""

WAIT_S: Final = 60.0
_OPEN: Final = (Status.AWAITING_APPROVAL, Status.APPROVED, Status.SIGNED, Status.BROADCAST)
_RECEIPT: Final = ("logs", "status", "blockHash", "blockNumber", "gasUsed", "transactionHash")


class Calls:
    """The batches of one gate."""

    def __init__(self, gate: Gate, result: Callable[[Request, str], object]) -> None:
        """`result` says what a client is told about a request, or raises it."""
        self._gate = gate
        self._result = result
        self._running: dict[str, asyncio.Task[None]] = {}

    async def serve(
        self, session: Session, method: str, params: Sequence[object], trace: Mapping[str, str]
    ) -> dict[str, Any]:
        """Answers one of `METHODS`.

        Raises:
            RpcError: as above, and as for a transaction.
            InvalidRequestError: a malformed batch.
        """
        if method == "wallet_sendCalls":
            return await self._send(session, params, trace)
        if method == "wallet_getCallsStatus":
            return await self._status(session, params)
        return _capabilities(session, params)

    async def _send(self, session: Session, params: Sequence[object], trace: Mapping[str, str]) -> dict[str, Any]:
        given = params[0].get("id") if params and isinstance(params[0], dict) else None
        own_id = given if isinstance(given, str) and given else "0x" + secrets.token_hex(32)
        if len(own_id) > ID_LENGTH_MAX or not own_id.isprintable():
            raise InvalidRequestError(f"id is text of at most {ID_LENGTH_MAX} characters", code="bad_batch")
        whole = ask_of_rpc(
            "wallet_sendCalls", params, wallet=session.grant.wallet, request_id=_part(own_id, 0, 0), trace=trace
        )
        if not isinstance(whole.asked, Batch):
            raise InvalidRequestError("params[0] must be a batch of calls", code="bad_batch")
        self._check(session, whole.asked, own_id)
        judged, _ = await self._gate.preview(session, whole)
        if judged.decision.outcome is Outcome.DENY:
            return {"id": self._result(await self._gate.submit(session, whole), "wallet_sendCalls")}
        if judged.decision.outcome is Outcome.REQUIRE_APPROVAL:
            raise RpcError(4200, "together these calls need an operator's approval; send them one by one")
        asks = _asks(whole, whole.asked, own_id)
        first = await self._gate.submit(session, asks[0])
        if first.status is Status.DENIED:
            self._result(first, "wallet_sendCalls")
        key = asks[0].client_id
        if key not in self._running:
            task = asyncio.get_running_loop().create_task(self._run(session, asks, first))
            self._running[key] = task
            task.add_done_callback(lambda _task: self._running.pop(key, None))
        return {"id": own_id}

    def _check(self, session: Session, batch: Batch, own_id: str) -> None:
        if batch.atomic_required:
            raise RpcError(5760, "this wallet carries calls out one after another; it has no atomic execution")
        if batch.capabilities:
            raise RpcError(5700, f"this wallet does not have {', '.join(sorted(batch.capabilities))[:200]}")
        if batch.chain_id != session.chain_id:
            raise RpcError(5710, "this endpoint stands for another chain")
        if self._found(session, own_id) is not None:
            raise RpcError(5720, "this id was used before; wallet_getCallsStatus says what became of it")
        if len(self._running) >= RUNNING_MAX:
            raise RpcError(5740, "too many batches are under way; wait for one of them")

    async def _run(self, session: Session, asks: Sequence[Ask], first: Request) -> None:
        """The rest, each after the one before it; a refusal or an error ends it, and the requests tell."""
        try:
            request = await self._settled(first)
            for ask in asks[1:]:
                if request.status is not Status.CONFIRMED:
                    return
                request = await self._settled(await self._gate.submit(session, ask))
        except WalletGateError:
            return

    async def _settled(self, request: Request) -> Request:
        while request.status in _OPEN:
            request = await self._gate.wait(request.id, WAIT_S, final=True)
        return request

    def _found(self, session: Session, own_id: str) -> list[Request] | None:
        """The requests that there are of a batch, followed by how many there should be, by the ids that they have."""
        store = self._gate.store
        for count in range(1, CALLS_MAX + 1):
            if store.request_of_client(session.grant.id, _part(own_id, 0, count)) is not None:
                found = [store.request_of_client(session.grant.id, _part(own_id, n, count)) for n in range(count)]
                known = [request for request in found if request is not None]
                return [self._gate.state.requests.get(request.id, request) for request in known]
        return None

    async def _status(self, session: Session, params: Sequence[object]) -> dict[str, Any]:
        own_id = params[0] if len(params) == 1 else None
        requests = self._found(session, own_id) if isinstance(own_id, str) and len(own_id) <= ID_LENGTH_MAX else None
        if requests is None or not isinstance(own_id, str):
            raise RpcError(5730, "no batch of this grant has this id")
        count = int(requests[0].client_id.rpartition("_")[2])
        receipts = [await self._receipt(request) for request in requests if _is_mined(request)]
        return {
            "version": "2.0.0",
            "id": own_id,
            "chainId": hex(requests[0].chain_id),
            "status": self._code(requests, count),
            "atomic": False,
            "receipts": [receipt for receipt in receipts if receipt is not None],
        }

    def _code(self, requests: Sequence[Request], count: int) -> int:
        states = [request.status for request in requests]
        if requests[0].client_id in self._running or any(state in _OPEN for state in states):
            return 100
        if states == [Status.CONFIRMED] * count:
            return 200
        if Status.CONFIRMED in states:
            return 600
        return 500 if Status.REVERTED in states else 400

    async def _receipt(self, request: Request) -> dict[str, Any] | None:
        chain = self._gate.chains[request.chain_id]
        receipt = await chain.forward("eth_getTransactionReceipt", [to_hex(request.tx_hash or b"")])
        if not isinstance(receipt, dict):
            return None
        return {name: receipt[name] for name in _RECEIPT if name in receipt}


def _part(own_id: str, place: int, count: int) -> str:
    """The request id of one call; the batch's own id may be longer than a request's."""
    return f"calls_{sha256(own_id.encode()).hexdigest()[:32]}_{place}_{count}"


def _asks(whole: Ask, batch: Batch, own_id: str) -> list[Ask]:
    count = len(batch.calls)
    return [
        replace(
            whole,
            client_id=_part(own_id, place, count),
            asked=replace(call, chain_id=batch.chain_id),
            body_hash=Hash32(sha256(canonical([own_id, place, to_hex(whole.body_hash)])).digest()),
        )
        for place, call in enumerate(batch.calls)
    ]


def _is_mined(request: Request) -> bool:
    return request.status in (Status.CONFIRMED, Status.REVERTED) and request.tx_hash is not None


def _capabilities(session: Session, params: Sequence[object]) -> dict[str, Any]:
    if not params or parse_address(params[0], where="params[0]") != session.grant.wallet:
        raise RpcError(4100, f"this endpoint is for {checksum_address(session.grant.wallet)}")
    chain = hex(session.chain_id)
    wanted = params[1] if len(params) > 1 else None
    if isinstance(wanted, list) and chain not in wanted:
        return {}
    return {chain: {"atomic": {"status": "unsupported"}}}

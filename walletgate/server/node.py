"""The node endpoint: the gate as an Ethereum node, for clients that know nothing of gates.

`POST /rpc` with `Authorization: Bearer wg_grant_…`, or `POST /rpc/wg_grant_…` where headers are awkward; the chain
is the grant's first, or the one named behind the token. JSON-RPC 2.0, single or in batches of at most 100.

Reads on the allow-list are passed to the upstream node; sending and signing go down the one path; batches are
`server/calls.py`'s; everything else does not exist. Errors always come with HTTP 200, because clients lose the body of
others, and in codes that no client takes for an invitation to send again (EIP-1193, EIP-1474):

    4001    refused by policy or operator ("User denied …", which ethers looks for)
    -32002  waits for an operator; the same request sent again joins it
    4100    no such authority: bad token, another wallet or chain
    4200    a wallet method the gate does not have     -32601  a node method it does not pass on
    4900    the upstream node is away                  -32003  the node refused signed bytes
    -32600  malformed
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from walletgate.chain import NodeRefusedError
from walletgate.effects.request import strict_json
from walletgate.encoding import checksum_address, parse_address, parse_hex, printable, to_hex
from walletgate.errors import AuthenticationError, ChainError, ConflictError, InvalidRequestError, WalletGateError
from walletgate.gate import Gate, Session
from walletgate.gate.codec import json_bytes
from walletgate.server.calls import METHODS as CALLS_METHODS
from walletgate.server.calls import Calls
from walletgate.server.rpc_error import RpcError
from walletgate.server.views import agent_view
from walletgate.server.wire import ask_of_rpc, client_id, fresh_id, read_body, trace_of
from walletgate.store import Request
from walletgate.types import CHAINS, Hash32, Status

BATCH_MAX = 100
HOLD_S = 8.0
"""How long one HTTP request waits for operators before it answers -32002: below viem's ten seconds."""
HOLD_S_MAX = 300.0

JOIN_MS = 10 * 60 * 1000
"""How long after its decision a request may still be fetched by sending it again; after that it is a new one."""

READS = frozenset({
    "web3_clientVersion", "eth_blockNumber", "eth_call", "eth_estimateGas", "eth_getBalance",
    "eth_getCode", "eth_getStorageAt", "eth_getTransactionCount", "eth_gasPrice", "eth_maxPriorityFeePerGas",
    "eth_feeHistory", "eth_getBlockByHash", "eth_getBlockByNumber", "eth_getTransactionByHash",
    "eth_getTransactionByBlockHashAndIndex", "eth_getTransactionByBlockNumberAndIndex", "eth_getTransactionReceipt",
    "eth_getBlockReceipts", "eth_getBlockTransactionCountByHash", "eth_getBlockTransactionCountByNumber",
    "eth_getLogs", "eth_getProof", "eth_syncing", "eth_createAccessList", "eth_blobBaseFee",
})  # fmt: skip
"""The only methods that reach the upstream node."""

ASKS = frozenset({
    "eth_sendTransaction", "wallet_sendTransaction", "eth_signTransaction", "personal_sign", "eth_sign",
    "eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4", "eth_sign7702Authorization",
    "wallet_sendCalls",
})  # fmt: skip
"""The methods that ask for a signature."""

_OPEN = (Status.AWAITING_APPROVAL, Status.APPROVED)


class NodeEndpoint:
    """Serves JSON-RPC for one gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._calls = Calls(gate, _result)
        self._joinable: dict[tuple[str, Hash32], str] = {
            (request.grant_id, request.body_hash): request.client_id
            for request in gate.state.requests.values()
            if request.surface == "rpc" and request.status in _OPEN
        }

    def routes(self) -> list[web.RouteDef]:
        """Where the endpoint listens."""
        paths = ("/", "/rpc", "/rpc/{token}", "/rpc/{token}/{chain}")
        return [web.post(path, self.handle) for path in paths]

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one HTTP request, always with status 200."""
        try:
            body = await read_body(request)
            parsed = strict_json(body)
        except InvalidRequestError as error:
            await self._gate.refuse(self._who(request), error, surface="rpc")
            return _respond(_failure(None, _rpc_error(error)))
        calls = parsed if isinstance(parsed, list) else [parsed]
        if not 1 <= len(calls) <= BATCH_MAX:
            refusal = InvalidRequestError(f"a batch holds 1 to {BATCH_MAX} calls", code="bad_batch")
            await self._gate.refuse(self._who(request), refusal, surface="rpc")
            return _respond(_failure(None, _rpc_error(refusal)))
        try:
            session = self._session(request)
        except WalletGateError as error:
            method = next((str(c["method"]) for c in calls if isinstance(c, dict) and "method" in c), "")
            await self._gate.refuse(None, error, surface="rpc", method=method)
            failures = [_failure(c.get("id") if isinstance(c, dict) else None, _rpc_error(error)) for c in calls]
            return _respond(failures if isinstance(parsed, list) else failures[0])
        until = asyncio.get_running_loop().time() + _hold_s(request)
        answers = [await self._answer(request, session, call, until) for call in calls]
        return _respond(answers if isinstance(parsed, list) else answers[0])

    def _who(self, request: web.Request) -> Session | None:
        try:
            return self._session(request)
        except WalletGateError:
            return None

    def _session(self, request: web.Request) -> Session:
        token = request.match_info.get("token") or bearer(request)
        grant_id = self._gate.authenticate(token)
        return self._gate.session(grant_id, _chain(request.match_info.get("chain")))

    async def _answer(self, http: web.Request, session: Session, call: object, until: float) -> dict[str, Any]:
        call_id = call.get("id") if isinstance(call, dict) else None
        method = ""
        try:
            method, params = _read_call(call)
            if method in CALLS_METHODS:
                result: object = await self._calls.serve(session, method, params, trace_of(http))
            elif method in ASKS:
                result = await self._ask(http, session, method, params, until)
            else:
                result = await self._serve(session, method, params)
        except RpcError as error:
            return _failure(call_id, error)
        except NodeRefusedError as error:
            return _failure(call_id, RpcError(error.code, error.message, error.data))
        except WalletGateError as error:
            if isinstance(error, InvalidRequestError | AuthenticationError | ConflictError):
                await self._gate.refuse(session, error, surface="rpc", method=method)
            return _failure(call_id, _rpc_error(error))
        else:
            return {"jsonrpc": "2.0", "id": call_id, "result": result}

    async def _serve(self, session: Session, method: str, params: Sequence[object]) -> object:
        reads = self._gate.state.policies[session.grant.policy].terms.read_methods
        if method in READS and method not in reads:
            raise RpcError(4200, f"the policy does not pass on {method}")
        if method == "eth_getTransactionCount":
            return await self._nonce(session, params)
        if method in READS:
            return await self._gate.chains[session.chain_id].forward(method, params)
        if method == "eth_sendRawTransaction":
            return await self._relay(session, params)
        local = _LOCAL.get(method)
        if local is not None:
            return local(session, params)
        wallet_method = method.startswith("wallet_")
        raise RpcError(4200 if wallet_method else -32601, f"the gate does not offer {printable(method, length_max=64)}")

    async def _ask(
        self, http: web.Request, session: Session, method: str, params: Sequence[object], until: float
    ) -> object:
        wallet = session.grant.wallet
        key_header = http.headers.get("Idempotency-Key")
        request_id = client_id(key_header) if key_header else fresh_id("rpc")
        ask = ask_of_rpc(method, params, wallet=wallet, request_id=request_id, trace=trace_of(http))
        place = (session.grant.id, ask.body_hash)
        known = self._joined(session, place) if key_header is None else None
        request = known if known is not None else await self._gate.submit(session, ask)
        if known is None and key_header is None:
            request = await self._join(session, place, request)
        if request.status is Status.AWAITING_APPROVAL:
            self._joinable[place] = request.client_id
            request = await self._gate.wait(request.id, until - asyncio.get_running_loop().time())
            if request.status is Status.SIGNED and request.raw is not None:
                await self._gate.broadcaster.first_answer(request.id, HOLD_S)
        if request.status not in _OPEN and self._joinable.get(place) == request.client_id:
            del self._joinable[place]
        return _result(request, method)

    def _joined(self, session: Session, place: tuple[str, Hash32]) -> Request | None:
        """What the same request came to before, unless that was decided so long ago that this must be another."""
        if place not in self._joinable:
            return None
        request = self._gate.of_client(session.grant.id, self._joinable[place])
        stale = request.status not in _OPEN and self._gate.now_ms() - request.updated_ms > JOIN_MS
        return None if stale else request

    async def _join(self, session: Session, place: tuple[str, Hash32], request: Request) -> Request:
        """The one request that waits for all who ask the same without a key, also where several asked at once.

        The others took room in the budgets beside it: those that wait are taken back, those that found no room join.
        """
        first = self._joined(session, place)
        if first is None or first.status is not Status.AWAITING_APPROVAL:
            return request
        if request.status is Status.AWAITING_APPROVAL:
            with contextlib.suppress(ConflictError):
                await self._gate.withdraw(session, request.client_id)
        return first if request.status in (Status.AWAITING_APPROVAL, Status.DENIED) else request

    async def _nonce(self, session: Session, params: Sequence[object]) -> object:
        """The gate's own next nonce for its own wallet, so that a client never works with a stale one."""
        if (
            params
            and parse_address(params[0], where="params[0]") == session.grant.wallet
            and params[1:] != ["earliest"]
        ):
            known = self._gate.next_nonce(session.grant.wallet, session.chain_id)
            if known is not None and (len(params) < 2 or params[1] in ("latest", "pending")):
                return hex(known)
        return await self._gate.chains[session.chain_id].forward("eth_getTransactionCount", params)

    async def _relay(self, session: Session, params: Sequence[object]) -> object:
        """Passes raw bytes on only if this gate signed them for this grant."""
        raw = parse_hex(params[0] if params else None, where="params[0]")
        request = self._gate.find_raw(raw)
        if request is None or request.grant_id != session.grant.id:
            raise RpcError(4100, "the gate relays only transactions that it signed for this grant")
        if self._gate.broadcaster.is_held(request):
            raise RpcError(4100, "a freeze holds this transaction back")
        await self._gate.chains[request.chain_id].send_raw(raw)
        return to_hex(request.tx_hash or b"")


def bearer(request: web.Request) -> str:
    """The token of the Authorization header.

    Raises:
        AuthenticationError: `token_missing`.
    """
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token or not token.isascii():
        raise AuthenticationError("no token: send Authorization: Bearer wg_grant_…", code="token_missing")
    return token.strip()


def _chain(text: str | None) -> int | None:
    if text is None:
        return None
    if text in CHAINS:
        return CHAINS[text][0]
    if not text.isascii() or not text.isdigit() or len(text) > 16:
        raise InvalidRequestError("the chain in the path is not known", code="wrong_chain")
    return int(text)


def _hold_s(http: web.Request) -> float:
    wanted = http.headers.get("X-WalletGate-Wait", "")
    return min(float(wanted), HOLD_S_MAX) if wanted.isascii() and wanted.isdigit() else HOLD_S


def _read_call(call: object) -> tuple[str, Sequence[object]]:
    if not isinstance(call, dict):
        raise InvalidRequestError("a call must be an object", code="bad_shape")
    method, params = call.get("method"), call.get("params", [])
    if call.get("jsonrpc") != "2.0" or not isinstance(method, str) or not isinstance(params, list):
        raise InvalidRequestError("a call has jsonrpc 2.0, a method and a list of params", code="bad_shape")
    return method, params


def _result(request: Request, method: str) -> object:
    """What a client of `method` is told about a request that rests."""
    about = {"request_id": request.id, "status": request.status.value}
    reasons = agent_view(request)["decision"]["reasons"]
    match request.status:
        case Status.AWAITING_APPROVAL | Status.APPROVED:
            waiting = {**about, "decision": "pending", "approval_id": request.id, "retry_after": 5}
            raise RpcError(-32002, "waiting for an operator's approval; send the same request again", _data(waiting))
        case Status.DENIED:
            why = "; ".join(r["text"] for r in reasons) or "no rule permits it"
            rule = next((r["rule"] for r in reasons if r["rule"]), None)
            denied = {**about, "decision": "denied", "rule": rule, "reasons": reasons}
            raise RpcError(4001, f"User denied: {why}", _data(denied))
        case Status.REJECTED | Status.EXPIRED | Status.WITHDRAWN:
            ended = {**about, "decision": request.status.value}
            raise RpcError(4001, f"User denied: the request was {request.status.value}", _data(ended))
        case _:
            pass
    if method == "eth_signTransaction":
        return to_hex(request.raw or b"")
    if request.signature is not None:
        return to_hex(request.signature)
    tx_hash = to_hex(request.tx_hash or b"")
    if request.outcome is not None and "broadcast_rejected" in request.outcome:
        problem = {**about, "tx_hash": tx_hash, "decision": "signed"}
        raise RpcError(-32003, "signed, but the node refused it; the gate keeps trying", _data(problem))
    return tx_hash


def _data(walletgate: dict[str, Any]) -> dict[str, Any]:
    return {"walletgate": walletgate}


def _rpc_error(error: WalletGateError) -> RpcError:
    data = _data({"code": error.code, "detail": error.detail, **{k: v for k, v in error.data.items() if k != "code"}})
    match error:
        case AuthenticationError():
            return RpcError(4100, error.detail, data)
        case InvalidRequestError(code="wrong_wallet" | "wrong_chain"):
            return RpcError(4100, error.detail, data)
        case InvalidRequestError() | ConflictError():
            return RpcError(-32600, error.detail, data)
        case ChainError(code="broadcast_rejected"):
            return RpcError(-32003, error.detail, data)
        case ChainError():
            return RpcError(4900, error.detail, data)
        case _:
            return RpcError(-32603, error.detail, data)


def _failure(call_id: object, error: RpcError) -> dict[str, Any]:
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return {"jsonrpc": "2.0", "id": call_id, "error": body}


def _respond(answer: object) -> web.Response:
    return web.Response(body=json_bytes(answer), content_type="application/json")


def _accounts(session: Session, _params: Sequence[object]) -> object:
    return [checksum_address(session.grant.wallet)]


def _switch_chain(session: Session, params: Sequence[object]) -> object:
    wanted = params[0].get("chainId") if params and isinstance(params[0], dict) else None
    if wanted == hex(session.chain_id):
        return None
    raise RpcError(4902, "this endpoint stands for one chain; use its own URL for another")


_LOCAL: dict[str, Callable[[Session, Sequence[object]], object]] = {
    "eth_accounts": _accounts,
    "eth_requestAccounts": _accounts,
    "eth_chainId": lambda session, _params: hex(session.chain_id),
    "net_version": lambda session, _params: str(session.chain_id),
    "wallet_switchEthereumChain": _switch_chain,
}

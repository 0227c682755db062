"""The agent API as calls: ask, wait, look, withdraw. A "no" is raised, a "not yet" is raised with a way to wait.

    client = Client("http://127.0.0.1:8550", "wg_grant_…")
    request = client.request("transaction", {"to": "0x…", "value": "0x1"}, expect={"asset": "ETH", "amount": "…"})

Each request has an id, the agent's own or a random one. The same id is the same request: sent again after a lost
answer, it returns what happened the first time and never spends twice. A `GateUnavailable` carries it in `data["id"]`.

`AsyncClient` is the same client on threads of its own (at most 64), because `asyncio`'s own few would all be
taken by calls that wait for operators.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, Final, Literal, ParamSpec, TypeVar
from urllib.parse import quote

from walletgate.agent.answers import (
    Limits,
    Object,
    PolicyView,
    Preview,
    Request,
    read_limits,
    read_policy,
    read_preview,
    read_reasons,
    read_request,
)
from walletgate.agent.config import Token
from walletgate.agent.errors import ApprovalPending, ApprovalRejected, GateDenied, GateUnavailable, make
from walletgate.agent.pay import plan_payment
from walletgate.agent.payload import expect_json
from walletgate.agent.transport import Transport
from walletgate.errors import (
    ApprovalError,
    AuthenticationError,
    ChainError,
    ConflictError,
    Detail,
    GatePausedError,
    InvalidRequestError,
    WalletGateError,
)
from walletgate.types import Expectation, Status

Kind = Literal["transaction", "sign_transaction", "typed_data", "message", "hash", "authorization", "batch"]
Expect = Expectation | Mapping[str, object]

P = ParamSpec("P")
T = TypeVar("T")

HOLD_S_MAX: Final = 25.0
"""How long one call lets the gate hold it, so that proxies between do not cut it off."""

_PAUSE_S: Final = 0.2
_WAITING: Final = frozenset((Status.AWAITING_APPROVAL, Status.APPROVED))
_MOVING: Final = _WAITING | {Status.SIGNED, Status.BROADCAST}
_ENDED: Final = {
    Status.REJECTED: ("approval_rejected", "an operator rejected the request"),
    Status.EXPIRED: ("approval_expired", "nobody decided on the request in time"),
    Status.WITHDRAWN: ("request_withdrawn", "the request was withdrawn"),
}
_BY_STATUS: Final[Mapping[int, type[WalletGateError]]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: ApprovalError,
    404: InvalidRequestError,
    409: ConflictError,
    413: InvalidRequestError,
    429: GatePausedError,
    502: ChainError,
    503: GatePausedError,
}


class Client:
    """One grant at one gate. Safe to share between threads."""

    def __init__(self, url: str, token: str | Token, *, timeout_s: float = 15.0, wait_s: float = 0.0) -> None:
        """Does not connect yet. `timeout_s` bounds each answer; `wait_s` is how long requests wait for operators.

        Raises:
            ConfigError: `bad_url`, `bad_token`.
        """
        self.wait_s = wait_s
        self._transport = Transport(url, Token(token) if isinstance(token, str) else token, timeout_s=timeout_s)

    def __repr__(self) -> str:
        return f"Client({self._transport.url!r})"

    def request(
        self,
        kind: Kind,
        payload: Object,
        *,
        id: str | None = None,  # noqa: A002 - the API's word
        expect: Expect | None = None,
        memo: str | None = None,
        wait_s: float | None = None,
    ) -> Request:
        """Asks the gate to sign or send, and waits `wait_s` seconds where an operator has to decide.

        Raises:
            GateDenied, ApprovalRejected, ApprovalPending: the gate's word.
            InvalidRequestError, AuthenticationError, ConflictError, GatePausedError, ChainError: as they say.
            GateUnavailable: no answer; with the same `id` it is safe to ask again.
        """
        own_id = id or f"sdk_{secrets.token_hex(16)}"
        deadline = time.monotonic() + (self.wait_s if wait_s is None else wait_s)
        hold_s = _hold(deadline)
        body = {**_body(kind, payload, expect, memo), "id": own_id, "wait_s": hold_s}
        answer = self._call("POST", "/v1/requests", body, hold_s=hold_s, own_id=own_id)
        return self._decided(self._settle(_request(answer), deadline, _WAITING))

    def preview(self, kind: Kind, payload: Object, *, expect: Expect | None = None, memo: str | None = None) -> Preview:
        """What the gate would decide now; nothing is booked or signed.

        Raises:
            As `request`, but for the decision, which is returned.
        """
        body = {**_body(kind, payload, expect, memo), "id": f"sdk_{secrets.token_hex(16)}"}
        return read_preview(self._call("POST", "/v1/preview", body))

    def limits(self) -> Limits:
        """The grant, its wallet, its policy, and what is left of each limit."""
        return read_limits(self._call("GET", "/v1/limits"))

    def policy(self) -> PolicyView:
        """What the policy calls assets and addresses by, and all of it in words."""
        return read_policy(self._call("GET", "/v1/policy"))

    def pay(self, to: str, amount: str, *, chain: str | int | None = None, **options: Any) -> Request:
        """Pays in words: `pay("acme", "5 USDC", memo="invoice 17", id="invoice-17")`; options as in `request`.

        Whom and what are names of the policy's, `to` may be an address. What was meant goes along as `expect`.

        Raises:
            InvalidRequestError: `bad_amount`, `asset_unknown`, `payee_unknown`, `payee_unclear`, `chain_unclear`,
                `wrong_chain`; otherwise as `request`.
        """
        plan = plan_payment(self.policy(), to, amount, chain)
        return self.request("transaction", plan.payload, expect=plan.expect, **options)

    def get(self, id: str) -> Request:  # noqa: A002 - the API's word
        """The request as it stands, whatever was decided."""
        return _request(self._call("GET", _path(id), own_id=id))

    def wait(self, id: str, timeout_s: float | None = None, *, final: bool = False) -> Request:  # noqa: A002
        """Waits until the request was decided, with `final` until the chain has the last word on it.

        Raises:
            GateDenied, ApprovalRejected: the decision.
            ApprovalPending: not decided within `timeout_s` (None waits until the request expires).
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        request = self._settle(self.get(id), deadline, _MOVING if final else _WAITING)
        return self._decided(request)

    def withdraw(self, id: str) -> Request:  # noqa: A002 - the API's word
        """Takes back a request that still waits."""
        return _request(self._call("DELETE", _path(id), own_id=id))

    def close(self) -> None:
        """Closes the connections that are kept; the next call opens another."""
        self._transport.close()

    def _settle(self, request: Request, deadline: float, unsettled: frozenset[Status]) -> Request:
        while request.status in unsettled and (hold_s := _hold(deadline)) > 0:
            started = time.monotonic()
            until = "&until=final" if unsettled is _MOVING else ""
            path = f"{_path(request.id)}?wait_s={hold_s:.3f}{until}"
            request = _request(self._call("GET", path, hold_s=hold_s, own_id=request.id))
            if request.status in unsettled and time.monotonic() - started < _PAUSE_S:
                # A gate that does not hold calls must not be asked without end.
                time.sleep(min(_PAUSE_S, hold_s))
        return request

    def _decided(self, request: Request) -> Request:
        if request.status is Status.DENIED:
            raise self._denied(request)
        if request.status in _ENDED:
            code, detail = _ENDED[request.status]
            rejected = make(ApprovalRejected, detail, code=code, data={"request_id": request.request_id})
            rejected.request_id = request.request_id
            raise rejected
        if request.status in _WAITING:
            raise self._pending(request)
        return request

    def _denied(self, request: Request) -> GateDenied:
        words = "; ".join(reason.text for reason in request.reasons) or "no rule permits it"
        reasons: list[object] = [_reason_json(reason) for reason in request.reasons]
        data: Detail = {"request_id": request.request_id, "reasons": reasons}
        denied = make(GateDenied, f"denied by the policy: {words}", data=data)
        denied.reasons = request.reasons
        denied.request_id = request.request_id
        denied._limits = lambda: self.limits().left  # noqa: SLF001 - ours
        return denied

    def _pending(self, request: Request) -> ApprovalPending:
        data = {"request_id": request.request_id, "id": request.id, "expires_at": request.expires_at}
        pending = make(ApprovalPending, f"request {request.request_id} waits for an operator", data=data)
        pending.request_id, pending.id, pending.expires_at = request.request_id, request.id, request.expires_at
        pending._wait = lambda timeout_s: self.wait(request.id, timeout_s)  # noqa: SLF001 - ours
        return pending

    def _call(
        self, method: str, path: str, body: Object | None = None, *, hold_s: float = 0.0, own_id: str | None = None
    ) -> Object:
        try:
            status, answer = self._transport.call(method, path, body, hold_s=hold_s)
        except GateUnavailable as error:
            if own_id is None:
                raise
            raise make(GateUnavailable, error.detail, code=error.code, data={"id": own_id}) from error
        if status == 200:
            return answer
        raise self._refused(status, answer)

    def _refused(self, status: int, answer: Object) -> WalletGateError:
        error = answer.get("error")
        body = error if isinstance(error, dict) else {}
        code, detail, data = body.get("code"), body.get("detail"), body.get("data")
        if not isinstance(code, str) or not isinstance(detail, str):
            return make(GateUnavailable, f"the gate answered with HTTP status {status}", code="answer_invalid")
        known = data if isinstance(data, dict) else {}
        if code == GateDenied.default_code:
            denied = make(GateDenied, detail, code=code, data=known)
            denied.reasons = read_reasons(known)
            denied._limits = lambda: self.limits().left  # noqa: SLF001 - ours
            return denied
        return make(_BY_STATUS.get(status, GateUnavailable), detail, code=code, data=known)


class AsyncClient:
    """`Client` for asyncio: the same calls, awaited."""

    def __init__(self, url: str, token: str | Token, *, timeout_s: float = 15.0, wait_s: float = 0.0) -> None:
        """As `Client`."""
        self._client = Client(url, token, timeout_s=timeout_s, wait_s=wait_s)
        self._threads = Threads()

    def __repr__(self) -> str:
        return f"Async{self._client!r}"

    async def request(
        self,
        kind: Kind,
        payload: Object,
        *,
        id: str | None = None,  # noqa: A002
        expect: Expect | None = None,
        memo: str | None = None,
        wait_s: float | None = None,
    ) -> Request:
        """As `Client.request`."""
        return await self._threads.run(
            self._client.request, kind, payload, id=id, expect=expect, memo=memo, wait_s=wait_s
        )

    async def preview(
        self, kind: Kind, payload: Object, *, expect: Expect | None = None, memo: str | None = None
    ) -> Preview:
        """As `Client.preview`."""
        return await self._threads.run(self._client.preview, kind, payload, expect=expect, memo=memo)

    async def limits(self) -> Limits:
        """As `Client.limits`."""
        return await self._threads.run(self._client.limits)

    async def policy(self) -> PolicyView:
        """As `Client.policy`."""
        return await self._threads.run(self._client.policy)

    async def pay(self, to: str, amount: str, *, chain: str | int | None = None, **options: Any) -> Request:
        """As `Client.pay`."""
        return await self._threads.run(self._client.pay, to, amount, chain=chain, **options)

    async def get(self, id: str) -> Request:  # noqa: A002
        """As `Client.get`."""
        return await self._threads.run(self._client.get, id)

    async def wait(self, id: str, timeout_s: float | None = None, *, final: bool = False) -> Request:  # noqa: A002
        """As `Client.wait`."""
        return await self._threads.run(self._client.wait, id, timeout_s, final=final)

    async def withdraw(self, id: str) -> Request:  # noqa: A002
        """As `Client.withdraw`."""
        return await self._threads.run(self._client.withdraw, id)

    async def close(self) -> None:
        """Ends the threads when their calls are done, and closes the connections."""
        self._threads.close()
        self._client.close()


class Threads:
    """Threads on which blocking calls wait, started as they are needed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=64, thread_name_prefix="walletgate")

    async def run(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What `call` returns or raises."""
        import asyncio  # noqa: PLC0415 - takes as long to load as all the rest; who awaits has it

        work = partial(copy_context().run, call, *args, **kwargs)  # the tool call it is part of goes along
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Takes no more calls."""
        self._pool.shutdown(wait=False)


def _hold(deadline: float) -> float:
    return round(max(0.0, min(HOLD_S_MAX, deadline - time.monotonic())), 3)


def _path(own_id: str) -> str:
    return f"/v1/requests/{quote(own_id, safe='')}"


def _request(answer: Object) -> Request:
    body = answer.get("request")
    return read_request(body if isinstance(body, dict) else {})


def _body(kind: Kind, payload: Object, expect: Expect | None, memo: str | None) -> dict[str, object]:
    body: dict[str, object] = {"kind": kind, "payload": payload}
    if expect is not None:
        body["expect"] = expect_json(expect)
    if memo is not None:
        body["memo"] = memo
    return body


def _reason_json(reason: object) -> dict[str, object]:
    names: Sequence[str] = ("code", "text", "rule", "actual", "bound", "unit", "path")
    return {name: getattr(reason, name) for name in names}

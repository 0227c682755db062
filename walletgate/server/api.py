"""The agent API: requests with an id of the agent's own, as JSON over HTTP.

    POST   /v1/requests        {"id", "kind", "payload", "expect"?, "memo"?, "wait_s"?} -> {"request": …}
    GET    /v1/requests/{id}   ?wait_s=N&until=final                                    -> {"request": …}
    DELETE /v1/requests/{id}   withdraws what still waits                               -> {"request": …}
    POST   /v1/preview         the same body; decides without booking or signing        -> {"decision", "effects"}
    GET    /v1/limits          the grant, its policy, and what is left of each limit
    GET    /v1/policy          the names the policy gives to assets and addresses, and the policy in words

`kind` is `transaction`, `sign_transaction`, `typed_data`, `message`, `hash`, `authorization` or `batch`. A denied
request is an answer, not an HTTP error: its decision carries every reason. Errors are {"error": {"code", …}}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from walletgate.chain import NodeRefusedError
from walletgate.encoding import checksum_address, printable, to_hex
from walletgate.errors import (
    ApprovalError,
    AuthenticationError,
    ChainError,
    ConflictError,
    GatePausedError,
    InvalidRequestError,
    WalletGateError,
)  # fmt: skip
from walletgate.gate import Gate, Session
from walletgate.gate.codec import json_bytes, plain
from walletgate.server.node import bearer
from walletgate.server.views import agent_view, error_view, limit_view, policy_view
from walletgate.server.wire import ask_of_api, client_id, read_body, read_object, trace_of
from walletgate.types import Status

WAIT_S_MAX = 300.0

Handler = Callable[[web.Request, Session], Awaitable[dict[str, Any]]]


class AgentApi:
    """Serves the agent API of one gate."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """Where the API listens."""
        return [
            web.post("/v1/requests", self._guard(self._submit)),
            web.get("/v1/requests/{id}", self._guard(self._get)),
            web.delete("/v1/requests/{id}", self._guard(self._withdraw)),
            web.post("/v1/preview", self._guard(self._preview)),
            web.get("/v1/limits", self._guard(self._limits)),
            web.get("/v1/policy", self._guard(self._policy)),
            web.route("*", "/{tail:.*}", self._guard(self._nothing)),
        ]

    def _guard(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            session = None
            try:
                session = self._gate.session(self._gate.authenticate(bearer(request)))
                return respond(await handler(request, session))
            except WalletGateError as error:
                if isinstance(error, InvalidRequestError | AuthenticationError | ConflictError):
                    await self._gate.refuse(session, error, surface="api", method=request.path[:64])
                return respond(error_view(error), status=http_status(error))
            except NodeRefusedError as error:
                failure = ChainError(printable(error.message), code="node_refused")
                return respond(error_view(failure), status=http_status(failure))

        return guarded

    async def _nothing(self, http: web.Request, _session: Session) -> dict[str, Any]:
        """Everything else, such as the operators' own paths: refused like any request, and so recorded."""
        place = printable(http.path, length_max=64)
        raise InvalidRequestError(f"agents have no {http.method} {place}", code="endpoint_unknown")

    async def _submit(self, http: web.Request, session: Session) -> dict[str, Any]:
        body = read_object(await read_body(http))
        wait_s = _wait_s(body.get("wait_s", 0))
        surface = "sdk" if http.headers.get("User-Agent", "").startswith("walletgate/") else "api"
        ask = ask_of_api(body, wallet=session.grant.wallet, surface=surface, trace=trace_of(http))
        request = await self._gate.submit(session, ask)
        if request.status is Status.AWAITING_APPROVAL and wait_s:
            request = await self._gate.wait(request.id, wait_s)
        return {"request": agent_view(request)}

    async def _get(self, http: web.Request, session: Session) -> dict[str, Any]:
        request = self._gate.of_client(session.grant.id, client_id(http.match_info["id"]))
        text = http.query.get("wait_s", "0")
        wait_s = _wait_s(float(text) if text.replace(".", "", 1).isdigit() and text.isascii() else None)
        if wait_s:
            request = await self._gate.wait(request.id, wait_s, final=http.query.get("until") == "final")
        return {"request": agent_view(request)}

    async def _withdraw(self, http: web.Request, session: Session) -> dict[str, Any]:
        return {"request": agent_view(await self._gate.withdraw(session, client_id(http.match_info["id"])))}

    async def _preview(self, http: web.Request, session: Session) -> dict[str, Any]:
        body = read_object(await read_body(http))
        ask = ask_of_api(body, wallet=session.grant.wallet, surface="api", trace={})
        judged, policy = await self._gate.preview(session, ask)
        decision = judged.decision
        return {
            "decision": {"outcome": decision.outcome.name.lower(), "reasons": [plain(r) for r in decision.reasons]},
            "effects": judged.words(policy, session.grant.wallet),
        }

    async def _limits(self, _http: web.Request, session: Session) -> dict[str, Any]:
        grant = session.grant
        policy = self._gate.state.policies[grant.policy]
        return {
            "grant": grant.id,
            "agent": grant.agent,
            "wallet": checksum_address(grant.wallet),
            "chain_id": session.chain_id,
            "chain_ids": sorted(policy.chain_ids),
            "policy": {"name": policy.name, "hash": to_hex(policy.hash)},
            "limits": [limit_view(limit) for limit in await self._gate.limits(session)],
        }

    async def _policy(self, _http: web.Request, session: Session) -> dict[str, Any]:
        return policy_view(self._gate.state.policies[session.grant.policy])


def respond(body: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=json_bytes(body), status=status, content_type="application/json")


def http_status(error: WalletGateError) -> int:  # noqa: PLR0911 - one line for each kind of error
    """The HTTP status of an error; only the server knows these numbers."""
    match error:
        case AuthenticationError():
            return 401
        case InvalidRequestError(code="body_too_large"):
            return 413
        case InvalidRequestError(code="request_unknown" | "endpoint_unknown"):
            return 404
        case InvalidRequestError():
            return 400
        case ApprovalError():
            return 403
        case ConflictError():
            return 409
        case GatePausedError():
            return 503
        case ChainError():
            return 502
        case _:
            return 500


def _wait_s(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= WAIT_S_MAX:
        raise InvalidRequestError(f"wait_s must be seconds between 0 and {WAIT_S_MAX:.0f}", code="bad_wait")
    return float(value)

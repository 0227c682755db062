"""The operator API, on a socket of its own.

    GET  /v1/status                  the gate, its wallets, grants, limits, freezes, chains
    GET  /v1/requests                ?status=…&limit=…, newest first      GET /v1/requests/{id}
    GET  /v1/policies/{hash}         a policy's text
    GET  /v1/grants/{id}/versions    the policies a grant was put under, with their texts
    GET  /v1/drafts                  commands that wait for operators, and what became of others, newest first
    GET  /v1/log                     ?start=…&stop=… entries as they were hashed, with a fresh checkpoint
    GET  /metrics                    Prometheus' text format 0.0.4
    POST /v1/approvals               {"word": …, "signature", "reason"}: a yes or no, signed (EIP-712)
    POST /v1/commands                {"word": …, "body", "signature"}: any other change, signed (EIP-712)
    POST /v1/drafts                  {"word": …, "signature", "reason"}: a yes or no to a draft, signed (EIP-712)

Reading takes the operator token, which changes nothing. Every change takes an operator's signature over exactly
that change. A grant token is worth nothing here; trying one is recorded.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from walletgate.audit.entry import parse_entry
from walletgate.encoding import checksum_address, parse_hex, to_hex
from walletgate.errors import AuthenticationError, ChainError, InvalidRequestError, SignerError, WalletGateError
from walletgate.gate import (
    ApprovalWord,
    CommandWord,
    DraftWord,
    Gate,
    Operations,
    Session,
    SignedApproval,
    SignedCommand,
    SignedDraft,
)
from walletgate.gate.actions import quorum_of
from walletgate.gate.checkpoints import Checkpoints
from walletgate.gate.judging import used_without
from walletgate.gate.rescue import outstanding_view
from walletgate.gate.settle import is_stuck
from walletgate.policy import Scope, headroom
from walletgate.server.api import http_status, respond
from walletgate.server.home import Home
from walletgate.server.metrics import CONTENT_TYPE, render
from walletgate.server.node import bearer
from walletgate.server.notify import Route
from walletgate.server.views import budget_view, draft_view, error_view, limit_view, operator_view, versions_view
from walletgate.server.wire import read_body, read_object
from walletgate.store import Grant, Request
from walletgate.types import Hash32, Status

ENTRIES_MAX = 10_000

Handler = Callable[[web.Request], Awaitable[dict[str, Any]]]
OpenKeystore = Callable[[Path], Awaitable[object]]


class OperatorApi:
    """Serves operators of one gate."""

    def __init__(
        self, gate: Gate, operations: Operations, checkpoints: Checkpoints, *, home: Home, name: str, token: str,
        open_keystore: OpenKeystore, routes: Sequence[Route] = (),
    ) -> None:  # fmt: skip
        """`routes` are where notices go, for the metrics."""
        self._notices = routes
        self._gate = gate
        self._operations = operations
        self._checkpoints = checkpoints
        self._home = home
        self._name = name
        self._token = token
        self._open_keystore = open_keystore

    def routes(self) -> list[web.RouteDef]:
        """Where the API listens."""
        return [
            web.get("/metrics", self._metrics),
            web.get("/v1/status", self._guard(self._status)),
            web.get("/v1/requests", self._guard(self._requests)),
            web.get("/v1/requests/{id}", self._guard(self._request)),
            web.get("/v1/policies/{hash}", self._guard(self._policy)),
            web.get("/v1/log", self._guard(self._log)),
            web.post("/v1/approvals", self._guard(self._approve)),
            web.post("/v1/commands", self._guard(self._command)),
            web.get("/v1/grants/{id}/versions", self._guard(self._versions)),
            web.get("/v1/drafts", self._guard(self._drafts)),
            web.post("/v1/drafts", self._guard(self._sign_draft)),
        ]

    def _guard(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            try:
                await self._check_token(request)
                return respond(await handler(request))
            except WalletGateError as error:
                return respond(error_view(error), status=http_status(error))

        return guarded

    async def _metrics(self, http: web.Request) -> web.Response:
        try:
            await self._check_token(http)
        except WalletGateError as error:
            return respond(error_view(error), status=http_status(error))
        text = render(self._gate, self._checkpoints, self._notices)
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _check_token(self, request: web.Request) -> None:
        token = ""
        try:
            token = bearer(request)
            if hmac.compare_digest(token.encode(), self._token.encode()):
                return
            code = "wrong_endpoint" if token.startswith("wg_grant_") else "token_unknown"
            raise AuthenticationError("this token does not open the operators' endpoint", code=code)
        except AuthenticationError as error:
            await self._gate.refuse(self._session_of(token), error, surface="operator", method=request.path[:64])
            raise

    def _session_of(self, token: str) -> Any:
        """Whose grant token was tried here, for the record."""
        try:
            return self._gate.session(self._gate.authenticate(token))
        except WalletGateError:
            return None

    async def _status(self, _http: web.Request) -> dict[str, Any]:
        state = self._gate.state
        return {
            "gate": self._name,
            "now_ms": self._gate.now_ms(),
            "log": {"size": self._gate.store.log_size, "root": to_hex(self._gate.store.log_root())},
            "chains": [await self._chain_status(chain_id) for chain_id in self._gate.chains],
            "wallets": [
                {"name": w.name, "address": checksum_address(w.address), "keystore": w.keystore}
                for w in state.wallets.values()
            ],
            "operators": [
                {
                    "name": o.name,
                    "address": checksum_address(o.address),
                    "roles": list(o.roles),
                    "removed_ms": o.removed_ms,
                }
                for o in state.operators.values()
            ],
            "quorum": quorum_of(self._gate),
            "drafts": len(self._gate.store.authority.drafts(status="open")),
            "grants": [await self._grant_status(grant) for grant in state.grants.values()],
            "allowances": outstanding_view(self._gate),
            "stuck": [request.id for request in self._gate.state.requests.values() if is_stuck(request)],
            "freezes": [
                {"scope": f.scope, "operator": f.operator, "reason": f.reason, "at_ms": f.at_ms}
                for f in state.freezes.values()
            ],
            "open": {
                status.value: sum(request.status is status for request in state.requests.values())
                for status in (Status.AWAITING_APPROVAL, Status.SIGNED, Status.BROADCAST)
            },
        }

    async def _grant_status(self, grant: Grant) -> dict[str, Any]:
        policy = self._gate.state.policies[grant.policy]
        limits = []
        if grant.revoked_ms is None:
            for chain_id in sorted(policy.chain_ids):
                limits += [limit_view(limit) for limit in await self._gate.limits(Session(grant, chain_id))]
        return {
            "id": grant.id,
            "agent": grant.agent,
            "team": grant.team,
            "wallet": checksum_address(grant.wallet),
            "policy": {"name": policy.name, "hash": to_hex(policy.hash)},
            "created_ms": grant.created_ms,
            "expires_ms": grant.expires_ms,
            "revoked_ms": grant.revoked_ms,
            "limits": limits,
        }

    async def _chain_status(self, chain_id: int) -> dict[str, Any]:
        try:
            head = await self._gate.chains[chain_id].block_number()
        except ChainError as error:
            return {"chain_id": chain_id, "head": None, "problem": error.code}
        return {"chain_id": chain_id, "head": head, "problem": None}

    async def _requests(self, http: web.Request) -> dict[str, Any]:
        wanted, limit = http.query.get("status"), http.query.get("limit", "50")
        if wanted is not None and wanted not in [s.value for s in Status]:
            raise InvalidRequestError("there is no such status", code="bad_status")
        if not _is_number(limit):
            raise InvalidRequestError("limit must be a number", code="bad_limit")
        found = self._gate.store.recent_requests(limit=int(limit), status=Status(wanted) if wanted else None)
        state, store = self._gate.state, self._gate.store
        return {"requests": [operator_view(request, state, store.approvals(request.id)) for request in found]}

    async def _request(self, http: web.Request) -> dict[str, Any]:
        request = self._gate.find(http.match_info["id"])
        if request is None:
            raise InvalidRequestError("there is no such request", code="request_unknown")
        view = operator_view(request, self._gate.state, self._gate.store.approvals(request.id))
        return {"request": {**view, "budgets": self._budgets(request)}}

    def _budgets(self, request: Request) -> list[dict[str, Any]]:
        """Each total of the grant that a waiting request draws on, without it and with it."""
        state, now_ms = self._gate.state, self._gate.now_ms()
        grant = state.grants[request.grant_id]
        if request.status is not Status.AWAITING_APPROVAL or not state.book.pending(request.id):
            return []
        policy, scope = state.policies[grant.policy], Scope(grant.id, grant.team, grant.wallet, request.chain_id)
        both = (headroom(policy, scope, used_without(state, left_out, now_ms)) for left_out in (request.id, None))
        return [
            budget_view(before, after)
            for before, after in zip(*both, strict=True)
            if after.used is not None and before.used != after.used
        ]

    async def _policy(self, http: web.Request) -> dict[str, Any]:
        wanted = Hash32(parse_hex(http.match_info["hash"], where="hash", size_bytes=32))
        policy = self._gate.state.policies.get(wanted)
        if policy is None:
            raise InvalidRequestError("there is no such policy", code="policy_unknown")
        return {"name": policy.name, "hash": to_hex(policy.hash), "text": policy.text}

    async def _log(self, http: web.Request) -> dict[str, Any]:
        bounds = [http.query.get("start", "0"), http.query.get("stop", str(2**53))]
        if not all(map(_is_number, bounds)):
            raise InvalidRequestError("start and stop must be numbers", code="bad_range")
        start, stop = int(bounds[0]), min(int(bounds[1]), int(bounds[0]) + ENTRIES_MAX, 2**62)
        rows = [parse_entry(entry) for _, _, entry in self._gate.store.entries(start, stop)]
        return {"entries": rows, "checkpoint": await self._checkpoints.sign(self._gate.now_ms())}

    async def _approve(self, http: web.Request) -> dict[str, Any]:
        body = read_object(await read_body(http))
        word = _object(body, "word")
        signed = SignedApproval(
            ApprovalWord(
                request=_text(word, "request"),
                approve=word.get("approve") is True,
                request_digest=_hash(word, "request_digest"),
                effects_digest=_hash(word, "effects_digest"),
                policy=_hash(word, "policy"),
                expires=_number(word, "expires"),
            ),
            parse_hex(body.get("signature"), where="signature"),
            str(body.get("reason") or "")[:500],
        )
        request = await self._operations.decide(signed)
        if request.status is Status.SIGNED and request.raw is not None:
            await self._gate.broadcaster.first_answer(request.id, 2.0)
            request = self._gate.find(request.id) or request
        return {"request": operator_view(request, self._gate.state, self._gate.store.approvals(request.id))}

    async def _command(self, http: web.Request) -> dict[str, Any]:
        body = read_object(await read_body(http))
        word = _object(body, "word")
        signed = SignedCommand(
            CommandWord(
                action=_text(word, "action"),
                payload=_hash(word, "payload"),
                nonce=_hash(word, "nonce"),
                expires=_number(word, "expires"),
            ),
            _text(body, "body").encode(),
            parse_hex(body.get("signature"), where="signature"),
        )
        rotates = signed.word.action == "log.rotate_key"
        if rotates:
            before = read_object(signed.body).get("before")
            self._checkpoints.check_rotation(str(before), self._home.make_next_log_key())
        answer = await self._operations.command(signed)
        if rotates:
            after = self._home.make_next_log_key()
            answer["done"] = await self._checkpoints.rotate(after, self._home.adopt_next_log_key, self._gate.now_ms())
        if signed.word.action == "wallet.add":
            answer["opened"] = await self._open(answer["name"])
        return answer

    async def _versions(self, http: web.Request) -> dict[str, Any]:
        return versions_view(http.match_info["id"], self._gate.store)

    async def _drafts(self, _http: web.Request) -> dict[str, Any]:
        store = self._gate.store
        return {"drafts": [draft_view(draft, store) for draft in store.authority.drafts()]}

    async def _sign_draft(self, http: web.Request) -> dict[str, Any]:
        body = read_object(await read_body(http))
        word = _object(body, "word")
        signed = SignedDraft(
            DraftWord(
                draft=_text(word, "draft"),
                approve=word.get("approve") is True,
                action=_text(word, "action"),
                payload=_hash(word, "payload"),
                summary=_hash(word, "summary"),
                before=_hash(word, "before"),
                after=_hash(word, "after"),
                expires=_number(word, "expires"),
            ),
            parse_hex(body.get("signature"), where="signature"),
            str(body.get("reason") or "")[:500],
        )
        return await self._operations.sign_draft(signed)

    async def _open(self, wallet: str) -> bool:
        """Whether the signer could open the new wallet's keystore with the passphrase it was started with."""
        keystore = next(w.keystore for w in self._gate.state.wallets.values() if w.name == wallet)
        try:
            await self._open_keystore(Path(keystore))
        except SignerError:
            return False
        return True


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 16


def _object(body: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = body.get(key)
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{key} must be an object", code="bad_shape")
    return value


def _text(body: Mapping[str, object], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise InvalidRequestError(f"{key} must be text", code="bad_shape")
    return value


def _number(body: Mapping[str, object], key: str) -> int:
    value = body.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise InvalidRequestError(f"{key} must be a whole number", code="bad_shape")
    return value


def _hash(body: Mapping[str, object], key: str) -> Hash32:
    return Hash32(parse_hex(body.get(key), where=key, size_bytes=32))

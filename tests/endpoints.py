"""A gate's endpoints in this process, on real sockets, with a client that speaks plain HTTP to them."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from tests.factories import ORIGIN, TOKEN, Bench, make_gate
from walletgate.audit.note import SigningKey
from walletgate.encoding import to_hex
from walletgate.gate import SignedApproval, SignedCommand
from walletgate.gate.checkpoints import Checkpoints
from walletgate.server.api import AgentApi
from walletgate.server.home import Home
from walletgate.server.node import NodeEndpoint
from walletgate.server.operators import OperatorApi
from walletgate.server.wire import BODY_SIZE_BYTES_MAX

OPERATOR_TOKEN = "wg_operator_" + "o" * 43


@dataclass
class Endpoints:
    """Both endpoints of one gate, and what is behind them."""

    bench: Bench
    agents: TestClient[Any, Any]
    operators: TestClient[Any, Any]

    async def rpc(
        self, method: str, *params: Any, token: str | None = TOKEN, headers: Mapping[str, str] | None = None,
        path: str = "/rpc",
    ) -> dict[str, Any]:  # fmt: skip
        """One JSON-RPC call; the whole answer."""
        call = {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}
        answer: dict[str, Any] = await self.post_rpc(json.dumps(call).encode(), token=token, headers=headers, path=path)
        return answer

    async def post_rpc(
        self, body: bytes, *, token: str | None = TOKEN, headers: Mapping[str, str] | None = None, path: str = "/rpc"
    ) -> Any:
        """A body as it is; what comes back always has status 200."""
        sent = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **(headers or {})}
        async with self.agents.post(path, data=io.BytesIO(body), headers=sent) as response:
            assert response.status == 200
            return await response.json()

    async def api(
        self, verb: str, path: str, body: Any = None, *, token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:  # fmt: skip
        """A call of the agent API: status and JSON."""
        return await self._call(self.agents, verb, path, body, token, headers)

    async def operate(
        self, verb: str, path: str, body: Any = None, *, token: str | None = OPERATOR_TOKEN
    ) -> tuple[int, dict[str, Any]]:
        """A call of the operator API: status and JSON."""
        return await self._call(self.operators, verb, path, body, token, None)

    async def _call(
        self, client: TestClient[Any, Any], verb: str, path: str, body: Any, token: str | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[int, dict[str, Any]]:  # fmt: skip
        sent = {**({} if token is None else {"Authorization": f"Bearer {token}"}), **(headers or {})}
        data = None if body is None else io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with client.request(verb, path, data=data, headers=sent) as response:
            return response.status, await read_json(response)

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The log."""
        return [json.loads(entry) for _, _, entry in self.bench.store.entries()]


async def read_json(response: ClientResponse) -> dict[str, Any]:
    """A JSON object, whatever the status."""
    found = await response.json()
    assert isinstance(found, dict)
    return found


@asynccontextmanager
async def make_endpoints(path: Path, **options: Any) -> AsyncIterator[Endpoints]:
    """A gate as `make_gate` makes it, with its endpoints listening."""
    async with make_gate(path, **options) as bench:
        checkpoints = Checkpoints(bench.store, SigningKey(ORIGIN, bytes(range(32))), path / "checkpoint")

        async def open_keystore(_path: Path) -> object:
            return None

        operators = OperatorApi(
            bench.gate,
            bench.operations,
            checkpoints,
            home=Home(path),
            name=ORIGIN,
            token=OPERATOR_TOKEN,
            open_keystore=open_keystore,
        )
        agents, trusted = (web.Application(client_max_size=BODY_SIZE_BYTES_MAX) for _ in range(2))
        agents.add_routes([*NodeEndpoint(bench.gate).routes(), *AgentApi(bench.gate).routes()])
        trusted.add_routes(operators.routes())
        async with TestClient(TestServer(agents)) as agents_client, TestClient(TestServer(trusted)) as trusted_client:
            yield Endpoints(bench, agents_client, trusted_client)


def approval_body(signed: SignedApproval) -> dict[str, Any]:
    """An operator's word on a request, as it goes over the wire."""
    word = signed.word
    return {
        "word": {
            "request": word.request, "approve": word.approve, "request_digest": to_hex(word.request_digest),
            "effects_digest": to_hex(word.effects_digest), "policy": to_hex(word.policy), "expires": word.expires,
        },
        "signature": to_hex(signed.signature),
        "reason": signed.reason,
    }  # fmt: skip


def command_body(signed: SignedCommand) -> dict[str, Any]:
    """An operator's command, as it goes over the wire."""
    word = signed.word
    return {
        "word": {
            "action": word.action, "payload": to_hex(word.payload), "nonce": to_hex(word.nonce),
            "expires": word.expires,
        },
        "body": signed.body.decode(),
        "signature": to_hex(signed.signature),
    }  # fmt: skip

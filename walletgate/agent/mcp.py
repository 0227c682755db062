"""The wallet as tools for models, over the Model Context Protocol: stdio, or streamable HTTP on loopback.

    walletgate mcp shopper                            (or: python -m walletgate.agent.mcp shopper)
    walletgate mcp shopper --http 127.0.0.1:8765

The grant's token comes from the agent's configuration and is no tool's argument. Tools ask the gate, which decides;
what they return says what to do next. No tool approves anything, and nothing that a client or its user answers to this
server counts as an approval: MCP's elicitation is not used, because an agent may answer it itself.

The tool call's id and `traceparent` in a call's `_meta` go into the log with the request. The same tool call delivered
twice to one server is the same request, and is done once.

Whoever reaches the HTTP address could use the wallet, so each call must carry the secret that is kept in a file beside
the agent's configuration.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field

from walletgate.agent.account import GateAccount
from walletgate.agent.amounts import asset_named, split_amount, to_units
from walletgate.agent.answers import PolicyView
from walletgate.agent.client import Kind
from walletgate.agent.context import tool_call
from walletgate.agent.doors import account as account_of
from walletgate.agent.mcp_answers import Told, tell_error, tell_limits, tell_preview, tell_request, tell_wallet
from walletgate.agent.pay import plan_payment
from walletgate.errors import ConfigError, InvalidRequestError, WalletGateError
from walletgate.types import CHAINS

WAIT_S: Final = 8.0
"""How long a tool waits for an operator before it says that one is asked."""

WAIT_S_MAX: Final = 120.0
"""The longest that `wait` waits in one call."""

CALL_IDS: Final = ("walletgate/toolCallId", "toolCallId", "tool_call_id", "claudecode/toolUseId")
"""Where clients put a tool call's id in `_meta`."""

INSTRUCTIONS: Final = (
    "A wallet without a key: a gate decides on every request by a policy, and sometimes an operator does. Amounts are "
    "decimal text with the asset's name. `pay` is for payments; `preview` says beforehand what would be decided. A "
    "refusal is final for you: report it, do not look for another way. Nobody in the conversation can approve it."
)

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@=+-]{0,127}\Z")
_PARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{32,128}\Z")
_READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_SPENDS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False)

Payee = Annotated[str, Field(description="A name from the policy (see `wallet`), or a 0x address")]
Amount = Annotated[str, Field(description="Decimal number, one space, asset: `5.25 USDC`")]
Memo = Annotated[str, Field(description="What it is for, for operators and the log", max_length=500)]
Chain = Annotated[str | None, Field(description="Only where an asset is on several chains: its name or number")]
OwnId = Annotated[str, Field(description="The `id` that another tool returned", max_length=128)]
Meant = Annotated[
    str | None, Field(description="What should leave the wallet, such as `5 USDC`: anything else is refused")
]


def make_server(account: GateAccount) -> MCPServer[Any]:
    """The server for one agent's account."""
    server: MCPServer[Any] = MCPServer("walletgate", instructions=INSTRUCTIONS, log_level="WARNING")
    tools = _Tools(account)
    for tool, hints in (
        (tools.wallet, _READS), (tools.limits, _READS), (tools.pay, _SPENDS), (tools.preview, _READS),
        (tools.send, _SPENDS), (tools.sign_typed_data, _SPENDS), (tools.sign_message, _SPENDS),
        (tools.request_status, _READS), (tools.wait, _READS),
    ):  # fmt: skip
        server.tool(annotations=hints)(tool)
    server.resource("walletgate://policy", name="policy", mime_type="text/plain")(tools.policy)
    return server


class _Tools:
    """The tools; their docstrings are what models read."""

    def __init__(self, account: GateAccount) -> None:
        self._account = account
        self._client = account.client
        self._salt = secrets.token_hex(16)

    async def wallet(self) -> Told:
        """Says the wallet's address, and the assets and addresses that the policy has names for."""
        return await self._told(lambda: tell_wallet(self._client.limits(), self._client.policy()))

    async def limits(self) -> Told:
        """Says what is left of each limit now."""
        return await self._told(lambda: tell_limits(self._client.limits()))

    async def pay(self, to: Payee, amount: Amount, memo: Memo, ctx: Context[Any, Any], chain: Chain = None) -> Told:
        """Pays. Decided by the policy, or by an operator; the answer says which and what to do now."""

        def ask(own_id: str) -> Told:
            plan = plan_payment(self._client.policy(), to, amount, _chain(chain))
            return self._asked("transaction", plan.payload, own_id, expect=plan.expect, memo=memo)

        return await self._traced(ctx, ask)

    async def preview(
        self,
        to: Payee,
        amount: Annotated[str | None, Field(description="For a payment, as in `pay`")] = None,
        data: Annotated[str | None, Field(description="For a contract call: 0x calldata")] = None,
        value: Annotated[str | None, Field(description="For a contract call: coins to send, such as `0.1 ETH`")] = None,
        chain: Chain = None,
    ) -> Told:
        """Says what would be decided about a payment (`amount`) or a contract call (`data`), without doing anything."""

        def ask() -> Told:
            policy = self._client.policy()
            if amount is not None:
                plan = plan_payment(policy, to, amount, _chain(chain))
                return tell_preview(self._client.preview("transaction", plan.payload, expect=plan.expect))
            return tell_preview(self._client.preview("transaction", _call(policy, to, data, value, chain)))

        return await self._told(ask)

    async def send(
        self,
        to: Annotated[str, Field(description="The contract's 0x address")],
        data: Annotated[str, Field(description="0x calldata")],
        memo: Memo,
        ctx: Context[Any, Any],
        value: Annotated[str | None, Field(description="Coins to send along, such as `0.1 ETH`")] = None,
        expect: Meant = None,
        chain: Chain = None,
    ) -> Told:
        """Sends a contract call as a transaction. For plain payments use `pay`."""

        def ask(own_id: str) -> Told:
            payload = _call(self._client.policy(), to, data, value, chain)
            return self._asked("transaction", payload, own_id, expect=_meant(expect), memo=memo)

        return await self._traced(ctx, ask)

    async def sign_typed_data(
        self,
        typed_data: Annotated[dict[str, Any], Field(description="EIP-712: types, primaryType, domain, message")],
        memo: Memo,
        ctx: Context[Any, Any],
        expect: Meant = None,
    ) -> Told:
        """Signs EIP-712 data. Many such signatures are payments, and are judged and counted as what they allow."""
        return await self._traced(
            ctx, lambda own_id: self._asked("typed_data", typed_data, own_id, expect=_meant(expect), memo=memo)
        )

    async def sign_message(
        self, text: Annotated[str, Field(description="The text, as it is")], memo: Memo, ctx: Context[Any, Any]
    ) -> Told:
        """Signs text (EIP-191), such as a login."""
        payload = {"data": "0x" + text.encode().hex()}
        return await self._traced(ctx, lambda own_id: self._asked("message", payload, own_id, expect=None, memo=memo))

    async def request_status(self, id: OwnId) -> Told:  # noqa: A002 - the API's word
        """Says how a request stands."""
        return await self._told(lambda: tell_request(self._client.get(id)))

    async def wait(
        self,
        id: OwnId,  # noqa: A002
        timeout_s: Annotated[float, Field(ge=0, le=WAIT_S_MAX)] = 60,
    ) -> Told:
        """Waits until a request was decided and, if it is a transaction, until the chain has carried it out."""
        return await self._told(lambda: tell_request(self._client.wait(id, timeout_s, final=True)))

    async def policy(self) -> str:
        """The policy in words: what is allowed, what is never, at most how much, and when an operator is asked."""
        return "\n".join((await self._account.threads.run(self._client.policy)).words)

    def _asked(
        self, kind: Kind, payload: Mapping[str, Any], own_id: str, *, expect: Mapping[str, str] | None, memo: str
    ) -> Told:
        return tell_request(
            self._client.request(kind, payload, id=own_id, expect=expect, memo=memo, wait_s=self._client.wait_s)
        )

    async def _traced(self, ctx: Context[Any, Any], ask: Callable[[str], Told]) -> Told:
        """Asks as part of the tool call that the client's metadata names."""
        meta: Mapping[str, Any] = ctx.request_context.meta or {}
        named = next((meta[key] for key in CALL_IDS if isinstance(meta.get(key), str) and _ID.match(meta[key])), None)
        parent = meta.get("traceparent")
        is_parent = isinstance(parent, str) and _PARENT.match(parent)
        own_id = f"mcp_{secrets.token_hex(16)}"
        if named is not None:
            asked = {key: value for key, value in (ctx.request_context.params or {}).items() if key != "_meta"}
            identity = json.dumps([self._salt, named, asked], sort_keys=True, default=str)
            own_id = f"mcp_{sha256(identity.encode()).hexdigest()[:32]}"
        with tool_call(named or f"mcp:{ctx.request_id}"[:128], traceparent=parent if is_parent else None):
            return await self._told(lambda: ask(own_id))

    async def _told(self, ask: Callable[[], Told]) -> Told:
        try:
            return await self._account.threads.run(ask)
        except WalletGateError as error:
            return tell_error(error)


def _chain(chain: str | None) -> str | int | None:
    return int(chain) if chain is not None and chain.isascii() and chain.isdigit() else chain


def _call(policy: PolicyView, to: str, data: str | None, value: str | None, chain: str | None) -> dict[str, str]:
    """A contract call as a transaction; its chain is the one said, or that of the coin, or the grant's first."""
    payload = {"to": to, "data": data or "0x"}
    wanted = _chain(chain)
    chain_id = wanted if isinstance(wanted, int) or wanted is None else CHAINS.get(wanted, (0, ""))[0]
    if value is not None:
        number, name = split_amount(value)
        coin = asset_named(policy, name, chain_id)
        if coin.address is not None:
            raise InvalidRequestError(f"{name} is a token; `value` is in the chain's own coin", code="bad_amount")
        payload["value"], chain_id = hex(to_units(number, coin)), coin.chain_id
    if chain_id is not None:
        payload["chainId"] = hex(chain_id)
    return payload


def _meant(words: str | None) -> dict[str, str] | None:
    if words is None:
        return None
    number, name = split_amount(words)
    return {"asset": name, "amount": number}


# --- transports ---------------------------------------------------------------------------------------


def serve(agent: str, *, http: str | None = None, tell: Callable[[str], object] | None = None) -> None:
    """Serves agent `agent` over stdio, or over HTTP at `http` (`127.0.0.1:PORT`) until it is stopped.

    Raises:
        ConfigError: as `walletgate.account`; `bad_listen`, `file_unsafe`.
    """
    server = make_server(account_of(agent, wait_s=WAIT_S))
    if http is None:
        server.run("stdio")
        return
    host, _, port = http.rpartition(":")
    if host not in ("127.0.0.1", "localhost", "[::1]") or not port.isascii() or not port.isdigit():
        raise ConfigError("--http takes a port of this machine alone, such as 127.0.0.1:8765", code="bad_listen")
    place = Path.home() / ".config" / "walletgate" / "agents" / f"{agent}.mcp-secret"
    secret = read_secret(place)
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    with socket.create_server((host.strip("[]"), int(port)), family=family) as listening:
        bound = listening.getsockname()[1]
        if tell is not None:
            tell(f"http://{host}:{bound}/mcp  (Authorization: Bearer …, from {place})")
        app = _Guarded(server.streamable_http_app(host=host, transport_security=_security(host, bound)), secret)
        config = uvicorn.Config(app, log_level="warning", ws="none")
        uvicorn.Server(config).run(sockets=[listening])


def _security(host: str, port: int) -> TransportSecuritySettings:
    """Only the address itself as Host, so that no web page reaches it under another name."""
    return TransportSecuritySettings(allowed_hosts=[f"{host}:{port}"], allowed_origins=[f"http://{host}:{port}"])


def read_secret(path: Path) -> str:
    """The secret in `path`, which is made if it is not there.

    Raises:
        ConfigError: `file_unsafe`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    except FileExistsError:
        info = path.lstat()
        if info.st_mode & 0o077 or info.st_uid != os.getuid():
            raise ConfigError(f"others can read {path}: chmod 600 {path}", code="file_unsafe") from None
    secret = path.read_text().strip()
    if not _SECRET.match(secret):
        raise ConfigError(f"{path} holds no secret; remove it, and another is made", code="file_unsafe")
    return secret


Scope = dict[str, Any]
Asgi = Callable[..., Awaitable[None]]


class _Guarded:
    """An ASGI application that answers nobody without the secret."""

    def __init__(self, app: Asgi, secret: str) -> None:
        self._app = app
        self._wanted = f"Bearer {secret}".encode()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """One connection."""
        if scope["type"] == "http":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._wanted):
                await send(
                    {"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]}
                )
                await send({"type": "http.response.body", "body": b""})
                return
        await self._app(scope, receive, send)


def main() -> None:
    """`python -m walletgate.agent.mcp AGENT [--http HOST:PORT]`, for where the operators' command line is not."""
    parser = argparse.ArgumentParser(prog="walletgate.agent.mcp", description="The wallet as MCP tools.")
    parser.add_argument("agent")
    parser.add_argument("--http", metavar="HOST:PORT")
    options = parser.parse_args()
    try:
        serve(options.agent, http=options.http, tell=lambda line: sys.stderr.write(f"{line}\n"))
    except WalletGateError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

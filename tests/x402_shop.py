"""A shop that sells for USDC over x402, with others' server and facilitator on a real chain; and one that cheats.

`/credits` and `/weather` are sold by the x402 package's own middleware and settled on chain. `/scripted` answers what a
test tells it to.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from eth_account import Account
from eth_account.messages import encode_defunct
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from x402 import x402ResourceServer
from x402.facilitator import x402Facilitator
from x402.http.middleware.fastapi import PaymentMiddlewareASGI
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.exact import ExactEvmServerScheme
from x402.mechanisms.evm.exact.facilitator import ExactEvmScheme as ExactEvmFacilitator
from x402.mechanisms.evm.signers import FacilitatorWeb3Signer
from x402.schemas import AssetAmount

from tests.factories import ACME, OTHER, TOKEN, WALLET
from tests.gate_process import GateProcess, make_home, running
from walletgate.demo.devchain import DevChain
from walletgate.demo.stage import served_chain
from walletgate.encoding import checksum_address

FACILITATOR = "0x" + "fa" * 32
MINE, PAYEE, STRANGER = map(checksum_address, (WALLET, ACME, OTHER))
DOMAIN = "shop.example"

POLICY = """\
version = 1
name = "buyer"
chains = ["eth-tester"]

[assets.USDC]
address = "{token}"
decimals = 6

[addresses]
shop = "{shop}"

[[limits]]
name = "a day"
asset = "USDC"
per_request = "5"
per = {{ "24h" = "{daily}" }}

[[permit]]
name = "sign a payment"
sign = ["TransferWithAuthorization"]
contract = "USDC"
max_ttl = "10m"

[[permit]]
name = "sign a payment through Permit2"
sign = ["PermitWitnessTransferFrom"]
contract = "permit2"
max_ttl = "10m"

[[permit]]
name = "buy"
transfer = "USDC"
to = ["shop"]
via = ["x402-exact"]

[[permit]]
name = "log in"
login = ["shop.example"]

[[approve]]
name = "large"
when = {{ asset = "USDC", above = "2" }}
quorum = 1
of = ["alice"]
within = "30m"
"""


@dataclass
class Shop:
    """A chain, a gate in front of a funded wallet, and a shop."""

    gate: GateProcess
    chain: DevChain
    token: str
    node: str
    url: str = ""
    script: list[tuple[int, dict[str, str], Any]] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    served: int = 0

    @property
    def network(self) -> str:
        return f"eip155:{self.chain.chain_id}"

    def balance(self, address: str) -> int:
        return int(self.chain.contract("TestUSD", self.token).functions.balanceOf(address).call())

    @property
    def presented(self) -> list[dict[str, Any]]:
        """The payments that `/scripted` was shown."""
        headers = [seen.get("payment-signature") or seen.get("x-payment") for seen in self.seen]
        return [json.loads(base64.b64decode(header)) for header in headers if header]

    def offer(self, **changes: Any) -> dict[str, Any]:
        return {
            "scheme": "exact", "network": self.network, "asset": self.token, "amount": "1000000", "payTo": PAYEE,
            "maxTimeoutSeconds": 60, "extra": {"name": "Test USD", "version": "1"}, **changes,
        }  # fmt: skip

    def ask(self, *offers: dict[str, Any], **changes: Any) -> tuple[int, dict[str, str], Any]:
        """A 402 answer of version 2."""
        body = {"x402Version": 2, "accepts": list(offers), "resource": {"url": f"{self.url}/scripted"}, **changes}
        return 402, {"PAYMENT-REQUIRED": base64.b64encode(json.dumps(body).encode()).decode()}, {}


def app_of(shop: Shop) -> FastAPI:
    facilitator = x402Facilitator()
    facilitator.register([shop.network], ExactEvmFacilitator(FacilitatorWeb3Signer(FACILITATOR, shop.node)))
    server = x402ResourceServer(facilitator)
    server.register("eip155:*", ExactEvmServerScheme())

    def sold(units: str) -> RouteConfig:
        price = AssetAmount(amount=units, asset=shop.token, extra={"name": "Test USD", "version": "1"})
        return RouteConfig(accepts=PaymentOption("exact", PAYEE, price, shop.network, max_timeout_seconds=60))

    app = FastAPI()
    routes = {"POST /credits": sold("1000000"), "GET /weather": sold("250000"), "GET /expensive": sold("3000000")}
    app.add_middleware(PaymentMiddlewareASGI, routes=routes, server=server)

    @app.get("/nonce")
    def nonce() -> dict[str, str]:
        return {"nonce": secrets.token_hex(8), "domain": DOMAIN, "uri": f"https://{DOMAIN}/login"}

    @app.post("/login")
    async def login(request: Request) -> Response:
        body = await request.json()
        signer = Account.recover_message(encode_defunct(text=body["message"]), signature=body["signature"])
        if signer != MINE or not body["message"].startswith(f"{DOMAIN} wants you to sign in"):
            return JSONResponse({"error": "who are you?"}, 401)
        shop.sessions.add(token := secrets.token_hex(16))
        return JSONResponse({"session": token})

    @app.post("/credits")
    def buy_credits(request: Request) -> Response:
        if request.headers.get("x-session") not in shop.sessions:
            return JSONResponse({"error": "log in first"}, 401)
        shop.served += 1
        return JSONResponse({"credits": 100 * shop.served})

    @app.get("/weather")
    def weather() -> dict[str, str]:
        shop.served += 1
        return {"weather": "fair"}

    @app.get("/expensive")
    def expensive() -> dict[str, str]:
        return {"weather": "gold"}

    @app.api_route("/scripted", methods=["GET", "POST"])
    def scripted(request: Request) -> Response:
        shop.seen.append(dict(request.headers))
        status, headers, body = shop.script.pop(0)
        if status == 0:
            raise ConnectionError
        return JSONResponse(body, status, headers)

    return app


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def make_shop(root: Path, *, daily: str = "100") -> Iterator[Shop]:
    """Everything, with 100 USDC in the wallet."""
    chain = DevChain()
    token = chain.deploy("TestUSD")
    chain.contract("TestUSD", token).functions.mint(MINE, 100 * 10**6).transact({"from": chain.funder})
    chain.fund(Account.from_key(FACILITATOR).address, 10**18)
    with served_chain(chain) as node:
        policy = POLICY.format(token=token, shop=PAYEE, daily=daily)
        with running(make_home(root / "home", node, policy=policy, chain="eth-tester")) as gate:
            shop = Shop(gate, chain, token, node)
            with serving(app_of(shop)) as url:
                shop.url = url
                yield shop


__all__ = ["FACILITATOR", "MINE", "PAYEE", "STRANGER", "TOKEN", "Shop", "make_shop"]

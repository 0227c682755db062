"""A small gate that is real on the wire: HTTP over TCP and a Unix socket, ids honoured, signatures made with a key."""

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest
from aiohttp import web
from eth_account import Account
from eth_account.messages import encode_defunct

TOKEN = "wg_grant_" + "s3cretTOKEN" * 3
KEY = "0x" + "11" * 32
CHAIN_ID = 31337


class FakeGate:
    """Answers as the gate would; `plan` says what becomes of the next requests, `cut` how many answers get lost."""

    def __init__(self, socket: Path):
        self.signer = Account.from_key(KEY)
        self.socket = socket
        self.seen = []
        self.requests = {}
        self.plan = []
        self.cut = 0
        self.signed = 0
        self.broken = None
        self.holds = True
        self.broadcast = None
        self.nonces = lambda: 0
        self._changed = None

    # --- what tests do to it ---

    def decide(self, own_id, status):
        asyncio.run_coroutine_threadsafe(self._decide(own_id, status), self.loop).result(5)

    async def _decide(self, own_id, status):
        self._settle(self.requests[own_id], status)
        self._changed.set()
        self._changed = asyncio.Event()

    def bodies(self, method="POST"):
        return [body for verb, _, _, body in self.seen if verb == method]

    # --- the wire ---

    async def start(self):
        self._changed = asyncio.Event()
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        await web.UnixSite(self.runner, str(self.socket)).start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"

    async def _serve(self, http):
        body = await http.json() if http.can_read_body else None
        self.seen.append((http.method, http.path_qs, dict(http.headers), body))
        answer, status = await self._answer(http, body)
        if self.cut:
            self.cut -= 1
            http.transport.abort()
        if isinstance(answer, bytes):
            return web.Response(body=answer, status=status)
        return web.json_response(answer, status=status)

    async def _answer(self, http, body):
        if http.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error("token_unknown", "the token is not known"), 401
        if self.broken is not None:
            return self.broken
        if http.path == "/v1/limits":
            return self._limits(), 200
        if http.path == "/v1/preview":
            return {"decision": decision("allow", []), "effects": ["sends 1 wei"]}, 200
        if http.method == "POST":
            if body["id"] not in self.requests:
                self._submit(body)
            return await self._held(self.requests[body["id"]], float(body.get("wait_s", 0)), final=False)
        request = self.requests.get(http.match_info["tail"].removeprefix("v1/requests/"))
        if request is None:
            return error("request_unknown", "no such request"), 404
        if http.method == "DELETE":
            self._settle(request, "withdrawn")
        final = http.query.get("until") == "final"
        return await self._held(request, float(http.query.get("wait_s", 0)), final=final)

    async def _held(self, request, wait_s, *, final):
        open_states = {"awaiting_approval"} | ({"signed", "broadcast"} if final else set())
        if self.holds and wait_s and request["status"] in open_states:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait_s)
        return {"request": {k: v for k, v in request.items() if k not in ("kind", "payload")}}, 200

    def _limits(self):
        left = {"name": "USDC a day", "limit": "50000000", "used": "48000000", "available": "2000000", "unit": "USDC"}
        return {
            "grant": "grant_1",
            "agent": "trader",
            "wallet": self.signer.address,
            "chain_id": CHAIN_ID,
            "chain_ids": [CHAIN_ID],
            "policy": {"name": "shopper", "hash": "0x" + "ab" * 32},
            "limits": [left],
        }

    # --- what becomes of a request ---

    def _submit(self, body):
        status, reasons = self.plan.pop(0) if self.plan else ("ok", [])
        request = {
            "id": body["id"],
            "request_id": f"req_{len(self.requests)}",
            "status": status,
            "wallet": self.signer.address,
            "chain_id": CHAIN_ID,
            "decision": decision("deny" if status == "denied" else "allow", reasons),
            "effects": ["sends 1 wei"],
            "expires_at": 1_900_000_000 if status == "awaiting_approval" else None,
            "kind": body["kind"],
            "payload": body["payload"],
        }
        self.requests[body["id"]] = request
        if status == "ok":
            self._settle(request, "ok")

    def _settle(self, request, status):
        if status == "ok":
            self.signed += 1
            status = self._sign(request, request["payload"])
        request["status"] = status

    def _sign(self, request, payload):
        match request["kind"]:
            case "transaction" | "sign_transaction" as kind:
                fields = {k: int(v, 16) if k in QUANTITIES else v for k, v in payload.items() if k != "from"}
                filled = {"chainId": CHAIN_ID, "nonce": self.nonces(), "gas": 100_000, **FEES, **fields}
                signed = self.signer.sign_transaction(filled)
                request["nonce"], request["tx_hash"] = filled["nonce"], signed.hash.to_0x_hex()
                if kind == "sign_transaction":
                    request["raw"] = signed.raw_transaction.to_0x_hex()
                    return "signed"
                if self.broadcast is not None:
                    self.broadcast(signed.raw_transaction)
                return "broadcast"
            case "typed_data":
                signature = self.signer.sign_typed_data(full_message=payload).signature
            case "message":
                signature = self.signer.sign_message(encode_defunct(hexstr=payload["data"])).signature
            case "hash":
                signature = self.signer.unsafe_sign_hash(bytes.fromhex(payload["data"][2:])).signature
            case "authorization":
                terms = {k: int(v, 16) if k != "address" else v for k, v in payload.items()}
                signature = self.signer.sign_authorization({"nonce": 9, **terms}).signature.to_bytes()
                request["nonce"] = 9
        request["signature"] = "0x" + bytes(signature).hex()
        return "signed"


QUANTITIES = {"value", "gas", "nonce", "chainId", "maxFeePerGas", "maxPriorityFeePerGas", "gasPrice", "type"}
FEES = {"maxFeePerGas": 3 * 10**9, "maxPriorityFeePerGas": 10**9}


def decision(outcome, reasons):
    return {"outcome": outcome, "reasons": reasons}


def error(code, detail, data=None, *, retryable=False):
    return {"error": {"code": code, "detail": detail, "data": data or {}, "retryable": retryable}}


@pytest.fixture
def gate(tmp_path):
    fake = FakeGate(tmp_path / "agent.sock")
    fake.loop = asyncio.new_event_loop()
    thread = threading.Thread(target=fake.loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(fake.start(), fake.loop).result(5)
    yield fake
    asyncio.run_coroutine_threadsafe(fake.runner.cleanup(), fake.loop).result(5)
    fake.loop.call_soon_threadsafe(fake.loop.stop)
    thread.join(5)
    fake.loop.close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WALLETGATE_URL", raising=False)
    monkeypatch.delenv("WALLETGATE_TOKEN", raising=False)
    return tmp_path


@pytest.fixture
def token():
    return TOKEN


@pytest.fixture
def answer_error():
    return error

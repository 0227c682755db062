"""Gates, grants and requests with everything filled in; a test names only what it is about."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import coincurve

from tests.fakes import FakeChain
from walletgate.encoding import checksum_address, keccak256
from walletgate.gate import (
    ApprovalWord,
    Ask,
    CommandWord,
    Gate,
    Operations,
    Session,
    Settings,
    Settlement,
    SignedApproval,
    SignedCommand,
    sign_word,
)  # fmt: skip
from walletgate.gate.codec import canonical
from walletgate.gate.gate import token_hash
from walletgate.policy import load
from walletgate.server.wire import ask_of_api
from walletgate.signers import KeyRing, Seal
from walletgate.signers.keystore import address_of
from walletgate.store import Grant, Operator, PolicyText, Request, Store, Wallet, open_store
from walletgate.types import Address, Hash32

ORIGIN = "gate.test/audit/1"
NOW_MS = 1_767_225_600_000
SECRET = bytes.fromhex("11" * 32)
ALICE, BOB, MALLORY = (bytes.fromhex(f"{n:02x}" * 32) for n in (0xA1, 0xB0, 0x66))
WALLET = address_of(coincurve.PrivateKey(SECRET).public_key)
ACME = Address(bytes.fromhex("d62e97c1c4219a3850376f168e3b18ad242765db"))
OTHER = Address(bytes.fromhex("6f8ea7f2dbc4c8e82b916ca7ee8820c5726c1766"))
USDC = Address(bytes.fromhex("a0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"))
TOKEN = "wg_grant_" + "t" * 43

POLICY = f"""\
version = 1
name = "test"
chains = ["anvil"]

[assets.USDC]
address = "{checksum_address(USDC)}"
decimals = 6

[addresses]
acme = "{checksum_address(ACME)}"

[[limits]]
asset = "USDC"
per_request = "50"
per = {{ "24h" = "100" }}

[[limits]]
asset = "ETH"
per_request = "1"
per = {{ "1h" = "2" }}

[[limits]]
fees = "ETH"
per_request = "0.01"

[[permit]]
name = "pay acme"
transfer = "USDC"
to = ["acme"]

[[permit]]
name = "tip acme"
transfer = "ETH"
to = ["acme"]

[[approve]]
name = "large"
when = {{ asset = "USDC", above = "20" }}
quorum = 1
of = ["alice", "bob"]
within = "30m"
"""


@dataclass
class Clock:
    """Time that stands still until told otherwise."""

    now_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


@dataclass
class Bench:
    """A gate with everything around it."""

    gate: Gate
    operations: Operations
    settlement: Settlement
    chain: FakeChain
    store: Store
    clock: Clock
    ids: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def session(self) -> Session:
        return self.gate.session("grant_1")

    async def ask(self, body: Mapping[str, Any], session: Session | None = None) -> Request:
        return await self.gate.submit(session or self.session, self.make_ask(body))

    def make_ask(self, body: Mapping[str, Any]) -> Ask:
        full = {"id": f"r{next(self.ids)}", "kind": "transaction", **body}
        return ask_of_api(full, wallet=WALLET, surface="test", trace={})

    async def pay(self, usdc: float, **extra: Any) -> Request:
        return await self.ask({"payload": payment(usdc), **extra})

    def approval(
        self, request: Request, secret: bytes = ALICE, /, *, approve: bool = True, **changes: Any
    ) -> SignedApproval:
        decision = json.loads(request.decision)
        fields: dict[str, Any] = {
            "request": request.id,
            "approve": approve,
            "request_digest": request.digest,
            "effects_digest": Hash32(bytes.fromhex(decision["effects_digest"][2:])),
            "policy": request.policy,
            "expires": self.clock.now_ms // 1000 + 3600,
            **changes,
        }
        word = ApprovalWord(**fields)
        return SignedApproval(word, sign_word(word, secret, gate=ORIGIN))

    async def approve(self, request: Request, secret: bytes = ALICE, /, **changes: Any) -> Request:
        return await self.operations.decide(self.approval(request, secret, **changes))

    def command(self, action: str, payload: Mapping[str, Any], secret: bytes = ALICE, **changes: Any) -> SignedCommand:
        body = canonical(dict(payload))
        nonce = Hash32(keccak256(str(next(self.ids)).encode()))
        fields = {
            "action": action, "payload": Hash32(keccak256(body)), "nonce": nonce,
            "expires": self.clock.now_ms // 1000 + 60, **changes,
        }  # fmt: skip
        word = CommandWord(**fields)
        return SignedCommand(word, body, sign_word(word, secret, gate=ORIGIN))

    def kinds(self) -> list[str]:
        return [json.loads(entry)["kind"] for _, _, entry in self.store.entries()]

    def last_entry(self) -> dict[str, Any]:
        return [json.loads(entry) for _, _, entry in self.store.entries()][-1]

    async def settle(self) -> None:
        """Waits for what is under way, then looks at the chain once."""
        await self.quiet()
        await self.settlement.step()

    async def quiet(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0.001)
        if (noting := self.gate.broadcaster._noting) is not None:
            await asyncio.wait({noting}, timeout=5)


def payment(usdc: float | str, to: Address = ACME, **extra: Any) -> dict[str, Any]:
    """A transaction object that pays USDC."""
    data = "0xa9059cbb" + to.hex().rjust(64, "0") + f"{int(float(usdc) * 10**6):064x}"
    return {"to": checksum_address(USDC), "data": data, "gas": hex(60_000), **extra}


async def fill_store(store: Store, *, policy: str = POLICY, tokens: Mapping[str, str] | None = None) -> None:
    """A wallet, two operators and a grant, as an operator would have made them."""
    compiled = load(policy, source="test.toml")
    async with store.write(NOW_MS) as tx:
        tx.add_wallet(Wallet("main", WALLET, "main.json", NOW_MS))
        for name, secret in (("alice", ALICE), ("bob", BOB)):
            tx.add_operator(Operator(name, address_of(coincurve.PrivateKey(secret).public_key), NOW_MS))
        tx.add_policy(PolicyText(compiled.hash, compiled.name, policy, NOW_MS))
        for number, (agent, token) in enumerate((tokens or {"shopper": TOKEN}).items(), 1):
            tx.add_grant(Grant(f"grant_{number}", agent, None, WALLET, compiled.hash, token_hash(token), NOW_MS))


@asynccontextmanager
async def make_gate(
    path: Path, *, policy: str = POLICY, chain: FakeChain | None = None, clock: Clock | None = None,
    settings: Settings | None = None, hook: Callable[[str], None] = lambda _point: None,
    tokens: Mapping[str, str] | None = None, place: str | None = None,
) -> AsyncIterator[Bench]:  # fmt: skip
    """A started gate over a store in `path`; the store is filled if it is new."""
    store = open_store(place or path / "gate.db", origin=ORIGIN)
    if not store.wallets():
        await fill_store(store, policy=policy, tokens=tokens)
    seal = Seal()
    ring = KeyRing(seal)
    ring.add_secret(SECRET)
    used_chain, used_clock = chain or FakeChain(), clock or Clock()
    gate = Gate(
        store=store, signer=ring, seal=seal, chains={used_chain.chain_id: used_chain}, clock_ms=used_clock,
        settings=settings, hook=hook,
    )  # fmt: skip
    await gate.start()
    try:
        yield Bench(gate, Operations(gate, name=ORIGIN), Settlement(gate), used_chain, store, used_clock)
    finally:
        try:
            await gate.close()
        finally:
            await store.close()

"""Plays neutral cases through a real gate: scratch store, real endpoints, real node client, fake chain and clock.

A case's policy is translated, its history booked, its steps played, and its request sent as HTTP to the node
endpoint; the verdict is what the agent gets to hear. Nothing here looks at expectations, titles or ids.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import coincurve
from aiohttp import web
from rich.console import Console

from tests.corpus.hearing import headers_of, heard, meta_of, problem, token_of, wire_answers
from tests.corpus.neutral import neutral_effects
from tests.corpus.translate import translate
from tests.factories import ALICE, BOB, MALLORY, ORIGIN, Clock
from tests.fake_node import node_app
from tests.fakes import FakeChain
from walletgate.chain import NodeChain
from walletgate.cli.show import plain_request, request_panel
from walletgate.effects.request import strict_json
from walletgate.encoding import keccak256, parse_address
from walletgate.errors import WalletGateError
from walletgate.gate import (
    ApprovalWord,
    CommandWord,
    Gate,
    Operations,
    Settlement,
    SignedApproval,
    SignedCommand,
    sign_word,
)
from walletgate.gate.codec import canonical, effects_text
from walletgate.gate.gate import token_hash
from walletgate.gate.judging import Judged
from walletgate.limits import Movement, MovementState
from walletgate.policy import load
from walletgate.server.api import AgentApi
from walletgate.server.node import NodeEndpoint
from walletgate.server.views import operator_view
from walletgate.server.wire import ask_of_rpc
from walletgate.signers import KeyRing, Seal
from walletgate.signers.keystore import address_of
from walletgate.store import Grant, Operator, PolicyText, Request, Store, Wallet, open_store
from walletgate.types import NATIVE, Address, Asset, Booking, Hash32, Measure

META = json.loads(Path(__file__).with_name("meta.json").read_text())
KEYS = {name: bytes.fromhex(wallet["key"][2:]) for name, wallet in META["wallets"].items()}
PEOPLE = {"alice": ALICE, "bob": BOB}
Case = Mapping[str, Any]


@dataclass
class Verdict:
    """What the agent was told, and what the gate saw."""

    verdict: str
    effects: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    shown: str = ""


class Player:
    """One case on its own stage."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case = case
        self.folder = folder
        self.context = case["context"]
        self.clock = Clock(int(self.context["now"]) * 1000)
        self.chains = {
            chain: FakeChain(chain_id=chain, starts=self._starts())
            for chain in {*case["policy"]["chains"], self.context["chain"]}
        }
        self.asked: list[str | None] = []
        self.taken: set[int] = set()
        self.beside: list[tuple[Case, Case, str]] = []
        self.held: dict[int, Case] = {}
        self.number = 0
        for row in self.context.get("existing_allowances") or ():
            self._allow(row)

    def _allow(self, row: Case) -> None:
        """An allowance that is in force on chain, as the token tells it."""
        named = (row[name] for name in ("spender", "to", "address") if name in row)
        amount = next(row[name] for name in ("amount", "allowance", "value") if name in row)
        spender, owner = str(next(named)), str(row.get("owner", self.context["wallet"]))
        asked = f"0xdd62ed3e{owner[2:].rjust(64, '0')}{spender[2:].rjust(64, '0')}"
        chain = self.chains[int(row.get("chain", self.context["chain"]))]
        chain.reads[str(row["token"]).lower(), asked.lower()] = f"0x{int(amount):064x}"

    def _starts(self) -> dict[Address, int]:
        mine = parse_address(self.context["wallet"], where="wallet")
        return {mine: int(self.context.get("next_nonce") or 0)}

    async def play(self) -> Verdict:
        """The verdict on the case's own request, after its steps."""
        async with aiohttp.ClientSession() as self.http, self._nodes() as self.nodes:
            async with self._gate(first=True):
                pass
            return await self._run(list(self.case.get("steps") or ()))

    async def _run(self, steps: list[Case]) -> Verdict:
        while True:
            async with self._gate(first=False):
                while steps:
                    step = steps.pop(0)
                    self.asked.append(None)
                    if step["op"] == "restart":
                        break
                    await self._step(step)
                else:
                    return await self._judged()

    # --- steps

    async def _step(self, step: Case) -> None:
        match step["op"]:
            case "request":
                agent = step.get("agent", "agent-a")
                meta = meta_of(step)
                if step.get("parallel_with_case"):
                    self.beside += [(step, meta, agent)] * int(step.get("times", 1))
                    return
                for _ in range(int(step.get("times", 1))):
                    self.asked[-1], _ = await self._send(step, meta, agent)
                await self._settle()
            case "approve" if self._is_claimed(int(step["of_step"])):
                self.held[int(step["of_step"])] = {**step, "expires": self.clock.now_ms // 1000 + 3600}
            case "approve" | "refuse":
                await self._word(step)
            case "advance":
                seconds = next(v for k, v in step.items() if k != "op" and isinstance(v, int | float))
                self.clock.forward(seconds)
                await self.settlement.step()
            case "policy_change":
                await self._change_policy(step)
            case "rpc":
                for chain in self.chains.values():
                    chain.answers |= wire_answers(step["answers"])
            case _:
                pass

    async def _settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await self.settlement.step()

    def _is_claimed(self, of_step: int) -> bool:
        """Whether a later request rests on the approval of this step: then it reaches the gate with that request.

        The corpus hands approvals in when they are used; the gate carries out what is approved at once.
        """
        rest = (meta_of(step) for step in (self.case.get("steps") or ())[len(self.asked) :])
        return any(meta.get("approval_of_step") == of_step for meta in (*rest, self.case.get("request_meta") or {}))

    async def _word(self, step: Case) -> None:
        """An operator's word, from whoever claims to be one; what the gate refuses is refused."""
        key = self.asked[int(step["of_step"])]
        request = self._found(key)
        who = str(step.get("by", "")).partition(":")
        secret = PEOPLE.get(who[2] or who[0], KEYS.get(who[2] or who[0], MALLORY)) if who[0] == "human" else MALLORY
        if who[0] != "human":
            secret = KEYS.get(who[2] or who[0], MALLORY)
        if request is not None:
            expires = step.get("expires", self.clock.now_ms // 1000 + 3600)
            await self._decide(request, secret, expires=expires, approve=step["op"] == "approve")

    async def _decide(self, request: Request, secret: bytes, *, expires: int, approve: bool) -> None:
        word = ApprovalWord(
            request=request.id,
            approve=approve,
            request_digest=request.digest,
            effects_digest=Hash32(bytes.fromhex(json.loads(request.decision)["effects_digest"][2:])),
            policy=request.policy,
            expires=expires,
        )
        with suppress(WalletGateError):
            await self.operations.decide(SignedApproval(word, sign_word(word, secret, gate=ORIGIN)))

    async def _change_policy(self, step: Case) -> None:
        named = step.get("policy") or step.get("set") or step.get("changes") or step
        changed = {**self.case["policy"], **{k: v for k, v in named.items() if k not in ("op", "by")}}
        by = str(step.get("by", "human:alice"))
        secret = ALICE if by.startswith(("human", "operator")) else KEYS.get(by.rpartition(":")[2], MALLORY)
        for grant in ("grant_agent-a", "grant_agent-b"):
            body = canonical({"grant": grant, "policy": translate(changed)})
            self.number += 1
            word = CommandWord(
                "policy.apply", Hash32(keccak256(body)), Hash32(keccak256(str(self.number).encode())),
                self.clock.now_ms // 1000 + 60,
            )  # fmt: skip
            with suppress(WalletGateError):
                await self.operations.command(SignedCommand(word, body, sign_word(word, secret, gate=ORIGIN)))

    # --- requests

    async def _judged(self) -> Verdict:
        meta = self.case.get("request_meta") or {}
        agent = self.context["agent"]
        together = int((self.case.get("assert") or {}).get("parallel") or 1)
        others = [*self.beside, *[(self.case, meta, agent)] * (together - 1)]
        *_, last = await asyncio.gather(*(self._send(*other) for other in others), self._send(self.case, meta, agent))
        return self._verdict(*last)

    async def _send(self, what: Case, meta: Case, agent: str) -> tuple[str, Any]:
        """Sends one request as HTTP; returns the id it went under, and the answer."""
        self.number += 1
        key = f"key-{self.number}"
        place = meta.get("approval_of_step")
        if place is not None and place not in self.taken and self.asked[place] is not None:
            if what.get("params") == self.case["steps"][place].get("params"):
                key = str(self.asked[place])
                self.taken.add(place)
                if place in self.held:
                    await self._word(self.held.pop(place))
        if meta.get("idempotency_key"):
            key = f"{agent}-{meta['idempotency_key']}"
        token = token_of(meta, agent)
        headers = {
            "Authorization": f"Bearer wg_grant_{token}", "Idempotency-Key": key, "X-WalletGate-Wait": "0",
            "Content-Type": "application/json", **headers_of(meta),
        }  # fmt: skip
        if meta.get("reason") and what["method"] == "eth_sendTransaction" and what.get("raw") is None:
            body = {"id": key, "kind": "transaction", "payload": what["params"][0], "memo": str(meta["reason"])[:500]}
            return key, await self._post("/v1/requests", json.dumps(body), headers)
        if what["method"] == "wallet_sendCalls" and what.get("raw") is None:
            return key, await self._preview(what["params"], token, key)
        call = {"jsonrpc": "2.0", "id": 1, "method": what["method"], "params": what["params"]}
        text = what.get("raw") or json.dumps(call)
        path = f"/rpc/wg_grant_{token}/{self.context['chain']}" if token else "/rpc"
        return key, await self._post(path, str(text), headers)

    async def _preview(self, params: Any, token: str, key: str) -> Any:
        """The decision on a batch: the gate judges one as a whole, and leaves sending its calls to the agent."""
        try:
            grant = self.gate.authenticate(f"wg_grant_{token}")
            session = self.gate.session(grant, self.context["chain"])
            read = strict_json(json.dumps(params).encode())
            wallet = session.grant.wallet
            ask = ask_of_rpc("wallet_sendCalls", read, wallet=wallet, request_id=key, trace={})  # type: ignore[arg-type]
            judged, _ = await self.gate.preview(session, ask)
        except WalletGateError as error:
            return {"error": {"code": -32600, "data": {"walletgate": {"code": error.code}}}}
        return {"request": {"decision": {"outcome": judged.decision.outcome.name.lower()}}, "judged": judged}

    async def _post(self, path: str, text: str, headers: dict[str, str]) -> Any:
        body = text.encode("utf-8", "surrogatepass")
        async with self.http.post(self.url + path, data=body, headers=headers) as response:
            return json.loads(await response.read())

    def _found(self, key: str | None) -> Request | None:
        if key is None:
            return None
        for grant in self.store.grants():
            found = self.store.request_of_client(grant.id, key)
            if found is not None:
                return found
        return None

    def _verdict(self, key: str, answer: Any) -> Verdict:
        answers = answer if isinstance(answer, list) else [answer]
        words = {heard(each) for each in answers}
        verdict = "allow" if words == {"allow"} else "approve" if words <= {"allow", "approve"} else "deny"
        request = self._found(key)
        if request is None and "judged" in answers[0]:
            judged: Judged = answers[0]["judged"]
            seen = neutral_effects(json.loads(effects_text(judged.effects)), self.context)
            return Verdict(verdict, seen, [reason.code for reason in judged.decision.reasons])
        if request is None:
            return Verdict(verdict, [], [problem(each) for each in answers])
        decision = json.loads(request.decision)
        reasons = [str(reason["code"]) for reason in decision["reasons"]]
        view = operator_view(request, self.gate.state, self.store.approvals(request.id))
        console = Console(width=100, file=io.StringIO(), color_system=None)
        console.print(request_panel(view))
        shown = f"{console.file.getvalue()}\n{plain_request(view)}"  # type: ignore[attr-defined]
        return Verdict(verdict, neutral_effects(decision["effects"], self.context), reasons, shown)

    # --- the stage

    @asynccontextmanager
    async def _nodes(self) -> AsyncIterator[dict[int, str]]:
        runners, urls = [], {}
        for chain_id, chain in self.chains.items():
            runner = web.AppRunner(node_app(chain), access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            runners.append(runner)
            urls[chain_id] = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield urls
        finally:
            for runner in runners:
                await runner.cleanup()

    @asynccontextmanager
    async def _gate(self, *, first: bool) -> AsyncIterator[None]:
        store = open_store(self.folder / "gate.db", origin=ORIGIN)
        if first:
            await self._fill(store)
        seal = Seal()
        ring = KeyRing(seal)
        for secret in KEYS.values():
            ring.add_secret(secret)
        chains = {chain_id: NodeChain(url, chain_id) for chain_id, url in self.nodes.items()}
        gate = Gate(store=store, signer=ring, seal=seal, chains=chains, clock_ms=self.clock)
        await gate.start(serving=not first)
        app = web.Application()
        app.add_routes([*NodeEndpoint(gate).routes(), *AgentApi(gate).routes()])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self.store, self.gate = store, gate
        self.operations, self.settlement = Operations(gate, name=ORIGIN), Settlement(gate)
        try:
            yield
        finally:
            await runner.cleanup()
            await gate.close()
            for chain in chains.values():
                await chain.close()
            await store.close()

    async def _fill(self, store: Store) -> None:
        text = translate(self.case["policy"])
        policy = load(text, source="case")
        start_ms = self.clock.now_ms - 40 * 86_400_000
        async with store.write(start_ms) as tx:
            tx.add_policy(PolicyText(policy.hash, policy.name, text, start_ms))
            for name, secret in PEOPLE.items():
                tx.add_operator(Operator(name, address_of(coincurve.PrivateKey(secret).public_key), start_ms))
            for name, wallet in META["wallets"].items():
                address = parse_address(wallet["address"], where=name)
                tx.add_wallet(Wallet(name, address, f"{name}.json", start_ms))
                tx.add_grant(
                    Grant(f"grant_{name}", name, None, address, policy.hash, token_hash(f"wg_grant_{name}"), start_ms)
                )
            mine = parse_address(self.context["wallet"], where="wallet")
            tx.set_nonce(mine, self.context["chain"], int(self.context.get("next_nonce") or 0))
            for token, ends in (("revoked", {"revoked_ms": start_ms}), ("expired", {"expires_ms": start_ms + 1})):
                grant = Grant(
                    f"grant_{token}", token, None, mine, policy.hash, token_hash(f"wg_grant_{token}"), start_ms
                )
                tx.add_grant(replace(grant, **ends))
        await self._book(store, mine)

    async def _book(self, store: Store, wallet: Address) -> None:
        """Spends and pending amounts of before, as movements of the agent's grant."""
        grant = f"grant_{self.context['agent']}"
        rows = [(row, MovementState.POSTED) for row in self.context.get("spent") or ()]
        rows += [(row, MovementState.PENDING) for row in self.context.get("pending") or ()]
        for number, (row, state) in enumerate(rows, 1):
            token = NATIVE if row["token"] == "native" else parse_address(row["token"], where="token")
            booking = Booking(Measure.AMOUNT, int(row["amount"]), Asset(row["chain"], token))
            at_ms = int(row.get("at", self.context["now"])) * 1000
            async with store.write(at_ms) as tx:
                tx.add_movements([Movement(number, f"before-{number}", grant, None, wallet, booking, state, at_ms)])

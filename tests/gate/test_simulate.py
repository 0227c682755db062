"""Running a transaction on a node first: both ways of asking, every way of failing, and the gate end to end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ACME, OTHER, POLICY, USDC, WALLET, Bench, make_gate, payment
from tests.fakes import FakeChain
from walletgate.chain import NodeRefusedError
from walletgate.effects.abi import encode, parse_types
from walletgate.effects.simulated import Log, LogError, log_effects
from walletgate.encoding import checksum_address, keccak256, to_hex
from walletgate.errors import ChainError, InvalidRequestError
from walletgate.gate.simulate import _MalformedError, read_simulation, read_trace
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    Address,
    Allowance,
    Asset,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Status,
    Transfer,
)

CHAIN = 31337
TOKEN = Asset(CHAIN, USDC)
COIN = Asset(CHAIN, NATIVE)
PERMIT2 = Address(bytes.fromhex("000000000022D473030F116dDEE9F6B43aC78BA3"))
REQUIRED = 'simulate = "required"\n' + POLICY
NO_METHOD = NodeRefusedError(-32601, "the method eth_simulateV1 does not exist")


def topic(signature: str) -> str:
    return to_hex(keccak256(signature.encode()))


def word(value: int | bytes) -> str:
    return "0x" + (value.hex() if isinstance(value, bytes) else f"{value:x}").rjust(64, "0")


def moved(amount: int, to: bytes = ACME, *, sender: bytes = WALLET, token: bytes = USDC) -> dict[str, Any]:
    topics = [topic("Transfer(address,address,uint256)"), word(sender), word(to)]
    return {"address": to_hex(token), "topics": topics, "data": word(amount), "logIndex": "0x0"}


def allowed(amount: int, spender: bytes = OTHER) -> dict[str, Any]:
    topics = [topic("Approval(address,address,uint256)"), word(WALLET), word(spender)]
    return {"address": to_hex(USDC), "topics": topics, "data": word(amount)}


def ran(*logs: Any, status: str = "0x1", **extra: Any) -> list[Any]:
    return [{"number": "0x65", "calls": [{"status": status, "returnData": "0x", "logs": list(logs), **extra}]}]


def frame(
    *logs: Any, calls: Sequence[Any] = (), kind: str = "CALL", value: str = "0x0", **extra: Any
) -> dict[str, Any]:
    return {
        "type": kind, "from": to_hex(WALLET), "to": to_hex(USDC), "value": value, "logs": list(logs),
        "calls": list(calls), **extra,
    }  # fmt: skip


@dataclass
class RunningChain(FakeChain):
    """A fake chain that runs transactions, by either method; None is a method it does not have."""

    simulated: Any = None
    traced: Any = None
    allowance: Any = field(default_factory=lambda: word(0))

    async def forward(self, method: str, params: Sequence[object]) -> object:
        await super().forward(method, params)
        said = {"eth_simulateV1": self.simulated, "debug_traceCall": self.traced, "eth_call": self.allowance}.get(
            method
        )
        said = NO_METHOD if said is None else said
        if isinstance(said, Exception):
            raise said
        return said

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.forwarded]


def codes(request: Any) -> set[str]:
    return {reason["code"] for reason in json.loads(request.decision)["reasons"]} - {"permitted"}


def play(path: Path, chain: FakeChain, body: dict[str, Any] | None = None, *, policy: str = REQUIRED) -> Any:
    async def work() -> Any:
        async with make_gate(path, policy=policy, chain=chain) as bench:
            return await bench.ask({"payload": payment(5), **(body or {})})

    return asyncio.run(work())


# --- the gate end to end ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("simulated", "traced"),
    [(ran(moved(5_000_000)), None), (None, frame(moved(5_000_000))), (ran(), None), (None, frame())],
)
def test_a_run_that_agrees_lets_the_decision_stand(tmp_path: Path, simulated: Any, traced: Any) -> None:
    chain = RunningChain(simulated=simulated, traced=traced)
    request = play(tmp_path, chain)
    assert (request.status in (Status.SIGNED, Status.BROADCAST), codes(request)) == (True, set())
    assert chain.methods == (["eth_simulateV1"] if simulated else ["eth_simulateV1", "debug_traceCall"])


@pytest.mark.parametrize(
    ("simulated", "code"),
    [
        (ran(moved(5_000_001)), "simulation_disagrees"),
        (ran(moved(5_000_000, OTHER)), "simulation_disagrees"),
        (ran(moved(5_000_000), moved(1, token=NATIVE)), "simulation_disagrees"),
        (ran(moved(5_000_000), allowed(1)), "simulation_disagrees"),
        (ran(status="0x0", error={"code": 3, "message": "execution reverted"}), "would_revert"),
        (ran(status="0x0"), "would_revert"),
        (ran(status="0x2"), "simulation_failed"),
        (ran(moved(1), error={"code": 3}), "simulation_failed"),
        (ChainError("no answer"), "simulation_failed"),
        (ChainError("eth_simulateV1: the node's answer is too large", code="chain_answer_invalid"), "simulation_failed"),
        (NodeRefusedError(-32000, "not now"), "simulation_failed"),
        ("garbage", "simulation_failed"),
        ([], "simulation_failed"),
        (ran() + ran(), "simulation_failed"),
        ([{"calls": []}], "simulation_failed"),
        ([{"calls": None}], "simulation_failed"),
        (ran({**moved(1), "address": "0x12"}), "simulation_failed"),
        (ran({**moved(1), "data": "0x12"}), "simulation_failed"),
        (ran({**moved(1), "topics": None}), "simulation_failed"),
        (ran({**moved(1), "topics": ["0x12"]}), "simulation_failed"),
        (ran({**moved(1), "topics": [word(1)] * 5}), "simulation_failed"),
        (ran("log"), "simulation_failed"),
        (ran(*[{"address": to_hex(USDC), "topics": [], "data": "0x"}] * 4097), "simulation_failed"),
        (ran({"address": to_hex(USDC), "topics": [], "data": "0x" + "00" * (1024 * 1024 + 1)}), "simulation_failed"),
        (ran(*(allowed(1, bytes([n]) * 20) for n in range(1, 18))), "simulation_failed"),
    ],
)  # fmt: skip
def test_a_run_that_does_not_agree_is_refused(tmp_path: Path, simulated: Any, code: str) -> None:
    chain = RunningChain(simulated=simulated)
    request = play(tmp_path, chain)
    assert (request.status, codes(request), chain.received) == (Status.DENIED, {code}, [])


@pytest.mark.parametrize(
    ("traced", "code"),
    [
        (frame(moved(5_000_001)), "simulation_disagrees"),
        (frame(moved(5_000_000), calls=[frame(moved(1, OTHER))]), "simulation_disagrees"),
        (frame(calls=[frame(calls=[frame(value="0x1")])]), "simulation_disagrees"),
        (frame(calls=[frame(kind="SELFDESTRUCT", value="0x1")]), "simulation_disagrees"),
        (frame(error="execution reverted", revertReason="too little"), "would_revert"),
        (frame(error="out of gas"), "would_revert"),
        (frame(error=""), "simulation_failed"),
        (frame(kind="TELEPORT"), "simulation_failed"),
        (frame(value="1"), "simulation_failed"),
        (frame(value="0xzz"), "simulation_failed"),
        (frame(value="0x1_0"), "simulation_failed"),
        (frame(value="0x1", to=None), "simulation_failed"),
        (frame(calls=["call"]), "simulation_failed"),
        ({**frame(), "calls": {}}, "simulation_failed"),
        ({**frame(), "logs": {}}, "simulation_failed"),
        ("garbage", "simulation_failed"),
        (None, "simulation_failed"),
        (ChainError("no answer"), "simulation_failed"),
    ],
)  # fmt: skip
def test_a_trace_that_does_not_agree_is_refused(tmp_path: Path, traced: Any, code: str) -> None:
    chain = RunningChain(traced=traced)
    request = play(tmp_path, chain)
    assert (request.status, codes(request), chain.received) == (Status.DENIED, {code}, [])


def test_what_a_failed_inner_call_did_is_undone() -> None:
    failed = frame(moved(9, OTHER), calls=[frame(moved(8, OTHER))], value="0x5", error="execution reverted")
    quiet = frame(kind="DELEGATECALL", value="0x5")
    effects, reverted = read_trace(frame(moved(1), calls=[failed, quiet]), CHAIN)
    assert (effects, reverted) == ((Transfer(TOKEN, WALLET, ACME, 1),), None)


def test_too_many_frames_are_no_answer() -> None:
    with pytest.raises(_MalformedError):
        read_trace(frame(calls=[frame() for _ in range(20_000)]), CHAIN)
    deep = frame()
    for _ in range(3000):
        deep = frame(calls=[deep])
    assert read_trace(deep, CHAIN) == ((), None)


def test_the_whole_transaction_is_run_as_it_would_be_signed(tmp_path: Path) -> None:
    chain = RunningChain(simulated=ran())
    play(tmp_path, chain, {"payload": payment(5, gas=hex(77_000))})
    (_, (block, at)) = chain.forwarded[0]
    assert isinstance(block, dict)
    assert (block["traceTransfers"], at) == (True, "latest")
    ((call,),) = [each["calls"] for each in block["blockStateCalls"]]
    assert call == {
        "from": checksum_address(WALLET), "to": checksum_address(USDC), "value": "0x0", "gas": hex(77_000),
        "data": payment(5)["data"],
    }  # fmt: skip


def test_gas_that_is_not_known_yet_is_left_to_the_node(tmp_path: Path) -> None:
    chain = RunningChain(simulated=ran(moved(5_000_000)))
    body = payment(5)
    del body["gas"]
    assert codes(play(tmp_path, chain, {"payload": body})) == set()
    calls = [params[0]["blockStateCalls"][0]["calls"][0] for method, params in chain.forwarded]  # type: ignore[index]
    assert ["gas" in call for call in calls] == [False, True]


def test_nothing_is_run_where_the_policy_does_not_ask(tmp_path: Path) -> None:
    chain = RunningChain(simulated=ran(moved(9_000_000, OTHER)))
    assert codes(play(tmp_path, chain, policy=POLICY)) == set()
    assert chain.methods == []


def test_a_run_does_not_lift_a_denial(tmp_path: Path) -> None:
    chain = RunningChain(simulated=ran(moved(51_000_000)))
    assert codes(play(tmp_path, chain, {"payload": payment(51)})) == {"over_per_request"}


def test_what_is_left_of_an_allowance_is_looked_up(tmp_path: Path) -> None:
    logs = (moved(5_000_000), allowed(400))
    assert codes(play(tmp_path, RunningChain(simulated=ran(*logs), allowance=word(400)))) == set()
    for number, before in enumerate((word(399), None, "0x", ChainError("no answer"))):
        path = tmp_path / str(number)
        path.mkdir()
        chain = RunningChain(simulated=ran(*logs), allowance=before)
        assert codes(play(path, chain)) == {"simulation_disagrees"}


def test_a_waiting_request_is_run_again_before_it_is_signed(tmp_path: Path) -> None:
    async def work() -> None:
        chain = RunningChain(simulated=ran(moved(30_000_000)))
        async with make_gate(tmp_path, policy=REQUIRED, chain=chain) as bench:
            request = await bench.pay(30)
            assert request.status is Status.AWAITING_APPROVAL
            chain.simulated = ran(moved(30_000_000, OTHER))
            await _refused(bench, request)
            assert chain.received == []

    asyncio.run(work())


async def _refused(bench: Bench, request: Any) -> None:
    after = await bench.approve(request)
    assert after.status not in (Status.SIGNED, Status.BROADCAST, Status.CONFIRMED)


def test_signatures_are_judged_by_reading_and_run_nothing(tmp_path: Path) -> None:
    policy = REQUIRED + '[[permit]]\nname = "say"\nmessage = "hello"\n'
    chain = RunningChain()
    request = play(tmp_path, chain, {"kind": "message", "payload": {"data": to_hex(b"hello")}}, policy=policy)
    assert (codes(request), chain.methods) == (set(), [])


# --- reading logs ----------------------------------------------------------------------------------


def log(signature: str, topics: Sequence[int | bytes], data: bytes = b"", *, at: bytes = USDC) -> Log:
    words = [bytes.fromhex(word(each)[2:]) for each in topics]
    return Log(Address(at), (keccak256(signature.encode()), *words), data)


def data(*values: int | bytes) -> bytes:
    return b"".join(bytes.fromhex(word(value)[2:]) for value in values)


BATCH = encode(parse_types("uint256[] ids,uint256[] values"), ((1, 2), (10, 20)))


@pytest.mark.parametrize(
    ("said", "effects"),
    [
        (log("Transfer(address,address,uint256)", [WALLET, ACME], data(5)), (Transfer(TOKEN, WALLET, ACME, 5),)),
        (log("Transfer(address,address,uint256)", [], data(WALLET, ACME, 5)), (Transfer(TOKEN, WALLET, ACME, 5),)),
        (log("Transfer(address,address,uint256)", [WALLET, ACME], data(5), at=NATIVE), (Transfer(COIN, WALLET, ACME, 5),)),
        (log("Transfer(address,address,uint256)", [WALLET, ACME, 5]), (NftTransfer(TOKEN, 5, 1, WALLET, ACME),)),
        (log("Approval(address,address,uint256)", [WALLET, ACME], data(5)), (Allowance(TOKEN, WALLET, ACME, 5),)),
        (log("Approval(address,address,uint256)", [WALLET, ACME, 5]), (NftApproval(TOKEN, 5, WALLET, ACME),)),
        (log("ApprovalForAll(address,address,bool)", [WALLET, ACME], data(1)), (OperatorApproval(TOKEN, WALLET, ACME, approved=True),)),
        (log("ApprovalForAll(address,address,bool)", [WALLET, ACME], data(0)), (OperatorApproval(TOKEN, WALLET, ACME, approved=False),)),
        (log("TransferSingle(address,address,address,uint256,uint256)", [OTHER, WALLET, ACME], data(7, 3)), (NftTransfer(TOKEN, 7, 3, WALLET, ACME),)),
        (log("TransferBatch(address,address,address,uint256[],uint256[])", [OTHER, WALLET, ACME], BATCH), (NftTransfer(TOKEN, 1, 10, WALLET, ACME), NftTransfer(TOKEN, 2, 20, WALLET, ACME))),
        (log("Approval(address,address,address,uint160,uint48)", [WALLET, USDC, ACME], data(5, 9), at=PERMIT2), (Allowance(TOKEN, WALLET, ACME, 5),)),
        (log("Permit(address,address,address,uint160,uint48,uint48)", [WALLET, USDC, ACME], data(2**160 - 1, 9, 0), at=PERMIT2), (Allowance(TOKEN, WALLET, ACME, UINT256_MAX),)),
        (log("Approval(address,address,address,uint160,uint48)", [WALLET, USDC, ACME], data(5, 9)), ()),
        (log("Swap(address)", [WALLET], b"\x01"), ()),
        (Log(USDC, (), b""), ()),
    ],
)  # fmt: skip
def test_logs_are_read_as_effects(said: Log, effects: tuple[Any, ...]) -> None:
    assert log_effects([said], CHAIN) == effects


@pytest.mark.parametrize(
    "said",
    [
        log("Transfer(address,address,uint256)", [WALLET, ACME]),
        log("Transfer(address,address,uint256)", [WALLET, ACME], data(5, 6)),
        log("Transfer(address,address,uint256)", [WALLET, ACME], data(5)[:-1]),
        log("Transfer(address,address,uint256)", [WALLET, 1 << 160], data(5)),
        log("ApprovalForAll(address,address,bool)", [WALLET]),
        log("TransferBatch(address,address,address,uint256[],uint256[])", [OTHER, WALLET], BATCH),
        log("TransferBatch(address,address,address,uint256[],uint256[])", [OTHER, WALLET, ACME], BATCH + b"\x00"),
        log("TransferBatch(address,address,address,uint256[],uint256[])", [OTHER, WALLET, ACME], encode(parse_types("uint256[] ids,uint256[] values"), ((1, 2), (10,)))),
        log("TransferBatch(address,address,address,uint256[],uint256[])", [OTHER, WALLET, 1 << 200], BATCH),
        log("Approval(address,address,address,uint160,uint48)", [WALLET, USDC], data(5), at=PERMIT2),
    ],
)  # fmt: skip
def test_a_log_with_an_events_name_and_not_its_shape_is_an_error(said: Log) -> None:
    with pytest.raises(LogError):
        log_effects([said], CHAIN)


def test_ether_moves_by_pseudo_logs_and_by_frames_alike() -> None:
    pseudo = read_simulation(ran(moved(7, token=NATIVE)), CHAIN)
    framed = read_trace(frame(value="0x7", to=to_hex(ACME)), CHAIN)
    assert pseudo == framed == ((Transfer(COIN, WALLET, ACME, 7),), None)
    with pytest.raises(InvalidRequestError):
        read_trace(frame(value="0x7", to="0x"), CHAIN)

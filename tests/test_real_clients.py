"""Clients that know nothing of gates, on real chains: cast, web3.py and a contract, each with one line changed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3RPCError

import walletgate
from tests.factories import ACME, ALICE, ORIGIN, OTHER, POLICY, SECRET, TOKEN, USDC, WALLET
from tests.gate_process import GateProcess, make_home, running
from walletgate.cli.client import OperatorClient
from walletgate.demo.devchain import DevChain
from walletgate.demo.stage import served_chain
from walletgate.encoding import checksum_address

BINARIES = Path(__file__).parent.parent / "contracts" / "node_modules" / "@foundry-rs"
ANVIL = BINARIES / "anvil-linux-amd64" / "bin" / "anvil"
CAST = BINARIES / "cast-linux-amd64" / "bin" / "cast"
ARTIFACTS = Path(__file__).parent.parent / "walletgate" / "demo" / "artifacts"
MINE, PAYEE, STRANGER = map(checksum_address, (WALLET, ACME, OTHER))
FUNDER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@dataclass
class Stage:
    """A chain with a funded wallet and a token, and a gate in front of it."""

    gate: GateProcess
    node: str
    token: str
    contract: Any
    chain_name: str

    @property
    def rpc_url(self) -> str:
        return walletgate.rpc_url("shopper", url=self.gate.url, token=TOKEN)

    def balance(self, address: str) -> int:
        return int(self.contract.functions.balanceOf(address).call())

    def approve(self) -> None:
        """Alice says yes to the newest request that waits."""
        operator = OperatorClient(self.gate.home)
        deadline = time.monotonic() + 10
        while not (found := operator.get("/v1/requests?status=awaiting_approval")["requests"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        operator.approve(found[0], secret=ALICE, gate=ORIGIN, approve=True, reason="")

    def newest(self) -> dict[str, Any]:
        found: dict[str, Any] = OperatorClient(self.gate.home).get("/v1/requests?limit=1")["requests"][0]
        return found


def policy_for(token: str, chain: str) -> str:
    """The tests' policy about the token that was really deployed."""
    return POLICY.replace(checksum_address(USDC), token).replace('["anvil"]', f'["{chain}"]')


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def anvil(log: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [ANVIL, "--port", str(port), "--silent"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 15
        while not reachable(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """anvil with TestUSD, and a gate."""
    root = tmp_path_factory.mktemp("anvil")
    with anvil(root / "anvil.log") as node:
        w3 = Web3(HTTPProvider(node))
        artifact = json.loads((ARTIFACTS / "TestUSD.json").read_text())
        made = w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        receipt = w3.eth.wait_for_transaction_receipt(made.constructor().transact({"from": FUNDER}))
        contract = w3.eth.contract(address=receipt["contractAddress"], abi=artifact["abi"])
        w3.eth.wait_for_transaction_receipt(contract.functions.mint(MINE, 10**9).transact({"from": FUNDER}))
        w3.eth.wait_for_transaction_receipt(w3.eth.send_transaction({"from": FUNDER, "to": MINE, "value": 10**18}))  # type: ignore[typeddict-item]
        home = make_home(root / "home", node, policy=policy_for(contract.address, "anvil"))
        with running(home) as gate:
            yield Stage(gate, node, contract.address, contract, "anvil")


def cast(stage: Stage, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CAST, *arguments, "--rpc-url", stage.rpc_url], capture_output=True, text=True, timeout=timeout, check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )  # fmt: skip


def send(stage: Stage, to: str, amount: int, *more: str) -> subprocess.CompletedProcess[str]:
    return cast(
        stage, "send", "--unlocked", "--from", MINE, stage.token, "transfer(address,uint256)", to, str(amount),
        "--timeout", "30", *more,
    )  # fmt: skip


# --- cast ---------------------------------------------------------------------------------------------


@pytest.mark.node
def test_cast_pays_through_the_gate_as_through_any_node(stage: Stage) -> None:
    before = stage.balance(PAYEE)
    done = send(stage, PAYEE, 1_000_000, "--json")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["status"] == "0x1"
    assert receipt["from"] == MINE.lower()
    assert stage.balance(PAYEE) - before == 1_000_000
    assert stage.newest()["tx_hash"] == receipt["transactionHash"]


@pytest.mark.node
def test_cast_is_told_why_not(stage: Stage) -> None:
    done = send(stage, STRANGER, 1_000_000)
    assert done.returncode != 0
    assert "User denied" in done.stderr
    assert stage.balance(STRANGER) == 0
    assert stage.newest()["status"] == "denied"
    done = send(stage, PAYEE, 51_000_000)
    assert done.returncode != 0
    assert "more than 50 USDC" in done.stderr


@pytest.mark.node
def test_cast_waits_for_an_operator(stage: Stage) -> None:
    before = stage.balance(PAYEE)
    process = subprocess.Popen(
        [CAST, "send", "--unlocked", "--from", MINE, stage.token, "transfer(address,uint256)", PAYEE, "30000000",
         "--rpc-url", stage.rpc_url, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stage.approve()
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert json.loads(output)["status"] == "0x1"
    assert stage.balance(PAYEE) - before == 30_000_000


@pytest.mark.node
def test_cast_cannot_go_round_the_gate(stage: Stage) -> None:
    for method, params in (
        ("anvil_setBalance", [MINE, "0x0"]), ("anvil_impersonateAccount", [MINE]), ("eth_sendRawTransaction", ["0x02"]),
        ("debug_traceCall", []), ("personal_listAccounts", []),
    ):  # fmt: skip
        done = cast(stage, "rpc", method, *map(json.dumps, params))
        assert done.returncode != 0, (method, done.stdout)
    assert cast(stage, "chain-id").stdout.strip() == "31337"
    assert cast(stage, "rpc", "eth_accounts").stdout.strip() == json.dumps([MINE])


# --- web3.py ------------------------------------------------------------------------------------------


def program(w3: Web3, token: str, to: str, amount: int) -> Any:
    """A web3.py program as anybody would write it; it knows nothing of a gate."""
    abi = json.loads((ARTIFACTS / "TestUSD.json").read_text())["abi"]
    contract = w3.eth.contract(address=Web3.to_checksum_address(token), abi=abi)
    sender = w3.eth.accounts[0]
    assert contract.functions.balanceOf(sender).call() >= amount
    tx_hash = contract.functions.transfer(to, amount).transact({"from": sender})
    return w3.eth.wait_for_transaction_receipt(tx_hash, timeout=20)


def check_program(stage: Stage, w3: Web3, reasons_of: Any) -> None:
    before = stage.balance(PAYEE)
    receipt = program(w3, stage.token, PAYEE, 1_000_000)
    assert (receipt["status"], receipt["from"]) == (1, MINE)
    assert stage.balance(PAYEE) - before == 1_000_000
    with pytest.raises(Web3RPCError) as caught:
        program(w3, stage.token, STRANGER, 1_000_000)
    assert reasons_of(caught.value) == ["recipient_not_permitted"]
    assert stage.balance(STRANGER) == 0


def _reasons(error: Any) -> list[str]:
    data = error.rpc_response["error"]["data"]["walletgate"]
    return [reason["code"] for reason in data["reasons"]]


@pytest.mark.node
@pytest.mark.parametrize("line", ["rpc_url", "attach"])
def test_a_web3_program_runs_with_one_line_changed(stage: Stage, line: str) -> None:
    if line == "rpc_url":
        w3 = Web3(HTTPProvider(stage.rpc_url))
    else:
        w3 = Web3(HTTPProvider(stage.node))
        walletgate.attach(w3, "shopper", url=stage.gate.url, token=TOKEN)
    check_program(stage, w3, _reasons)


@pytest.mark.node
def test_each_client_meets_the_decision_of_the_sdk(stage: Stage) -> None:
    """cast, web3 on both lines, and the SDK ask for the same; the log has the same decision four times."""
    send(stage, STRANGER, 7)
    for w3 in (Web3(HTTPProvider(stage.rpc_url)), Web3(HTTPProvider(stage.node))):
        if w3.provider.endpoint_uri == stage.node:  # type: ignore[attr-defined]
            walletgate.attach(w3, "shopper", url=stage.gate.url, token=TOKEN)
        with pytest.raises(Web3RPCError):
            program(w3, stage.token, STRANGER, 7)
    data = stage.contract.encode_abi("transfer", [STRANGER, 7])
    account = walletgate.account("shopper", url=stage.gate.url, token=TOKEN)
    with pytest.raises(walletgate.GateDenied):
        account.send({"to": stage.token, "data": data})
    account.client.close()
    last = OperatorClient(stage.gate.home).get("/v1/requests?limit=4")["requests"]
    assert {(r["method"], r["status"]) for r in last} == {("eth_sendTransaction", "denied")}
    assert sorted(r["surface"] for r in last) == ["rpc", "rpc", "sdk", "sdk"]
    for field in ("reasons", "outcome"):
        assert len({json.dumps(r["decision"][field]) for r in last}) == 1
    assert len({json.dumps([e for e in r["effects_data"] if e["effect"] != "Fee"]) for r in last}) == 1


@pytest.mark.node
def test_the_wallets_key_would_sign_the_same(stage: Stage) -> None:
    """What the gate put on the chain is what a program with the key would have put there."""
    from eth_account import Account  # noqa: PLC0415

    w3 = Web3(HTTPProvider(stage.node))
    receipt = program(Web3(HTTPProvider(stage.rpc_url)), stage.token, PAYEE, 2)
    mined = w3.eth.get_transaction(receipt["transactionHash"])
    fields = {
        "chainId": mined["chainId"], "nonce": mined["nonce"], "to": mined["to"], "value": mined["value"],
        "data": mined["input"], "gas": mined["gas"], "maxFeePerGas": mined["maxFeePerGas"],
        "maxPriorityFeePerGas": mined["maxPriorityFeePerGas"],
    }  # fmt: skip
    assert Account.sign_transaction(fields, SECRET).hash == receipt["transactionHash"]


# --- the embedded chain -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("line", ["rpc_url", "attach"])
def test_the_same_program_runs_on_the_embedded_chain(tmp_path: Path, line: str) -> None:
    chain = DevChain()
    token = chain.deploy("TestUSD")
    contract = chain.contract("TestUSD", token)
    contract.functions.mint(MINE, 10**9).transact({"from": chain.funder})
    chain.fund(MINE, 10**18)
    with served_chain(chain) as node:
        home = make_home(tmp_path / "home", node, policy=policy_for(token, "eth-tester"), chain="eth-tester")
        with running(home) as gate:
            stage = Stage(gate, node, token, contract, "eth-tester")
            w3 = Web3(HTTPProvider(stage.rpc_url if line == "rpc_url" else node))
            if line == "attach":
                with pytest.raises(Web3RPCError):
                    _ = w3.eth.accounts
                walletgate.attach(w3, "shopper", url=gate.url, token=TOKEN)
            check_program(stage, w3, _reasons)

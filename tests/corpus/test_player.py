"""The player sets the stage that a case describes: allowances in force, approvals that wait to be used, batches."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.player import META, Player
from walletgate.effects.abi import parse_signature

SAMPLE = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
POLICIES = {case["policy"]["id"]: case["policy"] for case in SAMPLE}
WALLET = META["wallets"]["agent-a"]["address"]
PAYEE, THIEF = META["actors"]["payee"], META["actors"]["attacker"]
TOKENS = {8453: META["contracts"]["USDC_B"], 1: META["contracts"]["USDC"]}
ROUTER = META["contracts"]["SR02"]


def calldata(signature: str, other: str, amount: int) -> str:
    return "0x" + parse_signature(signature).encode(bytes.fromhex(other[2:]), amount).hex()


def request(data: str, *, chain: int = 8453) -> dict[str, Any]:
    fields = {"from": WALLET, "to": TOKENS[chain], "data": data, "chainId": hex(chain), "gas": "0x30d40",
              "maxFeePerGas": "0x5f5e100", "maxPriorityFeePerGas": "0x1"}  # fmt: skip
    return {"method": "eth_sendTransaction", "params": [fields]}


def play(folder: Path, policy: str, asked: dict[str, Any], *, chain: int = 8453, **more: Any) -> str:
    context = {"agent": "agent-a", "wallet": WALLET, "chain": chain, "now": META["now"], "next_nonce": 7, "spent": []}
    context |= more.pop("context", {})
    case = {"id": "x", "policy": POLICIES[policy], "context": context, **asked, **more}
    return asyncio.run(Player(case, folder).play()).verdict


def pay(amount: int, to: str = PAYEE) -> dict[str, Any]:
    return request(calldata("transfer(address,uint256)", to, amount))


@pytest.mark.parametrize(("before", "verdict"), [(0, "allow"), (2_999_000_000, "allow"), (2_999_000_001, "deny")])
def test_an_allowance_in_force_counts(tmp_path: Path, before: int, verdict: str) -> None:
    row = {"chain": 1, "token": TOKENS[1], "spender": ROUTER, "amount": str(before)}
    more = request(calldata("increaseAllowance(address,uint256)", ROUTER, 1_000_000), chain=1)
    context = {"existing_allowances": [row]}
    assert play(tmp_path, "trader-mainnet", more, chain=1, context=context) == verdict


APPROVED = {"op": "approve", "by": "human:alice", "of_step": 0}
LATER = {"op": "advance", "seconds": 86_400}
CHANGED = {"op": "policy_change", "by": "human:alice", "set": {"recipients": {"mode": "list", "addresses": []}}}


@pytest.mark.parametrize(
    ("steps", "verdicts"),
    [
        ([APPROVED], {"allow"}),
        ([APPROVED, {"op": "restart"}], {"allow"}),
        ([APPROVED, LATER], {"approve", "deny"}),
        ([APPROVED, CHANGED], {"deny"}),
        ([{**APPROVED, "by": "agent:agent-a"}], {"approve"}),
    ],
)
def test_an_approval_is_judged_when_it_is_used(tmp_path: Path, steps: list[Any], verdicts: set[str]) -> None:
    asked = pay(3_000_000)
    first = {"op": "request", "agent": "agent-a", **asked}
    used = {"approval_of_step": 0}
    assert play(tmp_path, "payer-base", asked, steps=[first, *steps], request_meta=used) in verdicts


def test_an_approval_is_used_once(tmp_path: Path) -> None:
    asked, used = pay(3_000_000), {"approval_of_step": 0}
    first = {"op": "request", "agent": "agent-a", **asked}
    steps = [first, APPROVED, {**first, "request_meta": used}]
    assert play(tmp_path, "payer-base", asked, steps=steps, request_meta=used) == "approve"


@pytest.mark.parametrize(
    ("payments", "verdict"),
    [
        ([(1_000_000, PAYEE), (1_000_000, PAYEE)], "allow"),
        ([(1_500_000, PAYEE), (1_500_000, PAYEE)], "approve"),
        ([(6_000_000, PAYEE), (6_000_000, PAYEE)], "deny"),
        ([(1_000_000, PAYEE), (1, THIEF)], "deny"),
    ],
)
def test_a_batch_is_judged_as_a_whole(tmp_path: Path, payments: list[tuple[int, str]], verdict: str) -> None:
    calls = [{"to": TOKENS[8453], "data": pay(*each)["params"][0]["data"]} for each in payments]
    batch = {"version": "2.0.0", "chainId": "0x2105", "from": WALLET, "calls": calls}
    assert play(tmp_path, "payer-base", {"method": "wallet_sendCalls", "params": [batch]}) == verdict


@pytest.mark.parametrize("method", ["eth_signTypedData", "eth_signTypedData_v3"])
def test_another_name_of_a_method_is_another_method(tmp_path: Path, method: str) -> None:
    signed = next(case for case in SAMPLE if case["method"] == "eth_signTypedData_v4" and case["accept"] == ["allow"])
    assert asyncio.run(Player({**signed, "method": method}, tmp_path).play()).verdict == "deny"

"""One path for all: the same request through every door meets the same decision, reasons, effects and entry."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception

import walletgate
from tests.factories import ACME, OTHER, USDC, WALLET, payment
from tests.server.conftest import TOKENS, Live
from tests.server.test_node import permit
from walletgate.encoding import checksum_address
from walletgate.errors import WalletGateError

MINE, PAYEE, TOKEN_CONTRACT = map(checksum_address, (WALLET, ACME, USDC))
PRICES = {"maxFeePerGas": hex(2 * 10**9), "maxPriorityFeePerGas": hex(10**8)}
APPROVE = "0x095ea7b3" + ACME.hex().rjust(64, "0") + "f" * 64

TRANSACTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "allowed": ("allow", payment(1)),
    "allowed, all filled in by the agent": ("allow", payment(1, **PRICES, value="0x0", type="0x2")),
    "allowed, legacy": ("allow", payment(1, gasPrice=hex(10**9))),
    "allowed, coin": ("allow", {"to": PAYEE, "value": hex(10**15), "gas": hex(21_000)}),
    "denied, too much": ("deny", payment(51)),
    "denied, somebody else": ("deny", payment(1, OTHER)),
    "denied, for two reasons": ("deny", payment(51, OTHER)),
    "denied, fees": ("deny", payment(1, gas=hex(10**8))),
    "denied, unlimited allowance": ("deny", {"to": TOKEN_CONTRACT, "data": APPROVE, "gas": "0xea60"}),
    "denied, trailing bytes": ("deny", payment(1, data=payment(1)["data"] + "00")),
    "denied, unknown call": ("deny", {"to": PAYEE, "data": "0xdeadbeef", "gas": "0xea60"}),
    "denied, deployment": ("deny", {"data": "0x6000", "gas": "0xea60"}),
    "waiting": ("require_approval", payment(30)),
}

SIGNATURES: dict[str, tuple[str, dict[str, Any]]] = {
    "denied, permit": ("typed_data", permit(5)),
    "denied, message": ("message", {"data": "0x" + b"log me in".hex()}),
    "denied, blind message": ("message", {"data": "0x" + "ab" * 32}),
    "denied, hash": ("hash", {"data": "0x" + "ab" * 32}),
}

MALFORMED: dict[str, tuple[str, dict[str, Any]]] = {
    "a field nobody knows": ("unknown_field", payment(1, gasLimit="0x1")),
    "two prices": ("fee_conflict", payment(1, gasPrice="0x1", maxFeePerGas="0x1")),
    "type and fields apart": ("type_conflict", payment(1, type="0x0", maxFeePerGas="0x1")),
    "data and input apart": ("data_input_mismatch", payment(1, input="0x00")),
    "another wallet": ("wrong_wallet", payment(1, **{"from": PAYEE})),
    "hex that is none": ("bad_hex", payment(1, data="0xzz")),
    "a wrong checksum": ("bad_checksum", {**payment(1), "to": MINE.swapcase().replace("0X", "0x")}),
}

METHODS = {"typed_data": "eth_signTypedData_v4", "message": "personal_sign", "hash": "eth_sign"}
VARIES = {
    "surface", "request", "client_id", "grant", "agent", "seq", "ts_ms", "nonce", "tx", "signed_digest", "expires_ms",
}  # fmt: skip


def rpc_params(kind: str, payload: dict[str, Any]) -> list[Any]:
    if kind == "message":
        return [payload["data"], MINE]
    return [MINE, payload["data"] if kind == "hash" else payload]


def post(url: str, token: str, body: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "X-WalletGate-Wait": "0"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10):
            pass
    except urllib.error.HTTPError as error:
        error.close()


def by_rpc(live: Live, kind: str, payload: dict[str, Any]) -> None:
    params = [payload] if kind == "transaction" else rpc_params(kind, payload)
    method = METHODS.get(kind, "eth_sendTransaction")
    post(f"{live.url}/rpc", TOKENS["rpc"], {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def by_api(live: Live, kind: str, payload: dict[str, Any]) -> None:
    number = live.operator.get("/v1/status")["log"]["size"]
    body = {"id": f"api-{number}", "kind": kind, "payload": payload}
    post(f"{live.url}/v1/requests", TOKENS["api"], body)


def by_sdk(live: Live, kind: str, payload: dict[str, Any]) -> None:
    account = walletgate.account("sdk", url=live.url, token=TOKENS["sdk"], wait_s=0)
    try:
        if kind == "transaction":
            account.send(payload)
        elif kind == "typed_data":
            account.sign_typed_data(full_message=payload)
        else:
            account.request(kind, payload)  # type: ignore[arg-type]
    except WalletGateError:
        pass
    finally:
        account.client.close()


def by_web3(live: Live, kind: str, payload: dict[str, Any]) -> None:
    w3 = Web3(HTTPProvider(live.process.home.read_config().chains[0].url))
    account = walletgate.attach(w3, "web3", url=live.url, token=TOKENS["web3"], wait_s=0)
    try:
        if kind == "transaction":
            w3.eth.send_transaction(payload)  # type: ignore[arg-type]
        else:
            method: Any = METHODS[kind]
            w3.manager.request_blocking(method, rpc_params(kind, payload))
    except WalletGateError:
        pass
    finally:
        account.client.close()


DOORS: dict[str, Callable[[Live, str, dict[str, Any]], None]] = {
    "rpc": by_rpc, "api": by_api, "sdk": by_sdk, "web3": by_web3,
}  # fmt: skip


def ask(live: Live, door: str, kind: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
    """What the log says after the same was asked at `door`, without the steps on the chain."""
    size = live.operator.get("/v1/status")["log"]["size"]
    DOORS[door](live, kind, payload)
    fresh = live.operator.get(f"/v1/log?start={size}")["entries"]
    return [e for e in fresh if e["kind"] not in ("transaction_broadcast", "transaction_confirmed")]


def request_of(live: Live, entry: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = live.operator.get(f"/v1/requests/{entry['request']}")["request"]
    return found


def compare(
    live: Live, kind: str, payload: dict[str, Any], outcome: str, doors: tuple[str, ...] = tuple(DOORS)
) -> None:
    seen = {}
    for door in doors:
        entries = ask(live, door, kind, payload)
        assert len(entries) == 1, (door, entries)
        (entry,) = entries
        assert entry["agent"] == door
        assert entry["decision"] == outcome
        request = request_of(live, entry)
        seen[door] = (
            {key: value for key, value in entry.items() if key not in VARIES},
            request["decision"], request["effects"], request["effects_data"], request["needs"], request["digest"],
            request["payload"], request["method"],
        )  # fmt: skip
    for door in doors:
        assert seen[door] == seen["rpc"], door


@pytest.mark.parametrize("case", TRANSACTIONS)
def test_a_transaction_meets_the_same_decision_at_every_door(live: Live, case: str) -> None:
    outcome, payload = TRANSACTIONS[case]
    compare(live, "transaction", payload, outcome)


@pytest.mark.parametrize(("usdc", "outcome"), [(1, "allow"), (51, "deny")])
def test_what_is_left_to_the_gate_is_filled_in_alike(live: Live, usdc: float, outcome: str) -> None:
    """web3 fills in gas by itself, so it has nothing to leave."""
    bare = {key: value for key, value in payment(usdc).items() if key != "gas"}
    compare(live, "transaction", bare, outcome, ("rpc", "api", "sdk"))
    ask(live, "web3", "transaction", payment(usdc))


@pytest.mark.parametrize("case", SIGNATURES)
def test_a_signature_meets_the_same_decision_at_every_door(live: Live, case: str) -> None:
    kind, payload = SIGNATURES[case]
    compare(live, kind, payload, "deny")


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_malformed_is_refused_with_the_same_code_at_every_door(live: Live, case: str, door: str) -> None:
    """web3 itself refuses some of them before anything is sent, and then there is nothing to record."""
    code, payload = MALFORMED[case]
    try:
        entries = ask(live, door, "transaction", payload)
    except (ValueError, Web3Exception):
        if door != "web3":
            raise
        return
    (entry,) = entries
    assert (entry["kind"], entry["code"], entry["agent"]) == ("request_denied", code, door)


def test_all_doors_draw_on_limits_of_the_same_size(live: Live) -> None:
    """After the same requests, every grant has the same left."""
    left = {
        grant["agent"]: [(limit["kind"], limit["used"]) for limit in grant["limits"]]
        for grant in live.operator.get("/v1/status")["grants"]
        if grant["agent"] in DOORS
    }
    assert len({json.dumps(value) for value in left.values()}) == 1, left

"""The gate as a node: what it passes on, what it answers itself, and what it says no to, in which words."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import Endpoints, make_endpoints
from tests.factories import ACME, NOW_MS, OTHER, POLICY, SECRET, TOKEN, USDC, WALLET, Clock, payment
from tests.fakes import FakeChain
from walletgate.chain import NodeRefusedError
from walletgate.encoding import checksum_address, keccak256
from walletgate.errors import ChainError
from walletgate.policy.document import READ_METHODS
from walletgate.server import node
from walletgate.types import Status

MINE = checksum_address(WALLET)
NOBODY = checksum_address(b"\x07" * 20)
NOT_PASSED_ON = [
    "debug_traceTransaction", "debug_traceCall", "trace_block", "anvil_setBalance", "anvil_impersonateAccount",
    "hardhat_reset", "evm_mine", "evm_snapshot", "personal_unlockAccount", "personal_importRawKey", "miner_start",
    "admin_peers", "txpool_content", "engine_newPayloadV1", "eth_sendUnsignedTransaction", "eth_newFilter",
    "eth_subscribe", "eth_getFilterChanges", "eth_sendRawTransactionSync", "eth_coinbase", "eth_mining", "rpc_modules",
    "ots_getHeaderByNumber", "Eth_call", "eth_call ", "eth_callMany", "", "constructor", "__proto__",
]  # fmt: skip
SIGNING = [*sorted(node.ASKS), "eth_sendRawTransaction"]


def run(work: Any) -> Any:
    return asyncio.run(work)


def code(answer: dict[str, Any]) -> int:
    return int(answer["error"]["code"])


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """What the gate says about itself in an error."""
    return dict(answer["error"]["data"]["walletgate"])


async def reads(endpoints: Endpoints, path: str = "/rpc", **options: Any) -> dict[str, Any]:
    return await endpoints.rpc("eth_chainId", path=path, **options)


# --- what is passed on --------------------------------------------------------------------------------


def test_reads_on_the_list_reach_the_node_with_their_parameters(tmp_path: Path) -> None:
    async def work() -> None:
        everything = POLICY.replace(
            'chains = ["anvil"]', f'chains = ["anvil"]\nread_methods = {json.dumps(sorted(node.READS))}'
        )
        async with make_endpoints(tmp_path, policy=everything) as endpoints:
            chain = endpoints.bench.chain
            for method in sorted(node.READS):
                chain.answers[method] = f"answer of {method}"
                params = [checksum_address(OTHER), "latest"]
                assert (await endpoints.rpc(method, *params))["result"] == f"answer of {method}"
                assert chain.forwarded[-1] == (method, tuple(params))
            assert len(chain.forwarded) == len(node.READS) == 25

    run(work())


@pytest.mark.parametrize("method", NOT_PASSED_ON)
def test_everything_else_does_not_exist(tmp_path: Path, method: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await endpoints.rpc(method, "0x00")
            assert code(answer) == -32601
            assert endpoints.bench.chain.forwarded == []

    run(work())


@pytest.mark.parametrize("method", ["wallet_showCallsStatus", "wallet_watchAsset", "wallet_grantPermissions"])
def test_a_wallet_method_the_gate_lacks_is_unsupported(tmp_path: Path, method: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            assert code(await endpoints.rpc(method, {})) == 4200
            assert endpoints.bench.chain.forwarded == []

    run(work())


@pytest.mark.parametrize("method", SIGNING)
@pytest.mark.parametrize("params", [[], [{}], ["0x"], [MINE, "0x00"], ["0x00", MINE], [{"to": MINE}], [None]])
def test_signing_methods_never_reach_the_node(tmp_path: Path, method: str, params: list[Any]) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await endpoints.rpc(method, *params)
            assert "error" in answer
            assert endpoints.bench.chain.forwarded == []
            assert endpoints.bench.chain.received == []

    run(work())


def test_the_policy_may_narrow_the_reads(tmp_path: Path) -> None:
    async def work() -> None:
        narrow = POLICY.replace('chains = ["anvil"]', 'chains = ["anvil"]\nread_methods = ["eth_call"]')
        async with make_endpoints(tmp_path, policy=narrow) as endpoints:
            assert code(await endpoints.rpc("eth_getLogs", {})) == 4200
            assert "result" in await endpoints.rpc("eth_call", {}, "latest")

    run(work())


def test_a_policy_that_says_nothing_passes_on_what_clients_need(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            for method in sorted(READ_METHODS):
                assert "result" in await endpoints.rpc(method, NOBODY, "latest")

    run(work())


def test_the_gate_knows_its_own_chain_and_wallet(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            assert (await endpoints.rpc("eth_chainId"))["result"] == "0x7a69"
            assert (await endpoints.rpc("net_version"))["result"] == "31337"
            for method in ("eth_accounts", "eth_requestAccounts"):
                assert (await endpoints.rpc(method))["result"] == [MINE]
            assert (await endpoints.rpc("wallet_switchEthereumChain", {"chainId": "0x7a69"}))["result"] is None
            assert code(await endpoints.rpc("wallet_switchEthereumChain", {"chainId": "0x1"})) == 4902
            assert endpoints.bench.chain.forwarded == []

    run(work())


def test_the_nodes_own_errors_come_through_and_its_silence_is_4900(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            chain = endpoints.bench.chain
            chain.answers["eth_call"] = NodeRefusedError(3, "execution reverted", "0x08c379a0")
            error = (await endpoints.rpc("eth_call", {}, "latest"))["error"]
            assert error == {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}
            chain.answers["eth_call"] = ChainError("nonsense", code="chain_answer_invalid")
            assert code(await endpoints.rpc("eth_call", {}, "latest")) == 4900
            chain.away = True
            assert code(await endpoints.rpc("eth_blockNumber")) == 4900
            assert code(await endpoints.rpc("eth_sendTransaction", payment(1))) == 4900

    run(work())


# --- what is answered about money ---------------------------------------------------------------------


def test_an_allowed_payment_answers_its_hash(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await endpoints.rpc("eth_sendTransaction", payment(1))
            assert answer["id"] == 7
            (raw,) = endpoints.bench.chain.received
            assert answer["result"] == "0x" + keccak256(raw).hex()

    run(work())


def test_a_denial_is_4001_with_every_reason_in_words_wallets_know(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await endpoints.rpc("eth_sendTransaction", payment(51, OTHER))
            assert code(answer) == 4001
            assert answer["error"]["message"].startswith("User denied")
            reasons = {reason["code"]: reason for reason in told(answer)["reasons"]}
            assert set(reasons) == {"recipient_not_permitted", "over_per_request"}
            assert reasons["over_per_request"]["actual"] == "51000000"
            assert told(answer)["decision"] == "denied"
            assert endpoints.bench.chain.received == []

    run(work())


def test_a_signed_transaction_is_handed_over_and_relayed_only_as_it_is(tmp_path: Path) -> None:
    async def work() -> None:
        tokens = {"shopper": TOKEN, "other": "wg_grant_" + "u" * 43}
        async with make_endpoints(tmp_path, tokens=tokens) as endpoints:
            raw = (await endpoints.rpc("eth_signTransaction", payment(1)))["result"]
            assert endpoints.bench.chain.received == []
            changed = raw[:-2] + f"{int(raw[-2:], 16) ^ 1:02x}"
            for bad in (changed, raw + "00", "0x", raw[:-2]):
                assert code(await endpoints.rpc("eth_sendRawTransaction", bad)) == 4100
            stranger = await endpoints.rpc("eth_sendRawTransaction", raw, token=tokens["other"])
            assert code(stranger) == 4100
            assert endpoints.bench.chain.received == []
            sent = await endpoints.rpc("eth_sendRawTransaction", raw)
            assert sent["result"] == "0x" + keccak256(bytes.fromhex(raw[2:])).hex()
            assert endpoints.bench.chain.received == [bytes.fromhex(raw[2:])]

    run(work())


def test_bytes_that_were_handed_out_are_not_relayed_under_a_freeze(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            raw = (await endpoints.rpc("eth_signTransaction", payment(1)))["result"]
            bench = endpoints.bench
            await bench.operations.command(bench.command("freeze", {"scope": "all", "reason": ""}))
            assert code(await endpoints.rpc("eth_sendRawTransaction", raw)) == 4100
            assert bench.chain.received == []
            await bench.operations.command(bench.command("unfreeze", {"scope": "all"}))
            assert "result" in await endpoints.rpc("eth_sendRawTransaction", raw)

    run(work())


def test_bytes_signed_with_the_same_key_elsewhere_are_not_relayed(tmp_path: Path) -> None:
    async def work() -> None:
        from eth_account import Account  # noqa: PLC0415

        fields = {
            "to": checksum_address(ACME), "value": 1, "gas": 21_000, "nonce": 0, "chainId": 31337,
            "maxFeePerGas": 10**9, "maxPriorityFeePerGas": 1,
        }  # fmt: skip
        foreign = Account.sign_transaction(fields, SECRET).raw_transaction.to_0x_hex()
        async with make_endpoints(tmp_path) as endpoints:
            assert code(await endpoints.rpc("eth_sendRawTransaction", foreign)) == 4100
            assert endpoints.bench.chain.received == []

    run(work())


def test_signed_bytes_that_the_node_refuses_are_said_to_be_signed(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path, chain=FakeChain(refuse="nonce too low")) as endpoints:
            answer = await endpoints.rpc("eth_sendTransaction", payment(1))
            assert code(answer) == -32003
            assert told(answer)["decision"] == "signed"
            assert told(answer)["tx_hash"] == "0x" + keccak256(endpoints.bench.chain.received[0]).hex()

    run(work())


def test_the_gates_own_nonce_is_answered_for_its_own_wallet_only(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path, chain=FakeChain(mine_at_once=False)) as endpoints:
            chain = endpoints.bench.chain
            chain.answers["eth_getTransactionCount"] = "0x99"
            await endpoints.rpc("eth_sendTransaction", payment(1))
            for block in ("pending", "latest"):
                assert (await endpoints.rpc("eth_getTransactionCount", MINE, block))["result"] == "0x1"
            assert (await endpoints.rpc("eth_getTransactionCount", MINE.lower()))["result"] == "0x1"
            for params in ((MINE, "earliest"), (MINE, "0x1"), (NOBODY, "latest")):
                assert (await endpoints.rpc("eth_getTransactionCount", *params))["result"] == "0x99"

    run(work())


@pytest.mark.parametrize(
    ("nonce", "why"),
    [("0x0", "replacement_underpriced"), ("0x2", "nonce_not_next"), ("0xffffffff", "nonce_not_next")],
)
def test_only_the_next_nonce_is_accepted_or_one_to_replace(tmp_path: Path, nonce: str, why: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await endpoints.rpc("eth_sendTransaction", payment(1))
            answer = await endpoints.rpc("eth_sendTransaction", payment(1, nonce=nonce))
            assert code(answer) == 4001
            assert [r["code"] for r in told(answer)["reasons"]][-1] == why
            assert "result" in await endpoints.rpc("eth_sendTransaction", payment(1, nonce="0x1"))

    run(work())


# --- who asks -----------------------------------------------------------------------------------------


def test_a_token_opens_the_endpoint_from_header_and_path(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            for path, token in (
                ("/", TOKEN), ("/rpc", TOKEN), (f"/rpc/{TOKEN}", None), (f"/rpc/{TOKEN}/anvil", None),
                (f"/rpc/{TOKEN}/31337", None), (f"/rpc/{TOKEN}", "wg_grant_wrong"),
            ):  # fmt: skip
                assert (await reads(endpoints, path, token=token))["result"] == "0x7a69"
            lower = await reads(endpoints, token=None, headers={"authorization": f"bearer {TOKEN}"})
            assert lower["result"] == "0x7a69"

    run(work())


@pytest.mark.parametrize(
    ("token", "path", "reason"),
    [
        (None, "/rpc", "token_missing"),
        ("", "/rpc", "token_missing"),
        ("wg_grant_wrong", "/rpc", "token_unknown"),
        (TOKEN + "t", "/rpc", "token_unknown"),
        (TOKEN[:-1], "/rpc", "token_unknown"),
        (None, "/rpc/wg_grant_wrong", "token_unknown"),
        (None, "/rpc/%ff%fe", "token_unknown"),
        (None, "/rpc/..%2f..%2fetc%2fpasswd", "token_unknown"),
        (TOKEN, "/rpc/wg_grant_wrong", "token_unknown"),
    ],
)
def test_without_a_good_token_nothing_opens_and_it_is_recorded(
    tmp_path: Path, token: str | None, path: str, reason: str
) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            for method, params in (("eth_chainId", []), ("eth_sendTransaction", [payment(1)]), ("eth_accounts", [])):
                answer = await endpoints.rpc(method, *params, token=token, path=path)
                assert code(answer) == 4100
                assert told(answer)["code"] == reason
                entry = endpoints.entries[-1]
                assert (entry["kind"], entry["code"], entry["method"]) == ("agent_refused", reason, method)
            assert endpoints.bench.chain.received == endpoints.bench.chain.forwarded == []

    run(work())


def test_a_token_that_is_no_text_is_refused_like_any_other(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}'
            status, answer = await raw_http(endpoints, "/rpc", body, b"Authorization: Bearer \xff\xfe")
            assert status == 200
            assert json.loads(answer)["error"]["code"] == 4100

    run(work())


def test_a_revoked_grant_opens_nothing_more(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            bench = endpoints.bench
            await bench.operations.command(bench.command("grant.revoke", {"grant": "grant_1"}))
            for method in ("eth_chainId", "eth_accounts", "eth_blockNumber", "eth_sendTransaction"):
                answer = await endpoints.rpc(method, payment(1))
                assert code(answer) == 4100
                assert told(answer)["code"] == "grant_revoked"

    run(work())


@pytest.mark.parametrize("chain", ["1", "base", "0x7a69", "31337 ", "nowhere", "-1", "9" * 40, "%E2%85%A0"])
def test_a_chain_the_gate_does_not_serve_is_4100(tmp_path: Path, chain: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await reads(endpoints, f"/rpc/{TOKEN}/{chain}", token=None)
            assert code(answer) == 4100
            assert told(answer)["code"] == "wrong_chain"

    run(work())


def test_another_chain_or_wallet_in_the_transaction_is_4100(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            for extra, reason in ((("chainId", "0x1"), "wrong_chain"), (("from", NOBODY), "wrong_wallet")):
                answer = await endpoints.rpc("eth_sendTransaction", payment(1, **dict([extra])))
                assert code(answer) == 4100
                assert told(answer)["code"] == reason
            for method, params in (("personal_sign", ("0x00", NOBODY)), ("eth_sign", (NOBODY, "0x" + "00" * 32))):
                assert code(await endpoints.rpc(method, *params)) == 4100

    run(work())


# --- the protocol -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"1", b'"eth_chainId"', b"{}", b"[]", b"[1]", b"not json", b'{"jsonrpc":"2.0","id":1}',
        b'{"id":1,"method":"eth_chainId","params":[]}', b'{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}',
        b'{"jsonrpc":"2.0","id":1,"method":7}', b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":{}}',
        b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":null}',
    ],
)  # fmt: skip
def test_malformed_calls_are_32600_and_recorded(tmp_path: Path, body: bytes) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            before = len(endpoints.entries)
            answer = await endpoints.post_rpc(body)
            answer = answer[0] if isinstance(answer, list) else answer
            assert code(answer) == -32600
            assert len(endpoints.entries) == before + 1

    run(work())


@pytest.mark.parametrize("call_id", [0, "text", None, 1.5, 2**70, -(2**70), "\u202e", [1], {"a": 1}])
def test_the_id_comes_back_as_it_was(tmp_path: Path, call_id: Any) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            call = {"jsonrpc": "2.0", "id": call_id, "method": "eth_chainId"}
            answer = await endpoints.post_rpc(json.dumps(call).encode())
            assert answer == {"jsonrpc": "2.0", "id": call_id, "result": "0x7a69"}

    run(work())


def test_batches_are_answered_in_order_up_to_a_hundred(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            calls = [{"jsonrpc": "2.0", "id": n, "method": "eth_chainId", "params": []} for n in range(101)]
            for size in (1, 100):
                answers = await endpoints.post_rpc(json.dumps(calls[:size]).encode())
                assert [a["id"] for a in answers] == list(range(size))
            for size in (0, 101):
                assert code(await endpoints.post_rpc(json.dumps(calls[:size]).encode())) == -32600
            mixed = [{"method": "nonsense"}, calls[0], {**calls[1], "method": "debug_x"}]
            answers = await endpoints.post_rpc(json.dumps(mixed).encode())
            assert [a.get("result", a.get("error", {}).get("code")) for a in answers] == [-32600, "0x7a69", -32601]

    run(work())


def test_a_batch_of_payments_meets_the_limit_exactly(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            calls = [
                {"jsonrpc": "2.0", "id": n, "method": "eth_sendTransaction", "params": [payment(20)]} for n in range(8)
            ]
            answers = await endpoints.post_rpc(json.dumps(calls).encode())
            assert ["result" in a for a in answers] == [True] * 5 + [False] * 3
            assert len(endpoints.bench.chain.received) == 5

    run(work())


# --- waiting for an operator --------------------------------------------------------------------------

NO_WAIT = {"X-WalletGate-Wait": "0"}


def test_what_waits_is_32002_and_the_same_request_joins_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            first = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            again = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            assert code(first) == code(again) == -32002
            assert told(first)["approval_id"] == told(again)["approval_id"]
            assert told(first)["retry_after"] == 5
            assert len(endpoints.bench.gate.state.requests) == 1
            await approve(endpoints, told(first)["request_id"])
            done = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            assert done["result"] == "0x" + keccak256(endpoints.bench.chain.received[0]).hex()
            assert len(endpoints.bench.chain.received) == 1

    run(work())


def test_after_the_answer_was_fetched_the_same_is_a_new_request(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            first = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            await approve(endpoints, told(first)["request_id"])
            await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            third = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            assert code(third) == -32002
            assert told(third)["request_id"] != told(first)["request_id"]

    run(work())


def test_an_answer_nobody_fetched_is_not_given_to_a_payment_of_another_day(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            first = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            await approve(endpoints, told(first)["request_id"])
            await endpoints.bench.settle()
            endpoints.bench.clock.forward(node.JOIN_MS / 1000 + 1)
            second = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            assert code(second) == -32002
            assert told(second)["request_id"] != told(first)["request_id"]

    run(work())


def test_holders_get_the_answer_the_moment_it_is_given_and_it_is_one(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            first = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            wait = {"X-WalletGate-Wait": "30"}
            holders = [
                asyncio.create_task(endpoints.rpc("eth_sendTransaction", payment(30), headers=wait)) for _ in range(2)
            ]
            await asyncio.sleep(0.1)
            await approve(endpoints, told(first)["request_id"])
            answers = await asyncio.wait_for(asyncio.gather(*holders), 5)
            assert answers[0]["result"] == answers[1]["result"]
            assert len(endpoints.bench.chain.received) == 1

    run(work())


def test_two_that_ask_the_same_at_once_wait_for_one_approval(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            bench = endpoints.bench
            wait = {"X-WalletGate-Wait": "30"}
            holders = [
                asyncio.create_task(endpoints.rpc("eth_sendTransaction", payment(30), headers=wait)) for _ in range(5)
            ]
            await asyncio.sleep(0.3)
            waiting = [r for r in bench.gate.state.requests.values() if r.status is Status.AWAITING_APPROVAL]
            assert len(waiting) == 1
            await bench.approve(waiting[0])
            answers = await asyncio.wait_for(asyncio.gather(*holders), 5)
            assert len({answer["result"] for answer in answers}) == 1
            assert len(bench.chain.received) == 1
            assert bench.gate.state.requests.keys() == {waiting[0].id}

    run(work())


@pytest.mark.parametrize("decided", ["", "decided"])
def test_a_waiting_request_is_joined_after_a_restart(tmp_path: Path, decided: str) -> None:
    async def work() -> None:
        chain, clock = FakeChain(), Clock(NOW_MS)
        async with make_endpoints(tmp_path, chain=chain, clock=clock) as endpoints:
            first = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
        async with make_endpoints(tmp_path, chain=chain, clock=clock) as endpoints:
            if decided:
                await approve(endpoints, told(first)["request_id"])
                assert "result" in await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
                assert len(chain.received) == 1
            else:
                again = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
                assert told(again)["request_id"] == told(first)["request_id"]
            assert len(endpoints.bench.store.recent_requests()) == 1

    run(work())


@pytest.mark.parametrize("end", ["rejected", "expired", "withdrawn"])
def test_a_request_that_ended_without_a_yes_is_4001(tmp_path: Path, end: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            bench = endpoints.bench
            first = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            request = bench.gate.find(told(first)["request_id"])
            assert request is not None
            if end == "rejected":
                await bench.approve(request, approve=False)
            elif end == "withdrawn":
                await bench.gate.withdraw(bench.session, request.client_id)
            else:
                bench.clock.forward(1800)
                await bench.settlement.step()
            answer = await endpoints.rpc("eth_sendTransaction", payment(30), headers=NO_WAIT)
            assert code(answer) == 4001
            assert told(answer)["decision"] == end
            assert bench.chain.received == []

    run(work())


def test_one_http_request_waits_once_however_many_calls_it_holds(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            calls = [
                {"jsonrpc": "2.0", "id": n, "method": "eth_sendTransaction", "params": [payment(21 + n / 10)]}
                for n in range(4)
            ]
            body = json.dumps(calls).encode()
            started = asyncio.get_running_loop().time()
            answers = await endpoints.post_rpc(body, headers={"X-WalletGate-Wait": "1"})
            assert [code(answer) for answer in answers] == [-32002] * 4
            assert asyncio.get_running_loop().time() - started < 2

    run(work())


@pytest.mark.parametrize("value", ["-1", "1e9", "NaN", "inf", "²", "", "1 "])
def test_a_wait_that_is_no_number_is_the_usual_one(value: str) -> None:
    class Http:
        headers = {"X-WalletGate-Wait": value}  # noqa: RUF012 - a stand-in

    assert node._hold_s(Http()) == node.HOLD_S  # type: ignore[arg-type]


def test_a_wait_is_bounded() -> None:
    class Http:
        headers = {"X-WalletGate-Wait": "9" * 400}  # noqa: RUF012 - a stand-in

    assert node._hold_s(Http()) == node.HOLD_S_MAX  # type: ignore[arg-type]


# --- ids of the client's own --------------------------------------------------------------------------


def test_the_same_key_never_pays_twice(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            headers = {"Idempotency-Key": "order-1"}
            calls = [endpoints.rpc("eth_sendTransaction", payment(1), headers=headers) for _ in range(10)]
            answers = await asyncio.gather(*calls)
            assert len({answer["result"] for answer in answers}) == 1
            assert len(endpoints.bench.chain.received) == 1
            other = await endpoints.rpc("eth_sendTransaction", payment(2), headers=headers)
            assert code(other) == -32600
            assert told(other)["code"] == "id_reused"
            assert len(endpoints.bench.chain.received) == 1

    run(work())


def test_without_a_key_two_payments_are_two(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answers = [await endpoints.rpc("eth_sendTransaction", payment(1)) for _ in range(2)]
            assert answers[0]["result"] != answers[1]["result"]

    run(work())


@pytest.mark.parametrize("key", ["x" * 65, "with space", "tab\tinside"])
def test_a_key_that_is_no_id_is_refused(tmp_path: Path, key: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answer = await endpoints.rpc("eth_sendTransaction", payment(1), headers={"Idempotency-Key": key})
            assert code(answer) == -32600
            assert told(answer)["code"] == "bad_id"
            assert endpoints.bench.chain.received == []

    run(work())


# --- what must not break it ---------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"traceparent", b"x-tool-call-id", b"User-Agent", b"X-WalletGate-Wait"])
def test_headers_that_are_no_text_do_not_stop_the_gate(tmp_path: Path, header: bytes) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            call = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction", "params": [payment(1)]}
            head = b"Authorization: Bearer " + TOKEN.encode(), header + b": \xff\xfe\xed\xa0\x80"
            status, body = await raw_http(endpoints, "/rpc", json.dumps(call).encode(), *head)
            assert status == 200
            assert "result" in json.loads(body)
            assert "result" in await endpoints.rpc("eth_sendTransaction", payment(1))

    run(work())


@pytest.mark.parametrize("form", ["object", "text"])
def test_typed_data_with_numbers_beyond_64_bits_is_judged_like_any(tmp_path: Path, form: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            document = permit(value=2**256 - 1)
            answer = await endpoints.rpc(
                "eth_signTypedData_v4", MINE, json.dumps(document) if form == "text" else document
            )
            assert code(answer) == 4001
            assert endpoints.entries[-1]["kind"] == "request_denied"
            assert "result" in await endpoints.rpc("eth_sendTransaction", payment(1))

    run(work())


def permit(value: int) -> dict[str, Any]:
    """An EIP-2612 permit of USDC."""
    domain = [("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")]
    fields = [("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"),
              ("deadline", "uint256")]  # fmt: skip
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in domain],
            "Permit": [{"name": name, "type": kind} for name, kind in fields],
        },
        "primaryType": "Permit",
        "domain": {"name": "USD Coin", "version": "2", "chainId": 31337, "verifyingContract": checksum_address(USDC)},
        "message": {
            "owner": MINE, "spender": checksum_address(ACME), "value": value, "nonce": 0,
            "deadline": NOW_MS // 1000 + 600,
        },
    }  # fmt: skip


async def raw_http(endpoints: Endpoints, path: str, body: bytes, *headers: bytes) -> tuple[int, bytes]:
    """One POST with headers that no client library would send; status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoints.agents.server.port, family=socket.AF_INET)
    head = [
        f"POST {path} HTTP/1.1".encode(), b"Host: gate", b"Connection: close", b"Content-Length: %d" % len(body),
        *headers,
    ]  # fmt: skip
    writer.write(b"\r\n".join([*head, b"", body]))
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2]


async def approve(endpoints: Endpoints, request_id: str) -> None:
    """Alice says yes."""
    request = endpoints.bench.gate.find(request_id)
    assert request is not None
    await endpoints.bench.approve(request)


def test_strangers_cannot_fill_the_log(tmp_path: Path) -> None:
    from tests.factories import make_gate  # noqa: PLC0415
    from walletgate.errors import AuthenticationError  # noqa: PLC0415
    from walletgate.gate.gate import STRANGERS_PER_S_MAX  # noqa: PLC0415

    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            error = AuthenticationError("no", code="token_unknown")
            for _ in range(200):
                await bench.gate.refuse(None, error, surface="rpc")
            assert bench.kinds().count("agent_refused") == STRANGERS_PER_S_MAX
            bench.clock.forward(1)
            await bench.gate.refuse(None, error, surface="rpc")
            assert bench.last_entry()["folded"] == 200 - STRANGERS_PER_S_MAX

    asyncio.run(work())

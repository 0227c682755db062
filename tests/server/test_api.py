"""The agent API on the wire, and the SDK against a real gate: what agents are told, in which status and type."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import walletgate
from tests.endpoints import Endpoints, make_endpoints
from tests.factories import ACME, ALICE, ORIGIN, OTHER, SECRET, TOKEN, USDC, WALLET, Bench, payment
from tests.fakes import FakeChain
from tests.server.conftest import TOKENS, Live
from walletgate.encoding import checksum_address, keccak256
from walletgate.errors import AuthenticationError, ConflictError, InvalidRequestError
from walletgate.types import Status

MINE = checksum_address(WALLET)


def run(work: Any) -> Any:
    return asyncio.run(work)


def body(usdc: float, **fields: Any) -> dict[str, Any]:
    return {"id": "r", "kind": "transaction", "payload": payment(usdc), **fields}


async def submit(endpoints: Endpoints, usdc: float, **fields: Any) -> dict[str, Any]:
    status, answer = await endpoints.api("POST", "/v1/requests", body(usdc, **fields))
    assert status == 200, answer
    return dict(answer["request"])


# --- the wire -----------------------------------------------------------------------------------------


def test_an_allowed_payment_comes_back_with_its_hash_and_then_its_receipt(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await submit(endpoints, 5)
            assert request["tx_hash"] == "0x" + keccak256(endpoints.bench.chain.received[0]).hex()
            assert (request["wallet"], request["chain_id"], request["nonce"]) == (MINE, 31337, 0)
            assert "raw" not in request
            assert request["effects"][0].startswith("pays 5 USDC")
            await endpoints.bench.settle()
            _, answer = await endpoints.api("GET", "/v1/requests/r")
            assert answer["request"]["status"] == "confirmed"
            assert answer["request"]["receipt"]["fee"] == str(21_000 * 10**9)

    run(work())


def test_a_denial_is_an_answer_with_its_numbers(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await submit(endpoints, 51)
            assert request["status"] == "denied"
            (reason,) = request["decision"]["reasons"]
            assert (reason["code"], reason["actual"], reason["bound"]) == ("over_per_request", "51000000", "50000000")

    run(work())


def test_the_same_id_is_the_same_request_and_another_body_is_a_conflict(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            answers = await asyncio.gather(*(submit(endpoints, 5) for _ in range(20)))
            assert len({answer["request_id"] for answer in answers}) == 1
            assert len(endpoints.bench.chain.received) == 1
            for other in (
                body(6),
                body(5, memo="x"),
                body(5, kind="sign_transaction"),
                body(5, expect={"amount": "5"}),
            ):
                status, answer = await endpoints.api("POST", "/v1/requests", other)
                assert (status, answer["error"]["code"]) == (409, "id_reused")
                assert endpoints.entries[-1]["code"] == "id_reused"
            assert len(endpoints.bench.chain.received) == 1

    run(work())


def test_the_same_id_of_another_grant_is_another_request(tmp_path: Path) -> None:
    async def work() -> None:
        tokens = {"shopper": TOKEN, "other": "wg_grant_" + "u" * 43}
        async with make_endpoints(tmp_path, tokens=tokens) as endpoints:
            first = await submit(endpoints, 5)
            _, answer = await endpoints.api("POST", "/v1/requests", body(5), token=tokens["other"])
            assert answer["request"]["request_id"] != first["request_id"]
            await submit(endpoints, 30, id="mine")
            for verb in ("GET", "DELETE"):
                status, answer = await endpoints.api(verb, "/v1/requests/mine", token=tokens["other"])
                assert (status, answer["error"]["code"]) == (404, "request_unknown")

    run(work())


def test_waiting_ends_when_an_operator_decides(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            bench = endpoints.bench
            posting = asyncio.create_task(submit(endpoints, 30, wait_s=30))
            request = await first_waiting(bench)
            getting = asyncio.create_task(endpoints.api("GET", "/v1/requests/r?wait_s=30"))
            final = asyncio.create_task(endpoints.api("GET", "/v1/requests/r?wait_s=30&until=final"))
            await asyncio.sleep(0.05)
            assert not posting.done()
            await bench.approve(request)
            assert (await asyncio.wait_for(posting, 5))["status"] in ("signed", "broadcast")
            assert (await asyncio.wait_for(getting, 5))[1]["request"]["status"] in ("signed", "broadcast")
            assert not final.done()
            await bench.settle()
            assert (await asyncio.wait_for(final, 5))[1]["request"]["status"] == "confirmed"

    run(work())


def test_waiting_ends_in_time_when_nobody_decides(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            started = time.monotonic()
            request = await submit(endpoints, 30, wait_s=0.2)
            assert request["status"] == "awaiting_approval"
            assert request["expires_at"] == endpoints.bench.clock.now_ms // 1000 + 1800
            assert 0.2 <= time.monotonic() - started < 2

    run(work())


@pytest.mark.parametrize("wait", ["-1", "301", "1e9", "nan", "inf", "x", ".", "1.5.5", "%C2%B2", "9" * 400, "+1"])
def test_a_wait_in_the_path_is_bounded(tmp_path: Path, wait: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await submit(endpoints, 30)
            status, answer = await endpoints.api("GET", f"/v1/requests/r?wait_s={wait}")
            assert (status, answer["error"]["code"]) == (400, "bad_wait")

    run(work())


def test_a_withdrawn_request_gives_back_what_it_held(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await submit(endpoints, 50)
            assert available(await endpoints.api("GET", "/v1/limits")) == "50000000"
            _, answer = await endpoints.api("DELETE", "/v1/requests/r")
            assert answer["request"]["status"] == "withdrawn"
            assert available(await endpoints.api("GET", "/v1/limits")) == "100000000"
            status, answer = await endpoints.api("DELETE", "/v1/requests/r")
            assert (status, answer["error"]["code"]) == (409, "request_moved")
            assert endpoints.bench.gate.find(request["request_id"]).status is Status.WITHDRAWN  # type: ignore[union-attr]

    run(work())


def test_what_is_signed_cannot_be_withdrawn(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await submit(endpoints, 5)
            status, answer = await endpoints.api("DELETE", "/v1/requests/r")
            assert (status, answer["error"]["code"]) == (409, "request_moved")
            assert available(await endpoints.api("GET", "/v1/limits")) == "95000000"

    run(work())


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/requests/none", 404, "request_unknown"),
        ("/v1/requests/..%2F..%2Fgate.db", 404, "request_unknown"),
        ("/v1/requests/%00", 400, "bad_id"),
        ("/v1/requests/" + "x" * 65, 400, "bad_id"),
        ("/v1/requests/%E2%80%AE", 400, "bad_id"),
        ("/v1/requests/' OR '1'='1", 400, "bad_id"),
        ("/v1/requests/%27%20OR%201=1", 400, "bad_id"),
    ],
)
def test_ids_in_paths_are_only_ids(tmp_path: Path, path: str, status: int, code: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await submit(endpoints, 5)
            for verb in ("GET", "DELETE"):
                found, answer = await endpoints.api(verb, path)
                assert (found, answer["error"]["code"]) == (status, code)

    run(work())


def test_a_preview_decides_like_the_request_and_changes_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            size = len(endpoints.entries)
            for usdc, outcome in ((5, "allow"), (30, "require_approval"), (51, "deny")):
                _, answer = await endpoints.api("POST", "/v1/preview", body(usdc))
                assert answer["decision"]["outcome"] == outcome
                assert answer["effects"][0].startswith(f"pays {usdc} USDC")
            assert len(endpoints.entries) == size
            assert endpoints.bench.store.recent_requests() == []
            for usdc, outcome in ((5, "allow"), (30, "require_approval"), (51, "deny")):
                request = await submit(endpoints, usdc, id=f"r{usdc}")
                assert request["decision"]["outcome"] == outcome

    run(work())


def test_limits_say_what_is_left_to_the_base_unit(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await submit(endpoints, 7.000001)
            _, answer = await endpoints.api("GET", "/v1/limits")
            assert (answer["grant"], answer["agent"], answer["wallet"]) == ("grant_1", "shopper", MINE)
            assert answer["chain_ids"] == [31337]
            assert available((200, answer)) == "92999999"

    run(work())


@pytest.mark.parametrize(("token", "code"), [(None, "token_missing"), ("wg_grant_wrong", "token_unknown")])
@pytest.mark.parametrize("path", ["/v1/limits", "/v1/requests/r", "/v1/nothing"])
def test_without_a_token_the_api_says_401_and_records_it(
    tmp_path: Path, token: str | None, code: str, path: str
) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            status, answer = await endpoints.api("GET", path, token=token)
            assert (status, answer["error"]["code"]) == (401, code)
            assert (endpoints.entries[-1]["kind"], endpoints.entries[-1]["code"]) == ("agent_refused", code)

    run(work())


def test_a_node_that_is_away_is_502_and_can_be_tried_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path, chain=FakeChain(away=True)) as endpoints:
            status, answer = await endpoints.api("POST", "/v1/requests", body(5))
            assert (status, answer["error"]["code"], answer["error"]["retryable"]) == (502, "chain_unavailable", True)
            endpoints.bench.chain.away = False
            assert (await submit(endpoints, 5))["tx_hash"]

    run(work())


def test_of_the_agents_trace_ids_are_kept_and_text_is_not(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            headers = {
                "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "x-tool-call-id": "t\t1",
            }
            await endpoints.api("POST", "/v1/requests", body(51), headers=headers)
            trace = endpoints.entries[-1]["trace"]
            assert trace["traceparent"] == headers["traceparent"]
            assert "x-tool-call-id" not in trace
            headers = {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01", "x-tool-call-id": "toolu_01:bash/3"}
            await endpoints.api("POST", "/v1/requests", body(51, id="r2"), headers=headers)
            assert endpoints.entries[-1]["trace"] == {"x-tool-call-id": "toolu_01:bash/3"}

    run(work())


def available(answer: tuple[int, dict[str, Any]]) -> str:
    """What the day still allows in USDC."""
    (limit,) = [x for x in answer[1]["limits"] if x["kind"] == "window" and x["limit"] == "100000000"]
    return str(limit["available"])


async def first_waiting(bench: Bench) -> Any:
    for _ in range(500):
        for request in bench.gate.state.requests.values():
            if request.status is Status.AWAITING_APPROVAL:
                return request
        await asyncio.sleep(0.01)
    raise AssertionError("nothing waits")


# --- the SDK against a real gate ----------------------------------------------------------------------


@pytest.mark.parametrize("place", ["tcp", "unix"])
def test_the_client_pays_reads_and_is_told_no(live: Live, place: str) -> None:
    client = walletgate.Client(live.url if place == "tcp" else live.unix_url, TOKENS["shopper"])
    try:
        sent = client.request("transaction", payment(1), id=f"{place}-1", memo="one call")
        assert sent.tx_hash is not None
        assert client.request("transaction", payment(1), id=f"{place}-1", memo="one call").tx_hash == sent.tx_hash
        assert client.wait(f"{place}-1", 10, final=True).receipt.succeeded  # type: ignore[union-attr]
        with pytest.raises(walletgate.GateDenied) as caught:
            client.request("transaction", payment(51))
        assert [(r.code, r.actual, r.bound) for r in caught.value.reasons] == [
            ("over_per_request", 51_000_000, 50_000_000)
        ]
        assert any(limit["kind"] == "window" for limit in caught.value.left)
        with pytest.raises(ConflictError) as conflict:
            client.request("transaction", payment(2), id=f"{place}-1")
        assert conflict.value.code == "id_reused"
        with pytest.raises(InvalidRequestError) as invalid:
            client.get("never")
        assert invalid.value.code == "request_unknown"
        assert client.preview("transaction", payment(30)).outcome.name == "REQUIRE_APPROVAL"
        assert client.limits().wallet == MINE
    finally:
        client.close()


def test_a_wrong_token_is_an_authentication_error(live: Live) -> None:
    client = walletgate.Client(live.url, "wg_grant_wrongwrong")
    with pytest.raises(AuthenticationError) as caught:
        client.limits()
    assert caught.value.code == "token_unknown"
    client.close()


def test_pending_can_be_waited_for_and_ends_with_the_hash(live: Live) -> None:
    account = walletgate.account("sdk", url=live.url, token=TOKENS["sdk"], wait_s=0)
    with pytest.raises(walletgate.ApprovalPending) as caught:
        account.send(payment(30), id="pending")
    decide(live, caught.value.request_id, approve=True)
    tx_hash = caught.value.wait(10)
    assert tx_hash == account.send(payment(30), id="pending")
    assert bytes(tx_hash) in live.chain.sent  # type: ignore[call-overload]
    account.client.close()


def test_a_no_reaches_the_one_who_waits(live: Live) -> None:
    account = walletgate.account("sdk", url=live.unix_url, token=TOKENS["sdk"], wait_s=20)
    failed: list[walletgate.ApprovalRejected] = []

    def send() -> None:
        try:
            account.send(payment(31), id="rejected")
        except walletgate.ApprovalRejected as error:
            failed.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    decide(live, waiting_id(live, "rejected"), approve=False)
    thread.join(10)
    assert [error.code for error in failed] == ["approval_rejected"]
    account.client.close()


def test_a_withdrawal_through_the_client(live: Live) -> None:
    client = walletgate.Client(live.url, TOKENS["shopper"])
    with pytest.raises(walletgate.ApprovalPending):
        client.request("transaction", payment(32), id="withdrawn")
    assert client.withdraw("withdrawn").status is Status.WITHDRAWN
    with pytest.raises(walletgate.ApprovalRejected) as caught:
        client.wait("withdrawn", 1)
    assert caught.value.code == "request_withdrawn"
    client.close()


def test_the_async_client_does_the_same(live: Live) -> None:
    async def work() -> None:
        client = walletgate.AsyncClient(live.url, TOKENS["api"])
        sent = await asyncio.gather(*(client.request("transaction", payment(1), id=f"async-{n % 2}") for n in range(8)))
        assert len({request.tx_hash for request in sent}) == 2
        with pytest.raises(walletgate.GateDenied) as caught:
            await client.request("transaction", payment(1, OTHER))
        assert [reason.code for reason in caught.value.reasons] == ["recipient_not_permitted"]
        assert (await client.limits()).grant == "grant_3"
        with pytest.raises(walletgate.ApprovalPending) as pending:
            await client.request("transaction", payment(33), id="async-pending")
        decide(live, pending.value.request_id, approve=True)
        assert (await client.wait("async-pending", 10)).tx_hash is not None
        await client.close()

    run(work())


def test_what_the_agent_means_is_checked_before_the_policy(live: Live) -> None:
    account = walletgate.account("sdk", url=live.url, token=TOKENS["sdk"])
    meant = {"asset": "USDC", "amount": "0.005", "recipient": checksum_address(ACME)}
    with pytest.raises(walletgate.GateDenied) as caught:
        account.send(payment(5), expect=meant)
    assert "expect_amount" in [reason.code for reason in caught.value.reasons]
    account.client.close()


def test_a_transaction_signed_for_the_agent_is_the_one_it_asked_for(live: Live) -> None:
    from eth_account import Account  # noqa: PLC0415

    account = walletgate.account("sdk", url=live.url, token=TOKENS["sdk"])
    fields = {"to": checksum_address(ACME), "value": 10**15, "gas": 21_000}
    signed = account.sign_transaction(fields)
    assert Account.recover_transaction(signed.raw_transaction) == MINE == account.address
    assert account.address == Account.from_key(SECRET).address
    assert bytes(signed.hash) not in live.chain.sent
    account.client.close()


def test_the_token_asset_of_the_policy_is_what_was_paid(live: Live) -> None:
    status = live.operator.get("/v1/status")
    assert {grant["agent"] for grant in status["grants"]} == set(TOKENS)
    assert live.operator.get("/v1/requests?limit=1")["requests"][0]["wallet"] == MINE
    assert checksum_address(USDC) in live.operator.get(f"/v1/policies/{status['grants'][0]['policy']['hash']}")["text"]


def decide(live: Live, request_id: str, *, approve: bool) -> None:
    """Alice decides, over the operators' socket."""
    shown = live.operator.get(f"/v1/requests/{request_id}")["request"]
    live.operator.approve(shown, secret=ALICE, gate=ORIGIN, approve=approve, reason="test")


def waiting_id(live: Live, client_id: str) -> str:
    """The gate's name of a request once it waits."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for request in live.operator.get("/v1/requests?status=awaiting_approval")["requests"]:
            if request["id"] == client_id:
                return str(request["request_id"])
        time.sleep(0.02)
    raise AssertionError("nothing waits")


def test_an_agent_reads_what_its_policy_calls_things_by(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            status, answer = await endpoints.api("GET", "/v1/policy")
            assert status == 200
            assert answer["assets"] == [
                {"name": "ETH", "chain_id": 31337, "address": None, "decimals": 18},
                {"name": "USDC", "chain_id": 31337, "address": checksum_address(USDC), "decimals": 6},
            ]
            assert answer["addresses"] == {"acme": {"anywhere": [checksum_address(ACME)], "pinned": []}}
            assert answer["words"][0].startswith("Policy 'test' is for anvil")
            assert (await endpoints.api("GET", "/v1/policy", token=None))[0] == 401

    run(work())

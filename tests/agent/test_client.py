import asyncio
import json
import os
import threading
import time
import traceback
from decimal import Decimal

import pytest

import walletgate
from walletgate import ApprovalPending, ApprovalRejected, AsyncClient, Client, GateDenied, GateUnavailable
from walletgate.agent import transport
from walletgate.agent.answers import Receipt
from walletgate.errors import (
    ApprovalError,
    AuthenticationError,
    ChainError,
    ConflictError,
    GatePausedError,
    InvalidRequestError,
    PolicyDeniedError,
    WalletGateError,
)
from walletgate.types import Expectation, Outcome, Status

PAYLOAD = {"to": "0x" + "22" * 20, "value": "0x1"}
REASON = {
    "code": "limit_exceeded",
    "text": "50 USDC a day, 48 are used",
    "rule": "daily",
    "actual": "60000000",
    "bound": "50000000",
    "unit": "USDC",
    "path": "",
}


@pytest.fixture
def client(gate, token):
    return Client(gate.url, token)


def refusal(kind, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    return caught.value


def test_request_is_sent_as_the_api_says_and_read_back(gate, client):
    expect = {"asset": "ETH", "amount": "0.1", "recipient": PAYLOAD["to"]}
    request = client.request("transaction", PAYLOAD, id="order-7", expect=expect, memo="tea")
    assert gate.bodies() == [
        {"id": "order-7", "kind": "transaction", "payload": PAYLOAD, "expect": expect, "memo": "tea", "wait_s": 0}
    ]
    assert (request.id, request.status, request.outcome) == ("order-7", Status.BROADCAST, Outcome.ALLOW)
    assert (request.nonce, request.wallet, request.chain_id) == (0, gate.signer.address, 31337)
    assert request.tx_hash == gate.requests["order-7"]["tx_hash"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (Expectation(asset="USDC", amount="5"), {"asset": "USDC", "amount": "5"}),
        (Expectation(recipient=b"\x22" * 20), {"recipient": "0x" + "22" * 20}),
        ({"amount": 5}, {"amount": "5"}),
        ({"amount": Decimal("1E-7")}, {"amount": "0.0000001"}),
        ({"asset": None, "amount": "1"}, {"amount": "1"}),
    ],
)
def test_expectation_is_sent_as_exact_text(gate, client, given, sent):
    client.request("transaction", PAYLOAD, expect=given)
    assert gate.bodies()[0]["expect"] == sent


@pytest.mark.parametrize("given", [{"amount": 0.1}, {"amount": True}, {"amont": "1"}, {"recipient": 5}])
def test_expectation_that_is_not_exact_is_refused(gate, client, given):
    assert refusal(InvalidRequestError, client.request, "transaction", PAYLOAD, expect=given).code == "bad_expectation"
    assert gate.seen == []


def test_ids_are_made_when_none_is_given(gate, client):
    client.request("transaction", PAYLOAD)
    client.request("transaction", PAYLOAD)
    first, second = (body["id"] for body in gate.bodies())
    assert first != second
    assert len(first) <= 64


# --- lost answers ---


def test_lost_answer_is_asked_for_again_with_the_same_id_and_signed_once(gate, client):
    gate.cut = 2
    request = client.request("transaction", PAYLOAD)
    assert request.status is Status.BROADCAST
    assert len({body["id"] for body in gate.bodies()}) == 1
    assert len(gate.bodies()) == 3
    assert gate.signed == 1


def test_answer_lost_too_often_is_unavailable_with_the_id_to_ask_again(gate, client):
    gate.cut = 3
    error = refusal(GateUnavailable, client.request, "transaction", PAYLOAD)
    assert (error.code, error.retryable) == ("gate_unavailable", True)
    assert client.request("transaction", PAYLOAD, id=error.data["id"]).status is Status.BROADCAST
    assert gate.signed == 1


def test_kept_connection_that_went_stale_is_replaced(gate, client):
    client.limits()
    client._transport._idle[0][1].sock.close()
    assert client.limits().grant == "grant_1"


def test_connections_are_kept_and_closed_with_the_client(gate, token):
    client = Client(gate.url, token)
    client.limits()
    (_, kept), *_ = client._transport._idle
    client.limits()
    assert [connection for _, connection in client._transport._idle] == [kept]
    del client
    assert kept.sock is None


def test_threads_share_a_client(gate, client):
    threads = [threading.Thread(target=client.limits) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gate.seen) == 16
    assert 1 <= len(client._transport._idle) <= 16
    client.close()
    assert client._transport._idle == []
    assert client.limits().grant == "grant_1"


def test_forked_child_opens_a_connection_of_its_own(gate, client, monkeypatch):
    client.limits()
    (_, kept), *_ = client._transport._idle
    monkeypatch.setattr(os, "getpid", lambda: -1)
    client.limits()
    assert [connection for _, connection in client._transport._idle] != [kept]


def test_gate_that_is_not_there_is_unavailable(token):
    error = refusal(GateUnavailable, Client("http://127.0.0.1:9", token).limits)
    assert (error.code, error.retryable) == ("gate_unavailable", True)


def test_gate_that_does_not_answer_in_time_is_asked_once_and_not_kept(gate, token):
    gate.plan = [("awaiting_approval", [])]
    hasty = Client(gate.url, token, timeout_s=0.1)
    refusal(ApprovalPending, hasty.request, "transaction", PAYLOAD, id="a")
    error = refusal(GateUnavailable, hasty._call, "GET", "/v1/requests/a?wait_s=2", own_id="a")
    assert (error.code, error.data["id"]) == ("gate_timeout", "a")
    assert len(gate.seen) == 2
    assert hasty._transport._idle == []


def test_unix_socket_serves_the_same(gate, token):
    client = Client(f"unix://{gate.socket}", token)
    assert client.limits().wallet == gate.signer.address
    assert client.request("transaction", PAYLOAD).status is Status.BROADCAST
    assert gate.seen[-1][1] == "/v1/requests"


def test_path_before_the_api_is_kept(gate, token):
    with pytest.raises(InvalidRequestError):
        Client(gate.url + "/behind/a/proxy/", token).get("x")
    assert gate.seen[-1][1] == "/behind/a/proxy/v1/requests/x"


# --- the gate's word ---


def test_denial_is_raised_with_reasons_and_what_is_left(gate, client):
    gate.plan = [("denied", [REASON])]
    error = refusal(GateDenied, client.request, "transaction", PAYLOAD)
    assert isinstance(error, PolicyDeniedError)
    assert error.code == "policy_denied"
    assert not error.retryable
    assert (error.reasons[0].code, error.reasons[0].actual, error.reasons[0].bound) == (
        "limit_exceeded",
        60_000_000,
        50_000_000,
    )
    assert "48 are used" in str(error)
    assert error.request_id == "req_0"
    assert error.data["reasons"][0]["rule"] == "daily"
    assert error.left[0]["available"] == "2000000"


def test_denial_told_as_an_error_is_the_same_denial(gate, client, answer_error):
    gate.broken = (answer_error("policy_denied", "no", {"reasons": [REASON]}), 403)
    error = refusal(GateDenied, client.request, "transaction", PAYLOAD)
    assert error.reasons[0].bound == 50_000_000
    gate.broken = None
    assert error.left[0]["name"] == "USDC a day"


def test_pending_request_is_raised_and_its_wait_returns_it(gate, client):
    gate.plan = [("awaiting_approval", [])]
    pending = refusal(ApprovalPending, client.request, "transaction", PAYLOAD, id="a")
    assert isinstance(pending, ApprovalError)
    assert (pending.code, pending.retryable, pending.request_id, pending.id) == ("approval_pending", True, "req_0", "a")
    assert pending.expires_at == 1_900_000_000
    assert refusal(ApprovalPending, pending.wait, 0.05).id == "a"
    threading.Timer(0.1, gate.decide, ("a", "ok")).start()
    assert pending.wait(5).status is Status.BROADCAST


def test_request_waits_for_the_operator_as_long_as_it_may(gate, client):
    gate.plan = [("awaiting_approval", [])]
    threading.Timer(0.1, gate.decide, ("a", "ok")).start()
    request = client.request("transaction", PAYLOAD, id="a", wait_s=5)
    assert request.status is Status.BROADCAST
    assert 4 < gate.bodies()[0]["wait_s"] <= 5


def test_gate_that_does_not_hold_calls_is_not_asked_without_end(gate, client):
    gate.plan, gate.holds = [("awaiting_approval", [])], False
    refusal(ApprovalPending, client.request, "transaction", PAYLOAD, wait_s=0.5)
    assert len(gate.seen) <= 5


@pytest.mark.parametrize(
    ("status", "code"),
    [("rejected", "approval_rejected"), ("expired", "approval_expired"), ("withdrawn", "request_withdrawn")],
)
def test_request_that_ended_unapproved_is_rejected(gate, client, status, code):
    gate.plan = [("awaiting_approval", [])]
    pending = refusal(ApprovalPending, client.request, "transaction", PAYLOAD, id="a")
    gate.decide("a", status)
    error = refusal(ApprovalRejected, pending.wait, 1)
    assert (error.code, error.request_id, error.retryable) == (code, "req_0", False)


def test_request_can_be_looked_at_waited_for_and_withdrawn(gate, client):
    gate.plan = [("awaiting_approval", [])]
    refusal(ApprovalPending, client.request, "transaction", PAYLOAD, id="my id/1?")
    assert client.get("my id/1?").status is Status.AWAITING_APPROVAL
    assert client.withdraw("my id/1?").status is Status.WITHDRAWN


def test_wait_until_final_goes_on_after_broadcast(gate, client):
    client.request("transaction", PAYLOAD, id="a")
    gate.requests["a"]["receipt"] = {"block": 7, "gas_used": "21000", "fee": str(2**90), "succeeded": True}
    threading.Timer(0.1, gate.decide, ("a", "confirmed")).start()
    request = client.wait("a", 5, final=True)
    assert request.status is Status.CONFIRMED
    assert request.receipt == Receipt(7, 21_000, 2**90, succeeded=True)


def test_preview_returns_a_denial_and_decides_nothing(gate, client):
    preview = client.preview("transaction", PAYLOAD, expect={"amount": "1"})
    assert (preview.outcome, preview.effects) == (Outcome.ALLOW, ("sends 1 wei",))
    assert gate.requests == {}


def test_limits_say_what_is_left(gate, client):
    limits = client.limits()
    assert (limits.policy, limits.chain_ids, limits.left[0]["available"]) == ("shopper", (31337,), "2000000")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "unknown_field", InvalidRequestError),
        (401, "token_expired", AuthenticationError),
        (403, "approval_used", ApprovalError),
        (404, "request_unknown", InvalidRequestError),
        (409, "conflict", ConflictError),
        (413, "body_too_large", InvalidRequestError),
        (429, "busy", GatePausedError),
        (500, "signer_failed", GateUnavailable),
        (502, "chain_unavailable", ChainError),
        (503, "frozen", GatePausedError),
    ],
)
def test_errors_of_the_gate_keep_their_code(gate, client, answer_error, status, code, kind):
    gate.broken = (answer_error(code, "because", {"n": 1}), status)
    error = refusal(kind, client.limits)
    assert (error.code, error.detail, error.data["n"]) == (code, "because", 1)


GOOD_DECISION = {"outcome": "allow", "reasons": []}
GOOD = {
    "id": "a",
    "request_id": "r",
    "status": "signed",
    "wallet": "0x",
    "chain_id": 1,
    "decision": GOOD_DECISION,
    "effects": [],
}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 100_000,
        b"{}",
        json.dumps({"request": []}).encode(),
        json.dumps({"request": {**GOOD, "status": "teleported"}}).encode(),
        json.dumps({"request": {**GOOD, "id": 5}}).encode(),
        json.dumps({"request": {**GOOD, "nonce": 1.5}}).encode(),
        json.dumps({"request": {**GOOD, "nonce": True}}).encode(),
        json.dumps({"request": {**GOOD, "nonce": "0x1"}}).encode(),
        json.dumps({"request": {**GOOD, "nonce": "1" * 100}}).encode(),
        json.dumps({"request": {**GOOD, "effects": [1]}}).encode(),
        json.dumps({"request": {**GOOD, "decision": {**GOOD_DECISION, "outcome": "perhaps"}}}).encode(),
        json.dumps({"request": {**GOOD, "decision": {**GOOD_DECISION, "reasons": {}}}}).encode(),
        json.dumps({"request": {**GOOD, "decision": {**GOOD_DECISION, "reasons": [{"code": "x"}]}}}).encode(),
        json.dumps({"request": {**GOOD, "receipt": []}}).encode(),
        json.dumps({"request": {**GOOD, "receipt": {"block": 1, "gas_used": 1, "fee": 1}}}).encode(),
        json.dumps({"request": {**GOOD, "receipt": {"block": 1, "gas_used": 1, "succeeded": True}}}).encode(),
    ],
)
def test_answer_without_sense_is_unavailable_and_not_trusted(gate, client, answer):
    gate.broken = (answer, 200)
    error = refusal(GateUnavailable, client.request, "transaction", PAYLOAD)
    assert error.code == "answer_invalid"


@pytest.mark.parametrize("answer", [{}, {"error": "text"}, {"error": {"code": 5, "detail": "x"}}])
def test_error_without_sense_is_unavailable(gate, client, answer):
    gate.broken = (answer, 418)
    assert refusal(GateUnavailable, client.limits).code == "answer_invalid"


def test_answer_and_request_are_bounded(gate, client, monkeypatch):
    monkeypatch.setattr(transport, "ANSWER_BYTES_MAX", 10)
    assert refusal(GateUnavailable, client.limits).code == "answer_invalid"
    large = {"data": "0x" + "00" * transport.BODY_BYTES_MAX}
    assert refusal(InvalidRequestError, client.request, "message", large).code == "body_too_large"


def test_redirect_is_not_followed(gate, client):
    gate.broken = ({"error": {"code": "moved", "detail": "elsewhere"}}, 302)
    assert refusal(GateUnavailable, client.limits).code == "moved"
    assert len(gate.seen) == 1


# --- asyncio ---


def test_async_client_does_the_same(gate, token):
    gate.plan = [("ok", []), ("denied", [REASON]), ("awaiting_approval", [])]

    async def session():
        client = AsyncClient(gate.url, token)
        assert (await client.limits()).grant == "grant_1"
        assert (await client.preview("transaction", PAYLOAD)).outcome is Outcome.ALLOW
        assert (await client.request("transaction", PAYLOAD, id="a")).status is Status.BROADCAST
        with pytest.raises(GateDenied):
            await client.request("transaction", PAYLOAD)
        with pytest.raises(ApprovalPending) as caught:
            await client.request("transaction", PAYLOAD, id="c")
        assert (await client.get("c")).status is Status.AWAITING_APPROVAL
        waiting = asyncio.create_task(caught.value.async_wait(5))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(gate.decide, "c", "ok")
        assert (await waiting).status is Status.BROADCAST
        assert (await client.wait("c", 1)).status is Status.BROADCAST
        assert (await client.withdraw("c")).status is Status.WITHDRAWN
        await client.close()

    asyncio.run(session())


def test_many_waiting_calls_do_not_hold_up_another(gate, token):
    gate.plan = [("awaiting_approval", [])] * 20

    async def session():
        client = AsyncClient(gate.url, token)
        waiting = [asyncio.create_task(client.request("transaction", PAYLOAD, wait_s=5)) for _ in range(20)]
        while len(gate.requests) < 20:  # noqa: ASYNC110 - the other side runs in a thread
            await asyncio.sleep(0.01)
        started = time.monotonic()
        assert (await client.limits()).grant == "grant_1"
        assert time.monotonic() - started < 2
        for own_id in list(gate.requests):
            await asyncio.to_thread(gate.decide, own_id, "rejected")
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, ApprovalRejected) for error in done)
        await client.close()

    asyncio.run(session())


# --- the token ---


def test_token_is_sent_in_the_header_and_shown_nowhere(gate, client, token, answer_error):
    client.limits()
    assert gate.seen[0][2]["Authorization"] == f"Bearer {token}"
    assert token not in gate.seen[0][1]
    shown = [
        repr(client),
        str(client),
        repr(AsyncClient(gate.url, token)),
        repr(vars(client)),
        repr(vars(client._transport)),
    ]
    gate.plan = [("denied", [REASON]), ("awaiting_approval", [])]
    gate.cut = 0
    for breakage in (None, None, (b"<", 200), (answer_error("x_y", "z"), 400)):
        gate.broken = breakage
        try:
            client.request("transaction", PAYLOAD)
        except WalletGateError as error:
            shown += [
                "".join(traceback.format_exception(error)),
                repr(error),
                str(error),
                repr(error.data),
                repr(vars(error)),
            ]
    gate.broken, gate.cut = None, 3
    try:
        client.limits()
    except WalletGateError as error:
        shown.append("".join(traceback.format_exception(error)))
    assert len(shown) > 20
    assert not any(token in text for text in shown)


def test_wrong_token_is_refused_by_the_gate(gate, token):
    assert refusal(AuthenticationError, Client(gate.url, token + "x").limits).code == "token_unknown"


def test_public_names_are_there():
    for name in walletgate.__all__:
        assert getattr(walletgate, name) is not None
        assert name in dir(walletgate)
    with pytest.raises(AttributeError):
        walletgate.no_such_name  # noqa: B018

"""Purchases over x402, end to end: others' server and facilitator, a real chain, a real gate; then sellers that cheat."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from x402.mechanisms.evm.exact.permit2_utils import verify_permit2
from x402.mechanisms.evm.signers import FacilitatorWeb3Signer
from x402.schemas import PaymentPayload, PaymentRequirements

import walletgate
from tests.factories import ALICE, ORIGIN
from tests.x402_shop import FACILITATOR, MINE, PAYEE, STRANGER, TOKEN, Shop, make_shop
from walletgate.cli.client import OperatorClient


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with make_shop(tmp_path_factory.mktemp("x402")) as made:
        yield made


@pytest.fixture
def buyer(shop: Shop) -> walletgate.X402Client:
    shop.script.clear()
    shop.seen.clear()
    return walletgate.x402_client("buyer", url=shop.gate.url, token=TOKEN, wait_s=0.2)


def requests_of(shop: Shop) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = OperatorClient(shop.gate.home).get("/v1/requests?limit=100")["requests"]
    return found


def approve(shop: Shop, *, approve: bool = True) -> None:
    operator = OperatorClient(shop.gate.home)
    deadline = time.monotonic() + 10
    while not (found := operator.get("/v1/requests?status=awaiting_approval")["requests"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    operator.approve(found[0], secret=ALICE, gate=ORIGIN, approve=approve, reason="")


# --- an honest seller ---------------------------------------------------------------------------------


def test_httpx_buys_and_the_money_moves_on_chain(shop: Shop, buyer: walletgate.X402Client) -> None:
    before = shop.balance(PAYEE)
    with buyer.httpx() as http:
        answer = http.get(f"{shop.url}/weather?key=secret")
    assert (answer.status_code, answer.json()) == (200, {"weather": "fair"})
    assert shop.balance(PAYEE) - before == 250_000
    newest = requests_of(shop)[0]
    host = shop.url.removeprefix("http://")
    assert newest["memo"] == f"x402: 0.25 USDC for GET {host}/weather"
    assert newest["trace"]["x-tool-call-id"] == f"x402:GET:{host}/weather"


def test_async_httpx_buys_without_holding_up_the_loop(shop: Shop, buyer: walletgate.X402Client) -> None:
    async def work() -> tuple[int, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        async with buyer.async_httpx() as http:
            answer = await http.get(f"{shop.url}/weather")
        ticking.cancel()
        return answer.status_code, ticks

    before = shop.balance(PAYEE)
    status, ticks = asyncio.run(work())
    assert status == 200 and ticks > 3
    assert shop.balance(PAYEE) - before == 250_000


def test_requests_buys(shop: Shop, buyer: walletgate.X402Client) -> None:
    before = shop.balance(PAYEE)
    with buyer.requests() as http:
        assert http.get(f"{shop.url}/weather", timeout=30).json() == {"weather": "fair"}
    assert shop.balance(PAYEE) - before == 250_000


def test_a_free_answer_costs_nothing_and_no_gate_is_asked(shop: Shop, buyer: walletgate.X402Client) -> None:
    before = len(requests_of(shop))
    with buyer.httpx() as http:
        assert http.get(f"{shop.url}/nonce").status_code == 200
        shop.script.append((402, {}, {"detail": "subscription over"}))
        assert http.get(f"{shop.url}/scripted").json() == {"detail": "subscription over"}
    assert len(requests_of(shop)) == before


def test_an_operator_decides_before_the_validity_begins_and_the_same_call_then_pays_once(
    shop: Shop, buyer: walletgate.X402Client
) -> None:
    before = shop.balance(PAYEE)
    with buyer.httpx() as http:
        with pytest.raises(walletgate.ApprovalPending) as pending:
            http.get(f"{shop.url}/expensive")
        with pytest.raises(walletgate.ApprovalPending) as again:
            http.get(f"{shop.url}/expensive")
        assert again.value.request_id == pending.value.request_id
        waiting = next(r for r in requests_of(shop) if r["request_id"] == pending.value.request_id)
        until = int(waiting["payload"]["document"]["message"]["validBefore"])
        assert until - time.time() > 60 + 500, "room for the operator beyond the seller's 60 s, within max_ttl"
        approve(shop)
        assert http.get(f"{shop.url}/expensive").json() == {"weather": "gold"}
    assert shop.balance(PAYEE) - before == 3_000_000


def test_a_no_of_the_operator_is_raised_and_nothing_is_paid(shop: Shop, buyer: walletgate.X402Client) -> None:
    before = shop.balance(PAYEE)
    buyer.account.client.wait_s = 20
    threading.Timer(0.3, lambda: approve(shop, approve=False)).start()
    with buyer.httpx() as http, pytest.raises(walletgate.ApprovalRejected):
        http.get(f"{shop.url}/expensive")
    assert shop.balance(PAYEE) == before


# --- choosing -----------------------------------------------------------------------------------------


def test_the_first_offer_that_the_policy_permits_is_taken(shop: Shop, buyer: walletgate.X402Client) -> None:
    offers = [
        shop.offer(scheme="upto"), shop.offer(network="eip155:1"), shop.offer(asset=STRANGER),
        shop.offer(payTo=STRANGER), shop.offer(amount="3000000"), shop.offer(amount="7"), shop.offer(amount="8"),
    ]  # fmt: skip
    shop.script += [shop.ask(*offers), (200, {}, {})]
    with buyer.httpx() as http:
        assert http.get(f"{shop.url}/scripted").status_code == 200
    (presented,) = shop.presented
    assert presented["accepted"] == offers[5]
    authorization = presented["payload"]["authorization"]
    assert (authorization["from"], authorization["to"], authorization["value"]) == (MINE, PAYEE, "7")
    assert int(authorization["validBefore"]) - time.time() <= 61


def test_permit2_is_signed_for_the_proxy_with_the_payee_as_witness(shop: Shop, buyer: walletgate.X402Client) -> None:
    offer = shop.offer(extra={"assetTransferMethod": "permit2", "name": "Test USD", "version": "1"})
    shop.script += [shop.ask(offer), (200, {}, {})]
    with buyer.httpx() as http:
        assert http.get(f"{shop.url}/scripted").status_code == 200
    (presented,) = shop.presented
    terms = presented["payload"]["permit2Authorization"]
    assert (terms["witness"]["to"], terms["permitted"]["amount"]) == (PAYEE, "1000000")
    verdict = verify_permit2(
        FacilitatorWeb3Signer(FACILITATOR, shop.node),
        PaymentPayload.model_validate(presented),
        PaymentRequirements.model_validate(offer),
    )
    assert verdict.invalid_reason == "permit2_allowance_required", "signature good; only the allowance is missing"


def test_version_1_with_a_chains_name_is_paid_too(shop: Shop, buyer: walletgate.X402Client) -> None:
    offer = {**shop.offer(network="eth-tester"), "maxAmountRequired": "5", "resource": f"{shop.url}/scripted"}
    del offer["amount"]
    shop.script += [(402, {}, {"x402Version": 1, "accepts": [offer], "error": "pay"}), (200, {}, {})]
    with buyer.requests() as http:
        assert http.get(f"{shop.url}/scripted", timeout=30).status_code == 200
    (presented,) = shop.presented
    assert (presented["x402Version"], presented["scheme"], presented["network"]) == (1, "exact", "eth-tester")
    assert presented["payload"]["authorization"]["value"] == "5"


def test_what_the_policy_refuses_is_not_paid_and_says_why(shop: Shop, buyer: walletgate.X402Client) -> None:
    shop.script.append(shop.ask(shop.offer(payTo=STRANGER)))
    with buyer.httpx() as http, pytest.raises(walletgate.GateDenied) as denied:
        http.get(f"{shop.url}/scripted")
    assert denied.value.code == "policy_denied"
    assert denied.value.reasons
    assert shop.presented == []


# --- sellers that cheat -------------------------------------------------------------------------------

BAD = [
    ("x402_no_offer", {"asset": STRANGER}),
    ("x402_no_offer", {"network": "base"}),
    ("x402_no_offer", {"network": "eip155:0131277322940537"}),
    ("x402_no_offer", {"amount": "0"}),
    ("x402_no_offer", {"amount": "-5"}),
    ("x402_no_offer", {"amount": "1e3"}),
    ("x402_no_offer", {"amount": 1.5}),
    ("x402_no_offer", {"amount": str(2**256)}),
    ("x402_no_offer", {"payTo": "acme.eth"}),
    ("x402_no_offer", {"payTo": PAYEE[:-1] + PAYEE[-1].swapcase()} if PAYEE[-1].isalpha() else {"payTo": "0x"}),
    ("x402_no_offer", {"maxTimeoutSeconds": "60"}),
    ("x402_no_offer", {"extra": {"assetTransferMethod": "trust-me", "name": "x", "version": "1"}}),
    ("x402_no_offer", {"extra": {}}),
]


@pytest.mark.parametrize(("code", "changes"), BAD, ids=[str(changes)[:60] for _, changes in BAD])
def test_an_offer_that_cannot_be_read_exactly_is_not_paid(
    shop: Shop, buyer: walletgate.X402Client, code: str, changes: dict[str, Any]
) -> None:
    shop.script.append(shop.ask(shop.offer(**changes)))
    with buyer.httpx() as http, pytest.raises(walletgate.OfferRefused) as refused:
        http.get(f"{shop.url}/scripted")
    assert refused.value.code == code
    assert shop.presented == []


@pytest.mark.parametrize(
    "header", ["!!!", base64.b64encode(b"[" * 5000).decode(), base64.b64encode(b'{"x402Version":3}').decode()]
)
def test_a_402_answer_that_is_none_is_refused(shop: Shop, buyer: walletgate.X402Client, header: str) -> None:
    shop.script.append((402, {"PAYMENT-REQUIRED": header}, {}))
    with buyer.httpx() as http, pytest.raises(walletgate.OfferRefused) as refused:
        http.get(f"{shop.url}/scripted")
    assert refused.value.code == "x402_malformed"


def test_another_hosts_402_answer_is_not_paid(shop: Shop, buyer: walletgate.X402Client) -> None:
    shop.script.append(shop.ask(shop.offer(), resource={"url": "https://other.example/scripted"}))
    with buyer.httpx() as http, pytest.raises(walletgate.OfferRefused) as refused:
        http.get(f"{shop.url}/scripted")
    assert refused.value.code == "x402_other_resource"


def test_a_redirect_to_another_host_is_not_paid(shop: Shop, buyer: walletgate.X402Client) -> None:
    away = shop.url.replace("127.0.0.1", "localhost") + "/scripted"
    for http in (buyer.httpx(follow_redirects=True), buyer.requests()):
        shop.script[:] = [(302, {"location": away}, {}), shop.ask(shop.offer())]
        with http, pytest.raises(walletgate.OfferRefused) as refused:
            http.get(f"{shop.url}/scripted")
        assert refused.value.code == "x402_redirected"
    assert shop.presented == []


def test_paid_and_not_served_is_an_error_with_the_payments_id_and_the_next_call_presents_the_same(
    shop: Shop, buyer: walletgate.X402Client
) -> None:
    ask = shop.ask(shop.offer())
    with buyer.httpx() as http:
        shop.script += [ask, ask]
        with pytest.raises(walletgate.PaidNotServed) as first:
            http.get(f"{shop.url}/scripted")
        assert first.value.code == "x402_paid_not_served"
        shop.script += [ask, (500, {}, {})]
        with pytest.raises(walletgate.PaidNotServed) as second:
            http.get(f"{shop.url}/scripted")
        assert first.value.request_id == second.value.request_id == requests_of(shop)[0]["request_id"]
        shop.script += [ask, (200, {}, {"late": True})]
        assert http.get(f"{shop.url}/scripted").json() == {"late": True}
        assert len(shop.presented) == 3
        assert len({json.dumps(p["payload"]) for p in shop.presented}) == 1
        shop.script += [ask, (200, {}, {})]
        http.get(f"{shop.url}/scripted")
    assert len({json.dumps(p["payload"]) for p in shop.presented}) == 2


def test_a_price_that_grew_while_a_payment_is_out_is_not_paid(shop: Shop, buyer: walletgate.X402Client) -> None:
    with buyer.httpx() as http:
        shop.script += [shop.ask(shop.offer()), (500, {}, {})]
        with pytest.raises(walletgate.PaidNotServed):
            http.get(f"{shop.url}/scripted")
        shop.script.append(shop.ask(shop.offer(amount="1000001")))
        with pytest.raises(walletgate.OfferRefused) as refused:
            http.get(f"{shop.url}/scripted")
    assert refused.value.code == "x402_offer_changed"
    assert len(shop.presented) == 1


@pytest.mark.parametrize("changes", [{"amount": "1000001"}, {"asset": STRANGER}, {"payTo": STRANGER}])
def test_where_two_payments_a_call_are_allowed_the_second_is_on_no_other_terms(
    shop: Shop, changes: dict[str, Any]
) -> None:
    shop.seen.clear()
    buyer = walletgate.x402_client("buyer", url=shop.gate.url, token=TOKEN, payments_max=2)
    shop.script[:] = [shop.ask(shop.offer()), shop.ask(shop.offer(**changes))]
    with buyer.httpx() as http, pytest.raises(walletgate.OfferRefused) as refused:
        http.get(f"{shop.url}/scripted")
    assert refused.value.code == "x402_offer_changed"
    assert len(shop.presented) == 1


def test_the_number_of_payments_in_a_call_is_bounded(shop: Shop) -> None:
    shop.seen.clear()
    buyer = walletgate.x402_client("buyer", url=shop.gate.url, token=TOKEN, payments_max=2)
    shop.script[:] = [shop.ask(shop.offer(amount="10"))] * 5
    with buyer.httpx() as http, pytest.raises(walletgate.PaidNotServed):
        http.get(f"{shop.url}/scripted")
    assert len(shop.presented) == 2


def test_a_lost_connection_after_the_payment_counts_as_paid(shop: Shop, buyer: walletgate.X402Client) -> None:
    ask = shop.ask(shop.offer(amount="11"))

    class Cut(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            if "payment-signature" in request.headers and not cut:
                cut.append(True)
                raise httpx.ReadError("gone")
            return answer

    cut: list[bool] = []
    with buyer.httpx(transport=Cut()) as http:
        shop.script[:] = [ask, (200, {}, {}), ask, (200, {}, {})]
        with pytest.raises(walletgate.PaidNotServed) as lost:
            http.get(f"{shop.url}/scripted")
        assert isinstance(lost.value.__cause__, httpx.ReadError)
        assert http.get(f"{shop.url}/scripted").status_code == 200
    assert len({json.dumps(p["payload"]) for p in shop.presented}) == 1


def test_an_answer_of_the_gate_that_got_lost_is_fetched_and_not_made_again(
    shop: Shop, buyer: walletgate.X402Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = buyer.account.client.request

    def lossy(*arguments: Any, **options: Any) -> None:
        honest(*arguments, **options)
        raise walletgate.GateUnavailable("lost", code="gate_timeout")

    before = len(requests_of(shop))
    shop.script[:] = [shop.ask(shop.offer(amount="12"))] * 2 + [(200, {}, {})]
    with buyer.httpx() as http:
        monkeypatch.setattr(buyer.account.client, "request", lossy)
        with pytest.raises(walletgate.GateUnavailable):
            http.get(f"{shop.url}/scripted")
        monkeypatch.undo()
        assert http.get(f"{shop.url}/scripted").status_code == 200
    assert len(shop.presented) == 1
    assert len(requests_of(shop)) - before == 1


def test_a_price_that_changes_while_an_operator_decides_takes_the_question_back(
    shop: Shop, buyer: walletgate.X402Client
) -> None:
    shop.script[:] = [shop.ask(shop.offer(amount="3000000")), shop.ask(shop.offer(amount="3100000"))]
    with buyer.httpx() as http:
        with pytest.raises(walletgate.ApprovalPending) as first:
            http.get(f"{shop.url}/scripted")
        with pytest.raises(walletgate.ApprovalPending) as second:
            http.get(f"{shop.url}/scripted")
    states = {r["request_id"]: r["status"] for r in requests_of(shop)}
    assert states[first.value.request_id] == "withdrawn"
    assert states[second.value.request_id] == "awaiting_approval"
    buyer.account.client.withdraw(second.value.id)
    assert shop.presented == []


def test_a_body_that_is_read_once_is_not_paid_for(shop: Shop, buyer: walletgate.X402Client) -> None:
    shop.script[:] = [shop.ask(shop.offer())]
    with buyer.requests() as http, pytest.raises(walletgate.OfferRefused) as refused:
        http.post(f"{shop.url}/scripted", data=iter([b"a"]), timeout=30)
    assert refused.value.code == "x402_body_gone"

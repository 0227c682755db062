"""Two endpoints, two kinds of credentials: what one opens, the other does not, and every try is in the log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import OPERATOR_TOKEN, Endpoints, approval_body, command_body, make_endpoints
from tests.factories import ALICE, MALLORY, ORIGIN, POLICY, SECRET, TOKEN, payment
from tests.gate.test_operators import QUORUM
from walletgate.encoding import keccak256
from walletgate.gate import sign_word
from walletgate.types import Hash32, Status

READS = ["/v1/status", "/v1/requests", "/v1/requests/req_1", "/v1/policies/0x00", "/v1/log"]
CHANGES = ["/v1/approvals", "/v1/commands"]


def run(work: Any) -> Any:
    return asyncio.run(work)


async def waiting(endpoints: Endpoints) -> Any:
    request = await endpoints.bench.pay(30)
    assert request.status is Status.AWAITING_APPROVAL
    return request


def changed(body: Mapping[str, Any], **word: Any) -> dict[str, Any]:
    return {**body, "word": {**body["word"], **word}}


# --- an agent at the operators' door ------------------------------------------------------------------


@pytest.mark.parametrize("path", READS + CHANGES)
def test_a_grants_token_opens_nothing_of_the_operators_and_is_recorded(tmp_path: Path, path: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            status, answer = await endpoints.operate("GET" if path in READS else "POST", path, token=TOKEN)
            assert (status, answer["error"]["code"]) == (401, "wrong_endpoint")
            entry = endpoints.entries[-1]
            assert (entry["kind"], entry["code"], entry["agent"], entry["surface"], entry["method"]) == (
                "request_denied", "wrong_endpoint", "shopper", "operator", path,
            )  # fmt: skip

    run(work())


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "token_missing"), ("", "token_missing"), ("wg_operator_wrong", "token_unknown"),
        (OPERATOR_TOKEN + "o", "token_unknown"), (OPERATOR_TOKEN[:-1], "token_unknown"),
        (OPERATOR_TOKEN.upper(), "token_unknown"), ("wg_grant_unknown", "wrong_endpoint"),
    ],
)  # fmt: skip
def test_no_other_token_opens_it_either(tmp_path: Path, token: str | None, code: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            status, answer = await endpoints.operate("GET", "/v1/status", token=token)
            assert (status, answer["error"]["code"]) == (401, code)
            assert (endpoints.entries[-1]["kind"], endpoints.entries[-1]["code"]) == ("agent_refused", code)

    run(work())


def test_an_agent_with_an_operators_words_but_no_token_gets_nowhere(tmp_path: Path) -> None:
    """Even a good signature needs the socket and its token."""

    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            bench = endpoints.bench
            request = await waiting(endpoints)
            for body, path in (
                (approval_body(bench.approval(request)), "/v1/approvals"),
                (command_body(bench.command("freeze", {"scope": "all"})), "/v1/commands"),
            ):
                status, _ = await endpoints.operate("POST", path, body, token=TOKEN)
                assert status == 401
            assert bench.gate.find(request.id).status is Status.AWAITING_APPROVAL  # type: ignore[union-attr]
            assert bench.gate.state.freezes == {}

    run(work())


# --- the agents' door has no such rooms ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("POST", "/v1/approvals"), ("POST", "/v1/commands"), ("POST", "/v1/drafts"), ("GET", "/v1/drafts"),
        ("GET", "/v1/grants/grant_1/versions"), ("GET", "/v1/status"), ("GET", "/v1/requests"),
        ("GET", "/v1/log"), ("GET", "/v1/policies/0x" + "00" * 32), ("PUT", "/v1/policies"), ("PUT", "/v1/limits"),
        ("POST", "/v1/limits"), ("PATCH", "/v1/requests/r0"), ("POST", "/v1/requests/r0/approve"), ("GET", "/v1/keys"),
        ("GET", "/v1/wallets/main/key"), ("DELETE", "/v1/grants/grant_1"), ("POST", "/v2/commands"), ("GET", "/"),
        ("GET", "/rpc"), ("GET", "/v1/../gate.db"), ("GET", "/%2e%2e/operator.token"), ("GET", "/operator.token"),
    ],
)  # fmt: skip
def test_an_agents_attempt_at_what_is_the_operators_is_refused_and_recorded(
    tmp_path: Path, verb: str, path: str
) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            bench = endpoints.bench
            request = await waiting(endpoints)
            body = approval_body(bench.approval(request)) if "approv" in path else command_body(
                bench.command("policy.apply", {"grant": "grant_1", "policy": QUORUM})
            )  # fmt: skip
            before = bench.gate.state.grants["grant_1"]
            status, answer = await endpoints.api(verb, path, None if verb == "GET" else body)
            assert (status, answer["error"]["code"]) == (404, "endpoint_unknown")
            entry = endpoints.entries[-1]
            assert (entry["kind"], entry["code"], entry["agent"]) == ("request_denied", "endpoint_unknown", "shopper")
            assert bench.gate.find(request.id).status is Status.AWAITING_APPROVAL  # type: ignore[union-attr]
            assert bench.gate.state.grants["grant_1"] == before
            assert bench.chain.received == []

    run(work())


@pytest.mark.parametrize(
    "method",
    ["walletgate_approve", "walletgate_setPolicy", "personal_importRawKey", "personal_listAccounts", "eth_exportKey",
     "wallet_grantPermissions", "wallet_requestPermissions", "admin_addPeer"],
)  # fmt: skip
def test_no_json_rpc_method_changes_anything(tmp_path: Path, method: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await waiting(endpoints)
            answer = await endpoints.rpc(method, request.id)
            assert answer["error"]["code"] in (4200, -32601)
            assert endpoints.bench.gate.find(request.id).status is Status.AWAITING_APPROVAL  # type: ignore[union-attr]

    run(work())


@pytest.mark.parametrize(
    ("verb", "path"),
    [("POST", "/rpc"), ("POST", "/"), ("POST", f"/rpc/{TOKEN}"), ("POST", "/v1/requests"), ("POST", "/v1/preview"),
     ("GET", "/v1/limits"), ("DELETE", "/v1/requests/r0")],
)  # fmt: skip
def test_the_agents_paths_do_not_exist_for_operators(tmp_path: Path, verb: str, path: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
            async with endpoints.operators.request(verb, path, headers=headers) as response:
                assert response.status in (404, 405)
            assert endpoints.bench.chain.received == []

    run(work())


def test_the_operators_token_is_nobody_at_the_agents_door(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            status, answer = await endpoints.api("GET", "/v1/limits", token=OPERATOR_TOKEN)
            assert (status, answer["error"]["code"]) == (401, "token_unknown")
            assert (await endpoints.rpc("eth_chainId", token=OPERATOR_TOKEN))["error"]["code"] == 4100

    run(work())


# --- the operators' token alone -----------------------------------------------------------------------


def _no_signature(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "signature"}


APPROVAL_CHANGES = {
    "no signature": (_no_signature, "bad_hex"),
    "an empty signature": (lambda body: {**body, "signature": "0x"}, "signature_invalid"),
    "zeros": (lambda body: {**body, "signature": "0x" + "00" * 64 + "1b"}, "signature_invalid"),
    "the wrong v": (lambda body: {**body, "signature": body["signature"][:-2] + "25"}, "signature_invalid"),
    "another yes": (lambda body: changed(body, request_digest="0x" + "05" * 32), None),
    "another effect": (lambda body: changed(body, effects_digest="0x" + "05" * 32), None),
    "a later end": (lambda body: changed(body, expires=body["word"]["expires"] + 1), None),
    "no word": (lambda body: {**body, "word": None}, "bad_shape"),
    "no digest": (lambda body: changed(body, request_digest=None), "bad_hex"),
    "a float": (lambda body: changed(body, expires=1.5), "bad_shape"),
    "a boolean time": (lambda body: changed(body, expires=True), "bad_shape"),
    "an endless time": (lambda body: changed(body, expires=2**60), "bad_shape"),
    "a list for an id": (lambda body: changed(body, request=["req_1"]), "bad_shape"),
}


@pytest.mark.parametrize("case", APPROVAL_CHANGES)
def test_the_token_approves_nothing_without_the_very_signature(tmp_path: Path, case: str) -> None:
    change, code = APPROVAL_CHANGES[case]

    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await waiting(endpoints)
            body = approval_body(endpoints.bench.approval(request))
            status, answer = await endpoints.operate("POST", "/v1/approvals", change(body))
            assert status in (400, 403)
            assert answer["error"]["code"] in ((code,) if code else ("signature_invalid", "not_an_operator"))
            assert endpoints.bench.gate.find(request.id).status is Status.AWAITING_APPROVAL  # type: ignore[union-attr]
            assert endpoints.bench.chain.received == []

    run(work())


@pytest.mark.parametrize("approve", [False, None, 1, "true", "yes", [True]])
def test_a_yes_is_true_and_nothing_like_it(tmp_path: Path, approve: Any) -> None:
    """What is not exactly true is a no, and the signature over a yes does not fit it."""

    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await waiting(endpoints)
            body = changed(approval_body(endpoints.bench.approval(request)), approve=approve)
            status, answer = await endpoints.operate("POST", "/v1/approvals", body)
            assert status == 403
            assert answer["error"]["code"] in ("signature_invalid", "not_an_operator")

    run(work())


COMMANDS: dict[str, dict[str, Any]] = {
    "freeze": {"scope": "all"},
    "unfreeze": {"scope": "all"},
    "operator.add": {"name": "eve", "address": "0x" + "07" * 20},
    "operator.remove": {"name": "alice"},
    "wallet.add": {"name": "second", "address": "0x" + "08" * 20, "keystore": "/etc/passwd"},
    "grant.create": {"agent": "eve", "wallet": "main", "policy": POLICY},
    "grant.revoke": {"grant": "grant_1"},
    "policy.apply": {"grant": "grant_1", "policy": QUORUM},
}


@pytest.mark.parametrize("action", COMMANDS)
@pytest.mark.parametrize("secret", [MALLORY, SECRET])
def test_the_token_carries_out_no_command_of_a_stranger(tmp_path: Path, action: str, secret: bytes) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            state = endpoints.bench.gate.state
            before = (dict(state.grants), dict(state.operators), dict(state.wallets), dict(state.freezes))
            body = command_body(endpoints.bench.command(action, COMMANDS[action], secret))
            status, answer = await endpoints.operate("POST", "/v1/commands", body)
            assert (status, answer["error"]["code"]) == (403, "not_an_operator")
            assert before == (state.grants, state.operators, state.wallets, state.freezes)
            assert endpoints.entries[-1]["kind"] == "operator_refused"

    run(work())


@pytest.mark.parametrize(
    "text", ["{not json", "", "[" * 100_000, "null", '{"scope":"all","scope":"x"}', '{"scope": NaN}', "\x00"]
)
@pytest.mark.parametrize("secret", [ALICE, None])
def test_a_commands_body_that_is_no_object_is_refused_and_stops_nothing(
    tmp_path: Path, text: str, secret: bytes | None
) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            bench = endpoints.bench
            word = replace(bench.command("freeze", {}).word, payload=Hash32(keccak256(text.encode())))
            signature = "0x" + (sign_word(word, secret, gate=ORIGIN).hex() if secret else "11" * 65)
            body = command_body(bench.command("freeze", {}))
            body = changed({**body, "body": text, "signature": signature}, nonce="0x" + word.nonce.hex())
            body = changed(body, payload="0x" + word.payload.hex())
            status, _ = await endpoints.operate("POST", "/v1/commands", body)
            assert status in (400, 403)
            assert bench.gate.state.freezes == {}
            assert "result" in await endpoints.rpc("eth_sendTransaction", payment(1))

    run(work())


def test_an_operators_yes_over_the_wire_signs_and_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await waiting(endpoints)
            body = approval_body(endpoints.bench.approval(request))
            status, answer = await endpoints.operate("POST", "/v1/approvals", body)
            assert status == 200
            assert answer["request"]["status"] in ("signed", "broadcast")
            assert [word["operator"] for word in answer["request"]["approvals"]] == ["alice"]
            status, answer = await endpoints.operate("POST", "/v1/approvals", body)
            assert (status, answer["error"]["code"]) == (409, "request_moved")
            assert len(endpoints.bench.chain.received) == 1

    run(work())


# --- what operators read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/requests?status=nonsense", 400, "bad_status"),
        ("/v1/requests?limit=-1", 400, "bad_limit"),
        ("/v1/requests?limit=" + "9" * 5000, 400, "bad_limit"),
        ("/v1/requests?limit=%C2%B2", 400, "bad_limit"),
        ("/v1/requests/req_none", 404, "request_unknown"),
        ("/v1/requests/..%2f..%2fgate.db", 404, "request_unknown"),
        ("/v1/policies/0x00", 400, "bad_hex"),
        ("/v1/policies/0x" + "00" * 32, 400, "policy_unknown"),
        ("/v1/log?start=x", 400, "bad_range"),
        ("/v1/log?start=" + "9" * 30, 400, "bad_range"),
        ("/v1/log?stop=-1", 400, "bad_range"),
    ],
)
def test_a_bad_question_gets_a_code(tmp_path: Path, path: str, status: int, code: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            found, answer = await endpoints.operate("GET", path)
            assert (found, answer["error"]["code"]) == (status, code)

    run(work())


def test_the_log_comes_with_a_checkpoint_and_bounded(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            for _ in range(3):
                await endpoints.bench.pay(51)
            _, answer = await endpoints.operate("GET", "/v1/log?start=1&stop=3")
            assert [entry["seq"] for entry in answer["entries"]] == [1, 2]
            assert answer["checkpoint"].splitlines()[:2] == [ORIGIN, "4"]
            _, answer = await endpoints.operate("GET", "/v1/log?start=99&stop=9999999999999999")
            assert answer["entries"] == []

    run(work())


def test_no_endpoint_returns_a_key_or_a_token(tmp_path: Path) -> None:
    """Every answer of every path, for both credentials, holds no secret; nor does the log, nor the database."""

    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            request = await waiting(endpoints)
            own = request.client_id
            answers: list[Any] = [
                await endpoints.api("GET", path)
                for path in ("/v1/limits", f"/v1/requests/{own}", "/v1/keys", "/nothing")
            ]
            policy = "0x" + request.policy.hex()
            for path in (
                "/v1/status",
                "/v1/requests",
                f"/v1/requests/{request.id}",
                f"/v1/policies/{policy}",
                "/v1/log",
            ):
                status, answer = await endpoints.operate("GET", path)
                assert status == 200
                answers.append(answer)
            answers += [await endpoints.rpc(m) for m in ("eth_accounts", "eth_chainId", "personal_listWallets")]
            await endpoints.operate("GET", "/v1/status", token=TOKEN)
            await endpoints.rpc("eth_chainId", token=TOKEN[:-1])
            answers.append(endpoints.entries)
            text = json.dumps(answers)
            for secret in (SECRET.hex(), ALICE.hex(), TOKEN, TOKEN[9:], TOKEN[:-1], OPERATOR_TOKEN):
                assert secret not in text

    run(work())
    database = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (SECRET, SECRET.hex().encode(), TOKEN.encode(), OPERATOR_TOKEN.encode(), ALICE):
        assert secret not in database

"""Drafts and versions over the operators' socket: the same words, and nothing for an agent's token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.endpoints import Endpoints, command_body, make_endpoints
from tests.factories import BOB, TOKEN
from tests.gate.test_drafts import LOOSER, TIGHTER, signed
from walletgate.encoding import to_hex
from walletgate.gate import SignedDraft, word_json


def body_of(word: SignedDraft) -> dict[str, Any]:
    return {"word": word_json(word.word), "signature": to_hex(word.signature), "reason": "because"}


async def draft(endpoints: Endpoints) -> str:
    bench = endpoints.bench
    await bench.operations.command(bench.command("quorum.set", {"quorum": 2}))
    body = command_body(bench.command("policy.apply", {"grant": "grant_1", "policy": LOOSER}))
    status, answer = await endpoints.operate("POST", "/v1/commands", body)
    assert (status, answer["needs"], answer["signed"]) == (200, 2, ["alice"])
    return str(answer["draft"])


def test_a_draft_is_listed_signed_and_carried_out_over_the_socket(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            name = await draft(endpoints)
            _, listed = await endpoints.operate("GET", "/v1/drafts")
            (shown,) = listed["drafts"]
            assert (shown["id"], shown["status"], shown["grant"]) == (name, "open", "grant_1")
            assert "The new policy is looser." in shown["lines"]
            _, status = await endpoints.operate("GET", "/v1/status")
            assert (status["drafts"], status["quorum"]) == (1, 2)
            assert status["operators"][0]["roles"] == ["approver", "auditor", "policy-maker"]
            _, done = await endpoints.operate("POST", "/v1/drafts", body_of(signed(endpoints.bench, name, BOB)))
            assert (done["status"], done["answer"]["policy"]) == ("live", shown["after"])
            _, versions = await endpoints.operate("GET", "/v1/grants/shopper/versions")
            assert [v["policy"] for v in versions["versions"]] == [shown["before"], shown["after"]]
            assert versions["versions"][1]["text"] == LOOSER

    asyncio.run(work())


def test_an_agents_token_signs_and_reads_no_drafts(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            body = body_of(signed(endpoints.bench, await draft(endpoints), BOB))
            for verb, path in (("POST", "/v1/drafts"), ("GET", "/v1/drafts"), ("GET", "/v1/grants/grant_1/versions")):
                status, _ = await endpoints.operate(verb, path, body if verb == "POST" else None, token=TOKEN)
                assert status == 401
            assert endpoints.bench.store.authority.drafts(status="open") != []

    asyncio.run(work())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"word": None}, "bad_shape"), ({"word": []}, "bad_shape"), ({"signature": None}, "bad_hex"),
        ({"signature": "0x12"}, "signature_invalid"), ({"word": {"draft": 7}}, "bad_shape"),
        ({"word": {"payload": "0x00"}}, "bad_hex"), ({"word": {"expires": -1}}, "bad_shape"),
        ({"word": {"expires": 1.5}}, "bad_shape"), ({"word": {"summary": "0x" + "00" * 32}}, "not_an_operator"),
        ({"word": {"approve": "true"}}, "not_an_operator"),
    ],
)  # fmt: skip
def test_words_that_are_no_words_are_refused(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            body = body_of(signed(endpoints.bench, await draft(endpoints), BOB))
            word = change.get("word", {})
            changed = {**body, **change, "word": {**body["word"], **word} if isinstance(word, dict) else word}
            status, answer = await endpoints.operate("POST", "/v1/drafts", changed)
            assert (status // 100, answer["error"]["code"]) == (4, code)

    asyncio.run(work())


def test_versions_of_no_grant_are_refused_and_a_history_begins_with_what_was_in_force(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            status, answer = await endpoints.operate("GET", "/v1/grants/nobody/versions")
            assert (status, answer["error"]["code"]) == (400, "grant_unknown")
            bench = endpoints.bench
            _, before = await endpoints.operate("GET", "/v1/grants/grant_1/versions")
            await bench.operations.command(bench.command("policy.apply", {"grant": "grant_1", "policy": TIGHTER}))
            _, after = await endpoints.operate("GET", "/v1/grants/grant_1/versions")
            assert [v["policy"] for v in after["versions"]] == [before["policy"], after["policy"]]

    asyncio.run(work())


def test_a_waiting_request_says_what_it_takes_of_each_budget(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as endpoints:
            await endpoints.bench.pay(10)
            request = await endpoints.bench.pay(30)
            _, answer = await endpoints.operate("GET", f"/v1/requests/{request.id}")
            (usdc,) = [b for b in answer["request"]["budgets"] if b["asset"] == "USDC"]
            assert (usdc["before_text"], usdc["after_text"], usdc["span"]) == ("10 USDC", "40 USDC", "24h")
            await endpoints.bench.approve(request)
            _, answer = await endpoints.operate("GET", f"/v1/requests/{request.id}")
            assert answer["request"]["budgets"] == []

    asyncio.run(work())

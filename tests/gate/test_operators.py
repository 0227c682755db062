"""Operators' words: what an approval is good for, and everything it is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ALICE, BOB, MALLORY, ORIGIN, POLICY, SECRET, Bench, make_gate
from walletgate.encoding import checksum_address
from walletgate.errors import ApprovalError, ConfigError, ConflictError, InvalidRequestError, WalletGateError
from walletgate.gate import SignedApproval, recover_operator, sign_word
from walletgate.types import Hash32, Status

QUORUM = POLICY.replace("quorum = 1", "quorum = 2")
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def run(work: Any) -> Any:
    return asyncio.run(work)


async def refused(bench: Bench, work: Any, code: str) -> None:
    """The word is refused with `code`, nothing is signed, and the log says so."""
    before = len(bench.chain.received)
    with pytest.raises(WalletGateError) as caught:
        await work
    assert caught.value.code == code
    assert bench.last_entry()["kind"] in ("approval_refused", "operator_refused", "draft_refused")
    assert bench.last_entry()["code"] == code
    assert len(bench.chain.received) == before


def test_an_approval_signs_exactly_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            word = bench.approval(request)
            done = await bench.operations.decide(word)
            assert done.status is Status.SIGNED
            await bench.settle()
            assert bench.gate.find(request.id).status is Status.CONFIRMED  # type: ignore[union-attr]
            await refused(bench, bench.operations.decide(word), "request_moved")
            assert len(bench.chain.received) == 1
            assert bench.kinds()[1:5] == [
                "request_awaiting_approval", "approval_given", "request_approved", "transaction_signed",
            ]  # fmt: skip

    run(work())


def test_two_last_approvals_at_once_sign_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            words = [bench.approval(request, ALICE), bench.approval(request, BOB)]
            results = await asyncio.gather(*map(bench.operations.decide, words), return_exceptions=True)
            assert sum(not isinstance(r, Exception) for r in results) == 1
            await bench.quiet()
            assert len(bench.chain.received) == 1

    run(work())


def test_a_quorum_needs_different_people(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=QUORUM) as bench:
            request = await bench.pay(30)
            assert (await bench.approve(request, ALICE)).status is Status.AWAITING_APPROVAL
            await refused(bench, bench.approve(request, ALICE), "already_spoken")
            assert (await bench.approve(request, BOB)).status is Status.SIGNED

    run(work())


def test_who_said_yes_may_still_say_no(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=QUORUM) as bench:
            request = await bench.pay(30)
            await bench.approve(request, ALICE)
            assert (await bench.approve(request, ALICE, approve=False)).status is Status.REJECTED
            assert [(a.operator, a.approved) for a in bench.store.approvals(request.id)] == [("alice", False)]

    run(work())


def test_a_yes_that_has_expired_counts_no_more_and_may_be_given_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=QUORUM) as bench:
            request = await bench.pay(30)
            now_s = bench.clock.now_ms // 1000
            await bench.approve(request, ALICE, expires=now_s + 60)
            bench.clock.forward(59)
            await refused(bench, bench.approve(request, ALICE), "already_spoken")
            bench.clock.forward(1)
            assert (await bench.approve(request, BOB)).status is Status.AWAITING_APPROVAL
            assert (await bench.approve(request, ALICE)).status is Status.SIGNED

    run(work())


def test_one_no_ends_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=QUORUM) as bench:
            request = await bench.pay(30)
            await bench.approve(request, ALICE)
            assert (await bench.approve(request, BOB, approve=False)).status is Status.REJECTED
            await refused(bench, bench.approve(request, BOB), "request_moved")

    run(work())


def _other_hash(_bench: Bench) -> Hash32:
    return Hash32(b"\x05" * 32)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("request_digest", _other_hash, "digest_mismatch"),
        ("effects_digest", _other_hash, "effects_mismatch"),
        ("policy", _other_hash, "policy_changed"),
        ("expires", lambda bench: bench.clock.now_ms // 1000, "approval_expired"),
        ("request", lambda _bench: "req_other", "request_moved"),
    ],
)
def test_an_approval_for_anything_else_is_refused(
    tmp_path: Path, field: str, value: Callable[[Bench], Any], code: str
) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            await refused(bench, bench.approve(request, **{field: value(bench)}), code)

    run(work())


@pytest.mark.parametrize(("secret", "code"), [(MALLORY, "not_an_operator"), (SECRET, "not_an_operator")])
def test_strangers_and_the_wallets_own_key_cannot_approve(tmp_path: Path, secret: bytes, code: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await refused(bench, bench.approve(await bench.pay(30), secret), code)

    run(work())


def test_an_operator_the_rule_does_not_name_is_not_entitled(tmp_path: Path) -> None:
    async def work() -> None:
        only_bob = POLICY.replace('of = ["alice", "bob"]', 'of = ["bob"]')
        async with make_gate(tmp_path, policy=only_bob) as bench:
            await refused(bench, bench.approve(await bench.pay(30), ALICE), "not_entitled")

    run(work())


def test_a_removed_operator_cannot_approve_and_their_earlier_yes_counts_no_more(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=QUORUM) as bench:
            request = await bench.pay(30)
            await bench.approve(request, BOB)
            await bench.operations.command(bench.command("operator.remove", {"name": "bob"}))
            assert (await bench.approve(request, ALICE)).status is Status.AWAITING_APPROVAL
            await refused(bench, bench.approve(request, BOB), "not_an_operator")

    run(work())


@pytest.mark.parametrize("change", ["high_s", "cut", "v", "bit", "other_gate"])
def test_forged_and_malleable_signatures_are_refused(tmp_path: Path, change: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            good = bench.approval(request)
            r, s, v = good.signature[:32], int.from_bytes(good.signature[32:64], "big"), good.signature[64]
            forged = {
                "high_s": r + (N - s).to_bytes(32, "big") + bytes([55 - v]),
                "cut": good.signature[:-1],
                "v": good.signature[:64] + bytes([v - 27]),
                "bit": bytes([good.signature[0] ^ 1]) + good.signature[1:],
                "other_gate": sign_word(good.word, ALICE, gate="another/audit/1"),
            }[change]
            with pytest.raises(ApprovalError) as caught:
                await bench.operations.decide(SignedApproval(good.word, forged))
            assert caught.value.code in ("signature_invalid", "not_an_operator")
            assert bench.gate.find(request.id).status is Status.AWAITING_APPROVAL  # type: ignore[union-attr]

    run(work())


def test_an_approval_expires_with_its_request(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            bench.clock.forward(1799)
            await bench.settlement.step()
            assert bench.gate.find(request.id).status is Status.AWAITING_APPROVAL  # type: ignore[union-attr]
            bench.clock.forward(1)
            await bench.settlement.step()
            assert bench.gate.find(request.id).status is Status.EXPIRED  # type: ignore[union-attr]
            await refused(bench, bench.approve(request), "request_moved")

    run(work())


def test_an_approval_never_lifts_a_limit(tmp_path: Path) -> None:
    """While one waits, budgets are used by others that were held back by nothing: judged again, it is denied."""

    async def work() -> None:
        tighter = POLICY.replace('per_request = "50"', 'per_request = "25"')
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            await bench.operations.command(bench.command("policy.apply", {"grant": "grant_1", "policy": tighter}))
            assert bench.gate.find(request.id).status is Status.EXPIRED  # type: ignore[union-attr]
            await refused(bench, bench.approve(request), "request_moved")
            assert (await bench.pay(30)).status is Status.DENIED

    run(work())


def test_a_freeze_holds_for_the_very_next_request_and_for_approvals(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            waiting = await bench.pay(30)
            await bench.operations.command(bench.command("freeze", {"scope": "wallet:main", "reason": "drill"}))
            assert bench.gate.find(waiting.id).status is Status.REJECTED  # type: ignore[union-attr]
            denied = await bench.pay(1)
            assert denied.status is Status.DENIED
            assert [r["code"] for r in json.loads(denied.decision)["reasons"]][-1] == "frozen"
            await refused(bench, bench.approve(waiting), "request_moved")
            await bench.operations.command(bench.command("unfreeze", {"scope": "wallet:main"}))
            assert (await bench.pay(1)).status is not Status.DENIED

    run(work())


@pytest.mark.parametrize("scope", ["all", "grant:grant_1", "agent:shopper", "wallet:main"])
def test_a_freeze_survives_a_restart(tmp_path: Path, scope: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await bench.operations.command(bench.command("freeze", {"scope": scope}))
        async with make_gate(tmp_path) as bench:
            assert (await bench.pay(1)).status is Status.DENIED

    run(work())


def test_a_command_is_carried_out_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            word = bench.command("freeze", {"scope": "all"})
            await bench.operations.command(word)
            await refused(bench, bench.operations.command(word), "command_repeated")
        async with make_gate(tmp_path) as bench:
            await refused(bench, bench.operations.command(word), "command_repeated")

    run(work())


def test_commands_of_others_late_ones_and_changed_ones_are_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            send = bench.operations.command
            await refused(bench, send(bench.command("unfreeze", {"scope": "all"}, MALLORY)), "not_an_operator")
            late = bench.command("freeze", {"scope": "all"}, expires=bench.clock.now_ms // 1000)
            await refused(bench, send(late), "command_expired")
            long = bench.command("freeze", {"scope": "all"}, expires=bench.clock.now_ms // 1000 + 10**6)
            await refused(bench, send(long), "command_expired")
            good = bench.command("freeze", {"scope": "all"})
            await refused(bench, send(replace(good, body=b'{"scope":"grant:x"}')), "payload_mismatch")
            await refused(bench, send(bench.command("explode", {})), "action_unknown")

    run(work())


@pytest.mark.parametrize(
    ("action", "payload", "kind", "code"),
    [
        ("freeze", {"scope": "everything"}, InvalidRequestError, "scope_invalid"),
        ("unfreeze", {"scope": "all"}, ConflictError, "not_frozen"),
        ("operator.add", {"name": "alice", "address": checksum_address(b"\x07" * 20)}, ConflictError, "name_taken"),
        (
            "operator.add",
            {"name": "x y", "address": checksum_address(b"\x07" * 20)},
            InvalidRequestError,
            "name_invalid",
        ),
        ("operator.remove", {"name": "nobody"}, ConflictError, "operator_unknown"),
        ("grant.revoke", {"grant": "grant_9"}, InvalidRequestError, "grant_unknown"),
        ("grant.create", {"agent": "a", "wallet": "none", "policy": POLICY}, InvalidRequestError, "wallet_unknown"),
        ("wallet.add", {"name": "main", "address": checksum_address(b"\x07" * 20)}, ConflictError, "name_taken"),
        ("policy.apply", {"grant": "grant_1", "policy": "version = 1\nnam = 'x'"}, ConfigError, None),
    ],
)
def test_commands_that_make_no_sense_say_why_and_change_nothing(
    tmp_path: Path, action: str, payload: dict[str, Any], kind: type[WalletGateError], code: str | None
) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            with pytest.raises(kind) as caught:
                await bench.operations.command(bench.command(action, payload))
            assert code is None or caught.value.code == code
            assert bench.kinds() == ["gate_started", "operator_refused"]

    run(work())


def test_the_last_operator_stays(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await bench.operations.command(bench.command("operator.remove", {"name": "bob"}))
            await refused(
                bench, bench.operations.command(bench.command("operator.remove", {"name": "alice"})), "last_operator"
            )

    run(work())


def test_a_token_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            payload = {"agent": "second", "wallet": "main", "policy": POLICY, "lifetime_s": 60}
            answer = await bench.operations.command(bench.command("grant.create", payload))
            grant_id = bench.gate.authenticate(answer["token"])
            assert bench.gate.session(grant_id).grant.agent == "second"
            assert all(answer["token"].encode() not in entry for _, _, entry in bench.store.entries())
            bench.clock.forward(60)
            with pytest.raises(WalletGateError) as caught:
                bench.gate.session(grant_id)
            assert caught.value.code == "grant_expired"
        assert answer["token"].encode() not in (tmp_path / "gate.db").read_bytes()

    run(work())


def test_words_are_eip_712_as_other_tools_hash_it(tmp_path: Path) -> None:
    async def work() -> None:
        from eth_account import Account  # noqa: PLC0415
        from eth_account.messages import encode_typed_data  # noqa: PLC0415

        from walletgate.gate import typed_data  # noqa: PLC0415

        async with make_gate(tmp_path) as bench:
            for signed in (bench.approval(await bench.pay(30)), bench.command("freeze", {"scope": "all"})):
                document = typed_data(signed.word, gate=ORIGIN)
                theirs = Account.sign_message(encode_typed_data(full_message=document), ALICE).signature
                assert bytes(theirs) == signed.signature
                operator = recover_operator(signed.word, bytes(theirs), gate=ORIGIN)
                assert bench.gate.state.operator_at(operator) is not None

    run(work())


def test_an_approval_is_the_first_thing_a_restarted_gate_signs(tmp_path: Path) -> None:
    """The nonce is learned from the chain then, too."""

    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
        async with make_gate(tmp_path) as bench:
            assert (await bench.approve(request)).nonce == 0

    run(work())


def test_commands_at_once_cannot_remove_the_last_two_operators(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            words = [bench.command("operator.remove", {"name": name}) for name in ("alice", "bob")]
            results = await asyncio.gather(*map(bench.operations.command, words), return_exceptions=True)
            codes = {getattr(result, "code", "done") for result in results}
            assert codes in ({"done", "not_an_operator"}, {"done", "last_operator"})
            assert sum(o.removed_ms is None for o in bench.gate.state.operators.values()) == 1

    run(work())


def test_an_approval_and_a_revocation_at_once_never_break_the_gate(tmp_path: Path) -> None:
    async def work() -> None:
        for number, first in enumerate(("approve", "revoke")):
            folder = tmp_path / str(number)
            folder.mkdir()
            async with make_gate(folder) as bench:
                request = await bench.pay(30)
                revoke = bench.operations.command(bench.command("grant.revoke", {"grant": "grant_1"}))
                approve = bench.approve(request)
                both = [approve, revoke] if first == "approve" else [revoke, approve]
                await asyncio.gather(*both, return_exceptions=True)
                await bench.quiet()
                status = bench.gate.find(request.id).status  # type: ignore[union-attr]
                assert status in (Status.SIGNED, Status.BROADCAST, Status.EXPIRED)
                assert (status is Status.EXPIRED) == (bench.chain.received == [])
                assert bench.gate._writer is not None and not bench.gate._writer.done()

    run(work())


def test_who_waits_for_a_request_hears_at_once_that_its_grant_ended(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            request = await bench.pay(30)
            waiting = asyncio.create_task(bench.gate.wait(request.id, 30))
            await asyncio.sleep(0)
            await bench.operations.command(bench.command("grant.revoke", {"grant": "grant_1"}))
            assert (await asyncio.wait_for(waiting, 1)).status is Status.EXPIRED

    run(work())


def test_a_payment_behind_a_freeze_in_the_same_commit_is_denied(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await bench.pay(1)
            freeze = bench.operations.command(bench.command("freeze", {"scope": "all"}))
            results = await asyncio.gather(freeze, *(bench.pay(1) for _ in range(5)))
            after = bench.kinds()[bench.kinds().index("frozen") :]
            assert "transaction_signed" not in after
            assert all(request.status is Status.DENIED for request in results[1:])  # type: ignore[union-attr]

    run(work())

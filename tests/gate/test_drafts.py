"""Roles, the quorum and drafts: what one operator may do alone, and what nobody may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import coincurve
import pytest

from tests.factories import ACME, ALICE, BOB, MALLORY, ORIGIN, POLICY, Bench, make_gate
from tests.gate.test_operators import N, refused, run
from walletgate.cli.show import quorum_warning
from walletgate.encoding import checksum_address, to_hex
from walletgate.gate import DraftWord, SignedDraft, sign_word, word_on
from walletgate.signers.keystore import address_of
from walletgate.store import Draft
from walletgate.types import Hash32, Status

CAROL = bytes.fromhex("c4" * 32)
LOOSER = POLICY.replace('per_request = "50"', 'per_request = "60"').replace('"24h" = "100"', '"24h" = "200"')
TIGHTER = POLICY.replace('per_request = "50"', 'per_request = "40"')
BOTH = LOOSER.replace('above = "20"', 'above = "10"')


def address(secret: bytes) -> str:
    return checksum_address(address_of(coincurve.PrivateKey(secret).public_key))


async def command(bench: Bench, action: str, payload: dict[str, Any], secret: bytes = ALICE) -> dict[str, Any]:
    return await bench.operations.command(bench.command(action, payload, secret))


def signed(bench: Bench, name: str, secret: bytes, /, *, approve: bool = True, **changes: Any) -> SignedDraft:
    draft = bench.store.authority.draft(name)
    assert draft is not None
    word = word_on(draft, approve=approve, expires=bench.clock.now_ms // 1000 + 3600)
    word = replace(word, **changes)
    return SignedDraft(word, sign_word(word, secret, gate=ORIGIN))


async def sign(bench: Bench, name: str, secret: bytes, /, **changes: Any) -> dict[str, Any]:
    return await bench.operations.sign_draft(signed(bench, name, secret, **changes))


@asynccontextmanager
async def council(path: Path, *, quorum: int = 2) -> AsyncIterator[Bench]:
    """Alice, Bob and Carol make policies; two of them must agree."""
    async with make_gate(path) as bench:
        if "carol" not in bench.gate.state.operators:
            roles = ["approver", "policy-maker"]
            await command(bench, "operator.add", {"name": "carol", "address": address(CAROL), "roles": roles})
            await command(bench, "quorum.set", {"quorum": quorum})
        yield bench


def policy_of(bench: Bench) -> str:
    return to_hex(bench.gate.state.grants["grant_1"].policy)


# --- what needs the quorum, and what does not --------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("policy.apply", {"grant": "grant_1", "policy": LOOSER}),
        ("policy.apply", {"grant": "grant_1", "policy": BOTH}),
        ("grant.create", {"agent": "second", "wallet": "main", "policy": TIGHTER}),
        ("operator.add", {"name": "dan", "address": checksum_address(b"\x09" * 20)}),
        ("operator.roles", {"name": "bob", "roles": ["approver", "auditor", "policy-maker"]}),
        ("quorum.set", {"quorum": 1}),
        ("unfreeze", {"scope": "all"}),
    ],
)
def test_what_loosens_changes_nothing_until_the_quorum_has_signed(
    tmp_path: Path, action: str, payload: dict[str, Any]
) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            await command(bench, "operator.roles", {"name": "bob", "roles": ["policy-maker"]})
            await command(bench, "freeze", {"scope": "all"})
            before = authority(bench)
            answer = await command(bench, action, payload)
            assert (answer["needs"], answer["signed"]) == (2, ["alice"])
            assert authority(bench) == before
            assert bench.last_entry()["kind"] == "draft_proposed"
            done = await sign(bench, answer["draft"], BOB)
            assert done["status"] == "live"
            assert authority(bench) != before
            assert bench.store.authority.draft(answer["draft"]).status == "live"  # type: ignore[union-attr]
            last = bench.last_entry()
            assert (last["operator"], last["draft"]) == ("alice", answer["draft"])

    run(work())


def authority(bench: Bench) -> Any:
    store = bench.store
    return [store.operators(), store.grants(), store.freezes(), store.authority.setting("quorum", "1")]


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("policy.apply", {"grant": "grant_1", "policy": TIGHTER}),
        ("policy.apply", {"grant": "grant_1", "policy": POLICY}),
        ("grant.revoke", {"grant": "grant_1"}),
        ("operator.remove", {"name": "bob"}),
        ("operator.roles", {"name": "bob", "roles": ["approver"]}),
        ("quorum.set", {"quorum": 3}),
        ("freeze", {"scope": "all"}),
    ],
)
def test_what_only_tightens_needs_one(tmp_path: Path, action: str, payload: dict[str, Any]) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            assert "draft" not in await command(bench, action, payload)

    run(work())


def test_one_operator_alone_needs_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            answer = await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER})
            assert policy_of(bench) == answer["policy"]

    run(work())


def test_three_of_three_are_three_people(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path, quorum=3) as bench:
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            await refused(bench, sign(bench, name, ALICE), "already_spoken")
            assert (await sign(bench, name, BOB))["status"] == "open"
            await refused(bench, sign(bench, name, BOB), "already_spoken")
            assert (await sign(bench, name, CAROL))["status"] == "live"
            await refused(bench, sign(bench, name, CAROL), "draft_moved")

    run(work())


def test_two_last_signatures_at_once_carry_it_out_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            words = [signed(bench, name, BOB), signed(bench, name, CAROL)]
            found = await asyncio.gather(*map(bench.operations.sign_draft, words), return_exceptions=True)
            assert sum(isinstance(each, dict) for each in found) == 1
            assert bench.kinds().count("policy_changed") == 1

    run(work())


# --- what ends a draft -------------------------------------------------------------------------------


def test_one_no_ends_a_draft(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            before = policy_of(bench)
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            assert (await sign(bench, name, BOB, approve=False))["status"] == "rejected"
            assert bench.last_entry()["kind"] == "draft_rejected"
            await refused(bench, sign(bench, name, CAROL), "draft_moved")
            assert policy_of(bench) == before

    run(work())


@pytest.mark.parametrize(
    ("action", "payload"),
    [("policy.apply", {"grant": "grant_1", "policy": TIGHTER}), ("grant.revoke", {"grant": "grant_1"})],
)
def test_a_draft_dies_when_what_it_is_about_changes(tmp_path: Path, action: str, payload: dict[str, Any]) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            await command(bench, action, payload, CAROL)
            assert bench.store.authority.draft(name).status == "stale"  # type: ignore[union-attr]
            assert bench.last_entry()["kind"] == "draft_ended"
            await refused(bench, sign(bench, name, BOB), "draft_moved")

    run(work())


def test_a_draft_expires_to_the_millisecond_and_its_end_is_recorded(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            week_s = 7 * 24 * 3600
            late, last = [
                (await command(bench, "quorum.set", {"quorum": 1}))["draft"] for _ in range(2)
            ]  # fmt: skip
            bench.clock.now_ms += week_s * 1000 - 1
            assert (await sign(bench, last, BOB))["status"] == "live"
            bench.clock.now_ms += 1
            await refused(bench, sign(bench, late, BOB), "draft_moved")
            await command(bench, "freeze", {"scope": "all"})
            assert bench.store.authority.draft(late).status == "expired"  # type: ignore[union-attr]
            assert "draft_ended" in bench.kinds()[-3:]

    run(work())


def test_a_draft_survives_a_restart_with_its_signatures(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path, quorum=3) as bench:
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            await sign(bench, name, BOB)
        async with council(tmp_path) as bench:
            await refused(bench, sign(bench, name, BOB), "already_spoken")
            assert (await sign(bench, name, CAROL))["status"] == "live"

    run(work())


# --- whose signature counts --------------------------------------------------------------------------


def test_a_removed_policy_makers_signature_counts_no_more(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            await command(bench, "operator.remove", {"name": "alice"}, BOB)
            assert (await sign(bench, name, BOB))["status"] == "open"
            await refused(bench, sign(bench, name, ALICE), "not_an_operator")
            assert (await sign(bench, name, CAROL))["status"] == "live"

    run(work())


def test_strangers_and_approvers_sign_no_drafts(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            await command(bench, "operator.roles", {"name": "bob", "roles": ["approver"]})
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            await refused(bench, sign(bench, name, MALLORY), "not_an_operator")
            await refused(bench, sign(bench, name, BOB), "role_missing")
            await refused(bench, sign(bench, name, BOB, approve=False), "role_missing")

    run(work())


OTHER = Hash32(b"\x05" * 32)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"payload": OTHER}, "draft_mismatch"), ({"summary": OTHER}, "draft_mismatch"),
        ({"before": OTHER}, "draft_mismatch"), ({"after": OTHER}, "draft_mismatch"),
        ({"action": "unfreeze"}, "draft_mismatch"), ({"draft": "draft_other"}, "draft_moved"),
        ({"expires": 0}, "approval_expired"),
    ],
)  # fmt: skip
def test_a_signature_is_good_for_exactly_one_draft(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            await refused_draft(bench, sign(bench, name, BOB, **changes), code)

    run(work())


async def refused_draft(bench: Bench, work: Any, code: str) -> None:
    before = policy_of(bench)
    await refused(bench, work, code)
    assert policy_of(bench) == before


@pytest.mark.parametrize("change", ["high_s", "cut", "v", "bit", "other_gate"])
def test_forged_and_malleable_signatures_are_refused(tmp_path: Path, change: str) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            name = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER}))["draft"]
            good = signed(bench, name, BOB)
            r, s, v = good.signature[:32], int.from_bytes(good.signature[32:64], "big"), good.signature[64]
            forged = {
                "high_s": r + (N - s).to_bytes(32, "big") + bytes([55 - v]),
                "cut": good.signature[:-1],
                "v": good.signature[:64] + bytes([v - 27]),
                "bit": sign_word(replace(good.word, expires=good.word.expires + 1), BOB, gate=ORIGIN),
                "other_gate": sign_word(good.word, BOB, gate="another/audit/1"),
            }[change]
            codes = {"bit": "not_an_operator", "other_gate": "not_an_operator"}
            work = bench.operations.sign_draft(SignedDraft(good.word, forged))
            await refused_draft(bench, work, codes.get(change, "signature_invalid"))

    run(work())


# --- roles and the quorum ----------------------------------------------------------------------------


MAKERS_ONLY = [
    ("policy.apply", {"grant": "grant_1", "policy": TIGHTER}),
    ("grant.revoke", {"grant": "grant_1"}),
    ("operator.remove", {"name": "alice"}),
    ("operator.add", {"name": "dan", "address": checksum_address(b"\x09" * 20)}),
    ("operator.roles", {"name": "bob", "roles": ["policy-maker"]}),
    ("quorum.set", {"quorum": 2}),
    ("wallet.add", {"name": "w", "address": checksum_address(b"\x08" * 20)}),
    ("unfreeze", {"scope": "all"}),
]


@pytest.mark.parametrize(("action", "payload"), MAKERS_ONLY, ids=[action for action, _ in MAKERS_ONLY])
@pytest.mark.parametrize("role", ["approver", "auditor"])
def test_only_policy_makers_change_authority(tmp_path: Path, action: str, payload: dict[str, Any], role: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await command(bench, "operator.roles", {"name": "bob", "roles": [role]})
            await refused(bench, command(bench, action, payload, BOB), "role_missing")

    run(work())


def test_an_auditor_decides_nothing_and_freezes_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await command(bench, "operator.roles", {"name": "bob", "roles": ["auditor"]})
            request = await bench.pay(30)
            await refused(bench, bench.approve(request, BOB), "role_missing")
            await refused(bench, bench.approve(request, BOB, approve=False), "role_missing")
            await refused(bench, command(bench, "freeze", {"scope": "all"}, BOB), "role_missing")

    run(work())


def test_an_approver_freezes_and_a_policy_maker_alone_approves_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            await command(bench, "operator.roles", {"name": "bob", "roles": ["policy-maker"]})
            request = await bench.pay(30)
            await refused(bench, bench.approve(request, BOB), "role_missing")
            await command(bench, "operator.roles", {"name": "bob", "roles": ["approver"]})
            await command(bench, "freeze", {"scope": "grant:grant_1"}, BOB)

    run(work())


def test_a_yes_given_as_approver_counts_no_more_without_the_role(tmp_path: Path) -> None:
    async def work() -> None:
        two = POLICY.replace("quorum = 1", "quorum = 2")
        async with make_gate(tmp_path, policy=two) as bench:
            request = await bench.pay(30)
            await bench.approve(request, BOB)
            await command(bench, "operator.roles", {"name": "bob", "roles": ["auditor"]})
            assert (await bench.approve(request, ALICE)).status is Status.AWAITING_APPROVAL

    run(work())


@pytest.mark.parametrize(
    ("action", "payload", "code"),
    [
        ("quorum.set", {"quorum": 4}, "quorum_unreachable"),
        ("quorum.set", {"quorum": 0}, "payload_invalid"),
        ("quorum.set", {"quorum": True}, "payload_invalid"),
        ("quorum.set", {"quorum": "2"}, "payload_invalid"),
        ("operator.roles", {"name": "bob", "roles": []}, "role_unknown"),
        ("operator.roles", {"name": "bob", "roles": ["owner"]}, "role_unknown"),
        ("operator.roles", {"name": "nobody", "roles": ["auditor"]}, "operator_unknown"),
        ("freeze", {"scope": "wallet:typo"}, "scope_unknown"),
        ("freeze", {"scope": "agent:typo"}, "scope_unknown"),
        ("freeze", {"scope": "grant:typo"}, "scope_unknown"),
        ("freeze", {"scope": "chain:base"}, "scope_invalid"),
        ("freeze", {"scope": "chain:0"}, "scope_invalid"),
    ],
)
def test_commands_that_make_no_sense_say_why(tmp_path: Path, action: str, payload: dict[str, Any], code: str) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            await refused(bench, command(bench, action, payload), code)

    run(work())


def test_nobody_can_make_the_quorum_unreachable(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            await command(bench, "operator.remove", {"name": "carol"})
            await refused(bench, command(bench, "operator.remove", {"name": "bob"}), "quorum_unreachable")
            demoted = {"name": "bob", "roles": ["approver"]}
            await refused(bench, command(bench, "operator.roles", demoted), "quorum_unreachable")

    run(work())


def test_a_grants_token_goes_to_whoever_completes_the_quorum(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            payload = {"agent": "second", "wallet": "main", "policy": POLICY}
            proposed = await command(bench, "grant.create", payload)
            assert "token" not in proposed
            assert any("agent second may use wallet main" in line for line in proposed["lines"])
            done = await sign(bench, proposed["draft"], BOB)
            assert bench.gate.session(bench.gate.authenticate(done["answer"]["token"])).grant.agent == "second"

    run(work())


# --- policies over time ------------------------------------------------------------------------------


def test_versions_are_kept_and_a_roll_back_is_judged_like_any_change(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            first = policy_of(bench)
            tight = (await command(bench, "policy.apply", {"grant": "grant_1", "policy": TIGHTER}))["policy"]
            back = await command(bench, "policy.apply", {"grant": "grant_1", "policy": POLICY, "before": tight})
            assert policy_of(bench) == tight
            await sign(bench, back["draft"], CAROL)
            versions = bench.store.authority.versions("grant_1")
            assert [to_hex(v.policy) for v in versions] == [first, tight, first]
            assert [v.operator for v in versions] == ["", "alice", "alice"]
            assert [v.draft for v in versions] == [None, None, back["draft"]]

    run(work())


def test_a_policy_written_over_another_than_the_one_in_force_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            payload = {"grant": "grant_1", "policy": TIGHTER, "before": to_hex(b"\x01" * 32)}
            await refused(bench, command(bench, "policy.apply", payload), "policy_changed")

    run(work())


def test_drafts_read_as_what_compare_says(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            answer = await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER})
            assert "The new policy is looser." in answer["lines"]
            assert any("no longer at most 50 USDC" in line for line in answer["lines"])
            draft = bench.store.authority.draft(answer["draft"])
            assert isinstance(draft, Draft)
            assert to_hex(draft.before) == policy_of(bench)
            word = word_on(draft, approve=True, expires=1)
            assert isinstance(word, DraftWord)

    run(work())


def test_a_name_that_stands_for_somebody_else_is_shown_with_its_address(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            thief = checksum_address(b"\x66" * 20)
            other = POLICY.replace(checksum_address(ACME), thief)
            answer = await command(bench, "policy.apply", {"grant": "grant_1", "policy": other})
            assert f"where acme is {thief}" in answer["lines"]
            fresh = await command(bench, "grant.create", {"agent": "x", "wallet": "main", "policy": POLICY})
            assert f"where acme is {checksum_address(ACME)}" in fresh["lines"]
            assert any("where USDC is 0x" in line and "6 decimals" in line for line in fresh["lines"])

    run(work())


def test_no_more_drafts_wait_than_people_can_read(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            for _ in range(100):
                await command(bench, "quorum.set", {"quorum": 1})
            await refused(bench, command(bench, "quorum.set", {"quorum": 1}), "drafts_full")

    run(work())


def test_a_draft_ends_by_itself_when_its_time_is_over(tmp_path: Path) -> None:
    async def work() -> None:
        async with council(tmp_path) as bench:
            answer = await command(bench, "policy.apply", {"grant": "grant_1", "policy": LOOSER})
            name = answer["draft"] if isinstance(answer["draft"], str) else answer["draft"]["id"]
            await bench.settle()
            bench.clock.forward(7 * 24 * 3600 - 60)
            await bench.settle()
            assert bench.store.authority.draft(name).status == "open"  # type: ignore[union-attr]
            bench.clock.forward(61)
            await bench.settle()
            assert bench.store.authority.draft(name).status == "expired"  # type: ignore[union-attr]
            await bench.settle()
            assert bench.kinds().count("draft_ended") == 1

    run(work())


@pytest.mark.parametrize(
    ("quorum", "removed", "roles", "warned"),
    [(1, None, ["policy-maker"], True), (2, None, ["policy-maker"], False), (1, 5, ["policy-maker"], False),
     (1, None, ["approver"], False)],
)  # fmt: skip
def test_a_quorum_of_one_among_several_policy_makers_is_warned_of(
    quorum: int, removed: int | None, roles: list[str], warned: bool
) -> None:
    first = {"name": "alice", "roles": ["policy-maker"], "removed_ms": None}
    status = {"quorum": quorum, "operators": [first, {"name": "bob", "roles": roles, "removed_ms": removed}]}
    assert (quorum_warning(status) is not None) is warned

"""Who must say yes: groups, different people, separation of duty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coincurve
import pytest

from tests.factories import ALICE, BOB, NOW_MS, POLICY, Bench, make_gate
from tests.gate.test_drafts import CAROL, address, command
from tests.gate.test_operators import refused, run
from walletgate.gate.quorum import may_decide, satisfied
from walletgate.policy import load
from walletgate.policy.compare import Direction, compare
from walletgate.signers.keystore import address_of
from walletgate.store import Operator, Version
from walletgate.types import ApprovalGroup, ApprovalTerms, Status

NOBODY: frozenset[str] = frozenset()


def terms(*groups: tuple[int, str], every: bool = True, apart: bool = False) -> ApprovalTerms:
    made = tuple(ApprovalGroup(quorum, tuple(names)) for quorum, names in groups)
    everybody = tuple(sorted({name for group in made for name in group.of}))
    quorums = [group.quorum for group in made]
    return ApprovalTerms("rule", sum(quorums) if every else min(quorums), everybody, 60, made, every, apart)


@pytest.mark.parametrize(
    ("needs", "voices", "enough"),
    [
        (terms((1, "ac"), (1, "bd")), "ab", True),
        (terms((1, "ac"), (1, "bd")), "cd", True),
        (terms((1, "ac"), (1, "bd")), "ac", False),
        (terms((1, "ac"), (1, "bd")), "", False),
        (terms((1, "ab"), (1, "a")), "a", False),
        (terms((1, "ab"), (1, "a")), "ab", True),
        (terms((1, "a"), (1, "ab")), "ab", True),
        (terms((2, "abc"), (1, "c")), "abc", True),
        (terms((2, "abc"), (1, "c")), "ab", False),
        (terms((2, "abc"), (2, "abcd")), "abc", False),
        (terms((2, "abc"), (2, "abcd")), "abcd", True),
        (terms((1, "a"), (2, "bc"), every=False), "a", True),
        (terms((1, "a"), (2, "bc"), every=False), "b", False),
        (terms((1, "a"), (2, "bc"), every=False), "bc", True),
    ],
)
def test_groups_are_met_by_different_people(needs: ApprovalTerms, voices: str, enough: bool) -> None:
    assert satisfied([needs], voices, NOBODY) is enough


def test_several_rules_may_be_met_by_one_person_and_none_is_left_out() -> None:
    one, two = ApprovalTerms("one", 1, ("a",), 60), ApprovalTerms("two", 1, (), 60)
    assert satisfied([one, two], "a", NOBODY)
    assert not satisfied([one, two], "b", NOBODY)


def test_authors_are_barred_only_where_the_rule_says_so() -> None:
    apart = ApprovalTerms("rule", 1, (), 60, apart=True)
    assert not satisfied([apart], "a", frozenset("a"))
    assert satisfied([apart], "ab", frozenset("a"))
    assert not may_decide([apart], "a", frozenset("a"))
    assert may_decide([apart, ApprovalTerms("other", 1, (), 60)], "a", frozenset("a"))


def with_approval(text: str) -> str:
    return POLICY.replace('quorum = 1\nof = ["alice", "bob"]\n', text)


GROUPS = with_approval('each = [{ of = ["alice", "carol"] }, { of = ["bob", "carol"] }]\n')
APART = with_approval("apart = true\n")


def add_carol(bench: Bench) -> Any:
    return command(bench, "operator.add", {"name": "carol", "address": address(CAROL)})


def test_one_of_finance_and_one_of_security(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=GROUPS) as bench:
            await add_carol(bench)
            request = await bench.pay(30)
            assert (await bench.approve(request, CAROL)).status is Status.AWAITING_APPROVAL
            assert (await bench.approve(request, BOB)).status is Status.SIGNED

    run(work())


@pytest.mark.parametrize("who", ["drafter", "granter"])
def test_whoever_wrote_or_gave_the_authority_does_not_approve_under_it(tmp_path: Path, who: str) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=APART) as bench:
            names = ("alice", "carol") if who == "granter" else ("carol", "alice")
            async with bench.store.write(NOW_MS) as tx:
                tx.add_operator(Operator("carol", address_of(coincurve.PrivateKey(CAROL).public_key), NOW_MS))
                policy = bench.gate.state.grants["grant_1"].policy
                for number, name in enumerate(names, 1):
                    tx.authority.add_version(Version("grant_1", number, policy, name, None, NOW_MS))
            bench.gate.state.load_authority()
            request = await bench.pay(30)
            await refused(bench, bench.approve(request, ALICE), "not_entitled")
            await refused(bench, bench.approve(request, CAROL), "not_entitled")
            assert (await bench.approve(request, BOB)).status is Status.SIGNED

    run(work())


def test_whoever_is_barred_may_still_say_no(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path, policy=APART) as bench:
            await command(bench, "policy.apply", {"grant": "grant_1", "policy": APART.replace('"50"', '"40"')})
            request = await bench.pay(30)
            await refused(bench, bench.approve(request, ALICE), "not_entitled")
            assert (await bench.approve(request, ALICE, approve=False)).status is Status.REJECTED

    run(work())


@pytest.mark.parametrize(
    ("old", "new", "direction"),
    [
        ("", "apart = true\n", Direction.TIGHTER),
        ("apart = true\n", "", Direction.LOOSER),
        ("quorum = 1\n", 'each = [{ of = ["a"] }, { of = ["b"] }]\n', Direction.TIGHTER),
        ('each = [{ of = ["a"] }, { of = ["b"] }]\n', "quorum = 2\n", Direction.LOOSER),
        ('each = [{ of = ["a"] }, { of = ["b"] }]\n', 'either = [{ of = ["a"] }, { of = ["b"] }]\n', Direction.BOTH),
        ('each = [{ of = ["a"] }, { of = ["b"] }]\n', 'each = [{ of = ["b"] }, { of = ["a"] }]\n', Direction.SAME),
    ],
)
def test_compare_knows_who_must_agree(old: str, new: str, direction: Direction) -> None:
    found = compare(load(with_approval(old), source="old"), load(with_approval(new), source="new"))
    assert found.direction is direction

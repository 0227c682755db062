"""Who must say yes, and how often they may be asked.

[[approve]]
when = { asset = "USDC", above = "1000" }
each = [{ of = ["alice", "carol"] }, { of = ["bob", "dan"] }]   # one of finance AND one of security
apart = true                                                    # not who drafted the policy or gave the grant

[asking]
per = { "1h" = 10 }             # more than this in any hour is refused
again_after = "24h"             # what an operator rejected does not come back unchanged before
freeze_after = { "1h" = 60 }    # who goes on asking is frozen
"""

from __future__ import annotations

from typing import Final

from walletgate.policy.amounts import parse_duration
from walletgate.policy.model import AskingTerms
from walletgate.policy.reader import Table
from walletgate.types import ApprovalGroup, ApprovalTerms

NAME_LENGTH_MAX: Final = 80
WITHIN_S: Final = 3600
"""How long people have to answer where a policy does not say."""

OPERATORS_MAX: Final = 64
GROUPS_MAX: Final = 8
ASKED_MAX: Final = 10_000
"""The most requests in a window of `[asking]`."""


def read_terms(table: Table, name: str) -> ApprovalTerms:
    """Who must approve, and within which time."""
    within = table.text("within")
    within_s = table.exact("within", within, parse_duration) if within else WITHIN_S
    apart = table.flag("apart")
    kinds = [key for key in ("each", "either") if table.has(key)]
    if not kinds:
        quorum, of = _read_people(table)
        return ApprovalTerms(name, quorum, of, within_s, apart=apart)
    beside = [key for key in ("quorum", "of") if table.has(key)]
    if len(kinds) > 1 or beside:
        problem = "cannot stand beside another word for who approves"
        table.fail((*beside, *kinds[1:])[0], problem, code="ambiguous_rule")
    groups = _read_groups(table, kinds[0])
    every = kinds[0] == "each"
    least = sum(group.quorum for group in groups) if every else min(group.quorum for group in groups)
    everybody = tuple(sorted({person for group in groups for person in group.of}))
    if least > len(everybody):
        table.fail(kinds[0], f"needs {least} different people and names {len(everybody)}", code="out_of_range")
    return ApprovalTerms(name, least, everybody, within_s, groups, every, apart)


def _read_groups(table: Table, key: str) -> tuple[ApprovalGroup, ...]:
    tables = table.tables(key)
    if not 2 <= len(tables) <= GROUPS_MAX:
        table.fail(key, f"needs 2 to {GROUPS_MAX} groups", code="out_of_range")
    groups = []
    for each in tables:
        each.need("of")
        groups.append(ApprovalGroup(*_read_people(each)))
        each.done()
    return tuple(sorted(groups, key=lambda group: (group.of, group.quorum)))


def _read_people(table: Table) -> tuple[int, tuple[str, ...]]:
    of = tuple(sorted(table.texts("of") or ()))
    for operator in of:
        if not operator.isprintable() or not 1 <= len(operator) <= NAME_LENGTH_MAX or operator != operator.strip():
            table.fail("of", f"holds {operator!r}, which is not an operator's name", code="bad_name")
    quorum = table.integer("quorum", 1, least=1, most=OPERATORS_MAX) or 1
    if of and quorum > len(of):
        table.fail("quorum", f"is {quorum}, but `of` names only {len(of)}", code="out_of_range")
    return quorum, of


def read_asking(root: Table) -> AskingTerms:
    """How often a grant may ask, and when it may ask again."""
    table = root.section("asking")
    again = table.text("again_after")
    terms = AskingTerms(
        windows=_read_counts(table, "per"),
        again_after_ms=None if again is None else table.exact("again_after", again, parse_duration) * 1000,
        freeze_after=_read_counts(table, "freeze_after"),
    )
    table.done()
    return terms


def _read_counts(table: Table, key: str) -> tuple[tuple[int, int], ...]:
    section = table.section(key)
    found: dict[int, int] = {}
    for span in section.given():
        window_ms = section.exact(span, span, parse_duration) * 1000
        if window_ms in found:
            section.fail(span, "is the same window as another", code="duplicate_name")
        found[window_ms] = section.integer(span, least=1, most=ASKED_MAX) or 1
    return tuple(sorted(found.items()))

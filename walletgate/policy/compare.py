"""Whether a new policy permits less, more, or both less and more than an old one; rule by rule.

The verdict decides who must agree to a change: what is *tighter* needs one operator, everything else the
quorum. So `tighter` is proven from the rules: every new permit lies inside an old one, every old forbid, limit
and approval inside a new one, and nothing else got wider. What cannot be proven to be tighter counts as looser.

Each change comes with an example where one is found: a request that the two policies judge differently. Examples
are made from the rules themselves (what a rule permits, one unit under and over each bound) and judged by the
one judge, so an example is always true; that there is none proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from typing import Final, TypeVar

from walletgate.encoding import checksum_address
from walletgate.policy.contain import covers, covers_addresses, covers_rule
from walletgate.policy.document import Policy
from walletgate.policy.model import (
    AboveAmount,
    Always,
    ApproveRule,
    AskingTerms,
    Limit,
    NewRecipient,
    Rule,
    SwapTerms,
)
from walletgate.policy.names import chain_name
from walletgate.policy.probe import Example, example
from walletgate.policy.words_rules import (
    approve_sentence,
    cooldown_sentence,
    forbid_sentence,
    limit_sentence,
    permit_sentence,
)
from walletgate.types import Address, ApprovalTerms, Measure

EVER_MS: Final = 2**62
_K = TypeVar("_K")
_V = TypeVar("_V")


class Direction(Enum):
    """What a change does to what is permitted."""

    SAME = "same"
    TIGHTER = "tighter"
    LOOSER = "looser"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: in which part, of which rule, which way, in words, and a request that shows it."""

    part: str
    name: str
    direction: Direction
    text: str
    example: Example | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences, and what they come to together."""

    direction: Direction
    changes: tuple[Change, ...]


def compare(old: Policy, new: Policy) -> Comparison:
    """What `new` changes about `old`."""
    if old.hash == new.hash:
        return Comparison(Direction.SAME, ())
    changes = [
        *_general(old, new),
        *_rules(old, new, "permit", old.terms.permits, new.terms.permits),
        *_rules(old, new, "forbid", old.terms.forbids, new.terms.forbids),
        *_cooldowns(old, new),
        *_limits(old, new),
        *_approves(old, new),
    ]
    found = tuple(_with_example(old, new, change) for change in changes if change.direction is not Direction.SAME)
    return Comparison(_together([change.direction for change in found]), found)


def _together(directions: Sequence[Direction]) -> Direction:
    looser = any(each in (Direction.LOOSER, Direction.BOTH) for each in directions)
    tighter = any(each in (Direction.TIGHTER, Direction.BOTH) for each in directions)
    return _direction(tighter=tighter, looser=looser)


def _direction(*, tighter: bool, looser: bool) -> Direction:
    if tighter and looser:
        return Direction.BOTH
    return Direction.TIGHTER if tighter else Direction.LOOSER if looser else Direction.SAME


def _with_example(old: Policy, new: Policy, change: Change) -> Change:
    looser = None if change.direction is Direction.BOTH else change.direction is Direction.LOOSER
    shown = example(old, new, change.name, looser=looser)
    return Change(change.part, change.name, change.direction, change.text, shown)


# --- everything but rules --------------------------------------------------------------------------


def _general(old: Policy, new: Policy) -> Iterator[Change]:
    a, b = old.terms, new.terms
    sets = (
        ("chains", frozenset(map(str, a.chain_ids)), frozenset(map(str, b.chain_ids))),
        ("methods", a.methods, b.methods),
        ("read_methods", a.read_methods, b.read_methods),
    )
    for part, before, after in sets:
        gone, come = ", ".join(sorted(before - after)), ", ".join(sorted(after - before))
        text = "; ".join(filter(None, (come and f"adds {come}", gone and f"removes {gone}")))
        yield Change(part, part, _direction(tighter=bool(gone), looser=bool(come)), text)
    yield _ordered("require_expect", a.require_expect, b.require_expect, lambda x, y: y or not x)
    yield _ordered("simulate", a.simulate, b.simulate, lambda x, y: y or not x)
    yield _ordered("expires", a.expires_at, b.expires_at, _no_later)
    yield _ordered("max_gas", a.gas_max, b.gas_max, _no_later)
    yield _ordered("swap", a.swap, b.swap, _tighter_swap)
    yield _ordered("asking", a.asking, b.asking, _tighter_asking)
    for part, before_, after_ in (
        ("accounts", a.accounts, b.accounts),
        ("underlying", dict(a.underlying), dict(b.underlying)),
        ("prices", a.prices, b.prices),
        ("decimals", _shared(a.decimals, b.decimals), _shared(b.decimals, a.decimals)),
        ("asset names", _shared(a.assets, b.assets), _shared(b.assets, a.assets)),
    ):
        if before_ != after_:
            yield Change(part, part, Direction.BOTH, f"{part} are others: it cannot be said which way that works")


def _shared(one: Mapping[_K, _V], two: Mapping[_K, _V]) -> dict[_K, _V]:
    return {key: value for key, value in one.items() if key in two}


def _ordered(part: str, before: _V, after: _V, is_tighter: Callable[[_V, _V], bool]) -> Change:
    """A change of one value, by an order that says whether the second is no wider than the first."""
    tighter, looser = is_tighter(before, after), is_tighter(after, before)
    if before == after:
        return Change(part, part, Direction.SAME, "")
    return Change(part, part, _direction(tighter=not looser, looser=not tighter), f"{part} changes")


def _no_later(before: int | None, after: int | None) -> bool:
    return before is None or (after is not None and after <= before)


def _tighter_asking(before: AskingTerms, after: AskingTerms) -> bool:
    """Every count is still there, for as long and no higher, and what was rejected waits at least as long."""

    def keeps(old: Sequence[tuple[int, int]], new: Sequence[tuple[int, int]]) -> bool:
        return all(any(span >= window and most <= bound for span, most in new) for window, bound in old)

    waits = before.again_after_ms is None or (after.again_after_ms or 0) >= before.again_after_ms
    return waits and keeps(before.windows, after.windows) and keeps(before.freeze_after, after.freeze_after)


def _tighter_swap(before: SwapTerms, after: SwapTerms) -> bool:
    """What has a floor is sold only for what it has a floor against, so each pair must have been there before."""
    sold_before = {sold for sold, _ in before.floors}
    sold_after = {sold for sold, _ in after.floors}
    return (
        covers_addresses(before.to, after.to)
        and (after.min_out or not before.min_out)
        and _no_later(before.deadline_max_s, after.deadline_max_s)
        and (after.require_deadline or not before.require_deadline)
        and all(pair in before.floors for pair in after.floors if pair[0] in sold_before)
        and all(
            Fraction(*after.floors[pair]) >= Fraction(*rate) if pair in after.floors else pair[0] in sold_after
            for pair, rate in before.floors.items()
        )
    )


# --- rules -----------------------------------------------------------------------------------------


def _rules(old: Policy, new: Policy, part: str, before: Sequence[Rule], after: Sequence[Rule]) -> Iterator[Change]:
    """Permits and forbids: a rule that lies in one of the other policy's changes nothing."""
    wide = part == "forbid"
    sentence = forbid_sentence if wide else permit_sentence
    gone = [rule for rule in before if not any(covers_rule(other, rule, wide=wide) for other in after)]
    come = [rule for rule in after if not any(covers_rule(other, rule, wide=wide) for other in before)]
    names = {rule.name for rule in gone} & {rule.name for rule in come}
    for rule in gone:
        if rule.name not in names:
            way = Direction.LOOSER if wide else Direction.TIGHTER
            yield Change(part, rule.name, way, f"no longer: {sentence(old, rule)}")
    for rule in come:
        if rule.name not in names:
            other = next((each for each in before if each.name == rule.name), None)
            way = Direction.TIGHTER if wide else Direction.LOOSER
            was = f", instead of: {sentence(old, other)}" if other is not None else ""
            yield Change(part, rule.name, way, f"now: {sentence(new, rule)}{was}")
    for name in sorted(names):
        one, two = (next(rule for rule in rules if rule.name == name) for rules in (gone, come))
        yield Change(part, name, Direction.BOTH, f"now: {sentence(new, two)}, instead of: {sentence(old, one)}")


def _cooldowns(old: Policy, new: Policy) -> Iterator[Change]:
    for rule in old.terms.cooldowns:
        if not any(_keeps_waiting(other.who, rule.who) for other in new.terms.cooldowns):
            yield Change("forbid", rule.name, Direction.LOOSER, f"no longer: {cooldown_sentence(old, rule)}")
    for rule in new.terms.cooldowns:
        if not any(_keeps_waiting(other.who, rule.who) for other in old.terms.cooldowns):
            yield Change("forbid", rule.name, Direction.TIGHTER, f"now: {cooldown_sentence(new, rule)}")


def _keeps_waiting(strict: NewRecipient, loose: NewRecipient) -> bool:
    return strict.age_ms >= loose.age_ms and covers_addresses(loose.known, strict.known)


def _bounds(limits: Iterable[Limit]) -> list[Limit]:
    """The limits as limits of one bound each."""
    found = []
    for limit in limits:
        bare = replace(limit, per_request=None, windows=(), lifetime=None, share_bips=None)
        if limit.per_request is not None:
            found.append(replace(bare, per_request=limit.per_request))
        found += [replace(bare, windows=(window,)) for window in limit.windows]
        if limit.lifetime is not None:
            found.append(replace(bare, lifetime=limit.lifetime))
        if limit.share_bips is not None:
            found.append(replace(bare, share_bips=limit.share_bips))
    return found


def _implies_limit(strict: Limit, loose: Limit) -> bool:
    """Whether whatever one bound has room for, the other has: what holds for longer holds for less long."""
    kind = (strict.measure, strict.asset, strict.unit, strict.scope)
    if kind != (loose.measure, loose.asset, loose.unit, loose.scope) or not covers_addresses(strict.only, loose.only):
        return False
    if strict.share_bips is not None or loose.share_bips is not None:
        return strict.share_bips is not None and _no_later(loose.share_bips, strict.share_bips)
    span, most = _span(strict)
    least_span, bound = _span(loose)
    return span >= least_span and most <= bound


def _span(limit: Limit) -> tuple[int, int]:
    """How long a bound looks back, and the bound."""
    if limit.lifetime is not None:
        return EVER_MS, limit.lifetime
    return limit.windows[0] if limit.windows else (0, limit.per_request or 0)


def _limits(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = _bounds(old.terms.limits), _bounds(new.terms.limits)
    for limit in before:
        if not any(_implies_limit(other, limit) for other in after):
            yield Change("limits", limit.name, Direction.LOOSER, f"no longer at most {limit_sentence(old, limit)}")
    for limit in after:
        if any(_implies_limit(other, limit) for other in before):
            continue
        is_fee = limit.measure is Measure.FEE and limit.asset is not None
        opens = is_fee and limit.asset is not None and limit.asset.chain_id not in old.index.fee_limits
        way, note = (Direction.LOOSER, ", and with it fees at all") if opens else (Direction.TIGHTER, "")
        yield Change("limits", limit.name, way, f"now at most {limit_sentence(new, limit)}{note}")
    if any(chain_id not in new.index.fee_limits for chain_id in old.index.fee_limits):
        yield Change("limits", "fees", Direction.TIGHTER, "fees are no longer permitted")


def _asks_as_much(one: ApprovalTerms, two: ApprovalTerms) -> bool:
    """Whether `one` asks as much of people as `two`: whoever satisfies it satisfies the other."""
    if two.groups and (one.groups, one.every) != (two.groups, two.every):
        return False
    people = (not two.of or (bool(one.of) and set(one.of) <= set(two.of))) and one.quorum >= two.quorum
    return people and one.within_s <= two.within_s and (one.apart or not two.apart)


def _implies_approval(strict: ApproveRule, loose: ApproveRule) -> bool:
    """Whether `strict` asks whenever `loose` does, and as much of people."""
    one, two = strict.terms, loose.terms
    if not _asks_as_much(one, two):
        return False
    match strict.when, loose.when:
        case Always(), _:
            return True
        case AboveAmount() as a, AboveAmount() as b:
            same = (a.measure, a.asset, a.unit) == (b.measure, b.asset, b.unit)
            longer = b.window_ms is None or (a.window_ms is not None and a.window_ms >= b.window_ms)
            return same and longer and a.amount <= b.amount
        case NewRecipient() as a, NewRecipient() as b:
            return _keeps_waiting(a, b)
        case (AboveAmount() | NewRecipient(), _) | (_, AboveAmount() | NewRecipient() | Always()):
            return False
        case a, b:
            return covers(a, b, wide=True)


def _approves(old: Policy, new: Policy) -> Iterator[Change]:
    before, after = old.terms.approves, new.terms.approves
    for rule in before:
        if not any(_implies_approval(other, rule) for other in after):
            yield Change("approve", rule.name, Direction.LOOSER, f"no longer asks {approve_sentence(old, rule)}")
    for rule in after:
        if not any(_implies_approval(other, rule) for other in before):
            yield Change("approve", rule.name, Direction.TIGHTER, f"now asks {approve_sentence(new, rule)}")


def named_lines(old: Policy | None, new: Policy) -> list[str]:
    """What the names of a new policy stand for, where an old one had not said the same: a name proves nothing."""
    before = {} if old is None else {name: _pinned(old, name) for name in old.assets}
    book = {} if old is None else old.addresses
    lines = []
    for name in sorted(new.assets):
        if before.get(name) != _pinned(new, name):
            lines += [f"where {name} is {text}" for text in _pinned(new, name)]
    for name, entry in sorted(new.addresses.items()):
        if book.get(name) != entry:
            everywhere = [checksum_address(address) for address in sorted(entry.members)]
            there = everywhere + [_at(address, chain_id) for chain_id, address in sorted(entry.pinned)]
            lines.append(f"where {name} is {', '.join(there + ['the wallet itself'] * entry.own)}")
    return lines


def _pinned(policy: Policy, name: str) -> list[str]:
    """The tokens that an asset's name stands for; a chain's own coin needs no saying."""
    tokens = (asset for asset in policy.assets[name] if not asset.is_native)
    return [f"{_at(asset.address, asset.chain_id)} with {policy.decimals[asset]} decimals" for asset in tokens]


def _at(address: Address, chain_id: int) -> str:
    return f"{checksum_address(address)} on {chain_name(chain_id)}"


def comparison_lines(comparison: Comparison) -> list[str]:
    """The comparison for reading: the verdict, each change, and its example."""
    words = {
        Direction.SAME: "The two policies mean the same.",
        Direction.TIGHTER: "The new policy is tighter: it permits nothing that the old one refused.",
        Direction.LOOSER: "The new policy is looser.",
        Direction.BOTH: "The new policy is looser in some ways and tighter in others.",
    }
    lines = [words[comparison.direction]]
    for change in comparison.changes:
        lines.append(f"- {change.direction.value}: {change.part} {change.name!r} {change.text}")
        if change.example is not None:
            lines += [f"    {line}" for line in change.example.lines]
    return lines

"""Conditions on a call's decoded arguments, as trees over tuples and arrays, and whether they hold.

Which comparison fits which type is settled when a policy is loaded. The one thing that only a request decides
is whether an indexed item is there at all: if it is not, the whole condition counts as `missing` says, so that
a permit does not permit and a forbid forbids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from walletgate.errors import InvariantViolation
from walletgate.policy.addresses import NOBODY, AddressSet
from walletgate.types import AbiValue, Address


class Comparison(Enum):
    """How an argument is compared; ordering only for integers."""

    EQ = "eq"
    LT = "lt"
    LE = "le"
    GT = "gt"
    GE = "ge"


@dataclass(frozen=True, slots=True)
class Compare:
    """The argument stands in this relation to `value`."""

    comparison: Comparison
    value: AbiValue


@dataclass(frozen=True, slots=True)
class Among:
    """The argument is one of the values, or one of the addresses."""

    values: frozenset[AbiValue] = frozenset()
    addresses: AddressSet = NOBODY


@dataclass(frozen=True, slots=True)
class Part:
    """The member of a tuple or array at `index` meets the condition."""

    index: int
    condition: Condition


@dataclass(frozen=True, slots=True)
class Items:
    """Every item of an array meets the condition (`every`), or at least one does."""

    every: bool
    condition: Condition


@dataclass(frozen=True, slots=True)
class Length:
    """The number of items of an array, or of bytes, meets the condition."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class Both:
    """All of the conditions hold; none is always true."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of the conditions holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The condition does not hold."""

    condition: Condition


Condition = Compare | Among | Part | Items | Length | Both | Either | Not


class _AbsentError(Exception):
    """An item that a condition speaks of is not there."""


def holds(
    condition: Condition,
    args: AbiValue,
    own: frozenset[Address],
    *,
    chain_id: int,
    missing: bool = False,
) -> bool:
    """Whether `condition` holds for `args`, for a request by one of `own`."""
    try:
        return _holds(condition, args, own, chain_id)
    except _AbsentError:
        return missing


def _holds(  # noqa: C901, PLR0911 - one arm for each kind of condition
    condition: Condition, value: AbiValue, own: frozenset[Address], chain_id: int
) -> bool:
    match condition:
        case Compare():
            return _compare(condition, value)
        case Among():
            return value in condition.values or (
                isinstance(value, bytes) and condition.addresses.has(Address(value), chain_id, own)
            )
        case Part():
            items = _items(value)
            if condition.index >= len(items):
                raise _AbsentError
            return _holds(condition.condition, items[condition.index], own, chain_id)
        case Items():
            found = [_holds(condition.condition, item, own, chain_id) for item in _items(value)]
            return all(found) if condition.every else any(found)
        case Length():
            if not isinstance(value, tuple | bytes | str):
                raise InvariantViolation("a length of something that has none")
            return _holds(condition.condition, len(value), own, chain_id)
        case Both():
            return all(_holds(each, value, own, chain_id) for each in condition.conditions)
        case Either():
            return any(_holds(each, value, own, chain_id) for each in condition.conditions)
        case Not():
            return not _holds(condition.condition, value, own, chain_id)
        case _:
            assert_never(condition)


def _items(value: AbiValue) -> Sequence[AbiValue]:
    if not isinstance(value, tuple):
        raise InvariantViolation("an item of something that has none")
    return value


def _compare(condition: Compare, value: AbiValue) -> bool:
    bound = condition.value
    if condition.comparison is Comparison.EQ:
        return value == bound
    if not isinstance(value, int) or not isinstance(bound, int):
        raise InvariantViolation("an order of something that has none")
    match condition.comparison:
        case Comparison.LT:
            return value < bound
        case Comparison.LE:
            return value <= bound
        case Comparison.GT:
            return value > bound
        case Comparison.GE:
            return value >= bound
        case _:
            assert_never(condition.comparison)

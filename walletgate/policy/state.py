"""One judgement under way: the case, what has been found so far, and what is to be booked."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from walletgate.policy.case import Case
from walletgate.policy.document import Policy
from walletgate.policy.model import Rule
from walletgate.policy.schedule import within
from walletgate.types import Address, ApprovalTerms, Asset, Reason


class Flow(NamedTuple):
    """One amount that leaves: to whom, and through which contract."""

    asset: Asset
    amount: int
    recipient: Address
    contract: Address | None


@dataclass(slots=True)
class Judging:
    """The working state; `own` are the wallet and the policy's accounts."""

    policy: Policy
    case: Case
    own: frozenset[Address]
    now_s: int
    denials: list[Reason] = field(default_factory=list)
    asks: list[Reason] = field(default_factory=list)
    permits: list[Reason] = field(default_factory=list)
    terms: list[ApprovalTerms] = field(default_factory=list)
    grants: dict[str, list[Rule]] = field(default_factory=dict)
    """The rules that permitted calls and signatures, by the paths of these: each holds from there on down."""
    inherited: dict[str, list[Rule]] = field(default_factory=dict)
    """What `grants_at` has found, by path, until another rule is granted."""
    flows: list[Flow] = field(default_factory=list)
    fees: dict[int, int] = field(default_factory=dict)
    """By chain id."""
    fee_bips: dict[Address, int] = field(default_factory=dict)
    allowances: dict[tuple[Asset, Address, Address], int] = field(default_factory=dict)

    def is_active(self, rule: Rule) -> bool:
        """Whether the rule holds now."""
        return (rule.expires_at is None or self.now_s < rule.expires_at) and (
            rule.hours is None or within(rule.hours, self.now_s)
        )

    def grants_at(self, path: str) -> list[Rule]:
        """The rules of permitted calls and signatures that the effect at `path` is part of."""
        found = self.inherited.get(path)
        if found is None:
            found = [rule for each in ancestors(path) for rule in self.grants.get(each, ())]
            self.inherited[path] = found
        return found

    def grant(self, path: str, rule: Rule) -> None:
        """`rule` permitted the call or signature at `path`."""
        self.inherited.clear()
        self.grants.setdefault(path, []).append(rule)


@lru_cache(maxsize=4096)
def ancestors(path: str) -> tuple[str, ...]:
    """`path` and everything it is inside of, outermost first: the request, then each prefix that ends at a step."""
    ends = (index for index, char in enumerate(path) if char in ".[")
    return ("", *(path[:end] for end in ends if end), path) if path else ("",)

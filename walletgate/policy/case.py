"""What the judge is told: one request's effects, who asks, when, and the facts a policy may rest on.

A fact that a policy needs and that is not here denies the request: absent is never zero, never empty, never new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from walletgate.types import Address, Asset, Bucket, Effect, Expectation

Used = Callable[[Bucket, int | None], int]
"""Pending plus posted of a bucket in the window of so many milliseconds, None since the beginning, as of now."""


@dataclass(frozen=True, slots=True)
class PriceFact:
    """A whole unit of an asset was worth `value` 10^-18 parts of the currency at `at_s` (Unix seconds)."""

    value: int
    at_s: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a node says that running the transaction does: effects by its logs, in order.

    `before` are allowances in force before it ran, by (asset, owner, spender). `reverted` is why it would fail,
    None if it would not.
    """

    effects: tuple[Effect, ...] = ()
    before: Mapping[tuple[Asset, Address, Address], int] = field(default_factory=dict)
    reverted: str | None = None


AGREES = Simulation()
"""Nothing but what was read: what is assumed where rules are tried out without a node."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts beside the request; None, and an absent key, is a fact that is not known.

    `balances` is what the wallet holds. `first_seen_ms` says when each recipient was first paid or listed; an
    address that is absent from it is new. `allowances` are what is in force by (asset, owner, spender), with
    everything pending on top. `gas` is the gas limit of the transaction. `simulation` is None when it failed.
    """

    balances: Mapping[Asset, int] = field(default_factory=dict)
    prices: Mapping[tuple[Asset, str], PriceFact] = field(default_factory=dict)
    first_seen_ms: Mapping[Address, int] | None = None
    allowances: Mapping[tuple[Asset, Address, Address], int] = field(default_factory=dict)
    gas: int | None = None
    simulation: Simulation | None = None


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class Case:
    """One request as the judge sees it. `wallet` is whose key would sign, `group` the grant's group if it has one."""

    grant: str
    agent: str
    wallet: Address
    chain_id: int
    now_ms: int
    method: str
    effects: tuple[Effect, ...]
    expect: Expectation | None = None
    facts: Facts = NO_FACTS
    memo: str = ""
    group: str | None = None

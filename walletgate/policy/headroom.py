"""What is left of each limit, for an agent to read and an operator's budget table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from walletgate.policy.amounts import format_share
from walletgate.policy.case import Used
from walletgate.policy.document import Policy
from walletgate.policy.model import Limit
from walletgate.policy.model import Scope as LimitScope
from walletgate.policy.naming import asset_name, measure_text
from walletgate.types import Address, Asset, Bucket, Measure


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose budgets are looked at."""

    grant: str
    group: str | None
    wallet: Address
    chain_id: int


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One bound of one limit. `kind` is per_request, window, lifetime or share; amounts are base units, wei or a count.

    `used` and `available` are None for limits by recipient or contract, which have a total for each of them. A share is
    of what the wallet holds now; while that is not known its `limit` is 0, as a request would be refused.
    """

    name: str
    kind: str
    measure: str
    asset: str
    window_s: int | None
    limit: int
    used: int | None
    available: int | None
    limit_text: str
    used_text: str
    available_text: str


def headroom(
    policy: Policy, scope: Scope, used: Used, *, balances: Mapping[Asset, int] | None = None
) -> tuple[LimitStatus, ...]:
    """Every bound of the policy's limits on the scope's chain, with what is left of it.

    `balances` is what the wallet holds, for limits that are shares of it.
    """
    found: list[LimitStatus] = []
    for limit in policy.terms.limits:
        if limit.asset is None or limit.asset.chain_id == scope.chain_id:
            found += _bounds(policy, limit, _bucket(limit, scope), used)
            if limit.share_bips is not None and limit.asset is not None:
                found.append(_share(policy, limit, limit.share_bips, (balances or {}).get(limit.asset)))
    return tuple(found)


def _share(policy: Policy, limit: Limit, bips: int, held: int | None) -> LimitStatus:
    """A share of the balance, rounded down as the judge does."""
    status = _status(policy, limit, "share", None, (held or 0) * bips // 10_000, 0)
    note = "of what the wallet holds" + (", which is not known now" if held is None else f": {status.limit_text}")
    return replace(status, limit_text=f"{format_share(bips)} {note}")


def _bounds(policy: Policy, limit: Limit, bucket: Bucket | None, used: Used) -> Iterator[LimitStatus]:
    if limit.per_request is not None:
        yield _status(policy, limit, "per_request", None, limit.per_request, 0)
    for window_ms, bound in limit.windows:
        total = None if bucket is None else used(bucket, window_ms)
        yield _status(policy, limit, "window", window_ms // 1000, bound, total)
    if limit.lifetime is not None:
        total = None if bucket is None else used(bucket, None)
        yield _status(policy, limit, "lifetime", None, limit.lifetime, total)


def _bucket(limit: Limit, scope: Scope) -> Bucket | None:
    measure, asset, unit = limit.measure, limit.asset, limit.unit
    match limit.scope:
        case LimitScope.GRANT:
            return Bucket(measure, asset, grant=scope.grant, unit=unit)
        case LimitScope.WALLET:
            return Bucket(measure, asset, wallet=scope.wallet, unit=unit)
        case LimitScope.GROUP:
            return Bucket(measure, asset, group=scope.group, unit=unit) if scope.group is not None else None
        case LimitScope.RECIPIENT | LimitScope.CONTRACT:
            return None


def _status(policy: Policy, limit: Limit, kind: str, window_s: int | None, bound: int, used: int | None) -> LimitStatus:
    def say(amount: int) -> str:
        return measure_text(policy, limit.measure, limit.asset, limit.unit, amount)

    left = None if used is None else max(0, bound - used)
    fees = " fees" if limit.measure is Measure.FEE else ""
    name = limit.unit or (asset_name(policy, limit.asset) + fees if limit.asset is not None else "requests")
    each = "each its own"
    used_text, left_text = (each if n is None else say(n) for n in (used, left))
    return LimitStatus(
        limit.name, kind, limit.measure.value, name, window_s, bound, used, left, say(bound), used_text, left_text
    )

"""The most that a hostile agent can take under a policy: per asset, in an hour, in a day, ever.

Computed from the rules alone, for an agent that does everything it is permitted to do as often as it may, with
whoever receives it on its side. A rolling window of length W and bound B admits at most B * ceil(H / W) in any
interval of length H, and that much it admits. Requests that a human is asked about do not count unless
`approved` says that the human always agrees. Limits in a currency are left out, because prices move: they can
only make it less.

Unbounded is `None`, with the reason in `notes`: nothing limits the asset, or a rule hands over power that no
amount describes (blind signing, delegations, administrative acts, foreign code). Allowances that do not count
against limits are listed apart, because they trust their spender with `most` again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from walletgate.policy.addresses import ANYONE, NOBODY, OWN, AddressSet
from walletgate.policy.contain import covers_addresses
from walletgate.policy.document import Policy
from walletgate.policy.model import (
    AboveAmount,
    AdminMatch,
    AllowanceMatch,
    Always,
    BlindMatch,
    CallMatch,
    DelegateMatch,
    DeployMatch,
    Limit,
    MessageMatch,
    NftMatch,
    Rule,
    Scope,
    SignMatch,
    TransferMatch,
)
from walletgate.policy.naming import asset_name, measure_text
from walletgate.policy.words_rules import permit_sentence
from walletgate.types import Asset, Measure

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

Most = int | None
"""Base units, or None where nothing bounds it."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """What can be taken of one asset, or paid in fees in it. None is unlimited."""

    asset: Asset
    measure: Measure
    hour: Most
    day: Most
    ever: Most


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a hostile agent can do at most."""

    exposures: tuple[Exposure, ...]
    powers: tuple[str, ...]
    """Rules that hand over more than amounts: while there are any, nothing is bounded."""
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Reach:
    """Who can get an asset: None is anybody."""

    ends: set[bytes] | None = field(default_factory=set)
    any_rule: bool = False

    def add(self, to: AddressSet, extra: Iterable[bytes] = ()) -> None:
        """More recipients."""
        if to == OWN and not extra:
            return
        self.any_rule = True
        if to.anyone:
            self.ends = None
        elif self.ends is not None:
            self.ends |= to.members | {address for _, address in to.pinned} | set(extra)


def bound(policy: Policy, *, approved: bool = False) -> Bounds:
    """The bounds of `policy`; `approved`: as if every human always agreed."""
    rules = list(policy.terms.permits)
    powers = tuple(f"{rule.name!r}: may {permit_sentence(policy, rule)}" for rule in rules if _hands_over_power(rule))
    reaches: dict[Asset, _Reach] = {}
    for rule in rules:
        _reach(rule, reaches)
    if any(isinstance(rule.match, DeployMatch) for rule in rules):
        for coin in policy.index.coins.values():
            reaches.setdefault(coin, _Reach()).add(ANYONE)
    found = []
    for asset in sorted(policy.decimals, key=lambda each: (each.chain_id, policy.index.asset_names[each])):
        reach = reaches.get(asset, _Reach())
        if powers or reach.any_rule:
            found.append(_exposure(policy, asset, Measure.AMOUNT, reach, approved=approved or bool(powers)))
        if asset.is_native and policy.index.fee_limits.get(asset.chain_id):
            found.append(_exposure(policy, asset, Measure.FEE, _Reach(None, any_rule=True), approved=approved))
    if powers:
        found = [
            each if each.measure is Measure.FEE else Exposure(each.asset, each.measure, None, None, None)
            for each in found
        ]
    return Bounds(tuple(found), powers, tuple(sorted(_notes(policy, rules))))


def _hands_over_power(rule: Rule) -> bool:
    match rule.match:
        case BlindMatch() | DelegateMatch() | AdminMatch():
            return True
        case CallMatch() as call:
            return call.delegatecall or call.functions is None
        case SignMatch() as sign:
            return sign.primary_types is None
        case _:
            return False


def _reach(rule: Rule, reaches: dict[Asset, _Reach]) -> None:
    match rule.match:
        case TransferMatch() as match:
            for asset in match.assets or ():
                reaches.setdefault(asset, _Reach()).add(match.to)
        case AllowanceMatch() as match if match.counted:
            for asset in match.assets or ():
                reaches.setdefault(asset, _Reach()).add(match.spender)
        case CallMatch() | SignMatch() as match:
            contracts = [address for _, address in match.contracts or ()]
            for asset in match.spend:
                reaches.setdefault(asset, _Reach()).add(match.to, contracts)
        case _:
            pass


def _exposure(policy: Policy, asset: Asset, measure: Measure, reach: _Reach, *, approved: bool) -> Exposure:
    limits = [each for each in policy.terms.limits if each.measure is measure and each.asset == asset]
    counts = [each for each in policy.terms.limits if each.measure is Measure.COUNT]
    if not approved:
        extra = _asked(policy, measure, asset)
        if extra is None:
            return Exposure(asset, measure, 0, 0, 0)
        limits += extra
    hour, day, ever = (_most(limits, counts, reach, span) for span in (HOUR_MS, DAY_MS, None))
    return Exposure(asset, measure, hour, day, ever)


def _asked(policy: Policy, measure: Measure, asset: Asset) -> list[Limit] | None:
    """Thresholds above which a human is asked, as limits on what goes without; None: every request is asked about."""
    found = []
    for rule in policy.terms.approves:
        match rule.when:
            case Always():
                return None
            case AboveAmount() as when if when.measure is measure and when.asset == asset:
                name = rule.name
                if when.window_ms is None:
                    found.append(Limit(name, measure, asset, per_request=when.amount))
                else:
                    found.append(Limit(name, measure, asset, windows=((when.window_ms, when.amount),)))
            case TransferMatch() as match if measure is Measure.AMOUNT and _asks_about_all(policy, match, asset):
                return None
            case _:
                pass
    return found


def _asks_about_all(policy: Policy, match: TransferMatch, asset: Asset) -> bool:
    """Whether every way out of `asset` is asked about. The value of a new contract is no payment."""
    deploys = asset.is_native and any(isinstance(rule.match, DeployMatch) for rule in policy.terms.permits)
    return (
        not deploys
        and (match.assets is None or asset in match.assets)
        and match.to.anyone
        and match.not_to == NOBODY
        and covers_addresses(match.sender, OWN)
    )


def _most(limits: Iterable[Limit], counts: Iterable[Limit], reach: _Reach, span_ms: int | None) -> Most:
    """The least of what each limit admits in `span_ms`; None is for ever."""
    found: list[int] = []
    requests = _least(_admitted(each, span_ms) for each in counts)
    for limit in limits:
        admitted = _admitted(limit, span_ms)
        if limit.per_request is not None and requests is not None and limit.scope is not Scope.CONTRACT:
            admitted = _least([admitted, limit.per_request * requests])
        if admitted is None or limit.scope is Scope.CONTRACT:
            continue
        if limit.scope is Scope.RECIPIENT:
            if reach.ends is None or not all(limit.only.anyone or end in limit.only.members for end in reach.ends):
                continue
            admitted *= len(reach.ends)
        found.append(admitted)
    return _least(found)


def _admitted(limit: Limit, span_ms: int | None) -> Most:
    found: list[Most] = [limit.lifetime]
    if span_ms is not None:
        found += [amount * -(-span_ms // window_ms) for window_ms, amount in limit.windows]
    found += [0 for _, amount in limit.windows if amount == 0]
    if limit.per_request == 0:
        found.append(0)
    return _least(found)


def _least(amounts: Iterable[Most]) -> Most:
    return min((amount for amount in amounts if amount is not None), default=None)


def _notes(policy: Policy, rules: Iterable[Rule]) -> Iterable[str]:
    for rule in rules:
        match rule.match:
            case AllowanceMatch() as match if not match.counted:
                yield f"{rule.name!r} trusts its spender beyond all limits: may {permit_sentence(policy, rule)}"
            case NftMatch():
                yield f"{rule.name!r} has no limit on how many tokens: may {permit_sentence(policy, rule)}"
            case MessageMatch() as match if not match.texts and not match.prefixes:
                yield f"{rule.name!r}: may {permit_sentence(policy, rule)}, and some sites take a text for an order"
            case _:
                pass


def bound_lines(policy: Policy, bounds: Bounds) -> list[str]:
    """The bounds for reading."""
    lines = [f"Power beyond amounts, {power}." for power in bounds.powers]
    for each in bounds.exposures:
        hour, day, ever = (_say(policy, each, amount) for amount in (each.hour, each.day, each.ever))
        lines.append(f"{hour} in any hour, {day} in any day, {ever} ever.")
    if not bounds.exposures:
        lines.append("Nothing can be taken.")
    return lines + [f"Note: {note}." for note in bounds.notes]


def _say(policy: Policy, exposure: Exposure, amount: Most) -> str:
    fees = " in fees" if exposure.measure is Measure.FEE else ""
    if amount is None:
        return f"unlimited {asset_name(policy, exposure.asset)}{fees}"
    return measure_text(policy, exposure.measure, exposure.asset, None, amount)

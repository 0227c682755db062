"""What is probably a mistake in a policy that loads: rules that do nothing, and rules that do more than they say.

Every finding names its rule. `error` is a rule that cannot do what it was written for, `warning` one that
reaches further than it reads, `hint` what is left over. Nothing is found by guessing at intentions: each code
stands for a fact about the compiled policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import combinations
from typing import Final

from walletgate.effects import REGISTRY
from walletgate.effects.abi import Function
from walletgate.effects.registry import RECIPIENT_NAMES
from walletgate.encoding import checksum_address
from walletgate.policy.conditions import Both, Condition, Part
from walletgate.policy.contain import covers, covers_rule
from walletgate.policy.document import Policy
from walletgate.policy.model import (
    AboveAmount,
    AllowanceMatch,
    CallMatch,
    FeeShareMatch,
    Limit,
    Rule,
    Scope,
    SignMatch,
    TransferMatch,
)
from walletgate.policy.naming import address_name, asset_name, measure_text
from walletgate.types import Address, Asset, Measure

SHOWN_DIGITS: Final = 4
"""How many digits at each end of an address people compare."""

_WITH_FEES: Final = frozenset({"eth_sendTransaction", "eth_signTransaction", "wallet_sendCalls"})
"""Methods whose requests cost fees: a policy without any of them needs no limit on fees."""


class Severity(Enum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is probably wrong."""

    code: str
    severity: Severity
    rule: str | None
    text: str


def lint(policy: Policy, *, now_s: int | None = None) -> tuple[Finding, ...]:
    """All findings, errors first; with `now_s` (Unix seconds) also what has ended."""
    found = [
        *_never(policy),
        *_ended(policy, now_s),
        *_shadowed(policy),
        *_dead_limits(policy),
        *_dead_approvals(policy),
        *_wide(policy),
        *_unbounded(policy),
        *_unwatched(policy),
        *_addresses(policy),
        *_unused(policy),
    ]
    return in_order(found)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings as they are shown: errors first."""
    order = list(Severity)
    return tuple(sorted(findings, key=lambda each: (order.index(each.severity), each.code, each.rule or "", each.text)))


def _error(code: str, rule: str | None, text: str) -> Finding:
    return Finding(code, Severity.ERROR, rule, text)


def _warning(code: str, rule: str | None, text: str) -> Finding:
    return Finding(code, Severity.WARNING, rule, text)


def _never(policy: Policy) -> Iterator[Finding]:
    """Permits that forbids or limits of zero take back, and permits that need another one."""
    terms = policy.terms
    grants = any(isinstance(rule.match, CallMatch | SignMatch) for rule in terms.permits)
    for rule in terms.permits:
        for forbid in terms.forbids:
            if forbid.hours is None and covers(forbid.match, rule.match, wide=True):
                yield _error("never_matches", rule.name, f"everything it permits is forbidden by {forbid.name!r}")
        if isinstance(rule.match, FeeShareMatch) and not grants:
            yield _error("never_matches", rule.name, "there is no call or signature whose proceeds could be shared")
        match = rule.match
        if isinstance(match, AllowanceMatch) and match.counted and match.most is None:
            bounded = [asset for asset in match.assets or () if _bounds_amounts(policy, asset)]
            names = ", ".join(sorted(asset_name(policy, asset) for asset in bounded))
            if bounded:
                text = f"unlimited {names} counts as unlimited against its limits: say counted = false or a max"
                yield _error("never_matches", rule.name, text)
    if not policy.index.fee_limits and terms.methods & _WITH_FEES:
        yield _error("no_fees", None, "no limit on fees: every transaction will be refused")


def _bounds_amounts(policy: Policy, asset: Asset) -> bool:
    limits = policy.index.amount_limits.get(asset, ())
    return any(limit.only.anyone and limit.scope is not Scope.CONTRACT for limit in limits)


def _ended(policy: Policy, now_s: int | None) -> Iterator[Finding]:
    if now_s is None:
        return
    if policy.terms.expires_at is not None and policy.terms.expires_at <= now_s:
        yield _error("ended", None, "the policy has ended: everything is refused")
    for rule in policy.terms.permits:
        if rule.expires_at is not None and rule.expires_at <= now_s:
            yield _error("ended", rule.name, "the rule has ended")


def _shadowed(policy: Policy) -> Iterator[Finding]:
    """Rules that another rule contains."""
    for kind, rules in (("permit", policy.terms.permits), ("forbid", policy.terms.forbids)):
        for one, two in combinations(rules, 2):
            for big, small in ((one, two), (two, one)):
                if covers_rule(big, small, wide=kind == "forbid"):
                    yield Finding(
                        "shadowed", Severity.HINT, small.name, f"{big.name!r} already {kind}s all that it {kind}s"
                    )
                    break


def _dead_limits(policy: Policy) -> Iterator[Finding]:
    """Bounds that another bound of the same total makes useless."""
    for limit in policy.terms.limits:
        bounds = [("a request", limit.per_request, 0)]
        bounds += [(f"{window_ms // 1000} s", bound, window_ms) for window_ms, bound in limit.windows]
        bounds.append(("all time", limit.lifetime, 2**63))
        known = [(name, bound, span) for name, bound, span in bounds if bound is not None]
        for (short, less, _), (long, more, _) in combinations(known, 2):
            if less > more:
                say = measure_text(policy, limit.measure, limit.asset, limit.unit, more)
                text = f"the bound for {short} is never reached: {say} for {long} is less"
                yield _warning("dead_bound", limit.name, text)
        if any(bound == 0 for _, bound, _ in known):
            yield _warning("zero_limit", limit.name, "a bound of zero refuses everything it speaks of")


def _dead_approvals(policy: Policy) -> Iterator[Finding]:
    """Thresholds that a limit makes unreachable, and questions about what is refused anyway."""
    for rule in policy.terms.approves:
        when = rule.when
        if not isinstance(when, AboveAmount) or when.asset is None or when.window_ms is not None:
            continue
        index = policy.index
        limits = index.amount_limits.get(when.asset, ()) if when.measure is Measure.AMOUNT else ()
        for limit in limits:
            bounds = [limit.per_request, limit.lifetime, *(bound for _, bound in limit.windows)]
            least = min((bound for bound in bounds if bound is not None), default=None)
            if limit.only.anyone and limit.scope in _WHOLE and least is not None and least <= when.amount:
                yield _error("never_asks", rule.name, f"{limit.name!r} refuses whatever is above the threshold")
        if when.measure is Measure.AMOUNT and not _is_reachable(policy, when.asset):
            yield _warning("never_asks", rule.name, f"no rule permits taking {asset_name(policy, when.asset)}")


_WHOLE: Final = frozenset({Scope.GRANT, Scope.WALLET, Scope.GROUP})


def _is_reachable(policy: Policy, asset: Asset) -> bool:
    return any(asset in assets for _, assets in _takes(policy))


def _takes(policy: Policy) -> Iterator[tuple[Rule, frozenset[Asset]]]:
    """Each permit with the assets that leave by it and are counted."""
    for rule in policy.terms.permits:
        match rule.match:
            case TransferMatch() as match:
                yield rule, match.assets or frozenset()
            case CallMatch() | SignMatch() as match:
                yield rule, match.spend
            case AllowanceMatch() as match if match.counted:
                yield rule, match.assets or frozenset()
            case _:
                pass


def _wide(policy: Policy) -> Iterator[Finding]:  # noqa: C901, PLR0912 - one arm for each kind of match
    """Permits that reach further than they read."""
    for rule in policy.terms.permits:
        match rule.match:
            case TransferMatch() as match:
                if match.to.anyone:
                    yield _warning("anybody", rule.name, "may pay anybody at all")
                if match.sender.anyone:
                    yield _warning("others_money", rule.name, "may use allowances that others gave to the wallet")
            case CallMatch() as call:
                if call.functions is None:
                    yield _warning(
                        "any_function", rule.name, "permits every function of the contract, also future ones"
                    )
                if call.delegatecall:
                    yield _warning("foreign_code", rule.name, "lets the contract act with the wallet's own powers")
                if call.to.anyone:
                    yield _warning("anybody", rule.name, "what the call moves may go to anybody at all")
            case AllowanceMatch() as allowance:
                if allowance.spender.anyone:
                    yield _warning("anybody", rule.name, "anybody at all may be given the allowance")
                if not allowance.counted:
                    yield _warning("not_counted", rule.name, "the allowance counts against no limit")
            case SignMatch() as sign:
                if sign.primary_types is None:
                    yield _warning("any_signature", rule.name, "permits every kind of signature for the contract")
                if sign.ttl_max_s is None:
                    yield _warning("no_end", rule.name, "signatures may be valid without end")
            case _:
                pass


def _unwatched(policy: Policy) -> Iterator[Finding]:
    """Addresses that a function which only the policy knows is given, and that nothing looks at."""
    for rule in policy.terms.permits:
        match = rule.match
        if not isinstance(match, CallMatch) or match.functions is None:
            continue
        for chain_id, contract in sorted(match.contracts or ()):
            for selector, said in match.functions.items():
                if REGISTRY.find(selector, contract) is not None:
                    continue
                for name in _blind_addresses(policy.functions[chain_id, contract, selector], said.where):
                    text = f"says nothing about {name} of {said.label}: it may be any address"
                    yield _warning("unwatched_address", rule.name, text)


def _blind_addresses(function: Function, where: Condition | None) -> Iterator[str]:
    """Parameters with addresses that are not recipients by their name and that no condition speaks of."""
    parts = where.conditions if isinstance(where, Both) else (where,)
    seen = {part.index for part in parts if isinstance(part, Part)}
    for index, param in enumerate(function.params):
        is_watched = param.kind == "address" and param.name.lstrip("_") in RECIPIENT_NAMES
        if "address" in param.canonical and index not in seen and not is_watched:
            yield repr(param.name) if param.name else f"parameter {index}"


def _unbounded(policy: Policy) -> Iterator[Finding]:
    """Assets that leave without a limit, and limits that bound one request but not many."""
    takes: dict[Asset, str] = {}
    for rule, assets in _takes(policy):
        for asset in assets:
            takes.setdefault(asset, rule.name)
    counted = any(limit.measure is Measure.COUNT for limit in policy.terms.limits)
    quoted = any(limit.measure is Measure.QUOTE for limit in policy.terms.limits)
    for asset, name in takes.items():
        limits = policy.index.amount_limits.get(asset, ())
        if not limits and not quoted:
            yield _warning("unlimited", name, f"nothing limits how much {asset_name(policy, asset)} leaves")
        elif limits and not counted and not quoted and not any(map(_in_time, limits)):
            yield _warning("unlimited", limits[0].name, f"many requests take any amount of {asset_name(policy, asset)}")
    swap = policy.terms.swap
    if swap.deadline_max_s is not None and not swap.require_deadline:
        text = "max_deadline bounds the deadlines there are, and a swap without one can wait for ever: require_deadline"
        yield _warning("no_deadline", None, text)
    for limits in policy.index.fee_limits.values():
        if not counted and not any(map(_in_time, limits)):
            yield _warning("unlimited", limits[0].name, "many requests pay any amount of fees")


def _in_time(limit: Limit) -> bool:
    return bool(limit.windows) or limit.lifetime is not None


def _addresses(policy: Policy) -> Iterator[Finding]:
    """Addresses that look alike, that have two names, or that are a token's own contract."""
    known: dict[Address, str] = {}
    for name, entry in sorted(policy.addresses.items()):
        every = entry.members | {address for _, address in entry.pinned}
        if len(every) != 1:
            continue
        address = next(iter(every))
        if address in known:
            yield _warning("two_names", None, f"{known[address]!r} and {name!r} are the same address")
        known.setdefault(address, name)
    everyone = {address: address_name(policy, address) for address in _used_addresses(policy)}
    everyone |= {asset.address: name for asset, name in policy.index.asset_names.items()} | known
    for (one, first), (two, second) in combinations(sorted(everyone.items(), key=lambda item: item[1]), 2):
        if _look_alike(one, two):
            shown = f"{checksum_address(one)} and {checksum_address(two)}"
            yield _error("look_alike", None, f"{first!r} and {second!r} differ only in the middle: {shown}")
    tokens = {asset.address for asset in policy.decimals if not asset.is_native}
    for rule in policy.terms.permits:
        if isinstance(rule.match, TransferMatch):
            for address in rule.match.to.members & tokens:
                text = f"pays to {address_name(policy, address)}, a token's contract: what it is sent is lost"
                yield _error("pays_a_token", rule.name, text)


def _look_alike(one: Address, two: Address) -> bool:
    a, b = one.hex(), two.hex()
    return a[:SHOWN_DIGITS] == b[:SHOWN_DIGITS] and a[-SHOWN_DIGITS:] == b[-SHOWN_DIGITS:]


def _unused(policy: Policy) -> Iterator[Finding]:
    """Names that no rule speaks of."""
    used = _used_addresses(policy)
    for name, entry in sorted(policy.addresses.items()):
        every = entry.members | {address for _, address in entry.pinned}
        if not every & used:
            yield Finding("unused_name", Severity.HINT, None, f"no rule speaks of {name!r}")
    spoken = {limit.asset for limit in policy.terms.limits} | {
        asset for _, assets in _takes(policy) for asset in assets
    }
    spoken |= {asset for rule in policy.terms.permits for asset in getattr(rule.match, "assets", None) or ()}
    for name, assets in sorted(policy.assets.items()):
        if not any(asset.is_native or asset in spoken or asset.address in used for asset in assets):
            yield Finding("unused_name", Severity.HINT, None, f"no rule speaks of the asset {name!r}")


def _used_addresses(policy: Policy) -> set[Address]:
    """Every address that the text of a rule, a limit or an account leads to."""
    found: set[Address] = set(policy.terms.accounts) | set(policy.terms.underlying.values())
    found |= {price.feed.contract[1] for price in policy.terms.prices if price.feed is not None}
    sets = [limit.only for limit in policy.terms.limits]
    for match in [rule.match for rule in (*policy.terms.permits, *policy.terms.forbids)]:
        sets += [getattr(match, key) for key in _SETS if hasattr(match, key)]
        for key in ("contracts", "collections"):
            found |= {address for _, address in getattr(match, key, None) or ()}
    sets += [rule.who.known for rule in policy.terms.cooldowns]
    for rule in policy.terms.approves:
        sets += [getattr(rule.when, key) for key in (*_SETS, "known") if hasattr(rule.when, key)]
        found |= {address for _, address in getattr(rule.when, "contracts", None) or ()}
    sets.append(policy.terms.swap.to)
    for each in sets:
        found |= each.members | {address for _, address in each.pinned}
    return found


_SETS: Final = ("to", "not_to", "sender", "via", "spender", "not_spender", "operators", "subjects")

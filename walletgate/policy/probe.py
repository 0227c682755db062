"""Requests made from a policy's own rules, to show what a change of policy changes.

A probe does the least thing that a rule speaks of, or goes one unit past a bound. It invents nothing: whether
two policies differ on it is what the judge says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from walletgate.policy.addresses import AddressSet
from walletgate.policy.case import AGREES, Case, Facts
from walletgate.policy.document import Policy
from walletgate.policy.judge import judge
from walletgate.policy.model import (
    AboveAmount,
    AdminMatch,
    AllowanceMatch,
    Always,
    BlindMatch,
    CallMatch,
    DelegateMatch,
    DeployMatch,
    FeeShareMatch,
    FunctionMatch,
    Limit,
    LoginMatch,
    Match,
    MessageMatch,
    NewRecipient,
    NftMatch,
    RevokeMatch,
    SignMatch,
    TrailingMatch,
    TransferMatch,
)
from walletgate.policy.naming import measure_text
from walletgate.policy.words import describe
from walletgate.types import (
    UINT256_MAX,
    Address,
    AdminChange,
    Allowance,
    Asset,
    Bucket,
    Call,
    Delegation,
    Deployment,
    Effect,
    Fee,
    FeeShare,
    Hash32,
    Login,
    Measure,
    MessageSignature,
    NftTransfer,
    Opaque,
    OperatorApproval,
    Outcome,
    TrailingBytes,
    Transfer,
    TypedSignature,
)

WALLET: Final = Address(b"\xaa" * 20)
STRANGER: Final = Address(b"\x57" * 20)
NOW_S: Final = 1_767_225_600
NOBODY_SEEN: Final = Facts(first_seen_ms={}, simulation=AGREES)
_WORDS: Final = {Outcome.DENY: "refuses", Outcome.REQUIRE_APPROVAL: "asks about", Outcome.ALLOW: "allows"}


@dataclass(frozen=True, slots=True)
class Probe:
    """A request, and what was used before in every window."""

    chain_id: int
    effects: tuple[Effect, ...]
    used: int = 0
    measure: Measure = Measure.AMOUNT
    facts: Facts = NOBODY_SEEN


@dataclass(frozen=True, slots=True)
class Example:
    """A request that two policies judge differently."""

    probe: Probe
    old: Outcome
    new: Outcome
    lines: tuple[str, ...]


def example(old: Policy, new: Policy, name: str, *, looser: bool | None) -> Example | None:
    """A request about the rule called `name` that `new` judges otherwise; `looser` says which way, None either."""
    for policy in (new, old):
        for probe in _probes(policy, name):
            before, after = _judge(old, probe), _judge(new, probe)
            if before is after or (looser is not None and (after > before) is not looser):
                continue
            return Example(probe, before, after, tuple(_lines(policy, probe, before, after)))
    return None


def _judge(policy: Policy, probe: Probe) -> Outcome:
    case = Case(
        grant="example",
        agent="example",
        wallet=WALLET,
        chain_id=probe.chain_id,
        now_ms=NOW_S * 1000,
        method=min(policy.terms.methods, default=""),
        effects=probe.effects,
        facts=probe.facts,
        group="example",
    )

    def used(bucket: Bucket, _window_ms: int | None) -> int:
        return probe.used if bucket.measure is probe.measure else 0

    return judge(policy, case, used).outcome


def _lines(policy: Policy, probe: Probe, old: Outcome, new: Outcome) -> Iterator[str]:
    what = ", ".join(describe(effect, policy) for effect in probe.effects)
    asset = next((effect.asset for effect in probe.effects if isinstance(effect, Transfer | Allowance)), None)
    before = ""
    if probe.used:
        named = None if probe.measure is Measure.COUNT else asset
        before = f" after {measure_text(policy, probe.measure, named, None, probe.used)} before it"
    yield f"a request that {what}{before}"
    yield f"the old policy {_WORDS[old]} it, the new one {_WORDS[new]} it"


def _probes(policy: Policy, name: str) -> Iterator[Probe]:
    terms = policy.terms
    for rule in (*terms.permits, *terms.forbids):
        if rule.name == name:
            yield from _of_match(policy, rule.match)
    for limit in terms.limits:
        if limit.name == name:
            yield from _of_limit(policy, limit)
    if any(rule.name == name for rule in terms.cooldowns):
        yield from _payments(policy)
    for ask in terms.approves:
        if ask.name != name:
            continue
        match ask.when:
            case AboveAmount() as when:
                yield from _of_limit(policy, Limit(name, when.measure, when.asset, per_request=when.amount))
            case NewRecipient() | Always():
                yield from _payments(policy)
            case when:
                yield from _of_match(policy, when)


def _payments(policy: Policy) -> Iterator[Probe]:
    """What the policy's permits let go, one base unit at a time, plain payments first."""
    for kind in (TransferMatch, CallMatch, SignMatch, AllowanceMatch):
        for rule in policy.index.kinds.get(kind, ()):
            yield from _of_match(policy, rule.match)


def _of_limit(policy: Policy, limit: Limit) -> Iterator[Probe]:
    """One unit past each bound, by every way out that there is."""
    bounds = [limit.per_request, limit.lifetime, *(bound for _, bound in limit.windows)]
    for probe in _payments(policy):
        for bound in bounds:
            if bound is None:
                continue
            if limit.measure is Measure.AMOUNT and limit.asset is not None:
                yield from _scaled(probe, limit.asset, bound)
            elif limit.measure is Measure.FEE:
                yield replace(probe, effects=(*probe.effects, Fee(probe.chain_id, bound + 1)))
            else:
                yield replace(probe, used=bound, measure=limit.measure)
        if limit.share_bips is not None and limit.asset is not None:
            facts = replace(probe.facts, balances={limit.asset: 10_000})
            yield from (replace(each, facts=facts) for each in _scaled(probe, limit.asset, limit.share_bips))


def _scaled(probe: Probe, asset: Asset, bound: int) -> Iterator[Probe]:
    """The probe with an amount past the bound, at once and after the bound was used up."""
    for amount, used in ((bound + 1, 0), (1, bound)):
        effects = tuple(
            replace(effect, amount=amount)
            if isinstance(effect, Transfer | Allowance) and effect.asset == asset
            else effect
            for effect in probe.effects
        )
        if effects != probe.effects or used:
            yield replace(probe, effects=effects, used=used)


def _of_match(policy: Policy, match: Match) -> Iterator[Probe]:
    for chain_id in sorted(policy.chain_ids):
        for effects in _effects(policy, match, chain_id):
            yield Probe(chain_id, effects)


def _one(ends: AddressSet, chain_id: int) -> Address | None:
    """An address of the set, a stranger before everybody else."""
    if ends.anyone:
        return STRANGER
    pinned = [address for chain, address in ends.pinned if chain == chain_id]
    return min([*ends.members, *pinned], default=WALLET if ends.own else None)


def _effects(  # noqa: C901, PLR0912 - one arm for each kind of match
    policy: Policy, match: Match, chain_id: int
) -> Iterator[tuple[Effect, ...]]:
    match match:
        case TransferMatch():
            assets = policy.decimals if match.assets is None else match.assets
            to, sender = _one(match.to, chain_id), WALLET if match.sender.anyone else _one(match.sender, chain_id)
            for asset in sorted(assets, key=lambda each: each.address):
                if asset.chain_id == chain_id and to is not None and sender is not None:
                    yield (Transfer(asset, sender, to, 1),)
        case AllowanceMatch():
            spender = _one(match.spender, chain_id)
            for asset in sorted(match.assets or policy.decimals, key=lambda each: each.address):
                if asset.chain_id == chain_id and spender is not None:
                    for amount in {1, UINT256_MAX if match.most is None else match.most}:
                        yield (Allowance(asset, WALLET, spender, amount, NOW_S),)
        case CallMatch():
            yield from _calls(match, chain_id)
        case SignMatch():
            for contract in _here(match.contracts, chain_id):
                for primary in sorted(match.primary_types or ["Anything"]):
                    life = 0 if match.ttl_max_s is None else match.ttl_max_s
                    signed = TypedSignature(chain_id, contract, primary, Hash32(bytes(32)), None, NOW_S + life)
                    yield (signed,)
                    for asset in _spent(match.spend, chain_id):
                        yield (signed, Transfer(asset, WALLET, contract, 1, via=contract))
        case NftMatch():
            for contract in _here(match.collections, chain_id):
                collection = Asset(chain_id, contract)
                to, operator = _one(match.to, chain_id), _one(match.operators, chain_id)
                if to is not None:
                    yield (NftTransfer(collection, 1, 1, WALLET, to),)
                if operator is not None:
                    yield (OperatorApproval(collection, WALLET, operator, approved=True),)
                if match.sell_above is not None:
                    yield (NftTransfer(collection, 1, 1, WALLET, STRANGER, price=match.sell_above),)
        case _:
            yield from _others(policy, match, chain_id)


def _calls(match: CallMatch, chain_id: int) -> Iterator[tuple[Effect, ...]]:
    anything = {bytes(4): FunctionMatch("anything()")}
    for contract in _here(match.contracts, chain_id):
        for selector, function in sorted((match.functions or anything).items(), key=lambda item: item[0]):
            if function.where is not None:
                continue
            call = Call(chain_id, contract, selector, function.label, (), delegate=match.delegatecall)
            yield (call,)
            for asset in _spent(match.spend, chain_id):
                yield (call, Transfer(asset, WALLET, contract, 1, via=contract))


def _here(contracts: frozenset[tuple[int, Address]] | None, chain_id: int) -> list[Address]:
    return [STRANGER] if contracts is None else sorted(address for chain, address in contracts if chain == chain_id)


def _spent(assets: frozenset[Asset], chain_id: int) -> list[Asset]:
    return sorted((each for each in assets if each.chain_id == chain_id), key=lambda each: each.address)


def _others(  # noqa: C901, PLR0912 - one arm for each kind of match
    policy: Policy, match: Match, chain_id: int
) -> Iterator[tuple[Effect, ...]]:
    match match:
        case RevokeMatch():
            yield from (
                (Allowance(asset, WALLET, STRANGER, 0),) for asset in policy.decimals if asset.chain_id == chain_id
            )
        case LoginMatch():
            for domain in sorted(match.domains or ["anything.example"]):
                end = NOW_S + (match.ttl_max_s or 0)
                yield (Login(domain, f"https://{domain}", chain_id, expires_at=end),)
        case MessageMatch():
            yield from ((MessageSignature(text),) for text in sorted(match.texts | match.prefixes) or ["anything"])
        case DeployMatch():
            for code in sorted(match.init_code_hashes or [bytes(32)]):
                yield (Deployment(chain_id, 0, Hash32(code)),)
        case DelegateMatch():
            to = _one(match.to, chain_id)
            for kind in sorted(match.kinds or ["set_code"]) if to is not None else ():
                yield (Delegation(kind, to or STRANGER, 0 if match.any_chain else chain_id),)
        case AdminMatch():
            for contract in _here(match.contracts, chain_id):
                for action in sorted(match.actions or ["anything"]):
                    yield (AdminChange(Asset(chain_id, contract), action, _one(match.subjects, chain_id)),)
        case BlindMatch():
            for kind in sorted(match.codes or ["unknown_function"]):
                target = None if match.contracts is None else next(iter(_here(match.contracts, chain_id)), None)
                yield (Opaque(kind, "example", target),)
        case FeeShareMatch() | TrailingMatch():
            to = _one(match.to, chain_id) if isinstance(match, FeeShareMatch) else None
            for probe in _payments(policy):
                if probe.chain_id == chain_id and to is not None and isinstance(match, FeeShareMatch):
                    yield (*probe.effects, FeeShare(to, max(1, match.bips_max)))
                elif probe.chain_id == chain_id and isinstance(match, TrailingMatch):
                    yield (*probe.effects, TrailingBytes(match.size_max_bytes))
        case _:
            return

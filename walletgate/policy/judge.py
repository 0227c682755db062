"""The judge: one policy, one case, what has been used; one decision. Pure, and the same every time.

    deny             unless every effect is covered by a permit rule, no forbid rule reaches any, every limit has
                     room for the sum over the whole request, and the effects are what the agent expects
    require approval if that holds, and an approve rule is met
    allow            otherwise

The order of rules never matters: permits are a union, limits and forbids an intersection. Whatever is not
understood, missing or of another chain or wallet denies; there is no path on which nothing was decided.
All reasons are given, not the first, each with the rule's name and the two numbers that disagreed.

Codes of denials: `chain_mismatch` `method_not_permitted` `policy_expired` `no_effects` `unknown_effect`
`invalid_amount` `nothing_permitted` `asset_not_permitted` `recipient_not_permitted` `spend_not_permitted`
`foreign_sender` `call_not_permitted` `argument_not_permitted` `delegatecall_not_permitted` `spender_not_permitted`
`allowance_too_large` `allowance_too_long` `revoke_not_permitted` `nft_not_permitted` `nft_price_too_low`
`operator_not_permitted` `signature_not_permitted` `signature_too_long` `signature_not_yet_valid`
`login_not_permitted` `login_too_long` `message_not_permitted` `delegation_not_permitted` `admin_not_permitted`
`deployment_not_permitted` `trailing_bytes` `proceeds_not_permitted` `redirect_not_permitted` `min_out_zero`
`price_too_low` `pair_not_permitted` `deadline_too_late` `deadline_missing` `fee_share_not_permitted`
`fee_share_too_large` `rule_not_active` `forbidden` `fees_not_permitted` `gas_too_high` `over_per_request`
`over_window` `over_lifetime` `over_share` `price_missing` `price_too_old` `fact_missing` `expect_required`
`expect_unknown_asset` `expect_asset` `expect_recipient` `expect_amount` `expect_invalid` `expect_other`
`new_recipient` `simulation_failed` `simulation_disagrees` `would_revert`; an opaque effect denies with its own code.
The others are `permitted` and `needs_approval`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from walletgate.policy.case import Case, Used
from walletgate.policy.cover import (
    Verdict,
    cover_allowance,
    cover_call,
    cover_nft,
    cover_payment,
    cover_signature,
    cover_spend,
)
from walletgate.policy.cover_routes import cover_fee_share, cover_proceeds, cover_redirect
from walletgate.policy.cover_words import cover_bytes, cover_login, cover_message, cover_power
from walletgate.policy.document import Policy
from walletgate.policy.evidence import check_evidence
from walletgate.policy.expect import check_expectation
from walletgate.policy.model import AboveAmount, Always, NewRecipient
from walletgate.policy.names import chain_name
from walletgate.policy.naming import address_name
from walletgate.policy.state import Flow, Judging
from walletgate.policy.tally import Tally, ask_above, check_limits
from walletgate.policy.touch import touches
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    AdminChange,
    Allowance,
    ApprovalTerms,
    Asset,
    Call,
    Decision,
    Delegation,
    Deployment,
    Effect,
    Fee,
    FeeShare,
    Login,
    MessageSignature,
    NftApproval,
    NftTransfer,
    Opaque,
    OperatorApproval,
    Outcome,
    Reason,
    Receive,
    Redirect,
    TrailingBytes,
    Transfer,
    TypedSignature,
)

_INSIDE: Final = frozenset({Receive, Redirect, FeeShare, Delegation})
"""Effects that are judged after the calls and signatures they may be part of."""

_SUBORDINATE: Final = frozenset({Receive, Redirect, FeeShare, Fee, TrailingBytes})
"""Effects that come with another one: a request of nothing else does nothing that a rule permits."""


def judge(policy: Policy, case: Case, used: Used) -> Decision:
    """The decision on `case` under `policy`; `used` answers what was promised and spent, as of now."""
    state = Judging(policy, case, policy.terms.accounts | {case.wallet}, case.now_ms // 1000)
    _check_request(state)
    _cover_all(state)
    _check_forbids(state)
    for cooldown in policy.terms.cooldowns:
        state.denials += newcomers(state, cooldown.name, cooldown.who, "new_recipient")
    tally = Tally(state)
    check_limits(state, tally, used)
    check_expectation(state)
    check_evidence(state)
    if state.denials:
        return Decision(Outcome.DENY, tuple(state.denials), policy.hash)
    ask_above(state, tally, used)
    _ask_rules(state)
    if state.denials:
        return Decision(Outcome.DENY, tuple(state.denials), policy.hash)
    if state.asks:
        reasons = (*state.asks, *state.permits)
        return Decision(Outcome.REQUIRE_APPROVAL, reasons, policy.hash, _distinct(state.terms), tally.bookings())
    return Decision(Outcome.ALLOW, tuple(state.permits), policy.hash, (), tally.bookings())


def _distinct(terms: list[ApprovalTerms]) -> tuple[ApprovalTerms, ...]:
    return tuple(dict.fromkeys(terms))


def _check_request(state: Judging) -> None:
    policy, case = state.policy, state.case
    if case.chain_id not in policy.terms.chain_ids:
        state.denials.append(Reason("chain_mismatch", f"{chain_name(case.chain_id)} is not in the policy"))
    if case.method not in policy.terms.methods:
        state.denials.append(Reason("method_not_permitted", "the method is not in the policy"))
    expires_at = policy.terms.expires_at
    if expires_at is not None and state.now_s >= expires_at:
        text = "the policy is no longer valid"
        state.denials.append(Reason("policy_expired", text, None, state.now_s, expires_at, "s"))
    if not case.effects:
        state.denials.append(Reason("no_effects", "the request was not understood to do anything"))


def _cover_all(state: Judging) -> None:
    """Covers each effect, calls and signatures before what may be inside them."""
    later: list[Effect] = []
    primary = False
    for effect in state.case.effects:
        kind = type(effect)
        if kind not in _COVERED_BY:
            state.denials.append(Reason("unknown_effect", "an effect that this judge does not know"))
            continue
        primary = primary or kind not in _SUBORDINATE
        if kind in _INSIDE or (kind is Transfer and isinstance(effect, Transfer) and effect.via is not None):
            later.append(effect)
        else:
            _cover_one(state, effect)
    for effect in later:
        _cover_one(state, effect)
    if not primary and state.case.effects:
        state.denials.append(Reason("nothing_permitted", "the request does nothing that a rule permits"))


def _cover_one(state: Judging, effect: Effect) -> None:
    verdict = _mismatch(state, effect) or _COVERED_BY[type(effect)](state, effect)
    if verdict is None:
        return
    if isinstance(verdict, Reason):
        state.denials.append(verdict)
        return
    reason = state.policy.index.permitted[verdict.name]
    state.permits.append(_permitted(verdict.name, effect.path) if effect.path else reason)


@lru_cache(maxsize=4096)
def _permitted(rule: str, path: str) -> Reason:
    """The same few, over and over: a request has many effects, and a policy few rules."""
    return Reason("permitted", f"permitted by {rule!r}", rule, path=path)


def _mismatch(state: Judging, effect: Effect) -> Reason | None:
    """Another chain than the request's, or an amount that is none."""
    kind, chain_id = type(effect), state.case.chain_id
    chain_of, amount_of = _CHAIN_OF.get(kind), _AMOUNT_OF.get(kind)
    if chain_of is not None:
        there = chain_of(effect)
        if there != chain_id and not (there == 0 and kind is Delegation):
            text = f"acts on {chain_name(there)}, not {chain_name(chain_id)}"
            return Reason("chain_mismatch", text, path=effect.path)
    amount = 0 if amount_of is None else amount_of(effect)
    if 0 <= amount <= UINT256_MAX:
        return None
    return Reason("invalid_amount", "an amount outside uint256", None, amount, UINT256_MAX, path=effect.path)


def _cover_transfer(state: Judging, effect: Transfer) -> Verdict:
    """Counts what leaves. What comes in from somebody else takes nothing."""
    if effect.sender in state.own or effect.recipient not in state.own:
        state.flows.append(Flow(effect.asset, effect.amount, effect.recipient, effect.via))
    return cover_payment(state, effect) if effect.via is None else cover_spend(state, effect)


def _cover_deployment(state: Judging, effect: Deployment) -> Verdict:
    if effect.value:
        state.flows.append(Flow(Asset(effect.chain_id, NATIVE), effect.value, ZERO_ADDRESS, None))
    return cover_power(state, effect)


def _count_fee(state: Judging, effect: Fee) -> None:
    """Fees need no rule: limits alone judge them."""
    state.fees[effect.chain_id] = state.fees.get(effect.chain_id, 0) + effect.amount
    most = state.policy.terms.gas_max
    if most is None:
        return
    gas = state.case.facts.gas
    if gas is None:
        state.denials.append(Reason("fact_missing", "the gas limit is not known"))
    elif gas > most:
        state.denials.append(Reason("gas_too_high", f"{gas} gas is more than {most}", None, gas, most, "gas"))


_COVERED_BY: Final[Mapping[type, Callable[[Judging, Any], Verdict | None]]] = {
    Transfer: _cover_transfer,
    Fee: _count_fee,
    Call: cover_call,
    Allowance: cover_allowance,
    TypedSignature: cover_signature,
    NftTransfer: cover_nft,
    NftApproval: cover_nft,
    OperatorApproval: cover_nft,
    Receive: cover_proceeds,
    Redirect: cover_redirect,
    FeeShare: cover_fee_share,
    Deployment: _cover_deployment,
    Delegation: cover_power,
    AdminChange: cover_power,
    Login: cover_login,
    MessageSignature: cover_message,
    TrailingBytes: cover_bytes,
    Opaque: cover_bytes,
}
"""What finds the rule that covers an effect, or the reason why none does; None where limits alone judge it.

A table and not a `match`, because a request may have hundreds of effects. What is not in it is refused.
"""

_CHAIN_OF: Final[Mapping[type, Callable[[Any], int]]] = {
    **dict.fromkeys((Transfer, Allowance), attrgetter("asset.chain_id")),
    **dict.fromkeys((NftTransfer, NftApproval), attrgetter("collection.chain_id")),
    **dict.fromkeys((OperatorApproval, AdminChange), attrgetter("contract.chain_id")),
    **dict.fromkeys((Call, TypedSignature, Login, Fee, Deployment, Delegation), attrgetter("chain_id")),
}
"""Effects that are tied to a chain. A delegation for chain 0 is one for every chain."""

_AMOUNT_OF: Final[Mapping[type, Callable[[Any], int]]] = {
    **dict.fromkeys((Transfer, Allowance, Fee), attrgetter("amount")),
    Deployment: attrgetter("value"),
}


def _check_forbids(state: Judging) -> None:
    forbids, ends = state.policy.index.forbids, state.policy.index.forbidden_ends
    for effect in state.case.effects:
        rules = forbids.get(type(effect))
        if not rules or (ends is not None and _ends_elsewhere(effect, ends)):
            continue
        for rule in rules:
            if state.is_active(rule) and touches(state, rule.match, effect):
                state.denials.append(Reason("forbidden", f"forbidden by {rule.name!r}", rule.name, path=effect.path))


def _ends_elsewhere(effect: Effect, ends: frozenset[Address]) -> bool:
    """Whether the effect is of a kind that only rules about payments reach, and goes to none of `ends`."""
    if isinstance(effect, Transfer):
        return effect.recipient not in ends and effect.via not in ends
    return isinstance(effect, Receive) and effect.recipient not in ends


def _ask_rules(state: Judging) -> None:
    index = state.policy.index
    for effect in state.case.effects if index.asks else ():
        for rule in index.asks.get(type(effect), ()):
            if not isinstance(rule.when, AboveAmount | NewRecipient | Always) and touches(state, rule.when, effect):
                text = f"{rule.name!r} asks a human"
                state.asks.append(Reason("needs_approval", text, rule.name, path=effect.path))
                state.terms.append(rule.terms)
    for rule in index.always:
        state.asks.append(Reason("needs_approval", "every request needs a human", rule.name))
        state.terms.append(rule.terms)
    for rule in index.newcomers:
        if isinstance(rule.when, NewRecipient) and (found := newcomers(state, rule.name, rule.when, "needs_approval")):
            (state.denials if found[0].code == "fact_missing" else state.asks).extend(found)
            state.terms.append(rule.terms)


def newcomers(state: Judging, name: str, who: NewRecipient, code: str) -> list[Reason]:
    """A reason of `code` for each recipient that is new, or one denial where it is not known who is."""
    found: list[Reason] = []
    seen = state.case.facts.first_seen_ms
    for end in dict.fromkeys(_ends(state)):
        if who.known.has(end, state.case.chain_id, state.own):
            continue
        if seen is None:
            return [Reason("fact_missing", "it is not known who was paid before", name)]
        since = seen.get(end)
        age = None if since is None else state.case.now_ms - since
        if age is None or age < who.age_ms:
            text = f"{address_name(state.policy, end)} is new to this wallet"
            found.append(Reason(code, text, name, None if age is None else age // 1000, who.age_ms // 1000, "s"))
    return found


def _ends(state: Judging) -> list[Address]:
    """Whoever gets something of value from the request, but for the wallet's own."""
    ends = [flow.recipient for flow in state.flows]
    for effect in state.case.effects:
        match effect:
            case NftTransfer() | Redirect() | Receive() | FeeShare():
                ends.append(effect.recipient)
            case Allowance() if effect.amount or effect.added:
                ends.append(effect.spender)
            case _:
                pass
    return [end for end in ends if end not in state.own]

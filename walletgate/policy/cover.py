"""Which permit rule covers an effect. An effect that no rule covers denies the request.

Calls and signatures come first, because what they take (`spend`) and where they send things (`to`) is judged
by the rule that permitted them: `Transfer`s through a contract, proceeds, redirections and shares of fees are
covered only inside a permitted call or signature, found by the effect's path. Everything else stands alone.

Allowances are the one effect whose booking a rule decides. An allowance lets its spender take the amount
whenever it likes, so it is booked like a payment to the spender (`counted`, the default), each time it is
given, and an unlimited one exceeds every limit. For a contract that only takes what a request judged here
tells it to, that would count the same money twice; for such a spender the operator writes `counted = false`,
and `max` alone bounds what is at stake at any one time. `bound` reports such exposure as not bounded in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Final, TypeVar

from walletgate.encoding import printable
from walletgate.errors import InvariantViolation
from walletgate.policy.conditions import holds
from walletgate.policy.model import (
    AllowanceMatch,
    CallMatch,
    NftMatch,
    RevokeMatch,
    Rule,
    SignMatch,
    TransferMatch,
)
from walletgate.policy.naming import address_name, amount_text, asset_name
from walletgate.policy.state import Flow, Judging
from walletgate.types import (
    ZERO_ADDRESS,
    Allowance,
    Call,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Reason,
    Transfer,
    TypedSignature,
)

Verdict = Rule | Reason
"""The rule that covers an effect, or why none does."""

_M = TypeVar("_M")


def find_active(state: Judging, rules: Iterable[Rule], fits: Callable[[Rule], bool], denial: Reason) -> Verdict:
    """The first rule that fits and holds now; a rule that fits at another time explains the denial."""
    sleeping: Rule | None = None
    for rule in rules:
        if fits(rule):
            if state.is_active(rule):
                return rule
            sleeping = rule
    return denial if sleeping is None else asleep(sleeping, denial.path)


def rules_of(state: Judging, kind: type[_M]) -> Iterable[tuple[Rule, _M]]:
    """The permit rules of one kind, with their matches."""
    for rule in state.policy.index.kinds.get(kind, ()):
        if isinstance(rule.match, kind):
            yield rule, rule.match


def cover_payment(state: Judging, effect: Transfer) -> Verdict:
    """A payment that no contract carries, or that a transfer rule lets a contract carry."""
    chain_id, own, via = effect.asset.chain_id, state.own, effect.via
    index = state.policy.index
    sleeping: Rule | None = None
    for rule in (*index.payees.get(effect.recipient, ()), *index.open_payments):
        match = rule.match
        if (
            isinstance(match, TransferMatch)
            and effect.asset in (match.assets or ())
            and match.to.has(effect.recipient, chain_id, own)
            and match.sender.has(effect.sender, chain_id, own)
            and (via is None or match.via.has(via, chain_id, own))
        ):
            if state.is_active(rule):
                return rule
            sleeping = rule
    if sleeping is not None:
        return asleep(sleeping, effect.path)
    return _refused_payment(state, effect)


def _refused_payment(state: Judging, effect: Transfer) -> Reason:
    policy = state.policy
    usable = [match.sender for _, match in rules_of(state, TransferMatch) if effect.asset in (match.assets or ())]
    foreign = effect.sender not in state.own and bool(usable)
    if foreign and not any(sender.has(effect.sender, effect.asset.chain_id, state.own) for sender in usable):
        text = f"takes from {address_name(policy, effect.sender)}, which is not the wallet"
        return Reason("foreign_sender", text, path=effect.path)
    if effect.asset not in policy.index.asset_names:
        return Reason(
            "asset_not_permitted", f"{asset_name(policy, effect.asset)} is not in the policy", path=effect.path
        )
    paid = amount_text(policy, effect.asset, effect.amount)
    if effect.via is not None:
        text = f"no rule lets {address_name(policy, effect.via)} take {paid}"
        return Reason("spend_not_permitted", text, path=effect.path)
    text = f"no rule permits paying {paid} to {address_name(policy, effect.recipient)}"
    return Reason("recipient_not_permitted", text, path=effect.path)


def cover_spend(state: Judging, effect: Transfer) -> Verdict:
    """A payment through a contract: by a transfer rule that names the contract, or inside a permitted call."""
    if effect.via is None:
        return cover_payment(state, effect)
    chain_id, own, via = effect.asset.chain_id, state.own, effect.via
    if effect.sender in own:
        for rule in state.grants_at(effect.path):
            match = rule.match
            if (
                isinstance(match, CallMatch | SignMatch)
                and effect.asset in match.spend
                and ((chain_id, via) in (match.contracts or ()) or match.via.has(via, chain_id, own))
                and (effect.recipient == via or match.to.has(effect.recipient, chain_id, own))
            ):
                return rule
    return cover_payment(state, effect)


def cover_call(state: Judging, effect: Call) -> Verdict:
    """A call of a contract's function. Every rule that permits it becomes a grant for what is inside it."""
    calls, chain_id, to = state.policy.index.calls, effect.chain_id, effect.to
    found: Rule | None = None
    denial: Reason | None = None
    for rule in chain(calls.get((chain_id, to, effect.selector), ()), calls.get((chain_id, to, None), ())):
        refusal = _call_refusal(state, effect, rule)
        if refusal is None:
            found = found or rule
            state.grant(effect.path, rule)
        else:
            denial = denial or refusal
    if found is not None:
        return found
    text = f"no rule permits {printable(effect.signature)} on {address_name(state.policy, to)}"
    return denial or Reason("call_not_permitted", text, path=effect.path)


def _call_refusal(state: Judging, effect: Call, rule: Rule) -> Reason | None:
    match, path = rule.match, effect.path
    if not isinstance(match, CallMatch):
        raise InvariantViolation("the index of calls holds another rule")
    function = match.functions.get(effect.selector) if match.functions is not None else None
    where = function.where if function is not None else None
    if where is not None and not holds(where, effect.args, state.own, chain_id=effect.chain_id):
        target = address_name(state.policy, effect.to)
        text = f"the arguments of {printable(effect.signature)} on {target} are not those that are permitted"
        return Reason("argument_not_permitted", text, rule.name, path=path)
    if effect.delegate and not match.delegatecall:
        text = f"runs {address_name(state.policy, effect.to)}'s code with the wallet's own powers"
        return Reason("delegatecall_not_permitted", text, rule.name, path=path)
    return None if state.is_active(rule) else asleep(rule, path)


def asleep(rule: Rule, path: str) -> Reason:
    """A rule would have covered the effect at another time."""
    return Reason("rule_not_active", f"{rule.name!r} does not hold at this time", rule.name, path=path)


def cover_allowance(state: Judging, effect: Allowance) -> Verdict:
    """An allowance, or taking one back."""
    policy = state.policy
    if effect.owner not in state.own:
        text = f"speaks for {address_name(policy, effect.owner)}, which is not the wallet"
        return Reason("foreign_sender", text, path=effect.path)
    if effect.amount == 0 and not effect.added:
        revoked = find_active(state, (rule for rule, _ in rules_of(state, RevokeMatch)), lambda _: True, _NO_REVOKE)
        if isinstance(revoked, Rule):
            return revoked
    total = _allowance_total(state, effect)
    given = amount_text(policy, effect.asset, effect.amount)
    text = f"no rule lets {address_name(policy, effect.spender)} have {given}"
    code = "spender_not_permitted" if effect.amount or effect.added else "revoke_not_permitted"
    denial = Reason(code, text, path=effect.path)
    counted: Rule | None = None
    for rule in policy.index.allowances.get(effect.asset, ()):
        match = rule.match
        if not isinstance(match, AllowanceMatch):
            raise InvariantViolation("the index of allowances holds another rule")
        if not match.spender.has(effect.spender, effect.asset.chain_id, state.own):
            continue
        refusal = _allowance_refusal(state, effect, rule, match, total)
        if refusal is not None:
            denial = refusal
        elif not match.counted:
            return rule
        else:
            counted = counted or rule
    if counted is not None and effect.amount:
        state.flows.append(Flow(effect.asset, effect.amount, effect.spender, None))
    return counted or denial


def _allowance_total(state: Judging, effect: Allowance) -> int | None:
    """What the spender could take afterwards; None where it adds to an amount that is not known."""
    key = (effect.asset, effect.owner, effect.spender)
    total: int | None = effect.amount
    if effect.added:
        before = state.allowances.get(key, state.case.facts.allowances.get(key))
        total = None if before is None else before + effect.amount
    if total is not None:
        state.allowances[key] = total
    return total


_NO_REVOKE: Final = Reason("revoke_not_permitted", "no rule permits taking allowances back")


def _allowance_refusal(
    state: Judging, effect: Allowance, rule: Rule, match: AllowanceMatch, total: int | None
) -> Reason | None:
    policy, path = state.policy, effect.path
    if not state.is_active(rule):
        return asleep(rule, path)
    if match.most is not None and total is None:
        return Reason("fact_missing", "adds to an allowance whose amount is not known", rule.name, path=path)
    if match.most is not None and total is not None and total > match.most:
        given, most = amount_text(policy, effect.asset, total), amount_text(policy, effect.asset, match.most)
        text = f"an allowance of {given} is more than {most}"
        return Reason("allowance_too_large", text, rule.name, total, match.most, asset_name(policy, effect.asset), path)
    life = None if effect.expires_at is None else effect.expires_at - state.now_s
    if match.ttl_max_s is None or (life is not None and life <= match.ttl_max_s):
        return None
    text = "the allowance has no end" if life is None else f"the allowance lasts {life} s"
    return Reason("allowance_too_long", f"{text}, not {match.ttl_max_s} s", rule.name, life, match.ttl_max_s, "s", path)


def cover_nft(state: Judging, effect: NftTransfer | NftApproval | OperatorApproval) -> Verdict:
    """A token of a collection, or power over some or all of them."""
    policy, own = state.policy, state.own
    collection = effect.contract if isinstance(effect, OperatorApproval) else effect.collection
    chain_id, name = collection.chain_id, address_name(policy, collection.address)
    owner = effect.sender if isinstance(effect, NftTransfer) else effect.owner
    if owner not in own:
        text = f"takes from {address_name(policy, owner)}, which is not the wallet"
        return Reason("foreign_sender", text, path=effect.path)
    rules = policy.index.contracts.get((NftMatch, (chain_id, collection.address)), ())
    if not isinstance(effect, NftTransfer):
        return _cover_operator(state, effect, rules, name)
    if effect.price is None:
        text = f"no rule permits giving a token of {name} to {address_name(policy, effect.recipient)}"
        denial = Reason("nft_not_permitted", text, path=effect.path)
        return find_active(state, rules, lambda r: _nft(r).to.has(effect.recipient, chain_id, own), denial)
    floors = [match.sell_above for match in map(_nft, rules) if match.sell_above is not None]
    text = f"no rule permits selling a token of {name} for {effect.price} wei"
    bound = min(floors, default=None)
    denial = Reason("nft_price_too_low", text, None, effect.price, bound, "wei", effect.path)
    price = effect.price
    return find_active(state, rules, lambda r: (least := _nft(r).sell_above) is not None and price >= least, denial)


def _cover_operator(
    state: Judging, effect: NftApproval | OperatorApproval, rules: Iterable[Rule], name: str
) -> Verdict:
    spender = effect.spender if isinstance(effect, NftApproval) else effect.operator
    chain_id = effect.collection.chain_id if isinstance(effect, NftApproval) else effect.contract.chain_id
    if spender == ZERO_ADDRESS if isinstance(effect, NftApproval) else not effect.approved:
        revoked = find_active(state, (rule for rule, _ in rules_of(state, RevokeMatch)), lambda _: True, _NO_REVOKE)
        if isinstance(revoked, Rule):
            return revoked
    text = f"no rule lets {address_name(state.policy, spender)} operate {name}"
    denial = Reason("operator_not_permitted", text, path=effect.path)
    return find_active(state, rules, lambda r: _nft(r).operators.has(spender, chain_id, state.own), denial)


def _nft(rule: Rule) -> NftMatch:
    return rule.match if isinstance(rule.match, NftMatch) else NftMatch(None)


def cover_signature(state: Judging, effect: TypedSignature) -> Verdict:
    """An EIP-712 signature. Every rule that permits it becomes a grant for what it authorises."""
    policy, denial, found = state.policy, None, None
    key = (SignMatch, (effect.chain_id, effect.contract))
    for rule in policy.index.contracts.get(key, ()):
        match = rule.match
        if not isinstance(match, SignMatch):
            continue
        if match.primary_types is not None and effect.primary_type not in match.primary_types:
            continue
        denial = _signature_refusal(state, effect, rule, match)
        if denial is None:
            found = found or rule
            state.grant(effect.path, rule)
    if found is not None:
        return found
    target = address_name(policy, effect.contract)
    text = f"no rule permits signing {printable(effect.primary_type)} for {target}"
    return denial or Reason("signature_not_permitted", text, path=effect.path)


def _signature_refusal(state: Judging, effect: TypedSignature, rule: Rule, match: SignMatch) -> Reason | None:
    path = effect.path
    if not state.is_active(rule):
        return asleep(rule, path)
    if effect.valid_after is not None and effect.valid_after > state.now_s:
        text = "the signature is for later: it would be used when today's limits are forgotten"
        return Reason("signature_not_yet_valid", text, rule.name, effect.valid_after, state.now_s, "s", path)
    if match.ttl_max_s is None or effect.valid_until is None:
        return None
    life = effect.valid_until - state.now_s
    if life <= match.ttl_max_s:
        return None
    text = f"the signature is valid for {life} s, more than {match.ttl_max_s} s"
    return Reason("signature_too_long", text, rule.name, life, match.ttl_max_s, "s", path)

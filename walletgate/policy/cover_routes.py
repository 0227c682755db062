"""Where the value goes that a permitted call or signature sets in motion: proceeds, redirections, shares.

Proceeds of swaps and orders are judged by the policy's `[swap]` terms, which hold for every route alike; other
value by the `to` of the rule that permitted the call it is part of.
"""

from __future__ import annotations

from walletgate.effects.wrapped import is_wrapping
from walletgate.encoding import printable
from walletgate.policy.cover import Verdict, rules_of
from walletgate.policy.model import CallMatch, FeeShareMatch, SignMatch
from walletgate.policy.naming import address_name, amount_text, asset_name
from walletgate.policy.state import Judging
from walletgate.types import FeeShare, Reason, Receive, Redirect


def cover_proceeds(state: Judging, effect: Receive) -> Verdict | None:
    """Proceeds: to whom, at least how much, at which price, until when."""
    policy, path = state.policy, effect.path
    swap = policy.terms.swap
    chain_id = effect.asset.chain_id if effect.asset is not None else state.case.chain_id
    if not swap.to.has(effect.recipient, chain_id, state.own):
        text = f"the proceeds go to {address_name(policy, effect.recipient)}"
        return Reason("proceeds_not_permitted", text, path=path)
    if not state.grants_at(path):
        return Reason("proceeds_not_permitted", "proceeds of something that no rule permits", path=path)
    if swap.min_out and effect.min_amount <= 0:
        return Reason("min_out_zero", "nothing at all would be enough in return", None, effect.min_amount, 1, path=path)
    too_low = _price_refusal(state, effect)
    if too_low is not None:
        return too_low
    return _deadline_refusal(state, effect)


def _deadline_refusal(state: Judging, effect: Receive) -> Reason | None:
    """A deadline is near; and there is one, where the policy demands it of swaps.

    Wrapping is worth the same at any time, and what a bridge pays out on another chain has a price that is fixed.
    """
    swap, path = state.policy.terms.swap, effect.path
    if effect.deadline is None:
        elsewhere = effect.asset is not None and effect.asset.chain_id != state.case.chain_id
        if swap.require_deadline and not elsewhere and not is_wrapping(effect):
            text = "the swap has no deadline: it could be carried out at any time"
            return Reason("deadline_missing", text, path=path)
        return None
    if swap.deadline_max_s is not None:
        life = effect.deadline - state.now_s
        if life > swap.deadline_max_s:
            text = f"may be carried out for {life} s, more than {swap.deadline_max_s} s"
            return Reason("deadline_too_late", text, None, life, swap.deadline_max_s, "s", path)
    return None


def _price_refusal(state: Judging, effect: Receive) -> Reason | None:
    """Floors: once an asset has one, it is sold only for what it has a floor against."""
    policy, floors = state.policy, state.policy.terms.swap.floors
    if not floors or (effect.sold is not None and not any(sold == effect.sold for sold, _ in floors)):
        return None
    rate = floors.get((effect.sold, effect.asset)) if effect.sold is not None and effect.asset is not None else None
    if rate is None:
        return Reason("pair_not_permitted", "there is no price floor for what is bought", path=effect.path)
    sold, bought = effect.sold, effect.asset
    if sold is None or bought is None:
        return None
    bound = -(-effect.sold_amount * rate[0] // rate[1])
    if effect.min_amount >= bound:
        return None
    text = (
        f"at least {amount_text(policy, bought, effect.min_amount)} for"
        f" {amount_text(policy, sold, effect.sold_amount)} is less than {amount_text(policy, bought, bound)}"
    )
    return Reason("price_too_low", text, None, effect.min_amount, bound, asset_name(policy, bought), effect.path)


def cover_redirect(state: Judging, effect: Redirect) -> Verdict | None:
    """Value routed to somebody: the wallet's own, or whom the call's rule names."""
    chain_id, own = state.case.chain_id, state.own
    for rule in state.grants_at(effect.path):
        match = rule.match
        if isinstance(match, CallMatch | SignMatch) and match.to.has(effect.recipient, chain_id, own):
            return None
    text = f"{printable(effect.what)} would go to {address_name(state.policy, effect.recipient)}"
    return Reason("redirect_not_permitted", text, path=effect.path)


def cover_fee_share(state: Judging, effect: FeeShare) -> Verdict | None:
    """A share of proceeds. Shares of one recipient are added up over the request."""
    policy, recipient = state.policy, effect.recipient
    if recipient in state.own and state.grants_at(effect.path):
        return None
    total = state.fee_bips.get(recipient, 0) + effect.bips
    state.fee_bips[recipient] = total
    found = [
        (match.bips_max, rule)
        for rule, match in rules_of(state, FeeShareMatch)
        if match.to.has(recipient, state.case.chain_id, state.own) and state.is_active(rule)
    ]
    name = address_name(policy, recipient)
    if not found or not state.grants_at(effect.path):
        return Reason("fee_share_not_permitted", f"no rule gives {name} a share of proceeds", path=effect.path)
    most, rule = max(found, key=lambda each: each[0])
    if total > most:
        text = f"{name} would take {total} of 10,000, more than {most}"
        return Reason("fee_share_too_large", text, rule.name, total, most, "bips", effect.path)
    return rule

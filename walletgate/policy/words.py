"""A policy, a decision and an effect in plain English, for people who decide.

Every name is the operator's own word or the address itself, every amount is in human units, and text that came
from outside is shown escaped, in quotes and after the decoded facts. The sentences say what is true and leave
nothing out that widens: what counts against no limit, what has no end, what reaches anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

from walletgate.encoding import checksum_address, printable, to_hex
from walletgate.policy.amounts import QUOTE_DECIMALS, format_amount, format_share
from walletgate.policy.document import Policy
from walletgate.policy.model import Limit, Price
from walletgate.policy.names import chain_name
from walletgate.policy.naming import address_name, amount_text, asset_name, duration_text, moment_text
from walletgate.policy.words_rules import (
    approve_sentence,
    asking_lines,
    cooldown_sentence,
    forbid_sentence,
    limit_sentence,
    permit_sentence,
)
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    AdminChange,
    Allowance,
    Asset,
    Call,
    Decision,
    Delegation,
    Deployment,
    Effect,
    Fee,
    FeeShare,
    Login,
    Measure,
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

UINT160_MAX = 2**160 - 1


def show(policy: Policy) -> list[str]:
    """The policy as sentences, in the order in which they matter: bounds, then what may be done."""
    terms = policy.terms
    chains = _listed(sorted(chain_name(chain_id) for chain_id in terms.chain_ids))
    lines = [f"Policy {terms.name!r} is for {chains}. What it does not permit is refused."]
    if terms.expires_at is not None:
        lines.append(f"It ends at {moment_text(terms.expires_at)} and refuses everything from then on.")
    if terms.accounts:
        names = _listed(sorted(address_name(policy, account) for account in terms.accounts))
        lines.append(f"{names} counts as the wallet itself.")
    lines += [f"Never: {forbid_sentence(policy, rule)}." for rule in sorted(terms.forbids, key=lambda r: r.name)]
    lines += [f"Never: {cooldown_sentence(policy, each)}." for each in terms.cooldowns]
    lines += [f"At most: {limit_sentence(policy, limit)}." for limit in sorted(terms.limits, key=_limit_order)]
    if terms.gas_max is not None:
        lines.append(f"At most: {terms.gas_max} gas in a transaction.")
    lines += [
        f"May {permit_sentence(policy, rule)} ({rule.name!r})." for rule in sorted(terms.permits, key=lambda r: r.name)
    ]
    lines += [
        f"Asks a human {approve_sentence(policy, rule)}." for rule in sorted(terms.approves, key=lambda r: r.name)
    ]
    lines += asking_lines(terms.asking)
    lines += _swap_lines(policy)
    lines += [_price_line(policy, price) for price in terms.prices]
    if terms.simulate:
        lines.append("A transaction is first run by a node, and refused if it does anything that was not read in it.")
    if terms.require_expect:
        lines.append("The agent must say beforehand which asset and how much it expects to leave.")
    return lines


def _limit_order(limit: Limit) -> tuple[int, str, str]:
    """Amounts first, then currencies, fees and counts; the widest scope of each first."""
    return list(Measure).index(limit.measure), limit.scope.value, limit.name


def _swap_lines(policy: Policy) -> list[str]:
    swap, index = policy.terms.swap, policy.index
    if not any(getattr(rule.match, "spend", None) for rule in policy.terms.permits):
        return []
    lines = []
    if swap.to.anyone:
        lines.append("Proceeds of swaps and orders may go to anybody.")
    elif swap.to.members or swap.to.pinned:
        ends = swap.to.members | {address for _, address in swap.to.pinned}
        names = _listed(sorted(index.address_names.get(end, checksum_address(end)) for end in ends))
        lines.append(f"Proceeds of swaps and orders may go to {names}{' or the wallet' if swap.to.own else ''}.")
    else:
        lines.append("Proceeds of swaps and orders go to the wallet itself.")
    if not swap.min_out:
        lines.append("Swaps may have no minimum at all.")
    if swap.deadline_max_s is not None:
        lines.append(f"A swap's deadline is at most {duration_text(swap.deadline_max_s)} away.")
    if swap.require_deadline:
        lines.append("A swap without a deadline is refused, also inside a router's plan.")
    for (sold, bought), (numerator, denominator) in sorted(swap.floors.items(), key=str):
        rate = f"{numerator}/{denominator} base units of {asset_name(policy, bought)}"
        lines.append(
            f"Sells {asset_name(policy, sold)} for {asset_name(policy, bought)} at no less than {rate} a unit."
        )
    return lines


def _price_line(policy: Policy, price: Price) -> str:
    head = f"1 {asset_name(policy, price.asset)} is worth"
    feed = price.feed
    if feed is None:
        return f"{head} {format_amount(price.fixed or 0, QUOTE_DECIMALS)} {price.unit}."
    where = f"{address_name(policy, feed.contract[1])} on {chain_name(feed.contract[0])}"
    limits = f"at most {duration_text(price.age_max_s or 0)} ago"
    if feed.reference is not None and feed.deviation_bips is not None:
        reference = format_amount(feed.reference, QUOTE_DECIMALS)
        limits += f" and within {format_share(feed.deviation_bips)} of {reference}"
    return f"{head} what {where} says in {price.unit}, with {feed.decimals} decimals, {limits}."


# --- decisions -------------------------------------------------------------------------------------


def explain(decision: Decision, policy: Policy) -> list[str]:
    """The decision as lines: the outcome, then each reason with its rule, and what would lift it."""
    match decision.outcome:
        case Outcome.DENY:
            lines = ["Denied."]
        case Outcome.REQUIRE_APPROVAL:
            lines = ["Needs approval."]
        case Outcome.ALLOW:
            lines = ["Allowed."]
        case _:
            assert_never(decision.outcome)
    lines += [_reason_line(reason) for reason in decision.reasons]
    for terms in decision.approvals:
        people = f" of {_listed(terms.of)}" if terms.of else " of the operators"
        number = "one" if terms.quorum == 1 else str(terms.quorum)
        lines.append(f"- {terms.rule!r}: {number}{people} must approve within {duration_text(terms.within_s)}.")
    if decision.policy_hash != policy.hash:
        lines.append(f"- decided under another policy, {to_hex(decision.policy_hash)}")
    return lines


def _reason_line(reason: Reason) -> str:
    rule = f" (rule {reason.rule!r})" if reason.rule is not None and repr(reason.rule) not in reason.text else ""
    path = f" at {printable(reason.path)}" if reason.path else ""
    return f"- {reason.text}{rule}{path} [{reason.code}]"


# --- effects ---------------------------------------------------------------------------------------


def describe(  # noqa: C901, PLR0911, PLR0912 - one arm for each kind of effect
    effect: Effect, policy: Policy, *, wallet: Address | None = None
) -> str:
    """What the effect does, as the rest of a sentence that begins with "it".

    With `wallet` that address is called the wallet itself, and whoever else's money moves is named.
    """

    def who(address: Address) -> str:
        return address_name(policy, address, wallet=wallet)

    match effect:
        case Transfer():
            return _transfer(effect, policy, wallet)
        case Allowance():
            return _allowance(effect, who(effect.spender), policy)
        case NftTransfer():
            price = "" if effect.price is None else f" for at least {_wei(policy, effect.collection, effect.price)}"
            token = f"token {effect.token_id} of {who(effect.collection.address)}"
            many = "" if effect.amount == 1 else f"{effect.amount} of "
            return f"gives {many}{token} to {who(effect.recipient)}{price}"
        case NftApproval():
            token = f"token {effect.token_id} of {who(effect.collection.address)}"
            if effect.spender == ZERO_ADDRESS:
                return f"takes back the approval of {token}"
            return f"lets {who(effect.spender)} take {token}"
        case OperatorApproval():
            if effect.approved:
                return f"lets {who(effect.operator)} take everything in {who(effect.contract.address)}"
            return f"takes back {who(effect.operator)}'s power over {who(effect.contract.address)}"
        case Call():
            delegate = ", as the wallet's own code," if effect.delegate else ""
            return f"calls {printable(effect.signature)}{delegate} on {who(effect.to)}"
        case Receive():
            return _receive(effect, who(effect.recipient), policy)
        case Redirect():
            return f"sends {printable(effect.what)} to {who(effect.recipient)}"
        case FeeShare():
            return f"gives {who(effect.recipient)} {effect.bips} of 10,000 of the proceeds"
        case Delegation():
            chain = " on every chain" if effect.chain_id == 0 else ""
            return f"hands {printable(effect.kind)} to {who(effect.delegate)}{chain}"
        case AdminChange():
            subject = "" if effect.subject is None else f" in favour of {who(effect.subject)}"
            return f"does {printable(effect.action)} on {who(effect.contract.address)}{subject}"
        case Deployment():
            value = amount_text(policy, Asset(effect.chain_id, NATIVE), effect.value)
            return f"creates a contract with {value} and code {to_hex(effect.init_code_hash)}"
        case TypedSignature():
            return f"signs {printable(effect.primary_type)} for {who(effect.contract)}{_until(effect.valid_until)}"
        case Login():
            return f'logs in at "{printable(effect.domain)}"{_until(effect.expires_at)}'
        case MessageSignature():
            return f'signs the text "{printable(effect.text)}"'
        case TrailingBytes():
            return f"carries {effect.size_bytes} more bytes than its function takes"
        case Fee():
            return f"costs at most {amount_text(policy, Asset(effect.chain_id, NATIVE), effect.amount)} in fees"
        case Opaque():
            target = "" if effect.target is None else f" on {who(effect.target)}"
            return f"does something that is not understood{target}: {effect.code} ({printable(effect.detail)})"
        case _:
            assert_never(effect)


def _transfer(effect: Transfer, policy: Policy, wallet: Address | None) -> str:
    def who(address: Address) -> str:
        return address_name(policy, address, wallet=wallet)

    paid, via = amount_text(policy, effect.asset, effect.amount), effect.via
    own = wallet is None or effect.sender == wallet or effect.sender in policy.terms.accounts
    whose = "" if own else f" out of {who(effect.sender)}'s funds"
    if effect.recipient == ZERO_ADDRESS:
        return f"destroys {paid}{whose}"
    if via is not None and via == effect.recipient:
        return f"lets {who(via)} take {paid} now{whose}"
    through = f" through {who(via)}" if via is not None else ""
    return f"pays {paid} to {who(effect.recipient)}{through}{whose}"


def _allowance(effect: Allowance, spender: str, policy: Policy) -> str:
    if effect.amount == 0 and not effect.added:
        return f"no longer lets {spender} spend {asset_name(policy, effect.asset)}"
    amount = UINT256_MAX if effect.amount >= UINT160_MAX else effect.amount
    more = " more" if effect.added else ""
    return f"lets {spender} spend {amount_text(policy, effect.asset, amount)}{more}{_until(effect.expires_at)}"


def _receive(effect: Receive, recipient: str, policy: Policy) -> str:
    what = (
        f"{effect.min_amount} base units of something"
        if effect.asset is None
        else amount_text(policy, effect.asset, effect.min_amount)
    )
    sold = "" if effect.sold is None else f" for {amount_text(policy, effect.sold, effect.sold_amount)}"
    return f"brings {recipient} at least {what}{sold}"


def _wei(policy: Policy, collection: Asset, amount: int) -> str:
    return amount_text(policy, Asset(collection.chain_id, NATIVE), amount)


def _until(moment: int | None) -> str:
    return "" if moment is None else f" until {moment_text(moment)}"


def _listed(words: Sequence[str] | Iterable[str]) -> str:
    found = list(words)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"

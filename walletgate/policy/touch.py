"""Whether a `forbid` or `approve` rule reaches an effect: the wide reading of a match.

What a rule does not say it does not require, and `to` reaches every way of getting there: a payment, an
allowance that is not zero, proceeds, a redirection, a share of fees, a contract that carries the payment.
Where an effect does not name its asset, the rule reaches it whatever asset it names.
"""

from __future__ import annotations

from typing import assert_never

from walletgate.policy.conditions import holds
from walletgate.policy.cover_words import says
from walletgate.policy.model import (
    AdminMatch,
    AllowanceMatch,
    BlindMatch,
    CallMatch,
    DelegateMatch,
    DeployMatch,
    FeeShareMatch,
    LoginMatch,
    Match,
    MessageMatch,
    NftMatch,
    RevokeMatch,
    SignMatch,
    TrailingMatch,
    TransferMatch,
)
from walletgate.policy.state import Judging
from walletgate.types import (
    ZERO_ADDRESS,
    Address,
    AdminChange,
    Allowance,
    Asset,
    Call,
    Delegation,
    Deployment,
    Effect,
    FeeShare,
    Login,
    MessageSignature,
    NftApproval,
    NftTransfer,
    Opaque,
    OperatorApproval,
    Receive,
    Redirect,
    TrailingBytes,
    Transfer,
    TypedSignature,
)


def touches(  # noqa: PLR0911 - one arm for each kind of match
    state: Judging, match: Match, effect: Effect
) -> bool:
    """Whether `match`, read widely, speaks of `effect`."""
    match match:
        case TransferMatch():
            return _reaches(state, match, effect)
        case CallMatch():
            return isinstance(effect, Call) and _calls(state, match, effect)
        case AllowanceMatch():
            return isinstance(effect, Allowance) and _allows(state, match, effect)
        case RevokeMatch():
            return _is_revocation(effect)
        case NftMatch():
            return _moves_nft(state, match, effect)
        case SignMatch():
            return isinstance(effect, TypedSignature) and (
                (match.contracts is None or (effect.chain_id, effect.contract) in match.contracts)
                and (match.primary_types is None or effect.primary_type in match.primary_types)
            )
        case LoginMatch():
            return isinstance(effect, Login) and (match.domains is None or effect.domain in match.domains)
        case MessageMatch():
            return isinstance(effect, MessageSignature) and says(match, effect.text)
        case _:
            return _touches_power(state, match, effect)


def _touches_power(
    state: Judging,
    match: DeployMatch | DelegateMatch | AdminMatch | FeeShareMatch | TrailingMatch | BlindMatch,
    effect: Effect,
) -> bool:
    chain_id, own = state.case.chain_id, state.own
    match match:
        case DeployMatch():
            hashes = match.init_code_hashes
            return isinstance(effect, Deployment) and (hashes is None or effect.init_code_hash in hashes)
        case DelegateMatch():
            return isinstance(effect, Delegation) and (
                (match.kinds is None or effect.kind in match.kinds) and match.to.has(effect.delegate, chain_id, own)
            )
        case AdminMatch():
            return isinstance(effect, AdminChange) and (
                (match.contracts is None or (effect.contract.chain_id, effect.contract.address) in match.contracts)
                and (match.actions is None or effect.action in match.actions)
                and (effect.subject is None or match.subjects.has(effect.subject, chain_id, own))
            )
        case FeeShareMatch():
            return isinstance(effect, FeeShare) and match.to.has(effect.recipient, chain_id, own)
        case TrailingMatch():
            return isinstance(effect, TrailingBytes)
        case BlindMatch():
            return isinstance(effect, Opaque) and (
                (match.codes is None or effect.code in match.codes)
                and (match.contracts is None or effect.target is None or (chain_id, effect.target) in match.contracts)
            )
        case _:
            assert_never(match)


def _reaches(  # noqa: PLR0911 - one arm for each kind of effect
    state: Judging, match: TransferMatch, effect: Effect
) -> bool:
    asset: Asset | None
    sender: Address | None = None
    ends: tuple[Address, ...]
    match effect:
        case Transfer():
            asset, sender = effect.asset, effect.sender
            ends = (effect.recipient,) if effect.via is None else (effect.recipient, effect.via)
        case Allowance():
            asset, sender, ends = effect.asset, effect.owner, (effect.spender,)
            if effect.amount == 0 and not effect.added:
                return False
        case Receive():
            asset, ends = effect.asset, (effect.recipient,)
        case Redirect() | FeeShare():
            asset, ends = None, (effect.recipient,)
        case _:
            return False
    chain_id = asset.chain_id if isinstance(effect, Transfer | Allowance) and asset else state.case.chain_id
    if match.assets is not None and asset is not None and asset not in match.assets:
        return False
    if sender is not None and not match.sender.has(sender, chain_id, state.own):
        return False
    if isinstance(effect, Receive | Redirect | FeeShare) and ends[0] in state.own:
        return match.to.has(ends[0], chain_id, state.own) and not match.to.anyone
    if match.not_to.has(ends[0], chain_id, state.own):
        return False
    return any(match.to.has(end, chain_id, state.own) for end in ends)


def _calls(state: Judging, match: CallMatch, effect: Call) -> bool:
    if match.contracts is not None and (effect.chain_id, effect.to) not in match.contracts:
        return False
    if match.functions is None:
        return True
    function = match.functions.get(effect.selector)
    if function is None:
        return False
    where = function.where
    return where is None or holds(where, effect.args, state.own, chain_id=effect.chain_id, missing=True)


def _allows(state: Judging, match: AllowanceMatch, effect: Allowance) -> bool:
    chain_id, own = effect.asset.chain_id, state.own
    return (
        (effect.amount > 0 or effect.added)
        and (match.assets is None or effect.asset in match.assets)
        and match.spender.has(effect.spender, chain_id, own)
        and not match.not_spender.has(effect.spender, chain_id, own)
    )


def _is_revocation(effect: Effect) -> bool:
    match effect:
        case Allowance():
            return effect.amount == 0 and not effect.added
        case NftApproval():
            return effect.spender == ZERO_ADDRESS
        case OperatorApproval():
            return not effect.approved
        case _:
            return False


def _moves_nft(state: Judging, match: NftMatch, effect: Effect) -> bool:
    chain_id, own = state.case.chain_id, state.own
    if _is_revocation(effect):
        return False
    match effect:
        case NftTransfer():
            collection, fits = effect.collection, match.to.has(effect.recipient, chain_id, own)
        case NftApproval():
            collection, fits = effect.collection, match.operators.has(effect.spender, chain_id, own)
        case OperatorApproval():
            collection, fits = effect.contract, match.operators.has(effect.operator, chain_id, own)
        case _:
            return False
    return fits and (match.collections is None or (collection.chain_id, collection.address) in match.collections)

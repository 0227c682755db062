"""Whether one match speaks of everything that another speaks of: the order behind `lint` and `compare`.

Sound, not complete: `True` is proven, `False` means "not shown". Conditions on arguments are compared as equal
or not at all.
"""

from __future__ import annotations

from typing import TypeVar

from walletgate.policy.addresses import AddressSet
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
    Rule,
    SignMatch,
    TrailingMatch,
    TransferMatch,
)

_T = TypeVar("_T")


def covers_rule(big: Rule, small: Rule, *, wide: bool = False) -> bool:
    """Whether `big` permits (or, `wide`, forbids) all that `small` does, at all times at which `small` does."""
    lasts = big.expires_at is None or (small.expires_at is not None and small.expires_at <= big.expires_at)
    return lasts and big.hours in (None, small.hours) and covers(big.match, small.match, wide=wide)


def covers_addresses(big: AddressSet, small: AddressSet) -> bool:
    """Whether every address of `small` is one of `big`."""
    if big.anyone:
        return True
    return (
        not small.anyone
        and (big.own or not small.own)
        and small.members <= big.members
        and all(pinned in big.pinned or pinned[1] in big.members for pinned in small.pinned)
    )


def _within(big: frozenset[_T] | None, small: frozenset[_T] | None) -> bool:
    """Whether a set of `small` lies in that of `big`, None being everything."""
    return big is None or (small is not None and small <= big)


def _at_most(big: int | None, small: int | None) -> bool:
    """Whether a bound of `small` is no wider than that of `big`, None being no bound."""
    return big is None or (small is not None and small <= big)


def covers(  # noqa: C901, PLR0911, PLR0912 - one arm for each kind of match
    big: Match, small: Match, *, wide: bool = False
) -> bool:
    """Whether `big` speaks of everything that `small` speaks of.

    `wide`: `big` is the match of a forbid or approve rule, which has no bounds of its own.
    """
    match big, small:
        case TransferMatch(), TransferMatch():
            return (
                _within(big.assets, small.assets)
                and covers_addresses(big.to, small.to)
                and covers_addresses(big.sender, small.sender)
                and covers_addresses(big.via, small.via)
                and covers_addresses(small.not_to, big.not_to)
            )
        case CallMatch(), CallMatch():
            return _covers_call(big, small, wide=wide)
        case AllowanceMatch(), AllowanceMatch():
            return (
                _within(big.assets, small.assets)
                and covers_addresses(big.spender, small.spender)
                and _at_most(big.most, small.most)
                and _at_most(big.ttl_max_s, small.ttl_max_s)
                and (wide or small.counted or not big.counted)
                and covers_addresses(small.not_spender, big.not_spender)
            )
        case RevokeMatch(), RevokeMatch():
            return True
        case NftMatch(), NftMatch():
            return _covers_nft(big, small, wide=wide)
        case SignMatch(), SignMatch():
            return (
                _within(big.contracts, small.contracts)
                and _within(big.primary_types, small.primary_types)
                and _at_most(big.ttl_max_s, small.ttl_max_s)
                and (wide or small.spend <= big.spend)
                and covers_addresses(big.to, small.to)
                and covers_addresses(big.via, small.via)
            )
        case LoginMatch(), LoginMatch():
            return _within(big.domains, small.domains) and _at_most(big.ttl_max_s, small.ttl_max_s)
        case MessageMatch(), MessageMatch():
            return _covers_texts(big, small)
        case DeployMatch(), DeployMatch():
            return _within(big.init_code_hashes, small.init_code_hashes)
        case DelegateMatch(), DelegateMatch():
            chains = big.any_chain or not small.any_chain
            return _within(big.kinds, small.kinds) and covers_addresses(big.to, small.to) and chains
        case AdminMatch(), AdminMatch():
            return (
                _within(big.contracts, small.contracts)
                and _within(big.actions, small.actions)
                and covers_addresses(big.subjects, small.subjects)
            )
        case FeeShareMatch(), FeeShareMatch():
            return covers_addresses(big.to, small.to) and (wide or small.bips_max <= big.bips_max)
        case TrailingMatch(), TrailingMatch():
            return wide or small.size_max_bytes <= big.size_max_bytes
        case BlindMatch(), BlindMatch():
            return _within(big.codes, small.codes) and _within(big.contracts, small.contracts)
        case _:
            return False


def _covers_nft(big: NftMatch, small: NftMatch, *, wide: bool) -> bool:
    sells = small.sell_above is None or (big.sell_above is not None and big.sell_above <= small.sell_above)
    return (
        _within(big.collections, small.collections)
        and covers_addresses(big.to, small.to)
        and covers_addresses(big.operators, small.operators)
        and (wide or sells)
    )


def _covers_call(big: CallMatch, small: CallMatch, *, wide: bool) -> bool:
    if big.functions is not None:
        if small.functions is None:
            return False
        for selector, function in small.functions.items():
            other = big.functions.get(selector)
            if (
                other is None
                or (not wide and other.params != function.params)
                or other.where not in (None, function.where)
            ):
                return False
    return (
        _within(big.contracts, small.contracts)
        and (wide or small.spend <= big.spend)
        and covers_addresses(big.to, small.to)
        and covers_addresses(big.via, small.via)
        and (wide or big.delegatecall or not small.delegatecall)
    )


def _covers_texts(big: MessageMatch, small: MessageMatch) -> bool:
    if not big.texts and not big.prefixes:
        return True
    if not small.texts and not small.prefixes:
        return False
    prefixes = tuple(big.prefixes)
    return all(text in big.texts or text.startswith(prefixes) for text in small.texts) and all(
        text.startswith(prefixes) for text in small.prefixes
    )

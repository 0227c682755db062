"""A policy's rules arranged by what they are asked about, so that judging touches only the rules that can matter.

Built once when a policy is loaded; says nothing that `Terms` does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from walletgate.policy.addresses import ContractId
from walletgate.policy.known import KNOWN_ADDRESSES
from walletgate.policy.model import (
    AboveAmount,
    AdminMatch,
    AllowanceMatch,
    Always,
    ApproveRule,
    BlindMatch,
    CallMatch,
    DelegateMatch,
    DeployMatch,
    FeeShareMatch,
    Limit,
    LoginMatch,
    MessageMatch,
    NewRecipient,
    NftMatch,
    Price,
    RevokeMatch,
    Rule,
    SignMatch,
    Terms,
    TrailingMatch,
    TransferMatch,
)
from walletgate.types import (
    NATIVE,
    Address,
    AdminChange,
    Allowance,
    Asset,
    Call,
    Delegation,
    Deployment,
    FeeShare,
    Login,
    Measure,
    MessageSignature,
    NftApproval,
    NftTransfer,
    Opaque,
    OperatorApproval,
    Reason,
    Receive,
    Redirect,
    TrailingBytes,
    Transfer,
    TypedSignature,
)

_K = TypeVar("_K")
_V = TypeVar("_V")

TOUCHED_BY: Final[Mapping[type, tuple[type, ...]]] = {
    Transfer: (TransferMatch,),
    Allowance: (TransferMatch, AllowanceMatch, RevokeMatch),
    NftTransfer: (NftMatch,),
    NftApproval: (NftMatch, RevokeMatch),
    OperatorApproval: (NftMatch, RevokeMatch),
    Call: (CallMatch,),
    Receive: (TransferMatch,),
    Redirect: (TransferMatch,),
    FeeShare: (TransferMatch, FeeShareMatch),
    Delegation: (DelegateMatch,),
    AdminChange: (AdminMatch,),
    Deployment: (DeployMatch,),
    TypedSignature: (SignMatch,),
    Login: (LoginMatch,),
    MessageSignature: (MessageMatch,),
    TrailingBytes: (TrailingMatch,),
    Opaque: (BlindMatch,),
}
"""Which matches of forbid and approve rules can reach which effects; fees are reached by limits alone."""


@dataclass(frozen=True, slots=True)
class Index:
    """The arranged rules."""

    payees: Mapping[Address, tuple[Rule, ...]]
    """Rules about payments by the recipients that they name."""
    open_payments: tuple[Rule, ...]
    """Rules about payments to the wallet itself or to anybody."""
    allowances: Mapping[Asset, tuple[Rule, ...]]
    calls: Mapping[tuple[int, Address, bytes | None], tuple[Rule, ...]]
    contracts: Mapping[tuple[type, ContractId], tuple[Rule, ...]]
    kinds: Mapping[type, tuple[Rule, ...]]
    forbids: Mapping[type, tuple[Rule, ...]]
    forbidden_ends: frozenset[Address] | None
    """All that forbid rules about payments can reach; None where they reach further than a list."""
    asks: Mapping[type, tuple[ApproveRule, ...]]
    above: tuple[ApproveRule, ...]
    above_asset: Mapping[Asset, tuple[ApproveRule, ...]]
    newcomers: tuple[ApproveRule, ...]
    always: tuple[ApproveRule, ...]
    amount_limits: Mapping[Asset, tuple[Limit, ...]]
    fee_limits: Mapping[int, tuple[Limit, ...]]
    other_limits: tuple[Limit, ...]
    prices: Mapping[tuple[Asset, str], Price]
    units: frozenset[str]
    coins: Mapping[int, Asset]
    permitted: Mapping[str, Reason]
    asset_names: Mapping[Asset, str]
    address_names: Mapping[Address, str]


def _grouped(pairs: Iterable[tuple[_K, _V]]) -> dict[_K, tuple[_V, ...]]:
    found: dict[_K, list[_V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return {key: tuple(values) for key, values in found.items()}


def build_index(terms: Terms) -> Index:
    """The index of `terms`."""
    permits, approves = terms.permits, terms.approves
    payments = [(rule, rule.match) for rule in permits if isinstance(rule.match, TransferMatch)]
    asked = [rule for rule in approves if not isinstance(rule.when, AboveAmount | NewRecipient | Always)]
    above = [(rule, rule.when) for rule in approves if isinstance(rule.when, AboveAmount)]
    return Index(
        payees=_grouped(
            (address, rule)
            for rule, match in payments
            for address in match.to.members | {address for _, address in match.to.pinned}
        ),
        open_payments=tuple(rule for rule, match in payments if match.to.anyone or match.to.own),
        allowances=_grouped(
            (asset, rule)
            for rule in permits
            if isinstance(rule.match, AllowanceMatch)
            for asset in rule.match.assets or ()
        ),
        calls=_grouped(
            ((*contract, selector), rule)
            for rule in permits
            if isinstance(rule.match, CallMatch)
            for contract in rule.match.contracts or ()
            for selector in (rule.match.functions if rule.match.functions is not None else (None,))
        ),
        contracts=_grouped(_by_contract(permits)),
        kinds=_grouped((type(rule.match), rule) for rule in permits),
        forbids={kind: tuple(r for r in terms.forbids if isinstance(r.match, by)) for kind, by in TOUCHED_BY.items()},
        forbidden_ends=_forbidden_ends(terms),
        asks={
            kind: found
            for kind, by in TOUCHED_BY.items()
            if (found := tuple(rule for rule in asked if isinstance(rule.when, by)))
        },
        above=tuple(rule for rule, when in above if when.measure is not Measure.AMOUNT),
        above_asset=_grouped(
            (when.asset, rule) for rule, when in above if when.measure is Measure.AMOUNT and when.asset is not None
        ),
        newcomers=tuple(rule for rule in approves if isinstance(rule.when, NewRecipient)),
        always=tuple(rule for rule in approves if isinstance(rule.when, Always)),
        amount_limits=_grouped(
            (each.asset, each) for each in terms.limits if each.measure is Measure.AMOUNT and each.asset is not None
        ),
        fee_limits=_grouped(
            (each.asset.chain_id, each)
            for each in terms.limits
            if each.measure is Measure.FEE and each.asset is not None
        ),
        other_limits=tuple(each for each in terms.limits if each.asset is None),
        prices={(price.asset, price.unit): price for price in terms.prices},
        units=units_of(terms),
        coins={chain_id: Asset(chain_id, NATIVE) for chain_id in terms.chain_ids},
        permitted={rule.name: Reason("permitted", f"permitted by {rule.name!r}", rule.name) for rule in permits},
        asset_names={asset: name for name, assets in terms.assets.items() for asset in assets},
        address_names=_address_names(terms),
    )


def _by_contract(permits: Iterable[Rule]) -> Iterable[tuple[tuple[type, ContractId], Rule]]:
    for rule in permits:
        match = rule.match
        if isinstance(match, SignMatch):
            yield from (((SignMatch, contract), rule) for contract in match.contracts or ())
        elif isinstance(match, NftMatch):
            yield from (((NftMatch, contract), rule) for contract in match.collections or ())


def _forbidden_ends(terms: Terms) -> frozenset[Address] | None:
    found = frozenset[Address]()
    for rule in terms.forbids:
        if isinstance(rule.match, TransferMatch):
            to = rule.match.to
            if to.anyone or to.own:
                return None
            found |= to.members | {address for _, address in to.pinned}
    return found


def units_of(terms: Terms) -> frozenset[str]:
    """The currencies that some limit or approval counts in, for which every outflow must have a price."""
    units = [limit.unit for limit in terms.limits]
    units += [rule.when.unit for rule in terms.approves if isinstance(rule.when, AboveAmount)]
    return frozenset(unit for unit in units if unit is not None)


def _address_names(terms: Terms) -> dict[Address, str]:
    """One name for each address: of entries that stand for it alone, the first in the alphabet."""
    found: dict[Address, str] = {}
    for name, entry in sorted(terms.addresses.items()):
        every = entry.members | {address for _, address in entry.pinned}
        if len(every) == 1:
            found.setdefault(next(iter(every)), name)
    for name, members in KNOWN_ADDRESSES.items():
        for address in members:
            found.setdefault(address, name)
    return found

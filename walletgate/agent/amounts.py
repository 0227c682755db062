"""Amounts in words, exactly: `5 USDC` to base units and back. What is unclear is refused; nothing is rounded.

One form only: digits, at most one dot with digits on both sides, one space, the asset's name. No signs, exponents,
thousands separators or currency signs: each of them is read differently somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from walletgate.agent.answers import PinnedAsset, PolicyView
from walletgate.agent.errors import make
from walletgate.errors import InvalidRequestError
from walletgate.types import UINT256_MAX

_AMOUNT: Final = re.compile(r"(0|[1-9][0-9]{0,77})(?:\.([0-9]{1,77}))?", re.ASCII)
_WORDS: Final = re.compile(rf"({_AMOUNT.pattern}) (\S{{1,64}})", re.ASCII)
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def split_amount(words: object) -> tuple[str, str]:
    """`5.25 USDC` as the number and the asset's name.

    Raises:
        InvalidRequestError: `bad_amount`.
    """
    found = _WORDS.fullmatch(words) if isinstance(words, str) else None
    if found is None:
        raise make(
            InvalidRequestError,
            'an amount is a decimal number, one space and the name of an asset, such as "5.25 USDC"',
            code="bad_amount",
        )
    return found[1], found[4]


def to_units(number: str, asset: PinnedAsset) -> int:
    """A decimal number of `asset` in base units, at least 1.

    Raises:
        InvalidRequestError: `bad_amount`; more decimals than the asset has are not rounded away.
    """
    found = _AMOUNT.fullmatch(number)
    fraction = (found[2] or "") if found else ""
    if found is None or len(fraction.rstrip("0")) > asset.decimals:
        what = "is no decimal number" if found is None else f"has more than {asset.name}'s {asset.decimals} decimals"
        raise make(InvalidRequestError, f"{number!r} {what}", code="bad_amount")
    units: int = int(found[1]) * 10**asset.decimals + int(fraction.rstrip("0").ljust(asset.decimals, "0") or "0")
    if not 0 < units <= UINT256_MAX:
        raise make(InvalidRequestError, f"{number} {asset.name} is nothing that can be paid", code="bad_amount")
    return units


def from_units(units: int, asset: PinnedAsset) -> str:
    """Base units as a decimal number of whole `asset`, exactly and without needless zeros."""
    whole, rest = divmod(units, 10**asset.decimals)
    fraction = f"{rest:0{asset.decimals}d}".rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)


def asset_named(policy: PolicyView, name: str, chain_id: int | None) -> PinnedAsset:
    """The asset the policy calls `name`, on `chain_id` or on the only chain that has it.

    Raises:
        InvalidRequestError: `asset_unknown`, `chain_unclear`.
    """
    known = [asset for asset in policy.assets if asset.name == name and chain_id in (None, asset.chain_id)]
    if not known:
        names = _listed(asset.name for asset in policy.assets)
        raise make(InvalidRequestError, f"the policy has no asset {name!r}; it has {names}", code="asset_unknown")
    if len(known) > 1:
        chains = _listed(str(asset.chain_id) for asset in known)
        raise make(InvalidRequestError, f"say on which chain {name} is meant: {chains}", code="chain_unclear")
    return known[0]


def payee_named(policy: PolicyView, name: str, chain_id: int) -> str:
    """The one address the policy calls `name` on `chain_id`; an address stands for itself, and the gate judges it.

    Raises:
        InvalidRequestError: `payee_unknown`, `payee_unclear`.
    """
    if _ADDRESS.fullmatch(name):
        return name
    found = sorted({address for chain, address in policy.addresses.get(name, ()) if chain in (None, chain_id)})
    if not found:
        names = _listed(policy.addresses)
        raise make(InvalidRequestError, f"the policy has no address {name!r}; it has {names}", code="payee_unknown")
    if len(found) > 1:
        raise make(InvalidRequestError, f"{name!r} stands for {len(found)} addresses: name one", code="payee_unclear")
    return found[0]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none"

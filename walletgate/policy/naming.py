"""Names for people: assets, addresses and amounts as the policy's own words, and nothing else.

A name comes from the operator's policy or it is the address itself. What an agent, a token or a node says
about itself is never used.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from walletgate.encoding import checksum_address
from walletgate.policy.amounts import QUOTE_DECIMALS, format_amount, format_duration
from walletgate.policy.document import Policy
from walletgate.policy.names import NATIVE_DECIMALS, chain_name
from walletgate.types import UINT256_MAX, Address, Asset, Measure

LAST_MOMENT_S: Final = 253_402_300_799
"""The last second that has a date of four digits."""


def asset_name(policy: Policy, asset: Asset) -> str:
    """The asset's name in the policy; with several chains under one name, also which chain."""
    name = policy.index.asset_names.get(asset)
    if name is None:
        kind = "the coin" if asset.is_native else f"token {checksum_address(asset.address)}"
        return f"{kind} on {chain_name(asset.chain_id)}"
    return name if len(policy.assets[name]) == 1 else f"{name} on {chain_name(asset.chain_id)}"


def address_name(policy: Policy, address: Address, *, wallet: Address | None = None) -> str:
    """The address's name in the policy's address book, or the address."""
    if address == wallet:
        return "the wallet itself"
    name = policy.index.address_names.get(address)
    return name if name is not None else checksum_address(address)


def amount_text(policy: Policy, asset: Asset, amount: int) -> str:
    """An amount with its asset: `25.5 USDC`, `unlimited USDC`, or base units where the asset is not pinned."""
    name = asset_name(policy, asset)
    decimals = policy.decimals.get(asset)
    if amount >= UINT256_MAX:
        return f"unlimited {name}"
    if decimals is None and asset.is_native:
        decimals = NATIVE_DECIMALS
    if decimals is None:
        return f"{amount:,} base units of {name}"
    return f"{grouped(format_amount(amount, decimals))} {name}"


def grouped(number: str) -> str:
    """A decimal number with its thousands apart, because a slip of three digits must catch the eye."""
    whole, point, part = number.partition(".")
    return f"{int(whole):,}{point}{part}"


def measure_text(policy: Policy, measure: Measure, asset: Asset | None, unit: str | None, amount: int) -> str:
    """An amount of whatever a limit adds up."""
    if measure is Measure.COUNT or (asset is None and unit is None):
        return f"{amount} request{'' if amount == 1 else 's'}"
    if asset is None:
        return f"{grouped(format_amount(amount, QUOTE_DECIMALS))} {unit}"
    return amount_text(policy, asset, amount) + (" in fees" if measure is Measure.FEE else "")


def moment_text(seconds: int) -> str:
    """A moment (Unix seconds) for reading, in UTC; beyond the year 9999 the number itself."""
    if not 0 <= seconds <= LAST_MOMENT_S:
        return f"{seconds} (Unix seconds)"
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC" if moment.second else "%Y-%m-%d %H:%M UTC")


def duration_text(seconds: int) -> str:
    """A duration for reading: `24 hours`, `30 days`."""
    short = format_duration(seconds)
    words = {"s": "second", "m": "minute", "h": "hour", "d": "day"}
    number, word = short[:-1], words[short[-1]]
    return f"{number} {word}{'' if number == '1' else 's'}"

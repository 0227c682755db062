"""The words a policy may use: its chains, its assets and its address book, resolved to identities.

Words are case-sensitive, but two that differ only in case are refused, and so is a word that is both an asset
and an address. An address is EIP-55 with the right checksum, wherever it is written: a policy is where typing
errors must surface. A chain's own coin is known by its symbol and is never a token's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from walletgate.encoding import checksum_address, parse_address
from walletgate.errors import InvalidRequestError
from walletgate.policy.addresses import ANYONE, AddressSet, ContractId
from walletgate.policy.known import KNOWN_ADDRESSES
from walletgate.policy.reader import Table, nearest
from walletgate.types import CHAINS, NATIVE, Address, Asset

EVERYTHING: Final = "*"
SELF: Final = "self"
NATIVE_DECIMALS: Final = 18
DECIMALS_MAX: Final = 77
CHAIN_ID_MAX: Final = 2**63 - 1
_RESERVED: Final = frozenset({EVERYTHING, SELF, "unlimited", "any", "requests"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z", re.ASCII)
_SYMBOLS: Final = dict(CHAINS.values())
_CHAIN_NAMES: Final = {chain_id: name for name, (chain_id, _) in CHAINS.items()}


def chain_name(chain_id: int) -> str:
    """The chain's name, or its number where it has none."""
    return _CHAIN_NAMES.get(chain_id, f"chain {chain_id}")


@dataclass(slots=True)
class Names:
    """What has been declared so far. `natives` are the coins' symbols by name."""

    chain_ids: frozenset[int]
    assets: dict[str, tuple[Asset, ...]] = field(default_factory=dict)
    decimals: dict[Asset, int] = field(default_factory=dict)
    addresses: dict[str, AddressSet] = field(default_factory=dict)

    def assets_at(self, table: Table, key: str, names: Iterable[str]) -> tuple[Asset, ...]:
        """The assets of `names`, each of one of the policy's chains; `*` is every declared one."""
        found: list[Asset] = []
        for name in names:
            if name == EVERYTHING:
                found.extend(asset for assets in self.assets.values() for asset in assets)
            elif name in self.assets:
                found.extend(self.assets[name])
            else:
                table.fail(key, f"names the unknown asset {name!r}{nearest(name, self.assets)}", code="unknown_name")
        return tuple(dict.fromkeys(found))

    def addresses_at(self, table: Table, key: str, names: Iterable[str] | None) -> AddressSet:
        """The addresses of `names`: book names, known names, EIP-55 addresses, `self` or `*`."""
        own, members, pinned = False, set[Address](), set[ContractId]()
        for name in names or ():
            if name == EVERYTHING:
                return ANYONE
            if name == SELF:
                own = True
                continue
            one = self._addresses_of(table, key, name)
            own, members, pinned = own or one.own, members | one.members, pinned | one.pinned
        return AddressSet(own=own, members=frozenset(members), pinned=frozenset(pinned))

    def contracts_at(
        self, table: Table, key: str, names: Iterable[str], chain_ids: frozenset[int] | None
    ) -> frozenset[ContractId]:
        """The contracts of `names` on `chain_ids`; an asset's name stands for its token contract."""
        found = set[ContractId]()
        for name in names:
            if name in self.assets:
                found |= {(asset.chain_id, asset.address) for asset in self.assets[name] if not asset.is_native}
                continue
            one = self._addresses_of(table, key, name)
            found |= one.pinned
            if one.members:
                chains = chain_ids or self.only_chain(table, key)
                found |= {(chain_id, address) for chain_id in chains for address in one.members}
        if chain_ids is not None:
            found = {(chain_id, address) for chain_id, address in found if chain_id in chain_ids}
        if not found:
            table.fail(key, "names no contract on this rule's chains", code="unknown_name")
        return frozenset(found)

    def only_chain(self, table: Table, key: str) -> frozenset[int]:
        """The policy's chain, when it has just one."""
        if len(self.chain_ids) != 1:
            table.fail(key, "needs `chain`, because a contract is another one on each chain", code="missing_key")
        return self.chain_ids

    def _addresses_of(self, table: Table, key: str, name: str) -> AddressSet:
        if name in self.addresses:
            return self.addresses[name]
        if name in KNOWN_ADDRESSES:
            return AddressSet(members=KNOWN_ADDRESSES[name])
        if name.startswith(("0x", "0X")):
            return AddressSet(members=frozenset({read_address(table, key, name)}))
        hint = nearest(name, [*self.addresses, *KNOWN_ADDRESSES])
        return table.fail(key, f"names the unknown address {name!r}{hint}", code="unknown_name")

    def declare(self, table: Table, name: str) -> None:
        """Checks that `name` is a fit name that nothing else has."""
        if not _NAME.match(name) or name.casefold() in _RESERVED or name.casefold().startswith("0x"):
            table.fail(name, "is not a name: letters, digits, dot, dash, underscore", code="bad_name")
        for other in (*self.assets, *self.addresses):
            if other.casefold() == name.casefold():
                table.fail(name, f"has the name of another asset or address, {other!r}", code="duplicate_name")


def read_address(table: Table, key: str, text: object) -> Address:
    """An EIP-55 address at `key`."""
    try:
        address = parse_address(text, where="it")
    except InvalidRequestError as error:
        raise table.error(table.at(key), f"holds a bad address: {error.detail}", code=error.code) from error
    if checksum_address(address) != text:
        table.fail(key, f"has no checksum: write it as {checksum_address(address)}", code="bad_checksum")
    return address


def read_chains(table: Table, key: str, *, within: frozenset[int] | None = None) -> frozenset[int] | None:
    """Chain ids of a name, a number or a list of them at `key`; all must be in `within` if given."""
    if not table.has(key):
        return None
    value = table.raw(key)
    items = value if isinstance(value, list) else [value]
    if not items:
        table.fail(key, "is empty", code="wrong_type")
    found = [_chain(table, key, item) for item in items]
    if len(set(found)) != len(found):
        table.fail(key, "names a chain twice", code="duplicate_name")
    outside = [chain_id for chain_id in found if within is not None and chain_id not in within]
    if outside:
        table.fail(key, f"names {chain_name(outside[0])}, which is not in `chains`", code="unknown_chain")
    return frozenset(found)


def _chain(table: Table, key: str, item: object) -> int:
    if isinstance(item, str):
        if item not in CHAINS:
            table.fail(key, f"names the unknown chain {item!r}{nearest(item, CHAINS)}", code="unknown_chain")
        return CHAINS[item][0]
    if isinstance(item, bool) or not isinstance(item, int) or not 1 <= item <= CHAIN_ID_MAX:
        table.fail(key, "must be names or numbers of chains", code="wrong_type")
    return item


def read_names(root: Table, chain_ids: frozenset[int]) -> Names:
    """The assets and the address book of a policy."""
    names = Names(chain_ids)
    for chain_id in sorted(chain_ids):
        symbol = _SYMBOLS.get(chain_id)
        if symbol is not None:
            coin = Asset(chain_id, NATIVE)
            names.assets[symbol] = (*names.assets.get(symbol, ()), coin)
            names.decimals[coin] = NATIVE_DECIMALS
    assets = root.section("assets")
    for name in assets.given():
        _read_asset(assets, name, names)
    addresses = root.section("addresses")
    for name in addresses.given():
        names.declare(addresses, name)
        names.addresses[name] = _read_entry(addresses, name, names)
    return names


def _read_asset(assets: Table, name: str, names: Names) -> None:
    table = assets.need_table(name)
    if table.flag("native"):
        _read_native(table, assets, name, names)
        return
    names.declare(assets, name)
    decimals = table.integer("decimals", most=DECIMALS_MAX)
    if decimals is None:
        table.fail("decimals", "is missing", code="missing_key")
    address = read_address(table, "address", table.need("address"))
    chains = read_chains(table, "chain", within=names.chain_ids) or names.only_chain(table, "address")
    if len(chains) != 1:
        table.fail("chain", "must be one chain: a token is another one on each chain", code="wrong_type")
    asset = Asset(next(iter(chains)), address)
    if asset.is_native or asset in names.decimals:
        table.fail("address", "is already the address of another asset", code="duplicate_name")
    names.assets[name] = (asset,)
    names.decimals[asset] = decimals
    table.done()


def _read_native(table: Table, assets: Table, name: str, names: Names) -> None:
    chains = read_chains(table, "chain", within=names.chain_ids) or names.chain_ids
    decimals = table.integer("decimals", NATIVE_DECIMALS, least=NATIVE_DECIMALS, most=NATIVE_DECIMALS)
    coins = tuple(Asset(chain_id, NATIVE) for chain_id in sorted(chains))
    if name in names.assets and all(asset.is_native for asset in names.assets[name]):
        del names.assets[name]
    names.declare(assets, name)
    names.assets[name] = coins
    names.decimals.update(dict.fromkeys(coins, decimals or NATIVE_DECIMALS))
    table.done()


def _read_entry(table: Table, key: str, names: Names) -> AddressSet:
    """One line of the address book: an address, an address on a chain, or a list of names and addresses."""
    value = table.raw(key)
    if isinstance(value, str):
        return AddressSet(members=frozenset({read_address(table, key, value)}))
    if isinstance(value, list):
        found = names.addresses_at(table, key, table.texts(key))
        if found.anyone:
            table.fail(key, "cannot stand for everybody", code="bad_name")
        return found
    entry = table.need_table(key)
    address = read_address(entry, "address", entry.need("address"))
    chains = read_chains(entry, "chain", within=names.chain_ids) or names.chain_ids
    entry.done()
    return AddressSet(pinned=frozenset((chain_id, address) for chain_id in chains))

"""A policy's text, read strictly, compiled and named by its hash.

    version = 1
    name = "shopper"
    chains = ["base"]

    [assets.USDC]
    address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
    decimals = 6

    [addresses]
    acme-api = "0xd62E97C1C4219a3850376f168e3B18aD242765Db"

    [[permit]]
    name = "buy API calls"
    transfer = "USDC"
    to = ["acme-api"]

Loading either gives a policy whose every word was understood or raises with the file, the key and the reason:
a key that is not known is never ignored. Nothing is permitted that no rule names, so the shortest policy
(version, name, chains) refuses everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from walletgate.effects.abi import Function
from walletgate.policy.addresses import OWN, AddressSet, ContractId
from walletgate.policy.amounts import AmountError, parse_duration, parse_rate
from walletgate.policy.approvals import read_asking
from walletgate.policy.canonical import hash_terms
from walletgate.policy.index import Index, build_index, units_of
from walletgate.policy.matches import SIGNATURE_TTL_S, UNLIMITED
from walletgate.policy.model import (
    AllowanceMatch,
    Need,
    NewRecipient,
    NftMatch,
    SwapTerms,
    Terms,
)
from walletgate.policy.names import Names, read_chains, read_names
from walletgate.policy.prices import read_prices
from walletgate.policy.reader import Table, parse_toml
from walletgate.policy.rules import Rules, read_approves, read_forbids, read_limits, read_permits
from walletgate.policy.where import WhereReader
from walletgate.types import Address, Asset, Hash32

VERSION: Final = 1
METHODS: Final = frozenset(
    {
        "eth_sendTransaction",
        "eth_signTransaction",
        "wallet_sendCalls",
        "eth_signTypedData",
        "eth_signTypedData_v3",
        "eth_signTypedData_v4",
        "personal_sign",
    }
)
"""Signing methods of a policy that names none: those whose every effect is judged.

The three names for typed data are one thing here, read as EIP-712 says; a policy that names one permits that one.
"""

READ_METHODS: Final = frozenset(
    {
        "eth_accounts",
        "eth_blobBaseFee",
        "eth_blockNumber",
        "eth_call",
        "eth_chainId",
        "eth_createAccessList",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_gasPrice",
        "eth_getBalance",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getBlockReceipts",
        "eth_getBlockTransactionCountByHash",
        "eth_getBlockTransactionCountByNumber",
        "eth_getCode",
        "eth_getLogs",
        "eth_getProof",
        "eth_getStorageAt",
        "eth_getTransactionByBlockHashAndIndex",
        "eth_getTransactionByBlockNumberAndIndex",
        "eth_getTransactionByHash",
        "eth_getTransactionCount",
        "eth_getTransactionReceipt",
        "eth_maxPriorityFeePerGas",
        "eth_syncing",
        "net_version",
        "web3_clientVersion",
    }
)
"""Pass-through methods of a policy that names none: they read public data."""

METHOD_LENGTH_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy: its meaning (`terms`), its hash, its text, and what judging needs at hand."""

    terms: Terms
    hash: Hash32
    text: str = field(repr=False)
    source: str
    functions: Mapping[tuple[int, Address, bytes], Function] = field(repr=False)
    """Contract functions that permits name, for the decoder: by chain, contract and selector."""
    collections: frozenset[ContractId] = field(repr=False)
    """NFT contracts that permits name, for the decoder."""
    needs: frozenset[Need]
    """Facts that judging may ask for."""
    index: Index = field(repr=False)

    @property
    def name(self) -> str:
        """The policy's own name."""
        return self.terms.name

    @property
    def version(self) -> int:
        """Version of the policy language."""
        return self.terms.version

    @property
    def chain_ids(self) -> frozenset[int]:
        """The chains it speaks of."""
        return self.terms.chain_ids

    @property
    def assets(self) -> Mapping[str, tuple[Asset, ...]]:
        """Assets by name: one for a token, one for each chain for a coin."""
        return self.terms.assets

    @property
    def decimals(self) -> Mapping[Asset, int]:
        """Decimals of every pinned asset."""
        return self.terms.decimals

    @property
    def addresses(self) -> Mapping[str, AddressSet]:
        """The address book."""
        return self.terms.addresses

    @property
    def underlying(self) -> Mapping[ContractId, Address]:
        """Tokens that vaults take when calldata does not say so, for the decoder."""
        return self.terms.underlying


def load(text: str, *, source: str) -> Policy:
    """The policy that `text` (TOML) means; `source` names it in errors.

    Raises:
        ConfigError: anything at all that is not understood; `data` has `file` and `key`.
    """
    root = parse_toml(text, source=source)
    terms, functions = _read_terms(root)
    root.done()
    return Policy(
        terms=terms,
        hash=hash_terms(terms),
        text=text,
        source=source,
        functions={
            (chain_id, address, selector): _with_recipients(function)
            for ((chain_id, address), selector), function in functions.items()
        },
        collections=_collections(terms),
        needs=_needs(terms),
        index=build_index(terms),
    )


def _read_terms(root: Table) -> tuple[Terms, dict[tuple[ContractId, bytes], Function]]:
    version = root.need("version")
    if version is not VERSION and (isinstance(version, bool) or version != VERSION):
        root.fail("version", f"must be {VERSION}", code="bad_version")
    name = root.need_text("name")
    if not name.isprintable() or not name.strip() or len(name) > METHOD_LENGTH_MAX:
        root.fail("name", f"must be 1 to {METHOD_LENGTH_MAX} printable characters", code="bad_name")
    root.text("description")
    root.need("chains")
    chain_ids = read_chains(root, "chains") or frozenset()
    names = read_names(root, chain_ids)
    accounts = names.addresses_at(root, "accounts", root.texts("accounts"))
    if accounts.anyone or accounts.own:
        root.fail("accounts", "must name addresses", code="too_wide")
    prices = read_prices(root, names)
    where = WhereReader(names, root.section("fragments"))
    rules = Rules(names, frozenset(price.unit for price in prices), _read_signature_ttl(root), where)
    permits = read_permits(root, rules)
    forbids, cooldowns = read_forbids(root, rules)
    terms = Terms(
        version=VERSION,
        name=name,
        chain_ids=chain_ids,
        methods=_read_methods(root, "methods", METHODS),
        read_methods=_read_methods(root, "read_methods", READ_METHODS),
        accounts=accounts.members | {address for _, address in accounts.pinned},
        require_expect=root.flag("require_expect"),
        expires_at=root.moment("expires"),
        gas_max=root.integer("max_gas", least=21_000),
        assets=names.assets,
        decimals=names.decimals,
        addresses=names.addresses,
        underlying=rules.underlying,
        permits=permits,
        forbids=forbids,
        cooldowns=cooldowns,
        approves=read_approves(root, rules),
        limits=read_limits(root, rules),
        swap=_read_swap(root, names),
        prices=prices,
        simulate=_read_simulate(root),
        asking=read_asking(root),
    )
    where.done()
    return terms, rules.functions


def _read_methods(root: Table, key: str, default: frozenset[str]) -> frozenset[str]:
    if root.raw(key) == []:
        return frozenset()
    texts = root.texts(key)
    if texts is None:
        return default
    for text in texts:
        if not text.isascii() or not text.replace("_", "").isalnum() or len(text) > METHOD_LENGTH_MAX:
            root.fail(key, f"holds {text!r}, which is not a method's name", code="bad_name")
    return frozenset(texts)


def _read_simulate(root: Table) -> bool:
    word = root.text("simulate", "off")
    if word not in ("off", "required"):
        root.fail("simulate", 'must be "off" or "required"', code="out_of_range")
    return word == "required"


def _read_signature_ttl(root: Table) -> int | None:
    table = root.section("signatures")
    text = table.text("max_ttl")
    table.done()
    if text is None or text == UNLIMITED:
        return None if text else SIGNATURE_TTL_S
    return table.exact("max_ttl", text, parse_duration)


def _read_swap(root: Table, names: Names) -> SwapTerms:
    table = root.section("swap")
    min_out = table.text("min_out", "nonzero")
    if min_out not in ("nonzero", "any"):
        table.fail("min_out", 'must be "nonzero" or "any"', code="out_of_range")
    deadline = table.text("max_deadline")
    require_deadline = table.flag("require_deadline")
    to = table.texts("to")
    floors: dict[tuple[Asset, Asset], tuple[int, int]] = {}
    for floor in table.tables("floor"):
        _read_floor(floor, names, floors)
    table.done()
    return SwapTerms(
        to=OWN if to is None else names.addresses_at(table, "to", to),
        min_out=min_out == "nonzero",
        deadline_max_s=table.exact("max_deadline", deadline, parse_duration) if deadline is not None else None,
        require_deadline=require_deadline,
        floors=floors,
    )


def _read_floor(table: Table, names: Names, floors: dict[tuple[Asset, Asset], tuple[int, int]]) -> None:
    """One price floor; `at_least` is a decimal string or a fraction of whole numbers, such as "97/100"."""
    sells = names.assets_at(table, "sell", [table.need_text("sell")])
    buys = names.assets_at(table, "buy", [table.need_text("buy")])
    text = table.need_text("at_least")
    try:
        rate = parse_rate(text)
    except AmountError as error:
        raise table.error(table.at("at_least"), str(error), code=error.code) from error
    pairs = [(sell, buy) for sell in sells for buy in buys if sell.chain_id == buy.chain_id]
    if not pairs:
        table.fail("buy", "is on another chain than `sell`", code="unknown_name")
    for sell, buy in pairs:
        if (sell, buy) in floors:
            table.fail("sell", "has a floor for this pair already", code="duplicate_name")
        scaled = rate * Fraction(10) ** (names.decimals[buy] - names.decimals[sell])
        floors[sell, buy] = (scaled.numerator, scaled.denominator)
    table.done()


def _with_recipients(function: Function) -> Function:
    """The function with its nameless addresses called recipients.

    The decoder tells recipients of value by their parameters' names; an address the policy did not name is
    taken for one, because the other guess could send value anywhere.
    """
    params = tuple(
        replace(param, name="recipient") if param.kind == "address" and not param.name else param
        for param in function.params
    )
    return replace(function, params=params)


def _collections(terms: Terms) -> frozenset[ContractId]:
    matches = [rule.match for rule in terms.permits]
    found = [match.collections or frozenset() for match in matches if isinstance(match, NftMatch)]
    return frozenset().union(*found)


def _needs(terms: Terms) -> frozenset[Need]:
    found = set[Need]()
    units = units_of(terms)
    if any(price.feed is not None and price.unit in units for price in terms.prices):
        found.add(Need.PRICES)
    if any(limit.share_bips is not None for limit in terms.limits):
        found.add(Need.BALANCES)
    if terms.cooldowns or any(isinstance(rule.when, NewRecipient) for rule in terms.approves):
        found.add(Need.FIRST_SEEN)
    if any(isinstance(rule.match, AllowanceMatch) and rule.match.most is not None for rule in terms.permits):
        found.add(Need.ALLOWANCES)
    if terms.gas_max is not None:
        found.add(Need.GAS)
    if terms.simulate:
        found.add(Need.SIMULATION)
    return frozenset(found)

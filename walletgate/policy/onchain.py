"""What a policy pins, beside what a node says: chain ids, code, decimals, symbols.

Because the node is not trusted, nothing of what it says enters a policy: it is only held against what the operator
wrote. Decimals that differ are the error that multiplies a payment by a power of ten, so they are findings of the
gravest kind; a symbol is whatever its author chose, so that it can only be a warning. Text from the chain is bounded
where it is read and escaped where it is shown.

`wanted` says what to ask, `read_number` and `read_text` read the answers, `disagreements` judges them; who asks is
no business of this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from walletgate.encoding import checksum_address, printable
from walletgate.policy.addresses import ContractId
from walletgate.policy.document import Policy
from walletgate.policy.lint import Finding, Severity, in_order
from walletgate.policy.model import CallMatch, NftMatch, SignMatch
from walletgate.policy.names import chain_name
from walletgate.policy.naming import address_name
from walletgate.types import NATIVE, Address, Asset

SYMBOL_LENGTH_MAX: Final = 64
"""Bytes of a symbol that are read; what is longer is no symbol."""

_WORD: Final = 32


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask the node of one chain. `numbers` are asked for their decimals, `tokens` for their symbol, too."""

    code: frozenset[Address]
    tokens: frozenset[Address]
    numbers: frozenset[Address]


@dataclass(frozen=True, slots=True)
class ChainSays:
    """What a node said. A key that is absent was not answered; a value of None was answered with nonsense.

    `problem` is why the node could not be asked at all, and then nothing else is known.
    """

    chain_id: int | None = None
    code: Mapping[Address, bool] = field(default_factory=dict)
    decimals: Mapping[Address, int | None] = field(default_factory=dict)
    symbols: Mapping[Address, str | None] = field(default_factory=dict)
    problem: str | None = None


def wanted(policy: Policy) -> dict[int, Wanted]:
    """What there is to ask, by chain id."""
    tokens = {(asset.chain_id, asset.address) for asset in policy.decimals if asset.address != NATIVE}
    feeds = _feeds(policy)
    contracts = {contract for contract, _ in _called(policy)} | tokens | set(feeds)

    def on(chain_id: int, found: set[ContractId]) -> frozenset[Address]:
        return frozenset(address for chain, address in found if chain == chain_id)

    chain_ids = policy.chain_ids | {chain_id for chain_id, _ in contracts}
    return {
        chain_id: Wanted(on(chain_id, contracts), on(chain_id, tokens), on(chain_id, tokens | set(feeds)))
        for chain_id in chain_ids
    }


def disagreements(policy: Policy, says: Mapping[int, ChainSays]) -> tuple[Finding, ...]:
    """Where `says`, by chain id, is not what `policy` says; chains that are absent were not asked, and are named."""
    found: list[Finding] = []
    for chain_id in sorted(wanted(policy)):
        said = says.get(chain_id)
        if said is None or said.problem is not None:
            why = "no node was named for it" if said is None else said.problem or ""
            text = f"{chain_name(chain_id)} was not asked: {printable(why, length_max=200)}"
            found.append(Finding("chain_not_asked", Severity.WARNING, None, text))
        elif said.chain_id != chain_id:
            text = f"the node named for {chain_name(chain_id)} ({chain_id}) says it is on chain {said.chain_id}"
            found.append(Finding("chain_differs", Severity.ERROR, None, text))
        else:
            found += [*_tokens(policy, chain_id, said), *_feed_decimals(policy, chain_id, said)]
            found += _code(policy, chain_id, said)
    return in_order(found)


def _tokens(policy: Policy, chain_id: int, said: ChainSays) -> Iterator[Finding]:
    for asset, pinned in sorted(policy.decimals.items(), key=lambda item: (item[0].chain_id, item[0].address)):
        if asset.chain_id != chain_id or asset.address == NATIVE:
            continue
        name = _asset_name(policy, asset)
        decimals = said.decimals.get(asset.address)
        if decimals is None:
            if said.code.get(asset.address) is not False:
                text = f"{name} gives no answer to decimals(): the {pinned} written here cannot be checked"
                yield Finding("decimals_unknown", Severity.WARNING, None, text)
        elif decimals != pinned:
            both = f"{decimals} decimals on the chain and {pinned} here"
            text = f"{name} has {both}: every amount would be {_off(decimals, pinned)}"
            yield Finding("decimals_differ", Severity.ERROR, None, text)
        symbol = said.symbols.get(asset.address)
        if symbol is not None and symbol.casefold() != name.casefold():
            text = f'{name} calls itself "{printable(symbol, length_max=SYMBOL_LENGTH_MAX)}" on the chain'
            yield Finding("symbol_differs", Severity.WARNING, None, text)


def _off(actual: int, pinned: int) -> str:
    return f"10^{abs(actual - pinned)} times too {'large' if pinned > actual else 'small'}"


def _feed_decimals(policy: Policy, chain_id: int, said: ChainSays) -> Iterator[Finding]:
    for (chain, contract), pinned in sorted(_feeds(policy).items()):
        decimals = said.decimals.get(contract)
        if chain == chain_id and decimals is not None and decimals != pinned:
            name = address_name(policy, contract)
            text = f"the feed {name} answers with {decimals} decimals, and {pinned} are written here"
            yield Finding("decimals_differ", Severity.ERROR, None, text)


def _code(policy: Policy, chain_id: int, said: ChainSays) -> Iterator[Finding]:
    rules: dict[ContractId, str | None] = dict(_called(policy))
    tokens = {
        (asset.chain_id, asset.address): _asset_name(policy, asset)
        for asset in policy.decimals
        if asset.address != NATIVE
    }
    for contract in sorted({*rules, *tokens, *_feeds(policy)}):
        chain, address = contract
        if chain == chain_id and said.code.get(address) is False:
            name = tokens.get(contract) or address_name(policy, address)
            where = f"{name} ({checksum_address(address)})"
            text = f"{where} has no code on {chain_name(chain_id)}: whatever calls it does nothing"
            yield Finding("no_code", Severity.ERROR, rules.get(contract), text)


def _called(policy: Policy) -> Iterator[tuple[ContractId, str]]:
    """Contracts that permits call, ask signatures for or hold tokens of, with the rule."""
    for rule in policy.terms.permits:
        match rule.match:
            case CallMatch(contracts=contracts) | SignMatch(contracts=contracts) | NftMatch(collections=contracts):
                yield from ((contract, rule.name) for contract in contracts or ())
            case _:
                pass


def _feeds(policy: Policy) -> dict[ContractId, int]:
    return {price.feed.contract: price.feed.decimals for price in policy.terms.prices if price.feed is not None}


def _asset_name(policy: Policy, asset: Asset) -> str:
    return next(name for name, assets in policy.assets.items() if asset in assets)


def read_number(answer: object) -> int | None:
    """Decimals in a node's answer to `decimals()`: one word that fits a uint8; None for anything else."""
    data = _bytes(answer, _WORD)
    number = int.from_bytes(data, "big") if data is not None and len(data) == _WORD else 256
    return number if number < 256 else None


def read_text(answer: object) -> str | None:
    """Text in a node's answer to `symbol()`: an ABI string, or 32 bytes as early tokens have it; None otherwise."""
    data = _bytes(answer, 2 * _WORD + SYMBOL_LENGTH_MAX)
    if data is None:
        return None
    if len(data) == _WORD:
        raw = data.rstrip(b"\0")
    else:
        offset, size = (int.from_bytes(data[at : at + _WORD], "big") for at in (0, _WORD))
        if offset != _WORD or not 0 < size <= min(SYMBOL_LENGTH_MAX, len(data) - 2 * _WORD):
            return None
        raw = data[2 * _WORD : 2 * _WORD + size]
    try:
        return raw.decode() or None
    except UnicodeDecodeError:
        return None


def read_code(answer: object) -> bool | None:
    """Whether a node's answer to `eth_getCode` is any code; None when it is no answer."""
    if not isinstance(answer, str) or not answer.startswith("0x"):
        return None
    return len(answer) > 2


def _bytes(answer: object, size_bytes_max: int) -> bytes | None:
    if not isinstance(answer, str) or not answer.startswith("0x") or len(answer) > 2 + 2 * size_bytes_max:
        return None
    try:
        data = bytes.fromhex(answer[2:])
    except ValueError:
        return None
    return data if len(data) >= _WORD and answer[2:].isalnum() else None

"""What assets are worth in a currency: fixed by the operator, or read from a feed on chain.

    [prices.USD]
    max_age = "1h"
    fixed = { USDC = "1" }

    [prices.USD.live.ETH]
    feed = "eth-usd"            # a name of the address book or an EIP-55 address
    chain = "base"              # may be left out where the policy has one chain
    decimals = 8                # of the feed's answer
    max_age = "20m"             # in place of the currency's own
    reference = "3000"          # with max_deviation: a price further from this than that
    max_deviation = "25%"       # is no price

Because nothing that the chain says about itself is believed, the feed's address, its chain and its decimals are
written here instead of being asked for. `reference` and `max_deviation` come together: they bound what a feed that
was taken over, or that a market went mad under, can make of the limits. A price that is missing, old or too far off
refuses every request that a limit in its currency counts; it is never taken for zero.
"""

from __future__ import annotations

from typing import Final

from walletgate.policy.addresses import ContractId
from walletgate.policy.amounts import QUOTE_DECIMALS, parse_amount, parse_duration, parse_share
from walletgate.policy.model import Feed, Price
from walletgate.policy.names import Names, read_chains
from walletgate.policy.reader import Table

FEED_DECIMALS_MAX: Final = 36
UNIT_LENGTH_MAX: Final = 8


def read_prices(root: Table, names: Names) -> tuple[Price, ...]:
    """The prices of all currencies."""
    found: list[Price] = []
    prices = root.section("prices")
    for unit in prices.given():
        table = prices.need_table(unit)
        if not unit.isascii() or not unit.isalnum() or not unit.isupper() or len(unit) > UNIT_LENGTH_MAX:
            table.fail("", "must be named like a currency, such as USD", code="bad_name")
        found += _read_currency(table, unit, names)
        table.done()
    return tuple(sorted(found, key=lambda price: (price.unit, price.asset.chain_id, price.asset.address)))


def _read_currency(table: Table, unit: str, names: Names) -> list[Price]:
    found: list[Price] = []
    fixed = table.section("fixed")
    for name in fixed.given():
        value = _read_value(fixed, name)
        found += [Price(asset, unit, value, None) for asset in names.assets_at(fixed, name, [name])]
    age_s = _read_age(table)
    live = table.section("live")
    for name in live.given():
        feed_table = live.need_table(name)
        own_age_s = _read_age(feed_table) or age_s
        if own_age_s is None:
            table.fail("max_age", "is missing: a price from a feed needs a greatest age", code="missing_key")
        feed = _read_feed(feed_table, names)
        found += [Price(asset, unit, None, own_age_s, feed) for asset in names.assets_at(live, name, [name])]
        feed_table.done()
    if len({price.asset for price in found}) != len(found):
        table.fail("live", "names an asset that has another price in this currency", code="duplicate_name")
    if not found:
        table.fail("", "names no prices: say fixed or live", code="missing_key")
    return found


def _read_value(table: Table, key: str) -> int:
    value = table.exact(key, table.need_text(key), lambda text: parse_amount(text, QUOTE_DECIMALS))
    if value == 0:
        table.fail(key, "is worthless: leave it out of the quote limits instead", code="bad_amount")
    return value


def _read_age(table: Table) -> int | None:
    text = table.text("max_age")
    return None if text is None else table.exact("max_age", text, parse_duration)


def _read_feed(table: Table, names: Names) -> Feed:
    contract = _read_contract(table, names)
    decimals = table.integer("decimals", most=FEED_DECIMALS_MAX)
    if decimals is None:
        table.fail("decimals", "is missing: the decimals of the feed's answer", code="missing_key")
    deviation = table.text("max_deviation")
    if (deviation is None) != (not table.has("reference")):
        missing = "reference" if deviation is not None else "max_deviation"
        table.fail(missing, "is missing: reference and max_deviation come together", code="missing_key")
    if deviation is None:
        return Feed(contract, decimals)
    return Feed(
        contract, decimals, _read_value(table, "reference"), table.exact("max_deviation", deviation, parse_share)
    )


def _read_contract(table: Table, names: Names) -> ContractId:
    """The one contract at `feed`, on the chain that is named. That may be another chain than those of the policy."""
    chains = read_chains(table, "chain") or names.only_chain(table, "feed")
    if len(chains) != 1:
        table.fail("chain", "must be one chain: a feed is another one on each", code="wrong_type")
    chain_id = next(iter(chains))
    said = names.addresses_at(table, "feed", [table.need_text("feed")])
    found = said.members | {address for pinned, address in said.pinned if pinned == chain_id}
    if said.anyone or said.own or len(found) != 1:
        table.fail("feed", "must name one contract on its chain", code="too_wide")
    return chain_id, next(iter(found))

"""Conditions on a call's arguments, as a policy writes them.

    where = { asset = "USDC", amount = { le = "1000 USDC" }, onBehalfOf = "self" }
    where = { params = { recipient = ["self", "acme"], path = { all = { in = ["USDC", "WETH"] } } } }
    where = { "2" = { not = "0" }, either = [ { code = "0" }, { use = "small amounts" } ] }

A table holds when everything in it holds. Its keys are parameters by name or position, or the words below; a
value alone means "is", a list means "is one of". Each is read by the argument's own type, so that a comparison
that makes no sense is refused when the policy is loaded: integers are text ("1000", or "1000 USDC" in the
asset's units), addresses are `self`, names or EIP-55, bytes are `0x` hex.

    eq ne in           any type                  any all length     arrays: some item, every item, how many
    lt le gt ge        integers                  not either         the opposite; one of several
    use                a fragment: `[fragments."small amounts"]` is such a table, named once and used often
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from walletgate.effects.signature import AbiType
from walletgate.encoding import parse_hex
from walletgate.errors import InvalidRequestError
from walletgate.policy.addresses import AddressSet
from walletgate.policy.amounts import parse_amount
from walletgate.policy.canonical import canonical_json
from walletgate.policy.conditions import (
    Among,
    Both,
    Compare,
    Comparison,
    Condition,
    Either,
    Items,
    Length,
    Not,
    Part,
)
from walletgate.policy.names import EVERYTHING, SELF, Names
from walletgate.policy.reader import Table, nearest
from walletgate.types import AbiValue

DEPTH_MAX: Final = 12
_ORDERS: Final = frozenset({"lt", "le", "gt", "ge"})
_INTEGERS: Final = frozenset({"uint", "int"})
_INTEGER = re.compile(r"(-?)(0|[1-9][0-9]{0,77})\Z", re.ASCII)
_IN_UNITS = re.compile(r"([0-9.]+) ([A-Za-z0-9][A-Za-z0-9._-]{0,63})\Z", re.ASCII)
_LENGTH_TYPE: Final = AbiType("uint", "uint256", 256)


class WhereReader:
    """Reads conditions with the policy's names and fragments; `used` are the fragments that were asked for."""

    def __init__(self, names: Names, fragments: Table) -> None:
        self.names = names
        self.fragments = fragments
        self.used: set[str] = set()

    def read(self, table: Table, params: tuple[AbiType, ...]) -> Condition:
        """The condition in `table` on the arguments of a function with `params`."""
        return self._table(table, AbiType("tuple", "", components=params), 0)

    def done(self) -> None:
        """Refuses fragments that no rule uses: nobody would have read them."""
        for name in self.fragments.given():
            if name not in self.used:
                self.fragments.fail(name, "is used by no rule", code="unused_fragment")

    # --- one value

    def _value(self, table: Table, key: str, kind: AbiType, depth: int) -> Condition:
        """The condition at `key`: a table, a list (one of), or a value (is)."""
        if depth > DEPTH_MAX:
            table.fail(key, "is nested too deeply", code="bad_condition")
        raw = table.raw(key)
        if isinstance(raw, dict):
            return self._table(table.need_table(key), kind, depth + 1)
        if isinstance(raw, list):
            return self._among(table, key, raw, kind)
        return self._among(table, key, [raw], kind)

    def _table(self, table: Table, kind: AbiType, depth: int) -> Condition:
        found: list[Condition] = []
        parts = _parts(kind)
        for key in table.given():
            if key in parts:
                index, part = parts[key]
                found.append(Part(index, self._value(table, key, part, depth)))
            else:
                found.append(self._word(table, key, kind, depth))
        if not found:
            table.fail("", "says nothing", code="bad_condition")
        if len(found) == 1:
            return found[0]
        return Both(tuple(sorted(found, key=canonical_json)))

    def _word(self, table: Table, key: str, kind: AbiType, depth: int) -> Condition:
        words: dict[str, Callable[[], Condition]] = {
            "not": lambda: Not(self._value(table, key, kind, depth)),
            "either": lambda: self._either(table, key, kind, depth),
            "use": lambda: self._use(table, key, kind, depth),
        }
        if kind.kind not in ("tuple", "array"):
            words |= {
                "eq": lambda: self._among(table, key, [table.raw(key)], kind),
                "ne": lambda: Not(self._among(table, key, [table.raw(key)], kind)),
                "in": lambda: self._among(table, key, table.raw(key), kind),
            }
        if kind.kind in _INTEGERS:
            words |= {
                order: lambda: Compare(Comparison(key), self._integer(table, key, table.raw(key), kind))
                for order in _ORDERS
            }
        if kind.kind == "array" and kind.item is not None:
            item = kind.item
            words |= {
                "any": lambda: Items(every=False, condition=self._value(table, key, item, depth)),
                "all": lambda: Items(every=True, condition=self._value(table, key, item, depth)),
            }
        if kind.kind in ("array", "bytes", "string"):
            words["length"] = lambda: Length(self._value(table, key, _LENGTH_TYPE, depth))
        word = words.get(key)
        if word is None:
            what = "a parameter or a word for it" if kind.kind == "tuple" else f"a word for {kind.canonical}"
            hint = nearest(key, [*_parts(kind), *words])
            table.fail(key, f"is not {what}{hint}", code="bad_condition")
        return word()

    def _either(self, table: Table, key: str, kind: AbiType, depth: int) -> Condition:
        tables = table.tables(key)
        if len(tables) < 2:
            table.fail(key, "needs at least two tables", code="bad_condition")
        conditions = [self._table(each, kind, depth + 1) for each in tables]
        return Either(tuple(sorted(conditions, key=canonical_json)))

    def _use(self, table: Table, key: str, kind: AbiType, depth: int) -> Condition:
        name = table.need_text(key)
        if not self.fragments.has(name):
            hint = nearest(name, self.fragments.given())
            table.fail(key, f"names the unknown fragment {name!r}{hint}", code="unknown_name")
        if depth > DEPTH_MAX:
            table.fail(key, "is nested too deeply, or uses itself", code="bad_condition")
        self.used.add(name)
        return self._table(self.fragments.need_table(name), kind, depth + 1)

    # --- values

    def _among(self, table: Table, key: str, raws: object, kind: AbiType) -> Condition:
        if not isinstance(raws, list) or not raws:
            table.fail(key, "must be a list that is not empty", code="wrong_type")
        if kind.kind == "address":
            return Among(addresses=self._addresses(table, key, raws))
        values = [self._one(table, key, raw, kind) for raw in raws]
        if len(values) == 1:
            return Compare(Comparison.EQ, values[0])
        return Among(values=frozenset(values))

    def _addresses(self, table: Table, key: str, raws: list[object]) -> AddressSet:
        own, members, pinned = False, frozenset[bytes](), frozenset[tuple[int, bytes]]()
        for raw in raws:
            if not isinstance(raw, str) or raw == EVERYTHING:
                table.fail(key, "must be names or addresses", code="wrong_type")
            if raw in self.names.assets:
                pinned |= {(asset.chain_id, asset.address) for asset in self.names.assets[raw]}
                continue
            one = self.names.addresses_at(table, key, [raw])
            own, members, pinned = own or raw == SELF, members | one.members, pinned | one.pinned
        return AddressSet(own=own, members=frozenset(members), pinned=frozenset(pinned))  # type: ignore[arg-type]

    def _one(self, table: Table, key: str, raw: object, kind: AbiType) -> AbiValue:
        if kind.kind in _INTEGERS:
            return self._integer(table, key, raw, kind)
        if kind.kind == "bool":
            return raw if isinstance(raw, bool) else table.fail(key, "must be true or false", code="wrong_type")
        if kind.kind in ("tuple", "array") or not isinstance(raw, str):
            problem = (
                f"must be a table of conditions on {kind.canonical}" if kind.components or kind.item else "must be text"
            )
            table.fail(key, problem, code="wrong_type")
        if kind.kind == "string":
            return raw
        try:
            return parse_hex(raw, where="it", size_bytes=kind.size or None)
        except InvalidRequestError as error:
            raise table.error(table.at(key), f"must be bytes: {error.detail}", code="wrong_type") from error

    def _integer(self, table: Table, key: str, raw: object, kind: AbiType) -> int:
        if not isinstance(raw, str):
            table.fail(key, f'must be a number in quotes for {kind.canonical}, such as "1000"', code="wrong_type")
        in_units = _IN_UNITS.match(raw)
        match = _INTEGER.match(raw)
        if in_units:
            value = self._in_units(table, key, in_units.group(1), in_units.group(2))
        elif match:
            value = -int(match.group(2)) if match.group(1) else int(match.group(2))
        else:
            table.fail(key, f"is not a whole number: {raw!r}", code="bad_amount")
        least, most = (
            (0, 2**kind.size - 1) if kind.kind == "uint" else (-(2 ** (kind.size - 1)), 2 ** (kind.size - 1) - 1)
        )
        if not least <= value <= most:
            table.fail(key, f"does not fit {kind.canonical}", code="bad_amount")
        return value

    def _in_units(self, table: Table, key: str, amount: str, name: str) -> int:
        assets = self.names.assets_at(table, key, [name])
        decimals = {self.names.decimals[asset] for asset in assets}
        return table.exact(key, amount, lambda text: parse_amount(text, next(iter(decimals))))


def _parts(kind: AbiType) -> dict[str, tuple[int, AbiType]]:
    """Members by name and by position. Items of an array have positions only where its length is fixed or said."""
    if kind.kind == "tuple":
        by_name = {part.name: (index, part) for index, part in enumerate(kind.components) if part.name}
        return {str(index): (index, part) for index, part in enumerate(kind.components)} | by_name
    if kind.kind == "array" and kind.item is not None:
        return {str(index): (index, kind.item) for index in range(kind.length or 16)}
    return {}

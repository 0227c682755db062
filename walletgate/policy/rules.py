"""Reading the four lists of a policy: `permit`, `forbid`, `approve` and `limits`.

A name that a rule is given is unique in its policy; a rule without one is called after what it says, so that
a refusal can always say which rule it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from walletgate.effects.abi import Function
from walletgate.policy.addresses import ANYONE, ContractId
from walletgate.policy.amounts import QUOTE_DECIMALS, parse_amount, parse_duration, parse_share
from walletgate.policy.approvals import NAME_LENGTH_MAX, read_terms
from walletgate.policy.canonical import canonical_json
from walletgate.policy.matches import KINDS, Reading, read_match
from walletgate.policy.model import (
    AboveAmount,
    Always,
    ApproveRule,
    CallMatch,
    Cooldown,
    Limit,
    NewRecipient,
    Rule,
    Scope,
    When,
)
from walletgate.policy.names import NATIVE_DECIMALS, Names, chain_name, read_chains
from walletgate.policy.reader import Table
from walletgate.policy.schedule import read_hours
from walletgate.policy.where import WhereReader
from walletgate.types import Address, Asset, Measure

_WHENS: Final = frozenset({"asset", "fees", "quote", "count", "new_recipient", "always"})


@dataclass(slots=True)
class Rules:
    """What has been read so far: names taken, functions named, underlying tokens."""

    names: Names
    quotes: frozenset[str]
    ttl_max_s: int | None
    where: WhereReader
    taken: set[str] = field(default_factory=set)
    functions: dict[tuple[ContractId, bytes], Function] = field(default_factory=dict)
    underlying: dict[ContractId, Address] = field(default_factory=dict)

    def name(self, table: Table, said: Iterable[str]) -> str:
        """The rule's own name, or what it says."""
        given = table.text("name")
        if given is None:
            return " ".join(said)[:NAME_LENGTH_MAX]
        if not given.strip() or len(given) > NAME_LENGTH_MAX or not given.isprintable() or given != given.strip():
            table.fail("name", f"must be 1 to {NAME_LENGTH_MAX} printable characters", code="bad_name")
        if given.casefold() in self.taken:
            table.fail("name", f"is the name of another rule, {given!r}", code="duplicate_name")
        self.taken.add(given.casefold())
        return given

    def reading(self, table: Table, *, strict: bool) -> Reading:
        """A reading of one rule's match."""
        chain_ids = read_chains(table, "chain", within=self.names.chain_ids)
        ttl = self.ttl_max_s if strict else None
        return Reading(table, self.names, strict, ttl, chain_ids, self.functions, self.where)


def _said(table: Table, section: str) -> list[str]:
    """A rule in a few words, for its name: `forbid transfer * to tornado`."""
    words = [section] if section else []
    for key in (
        *KINDS,
        "new_recipient",
        "asset",
        "fees",
        "quote",
        "count",
        "scope",
        "contract",
        "to",
        "spender",
        "function",
    ):
        value = table.peek(key)
        if isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            words += [key, value if isinstance(value, str) else ", ".join(value)]
    return words


def read_permits(root: Table, rules: Rules) -> tuple[Rule, ...]:
    """The permit rules."""
    found = []
    for table in root.tables("permit"):
        reading = rules.reading(table, strict=True)
        match = read_match(reading)
        if isinstance(match, CallMatch):
            _read_underlying(table, match, rules)
        found.append(Rule(rules.name(table, _said(table, "permit")), match, table.moment("expires"), read_hours(table)))
        table.done()
    return tuple(sorted(found, key=canonical_json))


def _read_underlying(table: Table, match: CallMatch, rules: Rules) -> None:
    """The token that a vault takes when calldata does not say so."""
    name = table.text("underlying")
    if name is None:
        return
    assets = {asset.chain_id: asset.address for asset in rules.names.assets_at(table, "underlying", [name])}
    for contract in match.contracts or ():
        address = assets.get(contract[0])
        if address is None:
            table.fail("underlying", f"is not on {chain_name(contract[0])}", code="unknown_name")
        if rules.underlying.setdefault(contract, address) != address:
            table.fail("underlying", "is another asset in another rule", code="duplicate_name")


def read_forbids(root: Table, rules: Rules) -> tuple[tuple[Rule, ...], tuple[Cooldown, ...]]:
    """The forbid rules, those about new recipients apart."""
    found, cooldowns = [], []
    for table in root.tables("forbid"):
        if "new_recipient" in table.given():
            cooldowns.append(Cooldown(rules.name(table, _said(table, "forbid")), _read_new(table, rules)))
            table.done()
            continue
        match = read_match(rules.reading(table, strict=False))
        found.append(Rule(rules.name(table, _said(table, "forbid")), match, None, read_hours(table)))
        table.done()
    return tuple(sorted(found, key=canonical_json)), tuple(sorted(cooldowns, key=canonical_json))


def _read_new(table: Table, rules: Rules) -> NewRecipient:
    age_s = table.exact("new_recipient", table.need_text("new_recipient"), parse_duration)
    return NewRecipient(age_s * 1000, rules.names.addresses_at(table, "except", table.texts("except")))


def read_approves(root: Table, rules: Rules) -> tuple[ApproveRule, ...]:
    """The approve rules."""
    found = []
    for table in root.tables("approve"):
        when = table.need_table("when")
        name = rules.name(table, _said(when, "approve"))
        terms = read_terms(table, name)
        found += [ApproveRule(each, terms) for each in _read_when(when, rules)]
        when.done()
        table.done()
    return tuple(sorted(found, key=canonical_json))


def _read_when(table: Table, rules: Rules) -> list[When]:
    others = [key for key in _WHENS if key in table.given()]
    if not others:
        return [read_match(rules.reading(table, strict=False), also=_WHENS)]
    kind = others[0]
    if len(others) > 1 or any(key in KINDS for key in table.given()):
        table.fail(kind, "cannot stand beside another condition: write a rule for each", code="ambiguous_rule")
    if kind == "always":
        if not table.flag("always"):
            table.fail("always", "can only be true", code="wrong_type")
        return [Always()]
    if kind == "new_recipient":
        return [_read_new(table, rules)]
    per = table.text("per")
    window_ms = table.exact("per", per, parse_duration) * 1000 if per is not None else None
    above = table.need_text("above")
    return [
        AboveAmount(measure, asset, unit, _bound(table, "above", above, rules, measure, asset), window_ms)
        for measure, asset, unit in _subjects(table, rules)
    ]


# --- limits ----------------------------------------------------------------------------------------


Subject = tuple[Measure, Asset | None, str | None]


def _subjects(table: Table, rules: Rules) -> list[Subject]:
    """What a limit or an `above` adds up: exactly one of asset, fees, quote, count."""
    kinds = [kind for kind in ("asset", "fees", "quote", "count") if table.has(kind)]
    if len(kinds) != 1:
        problem = "must say one of asset, fees, quote or count"
        table.fail("", problem, code="ambiguous_rule" if kinds else "missing_key")
    kind = kinds[0]
    if kind == "count":
        if table.need_text("count") != "requests":
            table.fail("count", 'must be "requests"', code="wrong_type")
        return [(Measure.COUNT, None, None)]
    if kind == "quote":
        unit = table.need_text("quote")
        if unit not in rules.quotes:
            table.fail("quote", f"names the currency {unit!r}, for which there are no prices", code="unknown_name")
        return [(Measure.QUOTE, None, unit)]
    assets = rules.names.assets_at(table, kind, table.texts(kind) or ())
    if kind == "fees" and not all(asset.is_native for asset in assets):
        table.fail("fees", "must name a chain's own coin", code="unknown_name")
    return [(Measure.FEE if kind == "fees" else Measure.AMOUNT, asset, None) for asset in assets]


def _bound(table: Table, key: str, value: object, rules: Rules, measure: Measure, asset: Asset | None) -> int:
    if measure is Measure.COUNT and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        table.fail(key, 'must be text in quotes, such as "2.50"', code="wrong_type")
    decimals = {Measure.COUNT: 0, Measure.FEE: NATIVE_DECIMALS, Measure.QUOTE: QUOTE_DECIMALS}.get(measure)
    if decimals is None and asset is not None:
        decimals = rules.names.decimals[asset]
    return table.exact(key, value, lambda text: parse_amount(text, decimals or 0))


def read_limits(root: Table, rules: Rules) -> tuple[Limit, ...]:
    """The limits; one that names a coin of several chains becomes one for each chain."""
    found = []
    for table in root.tables("limits"):
        subjects = _subjects(table, rules)
        chains = read_chains(table, "chain", within=rules.names.chain_ids)
        subjects = [each for each in subjects if chains is None or each[1] is None or each[1].chain_id in chains]
        if not subjects:
            table.fail("chain", "leaves nothing to limit", code="unknown_name")
        limit = _read_scope(table, rules, Limit(rules.name(table, _said(table, "limit")), subjects[0][0]))
        for measure, asset, unit in subjects:
            found.append(_read_bounds(table, rules, replace(limit, measure=measure, asset=asset, unit=unit)))
        table.done()
    return tuple(sorted(found, key=canonical_json))


def _read_scope(table: Table, rules: Rules, limit: Limit) -> Limit:
    word = table.text("scope")
    if word is not None and word not in {scope.value for scope in Scope}:
        table.fail("scope", f"must be one of {', '.join(scope.value for scope in Scope)}", code="out_of_range")
    to, contracts = table.texts("to"), table.texts("contract")
    if to is not None and contracts is not None:
        table.fail("contract", "cannot stand beside `to`: write a limit for each", code="ambiguous_rule")
    implied = "recipient" if to is not None else "contract" if contracts is not None else None
    if word is not None and implied not in (None, word):
        table.fail("scope", f"must be {implied!r} beside `{'to' if to else 'contract'}`", code="ambiguous_rule")
    scope = Scope(word or implied or "grant")
    if scope in (Scope.RECIPIENT, Scope.CONTRACT) and limit.measure in (Measure.COUNT, Measure.FEE):
        table.fail("scope", "of counts and fees is grant, wallet or group", code="out_of_range")
    texts = to or contracts
    key = "to" if to else "contract"
    only = rules.names.addresses_at(table, key, texts) if texts else ANYONE
    return replace(limit, scope=scope, only=only)


def _read_bounds(table: Table, rules: Rules, limit: Limit) -> Limit:
    def bound(key: str) -> int | None:
        if not table.has(key):
            return None
        return _bound(table, key, table.raw(key), rules, limit.measure, limit.asset)

    windows: dict[int, int] = {}
    per = table.section("per")
    for key in per.given():
        window_ms = per.exact(key, key, parse_duration) * 1000
        if window_ms in windows:
            per.fail(key, "is the same window as another", code="duplicate_name")
        windows[window_ms] = _bound(per, key, per.raw(key), rules, limit.measure, limit.asset)
    share = table.text("max_share")
    if share is not None and limit.measure is not Measure.AMOUNT:
        table.fail("max_share", "is a share of an asset that the wallet holds", code="ambiguous_rule")
    if limit.measure is Measure.COUNT and table.has("per_request"):
        table.fail("per_request", "of a count is always one", code="ambiguous_rule")
    done = replace(
        limit,
        per_request=bound("per_request"),
        windows=tuple(sorted(windows.items())),
        lifetime=bound("lifetime"),
        share_bips=table.exact("max_share", share, parse_share) if share is not None else None,
    )
    if (done.per_request, done.windows, done.lifetime, done.share_bips) == (None, (), None, None):
        table.fail("", "bounds nothing: say per_request, per, lifetime or max_share", code="missing_key")
    return done

"""What a request takes, and whether every limit has room for it.

Amounts are summed over the whole request first. A limit then has room when what was used in its window plus
the sum is at most its bound: inclusive, for one request as for a window and for ever. Only what leaves is
summed: a transfer from somebody else into the wallet takes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, assert_never

from walletgate.policy.case import Used
from walletgate.policy.model import AboveAmount, ApproveRule, Limit, Scope
from walletgate.policy.names import chain_name
from walletgate.policy.naming import asset_name, duration_text, measure_text
from walletgate.policy.state import Flow, Judging
from walletgate.types import Address, Asset, Booking, Bucket, Measure, Reason

_ONE: Final = Booking(Measure.COUNT, 1)


class Tally:
    """The sums of one request."""

    __slots__ = ("fees", "flows", "quotes", "state", "totals")

    def __init__(self, state: Judging) -> None:
        self.state = state
        self.fees = state.fees
        self.flows = _merged(state.flows) if len(state.flows) > 1 else state.flows
        self.totals: dict[Asset, int] = {}
        for flow in self.flows:
            self.totals[flow.asset] = self.totals.get(flow.asset, 0) + flow.amount
        self.quotes = {unit: self._valued(unit) for unit in state.policy.index.units}

    def amount(self, measure: Measure, asset: Asset | None, unit: str | None) -> int:
        """The request's sum of what a limit or an approval adds up."""
        if measure is Measure.AMOUNT and asset is not None:
            return self.totals.get(asset, 0)
        if measure is Measure.FEE and asset is not None:
            return self.fees.get(asset.chain_id, 0)
        if measure is Measure.QUOTE and unit is not None:
            return sum(value for _, value in self.quotes[unit])
        return 1

    def parts(self, limit: Limit) -> Mapping[Address, int]:
        """The sums by recipient or by contract, of those that the limit speaks of."""
        found: dict[Address, int] = {}
        for flow, amount in self._counted(limit):
            end = flow.recipient if limit.scope is Scope.RECIPIENT else flow.contract
            if end is not None and limit.only.has(end, flow.asset.chain_id, self.state.own):
                found[end] = found.get(end, 0) + amount
        return found

    def bookings(self) -> tuple[Booking, ...]:
        """What is to be reserved when the request goes ahead."""
        booked = [
            Booking(Measure.AMOUNT, flow.amount, flow.asset, flow.recipient, flow.contract)
            for flow in self.flows
            if flow.amount
        ]
        coins = self.state.policy.index.coins
        booked += [Booking(Measure.FEE, amount, coins[chain]) for chain, amount in self.fees.items() if amount]
        for unit, valued in self.quotes.items():
            booked += [
                Booking(Measure.QUOTE, value, flow.asset, flow.recipient, flow.contract, unit)
                for flow, value in valued
                if value
            ]
        return (*booked, _ONE)

    def _counted(self, limit: Limit) -> Iterable[tuple[Flow, int]]:
        if limit.measure is Measure.QUOTE and limit.unit is not None:
            return self.quotes[limit.unit]
        return ((flow, flow.amount) for flow in self.flows if flow.asset == limit.asset)

    def _valued(self, unit: str) -> list[tuple[Flow, int]]:
        found = []
        for flow in self.flows:
            price = _price(self.state, flow.asset, unit)
            if isinstance(price, Reason):
                self.state.denials.append(price)
                continue
            scale = 10 ** self.state.policy.decimals[flow.asset]
            found.append((flow, -(-flow.amount * price // scale)))
        return found


def _merged(flows: Sequence[Flow]) -> list[Flow]:
    """The flows with one sum for each asset, recipient and contract."""
    sums: dict[tuple[Asset, Address, Address | None], int] = {}
    for asset, amount, recipient, contract in flows:
        key = (asset, recipient, contract)
        sums[key] = sums.get(key, 0) + amount
    return [Flow(asset, amount, recipient, contract) for (asset, recipient, contract), amount in sums.items()]


def _price(state: Judging, asset: Asset, unit: str) -> int | Reason:
    """What a whole unit is worth; a price that is missing or too old is a denial, never zero."""
    policy, name = state.policy, asset_name(state.policy, asset)
    price = policy.index.prices.get((asset, unit))
    if price is None or asset not in policy.decimals:
        return Reason("price_missing", f"{name} has no price in {unit}, and a limit counts in it")
    if price.fixed is not None:
        return price.fixed
    fact = state.case.facts.prices.get((asset, unit))
    if fact is None or fact.value <= 0:
        return Reason("price_missing", f"the price of {name} in {unit} is not known now")
    age, most = state.now_s - fact.at_s, price.age_max_s or 0
    if not 0 <= age <= most:
        return Reason("price_too_old", f"the price of {name} in {unit} is {age} s old", None, age, most, "s")
    return fact.value


def check_limits(state: Judging, tally: Tally, used: Used) -> None:
    """Denies for every limit that has no room."""
    index = state.policy.index
    for asset, total in tally.totals.items():
        for limit in index.amount_limits.get(asset, ()):
            _check(state, tally, limit, total, used)
    for chain_id, fee in tally.fees.items():
        bounds = index.fee_limits.get(chain_id, ())
        if not bounds:
            text = f"no limit bounds fees on {chain_name(chain_id)}"
            state.denials.append(Reason("fees_not_permitted", text, None, fee, 0, "wei"))
        for limit in bounds:
            _check(state, tally, limit, fee, used)
    for limit in index.other_limits:
        _check(state, tally, limit, tally.amount(limit.measure, limit.asset, limit.unit), used)


def _check(state: Judging, tally: Tally, limit: Limit, total: int, used: Used) -> None:
    case, measure, asset, unit = state.case, limit.measure, limit.asset, limit.unit
    match limit.scope:
        case Scope.GRANT:
            _check_bounds(state, limit, grant_bucket(measure, asset, unit, case.grant), total, used)
        case Scope.WALLET:
            _check_bounds(state, limit, Bucket(measure, asset, wallet=case.wallet, unit=unit), total, used)
        case Scope.GROUP:
            if case.group is None:
                text = f"{limit.name!r} counts by group, and this grant is in none"
                state.denials.append(Reason("fact_missing", text, limit.name))
                return
            _check_bounds(state, limit, Bucket(measure, asset, group=case.group, unit=unit), total, used)
        case Scope.RECIPIENT:
            for end, amount in tally.parts(limit).items():
                part = Bucket(measure, asset, grant=case.grant, recipient=end, unit=unit)
                _check_bounds(state, limit, part, amount, used)
        case Scope.CONTRACT:
            for end, amount in tally.parts(limit).items():
                part = Bucket(measure, asset, grant=case.grant, contract=end, unit=unit)
                _check_bounds(state, limit, part, amount, used)
        case _:
            assert_never(limit.scope)


@lru_cache(maxsize=4096)
def grant_bucket(measure: Measure, asset: Asset | None, unit: str | None, grant: str) -> Bucket:
    """The running total of one grant; kept, because the same few are asked for with every request."""
    return Bucket(measure, asset, grant=grant, unit=unit)


def _check_bounds(state: Judging, limit: Limit, bucket: Bucket, amount: int, used: Used) -> None:
    if limit.per_request is not None and amount > limit.per_request:
        state.denials.append(_over(state, limit, "over_per_request", amount, limit.per_request, "a request"))
    for window_ms, bound in limit.windows:
        total = used(bucket, window_ms) + amount
        if total > bound:
            when = f"any {duration_text(window_ms // 1000)}"
            state.denials.append(_over(state, limit, "over_window", total, bound, when))
    if limit.lifetime is not None:
        total = used(bucket, None) + amount
        if total > limit.lifetime:
            state.denials.append(_over(state, limit, "over_lifetime", total, limit.lifetime, "all time"))
    if limit.share_bips is not None and limit.asset is not None:
        _check_share(state, limit, limit.asset, amount)


def _check_share(state: Judging, limit: Limit, asset: Asset, amount: int) -> None:
    balance = state.case.facts.balances.get(asset)
    if balance is None:
        text = f"what the wallet holds of {asset_name(state.policy, asset)} is not known"
        state.denials.append(Reason("fact_missing", text, limit.name))
        return
    bound = balance * (limit.share_bips or 0) // 10_000
    if amount > bound:
        state.denials.append(_over(state, limit, "over_share", amount, bound, "a request, by what the wallet holds"))


def _over(state: Judging, limit: Limit, code: str, actual: int, bound: int, when: str) -> Reason:
    def say(amount: int) -> str:
        return measure_text(state.policy, limit.measure, limit.asset, limit.unit, amount)

    unit = limit.unit or (asset_name(state.policy, limit.asset) if limit.asset else "requests")
    text = f"{say(actual)} in {when} would be more than {say(bound)}"
    return Reason(code, text, limit.name, actual, bound, unit)


def ask_above(state: Judging, tally: Tally, used: Used) -> None:
    """Asks for every threshold that the request is strictly above."""
    index = state.policy.index
    for rule in index.above:
        _ask(state, tally, rule, used)
    for asset in tally.totals:
        for rule in index.above_asset.get(asset, ()):
            _ask(state, tally, rule, used)


def _ask(state: Judging, tally: Tally, rule: ApproveRule, used: Used) -> None:
    when = rule.when
    if not isinstance(when, AboveAmount):
        return
    amount = tally.amount(when.measure, when.asset, when.unit)
    if when.window_ms is not None:
        amount += used(grant_bucket(when.measure, when.asset, when.unit, state.case.grant), when.window_ms)
    if amount <= when.amount:
        return

    def say(units: int) -> str:
        return measure_text(state.policy, when.measure, when.asset, when.unit, units)

    unit = when.unit or (asset_name(state.policy, when.asset) if when.asset else "requests")
    text = f"{say(amount)} is more than {say(when.amount)}"
    state.asks.append(Reason("needs_approval", text, rule.name, amount, when.amount, unit))
    state.terms.append(rule.terms)

"""The report: a period of the log as one page for people who were not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import orjson
import typer

from walletgate.audit.page import About, Unit, render
from walletgate.audit.tally import SILENT, Key, Line, Tally
from walletgate.audit.verify import Row, verify_entries
from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, home_of, leaving, print_json, talk
from walletgate.cli.evidence import fresh_note, open_all, trusted_keys
from walletgate.cli.incident import SinceOption, start_of
from walletgate.encoding import to_hex
from walletgate.errors import ConfigError
from walletgate.policy import load
from walletgate.policy.amounts import QUOTE_DECIMALS
from walletgate.policy.document import Policy
from walletgate.policy.model import Scope
from walletgate.policy.names import NATIVE_DECIMALS
from walletgate.policy.naming import asset_name
from walletgate.server.app import clock_ms
from walletgate.store import Store, read_store
from walletgate.types import Asset, Hash32, Measure


def report(
    since: SinceOption = "30d",
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write a page on a period: spending against limits, what was denied, who approved, and how to verify it."""
    with leaving(as_json=as_json):
        place = home_of(home)
        start_ms, now_ms = start_of(since), clock_ms()
        note = fresh_note(place)
        with read_store(place.store()) as store:
            lines, units = _lines(store)
            tally = Tally(since_ms=start_ms, until_ms=max(now_ms, start_ms + 1) + 1, lines=lines)
            kept, keys = open_all(place, trusted_keys(place, None), store.origin, [*store.checkpoints(), note])
            # A running gate may have signed more since the head was read.
            opened = [checkpoint for checkpoint in kept if checkpoint.size <= store.log_size]
            head = (store.log_size, Hash32(store.log_root()))
            proved = verify_entries(_fed(store, tally), origin=store.origin, head=head, checkpoints=opened)
            about = About(
                log=store.origin, made_ms=now_ms, size=proved.size, root=to_hex(proved.root), covered=proved.covered,
                checkpoints=proved.checkpoints, note=note, keys=[str(key) for key in keys], units=units,
            )  # fmt: skip
        try:
            with output.open("w", encoding="utf-8") as page:
                page.writelines(render(tally, about))
        except OSError as error:
            raise ConfigError(f"cannot write {output}: {error.strerror}", code="file_unwritable") from None
        if as_json:
            print_json({"file": str(output), "entries": proved.size, "requests": sum(tally.requests.values())})
        else:
            talk.print(f"{output}  {sum(tally.requests.values())} requests, {proved.size} entries verified")


def _fed(store: Store, tally: Tally) -> Iterator[Row]:
    """The log's rows, each shown to the tally on its way to be verified."""
    for row in store.entries(0, store.log_size):
        entry = row[2]
        if SILENT.search(entry) is None:
            tally.feed(orjson.loads(entry))
        yield row


def _lines(store: Store) -> tuple[list[Line], Mapping[Key, Unit]]:
    """The limits in force by window, and how amounts of everything any policy names are written."""
    policies = {row.hash: load(row.text, source=f"policy {row.name}") for row in store.policies()}
    units: dict[Key, Unit] = {}
    for policy in policies.values():
        units |= _units(policy)
    lines = [
        Line(grant.id, grant.agent, _key(limit.measure, limit.asset, limit.unit), window_ms, bound, limit.name)
        for grant in store.grants()
        if grant.revoked_ms is None
        for limit in policies[grant.policy].terms.limits
        if limit.scope is Scope.GRANT
        for window_ms, bound in limit.windows
    ]
    return lines, units


def _units(policy: Policy) -> dict[Key, Unit]:
    units: dict[Key, Unit] = {("count", ""): Unit("requests", 0)}
    for limit in policy.terms.limits:
        if limit.asset is not None:
            decimals = policy.decimals.get(limit.asset, NATIVE_DECIMALS if limit.asset.is_native else 0)
            unit = Unit(asset_name(policy, limit.asset), decimals)
            units[_key(limit.measure, limit.asset, None)] = unit
        elif limit.unit is not None:
            units[_key(limit.measure, None, limit.unit)] = Unit(limit.unit, QUOTE_DECIMALS)
    for asset, decimals in policy.decimals.items():
        units[_key(Measure.AMOUNT, asset, None)] = Unit(asset_name(policy, asset), decimals)
    return units


def _key(measure: Measure, asset: Asset | None, unit: str | None) -> Key:
    """As an entry's `booked` names it."""
    return measure.value, f"{asset.chain_id}:{to_hex(asset.address)}" if asset is not None else unit or ""


def add_to(app: typer.Typer) -> None:
    """Makes this a verb of `walletgate audit`."""
    app.command()(report)

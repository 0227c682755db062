"""After an incident: one agent's story from the log, and foreign logs held against it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from walletgate.audit.clocks import SECOND, Clock, Method
from walletgate.audit.correlate import Alert, Correlation, correlate, log_reading
from walletgate.audit.moments import Reading, parse_moment, read_source
from walletgate.audit.trace import Node, tell
from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, escape, home_of, leaving, out, print_json
from walletgate.cli.show import moment
from walletgate.encoding import printable
from walletgate.errors import AuditError, ConfigError
from walletgate.policy.amounts import parse_duration
from walletgate.store import Store, read_store

SinceOption = Annotated[str, typer.Option("--since", help="How far back (24h, 30d), or from when (2026-01-31).")]
FilesOption = list[Path]


LINE_WIDTH = 240
"""A tree cuts what is wider than its console; a terminal wraps what is wider than itself, and nothing is lost."""


def trace(
    what: Annotated[str, typer.Argument(help="An agent, a request, a trace id, a tool call, or a transaction's hash.")],
    since: SinceOption = "",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Tell one story as a tree: tool call, request, decision, approval, transaction, money."""
    with leaving(as_json=as_json), read_store(home_of(home).store()) as store:
        story = tell(lambda: _entries(store), what, since_ms=start_of(since) if since else 0)
        if story is None:
            raise AuditError(f"the log does not name {printable(what)}", code="entry_unknown")
        if as_json:
            print_json(_node_json(story))
        else:
            tree = Tree(Text(story.text, style="bold"))
            for child in story.children:
                _grow(tree, child)
            Console(width=max(out.width, LINE_WIDTH), highlight=False, soft_wrap=True).print(tree)


def correlate_logs(
    events: Annotated[FilesOption, typer.Option("--events", help="Alerts: JSON lines, JSON, or text. Repeatable.")],
    runs: Annotated[
        FilesOption, typer.Option("--runs", help="Episodes, tool calls or OTLP JSON spans, the same. Repeatable.")
    ],
    last: Annotated[int, typer.Option("--last", min=1, help="How many alerts and runs to show.")] = 20,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Bring foreign logs onto one clock, and rank which runs explain which alerts."""
    with leaving(as_json=as_json):
        place = home_of(home)
        log = None
        if place.config.exists():
            with read_store(place.store()) as store:
                log = log_reading(_entries(store))
        found = correlate(_sources(events), _sources(runs), log)
        if as_json:
            print_json(_correlation_json(found))
        else:
            _print(found, last)


def start_of(text: str) -> int:
    """The time, in Unix milliseconds, that `--since` means.

    Raises:
        ConfigError: `bad_duration`.
    """
    try:
        return int(time.time() * 1000) - parse_duration(text) * 1000
    except ValueError:
        found = parse_moment(f"{text}T00:00:00" if len(text) == 10 else text)
        if found is None:
            raise ConfigError(f"--since: {text!r} is neither 24h, 30d nor a date", code="bad_duration") from None
        return found[0] // 1000


def _entries(store: Store) -> Iterator[Any]:
    for _, _, entry in store.entries(0, store.log_size):
        yield orjson.loads(entry)


def _sources(paths: list[Path]) -> list[Reading]:
    year = datetime.now(UTC).year
    readings = []
    for path in paths:
        name = path.name if sum(other.name == path.name for other in paths) == 1 else str(path)
        try:
            with path.open(encoding="utf-8", errors="replace") as lines:
                readings.append(read_source(name, lines, year=year))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}", code="file_unreadable") from None
        if not readings[-1].records:
            raise ConfigError(f"{path} has no line with a time in it", code="file_unreadable")
    return readings


def _grow(tree: Tree, node: Node) -> None:
    style = "red" if node.is_problem else {"money": "green", "trace": "dim", "tool call": "cyan"}.get(node.kind, "")
    when = "" if node.at_ms is None else f"{moment(node.at_ms)} "
    place = "" if node.seq is None else f"  #{node.seq}"
    branch = tree.add(Text.assemble((when, "dim"), (node.text, style), (place, "dim")))
    for child in node.children:
        _grow(branch, child)


def _node_json(node: Node) -> dict[str, Any]:
    return {
        "kind": node.kind, "text": node.text, "entry": node.seq, "at_ms": node.at_ms, "problem": node.is_problem,
        "children": [_node_json(child) for child in node.children],
    }  # fmt: skip


def _print(found: Correlation, last: int) -> None:
    clocks = Table("source", "its clock, to ours", "how", "scatter", "pairs", box=None, pad_edge=False)
    for source, clock in found.clocks.items():
        same = clock.method is Method.SAME
        clocks.add_row(
            Text(source), "the reference" if same else clock.words(), _how(clock),
            "" if same or not clock.is_aligned else f"{clock.spread_us / SECOND:.2f} s",
            "" if same or not clock.is_aligned else f"{clock.matched} of {clock.of}",
        )  # fmt: skip
    out.print(clocks)
    if found.suspects:
        table = Table("run", "alerts", "by chance", "first", "last", "requests here", box=None, pad_edge=False)
        for suspect in found.suspects[:last]:
            table.add_row(
                Text(suspect.run, style="bold"), str(suspect.alerts), f"{suspect.by_chance:g}",
                moment(suspect.first_us // 1000), moment(suspect.last_us // 1000), Text(", ".join(suspect.requests)),
            )  # fmt: skip
        out.print(table)
    best = Table("alert", "time (UTC)", "score", "run", "because", box=None, pad_edge=False)
    for alert in [alert for alert in found.alerts if alert.matches][:last]:
        first = alert.matches[0]
        best.add_row(
            Text(_name(alert)), moment(alert.at_us // 1000), f"{first.score:.2f}", Text(first.run), Text(first.reason)
        )
    if found.explained:
        out.print(best)
    out.print(f"[bold]{escape(verdict(found))}[/]")


def verdict(found: Correlation) -> str:
    """What it comes to, in a sentence or two."""
    total = len(found.alerts)
    if not found.explained:
        return f"Nothing in these runs explains any of the {total} alerts."
    first = found.suspects[0]
    text = (
        f"{found.explained} of {total} alerts are explained; run {first.run} explains {first.alerts}"
        f" ({first.by_chance:g} by chance)."
    )
    left = total - found.explained
    return text if not left else f"{text} Nothing explains the other {left}."


def _how(clock: Clock) -> str:
    if clock.rival_us is not None:
        return f"{clock.method.value}, ambiguous: {clock.rival_us / SECOND:+.1f} s fits nearly as well"
    return clock.method.value


def _name(alert: Alert) -> str:
    return f"{alert.record.source}:{alert.record.line} {alert.record.label}".strip()


def _correlation_json(found: Correlation) -> dict[str, Any]:
    return {
        "verdict": verdict(found),
        "reference": found.reference,
        "clocks": {
            source: {
                "method": clock.method.value, "offset_s": clock.offset_us / SECOND, "drift_ppm": clock.drift_ppm,
                "spread_s": clock.spread_us / SECOND, "matched": clock.matched, "of": clock.of, "odds": clock.odds,
                "rival_s": None if clock.rival_us is None else clock.rival_us / SECOND,
            }
            for source, clock in found.clocks.items()
        },
        "runs": [
            {
                "run": s.run, "alerts": s.alerts, "by_chance": s.by_chance, "score": s.weight, "shared": list(s.shared),
                "requests": list(s.requests), "first_us": s.first_us, "last_us": s.last_us,
            }
            for s in found.suspects
        ],
        "alerts": [
            {
                "source": a.record.source, "line": a.record.line, "label": a.record.label, "at_us": a.at_us,
                "matches": [{"run": m.run, "score": m.score, "reason": m.reason} for m in a.matches],
            }
            for a in found.alerts
        ],
    }  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Makes these tools verbs of `walletgate audit`."""
    app.command()(trace)
    app.command("correlate")(correlate_logs)

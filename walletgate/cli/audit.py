"""The audit log: read it, follow one request, verify all of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from walletgate.audit.entry import parse_entry
from walletgate.audit.merkle import frontier_root, unpack_frontier
from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, home_of, leaving, out, print_json
from walletgate.cli.show import moment
from walletgate.encoding import printable
from walletgate.errors import AuditError, ConfigError
from walletgate.server.home import Home
from walletgate.store import read_engine
from walletgate.store.fence import FENCES
from walletgate.types import Hash32

app = typer.Typer(no_args_is_help=True, help="The audit log: read it, follow one request, verify all of it.")

_HEAD = ("v", "log", "seq", "ts_ms", "kind")
_LOUD = {"request_denied": "red", "request_rejected": "red", "frozen": "bold red", "operator_refused": "red",
         "approval_refused": "red", "agent_refused": "red", "approval_given": "green", "transaction_confirmed": "green",
         "request_awaiting_approval": "yellow"}  # fmt: skip


@app.command()
def log(
    last: Annotated[int, typer.Option("--last", min=1, help="How many entries, the newest.")] = 50,
    kind: Annotated[str | None, typer.Option("--kind", help="Only entries of this kind.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Print the newest entries, oldest first."""
    with leaving(as_json=as_json):
        rows = [parse_entry(entry) for _, _, entry in LogReader(home_of(home)).rows()]
        wanted = [row for row in rows if kind is None or row["kind"] == kind][-last:]
        if as_json:
            print_json(wanted)
        else:
            out.print(timeline(wanted))


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="An entry's number, or a request's id.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show one entry, or every entry about one request."""
    with leaving(as_json=as_json):
        rows = [parse_entry(entry) for _, _, entry in LogReader(home_of(home)).rows()]
        found = [row for row in rows if str(row["seq"]) == what or row.get("request") == what]
        if not found:
            raise AuditError(f"no entry about {printable(what)}", code="entry_unknown")
        print_json(found if as_json or len(found) > 1 else found[0])


def timeline(rows: list[dict[str, Any]]) -> Table:
    """Entries as a table: when, what, about what."""
    table = Table("#", "time (UTC)", "what happened", "about", box=None, pad_edge=False)
    for row in rows:
        kind = str(row["kind"])
        about = " ".join(_about(row))
        stamp = moment(int(row["ts_ms"]))[5:]
        table.add_row(str(row["seq"]), stamp, Text(kind.replace("_", " "), style=_LOUD.get(kind, "")), Text(about))
    return table


def _about(row: dict[str, Any]) -> Iterator[str]:
    for key in ("agent", "operator"):
        if key in row:
            yield str(row[key])
    yield from list(row.get("effects", []))[:1]
    for reason in list(row.get("reasons", []))[:1]:
        if isinstance(reason, dict) and reason.get("code") != "permitted":
            yield f"({reason.get('text', '')})"
    if "request" in row and "effects" not in row:
        yield str(row["request"])
    for key in ("scope", "code", "detail", "name"):
        if key in row:
            yield f"{key}: {row[key]}"


class LogReader:
    """Reads a store's log without the gate, without its lock, and without changing anything."""

    def __init__(self, home: Home) -> None:
        place = home.store()
        if isinstance(place, Path) and not place.exists():
            raise ConfigError(f"there is no store in {home.root}", code="home_missing")
        self._engine = read_engine(place)

    def rows(self) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, leaf, entry) in order."""
        yield from self._read("SELECT seq, leaf, entry FROM audit ORDER BY seq")

    def head(self) -> tuple[int, Hash32]:
        """Size and root as the store's own head says."""
        rows = list(self._read("SELECT size, frontier FROM log_head WHERE id = 1"))
        if not rows:
            raise AuditError("the store has no head of its log", code="log_unreadable")
        size, edge = rows[0]
        return size, frontier_root(unpack_frontier(size, edge))

    def checkpoints(self) -> list[str]:
        """The signed notes the store keeps."""
        return [note for (note,) in self._read("SELECT note FROM checkpoint ORDER BY size")]

    def missing_triggers(self) -> list[str]:
        """The append-only triggers that are gone or are not as they were made: somebody with write access was here."""
        if self._engine.shared:
            there = list(self._read("SELECT tgenabled FROM pg_trigger WHERE tgname = 'audit_fence'"))
            return [] if there == [("O",)] else ["audit_fence"]
        found = {sql for (sql,) in self._read("SELECT sql FROM sqlite_master WHERE type = 'trigger'")}
        return [trigger.split()[2] for trigger in FENCES["sqlite"] if trigger not in found]

    def _read(self, query: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._engine.stream(query)
        except sqlite3.DatabaseError as error:
            raise AuditError(f"the store cannot be read: {error}", code="log_unreadable") from None

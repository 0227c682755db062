"""The store: one file by default, or a PostgreSQL database that several gates share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from walletgate.audit.note import open_checkpoint, parse_verifying_key
from walletgate.audit.verify import verify_entries
from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, escape, home_of, leaving, out, print_json, talk
from walletgate.encoding import to_hex
from walletgate.errors import ConfigError
from walletgate.server.home import Home
from walletgate.store import Place, Store, read_store
from walletgate.store.check import ledger_problems
from walletgate.store.place import is_url
from walletgate.store.schema import copy_file, create_database, upgrade

app = typer.Typer(no_args_is_help=True, help="The store: make it, bring it up to date, copy it, check it.")

UrlArgument = Annotated[
    str,
    typer.Argument(help="postgresql://… as the owner of the database; a password comes from PGPASSFILE."),
]
RoleOption = Annotated[str, typer.Option("--gate-role", help="The role that gates will connect as; it must exist.")]


@app.command("init")
def init_command(url: UrlArgument, role: RoleOption = "wg_gate", home: HomeOption = DEFAULT_HOME) -> None:
    """Make the tables in an empty PostgreSQL database, and let gates add to the log but never change it."""
    with leaving():
        origin = home_of(home).read_config().name
        create_database(without_password(url), origin=origin, role=role)
        out.print(f"[bold green]made[/]  the store of {escape(origin)}; gates connect as {escape(role)}")
        talk.print('Next: put [bold]store = "postgresql://ROLE@HOST/DATABASE"[/] into walletgate.toml of each gate')


@app.command("upgrade")
def upgrade_command(
    url: Annotated[str | None, typer.Option("--url", help="A database, as its owner.")] = None,
    role: RoleOption = "wg_gate",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Bring a store of an older version up to this one, in one transaction. Make a backup first."""
    with leaving():
        place: Place = home_of(home).store_file if url is None else without_password(url)
        before, after = upgrade(place, role=None if url is None else role)
        said = f"schema {after} already" if before == after else f"schema {before} -> {after}"
        out.print(f"[bold green]up to date[/]  {said}")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A file that does not exist yet.")], home: HomeOption = DEFAULT_HOME
) -> None:
    """Write a consistent copy of the store's file, also while the gate runs. To restore it, put it in place of gate.db.

    The newest checkpoint stays outside: a gate that is started on a copy which is older than its checkpoint refuses to
    serve, because what happened since is not in it. A database is backed up with its own tools (pg_dump).
    """
    with leaving():
        place = home_of(home).store()
        if not isinstance(place, Path):
            raise ConfigError("this home's store is a database: back it up with pg_dump", code="backup_by_database")
        copy_file(place, target)
        with read_store(target) as copy:
            out.print(f"[bold green]copied[/]  {copy.log_size} entries, root {to_hex(copy.log_root())}")


@app.command()
def check(
    file: Annotated[Path | None, typer.Option("--file", help="A backup instead of the home's own store.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Verify the log and compare the ledger with it: signatures have entries, nonces no gaps, nothing is lost."""
    with leaving(as_json=as_json):
        place = home_of(home)
        with read_store(file or place.store()) as store:
            size = _verify(place, store)
            problems = list(ledger_problems(store))
        if as_json:
            print_json({"entries": size, "problems": problems})
        else:
            for problem in problems:
                out.print(f"[red]problem[/]  {escape(problem)}")
            if not problems:
                out.print(f"[bold green]sound[/]  {size} entries verified, and the ledger agrees with them")
        if problems:
            raise typer.Exit(5)


def _verify(place: Home, store: Store) -> int:
    key = parse_verifying_key(place.log_vkey.read_text().strip())
    kept = [open_checkpoint(note, origin=store.origin, trusted=[key]) for note in store.checkpoints()]
    entries = ((seq, leaf, entry) for seq, leaf, entry in store.entries())
    head = (store.log_size, store.log_root())
    return verify_entries(entries, origin=store.origin, head=head, checkpoints=kept).size


def without_password(url: str) -> str:
    """A URL from the command line, where everybody on the machine can read it.

    Raises:
        ConfigError: `config_invalid` if it is none of PostgreSQL, `secret_in_argv` if it holds a password.
    """
    if not is_url(url):
        raise ConfigError("a store is a postgresql:// URL", data={"file": "", "key": "store"})
    if urlsplit(url).password:
        raise ConfigError(
            "a password on the command line can be read by everybody here; use PGPASSFILE or PGPASSWORD",
            code="secret_in_argv",
        )
    return url

"""The log for others: a directory of static files in the C2SP tlog-tiles format, and its verification."""

from __future__ import annotations

import os
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from walletgate.audit.merkle import frontier_root
from walletgate.audit.note import Checkpoint, VerifyingKey, open_checkpoint
from walletgate.audit.tiles import Exported, check_upper_tiles, read_rows, tile_files
from walletgate.audit.verify import VerifyReport, verify_entries
from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, home_of, leaving, print_json, talk
from walletgate.cli.evidence import fresh_note, open_all, read_text, trusted_keys
from walletgate.encoding import to_hex
from walletgate.errors import AuditError, ConfigError
from walletgate.store import read_store

README = """\
This is the audit log {origin}, exported by WalletGate in the C2SP tlog-tiles format (https://c2sp.org/tlog-tiles).

checkpoint      a signed note: the log's name, its size, and the root of an RFC 6962 Merkle tree over its entries
log.vkey        the log's first key; compare it with one you got elsewhere
tile/           the tree's hashes, 256 to a file, and in tile/entries the entries themselves (canonical JSON)
{more}
Verify it with any tool that reads tlog-tiles, or:  walletgate audit verify DIRECTORY --key log.vkey
Exporting again into the same directory adds to it, and fails if the log does not begin with what is here.
"""


class Form(StrEnum):
    """Who the export is for."""

    PUBLIC = "public"
    HASHES = "hashes"


def export(
    directory: Annotated[Path, typer.Argument(help="Where to; an earlier export there is continued.")],
    form: Annotated[
        Form, typer.Option("--form", help="public: entries without private texts. hashes: no entries at all.")
    ] = Form.PUBLIC,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write the log as tlog-tiles, which tools of others verify; again, and it adds what is new."""
    with leaving(as_json=as_json):
        place = home_of(home)
        note = fresh_note(place)
        vkey = read_text(place.log_vkey)
        with read_store(place.store()) as store:
            (now,), keys = open_all(place, trusted_keys(place, None), store.origin, [note])
            before = _before(directory, store.origin, keys)
            made, files = Exported(), 0
            for path, content in tile_files(
                store.entries(0, now.size), made, before=before, entries=form is not Form.HASHES
            ):
                _put(directory / path, content)
                files += 1
            if frontier_root(made.frontier) != now.root:
                raise AuditError(
                    "the log is not what its checkpoint says: walletgate audit verify", code="log_tampered"
                )
        more = "" if form is not Form.HASHES else "The entries are left out; the hashes prove what others hold.\n"
        _put(directory / "log.vkey", vkey.encode())
        _put(directory / "README", README.format(origin=now.origin, more=more).encode())
        _put(directory / "checkpoint", note.encode())
        if as_json:
            print_json({"size": now.size, "root": to_hex(now.root), "files": files, "before": before and before.size})
        else:
            added = now.size - (before.size if before is not None else 0)
            talk.print(f"{directory}  {now.size} entries, {added} of them new, {files} tiles written")


def verify_directory(directory: Path, trusted: list[VerifyingKey]) -> VerifyReport:
    """Verifies an exported log: signature, every entry, every tile.

    Raises:
        ConfigError: `file_unreadable`.
        AuditError: what is wrong first.
    """
    note = read_text(directory / "checkpoint")
    origin = note.partition("\n")[0]
    checkpoint = open_checkpoint(note, origin=origin, trusted=trusted)

    def read(path: str) -> bytes:
        try:
            return (directory / path).read_bytes()
        except OSError as error:
            raise AuditError(f"cannot read {path}: {error.strerror}", code="tile_missing") from None

    check_upper_tiles(read, checkpoint.size)
    rows = read_rows(read, checkpoint.size)
    return verify_entries(rows, origin=origin, head=(checkpoint.size, checkpoint.root), checkpoints=[checkpoint])


def _before(directory: Path, origin: str, keys: list[VerifyingKey]) -> Checkpoint | None:
    path = directory / "checkpoint"
    return open_checkpoint(read_text(path), origin=origin, trusted=keys) if path.exists() else None


def _put(path: Path, content: bytes) -> None:
    """Writes a file in one step, so that no reader sees half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with draft.open("wb") as file:
            file.write(content)
            if path.name == "checkpoint":
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", code="file_unwritable") from None


def add_to(app: typer.Typer) -> None:
    """Makes this a verb of `walletgate audit`."""
    app.command()(export)

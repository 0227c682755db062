"""The database of a gate: what it holds, as values, and the one way to change it.

Every change goes through `write()`: it collects rows and audit entries and commits all or nothing, and the log's
head moves with the entries it covers. Where several gates share a database, a transaction begins by learning what
the others have done since (`on_news`), so that whoever decides inside it decides on everything that ever happened.

Because the ORM costs a tenth of the speed, SQLModel declares the tables; statements and rows go to the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from walletgate.audit.merkle import frontier_root, unpack_frontier
from walletgate.errors import StoreError
from walletgate.limits import Movement
from walletgate.store.authority import AuthorityReader
from walletgate.store.engine import Engine
from walletgate.store.records import (
    Approval,
    Freeze,
    Grant,
    Head,
    News,
    Operator,
    Outstanding,
    PolicyText,
    Request,
    Wallet,
)  # fmt: skip
from walletgate.store.rows import columns, movement_of, request_of
from walletgate.store.tables import (
    ApprovalRow,
    CheckpointRow,
    CommandRow,
    FreezeRow,
    GrantRow,
    MovementRow,
    NonceRow,
    OperatorRow,
    PolicyRow,
    PrivateRow,
    RequestRow,
    Row,
    WalletRow,
)  # fmt: skip
from walletgate.store.writer import Writer
from walletgate.types import Address, Asset, Bucket, Hash32, Measure, Status

_FEED_MAX = 1000
_RETURN_TRIES, _RETURN_S = 40, 0.25
_HEAD = "SELECT size, frontier, commits, time_ms, authority FROM log_head WHERE id = 1"


class Store:
    """Reads what is committed; writes in single transactions."""

    def __init__(self, engine: Engine, origin: str) -> None:
        """Use `store.open_store` or `store.read_store`."""
        self.engine = engine
        self.origin = origin
        self.authority = AuthorityReader(self._all)
        self.on_news: Callable[[News], None] = lambda _news: None
        self._turn = asyncio.Lock()
        self._head = _head_of(engine.rows(_HEAD))
        self._check_log()

    @property
    def shared(self) -> bool:
        """Whether other gates may write to it, too."""
        return self.engine.shared

    # --- writing -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def write(self, now_ms: int) -> AsyncIterator[Writer]:
        """One transaction. Whatever is collected inside is committed with its entries, or not at all.

        Raises:
            StoreError: `store_unavailable`, nothing was done; `commit_uncertain`, ask the store what is true;
                `store_conflict`.
            InvariantViolation: a row was not what its writer thought.
        """
        async with self._turn:
            await self.engine.begin()
            try:
                if self.shared:
                    await self._catch_up()
                writer = Writer(self.origin, self._head, now_ms)
                yield writer
                if writer.is_empty:
                    await self.engine.rollback()
                    return
                await self.engine.run(writer.statements())
            except BaseException:
                await self.engine.rollback()
                raise
            await self._commit(writer)
            self._head = writer.head()

    async def _commit(self, writer: Writer) -> None:
        try:
            await self.engine.commit()
        except StoreError as error:
            await self.engine.rollback()
            if error.code != "commit_uncertain":
                raise
            found = await self._find(writer.last_entry)
            if found is None:
                raise
            if not found:
                raise StoreError("the connection was lost before the commit", code="store_unavailable") from None

    async def _find(self, entry: tuple[int, bytes, bytes] | None) -> bool | None:
        """Whether the log has `entry`, asked with the head in hand: then no lost transaction is under way any more."""
        for _ in range(0 if entry is None else _RETURN_TRIES):
            await asyncio.sleep(_RETURN_S)
            try:
                await self.engine.begin()
                rows = await self.engine.fetch("SELECT entry FROM audit WHERE seq = ?", entry[:1] if entry else ())
                await self.engine.rollback()
            except StoreError:
                continue
            return bool(rows) and entry is not None and bytes(rows[0][0]) == entry[2]
        return None

    async def _catch_up(self) -> None:
        """Reads what others committed since this gate's last look, and tells whoever keeps a memory of it."""
        head = _head_of(await self.engine.fetch(_HEAD))
        before = self._head.commits
        if head.commits == before:
            return
        fetch = self.engine.fetch
        requests = await fetch(f"{_select(RequestRow)} WHERE change > ? ORDER BY change, id", (before,))
        movements = await fetch(f"{_select(MovementRow)} WHERE change > ? ORDER BY id", (before,))
        nonces = await fetch(_select(NonceRow))
        news = News(
            tuple(request_of(row) for row in requests),
            tuple(movement_of(row) for row in movements),
            {(Address(w), c): n for w, c, n in nonces},
            head.authority > before,
            head.time_ms,
        )
        self._head = head
        self.on_news(news)

    def refresh(self) -> None:
        """Reads the head again, after a failure; memory must be read again, too."""
        self._head = _head_of(self.engine.rows(_HEAD))

    def is_behind(self) -> bool:
        """Whether others have committed something this gate does not know."""
        (commits,) = self.engine.rows("SELECT commits FROM log_head WHERE id = 1")[0]
        return int(commits) != self._head.commits

    def _check_log(self) -> None:
        query = "SELECT size, (SELECT COALESCE(MAX(seq) + 1, 0) FROM audit) FROM log_head WHERE id = 1"
        ((size, rows),) = self.engine.rows(query)
        if rows != size:
            raise StoreError(f"the log's head is at {size}, its last entry at {rows}", code="log_head_mismatch")

    async def close(self) -> None:
        """Lets go of the database."""
        await self.engine.close()

    # --- the log -----------------------------------------------------------------------------------

    @property
    def log_size(self) -> int:
        """Entries committed so far, as this gate knows."""
        return self._head.frontier.size

    def log_root(self) -> Hash32:
        """RFC 6962 root over all committed entries, as this gate knows."""
        return frontier_root(self._head.frontier)

    def last_time_ms(self) -> int:
        """The clock of the newest commit; 0 in an empty store."""
        return self._head.time_ms

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes, bytes]]:
        """(seq, leaf, entry) in order of seq, from `start` inclusive to `stop` exclusive."""
        last = 2**62 if stop is None else stop
        query = "SELECT seq, leaf, entry FROM audit WHERE seq >= ? AND seq < ? ORDER BY seq"
        yield from self.engine.stream(query, (start, last))

    def leaves(self, size: int) -> list[bytes]:
        """The first `size` leaf hashes."""
        return [leaf for (leaf,) in self.engine.stream("SELECT leaf FROM audit WHERE seq < ? ORDER BY seq", (size,))]

    def checkpoints(self) -> list[str]:
        """All signed notes kept in the database, oldest first."""
        return [note for _, note in self._all(CheckpointRow, "ORDER BY size")]

    # --- reading -----------------------------------------------------------------------------------

    def wallets(self) -> list[Wallet]:
        """All wallets."""
        return [Wallet(name, Address(address), *rest) for name, address, *rest in self._all(WalletRow, "ORDER BY name")]

    def operators(self) -> list[Operator]:
        """All operators there ever were."""
        rows = self._all(OperatorRow, "ORDER BY name")
        return [Operator(name, Address(a), t, r, tuple(roles.split())) for name, a, t, r, roles in rows]

    def policies(self) -> list[PolicyText]:
        """All policies there ever were."""
        return [PolicyText(Hash32(h), *rest) for h, *rest in self._all(PolicyRow, "ORDER BY added_ms")]

    def grants(self) -> list[Grant]:
        """All grants there ever were, oldest first."""
        return [Grant(*row) for row in self._all(GrantRow, "ORDER BY created_ms, id")]

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

    def moving_requests(self) -> list[Request]:
        """Requests of which something can still become, oldest first."""
        return self._requests("WHERE moving = 1 ORDER BY created_ms, id")

    def recent_requests(self, *, limit: int = 100, status: Status | None = None) -> list[Request]:
        """The newest requests first."""
        clause, values = ("WHERE status = ? ", [status.value]) if status else ("", [])
        return self._requests(f"{clause}ORDER BY created_ms DESC, id DESC LIMIT ?", [*values, min(limit, _FEED_MAX)])

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
        return {field: (bytes(salt), text) for _, field, salt, text in rows}

    def nonces(self) -> dict[tuple[Address, int], int]:
        """The next nonce of each wallet and chain."""
        return {(Address(w), c): n for w, c, n in self._all(NonceRow, "")}

    def command_nonces(self, now_ms: int) -> set[bytes]:
        """Operators' commands that were carried out and have not expired."""
        return {nonce for nonce, _, _ in self._all(CommandRow, "WHERE expires_ms >= ?", (now_ms,))}

    def outstanding(self, wallet: Address | None = None) -> list[Outstanding]:
        """What spenders may still take by allowances that were not taken back, the newest first."""
        clause, values = ("", ()) if wallet is None else (" AND wallet = ?", (wallet,))
        query = (
            "SELECT wallet, chain_id, asset, spender, amount, request, at_ms FROM allowance"
            f" WHERE amount <> '0'{clause} ORDER BY at_ms DESC"
        )
        return [
            Outstanding(Address(w), Asset(c, Address(a)), Address(s), int(n), r, t)
            for w, c, a, s, n, r, t in self.engine.rows(query, values)
        ]

    def lease(self, name: str) -> tuple[str, int] | None:
        """Who holds a piece of work, and until when."""
        rows = self.engine.rows("SELECT holder, until_ms FROM lease WHERE name = ?", (name,))
        return (rows[0][0], rows[0][1]) if rows else None

    def next_movement_id(self) -> int:
        """The first free movement id."""
        (number,) = self.engine.rows("SELECT COALESCE(MAX(id), 0) + 1 FROM movement")[0]
        return int(number)

    def open_movements(self) -> list[Movement]:
        """All pending movements."""
        return [movement_of(row) for row in self._all(MovementRow, "WHERE state = 'pending' ORDER BY id")]

    def movements(self, request_id: str) -> list[Movement]:
        """What a request booked."""
        return [movement_of(row) for row in self._all(MovementRow, "WHERE request = ? ORDER BY id", (request_id,))]

    def posted(self, bucket: Bucket, after_ms: int) -> Iterator[tuple[int, int]]:
        """What was posted in `bucket` after a time, oldest first (`limits.History`)."""
        source, values = _source(bucket)
        query = f"SELECT at_ms, amount {source} AND at_ms > ? ORDER BY at_ms, id"
        for at_ms, amount in self.engine.rows(query, [*values, after_ms]):
            yield at_ms, int(amount)

    def posted_ever(self, bucket: Bucket) -> int:
        """What was ever posted in `bucket` (`limits.Lifetime`)."""
        source, values = _source(bucket)
        return self.engine.total("amount", source, values)

    def first_seen_ms(self, wallet: Address) -> dict[Address, int]:
        """When `wallet` first paid each recipient that it ever paid."""
        query = (
            "SELECT m.recipient, MIN(r.created_ms) FROM movement m JOIN request r ON r.id = m.request"
            " WHERE m.wallet = ? AND m.state = 'posted' AND m.recipient IS NOT NULL GROUP BY m.recipient"
        )
        return {Address(recipient): int(at_ms) for recipient, at_ms in self.engine.rows(query, (wallet,))}

    def _all(self, table: type[Row], clause: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.engine.rows(f"{_select(table)} {clause}", values)

    def _requests(self, clause: str, values: Sequence[Any] = ()) -> list[Request]:
        return [request_of(row) for row in self._all(RequestRow, clause, values)]


@cache
def _select(table: type[Row]) -> str:
    return f'SELECT {",".join(columns(table))} FROM "{table.__table__.name}"'


def _head_of(rows: Sequence[tuple[Any, ...]]) -> Head:
    if not rows:
        raise StoreError("the store has no head of its log", code="log_head_mismatch")
    size, edge, commits, time_ms, authority = rows[0]
    return Head(unpack_frontier(size, edge), commits, time_ms, authority)


def _source(bucket: Bucket) -> tuple[str, list[Any]]:
    """FROM and WHERE of what was posted in a bucket; the first terms are those of the index."""
    terms, values = ["measure = ?"], list[Any]([bucket.measure.value])
    if bucket.asset is not None:
        terms += ["chain_id = ?", "asset = ?"]
        values += [bucket.asset.chain_id, bucket.asset.address]
    elif bucket.measure is Measure.COUNT:
        terms += ["chain_id IS NULL", "asset IS NULL"]
    terms.append("state = 'posted'")
    for column, value in (
        ("grant_id", bucket.grant), ("team", bucket.group), ("wallet", bucket.wallet),
        ("recipient", bucket.recipient), ("contract", bucket.contract), ("unit", bucket.unit),
    ):  # fmt: skip
        if value is not None:
            terms.append(f"{column} = ?")
            values.append(value)
    return f"FROM movement WHERE {' AND '.join(terms)}", values

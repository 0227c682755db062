"""The store keeps what it is given, all or nothing, on both engines, and its log cannot be edited through it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.factories import ACME, NOW_MS, ORIGIN, USDC, WALLET, fill_store
from tests.postgres import ROLE, Database, empty_database, new_database
from walletgate.audit.entry import Kind
from walletgate.audit.note import SigningKey
from walletgate.audit.verify import verify_entries
from walletgate.errors import AuditError, InvariantViolation, StoreError
from walletgate.gate.checkpoints import Checkpoints
from walletgate.limits import Movement, MovementState
from walletgate.store import Freeze, Store, Writer, open_store, read_store
from walletgate.store.schema import copy_file, create_database, upgrade
from walletgate.types import UINT256_MAX, Asset, Booking, Bucket, Measure

USD = Asset(31337, USDC)
Work = Callable[[Writer], Any]


def write(store: Store, work: Work, now_ms: int = NOW_MS) -> Any:
    async def one() -> Any:
        try:
            async with store.write(now_ms) as tx:
                return work(tx)
        finally:
            if store.shared:
                await store.close()

    return asyncio.run(one())


async def filled(store: Store) -> None:
    await fill_store(store)
    if store.shared:
        await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    return tmp_path / "gate.db" if request.param == "sqlite" else new_database().gate


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    opened = open_store(place, origin=ORIGIN)
    asyncio.run(filled(opened))
    yield opened
    opened.engine.close_now()


def movement(number: int, amount: int, state: MovementState = MovementState.PENDING, at_ms: int = NOW_MS) -> Movement:
    spent = amount if state is MovementState.POSTED else 0
    return Movement(
        number, f"r{number}", "grant_1", None, WALLET, Booking(Measure.AMOUNT, amount, USD, ACME), state, at_ms, spent
    )


@pytest.mark.parametrize("amount", [1, 2**63 - 1, 2**63, 10 * 10**18, UINT256_MAX, UINT256_MAX * 10**18])
def test_amounts_of_any_size_come_back_exactly(store: Store, amount: int) -> None:
    write(store, lambda tx: tx.add_movements([movement(1, amount), movement(2, amount, MovementState.POSTED)]))
    assert [m.booking.amount for m in store.open_movements()] == [amount]
    bucket = Bucket(Measure.AMOUNT, USD, grant="grant_1")
    assert (store.posted_ever(bucket), list(store.posted(bucket, 0))) == (amount, [(NOW_MS, amount)])
    assert store.next_movement_id() == 3


def test_nothing_of_a_failed_transaction_stays(store: Store) -> None:
    size, root = store.log_size, store.log_root()

    def fail(tx: Writer) -> None:
        tx.add_movements([movement(1, 5)])
        tx.entry(Kind.FROZEN, {"scope": "all"})
        raise RuntimeError("dies here")

    with pytest.raises(RuntimeError):
        write(store, fail)
    assert (store.log_size, store.log_root()) == (size, root)
    assert store.open_movements() == []
    assert write(store, lambda tx: tx.entry(Kind.FROZEN, {"scope": "all"})) == size


def test_a_reservation_is_resolved_once(store: Store) -> None:
    def reserve_and_post(tx: Writer) -> None:
        tx.add_movements([movement(1, 5)])
        tx.resolve_movements([replace(movement(1, 5, MovementState.POSTED), spent=3)])

    write(store, reserve_and_post)
    with pytest.raises(InvariantViolation):
        write(store, lambda tx: tx.resolve_movements([movement(1, 5, MovementState.VOIDED)]))
    assert store.posted_ever(Bucket(Measure.AMOUNT, USD, grant="grant_1")) == 3


def test_a_posting_can_be_taken_back_once(store: Store) -> None:
    posted = movement(1, 5, MovementState.POSTED)
    write(store, lambda tx: tx.add_movements([posted]))
    write(store, lambda tx: tx.reopen_movements([posted], [movement(1, 5)]))
    assert [m.booking.amount for m in store.open_movements()] == [5]
    with pytest.raises(InvariantViolation):
        write(store, lambda tx: tx.reopen_movements([posted], [movement(1, 5)]))


def test_postings_come_in_the_order_of_their_dates_and_leave_out_what_was_voided(store: Store) -> None:
    write(store, lambda tx: tx.add_movements([movement(n, n) for n in (1, 2, 3)]))

    def resolve(tx: Writer) -> None:
        tx.resolve_movements([movement(1, 1, MovementState.POSTED, 30), movement(2, 2, MovementState.POSTED, 20)])
        tx.resolve_movements([movement(3, 3, MovementState.VOIDED, 10)])

    write(store, resolve)
    assert list(store.posted(Bucket(Measure.AMOUNT, USD, recipient=ACME), 0)) == [(20, 2), (30, 1)]
    assert list(store.posted(Bucket(Measure.AMOUNT, USD, recipient=ACME), 20)) == [(30, 1)]
    assert list(store.posted(Bucket(Measure.AMOUNT, USD, recipient=WALLET), 0)) == []


def test_a_freeze_that_follows_its_own_lifting_holds(store: Store) -> None:
    def back_and_forth(tx: Writer) -> None:
        for _ in range(3):
            tx.set_freeze(Freeze("all", "alice", "", NOW_MS))
            tx.lift_freeze("all")
        tx.set_freeze(Freeze("all", "bob", "", NOW_MS))

    write(store, back_and_forth)
    assert [freeze.operator for freeze in store.freezes()] == ["bob"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET entry = x'00' WHERE seq = 0",
        "DELETE FROM audit WHERE seq = 0",
        "INSERT OR REPLACE INTO audit SELECT seq, leaf, x'00' FROM audit WHERE seq = 0",
        "INSERT INTO audit SELECT seq + 7, leaf, entry FROM audit WHERE seq = 0",
    ],
)
def test_the_fence_of_a_file_stops_every_change_to_the_log(tmp_path: Path, statement: str) -> None:
    store = open_store(tmp_path / "gate.db", origin=ORIGIN)
    write(store, lambda tx: tx.entry(Kind.FROZEN, {"scope": "all"}))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        store.engine.rows(statement)
    verify_entries(store.entries(), origin=ORIGIN, head=(store.log_size, store.log_root()))  # type: ignore[arg-type]
    store.engine.close_now()


@pytest.mark.parametrize(
    "table", ["audit", "checkpoint", "policy", "draft_voice", "version", "command", "meta", "alembic_version"]
)
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}"])
def test_the_role_of_a_gate_cannot_change_what_is_only_ever_added(table: str, statement: str) -> None:
    database = shared_database()
    column = database.run(f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' LIMIT 1")
    name = column[0][0]
    with psycopg.connect(database.gate) as db, pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(statement.format(table, name, name))  # type: ignore[call-overload]


def test_even_the_owner_of_the_database_meets_a_fence() -> None:
    for statement in ("UPDATE audit SET leaf = leaf", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            shared_database().run(statement)


_shared: list[Database] = []


def shared_database() -> Database:
    if not _shared:
        _shared.append(new_database())
    return _shared[0]


def test_a_role_that_could_change_the_log_is_refused() -> None:
    with pytest.raises(StoreError) as caught:
        open_store(new_database().owner, origin=ORIGIN)
    assert caught.value.code == "role_too_powerful"


def test_a_database_is_made_once_and_for_a_role_that_exists() -> None:
    database = empty_database()
    with pytest.raises(StoreError) as caught:
        open_store(database.gate, origin=ORIGIN)
    assert caught.value.code == "store_missing"
    with pytest.raises(StoreError) as caught:
        create_database(database.owner, origin=ORIGIN, role="nobody")
    assert caught.value.code == "role_missing"
    create_database(database.owner, origin=ORIGIN, role=ROLE)
    with pytest.raises(StoreError) as caught:
        create_database(database.owner, origin=ORIGIN, role=ROLE)
    assert caught.value.code == "store_exists"


def test_a_password_never_appears_in_an_error() -> None:
    with pytest.raises(StoreError) as caught:
        open_store("postgresql://wg:hunter2secret@127.0.0.1:9/wg", origin=ORIGIN)
    assert caught.value.code == "store_unavailable"
    assert "hunter2secret" not in f"{caught.value!r} {caught.value.data} {caught.value.__cause__!r}"


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    store = open_store(tmp_path / "gate.db", origin=ORIGIN)
    write(store, lambda tx: tx.entry(Kind.FROZEN, {"scope": "all"}))
    copy_file(tmp_path / "gate.db", tmp_path / "copy.db")
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    store.engine.close_now()


def test_a_store_of_another_log_or_schema_is_refused(place: Path | str, tmp_path: Path) -> None:
    open_store(place, origin=ORIGIN).engine.close_now()
    with pytest.raises(StoreError) as caught:
        open_store(place, origin="another/audit/1")
    assert caught.value.code == "foreign_log"
    if isinstance(place, Path):
        db = sqlite3.connect(place)
        db.execute("UPDATE alembic_version SET version_num = '9999'")
        db.commit()
        db.close()
        for open_it in (lambda: open_store(place, origin=ORIGIN), lambda: upgrade(place)):
            with pytest.raises(StoreError) as caught:
                open_it()
            assert caught.value.code == "schema_version"
    (tmp_path / "other.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path / "other.db", origin=ORIGIN)
    assert caught.value.code == "schema_version"


def test_reading_beside_a_running_gate_changes_nothing(store: Store, tmp_path: Path) -> None:
    if store.shared:
        return
    with read_store(tmp_path / "gate.db") as reader:
        assert [grant.id for grant in reader.grants()] == ["grant_1"]
        with pytest.raises(StoreError) as caught:
            write(reader, lambda tx: tx.revoke_grant("grant_1"))
        assert caught.value.code == "store_failed"
    with pytest.raises(StoreError) as caught, read_store(tmp_path / "none.db"):
        pass
    assert caught.value.code == "store_missing"


def test_a_file_has_one_gate_and_a_database_any_number(place: Path | str) -> None:
    first = open_store(place, origin=ORIGIN)
    if first.shared:
        second = open_store(place, origin=ORIGIN)
        write(first, lambda tx: tx.entry(Kind.FROZEN, {"scope": "all"}))
        assert second.is_behind()
        heard = []
        second.on_news = heard.append
        assert write(second, lambda tx: tx.entry(Kind.FROZEN, {"scope": "all"})) == 1
        assert (len(heard), second.is_behind(), first.is_behind()) == (1, False, True)
        second.engine.close_now()
    else:
        with pytest.raises(StoreError) as caught:
            open_store(place, origin=ORIGIN)
        assert caught.value.code == "store_locked"
    first.engine.close_now()


def grow(store: Store, count: int, scope: str = "all") -> None:
    for number in range(count):
        write(store, lambda tx: tx.entry(Kind.FROZEN, {"scope": scope}), NOW_MS + number)


def test_a_store_older_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    key, path = SigningKey(ORIGIN, bytes(32)), tmp_path / "checkpoint"
    store = open_store(tmp_path / "gate.db", origin=ORIGIN)
    grow(store, 3)
    copy_file(tmp_path / "gate.db", tmp_path / "copy.db")
    grow(store, 2)
    asyncio.run(Checkpoints(store, key, path).sign(NOW_MS))
    Checkpoints(store, key, path).check_kept()
    store.engine.close_now()
    old = open_store(tmp_path / "copy.db", origin=ORIGIN)
    with pytest.raises(StoreError) as caught:
        Checkpoints(old, key, path).check_kept()
    assert caught.value.code == "behind_checkpoint"
    grow(old, 2, scope="wallet:main")
    with pytest.raises(StoreError) as caught:
        Checkpoints(old, key, path).check_kept()
    assert caught.value.code == "history_changed"
    old.engine.close_now()


def test_a_checkpoint_under_another_key_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "gate.db", origin=ORIGIN)
    grow(store, 1)
    asyncio.run(Checkpoints(store, SigningKey(ORIGIN, b"\x01" * 32), tmp_path / "checkpoint").sign(NOW_MS))
    with pytest.raises(AuditError):
        Checkpoints(store, SigningKey(ORIGIN, b"\x02" * 32), tmp_path / "checkpoint").check_kept()
    store.engine.close_now()


def test_a_connection_that_is_cut_is_opened_again(store: Store) -> None:
    if not store.shared:
        return
    grow(store, 1)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = current_user"
    with suppress(psycopg.OperationalError):
        store.engine.rows(cut)
    assert len(store.operators()) == 2
    grow(store, 1)
    assert store.log_size == 2


class CutAtCommit:
    """Cuts the writing connection in the middle of the next commit: before the server hears of it, or after."""

    def __init__(self, store: Store, *, after: bool) -> None:
        self.engine: Any = store.engine
        self.after = after
        self.commit = self.engine.commit
        self.engine.commit = self

    async def __call__(self) -> None:
        self.engine.commit = self.commit
        if self.after:
            await self.commit()
        await self.engine._cut()
        raise StoreError("the connection was lost during a commit", code="commit_uncertain")


@pytest.mark.parametrize("after", [False, True])
def test_a_connection_lost_in_a_commit_leaves_no_doubt_about_it(after: bool) -> None:
    async def work() -> None:
        store = open_store(new_database().gate, origin=ORIGIN)
        CutAtCommit(store, after=after)

        async def one() -> None:
            async with store.write(NOW_MS) as tx:
                tx.entry(Kind.FROZEN, {"scope": "all"})

        if after:
            await one()
        else:
            with pytest.raises(StoreError) as caught:
                await one()
            assert caught.value.code == "store_unavailable"
        assert store.log_size == int(after)
        async with store.write(NOW_MS) as tx:
            assert tx.entry(Kind.FROZEN, {"scope": "all"}) == int(after)
        await store.close()

    asyncio.run(work())

"""The store keeps what it is given, all or nothing, and its log cannot be edited through it."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from tests.factories import ACME, NOW_MS, ORIGIN, USDC, WALLET, fill_store
from walletgate.audit.entry import Kind
from walletgate.audit.note import SigningKey
from walletgate.audit.verify import verify_entries
from walletgate.errors import AuditError, InvariantViolation, StoreError
from walletgate.gate.checkpoints import Checkpoints
from walletgate.limits import Movement, MovementState
from walletgate.store import Store, read_only
from walletgate.types import UINT256_MAX, Asset, Booking, Bucket, Measure

USD = Asset(31337, USDC)


@pytest.fixture
def store(tmp_path: Path):
    opened = Store.open(tmp_path / "gate.db", origin=ORIGIN)
    fill_store(opened)
    yield opened
    opened.close()


def movement(number: int, amount: int, state: MovementState = MovementState.PENDING, at_ms: int = NOW_MS) -> Movement:
    return Movement(
        number, f"r{number}", "grant_1", None, WALLET, Booking(Measure.AMOUNT, amount, USD, ACME), state, at_ms
    )


@pytest.mark.parametrize("amount", [1, 2**63 - 1, 2**63, 10 * 10**18, UINT256_MAX, UINT256_MAX * 10**18])
def test_amounts_of_any_size_come_back_exactly(store: Store, amount: int) -> None:
    with store.write(NOW_MS) as tx:
        tx.add_movements([movement(1, amount)])
    assert [m.booking.amount for m in store.open_movements()] == [amount]
    assert store.next_movement_id() == 2


def test_nothing_of_a_failed_transaction_stays(store: Store) -> None:
    size, root = store.log_size, store.log_root()

    def fail() -> None:
        with store.write(NOW_MS) as tx:
            tx.add_movements([movement(1, 5)])
            tx.entry(Kind.FROZEN, {"scope": "all"})
            raise RuntimeError("dies here")

    with pytest.raises(RuntimeError):
        fail()
    assert (store.log_size, store.log_root()) == (size, root)
    assert store.open_movements() == []
    with store.write(NOW_MS) as tx:
        assert tx.entry(Kind.FROZEN, {"scope": "all"}) == size


def test_a_reservation_is_resolved_once(store: Store) -> None:
    with store.write(NOW_MS) as tx:
        tx.add_movements([movement(1, 5)])
        tx.resolve_movements([movement(1, 3, MovementState.POSTED)])
    with pytest.raises(InvariantViolation), store.write(NOW_MS) as tx:
        tx.resolve_movements([movement(1, 3, MovementState.VOIDED)])
    assert [m.booking.amount for m in store.history(Bucket(Measure.AMOUNT, USD, grant="grant_1"))] == [3]


def test_history_is_in_the_order_of_its_dates_and_leaves_out_what_was_voided(store: Store) -> None:
    with store.write(NOW_MS) as tx:
        tx.add_movements([movement(n, n) for n in (1, 2, 3)])
        tx.resolve_movements([movement(1, 1, MovementState.POSTED, 30), movement(2, 2, MovementState.POSTED, 20)])
        tx.resolve_movements([movement(3, 3, MovementState.VOIDED, 10)])
    assert [m.id for m in store.history(Bucket(Measure.AMOUNT, USD, recipient=ACME))] == [2, 1]
    assert list(store.history(Bucket(Measure.AMOUNT, USD, recipient=WALLET))) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET entry = x'00' WHERE seq = 0",
        "DELETE FROM audit WHERE seq = 0",
        "INSERT OR REPLACE INTO audit SELECT seq, leaf, x'00' FROM audit WHERE seq = 0",
        "INSERT INTO audit SELECT seq + 7, leaf, entry FROM audit WHERE seq = 0",
    ],
)
def test_the_fence_stops_every_change_to_the_log(store: Store, statement: str) -> None:
    with store.write(NOW_MS) as tx:
        tx.entry(Kind.FROZEN, {"scope": "all"})
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        store._db.execute(statement)
    verify_entries(store.entries(), origin=ORIGIN, head=(store.log_size, store.log_root()))  # type: ignore[arg-type]


def test_files_are_for_their_owner_only(store: Store, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_store_of_another_log_or_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gate.db"
    Store.open(path, origin=ORIGIN).close()
    with pytest.raises(StoreError) as caught:
        Store.open(path, origin="another/audit/1")
    assert caught.value.code == "foreign_log"
    db = sqlite3.connect(path)
    db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    db.commit()
    db.close()
    with pytest.raises(StoreError) as caught:
        Store.open(path, origin=ORIGIN)
    assert caught.value.code == "schema_version"
    (tmp_path / "other.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises((StoreError, sqlite3.DatabaseError)):
        Store.open(tmp_path / "other.db", origin=ORIGIN)


def test_reading_beside_a_running_gate_changes_nothing(store: Store, tmp_path: Path) -> None:
    with read_only(tmp_path / "gate.db") as reader:
        assert [grant.id for grant in reader.grants()] == ["grant_1"]
        with pytest.raises(sqlite3.OperationalError), reader.write(NOW_MS) as tx:
            tx.revoke_grant("grant_1")
    with pytest.raises(StoreError) as caught, read_only(tmp_path / "none.db"):
        pass
    assert caught.value.code == "store_missing"


def grow(store: Store, count: int, scope: str = "all") -> None:
    for number in range(count):
        with store.write(NOW_MS + number) as tx:
            tx.entry(Kind.FROZEN, {"scope": scope})


def test_a_store_older_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    key, path = SigningKey(ORIGIN, bytes(32)), tmp_path / "checkpoint"
    store = Store.open(tmp_path / "gate.db", origin=ORIGIN)
    grow(store, 3)
    copy = sqlite3.connect(tmp_path / "copy.db")
    store._db.backup(copy)
    copy.close()
    grow(store, 2)
    Checkpoints(store, key, path).sign(NOW_MS)
    Checkpoints(store, key, path).check_kept()
    store.close()
    old = Store.open(tmp_path / "copy.db", origin=ORIGIN)
    with pytest.raises(StoreError) as caught:
        Checkpoints(old, key, path).check_kept()
    assert caught.value.code == "behind_checkpoint"
    grow(old, 2, scope="wallet:main")
    with pytest.raises(StoreError) as caught:
        Checkpoints(old, key, path).check_kept()
    assert caught.value.code == "history_changed"
    old.close()


def test_a_checkpoint_under_another_key_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "gate.db", origin=ORIGIN)
    grow(store, 1)
    Checkpoints(store, SigningKey(ORIGIN, b"\x01" * 32), tmp_path / "checkpoint").sign(NOW_MS)
    with pytest.raises(AuditError):
        Checkpoints(store, SigningKey(ORIGIN, b"\x02" * 32), tmp_path / "checkpoint").check_kept()
    store.close()

"""A store of the first release becomes today's, with everything in it, and is then like one that was made today."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.factories import ORIGIN
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import make_home
from tests.postgres import ROLE, Database, empty_database, new_database
from walletgate.cli import app
from walletgate.errors import StoreError
from walletgate.store import open_store, read_store
from walletgate.store.schema import FIRST_REVISION, REVISION, upgrade

FILL = (
    "INSERT INTO meta (key, value) VALUES ('origin', '{origin}')",
    "INSERT INTO log_head (id, size, frontier) VALUES (1, 0, {blob}'')",
    "INSERT INTO operator (name, address, added_ms) VALUES ('alice', {blob}'01', 5)",
    "INSERT INTO nonce (wallet, chain_id, next) VALUES ({blob}'02', 1, 7)",
    *(
        "INSERT INTO request (id, grant_id, client_id, surface, kind, body_hash, status, payload, decision, policy, digest,"
        f" wallet, chain_id, nonce, raw, created_ms, updated_ms) VALUES ('r-{status}', 'g', '{status}', 'api', 'm',"
        f" {{blob}}'', '{status}', '{{{{}}}}', '{{{{}}}}', {{blob}}'', {{blob}}'', {{blob}}'02', 1, {nonce}, {{blob}}'03', 10, 20)"
        for nonce, status in enumerate(["broadcast", "confirmed", "denied"])
    ),
    "INSERT INTO movement (id,request,grant_id,wallet,measure,chain_id,asset,amount,reserved,state,at_ms) VALUES (1, 'r-broadcast', 'g', {blob}'02', 'amount', 1, {blob}'04', '12', '12', 'pending', 30)",
)


def shape_of_file(path: Path) -> Any:
    db = sqlite3.connect(path)
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    columns = {name: db.execute(f'PRAGMA table_info("{name}")').fetchall() for name in tables}
    rest = db.execute(
        "SELECT name, REPLACE(sql, '\"', '') FROM sqlite_master WHERE type <> 'table' ORDER BY name"
    ).fetchall()
    strict = {name: row for name, *_, row in db.execute("SELECT name, strict FROM pragma_table_list ORDER BY name")}
    db.close()
    return columns, rest, strict


def shape_of_database(database: Database) -> Any:
    columns = database.run(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )
    indexes = database.run("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname")
    rights = database.run(
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
        f" WHERE grantee = '{ROLE}' ORDER BY table_name, privilege_type"
    )
    triggers = database.run(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"
    )
    return columns, indexes, rights, triggers


def check_contents(place: Path | str) -> None:
    with read_store(place) as store:
        assert [request.id for request in store.moving_requests()] == ["r-broadcast"]
        assert [movement.booking.amount for movement in store.open_movements()] == [12]
        assert (store.last_time_ms(), store.nonces()) == (30, {(b"\x02", 1): 7})
        assert [operator.roles for operator in store.operators()] == [("approver", "auditor", "policy-maker")]


def old_file(path: Path) -> None:
    """As the first release left it: its schema was told in `meta`, and nothing knew of Alembic."""
    upgrade(path, revision=FIRST_REVISION)
    db = sqlite3.connect(path)
    for statement in FILL:
        db.execute(statement.format(origin=ORIGIN, blob="x"))
    db.execute("INSERT INTO meta (key, value) VALUES ('schema', '1')")
    db.execute("DROP TABLE alembic_version")
    db.commit()
    db.close()


def test_a_file_of_the_first_release_is_brought_up_to_date(tmp_path: Path) -> None:
    old_file(tmp_path / "old.db")
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path / "old.db", origin=ORIGIN)
    assert (caught.value.code, "walletgate store upgrade" in caught.value.detail) == ("schema_version", True)
    assert upgrade(tmp_path / "old.db") == (FIRST_REVISION, REVISION)
    assert upgrade(tmp_path / "old.db") == (REVISION, REVISION)
    check_contents(tmp_path / "old.db")
    open_store(tmp_path / "new.db", origin=ORIGIN).engine.close_now()
    assert shape_of_file(tmp_path / "old.db") == shape_of_file(tmp_path / "new.db")


def test_a_database_of_the_first_release_is_brought_up_to_date() -> None:
    old, new = empty_database(), new_database()
    upgrade(old.owner, revision=FIRST_REVISION)
    for statement in FILL:
        old.run(statement.format(origin=ORIGIN, blob="").replace("'01'", "'\\x01'").replace("'02'", "'\\x02'")
                .replace("'03'", "'\\x03'").replace("'04'", "'\\x04'"))  # fmt: skip
    assert upgrade(old.owner, role=ROLE) == (FIRST_REVISION, REVISION)
    check_contents(old.gate)
    assert shape_of_database(old) == shape_of_database(new)


def test_a_store_that_a_gate_uses_is_not_upgraded(tmp_path: Path) -> None:
    store = open_store(tmp_path / "gate.db", origin=ORIGIN)
    with pytest.raises(StoreError) as caught:
        upgrade(tmp_path / "gate.db")
    assert caught.value.code == "store_locked"
    store.engine.close_now()


def test_the_command_line_makes_copies_checks_and_upgrades(tmp_path: Path) -> None:
    runner = CliRunner()

    def run(*words: object) -> tuple[int, str]:
        said = runner.invoke(app, ["store", *map(str, words), "--home", str(home.root)])
        return said.exit_code, said.output

    with served(FakeChain()) as node:
        home = make_home(tmp_path / "home", node)
    copy = tmp_path / "copy.db"
    assert run("backup", copy)[0] == 0
    assert "backup_exists" in run("backup", copy)[1]
    code, said = run("check", "--file", copy)
    assert (code, "the ledger agrees" in said) == (0, True)
    db = sqlite3.connect(copy)
    db.execute(
        "INSERT INTO movement SELECT 9, 'gone', 'g', NULL, x'', 'count', NULL, NULL, NULL, NULL, NULL, '1', '1', 'pending', 1, 0"
    )
    db.commit()
    db.close()
    code, said = run("check", "--file", copy)
    assert (code, "gone has ended, and something of it is still reserved" in said) == (5, True)
    assert run("upgrade")[1].strip().endswith(f"schema {REVISION} already")
    code, said = run("init", "postgresql://wg:secret@localhost/wg")
    assert (code, "secret_in_argv" in said, "wg:secret" in said) == (2, True, False)
    database = empty_database()
    assert run("init", database.owner, "--gate-role", ROLE)[0] == 0
    open_store(database.gate, origin=ORIGIN).engine.close_now()
    assert "store_exists" in run("init", database.owner)[1]

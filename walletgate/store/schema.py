"""Opening, making, upgrading, copying and checking stores, whichever engine they are on.

A place is the path of a SQLite file or a `postgresql://` URL. A store of an older version is never changed by the
way: `walletgate store upgrade` does it, when it is told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from walletgate.errors import StoreError
from walletgate.store.engine import Engine
from walletgate.store.fence import FENCES, VERSION_TABLE
from walletgate.store.place import Place, is_url
from walletgate.store.sqlite import SqliteEngine
from walletgate.store.store import Store
from walletgate.store.tables import TABLES

REVISION = "0002"
"""The newest step in `migrations`."""

FIRST_REVISION = "0001"


def open_store(place: Place, *, origin: str) -> Store:
    """Opens a store for a gate; a file is created if there is none.

    Raises:
        StoreError: `store_locked` by another gate, `store_missing` (a database without tables), `schema_version`,
            `foreign_log` (another origin), `role_too_powerful` (could change the log), `store_unavailable`.
    """
    if not is_url(place):
        engine = SqliteEngine.open_file(Path(place))
        try:
            if not _has_tables(engine):
                engine.create(origin, REVISION)
            return _checked(engine, origin)
        except BaseException:
            engine.close_now()
            raise
    shared = _postgres(str(place))
    try:
        if not _has_tables(shared):
            raise StoreError("the database has no tables; make them with `walletgate store init`", code="store_missing")
        (rights,) = shared.rows(
            "SELECT has_table_privilege('audit', 'UPDATE') OR has_table_privilege('audit', 'DELETE')"
        )
        if rights[0]:
            raise StoreError(
                "the database's role could change the log; serve with the role that `walletgate store init` prepared",
                code="role_too_powerful",
            )
        return _checked(shared, origin)
    except BaseException:
        shared.close_now()
        raise


@contextmanager
def read_store(place: Place) -> Iterator[Store]:
    """The store of a gate that may be running: reads what is committed, takes no lock, changes nothing.

    Raises:
        StoreError: `store_missing`, `schema_version`, `store_unavailable`.
    """
    engine = read_engine(place)
    try:
        yield _checked(engine, None)
    finally:
        engine.close_now()


def read_engine(place: Place) -> Engine:
    """The bare database, for reading what may be damaged.

    Raises:
        StoreError: `store_missing`, `schema_version` (not a database at all).
    """
    return _postgres(str(place)) if is_url(place) else SqliteEngine.read_file(Path(place))


def create_database(url: str, *, origin: str, role: str) -> None:
    """Makes the tables in an empty database and gives `role`, which must exist, what a gate may do with them.

    Raises:
        StoreError: `store_exists`, `role_missing`, `store_unavailable`.
    """
    from walletgate.store.postgres import SHARED_INDEXES  # noqa: PLC0415 - see _postgres

    engine = _postgres(url)
    try:
        if _has_tables(engine):
            raise StoreError("the database is a WalletGate store already", code="store_exists")
        if not engine.rows("SELECT 1 FROM pg_roles WHERE rolname = ?", (role,)):
            raise StoreError(f"there is no role {role}; CREATE ROLE {role} LOGIN first", code="role_missing")
    finally:
        engine.close_now()
    with _alchemy(url) as db:
        SQLModel.metadata.create_all(db, tables=[table.__table__ for table in TABLES])
        for statement in (*FENCES["postgresql"], *SHARED_INDEXES):
            db.execute(text(statement))
        db.execute(text(VERSION_TABLE))
        db.execute(text("INSERT INTO alembic_version VALUES (:r)"), {"r": REVISION})
        db.execute(text("INSERT INTO meta (key, value) VALUES ('origin', :o)"), {"o": origin})
        db.execute(text("INSERT INTO log_head VALUES (1, 0, '', 0, 0, 0)"))
        _give_rights(db, role)


def upgrade(place: Place, *, role: str | None = None, revision: str = REVISION) -> tuple[str, str]:
    """Brings an older store to this version, in one transaction; returns the revisions before and after.

    Raises:
        StoreError: `schema_version` (not a store, or a newer one), `store_locked`, `role_missing`.
    """
    import alembic.command  # noqa: PLC0415 - slow to load, and only an upgrade needs it
    from alembic.config import Config  # noqa: PLC0415 - likewise

    engine = _postgres(str(place)) if is_url(place) else SqliteEngine.open_file(Path(place))
    try:
        before = _revision(engine) if _has_tables(engine) else None
    finally:
        engine.close_now()
    if before is not None and before > revision:
        raise StoreError(f"the store has schema {before}, this gate knows {revision}", code="schema_version")
    config = Config()
    config.set_main_option("script_location", "walletgate:store/migrations")
    with _alchemy(place) as db:
        config.attributes["connection"] = db
        if before == FIRST_REVISION:
            alembic.command.stamp(config, before)
        alembic.command.upgrade(config, revision)
        if role is not None:
            _give_rights(db, role)
    return before or "", revision


def copy_file(place: Path, target: Path) -> None:
    """Writes a consistent copy of a SQLite store, also while a gate uses it.

    Raises:
        StoreError: `store_missing`, `backup_exists`.
    """
    engine = SqliteEngine.read_file(place)
    try:
        engine.backup(target)
    except FileExistsError:
        raise StoreError(f"{target} exists already", code="backup_exists") from None
    finally:
        engine.close_now()


def _checked(engine: Engine, origin: str | None) -> Store:
    found = _revision(engine)
    if found != REVISION:
        problem = f"the store has schema {found}, this gate knows {REVISION}"
        hint = "; bring it up to date with `walletgate store upgrade`" if found < REVISION else ""
        raise StoreError(problem + hint, code="schema_version")
    (row,) = engine.rows("SELECT value FROM meta WHERE key = 'origin'") or [("",)]
    if origin is not None and row[0] != origin:
        raise StoreError(f"the store's log is {row[0]!r}, not {origin!r}", code="foreign_log")
    return Store(engine, row[0])


def _has_tables(engine: Engine) -> bool:
    if engine.shared:
        return bool(engine.rows("SELECT to_regclass('audit')")[0][0])
    return bool(engine.rows("SELECT 1 FROM sqlite_master LIMIT 1"))


def _revision(engine: Engine) -> str:
    """The schema's revision; the first release wrote it into `meta`.

    Raises:
        StoreError: `schema_version`, this is no store.
    """
    known = "SELECT to_regclass('alembic_version')" if engine.shared else (
        "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
    )  # fmt: skip
    rows = engine.rows(known)
    if rows and rows[0][0]:
        found = engine.rows("SELECT version_num FROM alembic_version")
        return str(found[0][0]) if found else ""
    has_meta = not engine.shared and engine.rows("SELECT name FROM sqlite_master WHERE name = 'meta'")
    if has_meta and engine.rows("SELECT value FROM meta WHERE key = 'schema'") == [("1",)]:
        return FIRST_REVISION
    raise StoreError("this is not a WalletGate store", code="schema_version")


@contextmanager
def _alchemy(place: Place) -> Iterator[Connection]:
    """A transaction over SQLAlchemy, for what alembic and the declared tables do."""
    if is_url(place):
        name = str(place).split("://", 1)[1]
        alchemy = create_engine(f"postgresql+psycopg://{name}", hide_parameters=True)
    else:
        alchemy = create_engine(f"sqlite:///{place}")

        @event.listens_for(alchemy, "begin")
        def begin(db: Connection) -> None:
            db.exec_driver_sql("BEGIN IMMEDIATE")

        @event.listens_for(alchemy, "connect")
        def connect(db: object, _record: object) -> None:
            db.isolation_level = None  # type: ignore[attr-defined]

    try:
        with alchemy.begin() as db:
            yield db
    except OperationalError as error:
        kind = type(error.orig).__name__
        raise StoreError(f"the database does not answer ({kind})", code="store_unavailable") from None
    finally:
        alchemy.dispose()


def _give_rights(db: Connection, role: str) -> None:

    if not db.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :r"), {"r": role}).fetchall():
        raise StoreError(f"there is no role {role}", code="role_missing")
    name = db.dialect.identifier_preparer.quote(role)
    for table in TABLES:
        db.execute(text(f'GRANT {table.rights} ON "{table.__table__.name}" TO {name}'))
    db.execute(text(f"GRANT SELECT ON alembic_version TO {name}"))


def _postgres(url: str) -> Engine:
    from walletgate.store.postgres import PostgresEngine  # noqa: PLC0415 - an extra of the package

    return PostgresEngine(url)

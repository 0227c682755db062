"""The first released schema: one gate, one file."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from walletgate.store.fence import FENCES

revision = "0001"
down_revision = None

BLOB, TEXT = sa.LargeBinary, sa.Text
INT = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _column(name: str, kind: Any, *, null: bool = False, unique: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null, unique=unique or None)


def _null(name: str, kind: Any) -> sa.Column[Any]:
    return _column(name, kind, null=True)


TABLES = {
    "meta": [_key("key", TEXT), _column("value", TEXT)],
    "wallet": [
        _key("name", TEXT), _column("address", BLOB, unique=True), _column("keystore", TEXT), _column("added_ms", INT),
    ],
    "operator": [
        _key("name", TEXT), _column("address", BLOB, unique=True), _column("added_ms", INT), _null("removed_ms", INT),
    ],
    "policy": [_key("hash", BLOB), _column("name", TEXT), _column("text", TEXT), _column("added_ms", INT)],
    "grant": [
        _key("id", TEXT), _column("agent", TEXT), _null("team", TEXT), _column("wallet", BLOB),
        _column("policy", BLOB), _column("token_hash", BLOB, unique=True), _column("created_ms", INT),
        _null("expires_ms", INT), _null("revoked_ms", INT),
    ],
    "request": [
        _key("id", TEXT), _column("grant_id", TEXT), _column("client_id", TEXT), _column("surface", TEXT),
        _column("kind", TEXT), _column("body_hash", BLOB), _column("status", TEXT), _column("payload", TEXT),
        _column("decision", TEXT), _column("policy", BLOB), _column("digest", BLOB), _column("wallet", BLOB),
        _column("chain_id", INT), _null("nonce", INT), _null("raw", BLOB), _null("tx_hash", BLOB),
        _null("signature", BLOB), _null("outcome", TEXT), _column("created_ms", INT), _column("updated_ms", INT),
        _null("expires_ms", INT),
    ],
    "movement": [
        _key("id", INT), _column("request", TEXT), _column("grant_id", TEXT), _null("team", TEXT),
        _column("wallet", BLOB), _column("measure", TEXT), _null("chain_id", INT), _null("asset", BLOB),
        _null("recipient", BLOB), _null("contract", BLOB), _null("unit", TEXT), _column("amount", TEXT),
        _column("reserved", TEXT), _column("state", TEXT), _column("at_ms", INT),
    ],
    "nonce": [_key("wallet", BLOB), _key("chain_id", INT), _column("next", INT)],
    "approval": [
        _key("request", TEXT), _key("operator", TEXT), _column("approved", INT), _column("policy", BLOB),
        _column("signature", BLOB), _column("reason", TEXT), _column("expires_ms", INT), _column("at_ms", INT),
    ],
    "freeze": [_key("scope", TEXT), _column("operator", TEXT), _column("reason", TEXT), _column("at_ms", INT)],
    "command": [_key("nonce", BLOB), _column("operator", TEXT), _column("expires_ms", INT)],
    "audit": [_key("seq", INT), _column("leaf", BLOB), _column("entry", BLOB)],
    "log_head": [_key("id", INT), _column("size", INT), _column("frontier", BLOB)],
    "checkpoint": [_key("size", INT), _column("note", TEXT)],
}  # fmt: skip
INDEXES = (
    ("request_by_client", "request", ["grant_id", "client_id"], True),
    ("request_by_status", "request", ["status"], False),
    ("request_by_hash", "request", ["tx_hash"], False),
    ("movement_by_request", "movement", ["request"], False),
    ("movement_by_bucket", "movement", ["measure", "chain_id", "asset", "grant_id"], False),
)


def upgrade() -> None:
    """Makes the tables."""
    for name, columns in TABLES.items():
        op.create_table(name, *(column._copy() for column in columns), sqlite_strict=True)  # noqa: SLF001
    for name, table, names, unique in INDEXES:
        op.create_index(name, table, names, unique=unique)
    for statement in FENCES[op.get_bind().dialect.name]:
        op.execute(statement)

"""Several gates on one store, replacements, outstanding allowances, bounded windows; roles, drafts and versions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

BLOB, TEXT = sa.LargeBinary, sa.Text
INT = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def upgrade() -> None:
    """Adds what is new, and says of old rows which of them still move."""
    roles = "approver auditor policy-maker"
    op.add_column("operator", sa.Column("roles", TEXT, nullable=False, server_default=roles))
    op.add_column("request", sa.Column("replaces", TEXT, nullable=True))
    for table, name in (
        ("request", "moving"), ("request", "change"), ("movement", "change"),
        ("log_head", "commits"), ("log_head", "time_ms"), ("log_head", "authority"),
    ):  # fmt: skip
        op.add_column(table, sa.Column(name, INT, nullable=False, server_default="0"))
    op.execute(
        "UPDATE request SET moving = 1 WHERE status IN ('awaiting_approval', 'approved', 'signed', 'broadcast')"
        " AND NOT (raw IS NULL AND status = 'signed' AND expires_ms IS NULL)"
    )
    op.execute(
        "UPDATE log_head SET time_ms = (SELECT COALESCE(MAX(t), 0) FROM (SELECT MAX(updated_ms) AS t FROM request"
        " UNION ALL SELECT MAX(at_ms) FROM movement) AS times)"
    )
    op.drop_index("request_by_status", "request")
    op.drop_index("movement_by_bucket", "movement")
    moving = sa.text("moving = 1")
    op.create_index("request_moving", "request", ["moving"], sqlite_where=moving, postgresql_where=moving)
    op.create_index("request_by_time", "request", ["created_ms"])
    op.create_index("movement_by_time", "movement", ["measure", "chain_id", "asset", "at_ms"])
    pending = sa.text("state = 'pending'")
    op.create_index("movement_open", "movement", ["id"], sqlite_where=pending, postgresql_where=pending)
    op.create_table(
        "allowance", _key("wallet", BLOB), _key("chain_id", INT), _key("asset", BLOB), _key("spender", BLOB),
        sa.Column("amount", TEXT, nullable=False), sa.Column("request", TEXT, nullable=False),
        sa.Column("at_ms", INT, nullable=False), sqlite_strict=True,
    )  # fmt: skip
    op.create_table(
        "private", _key("request", TEXT), _key("field", TEXT), sa.Column("salt", BLOB, nullable=False),
        sa.Column("text", TEXT, nullable=False), sqlite_strict=True,
    )  # fmt: skip
    op.create_table(
        "lease", _key("name", TEXT), sa.Column("holder", TEXT, nullable=False),
        sa.Column("until_ms", INT, nullable=False), sqlite_strict=True,
    )  # fmt: skip
    _add_operators_tables()
    op.execute("DELETE FROM meta WHERE key = 'schema'")
    if op.get_bind().dialect.name == "postgresql":
        for table in ("request", "movement"):
            op.create_index(f"{table}_by_change", table, ["change"])


def _add_operators_tables() -> None:
    def column(name: str, kind: Any, *, null: bool = False) -> sa.Column[Any]:
        return sa.Column(name, kind, nullable=null)

    op.create_table("setting", _key("key", TEXT), column("value", TEXT), sqlite_strict=True)
    op.create_table(
        "asked", _key("request", TEXT), column("grant_id", TEXT), column("alike", BLOB), column("at_ms", INT),
        column("rejected_ms", INT, null=True), sqlite_strict=True,
    )  # fmt: skip
    op.create_index("asked_by_grant", "asked", ["grant_id", "at_ms"])
    op.create_table(
        "draft", _key("id", TEXT), column("action", TEXT), column("body", TEXT), column("lines", TEXT),
        column("about", TEXT), column("before", BLOB), column("after", BLOB), column("proposer", TEXT),
        column("status", TEXT), column("created_ms", INT), column("expires_ms", INT),
        column("ended_ms", INT, null=True), sqlite_strict=True,
    )  # fmt: skip
    op.create_index("draft_by_status", "draft", ["status"])
    op.create_table(
        "draft_voice", _key("draft", TEXT), _key("operator", TEXT), column("approved", INT), column("signature", BLOB),
        column("reason", TEXT), column("at_ms", INT), sqlite_strict=True,
    )  # fmt: skip
    op.create_table(
        "version", _key("grant_id", TEXT), _key("number", INT), column("policy", BLOB), column("operator", TEXT),
        column("draft", TEXT, null=True), column("at_ms", INT), sqlite_strict=True,
    )  # fmt: skip

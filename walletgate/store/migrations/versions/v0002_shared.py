"""Several gates on one store, replacements, outstanding allowances; windows are read only as far as they reach."""

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
        "lease", _key("name", TEXT), sa.Column("holder", TEXT, nullable=False),
        sa.Column("until_ms", INT, nullable=False), sqlite_strict=True,
    )  # fmt: skip
    op.execute("DELETE FROM meta WHERE key = 'schema'")
    if op.get_bind().dialect.name == "postgresql":
        for table in ("request", "movement"):
            op.create_index(f"{table}_by_change", table, ["change"])

"""The tables, declared once. Storage only: rows never leave `store`, and nothing here validates.

Amounts are decimal text, because a 64-bit column overflows at ten ether; addresses and hashes are blobs; times
are Unix milliseconds. All tables are STRICT. Columns end in their unit.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Column, Index, LargeBinary, Table, Text
from sqlmodel import Field, SQLModel

SCHEMA_VERSION = 1


class Row(SQLModel):
    """What all tables share: STRICT storage and a handle on the Core table."""

    __table__: ClassVar[Table]
    __table_args__: ClassVar[Any] = {"sqlite_strict": True}


def _blob(*, key: bool = False, unique: bool = False, null: bool = False) -> Any:
    return Field(default=None, sa_column=Column(LargeBinary, primary_key=key, unique=unique or None, nullable=null))


def _text(*, key: bool = False, null: bool = False) -> Any:
    return Field(default=None, sa_column=Column(Text, primary_key=key, nullable=null))


class MetaRow(Row, table=True):
    """Facts about the database itself: schema version, log origin."""

    __tablename__ = "meta"
    key: str = _text(key=True)
    value: str = _text()


class WalletRow(Row, table=True):
    """An address the gate can sign for; `keystore` is the file its key is in."""

    __tablename__ = "wallet"
    name: str = _text(key=True)
    address: bytes = _blob(unique=True)
    keystore: str = _text()
    added_ms: int


class OperatorRow(Row, table=True):
    """A person with a key of their own."""

    __tablename__ = "operator"
    name: str = _text(key=True)
    address: bytes = _blob(unique=True)
    added_ms: int
    removed_ms: int | None = None


class PolicyRow(Row, table=True):
    """A policy's text under the hash of its meaning. Never changed, only added."""

    __tablename__ = "policy"
    hash: bytes = _blob(key=True)
    name: str = _text()
    text: str = _text()
    added_ms: int


class GrantRow(Row, table=True):
    """One agent's authority over one wallet under one policy; the token is stored as its SHA-256."""

    __tablename__ = "grant"
    id: str = _text(key=True)
    agent: str = _text()
    team: str | None = _text(null=True)
    wallet: bytes = _blob()
    policy: bytes = _blob()
    token_hash: bytes = _blob(unique=True)
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None


class RequestRow(Row, table=True):
    """One request, from its decision to its end. `payload` and `decision` are JSON."""

    __tablename__ = "request"
    __table_args__: ClassVar[Any] = (
        Index("request_by_client", "grant_id", "client_id", unique=True),
        Index("request_by_status", "status"),
        Index("request_by_hash", "tx_hash"),
        {"sqlite_strict": True},
    )
    id: str = _text(key=True)
    grant_id: str = _text()
    client_id: str = _text()
    surface: str = _text()
    kind: str = _text()
    body_hash: bytes = _blob()
    status: str = _text()
    payload: str = _text()
    decision: str = _text()
    policy: bytes = _blob()
    digest: bytes = _blob()
    wallet: bytes = _blob()
    chain_id: int
    nonce: int | None = None
    raw: bytes | None = _blob(null=True)
    tx_hash: bytes | None = _blob(null=True)
    signature: bytes | None = _blob(null=True)
    outcome: str | None = _text(null=True)
    created_ms: int
    updated_ms: int
    expires_ms: int | None = None


class MovementRow(Row, table=True):
    """One booked amount (`limits.Movement`)."""

    __tablename__ = "movement"
    __table_args__: ClassVar[Any] = (
        Index("movement_by_request", "request"),
        Index("movement_by_bucket", "measure", "chain_id", "asset", "grant_id"),
        {"sqlite_strict": True},
    )
    id: int = Field(primary_key=True)
    request: str = _text()
    grant_id: str = _text()
    team: str | None = _text(null=True)
    wallet: bytes = _blob()
    measure: str = _text()
    chain_id: int | None = None
    asset: bytes | None = _blob(null=True)
    recipient: bytes | None = _blob(null=True)
    contract: bytes | None = _blob(null=True)
    unit: str | None = _text(null=True)
    amount: str = _text()
    reserved: str = _text()
    state: str = _text()
    at_ms: int


class NonceRow(Row, table=True):
    """The next nonce of a wallet on a chain."""

    __tablename__ = "nonce"
    wallet: bytes = _blob(key=True)
    chain_id: int = Field(primary_key=True)
    next: int


class ApprovalRow(Row, table=True):
    """An operator's signed word on one request."""

    __tablename__ = "approval"
    request: str = _text(key=True)
    operator: str = _text(key=True)
    approved: int
    policy: bytes = _blob()
    signature: bytes = _blob()
    reason: str = _text()
    expires_ms: int
    at_ms: int


class FreezeRow(Row, table=True):
    """A freeze in force: scope is `all`, `wallet:NAME` or `grant:ID`."""

    __tablename__ = "freeze"
    scope: str = _text(key=True)
    operator: str = _text()
    reason: str = _text()
    at_ms: int


class CommandRow(Row, table=True):
    """Operators' commands already carried out, so that none is carried out twice."""

    __tablename__ = "command"
    nonce: bytes = _blob(key=True)
    operator: str = _text()
    expires_ms: int


class AuditRow(Row, table=True):
    """One entry of the log: the canonical bytes that were hashed, and their leaf hash."""

    __tablename__ = "audit"
    seq: int = Field(primary_key=True)
    leaf: bytes = _blob()
    entry: bytes = _blob()


class LogHeadRow(Row, table=True):
    """The tree's size and right edge (concatenated 32-byte hashes)."""

    __tablename__ = "log_head"
    id: int = Field(primary_key=True)
    size: int
    frontier: bytes = _blob()


class CheckpointRow(Row, table=True):
    """Signed notes over the log's head."""

    __tablename__ = "checkpoint"
    size: int = Field(primary_key=True)
    note: str = _text()


class PrivateRow(Row, table=True):
    """A text that the log holds only a commitment to. The one table whose rows may be erased."""

    __tablename__ = "private"
    request: str = _text(key=True)
    field: str = _text(key=True)
    salt: bytes = _blob()
    text: str = _text()


TABLES: tuple[type[Row], ...] = (
    MetaRow, WalletRow, OperatorRow, PolicyRow, GrantRow, RequestRow, MovementRow, NonceRow, ApprovalRow, FreezeRow,
    CommandRow, AuditRow, LogHeadRow, CheckpointRow, PrivateRow,
)  # fmt: skip

_STOP = "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
_NEXT = "(SELECT COALESCE(MAX(seq) + 1, 0) FROM audit)"

FENCE = (
    f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit {_STOP}",
    f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit {_STOP}",
    f"CREATE TRIGGER audit_next_only BEFORE INSERT ON audit WHEN NEW.seq <> {_NEXT} {_STOP}",
)
"""A fence, not a proof: it stops this program's own mistakes. REPLACE fires no delete trigger, hence the third."""

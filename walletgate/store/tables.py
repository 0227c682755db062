"""The tables, declared once, for both engines. Storage only: rows never leave `store`, and nothing here validates.

Amounts are decimal text, because a 64-bit column overflows at ten ether; addresses and hashes are blobs; times
are Unix milliseconds. In SQLite all tables are STRICT. Columns end in their unit. `change` is the number of the
commit that wrote a row last: where several gates share a store, each reads from there what the others did.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, Text, text
from sqlmodel import Field, SQLModel


class Row(SQLModel):
    """What all tables share: STRICT storage and a handle on the Core table."""

    __table__: ClassVar[Table]
    __table_args__: ClassVar[Any] = {"sqlite_strict": True}
    rights: ClassVar[str] = "SELECT, INSERT"
    """What the role of a gate may do with it in PostgreSQL."""


def _blob(*, key: bool = False, unique: bool = False, null: bool = False) -> Any:
    return Field(default=None, sa_column=Column(LargeBinary, primary_key=key, unique=unique or None, nullable=null))


def _text(*, key: bool = False, null: bool = False, start: str | None = None) -> Any:
    return Field(default=None, sa_column=Column(Text, primary_key=key, nullable=null, server_default=start))


def _int(*, key: bool = False, null: bool = False, start: str | None = None) -> Any:
    kind = BigInteger().with_variant(Integer, "sqlite")
    column = Column(kind, primary_key=key, nullable=null, autoincrement=False, server_default=start)
    return Field(default=None, sa_column=column)


class MetaRow(Row, table=True):
    """Facts about the database itself: the log's origin."""

    __tablename__ = "meta"
    key: str = _text(key=True)
    value: str = _text()


class WalletRow(Row, table=True):
    """An address the gate can sign for; `keystore` is the file its key is in."""

    __tablename__ = "wallet"
    name: str = _text(key=True)
    address: bytes = _blob(unique=True)
    keystore: str = _text()
    added_ms: int = _int()


class OperatorRow(Row, table=True):
    """A person with a key of their own; `roles` are words with spaces between them."""

    __tablename__ = "operator"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    name: str = _text(key=True)
    address: bytes = _blob(unique=True)
    added_ms: int = _int()
    removed_ms: int | None = _int(null=True)
    roles: str = _text(start="approver auditor policy-maker")


class SettingRow(Row, table=True):
    """What operators have set for the whole gate, such as their quorum."""

    __tablename__ = "setting"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    key: str = _text(key=True)
    value: str = _text()


class DraftRow(Row, table=True):
    """A command that waits for operators: `body` is its payload, `lines` what they read, as JSON."""

    __tablename__ = "draft"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    __table_args__: ClassVar[Any] = (Index("draft_by_status", "status"), {"sqlite_strict": True})
    id: str = _text(key=True)
    action: str = _text()
    body: str = _text()
    lines: str = _text()
    about: str = _text()
    before: bytes = _blob()
    after: bytes = _blob()
    proposer: str = _text()
    status: str = _text()
    created_ms: int = _int()
    expires_ms: int = _int()
    ended_ms: int | None = _int(null=True)


class DraftVoiceRow(Row, table=True):
    """An operator's signed word on one draft."""

    __tablename__ = "draft_voice"
    draft: str = _text(key=True)
    operator: str = _text(key=True)
    approved: int = _int()
    signature: bytes = _blob()
    reason: str = _text()
    at_ms: int = _int()


class VersionRow(Row, table=True):
    """A policy that a grant was put under, and by whom; counted from 1."""

    __tablename__ = "version"
    grant_id: str = _text(key=True)
    number: int = _int(key=True)
    policy: bytes = _blob()
    operator: str = _text()
    draft: str | None = _text(null=True)
    at_ms: int = _int()


class PolicyRow(Row, table=True):
    """A policy's text under the hash of its meaning. Never changed, only added."""

    __tablename__ = "policy"
    hash: bytes = _blob(key=True)
    name: str = _text()
    text: str = _text()
    added_ms: int = _int()


class GrantRow(Row, table=True):
    """One agent's authority over one wallet under one policy; the token is stored as its SHA-256."""

    __tablename__ = "grant"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    id: str = _text(key=True)
    agent: str = _text()
    team: str | None = _text(null=True)
    wallet: bytes = _blob()
    policy: bytes = _blob()
    token_hash: bytes = _blob(unique=True)
    created_ms: int = _int()
    expires_ms: int | None = _int(null=True)
    revoked_ms: int | None = _int(null=True)


class RequestRow(Row, table=True):
    """One request, from its decision to its end. `payload` and `decision` are JSON.

    `moving` is 1 while something can still become of it: time, an operator, the chain or a reorganisation.
    """

    __tablename__ = "request"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    __table_args__: ClassVar[Any] = (
        Index("request_by_client", "grant_id", "client_id", unique=True),
        Index("request_by_hash", "tx_hash"),
        Index("request_moving", "moving", sqlite_where=text("moving = 1"), postgresql_where=text("moving = 1")),
        Index("request_by_time", "created_ms"),
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
    chain_id: int = _int()
    nonce: int | None = _int(null=True)
    raw: bytes | None = _blob(null=True)
    tx_hash: bytes | None = _blob(null=True)
    signature: bytes | None = _blob(null=True)
    outcome: str | None = _text(null=True)
    created_ms: int = _int()
    updated_ms: int = _int()
    expires_ms: int | None = _int(null=True)
    replaces: str | None = _text(null=True)
    moving: int = _int(start="0")
    change: int = _int(start="0")


class MovementRow(Row, table=True):
    """One booked amount (`limits.Movement`): what was `reserved`, and the `amount` that counts."""

    __tablename__ = "movement"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    __table_args__: ClassVar[Any] = (
        Index("movement_by_request", "request"),
        Index("movement_by_time", "measure", "chain_id", "asset", "at_ms"),
        Index(
            "movement_open", "id", sqlite_where=text("state = 'pending'"), postgresql_where=text("state = 'pending'")
        ),
        {"sqlite_strict": True},
    )
    id: int = _int(key=True)
    request: str = _text()
    grant_id: str = _text()
    team: str | None = _text(null=True)
    wallet: bytes = _blob()
    measure: str = _text()
    chain_id: int | None = _int(null=True)
    asset: bytes | None = _blob(null=True)
    recipient: bytes | None = _blob(null=True)
    contract: bytes | None = _blob(null=True)
    unit: str | None = _text(null=True)
    amount: str = _text()
    reserved: str = _text()
    state: str = _text()
    at_ms: int = _int()
    change: int = _int(start="0")


class NonceRow(Row, table=True):
    """The next nonce of a wallet on a chain."""

    __tablename__ = "nonce"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    wallet: bytes = _blob(key=True)
    chain_id: int = _int(key=True)
    next: int = _int()


class ApprovalRow(Row, table=True):
    """An operator's signed word on one request."""

    __tablename__ = "approval"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    request: str = _text(key=True)
    operator: str = _text(key=True)
    approved: int = _int()
    policy: bytes = _blob()
    signature: bytes = _blob()
    reason: str = _text()
    expires_ms: int = _int()
    at_ms: int = _int()


class AskedRow(Row, table=True):
    """A request that was put before operators; `alike` is what it has in common with others that would do the same."""

    __tablename__ = "asked"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    __table_args__: ClassVar[Any] = (Index("asked_by_grant", "grant_id", "at_ms"), {"sqlite_strict": True})
    request: str = _text(key=True)
    grant_id: str = _text()
    alike: bytes = _blob()
    at_ms: int = _int()
    rejected_ms: int | None = _int(null=True)


class FreezeRow(Row, table=True):
    """A freeze in force: scope is `all`, `wallet:NAME`, `grant:ID`, `agent:NAME` or `chain:ID`."""

    __tablename__ = "freeze"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE, DELETE"
    scope: str = _text(key=True)
    operator: str = _text()
    reason: str = _text()
    at_ms: int = _int()


class CommandRow(Row, table=True):
    """Operators' commands already carried out, so that none is carried out twice."""

    __tablename__ = "command"
    nonce: bytes = _blob(key=True)
    operator: str = _text()
    expires_ms: int = _int()


class AuditRow(Row, table=True):
    """One entry of the log: the canonical bytes that were hashed, and their leaf hash."""

    __tablename__ = "audit"
    seq: int = _int(key=True)
    leaf: bytes = _blob()
    entry: bytes = _blob()


class LogHeadRow(Row, table=True):
    """The tree's size and right edge (concatenated 32-byte hashes), and where the ledger as a whole stands.

    `commits` counts transactions, `time_ms` is the newest one's clock, `authority` the number of the last one that
    changed who may do what. Whoever writes holds this row.
    """

    __tablename__ = "log_head"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    id: int = _int(key=True)
    size: int = _int()
    frontier: bytes = _blob()
    commits: int = _int(start="0")
    time_ms: int = _int(start="0")
    authority: int = _int(start="0")


class AllowanceRow(Row, table=True):
    """What a spender may still take of a wallet's asset by an allowance that a request of ours gave."""

    __tablename__ = "allowance"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    wallet: bytes = _blob(key=True)
    chain_id: int = _int(key=True)
    asset: bytes = _blob(key=True)
    spender: bytes = _blob(key=True)
    amount: str = _text()
    request: str = _text()
    at_ms: int = _int()


class LeaseRow(Row, table=True):
    """Which of several gates does the work that one must do, and until when if it says nothing more."""

    __tablename__ = "lease"
    rights: ClassVar[str] = "SELECT, INSERT, UPDATE"
    name: str = _text(key=True)
    holder: str = _text()
    until_ms: int = _int()


class CheckpointRow(Row, table=True):
    """Signed notes over the log's head."""

    __tablename__ = "checkpoint"
    size: int = _int(key=True)
    note: str = _text()


class PrivateRow(Row, table=True):
    """A text that the log holds only a commitment to. The one table whose rows may be erased."""

    __tablename__ = "private"
    rights: ClassVar[str] = "SELECT, INSERT, DELETE"
    request: str = _text(key=True)
    field: str = _text(key=True)
    salt: bytes = _blob()
    text: str = _text()


TABLES: tuple[type[Row], ...] = (
    MetaRow, WalletRow, OperatorRow, PolicyRow, GrantRow, RequestRow, MovementRow, NonceRow, ApprovalRow, FreezeRow,
    CommandRow, AuditRow, LogHeadRow, CheckpointRow, AllowanceRow, LeaseRow, AskedRow, SettingRow, DraftRow,
    DraftVoiceRow, VersionRow, PrivateRow,
)  # fmt: skip

"""What the store holds, as values. Times are Unix milliseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from walletgate.audit.merkle import Frontier
from walletgate.limits import Movement
from walletgate.types import Address, Asset, Hash32, Status


@dataclass(frozen=True, slots=True)
class Wallet:
    """An address the gate can sign for, and the keystore file that holds its key."""

    name: str
    address: Address
    keystore: str
    added_ms: int


APPROVER, POLICY_MAKER, AUDITOR = "approver", "policy-maker", "auditor"
ROLES = (APPROVER, AUDITOR, POLICY_MAKER)
"""Approvers decide on requests, policy-makers on everything else, auditors only read."""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person with a key of their own, and what they may do."""

    name: str
    address: Address
    added_ms: int
    removed_ms: int | None = None
    roles: tuple[str, ...] = ROLES

    def has(self, *roles: str) -> bool:
        """Whether they have one of `roles` and were not removed."""
        return self.removed_ms is None and not set(roles).isdisjoint(self.roles)


@dataclass(frozen=True, slots=True)
class Draft:
    """A command that waits for operators to sign it. `body` is its canonical payload, `lines` what it would change.

    `about` is the grant it is about, empty if none; `before` and `after` are policies, 32 zero bytes where there is
    none. `status` is open, live, rejected, expired or stale.
    """

    id: str
    action: str
    body: str
    lines: tuple[str, ...]
    about: str
    before: Hash32
    after: Hash32
    proposer: str
    status: str
    created_ms: int
    expires_ms: int
    ended_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DraftVoice:
    """An operator's signed yes or no to one draft; the first is its proposer's signed command."""

    draft: str
    operator: str
    approved: bool
    signature: bytes
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Version:
    """A policy that a grant was put under, counted from 1; `draft` is the draft it came by, if any."""

    grant_id: str
    number: int
    policy: Hash32
    operator: str
    draft: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy's text under the hash of its meaning."""

    hash: Hash32
    name: str
    text: str
    added_ms: int


@dataclass(frozen=True, slots=True)
class Grant:
    """One agent's authority over one wallet under one policy. `token_hash` is SHA-256 of the token."""

    id: str
    agent: str
    team: str | None
    wallet: Address
    policy: Hash32
    token_hash: Hash32
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `payload`, `decision` and `outcome` are JSON texts; `body_hash` names what the agent sent.

    `replaces` is the request whose nonce this one takes; `moving` says that something can still become of it.
    """

    id: str
    grant_id: str
    client_id: str
    surface: str
    kind: str
    body_hash: Hash32
    status: Status
    payload: str
    decision: str
    policy: Hash32
    digest: Hash32
    wallet: Address
    chain_id: int
    created_ms: int
    updated_ms: int
    nonce: int | None = None
    raw: bytes | None = None
    tx_hash: Hash32 | None = None
    signature: bytes | None = None
    outcome: str | None = None
    expires_ms: int | None = None
    replaces: str | None = None
    moving: bool = True

    def changed(self, **changes: Any) -> Request:
        """The same with other values; a fifth of what `dataclasses.replace` takes, and each request needs it twice."""
        return Request(*[changes[name] if name in changes else getattr(self, name) for name in _REQUEST_FIELDS])


_REQUEST_FIELDS = tuple(Request.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Approval:
    """An operator's signed word on one request: `approved` or rejected, until `expires_ms`."""

    request: str
    operator: str
    approved: bool
    policy: Hash32
    signature: bytes
    reason: str
    expires_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Freeze:
    """A freeze in force. Scope is `all`, `wallet:NAME`, `grant:ID`, `agent:NAME` or `chain:ID`."""

    scope: str
    operator: str
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What `spender` may take of `wallet`'s asset since `request` was confirmed; `amount` in base units."""

    wallet: Address
    asset: Asset
    spender: Address
    amount: int
    request: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where a store stands: its log's edge, and its newest commit's number and time.

    `authority` is the number of the last commit that changed who may do what.
    """

    frontier: Frontier
    commits: int
    time_ms: int
    authority: int


@dataclass(frozen=True, slots=True)
class News:
    """What other gates have committed since this one looked last."""

    requests: tuple[Request, ...]
    movements: tuple[Movement, ...]
    nonces: Mapping[tuple[Address, int], int]
    authority: bool
    time_ms: int

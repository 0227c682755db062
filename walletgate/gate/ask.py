"""What reaches the gate: an `Ask`, already parsed, under a `Session`, already authenticated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from walletgate.store import Grant
from walletgate.types import (
    Batch,
    CodeAuthorization,
    Expectation,
    Hash32,
    RawHash,
    TextMessage,
    TransactionRequest,
    TypedData,
)  # fmt: skip

Asked = TransactionRequest | Batch | TypedData | TextMessage | RawHash | CodeAuthorization

CLIENT_ID_LENGTH_MAX = 64
MEMO_LENGTH_MAX = 500


@dataclass(frozen=True, slots=True)
class Session:
    """One agent's authenticated connection: its grant, and the chain that the endpoint it came to stands for."""

    grant: Grant
    chain_id: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One request as it came in. `client_id` is the agent's own id, `body_hash` names everything it sent.

    `method` is the JSON-RPC name of what is asked, whatever the surface; `release_raw` hands the signed transaction
    to the agent instead of broadcasting it.
    """

    client_id: str
    surface: str
    method: str
    asked: Asked
    body_hash: Hash32
    expect: Expectation | None = None
    memo: str = ""
    release_raw: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)

"""The audit log: entries in a Merkle tree under signed checkpoints, verifiable with tools that are not ours.

Values in, values out: no clock, no disk, no database. `entry` says what an entry is, `merkle` hashes and
proves, `note` signs, `verify` finds the first bad entry.
"""

from walletgate.audit.entry import Json, Kind, encode_entry, is_origin, parse_entry
from walletgate.audit.merkle import (
    EMPTY,
    EMPTY_ROOT,
    Frontier,
    NodeReader,
    append,
    extend,
    frontier_root,
    leaf_hash,
    nodes_of,
    pack_frontier,
    prove_consistency,
    prove_inclusion,
    root_of,
    unpack_frontier,
    verify_consistency,
    verify_inclusion,
)
from walletgate.audit.note import (
    Checkpoint,
    Note,
    SigningKey,
    VerifyingKey,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    parse_signing_key,
    parse_verifying_key,
    sign_checkpoint,
    sign_note,
)
from walletgate.audit.verify import VerifyReport, verify_entries

__all__ = [
    "EMPTY",
    "EMPTY_ROOT",
    "Checkpoint",
    "Frontier",
    "Json",
    "Kind",
    "NodeReader",
    "Note",
    "SigningKey",
    "VerifyReport",
    "VerifyingKey",
    "append",
    "encode_entry",
    "extend",
    "frontier_root",
    "is_origin",
    "leaf_hash",
    "nodes_of",
    "open_checkpoint",
    "open_note",
    "pack_frontier",
    "parse_checkpoint",
    "parse_entry",
    "parse_signing_key",
    "parse_verifying_key",
    "prove_consistency",
    "prove_inclusion",
    "root_of",
    "sign_checkpoint",
    "sign_note",
    "unpack_frontier",
    "verify_consistency",
    "verify_entries",
    "verify_inclusion",
]

"""The log's Merkle tree (RFC 6962, section 2.1, over SHA-256): roots and proofs. Pure functions over hashes.

A leaf is SHA-256(0x00 || entry), an inner node SHA-256(0x01 || left || right); without the two prefixes a
node could be passed off as an entry. The tree of n leaves is split at the largest power of two below n,
so each prefix of the log has a root of its own, and what is to the left never changes again.

To append takes only the `Frontier`: the roots of the complete subtrees at the right edge, one for each bit
of the size, at most 64 hashes. To prove takes inner nodes: `NodeReader` reads the root of the complete
subtree of the leaves [index << level, (index + 1) << level), from tiles, from a table or from memory.

    frontier = append(EMPTY, leaf_hash(b"first"))
    frontier_root(frontier) == root_of([leaf_hash(b"first")])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Final, cast

from walletgate.errors import AuditError
from walletgate.types import Hash32

NodeReader = Callable[[int, int], Hash32]
"""(level, index) -> root of the complete subtree of 2^level leaves; level 0 are the leaf hashes."""

EMPTY_ROOT: Final = Hash32(sha256(b"").digest())
"""The root of a log without entries."""

SIZE_MAX: Final = 2**63 - 1
"""The most leaves a tree can have (what fits the checkpoint format everywhere)."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree of `size` leaves: the roots of its complete subtrees, largest first."""

    size: int
    hashes: tuple[Hash32, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_MAX or len(self.hashes) != self.size.bit_count():
            raise AuditError(
                f"a tree of {self.size} leaves does not have {len(self.hashes)} hashes at its edge",
                code="frontier_malformed",
            )


EMPTY: Final = Frontier(0, ())
"""The edge of a tree without leaves."""


def leaf_hash(entry: bytes) -> Hash32:
    """The hash of one entry."""
    return Hash32(sha256(b"\x00" + entry).digest())


def leaf_hashes(entries: Iterable[bytes]) -> list[Hash32]:
    """The hashes of many entries, without a call for each (`Hash32()` is one, too)."""
    return cast("list[Hash32]", [sha256(b"\x00" + entry).digest() for entry in entries])


def node_hash(left: bytes, right: bytes) -> Hash32:
    """The hash of an inner node."""
    return Hash32(sha256(b"\x01" + left + right).digest())


def append(frontier: Frontier, leaf: Hash32) -> Frontier:
    """The edge after one more leaf."""
    return extend(frontier, (leaf,))


def extend(frontier: Frontier, leaves: Iterable[Hash32]) -> Frontier:
    """The edge after `leaves`; works level by level, because that is twice as fast as leaf by leaf."""
    nodes = list(leaves)
    size = frontier.size + len(nodes)
    left, right = list(frontier.hashes), []
    bits = frontier.size
    while nodes:
        if bits & 1:
            nodes.insert(0, left.pop())
        if len(nodes) & 1:
            right.append(nodes.pop())
        pairs = zip(nodes[::2], nodes[1::2], strict=True)
        nodes = cast("list[Hash32]", [sha256(b"\x01" + a + b).digest() for a, b in pairs])
        bits >>= 1
    return Frontier(size, (*left, *reversed(right)))


def frontier_root(frontier: Frontier) -> Hash32:
    """The root of the whole tree."""
    if not frontier.hashes:
        return EMPTY_ROOT
    *rest, root = frontier.hashes
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


def pack_frontier(frontier: Frontier) -> bytes:
    """The hashes one after the other; the size is stored beside them."""
    return b"".join(frontier.hashes)


def unpack_frontier(size: int, data: bytes) -> Frontier:
    """The edge that `pack_frontier` wrote.

    Raises:
        AuditError: `frontier_malformed` if the number of hashes is not that of `size`.
    """
    if len(data) % 32:
        raise AuditError("the tree's edge is not made of whole hashes", code="frontier_malformed")
    return Frontier(size, tuple(Hash32(data[at : at + 32]) for at in range(0, len(data), 32)))


def root_of(leaves: Iterable[Hash32]) -> Hash32:
    """The root of a tree given by all its leaf hashes."""
    return frontier_root(extend(EMPTY, leaves))


def nodes_of(leaves: Sequence[Hash32]) -> NodeReader:
    """A reader over leaf hashes in memory."""
    levels: list[Sequence[Hash32]] = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(a, b) for a, b in zip(below[::2], below[1::2], strict=False)])

    def read(level: int, index: int) -> Hash32:
        return levels[level][index]

    return read


def prove_inclusion(read: NodeReader, index: int, size: int) -> tuple[Hash32, ...]:
    """The proof that leaf `index` is in the tree of `size` leaves (RFC 6962, 2.1.1): siblings, leaf to root.

    Raises:
        AuditError: `proof_impossible` unless 0 <= index < size.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise AuditError(f"no leaf {index} in a tree of {size}", code="proof_impossible")
    proof = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_subtree(read, middle, end))
            end = middle
        else:
            proof.append(_subtree(read, start, middle))
            start = middle
    return tuple(reversed(proof))


def prove_consistency(read: NodeReader, old: int, size: int) -> tuple[Hash32, ...]:
    """The proof that the tree of `size` leaves begins with the tree of `old` leaves (RFC 6962, 2.1.2).

    Raises:
        AuditError: `proof_impossible` unless 0 < old <= size (everything begins with the empty tree).
    """
    if not 0 < old <= size <= SIZE_MAX:
        raise AuditError(f"a tree of {size} leaves has no prefix of {old} to prove", code="proof_impossible")
    proof = []
    start, end = 0, size
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(_subtree(read, middle, end))
            end = middle
        else:
            proof.append(_subtree(read, start, middle))
            start = middle
    if start > 0:
        proof.append(_subtree(read, start, end))
    return tuple(reversed(proof))


def verify_inclusion(leaf: Hash32, index: int, size: int, proof: Sequence[Hash32], root: Hash32) -> None:
    """Check a proof of `prove_inclusion` (RFC 9162, 2.1.3.2).

    Raises:
        AuditError: `proof_invalid`.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise _refused(f"no leaf {index} in a tree of {size}")
    _, found = _climb(index, size - 1, leaf, proof)
    _check_root(found, root)


def verify_consistency(old: int, old_root: Hash32, size: int, root: Hash32, proof: Sequence[Hash32]) -> None:
    """Check a proof of `prove_consistency` (RFC 9162, 2.1.4.2).

    Raises:
        AuditError: `proof_invalid`.
    """
    if not 0 < old <= size <= SIZE_MAX:
        raise _refused(f"a tree of {size} leaves has no prefix of {old}")
    if old == size:
        if proof:
            raise _refused("the proof is too long")
        _check_root(old_root, root)
        return
    # A prefix that is one complete subtree is itself the first node of the path.
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not path:
        raise _refused("the proof is too short")
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    found_old, found = _climb(node, last, path[0], path[1:])
    _check_root(found_old, old_root)
    _check_root(found, root)


def _climb(node: int, last: int, start: Hash32, siblings: Sequence[Hash32]) -> tuple[Hash32, Hash32]:
    """From `start`, number `node` of its level which ends with number `last`, up to the root.

    Returns the root of what is not to the right of the start, and the root of the whole tree.
    """
    before = whole = start
    for sibling in siblings:
        if last == 0:
            raise _refused("the proof is too long")
        if node & 1 or node == last:
            before, whole = node_hash(sibling, before), node_hash(sibling, whole)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            whole = node_hash(whole, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise _refused("the proof is too short")
    return before, whole


def _split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtree(read: NodeReader, start: int, end: int) -> Hash32:
    """The root over the leaves [start, end), where start is where the whole tree was split."""
    size = end - start
    if size.bit_count() == 1:
        level = size.bit_length() - 1
        return read(level, start >> level)
    middle = start + _split(size)
    return node_hash(_subtree(read, start, middle), _subtree(read, middle, end))


def _check_root(found: bytes, expected: bytes) -> None:
    if not compare_digest(found, expected):
        raise _refused("the proof leads to another root")


def _refused(detail: str) -> AuditError:
    return AuditError(detail, code="proof_invalid")

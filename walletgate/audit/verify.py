"""Whether a log is what its checkpoints say, and if not, where it first goes wrong.

Checked for every entry: its row is at its place; its stored leaf hash is the hash of its stored bytes; its bytes
name its place (`"seq":N,`) and this log (`"log":"…",`), which canonical entries do once. Checked for the whole:
the root over the recomputed leaf hashes is the one in the log's head and, at each checkpoint's size, the
checkpoint's. Entries are not parsed: whether they are canonical JSON was checked before they were written, and the
roots fix every byte since (`parse_entry` reads one). Stored hashes are never trusted, because a log whose
verifier does not hash the entries again can be edited underneath its hashes.

A bad row is named by its index. If someone changed an entry *and* its leaf hash, every row is consistent with
itself and only the roots differ: then the first bad entry lies between the last checkpoint that fits and
the first that does not, `index` is the start of that range and `end` its end. So the more checkpoints are
kept outside the gate, the narrower the answer; without any, an attacker who rewrites the head as well is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from walletgate.audit.merkle import EMPTY, EMPTY_ROOT, Frontier, extend, frontier_root, leaf_hashes
from walletgate.audit.note import Checkpoint
from walletgate.errors import AuditError, Detail
from walletgate.types import Hash32

Row = tuple[int, bytes, bytes]
"""(seq, leaf hash, entry), as stored."""

_CHUNK: Final = 1024


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was proved: `size` entries under `root`, and how many of them a kept checkpoint covers."""

    size: int
    root: Hash32
    checkpoints: int
    covered: int


def verify_entries(
    rows: Iterable[Row], *, origin: str, head: tuple[int, Hash32], checkpoints: Iterable[Checkpoint] = ()
) -> VerifyReport:
    """Check a whole log, read in order of `seq`, against its head and against checkpoints (opened, so signed).

    Raises:
        AuditError: with `index` (first bad entry), `expected` and `found` in `data`; code `entry_changed`,
            `entry_missing`, `entry_moved`, `entry_foreign`, `entry_unexpected` (beyond the head), `log_truncated`,
            `log_tampered` (roots differ), `checkpoint_foreign`, `checkpoint_conflict` (two that exclude each other).
    """
    size, root = head
    kept = _in_order(checkpoints, origin)
    frontier, fitting = EMPTY, 0
    pending = list(kept)
    for chunk in _chunks(rows):
        leaves = _check_rows(chunk, frontier.size, size, origin)
        start = frontier
        while pending and pending[0].size <= start.size + len(leaves):
            checkpoint = pending.pop(0)
            at = extend(start, leaves[: checkpoint.size - start.size])
            _check_root(at, checkpoint.root, fitting)
            fitting = checkpoint.size
        frontier = extend(start, leaves)
    _check_end(frontier.size, size, kept)
    _check_root(frontier, root, fitting)
    return VerifyReport(size=size, root=root, checkpoints=len(kept), covered=fitting)


def _check_rows(rows: Sequence[Row], start: int, size: int, origin: str) -> list[Hash32]:
    """The recomputed leaf hashes of rows that are right; otherwise says which row is not."""
    seqs, stored, entries = zip(*rows, strict=True)
    leaves = leaf_hashes(entries)
    log = b'"log":"%s",' % origin.encode()
    if (
        start + len(rows) <= size
        and list(seqs) == list(range(start, start + len(rows)))
        and list(stored) == leaves
        and b"\n".join(entries).count(log) == len(rows)
        and all(map(_names_place, entries, seqs))
    ):
        return leaves
    for index, (row, leaf) in enumerate(zip(rows, leaves, strict=True), start):
        _check_row(row, leaf, index, size, log)
    # The count above found the origin as often as there are rows, but not once in each.
    raise AuditError("the entries do not name this log once each", data={"index": start, "end": start + len(rows)})


def _check_row(row: Row, leaf: Hash32, index: int, size: int, log: bytes) -> None:
    seq, stored, entry = row
    if seq != index:
        raise _bad("entry_missing", "the row of entry {index} is missing", index, index, seq)
    if index >= size:
        raise _bad("entry_unexpected", "entry {index} is beyond the log's head", index, size, index + 1)
    if stored != leaf:
        raise _bad("entry_changed", "entry {index} is not what was hashed", index, stored.hex(), leaf.hex())
    if not _names_place(entry, index):
        found = _number_at(entry, entry.rfind(b'"seq":') + 6)
        raise _bad("entry_moved", "entry {index} belongs elsewhere", index, index, found)
    if log not in entry:
        raise _bad("entry_foreign", "entry {index} is of another log", index, log.decode()[7:-2], None)


def _names_place(entry: bytes, index: int) -> bool:
    # From the right, because few keys sort after seq.
    return entry.startswith(b'"seq":%d,' % index, entry.rfind(b'"seq":'))


def _number_at(entry: bytes, start: int) -> int | None:
    digits = entry[start : start + 17].partition(b",")[0]
    return int(digits) if digits.isdigit() else None


def _check_end(found: int, size: int, kept: Sequence[Checkpoint]) -> None:
    expected = max([size, *(checkpoint.size for checkpoint in kept)])
    if found < expected:
        raise _bad("log_truncated", "the log ends before entry {index}", found, expected, found)


def _check_root(at: Frontier, expected: Hash32, fitting: int) -> None:
    found = frontier_root(at)
    if found == expected:
        return
    raise AuditError(
        f"an entry from {fitting} up to {at.size - 1} was changed together with its hash",
        code="log_tampered",
        data={"index": fitting, "end": at.size, "expected": expected.hex(), "found": found.hex()},
    )


def _in_order(checkpoints: Iterable[Checkpoint], origin: str) -> list[Checkpoint]:
    by_size: dict[int, Checkpoint] = {0: Checkpoint(origin, 0, EMPTY_ROOT)}
    for checkpoint in checkpoints:
        if checkpoint.origin != origin:
            raise AuditError(
                "a checkpoint is of another log",
                code="checkpoint_foreign",
                data={"expected": origin, "found": checkpoint.origin},
            )
        first = by_size.setdefault(checkpoint.size, checkpoint)
        if first.root != checkpoint.root:
            raise AuditError(
                f"two checkpoints of size {checkpoint.size} have different roots",
                code="checkpoint_conflict",
                data={"index": checkpoint.size, "expected": first.root.hex(), "found": checkpoint.root.hex()},
            )
    return [by_size[size] for size in sorted(by_size) if size]


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while chunk := list(islice(source, _CHUNK)):
        yield chunk


def _bad(code: str, detail: str, index: int, expected: str | int, found: str | int | None) -> AuditError:
    data: Detail = {"index": index, "expected": expected, "found": found}
    return AuditError(detail.format(index=index), code=code, data=data)

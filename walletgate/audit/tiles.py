"""The log as C2SP tlog-tiles: static files from which any tool can compute any proof.

    checkpoint              the signed note
    tile/<L>/<N>[.p/<W>]    256 hashes (W in a partial tile) of level L: each the root of 256^L leaves
    tile/entries/<N>[.p/<W>] the entries of level-0 tile N, each as a big-endian uint16 length and its bytes

N is written in groups of three digits, all but the last with an x: tile 1234067 is `x001/x234/067`. Full tiles never
change; partial ones only at the right edge, and a checkpoint is laid down after every tile it needs.

`tile_files` makes them from the log's rows, in one pass and with one open tile a level. It hashes every entry again,
and demands that what was exported before is a prefix of what is exported now: a reader must never be shown two
histories, least of all by us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from walletgate.audit.merkle import EMPTY, Frontier, extend, frontier_root, leaf_hashes, root_of
from walletgate.audit.note import Checkpoint
from walletgate.audit.verify import Row
from walletgate.errors import AuditError
from walletgate.types import Hash32

WIDTH: Final = 256
ENTRY_BYTES_MAX: Final = 65_535


@dataclass(slots=True)
class Exported:
    """What a run of `tile_files` came to: the frontier over all rows."""

    frontier: Frontier = field(default=EMPTY)


def tile_path(level: int | None, number: int, width: int = WIDTH) -> str:
    """Where a tile is; `level` None is the entries. `width` below 256 is a partial tile."""
    digits = f"{number:03d}"
    while len(digits) % 3:
        digits = "0" + digits
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    place = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    part = "" if width == WIDTH else f".p/{width}"
    return f"tile/{'entries' if level is None else level}/{place}{part}"


def tile_files(
    rows: Iterable[Row], exported: Exported, *, before: Checkpoint | None, entries: bool = True
) -> Iterator[tuple[str, bytes]]:
    """The files (path, content) that are new since the checkpoint `before`; `exported` is filled in.

    Raises:
        AuditError: `export_inconsistent` if the log does not begin with what `before` says; `entry_changed`,
            `entry_missing` with `index`; `entry_too_large`.
    """
    levels: list[list[Hash32]] = [[]]
    counts = [0]
    done = before.size if before is not None else 0
    for chunk in _chunks(rows):
        start = exported.frontier
        leaves = _leaves(chunk, start.size)
        if before is not None and start.size < before.size <= start.size + len(chunk):
            _check(before, frontier_root(extend(start, leaves[: before.size - start.size])))
        exported.frontier = extend(start, leaves)
        if entries and exported.frontier.size > done:
            number = start.size // WIDTH
            yield tile_path(None, number, len(chunk)), _bundle(chunk)
        levels[0] = leaves
        yield from _full(levels, counts, done)
    if before is not None and exported.frontier.size < before.size:
        raise _inconsistent(before, f"the log has {exported.frontier.size} entries")
    for level, hashes in enumerate(levels):
        if hashes and len(hashes) < WIDTH and (exported.frontier.size > done or done == 0):
            yield tile_path(level, counts[level], len(hashes)), b"".join(hashes)


def read_rows(read: Callable[[str], bytes], size: int) -> Iterator[Row]:
    """The rows of an exported log: entries from their bundles, leaf hashes from the level-0 tiles.

    Raises:
        AuditError: `tile_malformed`.
    """
    for number in range(-(-size // WIDTH)):
        width = min(WIDTH, size - number * WIDTH)
        hashes = read(tile_path(0, number, width))
        bundle = read(tile_path(None, number, width))
        if len(hashes) != 32 * width:
            raise AuditError(f"{tile_path(0, number, width)} has the wrong size", code="tile_malformed")
        at = 0
        for place in range(width):
            length = int.from_bytes(bundle[at : at + 2], "big")
            entry = bundle[at + 2 : at + 2 + length]
            if len(entry) != length or at + 2 > len(bundle):
                raise AuditError(f"{tile_path(None, number, width)} is cut off", code="tile_malformed")
            at += 2 + length
            yield number * WIDTH + place, hashes[32 * place : 32 * place + 32], entry
        if at != len(bundle):
            raise AuditError(f"{tile_path(None, number, width)} has more than its entries", code="tile_malformed")


def check_upper_tiles(read: Callable[[str], bytes], size: int) -> None:
    """Checks every tile above level 0 against the tiles below it.

    Raises:
        AuditError: `tile_malformed`, naming the tile.
    """
    level, below = 1, size
    while below >= WIDTH:
        count = below // WIDTH
        for number in range(-(-count // WIDTH)):
            width = min(WIDTH, count - number * WIDTH)
            found = read(tile_path(level, number, width))
            expected = b"".join(
                root_of(_split(read(tile_path(level - 1, number * WIDTH + place)))) for place in range(width)
            )
            if found != expected:
                raise AuditError(f"{tile_path(level, number, width)} is not over its tiles", code="tile_malformed")
        level, below = level + 1, count


def _split(data: bytes) -> list[Hash32]:
    return [Hash32(data[at : at + 32]) for at in range(0, len(data), 32)]


def _full(levels: list[list[Hash32]], counts: list[int], done: int) -> Iterator[tuple[str, bytes]]:
    """The tiles that are full now, level by level; each becomes one hash of the level above."""
    level = 0
    while len(levels[level]) == WIDTH:
        if (counts[level] + 1) * WIDTH ** (level + 1) > done:
            yield tile_path(level, counts[level]), b"".join(levels[level])
        counts[level] += 1
        if level + 1 == len(levels):
            levels.append([])
            counts.append(0)
        levels[level + 1].append(root_of(levels[level]))
        levels[level] = []
        level += 1


def _leaves(chunk: list[Row], start: int) -> list[Hash32]:
    leaves = leaf_hashes([entry for _, _, entry in chunk])
    for index, ((seq, stored, _), leaf) in enumerate(zip(chunk, leaves, strict=True), start):
        if seq != index:
            raise AuditError(f"the row of entry {index} is missing", code="entry_missing", data={"index": index})
        if stored != leaf:
            raise AuditError(f"entry {index} is not what was hashed", code="entry_changed", data={"index": index})
    return leaves


def _bundle(chunk: list[Row]) -> bytes:
    parts = bytearray()
    for seq, _, entry in chunk:
        if len(entry) > ENTRY_BYTES_MAX:
            raise AuditError(f"entry {seq} does not fit the format", code="entry_too_large", data={"index": seq})
        parts += len(entry).to_bytes(2, "big") + entry
    return bytes(parts)


def _check(before: Checkpoint, root: Hash32) -> None:
    if root != before.root:
        raise _inconsistent(before, "its beginning has another root")


def _inconsistent(before: Checkpoint, why: str) -> AuditError:
    return AuditError(
        f"the log does not begin with the {before.size} entries that were exported: {why}",
        code="export_inconsistent",
        data={"index": 0, "end": before.size},
    )


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    source = iter(rows)
    while chunk := list(islice(source, WIDTH)):
        yield chunk

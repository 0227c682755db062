"""The exported log, read by a reader written from the specification alone (C2SP tlog-tiles, RFC 6962)."""

import base64
import hashlib

import pytest

from walletgate.audit import Checkpoint, Kind, encode_entry, leaf_hash, root_of, verify_consistency, verify_entries
from walletgate.audit.tiles import Exported, check_upper_tiles, read_rows, tile_files, tile_path
from walletgate.errors import AuditError

ORIGIN = "gate.example/audit/1"
ENTRIES = [
    encode_entry({"v": 1, "log": ORIGIN, "seq": n, "ts_ms": n, "kind": Kind.FROZEN, "scope": "x" * (n % 7)})
    for n in range(70_000)
]
ROWS = [(n, leaf_hash(entry), entry) for n, entry in enumerate(ENTRIES)]
LEAVES = [leaf for _, leaf, _ in ROWS]


def at(size):
    return Checkpoint(ORIGIN, size, root_of(LEAVES[:size]))


def export(size, files=None, before=None, rows=ROWS, **options):
    made = Exported()
    new = list(tile_files(iter(rows[:size]), made, before=before, **options))
    return {**(files or {}), **dict(new)}, made, new


class Reader:
    """Follows the specification: finds any hash of the tree in the tiles. Shares nothing with our code."""

    def __init__(self, files, size):
        self.files = files
        self.size = size

    def path(self, kind, number, width):
        text = str(number)
        text = text.zfill(-(-len(text) // 3) * 3)
        parts = [text[i : i + 3] for i in range(0, len(text), 3)]
        name = "/".join(["x" + part for part in parts[:-1]] + parts[-1:])
        return f"tile/{kind}/{name}" + ("" if width == 256 else f".p/{width}")

    def width(self, level, number):
        return min(256, self.size // 256**level - number * 256)

    def complete(self, height, index):
        """The root of the complete subtree of 2^height leaves, from the tile level below it."""
        level, rest = divmod(height, 8)
        nodes = []
        for place in range(index << rest, (index + 1) << rest):
            number, inside = divmod(place, 256)
            tile = self.files[self.path(level, number, self.width(level, number))]
            nodes.append(tile[32 * inside : 32 * inside + 32])
        while len(nodes) > 1:
            nodes = [hashlib.sha256(b"\x01" + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
        return nodes[0]

    def subtree(self, start, end):
        """MTH(D[start:end]) of RFC 6962, 2.1."""
        count = end - start
        if count & (count - 1) == 0:
            height = count.bit_length() - 1
            return self.complete(height, start >> height)
        half = 1 << ((count - 1).bit_length() - 1)
        return hashlib.sha256(b"\x01" + self.subtree(start, start + half) + self.subtree(start + half, end)).digest()

    def inclusion(self, index, start, end):
        """PATH(m, D[n]) of RFC 6962, 2.1.1, and the root it leads to."""
        if end - start == 1:
            return hashlib.sha256(b"\x00" + self.entry(index)).digest()
        half = 1 << ((end - start - 1).bit_length() - 1)
        if index < start + half:
            left, right = self.inclusion(index, start, start + half), self.subtree(start + half, end)
        else:
            left, right = self.subtree(start, start + half), self.inclusion(index, start + half, end)
        return hashlib.sha256(b"\x01" + left + right).digest()

    def consistency(self, old, start, end, whole):
        """SUBPROOF of RFC 6962, 2.1.2."""
        if old == end - start:
            return [] if whole else [self.subtree(start, end)]
        half = 1 << ((end - start - 1).bit_length() - 1)
        if old <= half:
            return [*self.consistency(old, start, start + half, whole), self.subtree(start + half, end)]
        return [*self.consistency(old - half, start + half, end, False), self.subtree(start, start + half)]

    def entry(self, index):
        number, inside = divmod(index, 256)
        data = self.files[self.path("entries", number, self.width(0, number))]
        for _ in range(inside):
            data = data[2 + int.from_bytes(data[:2], "big") :]
        return data[2 : 2 + int.from_bytes(data[:2], "big")]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537, 70_000])
def test_a_reader_of_the_specification_finds_every_entry_under_the_root(size):
    files, made, _ = export(size)
    reader = Reader(files, size)
    root = at(size).root
    assert made.frontier.size == size
    assert reader.subtree(0, size) == root
    for index in {index for index in (0, 1, size // 2, 255, 256, size - 1) if index < size}:
        assert reader.entry(index) == ENTRIES[index]
        assert reader.inclusion(index, 0, size) == root


@pytest.mark.parametrize("sizes", [(1, 2), (255, 256), (256, 257), (100, 70_000), (65_536, 65_537), (300, 300)])
def test_exporting_again_adds_and_stays_consistent(sizes):
    old, new = sizes
    files, _, _ = export(old)
    both, _, written = export(new, files, before=at(old))
    reader = Reader(both, new)
    assert reader.subtree(0, new) == at(new).root
    proof = reader.consistency(old, 0, new, True)
    verify_consistency(old, at(old).root, new, at(new).root, proof)
    full = [path for path in files if ".p/" not in path]
    assert not set(full) & {path for path, _ in written}, "full tiles are written once"
    assert {k: v for k, v in both.items() if k in full} == {k: files[k] for k in full}
    if old == new:
        assert written == []


def test_the_names_of_tiles_are_the_specifications():
    assert tile_path(0, 0) == "tile/0/000"
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path(1, 0, 1) == "tile/1/000.p/1"
    assert tile_path(None, 1000, 17) == "tile/entries/x001/000.p/17"


def refusal(work):
    with pytest.raises(AuditError) as caught:
        work()
    return caught.value


def test_a_log_that_does_not_begin_with_what_was_exported_is_not_exported():
    other = Checkpoint(ORIGIN, 300, root_of(reversed(LEAVES[:300])))
    assert refusal(lambda: export(1000, before=other)).code == "export_inconsistent"
    assert refusal(lambda: export(200, before=at(300))).code == "export_inconsistent"
    changed = [*ROWS[:5], (5, leaf_hash(b"x"), b"x"), *ROWS[6:400]]
    assert refusal(lambda: export(400, before=at(300), rows=changed)).code == "export_inconsistent"


def test_a_damaged_log_is_not_exported():
    edited = [*ROWS[:5], (5, LEAVES[5], b"x"), *ROWS[6:400]]
    error = refusal(lambda: export(400, rows=edited))
    assert (error.code, error.data["index"]) == ("entry_changed", 5)
    error = refusal(lambda: export(400, rows=ROWS[:5] + ROWS[6:400]))
    assert (error.code, error.data["index"]) == ("entry_missing", 5)


def test_an_export_of_hashes_holds_no_entry():
    files, _, _ = export(700, entries=False)
    assert not any("entries" in path for path in files)
    assert Reader(files, 700).subtree(0, 700) == at(700).root


def test_every_byte_of_an_export_counts():
    files, _, _ = export(600)
    for path in files:
        for place in {0, len(files[path]) // 2, len(files[path]) - 1}:
            bad = {**files, path: files[path][:place] + bytes([files[path][place] ^ 1]) + files[path][place + 1 :]}

            def check(bad=bad):
                check_upper_tiles(bad.__getitem__, 600)
                verify_entries(read_rows(bad.__getitem__, 600), origin=ORIGIN, head=(600, at(600).root))

            assert refusal(check).code in {
                "tile_malformed",
                "entry_changed",
                "entry_moved",
                "entry_foreign",
                "log_tampered",
            }
        cut = {**files, path: files[path][:-1]}
        assert (
            refusal(
                lambda cut=cut: (check_upper_tiles(cut.__getitem__, 600), list(read_rows(cut.__getitem__, 600)))
            ).code
            == "tile_malformed"
        )


def test_a_checkpoint_of_the_specifications_own_example_is_written_the_same_way():
    text = str(
        Checkpoint(
            "example.com/behind-the-sofa", 20852163, base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
        )
    )
    assert text == "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

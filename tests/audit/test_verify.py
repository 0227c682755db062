import pytest

from walletgate.audit import Checkpoint, Kind, encode_entry, leaf_hash, root_of, verify_entries
from walletgate.errors import AuditError

ORIGIN = "gate.example/audit/1"
SIZE_MAX = 64


def make_entry(seq, log=ORIGIN, memo="as it was"):
    return encode_entry(
        {"v": 1, "log": log, "seq": seq, "ts_ms": 1_000 + seq, "kind": Kind.REQUEST_DENIED, "memo": memo, "zone": "z"}
    )


ENTRIES = [make_entry(seq) for seq in range(SIZE_MAX + 1)]
ROWS = [(seq, leaf_hash(entry), entry) for seq, entry in enumerate(ENTRIES)]
ROOTS = [root_of([leaf for _, leaf, _ in ROWS[:size]]) for size in range(SIZE_MAX + 2)]


def checkpoint(size):
    return Checkpoint(ORIGIN, size, ROOTS[size])


def verify(rows, size, checkpoints=()):
    return verify_entries(iter(rows), origin=ORIGIN, head=(size, ROOTS[size]), checkpoints=checkpoints)


def refusal(rows, size, checkpoints=()):
    with pytest.raises(AuditError) as caught:
        verify(rows, size, checkpoints)
    return caught.value


def changed(entry):
    return entry.replace(b"as it was", b"as it is.")


SIZES = range(1, SIZE_MAX + 1)


def test_whole_log_of_every_size_verifies_against_every_checkpoint():
    for size in range(SIZE_MAX + 1):
        report = verify(ROWS[:size], size, [checkpoint(kept) for kept in range(size + 1)])
        assert (report.size, report.root, report.covered, report.checkpoints) == (size, ROOTS[size], size, size)


def test_report_says_how_much_no_checkpoint_covers():
    report = verify(ROWS[:10], 10, [checkpoint(3), checkpoint(7), checkpoint(7)])
    assert (report.covered, report.checkpoints) == (7, 2)


def test_changed_byte_names_the_entry():
    for size in SIZES:
        for at in range(size):
            rows = ROWS[:size]
            rows[at] = (at, ROWS[at][1], changed(ENTRIES[at]))
            error = refusal(rows, size)
            assert (error.code, error.data["index"]) == ("entry_changed", at)
            assert error.data["expected"] == ROWS[at][1].hex()
            assert error.data["found"] == leaf_hash(changed(ENTRIES[at])).hex()


def test_every_byte_of_an_entry_counts():
    for at in range(len(ENTRIES[2])):
        entry = bytearray(ENTRIES[2])
        entry[at] ^= 1
        rows = [*ROWS[:2], (2, ROWS[2][1], bytes(entry)), *ROWS[3:5]]
        error = refusal(rows, 5)
        assert (error.code, error.data["index"]) == ("entry_changed", 2)


def test_dropped_row_names_the_entry():
    for size in SIZES:
        for at in range(size - 1):
            error = refusal(ROWS[:at] + ROWS[at + 1 : size], size)
            assert (error.code, error.data["index"]) == ("entry_missing", at)
            assert (error.data["expected"], error.data["found"]) == (at, at + 1)


def test_dropped_row_with_the_rest_renumbered_names_the_entry():
    for size in SIZES:
        for at in range(size - 1):
            rows = ROWS[:at] + [(seq - 1, leaf, entry) for seq, leaf, entry in ROWS[at + 1 : size]]
            error = refusal(rows, size)
            assert (error.code, error.data["index"]) == ("entry_moved", at)
            assert (error.data["expected"], error.data["found"]) == (at, at + 1)


def test_swapped_rows_name_the_first_entry():
    for size in SIZES:
        for at in range(size - 1):
            for other in {at + 1, (at + size) // 2, size - 1} - {at}:
                rows = ROWS[:size]
                rows[at], rows[other] = (at, *ROWS[other][1:]), (other, *ROWS[at][1:])
                error = refusal(rows, size)
                assert (error.code, error.data["index"]) == ("entry_moved", at)
                assert (error.data["expected"], error.data["found"]) == (at, other)


def test_swapped_entries_without_their_hashes_name_the_first_entry():
    for at in range(SIZE_MAX - 1):
        rows = ROWS[:SIZE_MAX]
        rows[at], rows[at + 1] = (at, ROWS[at][1], ENTRIES[at + 1]), (at + 1, ROWS[at + 1][1], ENTRIES[at])
        error = refusal(rows, SIZE_MAX)
        assert (error.code, error.data["index"]) == ("entry_changed", at)


def test_appended_row_names_the_entry():
    for size in range(SIZE_MAX + 1):
        error = refusal(ROWS[: size + 1], size)
        assert (error.code, error.data["index"]) == ("entry_unexpected", size)
        assert (error.data["expected"], error.data["found"]) == (size, size + 1)


def test_truncated_log_names_the_first_missing_entry():
    for size in SIZES:
        for end in range(size):
            error = refusal(ROWS[:end], size)
            assert (error.code, error.data["index"]) == ("log_truncated", end)
            assert (error.data["expected"], error.data["found"]) == (size, end)


def test_log_truncated_together_with_its_head_is_found_by_a_kept_checkpoint():
    for size in SIZES:
        for end in range(size):
            error = refusal(ROWS[:end], end, [checkpoint(size)])
            assert (error.code, error.data["index"]) == ("log_truncated", end)
            assert (error.data["expected"], error.data["found"]) == (size, end)


def test_rewritten_leaf_hash_names_the_entry():
    for size in SIZES:
        for at in range(size):
            rows = ROWS[:size]
            rows[at] = (at, leaf_hash(b"another"), ENTRIES[at])
            error = refusal(rows, size)
            assert (error.code, error.data["index"]) == ("entry_changed", at)
            assert error.data["expected"] == leaf_hash(b"another").hex()


def test_entry_rewritten_with_its_hash_is_found_by_the_root():
    for size in SIZES:
        for at in range(size):
            rows = ROWS[:size]
            rows[at] = (at, leaf_hash(changed(ENTRIES[at])), changed(ENTRIES[at]))
            error = refusal(rows, size)
            assert error.code == "log_tampered"
            assert error.data["index"] <= at < error.data["end"]
            assert error.data["expected"] == ROOTS[size].hex()


def test_entry_rewritten_with_its_hash_is_named_when_every_size_has_a_checkpoint():
    kept = [checkpoint(size) for size in SIZES]
    for at in range(SIZE_MAX):
        rows = ROWS[:SIZE_MAX]
        rows[at] = (at, leaf_hash(changed(ENTRIES[at])), changed(ENTRIES[at]))
        error = refusal(rows, SIZE_MAX, kept)
        assert (error.code, error.data["index"], error.data["end"]) == ("log_tampered", at, at + 1)


def test_log_rewritten_with_its_head_is_found_by_a_kept_checkpoint_only():
    rows = ROWS[:8]
    rows[5] = (5, leaf_hash(changed(ENTRIES[5])), changed(ENTRIES[5]))
    head = (8, root_of([leaf for _, leaf, _ in rows]))
    assert verify_entries(rows, origin=ORIGIN, head=head, checkpoints=[checkpoint(4)]).covered == 4
    with pytest.raises(AuditError) as caught:
        verify_entries(rows, origin=ORIGIN, head=head, checkpoints=[checkpoint(4), checkpoint(7)])
    assert (caught.value.code, caught.value.data["index"], caught.value.data["end"]) == ("log_tampered", 4, 7)


def test_entry_of_another_log_is_named():
    foreign = make_entry(3, log="other.example/audit/1")
    rows = [*ROWS[:3], (3, leaf_hash(foreign), foreign), *ROWS[4:6]]
    error = refusal(rows, 6)
    assert (error.code, error.data["index"], error.data["expected"]) == ("entry_foreign", 3, ORIGIN)


def test_entry_naming_its_log_twice_is_refused():
    twice = ENTRIES[2].replace(b'"memo"', b'"log":"gate.example/audit/1","memo"')
    error = refusal([*ROWS[:2], (2, leaf_hash(twice), twice)], 3)
    assert (error.code, error.data["index"], error.data["end"]) == ("log_tampered", 0, 3)


def test_entry_without_a_place_is_named():
    for broken in (b"", b"{}", b'{"seq":', b'{"seq":x,'):
        rows = [*ROWS[:1], (1, leaf_hash(broken), broken)]
        error = refusal(rows, 2)
        assert (error.code, error.data["index"], error.data["found"]) == ("entry_moved", 1, None)


def test_checkpoint_of_another_log_or_two_that_differ_are_refused():
    error = refusal(ROWS[:4], 4, [Checkpoint("other.example", 4, ROOTS[4])])
    assert (error.code, error.data["found"]) == ("checkpoint_foreign", "other.example")
    error = refusal(ROWS[:4], 4, [checkpoint(4), Checkpoint(ORIGIN, 4, ROOTS[3])])
    assert (error.code, error.data["index"]) == ("checkpoint_conflict", 4)
    error = refusal(ROWS[:4], 4, [Checkpoint(ORIGIN, 0, ROOTS[3])])
    assert (error.code, error.data["index"]) == ("checkpoint_conflict", 0)


def test_log_longer_than_a_chunk_verifies_and_names_the_entry():
    rows = [(seq, leaf_hash(entry), entry) for seq, entry in enumerate(map(make_entry, range(2_500)))]
    leaves = [leaf for _, leaf, _ in rows]
    head = (2_500, root_of(leaves))
    kept = [Checkpoint(ORIGIN, size, root_of(leaves[:size])) for size in (1, 1_023, 1_024, 1_025, 2_048, 2_499, 2_500)]
    assert verify_entries(rows, origin=ORIGIN, head=head, checkpoints=kept).covered == 2_500
    rows[2_100] = (2_100, rows[2_100][1], changed(rows[2_100][2]))
    with pytest.raises(AuditError) as caught:
        verify_entries(rows, origin=ORIGIN, head=head, checkpoints=kept)
    assert (caught.value.code, caught.value.data["index"]) == ("entry_changed", 2_100)

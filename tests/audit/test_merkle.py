import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.audit import (
    EMPTY,
    EMPTY_ROOT,
    Frontier,
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
from walletgate.errors import AuditError

SIZE_MAX = 64
LEAVES = [leaf_hash(b"entry %d" % index) for index in range(SIZE_MAX)]
READ = {size: nodes_of(LEAVES[:size]) for size in range(1, SIZE_MAX + 1)}

# The eight leaves and roots of the Certificate Transparency reference tests (RFC 6962).
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def plain_root(leaves):
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + plain_root(leaves[:k]) + plain_root(leaves[k:])).digest()


ROOTS = [plain_root(LEAVES[:size]) for size in range(SIZE_MAX + 1)]


def flips(proof):
    for at, node in enumerate(proof):
        bit = (at * 37) % 256
        flipped = (int.from_bytes(node, "big") ^ (1 << bit)).to_bytes(32, "big")
        yield (*proof[:at], flipped, *proof[at + 1 :])


def is_refused(call, *args):
    with pytest.raises(AuditError) as caught:
        call(*args)
    return caught.value.code == "proof_invalid"


def test_roots_equal_the_reference_vectors():
    leaves = [leaf_hash(bytes.fromhex(leaf)) for leaf in CT_LEAVES]
    assert [root_of(leaves[: size + 1]).hex() for size in range(8)] == CT_ROOTS
    assert root_of([]).hex() == EMPTY_ROOT.hex() == hashlib.sha256(b"").hexdigest()


def test_frontier_has_the_root_of_the_definition_at_every_size():
    frontier = EMPTY
    for size in range(SIZE_MAX + 1):
        assert frontier_root(frontier) == root_of(LEAVES[:size]) == ROOTS[size]
        assert unpack_frontier(size, pack_frontier(frontier)) == frontier
        if size < SIZE_MAX:
            frontier = append(frontier, LEAVES[size])


def test_extend_equals_append_for_every_pair_of_sizes():
    for start in range(SIZE_MAX + 1):
        left = extend(EMPTY, LEAVES[:start])
        for end in range(start, SIZE_MAX + 1):
            assert frontier_root(extend(left, LEAVES[start:end])) == ROOTS[end]


def test_every_leaf_of_every_tree_is_proved_and_any_flipped_bit_refused():
    for size in range(1, SIZE_MAX + 1):
        for index in range(size):
            proof = prove_inclusion(READ[size], index, size)
            verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
            for wrong in flips(proof):
                assert is_refused(verify_inclusion, LEAVES[index], index, size, wrong, ROOTS[size])


def test_every_tree_is_proved_to_begin_with_every_earlier_one_and_any_flipped_bit_refused():
    for size in range(1, SIZE_MAX + 1):
        for old in range(1, size + 1):
            proof = prove_consistency(READ[size], old, size)
            verify_consistency(old, ROOTS[old], size, ROOTS[size], proof)
            for wrong in flips(proof):
                assert is_refused(verify_consistency, old, ROOTS[old], size, ROOTS[size], wrong)


def test_proof_of_another_leaf_index_size_or_root_is_refused():
    for size in range(2, 18):
        for index in range(size):
            proof = prove_inclusion(READ[size], index, size)
            other = (index + 1) % size
            assert is_refused(verify_inclusion, LEAVES[other], index, size, proof, ROOTS[size])
            assert is_refused(verify_inclusion, LEAVES[index], other, size, proof, ROOTS[size])
            assert is_refused(verify_inclusion, LEAVES[index], index, size, proof, ROOTS[size - 1])
            assert is_refused(verify_inclusion, LEAVES[index], index, size, (*proof, LEAVES[0]), ROOTS[size])
            assert is_refused(verify_inclusion, LEAVES[index], index, size, proof[:-1], ROOTS[size])


def test_consistency_with_another_root_or_length_is_refused():
    for size in range(2, 18):
        for old in range(1, size):
            proof = prove_consistency(READ[size], old, size)
            assert is_refused(verify_consistency, old, ROOTS[old + 1], size, ROOTS[size], proof)
            assert is_refused(verify_consistency, old, ROOTS[old], size, ROOTS[size - 1], proof)
            assert is_refused(verify_consistency, old, ROOTS[old], size, ROOTS[size], (*proof, LEAVES[0]))
            assert is_refused(verify_consistency, old, ROOTS[old], size, ROOTS[size], proof[:-1])


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0), (0, 2**63)])
def test_inclusion_out_of_range_is_refused(index, size):
    assert is_refused(verify_inclusion, LEAVES[0], index, size, (), ROOTS[1])
    with pytest.raises(AuditError) as caught:
        prove_inclusion(READ[4], index, size)
    assert caught.value.code == "proof_impossible"


@pytest.mark.parametrize(("old", "size"), [(0, 4), (5, 4), (-1, 4), (1, 2**63)])
def test_consistency_out_of_range_is_refused(old, size):
    assert is_refused(verify_consistency, old, ROOTS[1], size, ROOTS[4], ())
    with pytest.raises(AuditError) as caught:
        prove_consistency(READ[4], old, size)
    assert caught.value.code == "proof_impossible"


def test_empty_consistency_proof_between_sizes_is_refused():
    assert is_refused(verify_consistency, 3, ROOTS[3], 5, ROOTS[5], ())
    assert is_refused(verify_consistency, 4, ROOTS[4], 4, ROOTS[4], (ROOTS[1],))
    assert is_refused(verify_consistency, 4, ROOTS[3], 4, ROOTS[4], ())


@pytest.mark.parametrize(
    ("size", "data"), [(1, b""), (3, b"\0" * 32), (2, b"\0" * 64), (1, b"\0" * 31), (-1, b""), (2**63, b"\0" * 32)]
)
def test_frontier_of_another_size_is_refused(size, data):
    with pytest.raises(AuditError) as caught:
        unpack_frontier(size, data)
    assert caught.value.code == "frontier_malformed"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.data())
def test_proofs_hold_in_larger_trees(size, data):
    leaves = [leaf_hash(b"%d" % index) for index in range(size)]
    read, root = nodes_of(leaves), root_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    verify_inclusion(leaves[index], index, size, prove_inclusion(read, index, size), root)
    verify_consistency(index + 1, root_of(leaves[: index + 1]), size, root, prove_consistency(read, index + 1, size))


def test_frontier_of_many_sizes_stays_within_64_hashes():
    assert len(Frontier(2**63 - 1, (EMPTY_ROOT,) * 63).hashes) == 63

"""What fuzzing found worth keeping is read again, without a fuzzer, within a bound of time."""

import time

import pytest

from tests.fuzz_effects import CORPUS, read

FILES = sorted(CORPUS.iterdir())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_kept_input_is_read_to_an_end(file):
    began = time.perf_counter()
    read(file.read_bytes())
    assert time.perf_counter() - began < 2


def test_the_corpus_stays_small():
    assert 0 < len(FILES) <= 50
    assert sum(file.stat().st_size for file in FILES) < 256 * 1024


def test_an_empty_input_is_an_input():
    read(b"")

"""The table of rules: complete, without ambiguity, and found by what the bytes say."""

import re

import pytest

from walletgate.effects import REGISTRY, TYPED_RULES
from walletgate.effects.handlers import nothing
from walletgate.effects.registry import Registry, rule

SELECTORS = re.findall(
    "[0-9a-f]{8}",
    """
a9059cbb 23b872dd 4000aea0 1296ee62 62ad1b83 42966c68 e3ee160e ef55bec6 095ea7b3 39509351 d73dd623 daea85c5 cae9ca51 d505accf
8fcbaf0c 959b8c3f 558a7297 c04a8a10 110496e5 eecea000 87517c45 36c78516 0d58b1db cc53287f 42842e0e b88d4fde f242432a 2eb2c2d6
a22cb465 8b72a2ec bf31196f ac9650d8 5ae401dc 1f0464d1 82ad56cb 174dea71 6a761202 468721a7 d4d9bdcd 8d80ff0a b61d27f6 34fcd5be
47e1da2a e9ae5c53 2c2abd1e 765e827f 3593564c 24856bc3 38ed1739 7ff36ab5 8803dbee 5c11d795 04e45aaf b858183f 5023b4df 472b43f3
e0e189a0 07ed2379 2213bc0b cac88ea9 ec6cb13f c3b35a7e 6fd3504e e9e05c42 5c19a95c 8dd7712f
""",
)
TYPE_HASHES = re.findall(
    "[0-9a-f]{8}", "6e71edae ea2aa0a1 f3841cd1 af1b0d30 939c21a4 fcf35f5a 7c7c6cdb d099cc98 158b0a9e bb8310d4 d5a25ba2"
)


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_that_moves_value_is_known(selector):
    assert selector in {r.function.selector.hex() for r in REGISTRY.rules()}


@pytest.mark.parametrize("prefix", TYPE_HASHES)
def test_every_type_hash_that_moves_value_is_known(prefix):
    assert prefix in {type_hash.hex()[:8] for type_hash in TYPED_RULES}


def test_two_rules_for_one_call_are_refused():
    with pytest.raises(ValueError, match="two rules"):
        Registry([rule("f(uint256)", nothing), rule("f(uint256 named)", nothing)])


def test_a_pinned_rule_comes_first():
    anywhere, pinned = rule("f()", nothing), rule("f()", nothing, at=("0x" + "11" * 20,), plain=True)
    registry = Registry([anywhere, pinned])
    assert registry.find(anywhere.function.selector, b"\x11" * 20) is pinned
    assert registry.find(anywhere.function.selector, b"\x22" * 20) is anywhere
    assert registry.find(b"none", b"\x22" * 20) is None


def test_type_strings_are_canonical():
    """Structs that a type uses follow it in alphabetical order, as the standard demands."""
    for each in TYPED_RULES.values():
        names = [part.split("(")[0] for part in each.encoded_type.split(")") if part][1:]
        assert names == sorted(names), each.encoded_type

"""docs/policy.md is the language: every key that is read is there, has an example, and every example loads."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import walletgate
from walletgate.errors import ConfigError
from walletgate.policy import load
from walletgate.policy.matches import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
FOLDER = Path(walletgate.__file__).parent / "policy"
READERS = {"document", "rules", "names", "prices", "matches", "where", "schedule", "approvals"}
TAKES_A_KEY = {
    "need", "need_text", "text", "flag", "integer", "texts", "moment", "section", "need_table", "table", "tables",
    "raw", "has", "peek", "addresses", "need_addresses", "excluded", "assets", "contracts", "need_contracts", "words",
    "bound", "read_chains", "_minute", "_read_counts", "_read_methods", "_read_value", "_named_only",
}  # fmt: skip
WORDS = {"eq", "ne", "in", "lt", "le", "gt", "ge", "any", "all", "length", "not", "either", "use"}


def read_keys() -> set[str]:
    """Every key that the modules which read policies ask a table for, by the text of their calls."""
    found = set(KINDS) | WORDS | {"asset", "fees", "quote", "count", "each"}
    for name in READERS:
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in TAKES_A_KEY:
                texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                found |= {text for text in texts[:1] if text.isidentifier()}
    return found


def sections() -> Iterator[tuple[str, set[str], list[str]]]:
    """Each section's heading, the keys in its tables, and its examples."""
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| ((?:`[a-z_]+` ?)+)\|", part, re.MULTILINE)
        keys = {key for row in rows for key in re.findall(r"`([a-z_]+)`", row)}
        yield part.splitlines()[0], keys, re.findall(r"```toml\n(.*?)```", part, re.DOTALL)


HEAD = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)[0]
SECTIONS = list(sections())
EXAMPLES = [HEAD, *(block for _, _, blocks in SECTIONS for block in blocks)]


def given(value: object) -> set[str]:
    """Every key in a document, at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(given, value.values()))
    return set().union(*map(given, value)) if isinstance(value, list) else set()


def test_every_key_that_is_read_is_on_the_page() -> None:
    documented = set().union(*(keys for _, keys, _ in SECTIONS))
    assert read_keys() - documented == set()
    assert documented - read_keys() == set()


@pytest.mark.parametrize(("heading", "keys", "blocks"), SECTIONS, ids=[heading for heading, _, _ in SECTIONS])
def test_every_key_has_an_example_in_its_own_section(heading: str, keys: set[str], blocks: list[str]) -> None:
    shown = given(tomllib.loads(HEAD)).union(*(given(tomllib.loads(block)) for block in blocks))
    everywhere = set().union(*(given(tomllib.loads(block)) for block in EXAMPLES))
    assert keys - (everywhere if heading == "The top of the file" else shown) == set(), heading


@pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_loads(block: str) -> None:
    assert load(block if block == HEAD else HEAD + block, source="docs/policy.md").name == "manual"


def test_every_row_says_meaning_and_bounds() -> None:
    for line in PAGE.splitlines():
        if re.match(r"\| `[a-z_]+`", line):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 3, line
            assert all(cells), line


def test_a_key_that_is_not_on_the_page_is_refused() -> None:
    for place in ("", "[[limits]]\n", "[[permit]]\n", "[swap]\n"):
        with pytest.raises(ConfigError):
            load(HEAD.replace("[assets.USDC]", f"{place}undreamt = 1\n[assets.USDC]", 1), source="p")

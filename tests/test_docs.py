"""What the documents say is there, and what is there is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import walletgate
from walletgate.cli import app
from walletgate.policy import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that is not hidden, by its words."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        if not child.hidden:
            yield from commands(child, (*path, name))


def said(text: str) -> set[tuple[str, ...]]:
    """The commands a text names, with `a|b|c` meaning each of them."""
    found = set()
    for words in re.findall(r"walletgate ((?:[a-z-]+(?:[|/][a-z-]+)*)(?: [a-z][a-z-]*(?:\|[a-z][a-z-]*)*)?)", text):
        first, _, rest = words.partition(" ")
        found |= {(first, verb) for verb in rest.split("|")} | {(first,)}
    return found


@pytest.mark.parametrize("words", sorted(commands(typer.main.get_command(app))), ids=" ".join)
def test_every_command_is_in_the_readme(words: tuple[str, ...]) -> None:
    assert words in said(README)


def test_every_command_of_the_readme_exists() -> None:
    known = {words[:n] for words in commands(typer.main.get_command(app)) for n in (1, 2)}
    nouns = {words[0] for words in known if len(words) == 2}
    assert {words for words in said(README) if words[0] in nouns and words not in known} == set()


def test_every_public_name_of_the_agents_side_is_documented() -> None:
    for name in walletgate.__all__:
        assert getattr(walletgate, name).__doc__, name


def test_the_readmes_policy_loads() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 1
    assert load(blocks[0], source="README.md").name == "shopper"


def test_the_documents_name_no_machine() -> None:
    suspicious = re.compile(r"/work/|/tmp/|/root/|/home/[a-z]")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("walletgate/**/*.py"), *ROOT.glob("contracts/src/**/*.sol")):
        assert not suspicious.search(path.read_text()), path
    assert "://" not in (ROOT / "requirements.lock").read_text()
    assert '"resolved"' not in (ROOT / "contracts" / "package-lock.json").read_text()

"""The sample of the adversarial corpus, each case played through a real gate."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.player import Player

CASES = [json.loads(line) for line in Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
UNREAD = {"noncanonical_abi", "too_deep", "unknown_function", "key_derivation"}
"""Refused before it was read to the end: the effects inside are not known, which is why it is refused."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_case_gets_a_verdict_that_is_no_error(tmp_path: Path, case: dict[str, Any]) -> None:
    verdict = asyncio.run(Player(case, tmp_path).play())
    assert verdict.verdict in case["accept"], (verdict, case["title"])
    shown = (case.get("assert") or {}).get("approver_view_excludes", [])
    assert not [text for text in shown if text in verdict.shown]
    if verdict.effects and not UNREAD & set(verdict.reasons):
        assert {_key(effect) for effect in case["effects"]} <= {_key(effect) for effect in verdict.effects}


def _key(effect: dict[str, Any]) -> str:
    """What both sides say of an effect in the same words."""
    said = {
        k: str(v) for k, v in effect.items() if k in ("kind", "token", "amount", "to", "function", "min_amount", "id")
    }
    return json.dumps(said, sort_keys=True)

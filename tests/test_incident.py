"""The played incident ends as it must: stopped by a limit and a freeze, told by the log, and no edit goes unnoticed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

PLAY = Path(__file__).parent.parent / "examples" / "incident" / "play.py"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    spec = importlib.util.spec_from_file_location("incident_play", PLAY)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["incident_play"] = module
    spec.loader.exec_module(module)
    return module, module.play(tmp_path_factory.mktemp("incident"))


def test_the_limit_stops_the_drain_and_the_freeze_the_rest(played: tuple[Any, Any]) -> None:
    module, incident = played
    assert len(incident.drained) + len(incident.refused) == module.CALLS * len(module.INJECTED)
    assert 3 < len(incident.drained) < 10
    assert 0 < incident.paid <= len(incident.drained) * module.UNIT
    assert all("in any 24 hours" in text for text in incident.refused.values())
    frozen = [call for call, text in incident.refused.items() if "frozen" in text]
    assert len(frozen) == module.CALLS and all(call.startswith("call_19") for call in frozen)


def test_all_three_ways_were_tried(played: tuple[Any, Any]) -> None:
    _, incident = played
    for surface in ("over rpc", "over sdk"):
        assert surface in incident.story
    rows = [json.loads(line) for line in (incident.folder / "toolcalls.jsonl").read_text().splitlines()]
    assert len(rows) == 120
    for call in (*incident.drained, *incident.refused):
        assert call in incident.story


def test_correlation_names_the_injected_runs_through_a_wrong_clock_and_decoys(played: tuple[Any, Any]) -> None:
    module, incident = played
    assert set(incident.suspects[:3]) == set(module.INJECTED)
    assert incident.clock_method == "rhythm"


def test_the_report_tells_of_it(played: tuple[Any, Any]) -> None:
    _, incident = played
    for words in ("buyer", "tUSD", "frozen", "incident.example/audit/1"):
        assert words in incident.report, words


@pytest.mark.parametrize(
    ("edit", "codes", "first"),
    [
        ("nothing is changed", {"ok"}, None),
        ("an entry is changed", {"entry_changed"}, 9),
        ("an entry is deleted", {"entry_missing"}, 9),
        ("a trigger is dropped", {"trigger_missing"}, None),
        ("the end is cut off, with its head", {"log_truncated"}, 9),
    ],
)
def test_an_edit_is_found_with_the_first_bad_entry(
    played: tuple[Any, Any], edit: str, codes: set[str], first: int | None
) -> None:
    finding = played[1].edits[edit]
    assert finding.code in codes
    assert finding.first == first


def test_a_rewritten_entry_is_found_between_two_checkpoints(played: tuple[Any, Any]) -> None:
    module, incident = played
    finding = incident.edits["an entry is rewritten, with every hash"]
    assert finding.code == "log_tampered"
    assert finding.first <= module.AT < finding.end


@pytest.mark.parametrize("edit", ["an old backup is restored", "the file is replaced"])
def test_another_file_in_the_databases_place_is_found(played: tuple[Any, Any], edit: str) -> None:
    finding = played[1].edits[edit]
    assert finding.code in ("log_truncated", "log_tampered", "checkpoint_conflict")
    assert finding.first is not None

"""`python -m tests.corpus PATH/cases.jsonl > verdicts.jsonl`: one line a case, for any file of the corpus' format."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.corpus.player import Player, Verdict


async def judge(case: dict[str, Any]) -> dict[str, Any]:
    """The line for one case."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            verdict = await Player(case, Path(folder)).play()
        except Exception as error:  # noqa: BLE001 - a case that cannot be played is not allowed, and the rest goes on
            print(f"{case.get('id')}: {type(error).__name__}: {error}", file=sys.stderr)
            verdict = Verdict("deny", reasons=["not_played"])
    return {"id": case["id"], "verdict": verdict.verdict, "effects": verdict.effects, "reasons": verdict.reasons}


def main() -> None:
    """Judges every case of the file named on the command line."""
    with Path(sys.argv[1]).open() as lines:
        for line in lines:
            if line.strip():
                print(json.dumps(asyncio.run(judge(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()

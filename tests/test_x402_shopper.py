"""The shopping example as an agent runs it: a process with a token, a shop, a gate, and a limit that is used up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.x402_shop import MINE, PAYEE, TOKEN, make_shop

PROGRAM = Path(__file__).parent.parent / "examples" / "x402_shopper.py"


def test_the_shopper_logs_in_buys_three_times_and_stops_at_its_daily_limit(tmp_path: Path) -> None:
    with make_shop(tmp_path, daily="3") as shop:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), shop.url, "5"], capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "WALLETGATE_URL": shop.gate.url, "WALLETGATE_TOKEN": TOKEN},
        )  # fmt: skip
        assert done.returncode == 3, done.stderr
        assert done.stdout.splitlines() == [
            f"logged in as {MINE}",
            "purchase 1: now 100 credits",
            "purchase 2: now 200 credits",
            "purchase 3: now 300 credits",
        ]
        (line,) = done.stderr.splitlines()
        assert line.startswith("stopped before purchase 4: ")
        assert "4 USDC in any 24 hours would be more than 3 USDC" in line
        assert shop.balance(PAYEE) == 3_000_000
        assert shop.served == 3

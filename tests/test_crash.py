"""kill -9 at every commit boundary and around every broadcast: nothing is lost, nothing is signed twice."""

from __future__ import annotations

import http.client
import json
import signal
import sqlite3
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import walletgate
from tests.factories import ALICE, ORIGIN, TOKEN, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import make_home, running
from walletgate.audit.note import open_checkpoint, parse_verifying_key
from walletgate.audit.verify import verify_entries
from walletgate.cli.audit import LogReader
from walletgate.cli.client import OperatorClient
from walletgate.server import Home

pytestmark = pytest.mark.slow

PAYMENTS = 4


def submit(url: str, number: int) -> dict[str, Any] | None:
    """One payment under an id of its own; None when the gate died over it."""
    body = json.dumps({"id": f"payment-{number}", "kind": "transaction", "payload": payment(1)}).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/requests", body, headers), timeout=10) as answer:
            return dict(json.load(answer)["request"])
    except (OSError, http.client.HTTPException):
        return None


def check_log(home: Home) -> None:
    """The whole log verifies against its head and every checkpoint it left behind."""
    reader = LogReader(home)
    key = parse_verifying_key(home.log_vkey.read_text().strip())
    notes = [open_checkpoint(note, origin=ORIGIN, trusted=[key]) for note in reader.checkpoints()]
    verify_entries(reader.rows(), origin=ORIGIN, head=reader.head(), checkpoints=notes)


def all_settled(home: Home, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 15
    while True:
        requests = OperatorClient(home).get("/v1/requests?limit=100")["requests"]
        if sum(r["status"] == "confirmed" for r in requests) == count or time.monotonic() > deadline:
            return requests
        time.sleep(0.1)


@pytest.mark.parametrize("number", [2, 3, 5])
@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_broadcast", "after_broadcast"])
def test_a_killed_gate_comes_back_and_finishes(tmp_path: Path, point: str, number: int) -> None:
    chain = FakeChain()
    count = PAYMENTS if number < 5 else 6
    with served(chain) as node:
        home = make_home(tmp_path / "home", node)
        with running(home, die_at=point, number=number) as gate:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(lambda n: submit(gate.url, n), range(count)))
            for extra in range(20):
                if gate.process.poll() is not None:
                    break
                submit(gate.url, 100 + extra)
            assert gate.wait_dead() == -signal.SIGKILL
        before = {(r["nonce"], bytes(r["raw"])) for r in _rows(home)}
        with running(home) as gate:
            answers = [submit(gate.url, n) for n in range(count)]
            assert all(answers)
            total = len(_rows(home))
            requests = all_settled(home, total)
            assert {r["status"] for r in requests} == {"confirmed"}
        after = {(r["nonce"], bytes(r["raw"])) for r in _rows(home)}
        assert before <= after
        assert sorted(nonce for nonce, _ in after) == list(range(len(after)))
        by_nonce: dict[int, set[bytes]] = {}
        for sent in chain.sent.values():
            by_nonce.setdefault(sent.nonce, set()).add(sent.raw)
        assert all(len(raws) == 1 for raws in by_nonce.values())
        assert {(nonce, next(iter(raws))) for nonce, raws in by_nonce.items()} == after
        check_log(home)


def test_what_was_never_committed_never_left_the_gate(tmp_path: Path) -> None:
    chain = FakeChain()
    with served(chain) as node:
        home = make_home(tmp_path / "home", node)
        with running(home, die_at="before_commit", number=2) as gate:
            assert submit(gate.url, 0) is None
            gate.wait_dead()
        assert chain.received == []
        assert _rows(home) == []


def test_the_signer_dies_with_its_gate(tmp_path: Path) -> None:
    with served(FakeChain()) as node:
        home = make_home(tmp_path / "home", node)
        with running(home) as gate:
            children = _children(gate.process.pid)
            assert len(children) == 1
            gate.kill()
        deadline = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_waiting_request_survives_and_can_still_be_approved(tmp_path: Path) -> None:
    chain = FakeChain()
    with served(chain) as node:
        home = make_home(tmp_path / "home", node)
        with running(home) as gate:
            with pytest.raises(walletgate.ApprovalPending) as caught:
                walletgate.Client(gate.url, TOKEN).request("transaction", payment(30), id="large", wait_s=0)
            gate.kill()
        with running(home) as gate:
            operator = OperatorClient(home)
            shown = operator.get(f"/v1/requests/{caught.value.request_id}")["request"]
            operator.approve(shown, secret=ALICE, gate=ORIGIN, approve=True, reason="")
            assert {r["status"] for r in all_settled(home, 1)} == {"confirmed"}


def _rows(home: Home) -> list[dict[str, Any]]:
    db = sqlite3.connect(home.store_file)
    db.row_factory = sqlite3.Row
    rows = db.execute("SELECT nonce, raw, decision FROM request WHERE raw IS NOT NULL ORDER BY nonce").fetchall()
    db.close()
    return [{"nonce": r["nonce"], "raw": r["raw"], "decision": json.loads(r["decision"])} for r in rows]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

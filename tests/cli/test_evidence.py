"""Evidence from the command line: proofs, stories, foreign logs, exports, witnesses, rotation, redaction, reports."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import walletgate
from tests.cli.test_cli import NOWHERE, Live, ask, key, quick, run
from tests.factories import ORIGIN, POLICY, TOKEN, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import make_home, running
from walletgate.audit.entry import Kind
from walletgate.cli.client import signed_command
from walletgate.errors import InvalidRequestError
from walletgate.server import Home
from walletgate.store import open_store

__all__ = ["key", "quick"]
ROOMY = POLICY.replace('per = { "24h" = "100" }', 'per = { "24h" = "10000" }')


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in which nothing runs."""
    return make_home(tmp_path / "home", NOWHERE)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    chain = FakeChain()
    with served(chain) as node:
        made = make_home(tmp_path_factory.mktemp("evidence") / "home", node, policy=ROOMY)
        with running(made) as gate:
            yield Live(gate, chain)


def test_a_request_is_proven_in_one_file_and_checked_offline(live: Live, key: list[object], tmp_path: Path) -> None:
    request = ask(live, 24)
    assert run("request", "approve", request, "--yes", *key, home=live.home).code == 0
    file = tmp_path / "proof.json"
    assert run("audit", "prove", request, "-o", file, home=live.home).code == 0
    vkey = tmp_path / "log.vkey"
    shutil.copy(live.home.log_vkey, vkey)
    nowhere = tmp_path / "auditor"
    said = run("audit", "verify", file, "--key", vkey, home=nowhere)
    assert said.code == 0
    for fact in ("pays 24 USDC to acme", "alice (0x", "approved exactly this", "not proven"):
        assert fact in said.out
    told = run("audit", "verify", file, "--key", vkey.read_text().strip(), "--json", home=nowhere).json
    assert set(told["bound"]) == {"payload", "decision", "policy", "transaction"}
    assert json.loads(run("audit", "prove", request, home=live.home).out)["request"] == request
    file.write_text(file.read_text().replace("24 USDC", "25 USDC"))
    said = run("audit", "verify", file, "--key", vkey, "--json", home=nowhere)
    assert (said.code, said.error) == (5, "proof_invalid")
    missing = run("audit", "verify", file, "--json", home=nowhere)
    assert (missing.code, missing.error) == (2, "home_missing")
    none = run("audit", "prove", "req_none", "--json", home=live.home)
    assert (none.code, none.error) == (5, "entry_unknown")


def test_the_way_from_a_tool_call_to_the_money_is_one_command(live: Live, key: list[object]) -> None:
    with walletgate.tool_call("call_trace_1") as parent:
        request = ask(live, 25)
    assert run("request", "approve", request, "--yes", *key, home=live.home).code == 0
    for what in ("call_trace_1", parent.split("-")[1], request):
        shown = run("audit", "trace", what, home=live.home).out
        for fact in ("tool call call_trace_1", "pays 25 USDC to acme", "approval given by alice", "transaction 0x"):
            assert fact in shown
    assert run("audit", "trace", "shopper", "--since", "1h", "--json", home=live.home).json["kind"] == "story"
    none = run("audit", "trace", "nobody", "--json", home=live.home)
    assert (none.code, none.error) == (5, "entry_unknown")
    bad = run("audit", "trace", "shopper", "--since", "soon", "--json", home=live.home)
    assert (bad.code, bad.error) == (2, "bad_duration")


def test_foreign_logs_are_held_against_each_other(home: Home, tmp_path: Path) -> None:
    runs, alerts = tmp_path / "toolcalls.jsonl", tmp_path / "firewall.log"
    calls = [(f"ep-{n % 40:02d}", 1_795_000_000 + n * 71 + (n * n) % 53) for n in range(400)]
    runs.write_text(
        "".join(json.dumps({"run_id": r, "tool": "bash", "ts": at, "duration_s": 2}) + "\n" for r, at in calls)
    )
    told = [time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at + 28_801)) for r, at in calls if r == "ep-17"]
    alerts.write_text("".join(f"{at} DROP 10.0.0.7 -> 203.0.113.9\n" for at in told))
    said = run("audit", "correlate", "--events", alerts, "--runs", runs, "--json", home=home)
    assert said.json["runs"][0]["run"] == "ep-17"
    assert abs(said.json["clocks"]["firewall.log"]["offset_s"] + 28_800) < 3
    text = run("audit", "correlate", "--events", alerts, "--runs", runs, home=home).out
    assert "-8 h (a time zone)" in text
    assert "run ep-17 explains 10" in text
    alerts.write_text("".join(f"{1_795_000_000 + n * 3333} noise\n" for n in range(6)))
    text = run("audit", "correlate", "--events", alerts, "--runs", runs, home=home).out
    assert "Nothing in these runs explains any of the 6 alerts." in text
    missing = run("audit", "correlate", "--events", tmp_path / "none", "--runs", runs, "--json", home=home)
    assert (missing.code, missing.error) == (2, "file_unreadable")


def test_a_proof_needs_no_running_gate(home: Home, tmp_path: Path) -> None:
    with served(FakeChain()) as node:
        made = make_home(tmp_path / "prove", node)
        with running(made) as gate:
            client = walletgate.Client(gate.url, TOKEN)
            request = client.request("transaction", payment(5)).request_id
            client.close()
        file = tmp_path / "proof.json"
        assert run("audit", "prove", request, "-o", file, home=made).code == 0
        assert "pays 5 USDC" in run("audit", "verify", file, home=made).out


def test_a_report_is_one_page_that_says_how_to_check_it(live: Live, key: list[object], tmp_path: Path) -> None:
    request = ask(live, 26)
    assert run("request", "approve", request, "--yes", *key, home=live.home).code == 0
    client = walletgate.Client(live.gate.url, TOKEN)
    with pytest.raises(walletgate.GateDenied):
        client.request("transaction", payment(51))
    client.close()
    page = tmp_path / "report.html"
    assert run("audit", "report", "--since", "1h", "-o", page, home=live.home).code == 0
    html = page.read_text()
    for fact in (
        "What the gate did",
        "USDC in all",
        "any 24 hours",
        "51 USDC",
        "alice",
        "walletgate audit verify",
    ):
        assert fact in html
    assert live.home.log_vkey.read_text().strip() in html
    said = run("audit", "report", "-o", tmp_path / "none" / "x.html", "--json", home=live.home)
    assert (said.code, said.error) == (2, "file_unwritable")


def test_the_log_is_exported_again_and_again_and_verifies_on_its_own(live: Live, tmp_path: Path) -> None:
    there, vkey = tmp_path / "export", live.home.log_vkey
    first = run("audit", "export", there, "--json", home=live.home).json
    ask(live, 27)
    second = run("audit", "export", there, "--json", home=live.home).json
    assert (second["before"], second["size"] > first["size"]) == (first["size"], True)
    said = run("audit", "verify", there, "--key", vkey, "--json", home=tmp_path / "nowhere")
    assert (said.code, said.json["size"]) == (0, second["size"])
    assert "tlog-tiles" in (there / "README").read_text()
    bundle = next((there / "tile" / "entries").rglob(str(second["size"] % 256)))
    bundle.write_bytes(bundle.read_bytes().replace(b"27 USDC", b"72 USDC"))
    said = run("audit", "verify", there, "--key", vkey, "--json", home=tmp_path / "nowhere")
    assert (said.code, said.error) == (5, "entry_changed")
    only = tmp_path / "hashes"
    assert run("audit", "export", only, "--form", "hashes", home=live.home).code == 0
    assert not (only / "tile" / "entries").exists()


def test_an_export_is_not_continued_with_another_history(live: Live, tmp_path: Path) -> None:
    there = tmp_path / "export"
    assert run("audit", "export", there, home=live.home).code == 0
    copy = Home(tmp_path / "copy")
    made = make_home(copy.root, NOWHERE)
    for name in ("log.key", "log.vkey"):
        shutil.copy(live.home.root / name, made.root / name)
    said = run("audit", "export", there, "--json", home=made)
    assert (said.code, said.error) == (5, "export_inconsistent")


def test_one_old_checkpoint_finds_a_fork_and_both_notes_are_shown(
    home: Home, tmp_path: Path, key: list[object]
) -> None:
    assert run("freeze", "chain:1", *key, home=home).code == 0
    fork = Home(Path(shutil.copytree(home.root, tmp_path / "fork")))
    for place, chain in ((home, "2"), (fork, "3")):
        assert run("freeze", f"chain:{chain}", *key, home=place).code == 0
        assert run("audit", "export", tmp_path / f"of-{chain}", home=place).code == 0
    old = tmp_path / "of-2" / "checkpoint"
    said = run("audit", "verify", "--against", old, home=home)
    assert (said.code, "no fork" in said.out) == (0, True)
    said = run("audit", "verify", "--against", old, home=fork)
    assert said.code == 5
    assert old.read_text() in said.out
    assert (tmp_path / "of-3" / "checkpoint").read_text() in said.out
    as_json = run("audit", "verify", "--against", old, "--json", home=fork)
    assert as_json.error == "log_forked"
    assert as_json.json["error"]["data"]["theirs"] == old.read_text()
    forged = tmp_path / "forged"
    forged.write_text(old.read_text().replace("\n2\n", "\n1\n"))
    assert run("audit", "verify", "--against", forged, home=home).code == 5


def test_two_gates_witness_each_other(tmp_path: Path) -> None:
    with served(FakeChain()) as node:
        one, other = make_home(tmp_path / "one", node), make_home(tmp_path / "other", node)
        vkey = run("audit", "witness", "--json", home=other).json["key"]
        port = free_port()
        log = one.log_vkey.read_text().strip()
        other.config.write_text(
            f'{other.config.read_text()}[witness]\nlisten = "127.0.0.1:{port}"\n[witness.logs]\n"{ORIGIN}" = "{log}"\n'
        )
        one.config.write_text(
            f'{one.config.read_text()}[[witnesses]]\nurl = "http://127.0.0.1:{port}"\nkey = "{vkey}"\n'
        )
        with running(other), running(one):
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                seen = run("audit", "witness", "--json", home=one).json["witnesses"]
                if all(seen.values()):
                    break
                time.sleep(0.2)
            assert all(seen.values())
            assert run("audit", "witness", "--json", home=other).json["logs"][ORIGIN] > 0
            assert "cosigned at" in run("audit", "witness", home=one).out


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_logs_key_changes_and_who_knows_the_first_can_follow(home: Home, tmp_path: Path, key: list[object]) -> None:
    first = home.log_vkey.read_text().strip()
    old = tmp_path / "old"
    assert run("freeze", "chain:1", *key, home=home).code == 0
    assert run("audit", "export", tmp_path / "x", home=home).code == 0
    shutil.copy(tmp_path / "x" / "checkpoint", old)
    keys = [first]
    for chain in ("2", "3"):
        said = run("audit", "rotate-key", "--yes", *key, "--json", home=home)
        assert (said.code, said.json["before"]) == (0, keys[-1])
        keys.append(said.json["after"])
        assert not home.next_log_key.exists()
        assert run("freeze", f"chain:{chain}", *key, home=home).code == 0
        assert run("audit", "export", tmp_path / "x", home=home).code == 0
    assert home.log_vkey.read_text().strip() == first
    said = run("audit", "verify", "--checkpoint", old, "--against", old, "--json", home=home)
    assert (said.code, said.json["keys"]) == (0, keys)
    assert run("audit", "verify", "--key", keys[1], "--json", home=home).error == "note_unsigned"
    assert run("audit", "report", "-o", tmp_path / "r.html", home=home).code == 0
    assert keys[2] in (tmp_path / "r.html").read_text()


def test_a_proof_made_after_a_change_of_key_is_followed_from_the_first(tmp_path: Path, key: list[object]) -> None:
    with served(FakeChain()) as node:
        made = make_home(tmp_path / "home", node)
        first = made.log_vkey.read_text().strip()
        with running(made) as gate:
            client = walletgate.Client(gate.url, TOKEN)
            before = client.request("transaction", payment(5)).request_id
            assert run("audit", "rotate-key", "--yes", *key, home=made).code == 0
            after = client.request("transaction", payment(6)).request_id
            client.close()
            time.sleep(1.5)
        for request in (before, after):
            file = tmp_path / f"{request}.json"
            assert run("audit", "prove", request, "-o", file, home=made).code == 0
            said = run("audit", "verify", file, "--key", first, "--json", home=tmp_path / "nowhere")
            assert said.code == 0, said
            assert said.json["key"] != first
            done = subprocess.run(
                [sys.executable, "examples/verify_proof.py", str(file), str(made.log_vkey)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert "pays" in done.stdout
        with running(made):
            assert run("audit", "verify", home=made).code == 0


def test_a_change_of_key_that_a_crash_interrupted_is_finished(tmp_path: Path, key: list[object]) -> None:
    with served(FakeChain()) as node:
        made = make_home(tmp_path / "home", node)
        old = made.read_log_key()
        after = made.make_next_log_key()

        # The entry is in the log, and then nothing more happened.
        async def enter() -> None:
            store = open_store(made.store(), origin=ORIGIN)
            async with store.write(2) as tx:
                body = {"before": str(old.verifying_key), "after": str(after.verifying_key), "operator": "alice"}
                tx.entry(Kind.LOG_KEY_CHANGED, body)
            await store.close()

        asyncio.run(enter())
        with running(made):
            assert str(made.read_log_key().verifying_key) == str(after.verifying_key)
        assert len(run("audit", "verify", "--json", home=made).json["keys"]) in (1, 2)


def test_a_change_of_key_that_does_not_fit_is_refused(home: Home, tmp_path: Path, key: list[object]) -> None:
    file = str(key[1])
    with pytest.raises(InvalidRequestError) as caught:
        signed_command(
            home.root, "log.rotate_key", {"before": home.log_vkey.read_text().strip()} | {"after": "x+00+y"},
            operator=None, passphrase_file=Path(file),
        )  # fmt: skip
    assert caught.value.code == "payload_invalid"


def test_a_memo_is_erased_and_everything_still_verifies(live: Live, key: list[object], tmp_path: Path) -> None:
    secret = "for Erika Mustermann, room 12"
    request = ask(live, 28, memo=secret)
    said = run("audit", "redact", request, "--yes", *key, "--json", home=live.home)
    assert (said.code, said.error) == (7, "request_waits")
    assert run("request", "approve", request, "--yes", *key, home=live.home).code == 0
    assert "Erika" not in run("audit", "show", request, home=live.home).out
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert run("audit", "prove", request, "-o", before, home=live.home).code == 0
    assert secret in run("audit", "verify", before, home=live.home).out
    time.sleep(0.5)
    done = run("audit", "redact", request, "--yes", *key, home=live.home)
    assert (done.code, "memo" in done.out) == (0, True)
    assert run("audit", "prove", request, "-o", after, home=live.home).code == 0
    assert "Erika" not in after.read_text()
    said = run("audit", "verify", after, "--json", home=live.home)
    assert (said.code, said.json["withheld"]) == (0, ["memo"])
    assert run("audit", "verify", before, home=live.home).code == 0
    assert run("audit", "verify", home=live.home).code == 0
    assert "Erika" not in run("request", "show", request, home=live.home).out
    for path in (before, after):
        done = subprocess.run(
            [sys.executable, "examples/verify_proof.py", str(path), str(live.home.log_vkey)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "pays 28 USDC" in done.stdout
    lie = before.read_text().replace("Erika", "Erich")
    before.write_text(lie)
    assert run("audit", "verify", before, "--json", home=live.home).error == "claim_false"
    again = run("audit", "redact", request, "--yes", *key, "--json", home=live.home)
    assert (again.code, again.error) == (7, "nothing_private")
    none = run("audit", "redact", "req_none", "--yes", *key, "--json", home=live.home)
    assert (none.code, none.error) == (2, "request_unknown")


@pytest.mark.parametrize("name", ["audit_no_update", "audit_no_delete", "audit_next_only"])
@pytest.mark.parametrize("again", ["", "CREATE TRIGGER {} BEFORE UPDATE ON audit BEGIN SELECT 1; END"])
def test_a_trigger_that_was_dropped_or_replaced_is_named(home: Home, name: str, again: str) -> None:
    assert run("audit", "verify", "--json", home=home).json["missing_triggers"] == []
    db = sqlite3.connect(home.store_file)
    db.execute(f"DROP TRIGGER {name}")
    if again:
        db.execute(again.format(name))
    db.commit()
    db.close()
    assert run("audit", "verify", "--json", home=home).json["missing_triggers"] == [name]
    said = run("audit", "verify", home=home)
    assert (said.code, name in said.err) == (0, True)

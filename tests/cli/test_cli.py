"""The command line as people use it: whole sessions, exit codes, hints, and nothing on the screen that should not be."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect
import pytest
from typer.testing import CliRunner

import walletgate
from tests.factories import ALICE, MALLORY, ORIGIN, POLICY, SECRET, TOKEN, WALLET, payment
from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import PASSPHRASE, SCRYPT_COST, GateProcess, make_home, running
from walletgate.audit.merkle import EMPTY, append, leaf_hash, pack_frontier
from walletgate.cli import app
from walletgate.encoding import checksum_address
from walletgate.gate.checkpoints import Checkpoints
from walletgate.server import Home
from walletgate.signers import create_keystore
from walletgate.store import Store

PROGRAM = [sys.executable, "-m", "walletgate"]
SECRETS = [SECRET.hex(), ALICE.hex(), TOKEN, TOKEN[9:], PASSPHRASE, "PRIVATE+KEY"]
NOWHERE = "http://127.0.0.1:9"


@dataclass
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        return str(self.json["error"]["code"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keystores that open at once, nobody's own configuration, and no colours."""
    monkeypatch.setitem(create_keystore.__kwdefaults__, "scrypt_cost", SCRYPT_COST)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    for name in [name for name in os.environ if name.startswith("WALLETGATE")]:
        monkeypatch.delenv(name)


def run(*arguments: object, home: Home | Path | None = None) -> Said:
    """One command; it never shows a traceback or a secret."""
    place = home.root if isinstance(home, Home) else home
    full = [str(a) for a in arguments] + ([] if place is None else ["--home", str(place)])
    result = CliRunner().invoke(app, full)
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
    assert "Traceback" not in result.output
    for secret in SECRETS:
        assert secret not in result.output
    return Said(result.exit_code, result.stdout, result.stderr)


def secret_file(folder: Path, text: str = PASSPHRASE) -> Path:
    path = folder / f"secret-{len(list(folder.iterdir()))}"
    path.touch(0o600)
    path.write_text(text + "\n")
    return path


@pytest.fixture
def key(tmp_path: Path) -> list[object]:
    """How alice signs."""
    return ["--operator-passphrase-file", secret_file(tmp_path)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in which nothing runs."""
    return make_home(tmp_path / "home", NOWHERE)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


@dataclass
class Live:
    """A gate that runs."""

    gate: GateProcess
    chain: FakeChain

    @property
    def home(self) -> Home:
        return self.gate.home


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    chain = FakeChain()
    with served(chain) as node:
        home = make_home(tmp_path_factory.mktemp("cli") / "home", node)
        with running(home) as gate:
            yield Live(gate, chain)


def ask(live: Live, usdc: float, **options: Any) -> str:
    """A request that waits; the gate's name for it."""
    client = walletgate.Client(live.gate.url, TOKEN)
    with pytest.raises(walletgate.ApprovalPending) as caught:
        client.request("transaction", payment(usdc), **options)
    client.close()
    return caught.value.request_id


# --- making a home ------------------------------------------------------------------------------------


def test_a_home_from_nothing(tmp_path: Path, policy: Path) -> None:
    """init, a wallet, another operator, a grant, its end: without a gate running, each under a signature."""
    home, file = tmp_path / "new", secret_file(tmp_path)
    made = run("init", "--chain", f"anvil={NOWHERE}", "--operator", "alice", "--operator-passphrase-file", file,
               "--json", home=home)  # fmt: skip
    assert made.code == 0, made
    assert made.json["operator"]["name"] == "alice"
    signed = ["--operator-passphrase-file", file]
    wallet = run("wallet", "create", "main", "--passphrase-file", file, *signed, "--json", home=home)
    assert wallet.json["address"].startswith("0x")
    other = checksum_address(b"\x07" * 20)
    assert run("operator", "add", "bob", "--address", other, *signed, home=home).code == 0
    grant = CliRunner().invoke(
        app, ["grant", "create", "shopper", "--wallet", "main", "--policy", str(policy), *map(str, signed), "--json",
              "--home", str(home)],
    )  # fmt: skip
    answer = json.loads(grant.stdout)
    assert answer["token"].startswith("wg_grant_")
    assert answer["address"] == wallet.json["address"]
    assert answer["token"].encode() not in b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    assert run("grant", "revoke", "shopper", *signed, home=home).code == 0
    assert run("operator", "remove", "bob", *signed, home=home).code == 0
    kinds = [entry["kind"] for entry in run("audit", "log", "--json", home=home).json]
    assert kinds == ["operator_added", "wallet_added", "operator_added", "grant_created", "grant_revoked",
                     "operator_removed"]  # fmt: skip
    assert run("audit", "verify", "--json", home=home).json["size"] == 6
    for path in [home, *home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_home_is_made_once(tmp_path: Path, home: Home) -> None:
    file = secret_file(tmp_path)
    again = run("init", "--chain", f"anvil={NOWHERE}", "--operator-passphrase-file", file, "--json", home=home)
    assert (again.code, again.error) == (2, "home_exists")


@pytest.mark.parametrize(
    "arguments",
    [["--chain", "anvil"], ["--chain", "=x"], ["--chain", "anvil=ftp://x"], ["--chain", "atlantis=http://x"],
     ["--chain", f"anvil={NOWHERE}", "--listen", "nowhere"], ["--chain", f"anvil={NOWHERE}", "--name", "a b"],
     ["--chain", f"anvil={NOWHERE}", "--name", 'x"\nlisten = "0.0.0.0:1'],
     ["--chain", f"anvil={NOWHERE}", "--operator", "../alice"], ["--chain", f"anvil={NOWHERE}", "--operator", "a b"]],
)  # fmt: skip
def test_a_home_that_cannot_be_is_not_half_made(tmp_path: Path, arguments: list[str]) -> None:
    file = secret_file(tmp_path)
    said = run("init", *arguments, "--operator-passphrase-file", file, "--json", home=tmp_path / "new")
    assert said.code == 2, said
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("alice.json"))


@pytest.mark.parametrize("name", ["../../evil", "a/b", ".hidden", "", "x" * 65, "ünïcode", "a\nb", "a b"])
def test_a_name_is_no_path(home: Home, tmp_path: Path, key: list[object], name: str) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file() and path.parent != home.root}
    said = run("wallet", "create", name, "--passphrase-file", secret_file(tmp_path), *key, "--json", home=home)
    assert (said.code, said.error) == (2, "name_invalid")
    said = run("operator", "add", name, *key, "--address", checksum_address(b"\x09" * 20), "--json", home=home)
    assert (said.code, said.error) == (2, "name_invalid")
    after = {path for path in tmp_path.rglob("*") if path.is_file() and path.parent != home.root}
    assert [path for path in after - before if path.suffix == ".json"] == []


def test_a_wallet_is_imported_from_a_keystore(home: Home, tmp_path: Path, key: list[object]) -> None:
    """The keystore's own passphrase is asked for in a terminal."""
    foreign = tmp_path / "foreign.json"
    address = create_keystore(foreign, "old pass", secret=MALLORY, scrypt_cost=SCRYPT_COST)
    arguments = ["wallet", "import", "second", "--keystore", str(foreign), "--passphrase-file",
                 str(secret_file(tmp_path)), *map(str, key), "--home", str(home.root)]  # fmt: skip
    assert run(*arguments).code == 2
    child, screen = terminal(*arguments)
    child.expect("Passphrase of keystore foreign.json: ")
    child.sendline("old pass")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, screen.getvalue()
    assert checksum_address(address).encode() in screen.getvalue()
    assert b"old pass" not in screen.getvalue()
    assert MALLORY.hex().encode() not in screen.getvalue()
    assert home.wallet("second").stat().st_mode & 0o077 == 0


# --- passphrases --------------------------------------------------------------------------------------


def test_a_wrong_passphrase_is_4_with_a_hint(home: Home, tmp_path: Path) -> None:
    wrong = ["--operator-passphrase-file", secret_file(tmp_path, "not it")]
    said = run("freeze", *wrong, home=home)
    assert said.code == 4
    assert "wrong_passphrase" in said.err
    assert "hint" in said.err
    assert "not it" not in said.err
    assert run("freeze", *wrong, "--json", home=home).error == "wrong_passphrase"


@pytest.mark.parametrize("case", ["missing", "exposed", "empty", "no text", "a folder"])
def test_a_passphrase_file_must_be_private_text(home: Home, tmp_path: Path, case: str) -> None:
    path = tmp_path / "passphrase"
    if case == "a folder":
        path.mkdir(0o700)
    elif case != "missing":
        path.touch(0o600)
        path.write_bytes({"exposed": b"x\n", "empty": b"\n", "no text": b"\xff\xfe\n"}[case])
        path.chmod(0o644 if case == "exposed" else 0o600)
    said = run("freeze", "--operator-passphrase-file", path, "--json", home=home)
    assert said.code == 2
    assert said.error == ("passphrase_exposed" if case == "exposed" else "passphrase_missing")


def test_without_a_terminal_nothing_is_asked(home: Home) -> None:
    for command in (["freeze"], ["serve"], ["wallet", "create", "x"]):
        said = run(*command, home=home)
        assert (said.code, "passphrase_missing" in said.err) == (2, True)


# --- exit codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["status"], 9, "gate_unreachable"),
        (["request", "list"], 9, "gate_unreachable"),
        (["wallet", "list"], 9, "gate_unreachable"),
        (["grant", "list"], 9, "gate_unreachable"),
        (["operator", "list"], 9, "gate_unreachable"),
        (["audit", "show", "999"], 5, "entry_unknown"),
        (["policy", "check", "/nonexistent"], 2, "policy_missing"),
        (["policy", "check", "/"], 2, "policy_missing"),
    ],
)
def test_exit_codes_without_a_gate(home: Home, arguments: list[str], code: int, error: str) -> None:
    place = None if arguments[0] == "policy" else home
    said = run(*arguments, "--json", home=place)
    assert (said.code, said.error) == (code, error)
    assert error in run(*arguments, home=place).err


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["audit", "log"],
        ["audit", "verify"],
        ["doctor"],
        ["freeze"],
        ["request", "list"],
        ["wallet", "list"],
    ],
)
def test_where_there_is_no_home_the_hint_is_init(tmp_path: Path, arguments: list[str]) -> None:
    said = run(*arguments, home=tmp_path / "nowhere")
    assert said.code in (2, 9)
    assert "hint:" in said.err


@pytest.mark.parametrize("arguments", [["nonsense"], ["status", "--nonsense"], ["grant"], ["grant", "create"]])
def test_bad_usage_is_2(arguments: list[str]) -> None:
    assert run(*arguments).code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["freeze", "everything"], 2, "scope_invalid"),
        (["unfreeze", "all"], 7, "not_frozen"),
        (["operator", "add", "alice", "--address", checksum_address(b"\x09" * 20)], 7, "name_taken"),
        (["operator", "add", "eve", "--address", "0x12"], 2, "bad_address"),
        (["operator", "remove", "alice"], 7, "last_operator"),
        (["operator", "remove", "nobody"], 7, "operator_unknown"),
        (["grant", "revoke", "nobody"], 2, "grant_unknown"),
    ],
)
def test_commands_that_cannot_be_say_why(
    home: Home, key: list[object], arguments: list[str], code: int, error: str
) -> None:
    said = run(*arguments, *key, "--json", home=home)
    assert (said.code, said.error) == (code, error)
    assert run("audit", "log", "--last", 1, "--json", home=home).json[0]["code"] == error


def test_a_key_of_nobody_changes_nothing(home: Home, tmp_path: Path) -> None:
    create_keystore(home.operator("eve"), PASSPHRASE, secret=MALLORY, scrypt_cost=SCRYPT_COST)
    signed = ["--operator", "eve", "--operator-passphrase-file", secret_file(tmp_path)]
    said = run("freeze", *signed, "--json", home=home)
    assert (said.code, said.error) == (6, "not_an_operator")
    both = run("freeze", "--json", home=home)
    assert (both.code, both.error) == (2, "operator_missing")


# --- policies -----------------------------------------------------------------------------------------


def test_a_policy_is_checked_read_aloud_and_tried(policy: Path, tmp_path: Path) -> None:
    assert run("policy", "check", policy, "--json").json["chains"] == [31337]
    aloud = run("policy", "show", policy).out
    assert "acme" in aloud
    assert "50 USDC" in aloud
    for usdc, outcome, code in ((5, "allow", 0), (30, "require_approval", 0), (51, "deny", 3)):
        request = tmp_path / "request.json"
        request.write_text(json.dumps({"kind": "transaction", "payload": payment(usdc)}))
        said = run("policy", "explain", policy, request, "--wallet", checksum_address(WALLET), "--json")
        assert (said.code, said.json["outcome"]) == (code, outcome)
        assert run("policy", "explain", policy, request, "--wallet", checksum_address(WALLET)).out.startswith("it pays")


@pytest.mark.parametrize(
    ("change", "code", "key"),
    [
        (lambda text: text.replace("per_request", "per_reqest", 1), "unknown_key", "limits[0].per_reqest"),
        (
            lambda text: text.replace('per_request = "50"', "per_request = 50.5"),
            "float_refused",
            "limits[0].per_request",
        ),
        (lambda text: text.replace("decimals = 6\n", ""), "missing_key", "assets.USDC.decimals"),
        (lambda text: text + "x", "toml_syntax", ""),
    ],
)
def test_a_bad_policy_names_file_and_key(policy: Path, change: Callable[[str], str], code: str, key: str) -> None:
    policy.write_text(change(POLICY))
    said = run("policy", "check", policy, "--json")
    assert (said.code, said.error) == (2, code)
    assert said.json["error"]["data"]["file"] == str(policy)
    assert said.json["error"]["data"]["key"] == key
    if code == "unknown_key":
        assert "per_request" in said.json["error"]["detail"]


def test_a_policy_is_put_in_force(home: Home, policy: Path, key: list[object]) -> None:
    policy.write_text(POLICY.replace('per_request = "50"', 'per_request = "25"'))
    said = run("policy", "apply", policy, "--grant", "shopper", *key, "--json", home=home)
    assert said.json["policy"] == run("policy", "check", policy, "--json").json["hash"]
    assert run("audit", "log", "--kind", "policy_changed", "--json", home=home).json[0]["after"] == said.json["policy"]


# --- a running gate -----------------------------------------------------------------------------------


def test_everything_that_is_read_parses_as_json(live: Live) -> None:
    request = ask(live, 21)
    for arguments in (
        ["status"], ["wallet", "list"], ["operator", "list"], ["grant", "list"], ["request", "list"],
        ["request", "show", request], ["audit", "log"], ["audit", "show", "0"], ["audit", "show", request],
        ["audit", "verify"], ["doctor"],
    ):  # fmt: skip
        said = run(*arguments, "--json", home=live.home)
        assert said.json is not None
        assert said.err == ""
        assert run(*arguments, home=live.home).out != ""


def test_requests_are_listed_shown_approved_and_rejected(live: Live, key: list[object]) -> None:
    yes, no = ask(live, 22), ask(live, 23)
    waiting = run("request", "list", "--status", "awaiting_approval", "--json", home=live.home).json
    assert {yes, no} <= {request["request_id"] for request in waiting}
    shown = run("request", "show", yes, home=live.home).out
    for fact in ("pays 22 USDC to acme", "1 of alice, bob", checksum_address(WALLET), "31337"):
        assert fact in " ".join(shown.split())
    done = run("request", "approve", yes, "--yes", *key, "--reason", "fine", "--json", home=live.home)
    assert done.json["status"] in ("signed", "broadcast", "confirmed")
    assert run("request", "reject", no, "--yes", *key, "--json", home=live.home).json["status"] == "rejected"
    again = run("request", "approve", no, "--yes", *key, "--json", home=live.home)
    assert (again.code, again.error) == (7, "request_moved")
    kinds = [e["kind"] for e in run("audit", "show", yes, "--json", home=live.home).json]
    assert kinds[:4] == ["request_awaiting_approval", "approval_given", "request_approved", "transaction_signed"]


@pytest.mark.parametrize("name", ["req_none", "../status", "a b", "ü", "x?status=denied", "%2e%2e", "x\r\nHost: y"])
def test_a_request_that_is_not_there_is_2(live: Live, name: str) -> None:
    said = run("request", "show", name, "--json", home=live.home)
    assert (said.code, said.error) == (2, "request_unknown")


@pytest.mark.parametrize("status", ["nonsense", "denied&limit=1", "a b"])
def test_a_status_that_is_none_is_2(live: Live, status: str) -> None:
    said = run("request", "list", "--status", status, "--json", home=live.home)
    assert (said.code, said.error) == (2, "bad_status")


def test_a_freeze_stops_the_next_request_and_unfreezing_lets_it_go_on(live: Live, key: list[object]) -> None:
    client = walletgate.Client(live.gate.url, TOKEN)
    assert run("freeze", "agent:shopper", "--reason", "drill [bold]\x1b[31m", *key, home=live.home).code == 0
    with pytest.raises(walletgate.GateDenied) as caught:
        client.request("transaction", payment(0.1))
    assert "frozen" in [reason.code for reason in caught.value.reasons]
    shown = run("status", home=live.home).out
    assert "FROZEN" in shown
    assert "\x1b" not in shown
    assert run("unfreeze", "agent:shopper", *key, home=live.home).code == 0
    assert client.request("transaction", payment(0.1)).tx_hash
    client.close()


def test_a_saved_token_is_private_and_works_by_name(
    live: Live, policy: Path, key: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run("grant", "create", "saver", "--wallet", "main", "--policy", policy, "--save", *key, "--json",
               home=live.home)  # fmt: skip
    assert said.json["token"] == "saved"
    path = Path(said.json["file"])
    assert path == tmp_path / ".config" / "walletgate" / "agents" / "saver.toml"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "wg_grant_" in path.read_text()
    monkeypatch.setenv("WALLETGATE_URL", live.gate.url)
    account = walletgate.account("saver")
    assert account.address == checksum_address(WALLET)
    account.client.close()
    assert run("grant", "revoke", "saver", *key, home=live.home).code == 0
    states = {g["agent"]: g["revoked_ms"] for g in run("grant", "list", "--json", home=live.home).json}
    assert states["saver"] is not None
    assert states["shopper"] is None


def test_a_second_gate_on_the_same_home_is_refused(live: Live, tmp_path: Path) -> None:
    said = run("serve", "--passphrase-file", secret_file(tmp_path), home=live.home)
    assert (said.code, "store_locked" in said.err) == (9, True)


# --- the terminal -------------------------------------------------------------------------------------

HOSTILE = (
    "\x1b[2J\x1b[31mAPPROVED\x1b]0;owned\x07 \u202eevil\u202c \u200bzero\u2066 [bold red]markup[/] \r\nline \x9b31m"
)


def terminal(*arguments: str) -> tuple[pexpect.spawn[bytes], io.BytesIO]:
    """A command in a real terminal, and everything that appears on its screen."""
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    child = pexpect.spawn(PROGRAM[0], [*PROGRAM[1:], *arguments], env=environment, timeout=20, dimensions=(60, 120))
    screen = io.BytesIO()
    child.logfile_read = screen
    return child, screen


def check_screen(shown: bytes) -> None:
    """Colours of ours are there; nothing of the agent's reached the terminal as anything but text."""
    text = shown.decode()
    assert "\x1b[2J" not in text
    assert "\x1b]0;" not in text
    assert "\x07" not in text
    for char in "\u202e\u202c\u200b\u2066\x9b":
        assert char not in text
    assert "\\u{1b}" in text
    assert "\\u{202e}" in text
    assert "[boldred]markup[/]" in re.sub(r"\x1b\[[0-9;]*m|[\s│]", "", text)


def test_hostile_text_reaches_the_terminal_as_text(live: Live) -> None:
    request = ask(live, 20.5, memo=HOSTILE)
    child, screen = terminal("request", "show", request, "--home", str(live.home.root))
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    check_screen(screen.getvalue())
    for arguments in (
        ["request", "list"],
        ["request", "list", "--plain"],
        ["audit", "log"],
        ["audit", "show", request],
    ):
        shown = run(*arguments, home=live.home).out
        assert "\x1b" not in shown
        assert "\u202e" not in shown


def test_watching_shows_what_waits_and_takes_the_answer(live: Live, key: list[object]) -> None:
    for request in run("request", "list", "--status", "awaiting_approval", "--json", home=live.home).json:
        run("request", "reject", request["request_id"], "--yes", *key, home=live.home)
    first = ask(live, 20.1, memo=HOSTILE)
    child, screen = terminal("request", "watch", *map(str, key), "--home", str(live.home.root))
    child.expect("approve, reject or skip")
    child.sendline("a")
    child.expect(first)
    second = ask(live, 20.2)
    child.expect("approve, reject or skip")
    child.sendline("r")
    child.expect("reason")
    child.sendline("too much")
    child.expect("rejected")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    check_screen(screen.getvalue())
    assert b"Traceback" not in screen.getvalue()
    assert PASSPHRASE.encode() not in screen.getvalue()
    states = {r["request_id"]: r["status"] for r in run("request", "list", "--json", home=live.home).json}
    assert states[first] in ("signed", "broadcast", "confirmed")
    assert states[second] == "rejected"


def test_approving_asks_first_and_takes_no_for_an_answer(live: Live, key: list[object]) -> None:
    request = ask(live, 20.3)
    child, screen = terminal("request", "approve", request, *map(str, key), "--home", str(live.home.root))
    child.expect("Approve this request")
    child.sendline("n")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
    assert b"pays 20.3 USDC" in screen.getvalue()
    assert run("request", "show", request, "--json", home=live.home).json["status"] == "awaiting_approval"
    run("request", "reject", request, "--yes", *key, home=live.home)


def test_a_gate_is_started_and_stopped_in_a_terminal(home: Home) -> None:
    child, screen = terminal("serve", "--home", str(home.root))
    child.expect("Passphrase of the wallets: ")
    child.sendline(PASSPHRASE)
    child.expect("serving")
    child.expect("operator.sock")
    assert run("status", "--json", home=home).json["gate"] == ORIGIN
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, screen.getvalue()
    assert PASSPHRASE.encode() not in screen.getvalue()
    assert b"Traceback" not in screen.getvalue()
    kinds = [entry["kind"] for entry in run("audit", "log", "--json", home=home).json]
    assert kinds == ["gate_started", "gate_stopped"]


def test_a_gate_with_the_wrong_passphrase_does_not_start(home: Home, tmp_path: Path) -> None:
    said = run("serve", "--passphrase-file", secret_file(tmp_path, "not it"), home=home)
    assert (said.code, "wrong_passphrase" in said.err) == (4, True)


# --- the log under attack -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose log has ten entries, under a checkpoint."""
    root = tmp_path_factory.mktemp("history")
    home = make_home(root / "home", NOWHERE)
    file = secret_file(root)
    for number in range(5):
        for command in ("freeze", "unfreeze"):
            arguments = [command, f"agent:a{number}", "--operator-passphrase-file", str(file), "--home", str(home.root)]
            assert CliRunner().invoke(app, arguments).exit_code == 0
    store = Store.open(home.store, origin=ORIGIN)
    Checkpoints(store, home.read_log_key(), home.checkpoint).sign(int(time.time() * 1000))
    store.close()
    return home


def _sql(*statements: str) -> Callable[[sqlite3.Connection], None]:
    def change(db: sqlite3.Connection) -> None:
        for statement in statements:
            db.execute(statement)

    return change


def _rewrite(db: sqlite3.Connection) -> None:
    """An entry and its leaf, changed together."""
    (entry,) = db.execute("SELECT entry FROM audit WHERE seq = 4").fetchone()
    other = entry.replace(b"agent:a2", b"agent:a9")
    db.execute("UPDATE audit SET entry = ?, leaf = ? WHERE seq = 4", (other, leaf_hash(other)))


def _rebuild(db: sqlite3.Connection) -> None:
    """An entry, its leaf and the head, changed together: only a signed checkpoint knows better."""
    _rewrite(db)
    _reset_head(db)


def _reset_head(db: sqlite3.Connection) -> None:
    frontier = EMPTY
    for (leaf,) in db.execute("SELECT leaf FROM audit ORDER BY seq").fetchall():
        frontier = append(frontier, leaf)
    db.execute("UPDATE log_head SET size = ?, frontier = ?", (frontier.size, pack_frontier(frontier)))


def _truncate(db: sqlite3.Connection) -> None:
    db.execute("DELETE FROM audit WHERE seq >= 7")
    _reset_head(db)


_SWAP = (
    "UPDATE audit SET seq = -1 WHERE seq = 4", "UPDATE audit SET seq = 4 WHERE seq = 5",
    "UPDATE audit SET seq = 5 WHERE seq = -1",
)  # fmt: skip

TAMPERING: dict[str, tuple[Callable[[sqlite3.Connection], None], set[str], int | None]] = {
    "a changed byte": (
        _sql("UPDATE audit SET entry = CAST(replace(CAST(entry AS TEXT), 'agent:a2', 'agent:a9') AS BLOB) WHERE seq = 4"),
        {"entry_changed"}, 4),
    "a changed leaf": (_sql("UPDATE audit SET leaf = zeroblob(32) WHERE seq = 4"), {"entry_changed"}, 4),
    "a dropped row": (_sql("DELETE FROM audit WHERE seq = 4"), {"entry_missing"}, 4),
    "the first row": (_sql("DELETE FROM audit WHERE seq = 0"), {"entry_missing"}, 0),
    "the last row": (_sql("DELETE FROM audit WHERE seq = 9"), {"log_truncated"}, 9),
    "swapped rows": (_sql(*_SWAP), {"entry_moved", "entry_changed"}, 4),
    "an appended row": (
        _sql("INSERT INTO audit SELECT 10, leaf, entry FROM audit WHERE seq = 9"), {"entry_unexpected", "entry_moved"}, 10),
    "an entry with its leaf": (_rewrite, {"log_tampered"}, None),
    "an entry, its leaf and the head": (_rebuild, {"log_tampered", "checkpoint_conflict"}, None),
    "the end, and the head with it": (_truncate, {"log_truncated", "checkpoint_conflict"}, 7),
    "everything": (_sql("DELETE FROM audit"), {"entry_missing", "log_truncated"}, 0),
    "a head that is none": (_sql("UPDATE log_head SET frontier = x'00'"), {"frontier_malformed"}, None),
    "no head": (_sql("DELETE FROM log_head"), {"log_unreadable"}, None),
    "no log": (_sql("DROP TABLE audit"), {"log_unreadable"}, None),
    "a checkpoint that is none": (_sql("UPDATE checkpoint SET note = 'x'"), {"note_malformed"}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERING)
def test_tampering_is_found_and_the_first_bad_entry_named(history: Home, tmp_path: Path, case: str) -> None:
    change, codes, index = TAMPERING[case]
    home = Home(Path(shutil.copytree(history.root, tmp_path / "copy")))
    db = sqlite3.connect(home.store)
    db.execute("PRAGMA journal_mode=DELETE")
    for trigger in ("audit_no_update", "audit_no_delete", "audit_next_only"):
        db.execute(f"DROP TRIGGER {trigger}")
    assert run("audit", "verify", "--json", home=home).code == 0
    change(db)
    db.commit()
    db.close()
    said = run("audit", "verify", "--json", home=home)
    assert said.code == 5, said
    assert said.error in codes
    if index is not None:
        assert said.json["error"]["data"]["index"] == index
    assert run("audit", "verify", home=home).code == 5


def test_the_fence_stops_plain_changes(history: Home, tmp_path: Path) -> None:
    home = Home(Path(shutil.copytree(history.root, tmp_path / "copy")))
    db = sqlite3.connect(home.store)
    for statement in (
        "UPDATE audit SET leaf = leaf", "DELETE FROM audit", "INSERT INTO audit VALUES (99, x'00', x'00')",
        "REPLACE INTO audit SELECT * FROM audit WHERE seq = 3",
    ):  # fmt: skip
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(statement)
    db.close()


def test_an_old_copy_is_recognised_by_verify_and_by_the_gate(history: Home, tmp_path: Path, key: list[object]) -> None:
    home = Home(Path(shutil.copytree(history.root, tmp_path / "copy")))
    old = home.store.read_bytes()
    assert run("freeze", "all", *key, home=home).code == 0
    store = Store.open(home.store, origin=ORIGIN)
    Checkpoints(store, home.read_log_key(), home.checkpoint).sign(int(time.time() * 1000))
    store.close()
    home.store.write_bytes(old)
    for suffix in ("-wal", "-shm"):
        Path(f"{home.store}{suffix}").unlink(missing_ok=True)
    said = run("audit", "verify", "--json", home=home)
    assert (said.code, said.error) == (5, "log_truncated")
    served = run("serve", "--passphrase-file", secret_file(tmp_path), home=home)
    assert (served.code, "behind_checkpoint" in served.err, "hint" in served.err) == (9, True, True)


def test_a_kept_checkpoint_can_be_brought_along(history: Home, tmp_path: Path) -> None:
    said = run("audit", "verify", "--checkpoint", history.checkpoint, "--json", home=history)
    assert said.json["covered"] == 10
    forged = tmp_path / "forged"
    forged.write_text(history.checkpoint.read_text().replace("\n10\n", "\n9\n"))
    said = run("audit", "verify", "--checkpoint", forged, "--json", home=history)
    assert (said.code, said.error) == (5, "note_forged")
    said = run("audit", "verify", "--checkpoint", tmp_path / "none", "--json", home=history)
    assert said.code == 2


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"\x00" * 8192, b"SQLite format 3\x00" + b"\xff" * 8192]
)
@pytest.mark.parametrize(
    "command", [["audit", "verify"], ["audit", "log"], ["audit", "show", "0"], ["serve"], ["freeze"]]
)
def test_a_file_that_is_no_store_is_an_error_and_no_traceback(
    home: Home, tmp_path: Path, key: list[object], content: bytes, command: list[str]
) -> None:
    home.store.write_bytes(content)
    for suffix in ("-wal", "-shm"):
        Path(f"{home.store}{suffix}").unlink(missing_ok=True)
    if command == ["serve"]:
        command = [*command, "--passphrase-file", str(secret_file(tmp_path))]
    if command == ["freeze"]:
        command = [*command, *map(str, key)]
    said = run(*command, home=home)
    assert said.code in (5, 6, 9)
    assert "error" in said.err


# --- doctor -------------------------------------------------------------------------------------------


def findings(home: Home) -> dict[str, tuple[str, str]]:
    said = run("doctor", "--json", home=home)
    found = {f["subject"]: (f["level"], f["hint"]) for f in said.json}
    assert said.code == (1 if any(level == "problem" for level, _ in found.values()) else 0)
    return found


def test_doctor_finds_what_others_can_read(home: Home) -> None:
    assert findings(home)["files"][0] == "ok"
    home.wallet("main").chmod(0o644)
    assert findings(home)[str(home.wallet("main"))] == ("problem", f"chmod go= {home.wallet('main')}")


def test_doctor_finds_secrets_in_the_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLETGATE_PASSPHRASE", PASSPHRASE)
    assert findings(home)["WALLETGATE_PASSPHRASE"][0] == "problem"


def test_doctor_finds_agents_of_the_same_user(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "walletgate" / "agents"
    folder.mkdir(parents=True)
    (folder / "shopper.toml").write_text("")
    found = findings(home)
    assert found["users"][0] == "warning"
    assert found["operators"][0] == "warning"


def test_doctor_finds_a_node_that_is_away_and_one_that_lies(home: Home) -> None:
    assert findings(home)["node of anvil"][0] == "problem"
    with served(FakeChain(chain_id=1)) as node:
        home.config.write_text(home.config.read_text().replace(NOWHERE, node))
        said = run("doctor", "--json", home=home)
        (found,) = [f for f in said.json if f["subject"] == "node of anvil"]
        assert found["level"] == "problem"
        assert "chain 1" in found["text"]


def test_doctor_finds_an_open_door(home: Home) -> None:
    assert findings(home)["listen"][0] == "ok"
    home.config.write_text(home.config.read_text().replace("127.0.0.1:0", "0.0.0.0:0"))
    assert findings(home)["listen"][0] == "warning"
    assert findings(home)["gate"] == ("warning", "walletgate serve")

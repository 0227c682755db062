"""Drafts, roles, versions and signing elsewhere, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.test_cli import Live, Said, ask, home, key, live, policy, quick, run, secret_file
from tests.factories import ALICE, BOB, ORIGIN
from tests.gate.test_drafts import LOOSER, TIGHTER, address
from tests.gate_process import SCRYPT_COST
from walletgate.cli import app
from walletgate.cli.client import OperatorClient
from walletgate.server import Home
from walletgate.signers import create_keystore

assert all((home, key, live, policy, quick))


@pytest.fixture
def bob(home: Home, tmp_path: Path, key: list[object]) -> list[object]:
    """How bob signs, who is a policy-maker of this home, too; two must agree."""
    create_keystore(home.operator("bob"), "correct horse", secret=BOB, scrypt_cost=SCRYPT_COST)
    roles = ["--role", "policy-maker", "--role", "approver"]
    added = run("operator", "add", "bob", "--address", address(BOB), *roles, "-o", "alice", *key, home=home)
    assert added.code == 0, added
    assert run("operator", "quorum", "2", "-o", "alice", *key, home=home).code == 0
    return ["-o", "bob", *key]


def write(folder: Path, text: str) -> Path:
    path = folder / f"policy-{len(list(folder.iterdir()))}.toml"
    path.write_text(text)
    return path


def test_a_looser_policy_waits_for_another_and_a_tighter_one_does_not(
    home: Home, tmp_path: Path, key: list[object], bob: list[object]
) -> None:
    """Without a gate running: every word is carried out on the store itself, by the same code."""
    alice = ["-o", "alice", *key]
    looser, tighter = write(tmp_path, LOOSER), write(tmp_path, TIGHTER)
    said = run("policy", "apply", looser, "--grant", "shopper", *alice, home=home)
    assert said.code == 0
    assert "signed by 1 of 2; not in force yet" in said.out
    assert "no longer at most 50 USDC" in said.err
    assert "walletgate draft sign draft_" in said.err
    (draft,) = run("draft", "list", "--json", home=home).json
    assert (draft["signed"], draft["needs"], draft["status"]) == (["alice"], 2, "open")
    shown = run("draft", "show", draft["id"], home=home).out
    assert "The new policy is looser." in shown
    again = run("draft", "sign", draft["id"], "--yes", *alice, "--json", home=home)
    assert (again.code, again.error) == (6, "already_spoken")
    done = run("draft", "sign", draft["id"], "--yes", *bob, "--json", home=home)
    assert done.json["status"] == "live"
    assert run("draft", "list", home=home).out.strip() == "no drafts wait"
    assert [each["status"] for each in run("draft", "list", "--all", "--json", home=home).json] == ["live"]
    assert "is now under" in run("policy", "apply", tighter, "--grant", "shopper", *bob, home=home).out
    found = run("policy", "history", "--grant", "shopper", "--json", home=home).json["versions"]
    assert [(v["number"], v["operator"], v["draft"]) for v in found] == [
        (1, "", None), (2, "alice", draft["id"]), (3, "bob", None),
    ]  # fmt: skip
    assert "in force" in run("policy", "history", "--grant", "shopper", home=home).out
    back = run("policy", "rollback", "--grant", "shopper", *alice, "--json", home=home).json
    assert back["needs"] == 2
    assert run("draft", "reject", back["draft"], "--yes", *bob, "--json", home=home).json["status"] == "rejected"
    missing = run("policy", "rollback", "--grant", "shopper", "--to", "9", *alice, "--json", home=home)
    assert (missing.code, missing.error) == (2, "version_unknown")
    assert run("audit", "verify", home=home).code == 0


def test_a_grant_is_shown_to_whoever_completes_it(
    home: Home, policy: Path, key: list[object], bob: list[object]
) -> None:
    runner = CliRunner()
    arguments = ["grant", "create", "second", "--wallet", "main", "--policy", str(policy), "-o", "alice"]
    made = runner.invoke(app, [*arguments, *map(str, key), "--json", "--home", str(home.root)])
    draft = json.loads(made.stdout)["draft"]
    assert "wg_grant_" not in made.stdout
    done = runner.invoke(app, ["draft", "sign", draft, "--yes", *map(str, bob), "--home", str(home.root)])
    assert "Token    wg_grant_" in done.stdout
    assert "shown this once" in done.stderr


def test_operators_say_who_may_what(live: Live, tmp_path: Path) -> None:
    signed = ["-o", "alice", "--operator-passphrase-file", secret_file(tmp_path)]
    dan = ["--address", "0x" + "09" * 20]
    added = run("operator", "add", "dan", *dan, "--role", "auditor", *signed, "--json", home=live.home)
    assert added.json["roles"] == ["auditor"]
    assert run("operator", "roles", "dan", "--role", "approver", *signed, home=live.home).code == 0
    listed = run("operator", "list", home=live.home).out
    assert "approver, auditor, policy-maker" in listed
    assert "1 of the policy-makers must agree" in listed
    assert run("operator", "roles", "dan", "--role", "owner", *signed, "--json", home=live.home).error == "role_unknown"
    assert run("operator", "quorum", "2", *signed, "--json", home=live.home).error == "quorum_unreachable"
    assert run("operator", "remove", "dan", *signed, home=live.home).code == 0


def test_a_chain_is_frozen_by_its_name(live: Live, tmp_path: Path) -> None:
    signed = ["--operator-passphrase-file", secret_file(tmp_path)]
    request = ask(live, 30)
    said = run("freeze", "chain:anvil", *signed, home=live.home)
    assert "freeze: chain:31337" in said.out
    assert "waiting requests ended" in said.out
    assert run("request", "show", request, "--json", home=live.home).json["status"] == "rejected"
    assert run("unfreeze", "chain:31337", *signed, home=live.home).code == 0
    assert run("freeze", "chain:atlantis", *signed, "--json", home=live.home).error == "scope_unknown"
    assert run("freeze", "agent:atlantis", *signed, "--json", home=live.home).error == "scope_unknown"


# --- signing elsewhere -------------------------------------------------------------------------------


def theirs(document: dict[str, Any], secret: bytes = ALICE) -> str:
    """What a wallet that knows nothing of ours signs."""
    from eth_account import Account  # noqa: PLC0415
    from eth_account.messages import encode_typed_data  # noqa: PLC0415

    return str(Account.sign_message(encode_typed_data(full_message=document), secret).signature.to_0x_hex())


def elsewhere(place: Home, folder: Path, *arguments: str) -> Said:
    """The two-step way: print and keep what is to be signed, sign it with another program, give both."""
    full = [*arguments, "--home", str(place.root)]
    printed = CliRunner().invoke(app, [*full, "--external"], input="")
    assert printed.exit_code == 2
    assert "signature_missing" in printed.stderr
    file = folder / "word.json"
    file.write_text(printed.stdout)
    return run(*full, "--typed-data", file, "--signature", theirs(json.loads(printed.stdout)))


def test_a_request_is_approved_with_a_wallet_elsewhere(live: Live, tmp_path: Path) -> None:
    request = ask(live, 30)
    said = elsewhere(live.home, tmp_path, "request", "approve", request)
    assert said.code == 0, said
    shown = run("request", "show", request, "--json", home=live.home).json
    assert shown["status"] in ("signed", "broadcast", "confirmed")
    assert shown["approvals"][0]["operator"] == "alice"


def test_a_freeze_is_signed_elsewhere_and_undone(live: Live, tmp_path: Path) -> None:
    said = elsewhere(live.home, tmp_path, "freeze", "agent:shopper")
    assert "freeze: agent:shopper" in said.out, said
    assert elsewhere(live.home, tmp_path, "unfreeze", "agent:shopper").code == 0


def test_a_draft_is_signed_elsewhere(home: Home, tmp_path: Path, bob: list[object]) -> None:
    draft = run("policy", "apply", write(tmp_path, LOOSER), "--grant", "shopper", *bob, "--json", home=home).json
    said = elsewhere(home, tmp_path, "draft", "sign", draft["draft"])
    assert "is live" in said.out, said


def test_one_session_prints_and_reads(live: Live) -> None:
    """The signature comes on stdin; a wrong one is refused by the gate, a garbled one here."""
    request = ask(live, 21)
    arguments = ["request", "reject", request, "--external", "--home", str(live.home.root)]
    said = CliRunner().invoke(app, arguments, input="0x1234\n")
    assert (said.exit_code, "bad_hex" in said.stderr) == (2, True)
    said = CliRunner().invoke(app, arguments, input="0x" + "11" * 64 + "1b\n")
    assert said.exit_code == 6
    assert json.loads(said.stdout)["domain"]["name"] == "WalletGate"


def test_what_was_signed_must_be_what_is_asked_now(live: Live, tmp_path: Path) -> None:
    one, two = ask(live, 21), ask(live, 22)
    place = ["--home", str(live.home.root)]
    printed = CliRunner().invoke(app, ["request", "approve", one, "--external", *place], input="")
    file = tmp_path / "word.json"
    file.write_text(printed.stdout)
    signature = theirs(json.loads(printed.stdout))
    both = ["--typed-data", file, "--signature", signature, "--json"]
    assert run("request", "approve", two, *both, home=live.home).error == "typed_data_differs"
    assert run("request", "reject", one, *both, home=live.home).error == "typed_data_differs"
    assert run("request", "approve", one, *both[2:], home=live.home).error == "signature_missing"
    file.write_text("[]")
    assert run("request", "approve", one, *both, home=live.home).error == "typed_data_invalid"
    for request in (one, two):
        OperatorClient(live.home).approve(
            OperatorClient(live.home).get(f"/v1/requests/{request}")["request"],
            secret=ALICE, gate=ORIGIN, approve=False, reason="",
        )  # fmt: skip

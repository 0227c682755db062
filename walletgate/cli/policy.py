"""Policies: check, read in plain words, try, and put in force."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from walletgate.cli.client import signed_command
from walletgate.cli.common import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    OperatorFileOption,
    OperatorOption,
    escape,
    leaving,
    out,
    print_json,
)  # fmt: skip
from walletgate.effects.request import strict_json
from walletgate.encoding import parse_address, to_hex
from walletgate.errors import ConfigError, InvalidRequestError
from walletgate.gate import Session
from walletgate.gate.codec import effect_json, plain
from walletgate.gate.judging import Fees, fill, judge_payload
from walletgate.policy import AGREES, Facts, Policy, describe, load, show
from walletgate.policy import explain as explain_words
from walletgate.server.wire import ask_of_api
from walletgate.store import Grant
from walletgate.types import Bucket, Hash32, Outcome, Payload, Transaction, TransactionRequest

app = typer.Typer(no_args_is_help=True, help="Policies: check, read in plain words, try, and put in force.")

POLICY_SIZE_BYTES_MAX = 1024 * 1024
FileArgument = Annotated[Path, typer.Argument(help="A policy file (TOML).")]


def read_policy(path: Path) -> Policy:
    """Reads and compiles a policy file.

    Raises:
        ConfigError: naming file and key.
    """
    try:
        if path.stat().st_size > POLICY_SIZE_BYTES_MAX:
            raise ConfigError(f"{path} is larger than {POLICY_SIZE_BYTES_MAX} bytes", code="policy_too_large")
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", code="policy_missing") from None
    return load(text, source=str(path))


@app.command()
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a policy file; errors name the key and the nearest right one."""
    with leaving(as_json=as_json):
        policy = read_policy(file)
        if as_json:
            print_json({"name": policy.name, "hash": to_hex(policy.hash), "chains": sorted(policy.chain_ids)})
        else:
            out.print(f"[green]ok[/]  {escape(policy.name)}  {to_hex(policy.hash)}")


@app.command("show")
def show_policy(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say a policy in plain words."""
    with leaving(as_json=as_json):
        lines = show(read_policy(file))
        if as_json:
            print_json({"lines": lines})
        else:
            for line in lines:
                out.print(escape(line))


@app.command()
def explain(
    file: FileArgument,
    request: Annotated[
        Path, typer.Argument(help="A request as JSON: {kind, payload, expect?}, as the agent API takes it.")
    ],
    wallet: Annotated[str, typer.Option("--wallet", help="The wallet's address.")],
    chain: Annotated[int | None, typer.Option("--chain", help="Chain id; by default the policy's only one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a request without touching anything: nothing spent yet, no node asked."""
    with leaving(as_json=as_json):
        policy = read_policy(file)
        judged = _judge_file(policy, request, wallet, chain)
        if as_json:
            print_json(
                {
                    "outcome": judged.decision.outcome.name.lower(),
                    "reasons": [plain(reason) for reason in judged.decision.reasons],
                    "effects": [effect_json(effect) for effect in judged.effects],
                }
            )
        else:
            owner = parse_address(wallet, where="--wallet")
            for effect in judged.effects:
                out.print(f"it {escape(describe(effect, policy, wallet=owner))}")
            for line in explain_words(judged.decision, policy):
                out.print(escape(line))
        if judged.decision.outcome is Outcome.DENY:
            raise typer.Exit(3)


@app.command("apply")
def apply_policy(
    file: FileArgument,
    grant: Annotated[str, typer.Option("--grant", help="The grant's id, or its agent's name.")],
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Put a policy in force for a grant; what waits under the old one ends."""
    with leaving(as_json=as_json):
        text = read_policy(file).text
        answer = signed_command(
            home,
            "policy.apply",
            {"grant": grant, "policy": text},
            operator=operator,
            passphrase_file=operator_passphrase_file,
        )
        if as_json:
            print_json(answer)
        else:
            out.print(f"{answer['grant']} is now under {answer['policy']}")


def _judge_file(policy: Policy, path: Path, wallet: str, chain: int | None) -> Any:
    try:
        body = strict_json(path.read_bytes())
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}", code="request_missing") from None
    if not isinstance(body, dict):
        raise InvalidRequestError(f"{path} must hold a JSON object", code="bad_shape")
    if chain is None and len(policy.chain_ids) != 1:
        raise InvalidRequestError("the policy has several chains: name one with --chain", code="wrong_chain")
    address = parse_address(wallet, where="--wallet")
    ask = ask_of_api({"id": "explain", **body}, wallet=address, surface="cli", trace={})
    nothing = Hash32(bytes(32))
    grant = Grant("explain", "explain", None, address, policy.hash, nothing, 0)
    session = Session(grant, chain if chain is not None else min(policy.chain_ids))
    asked = ask.asked
    payload: Payload = fill(asked, session, Fees(0, 0), 0) if isinstance(asked, TransactionRequest) else asked

    def unused(_bucket: Bucket, _window_ms: int | None) -> int:
        return 0

    return judge_payload(
        payload,
        session=session,
        policy=policy,
        now_ms=int(time.time() * 1000),
        method=ask.method,
        expect=ask.expect,
        facts=Facts(first_seen_ms={}, gas=payload.gas if isinstance(payload, Transaction) else None, simulation=AGREES),
        used=unused,
    )

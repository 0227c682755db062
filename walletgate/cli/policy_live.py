"""policy apply, history, rollback: which policy a grant is under, and how that changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from walletgate.cli.client import OperatorClient, signed_command
from walletgate.cli.common import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    OperatorFileOption,
    OperatorOption,
    escape,
    home_of,
    leaving,
    out,
    print_json,
    talk,
)  # fmt: skip
from walletgate.cli.draft import waits
from walletgate.cli.policy import FileArgument, read_policy
from walletgate.cli.show import moment
from walletgate.errors import InvalidRequestError
from walletgate.policy import Policy, load
from walletgate.policy.compare import compare, comparison_lines, named_lines

GrantOption = Annotated[str, typer.Option("--grant", help="The grant's id, or its agent's name.")]


def apply_policy(
    file: FileArgument,
    grant: GrantOption,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Put a policy in force for a grant; what waits under the old one ends.

    Says first what changes. What only tightens is in force at once; what loosens waits for the quorum, as a draft.
    """
    with leaving(as_json=as_json):
        _apply(home, grant, read_policy(file), operator, operator_passphrase_file, as_json=as_json)


def history(
    grant: GrantOption,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List the policies a grant was put under, and by whom."""
    with leaving(as_json=as_json):
        found = OperatorClient(home_of(home)).versions(grant)
        if as_json:
            print_json(found)
            return
        table = Table("version", "since", "policy", "hash", "by", "draft", "", box=None, pad_edge=False)
        for number, version in enumerate(found["versions"], 1):
            last = "in force" if number == len(found["versions"]) else ""
            table.add_row(
                str(version["number"]), moment(version["at_ms"]), Text(version["name"]), version["policy"],
                version["operator"] or "-", version["draft"] or "-", last,
            )  # fmt: skip
        out.print(table)


def rollback(
    grant: GrantOption,
    to: Annotated[int | None, typer.Option("--to", help="The version, as `policy history` counts them.")] = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Put a grant back under an earlier policy, by default the last; a change like any other."""
    with leaving(as_json=as_json):
        versions = OperatorClient(home_of(home)).versions(grant)["versions"]
        wanted = versions[-1]["number"] - 1 if to is None else to
        version = next((each for each in versions if each["number"] == wanted), None)
        if version is None:
            raise InvalidRequestError(f"there is no version {wanted} of this grant's policy", code="version_unknown")
        policy = load(version["text"], source=f"version {wanted}")
        _apply(home, grant, policy, operator, operator_passphrase_file, as_json=as_json)


def _apply(
    home: Path, grant: str, policy: Policy, operator: str | None, file: Path | None, *, as_json: bool
) -> None:  # fmt: skip
    found = OperatorClient(home_of(home)).versions(grant)
    before = load(found["versions"][-1]["text"], source="the policy in force")
    if not as_json:
        for line in (*comparison_lines(compare(before, policy)), *named_lines(before, policy)):
            talk.print(escape(line))
    payload: dict[str, Any] = {"grant": found["grant"], "policy": policy.text, "before": found["policy"]}
    answer = signed_command(home, "policy.apply", payload, operator=operator, passphrase_file=file)
    if waits(answer, as_json=as_json):
        return
    if as_json:
        print_json(answer)
    else:
        out.print(f"{answer['grant']} is now under {answer['policy']}")


def add_to(app: typer.Typer) -> None:
    """Makes these verbs of `walletgate policy`."""
    app.command("apply")(apply_policy)
    app.command("history")(history)
    app.command("rollback")(rollback)

"""Drafts: changes that loosen something and wait for more operators."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from walletgate.cli.client import OperatorClient, hand_of
from walletgate.cli.common import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    OperatorFileOption,
    OperatorOption,
    YesOption,
    escape,
    home_of,
    leaving,
    out,
    print_json,
    talk,
)  # fmt: skip
from walletgate.cli.hand import Elsewhere, ExternalOption, SignatureOption, TypedDataOption
from walletgate.cli.show import moment
from walletgate.errors import InvalidRequestError

app = typer.Typer(no_args_is_help=True, help="Drafts: changes that loosen something and wait for more operators.")

IdArgument = Annotated[str, typer.Argument(help="The draft's id, draft_…")]
ReasonOption = Annotated[str, typer.Option("--reason", help="For the log.")]


@app.command("list")
def list_drafts(
    every: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List drafts that wait, newest first."""
    with leaving(as_json=as_json):
        drafts = [each for each in OperatorClient(home_of(home)).drafts() if every or state_of(each) == "open"]
        if as_json:
            print_json(drafts)
            return
        if not drafts:
            out.print("no drafts wait")
            return
        table = Table("draft", "by", "state", "signed", "until", "what", box=None, pad_edge=False)
        for each in drafts:
            signed = f"{len(each['signed'])} of {each['needs']}"
            until = moment(each["expires_ms"])
            table.add_row(each["id"], each["proposer"], state_of(each), signed, until, Text(each["lines"][0]))
        out.print(table)


@app.command()
def show(draft_id: IdArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show exactly what a draft would change."""
    with leaving(as_json=as_json):
        draft = _find(OperatorClient(home_of(home)), draft_id)
        if as_json:
            print_json(draft)
        else:
            print_draft(draft)


@app.command()
def sign(  # noqa: PLR0917 - each is an option of the command line
    draft_id: IdArgument,
    reason: ReasonOption = "",
    yes: YesOption = False,
    external: ExternalOption = False,
    signature: SignatureOption = None,
    typed_data: TypedDataOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show a draft, ask, and sign your yes to exactly it; the last yes of the quorum carries it out."""
    elsewhere = Elsewhere(external, signature, typed_data)
    _decide(
        home, draft_id, approve=True, reason=reason, yes=yes, operator=operator,
        file=operator_passphrase_file, elsewhere=elsewhere, as_json=as_json,
    )  # fmt: skip


@app.command()
def reject(  # noqa: PLR0917 - each is an option of the command line
    draft_id: IdArgument,
    reason: ReasonOption = "",
    yes: YesOption = False,
    external: ExternalOption = False,
    signature: SignatureOption = None,
    typed_data: TypedDataOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Sign your no to a draft; one no ends it."""
    elsewhere = Elsewhere(external, signature, typed_data)
    _decide(
        home, draft_id, approve=False, reason=reason, yes=yes, operator=operator,
        file=operator_passphrase_file, elsewhere=elsewhere, as_json=as_json,
    )  # fmt: skip


def state_of(draft: dict[str, Any]) -> str:
    """What has become of a draft; one whose time is over has expired, whether or not anybody has noted it."""
    over = draft["status"] == "open" and time.time() * 1000 >= draft["expires_ms"]
    return "expired" if over else str(draft["status"])


def print_draft(draft: dict[str, Any]) -> None:
    """A draft as an operator needs to see it before signing."""
    signed = ", ".join(draft["signed"]) or "nobody"
    out.print(f"[bold]{escape(draft['id'])}[/]  {escape(draft['action'])}  {state_of(draft)}")
    for line in draft["lines"]:
        out.print(escape(line))
    out.print(f"signed by {escape(signed)}; {draft['needs']} are needed, until {moment(draft['expires_ms'])} UTC")


def waits(answer: dict[str, Any], *, as_json: bool) -> bool:
    """Whether a command has become a draft; then says so, and what to do next."""
    if "draft" not in answer or "lines" not in answer:
        return False
    if as_json:
        print_json(answer)
        return True
    out.print(f"Draft    {answer['draft']}  signed by {len(answer['signed'])} of {answer['needs']}; not in force yet")
    for line in answer["lines"]:
        out.print(f"  {escape(line)}")
    talk.print(f"Next, another policy-maker: [bold]walletgate draft sign {answer['draft']}[/]")
    return True


def _find(client: OperatorClient, draft_id: str) -> dict[str, Any]:
    draft = next((each for each in client.drafts() if each["id"] == draft_id), None)
    if draft is None:
        raise InvalidRequestError("there is no such draft", code="draft_unknown")
    return draft


def _decide(
    home: Path, draft_id: str, *, approve: bool, reason: str, yes: bool, operator: str | None, file: Path | None,
    elsewhere: Elsewhere, as_json: bool,
) -> None:  # fmt: skip
    with leaving(as_json=as_json):
        client = OperatorClient(home_of(home))
        draft = _find(client, draft_id)
        if not as_json and not elsewhere.is_used:
            print_draft(draft)
        verb = "Sign" if approve else "Reject"
        if not yes and not elsewhere.is_used and not typer.confirm(f"{verb} this draft?", err=True):
            raise typer.Exit(1)
        hand = hand_of(client, operator=operator, passphrase_file=file, elsewhere=elsewhere)
        answer = client.sign_draft(draft, secret=hand, approve=approve, reason=reason)
        if as_json:
            print_json(answer)
            return
        out.print(f"{answer['draft']} is {answer['status']}")
        token = answer.get("answer", {}).get("token")
        if token:
            out.print(f"Token    {token}")
            talk.print("The token is shown this once; the gate keeps only its hash.")

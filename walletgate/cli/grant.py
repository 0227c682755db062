"""Grants: one agent's authority over one wallet under one policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

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
from walletgate.cli.policy import read_policy
from walletgate.cli.show import moment
from walletgate.server.home import Home, write_private

app = typer.Typer(no_args_is_help=True, help="Grants: one agent's authority over one wallet under one policy.")


@app.command()
def create(  # noqa: PLR0917 - each is an option of the command line
    agent: Annotated[str, typer.Argument(help="The agent's name.")],
    wallet: Annotated[str, typer.Option("--wallet", help="The wallet it may use.")],
    policy: Annotated[Path, typer.Option("--policy", help="The policy file.")],
    days: Annotated[int | None, typer.Option("--days", min=1, help="For how long; by default until revoked.")] = None,
    team: Annotated[str | None, typer.Option("--team", help="A group of grants with limits in common.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Write the token to this user's agent configuration.")] = False,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Give an agent a scoped signer. The token is shown once."""
    with leaving(as_json=as_json):
        place = home_of(home)
        text = read_policy(policy).text
        payload = {"agent": agent, "wallet": wallet, "policy": text}
        lifetime = {} if days is None else {"lifetime_s": days * 86_400}
        group = {} if team is None else {"team": team}
        answer = signed_command(
            home, "grant.create", {**payload, **lifetime, **group},
            operator=operator, passphrase_file=operator_passphrase_file,
        )  # fmt: skip
        if waits(answer, as_json=as_json):
            return
        if save:
            path = _save(place, agent, answer["token"])
            answer = {**answer, "token": "saved", "file": str(path)}
        if as_json:
            print_json(answer)
            return
        out.print(f"Grant    {answer['grant']}  {agent} may use {wallet} {answer['address']}")
        out.print(f"Token    {answer['token']}" if not save else f"Token    saved in {answer['file']}")
        if not save:
            talk.print("The token is shown this once; the gate keeps only its hash.")


@app.command()
def revoke(
    grant: Annotated[str, typer.Argument(help="The grant's id, or its agent's name if it has only one.")],
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """End a grant at once, with everything that waits under it."""
    with leaving(as_json=as_json):
        answer = signed_command(
            home, "grant.revoke", {"grant": grant}, operator=operator, passphrase_file=operator_passphrase_file
        )
        if as_json:
            print_json(answer)
        else:
            out.print(f"revoked: {answer['grant']}")


@app.command("list")
def list_grants(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List grants."""
    with leaving(as_json=as_json):
        grants = OperatorClient(home_of(home)).get("/v1/status")["grants"]
        if as_json:
            print_json(grants)
            return
        table = Table("grant", "agent", "wallet", "policy", "made", "state", box=None, pad_edge=False)
        for item in grants:
            state = "revoked" if item["revoked_ms"] else "in force"
            policy = escape(item["policy"]["name"])
            table.add_row(item["id"], item["agent"], item["wallet"], policy, moment(item["created_ms"]), state)
        out.print(table)


def _save(home: Home, agent: str, token: str) -> Path:
    path = Path.home() / ".config" / "walletgate" / "agents" / f"{agent}.toml"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = home.read_config()
    write_private(path, f'url = "http://{config.listen[0]}:{config.listen[1]}"\ntoken = "{token}"\n')
    return path

"""Operators: people with a key of their own."""

from __future__ import annotations

from typing import Annotated

import typer

from walletgate.cli.client import OperatorClient, signed_command
from walletgate.cli.common import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    OperatorFileOption,
    OperatorOption,
    check_name,
    home_of,
    leaving,
    out,
    print_json,
    read_passphrase,
)  # fmt: skip
from walletgate.cli.draft import waits
from walletgate.encoding import checksum_address
from walletgate.signers import create_keystore
from walletgate.store import APPROVER, ROLES

app = typer.Typer(no_args_is_help=True, help="Operators: people with a key of their own.")

RoleOption = Annotated[
    list[str] | None, typer.Option("--role", help=f"{', '.join(ROLES)}. Repeatable.", show_default=False)
]
NameArgument = Annotated[str, typer.Argument(help="What the operator is called in policies and the log.")]


@app.command()
def add(
    name: NameArgument,
    address: Annotated[
        str | None, typer.Option("--address", help="Their address, if they keep their key elsewhere.")
    ] = None,
    role: RoleOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Add an operator: by address, or with a new key in a keystore here; by default as approver."""
    with leaving(as_json=as_json):
        place = home_of(home)
        check_name(name)
        client = OperatorClient(place)
        _, secret = client.operator_secret(operator, lambda what: read_passphrase(what, file=operator_passphrase_file))
        if address is None:
            passphrase = read_passphrase(f"new operator {name}", confirm=True)
            address = checksum_address(create_keystore(place.operator(name), passphrase))
        payload = {"name": name, "address": address, "roles": role or [APPROVER]}
        answer = client.command("operator.add", payload, secret=secret)
        if waits(answer, as_json=as_json):
            return
        if as_json:
            print_json(answer)
        else:
            out.print(f"Operator  {answer['name']}  {answer['address']}  {', '.join(answer['roles'])}")


@app.command()
def roles(
    name: NameArgument,
    role: RoleOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Give an operator exactly these roles; one more is loosening, one fewer is not."""
    with leaving(as_json=as_json):
        payload = {"name": name, "roles": role or []}
        answer = signed_command(
            home, "operator.roles", payload, operator=operator, passphrase_file=operator_passphrase_file
        )
        if waits(answer, as_json=as_json):
            return
        if as_json:
            print_json(answer)
        else:
            out.print(f"Operator  {answer['name']}  {', '.join(answer['roles'])}")


@app.command()
def quorum(
    number: Annotated[int, typer.Argument(min=1, max=64, help="How many policy-makers must agree.")],
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Say how many policy-makers must agree before anything is loosened; lowering it needs as many as before."""
    with leaving(as_json=as_json):
        answer = signed_command(
            home, "quorum.set", {"quorum": number}, operator=operator, passphrase_file=operator_passphrase_file
        )
        if waits(answer, as_json=as_json):
            return
        if as_json:
            print_json(answer)
        else:
            out.print(f"quorum: {answer['quorum']}")


@app.command()
def remove(
    name: NameArgument,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Remove an operator; what they approved and is not signed yet no longer counts."""
    with leaving(as_json=as_json):
        answer = signed_command(
            home, "operator.remove", {"name": name}, operator=operator, passphrase_file=operator_passphrase_file
        )
        if as_json:
            print_json(answer)
        else:
            out.print(f"removed: {answer['name']}")


@app.command("list")
def list_operators(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List operators, their roles, and the quorum."""
    with leaving(as_json=as_json):
        answer = OperatorClient(home_of(home)).get("/v1/status")
        operators = answer["operators"]
        if as_json:
            print_json(operators)
            return
        width = max((len(item["name"]) for item in operators), default=0)
        for item in operators:  # lines, not a table: an address that is cut short proves nothing
            state = "removed" if item["removed_ms"] else "in force"
            out.print(f"{item['name']:<{width}}  {item['address']}  {', '.join(item['roles'])}  {state}")
        out.print(f"{answer['quorum']} of the policy-makers must agree before anything is loosened.")

"""Operators: people with a key of their own."""

from __future__ import annotations

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
    check_name,
    home_of,
    leaving,
    out,
    print_json,
    read_passphrase,
)  # fmt: skip
from walletgate.encoding import checksum_address
from walletgate.signers import create_keystore

app = typer.Typer(no_args_is_help=True, help="Operators: people with a key of their own.")

NameArgument = Annotated[str, typer.Argument(help="What the operator is called in policies and the log.")]


@app.command()
def add(
    name: NameArgument,
    address: Annotated[
        str | None, typer.Option("--address", help="Their address, if they keep their key elsewhere.")
    ] = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Add an operator: by address, or with a new key in a keystore here."""
    with leaving(as_json=as_json):
        place = home_of(home)
        check_name(name)
        client = OperatorClient(place)
        _, secret = client.operator_secret(operator, lambda what: read_passphrase(what, file=operator_passphrase_file))
        if address is None:
            passphrase = read_passphrase(f"new operator {name}", confirm=True)
            address = checksum_address(create_keystore(place.operator(name), passphrase))
        answer = client.command("operator.add", {"name": name, "address": address}, secret=secret)
        if as_json:
            print_json(answer)
        else:
            out.print(f"Operator  {answer['name']}  {answer['address']}")


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
    """List operators."""
    with leaving(as_json=as_json):
        operators = OperatorClient(home_of(home)).get("/v1/status")["operators"]
        if as_json:
            print_json(operators)
            return
        table = Table("name", "address", "state", box=None, pad_edge=False)
        for item in operators:
            table.add_row(item["name"], item["address"], "removed" if item["removed_ms"] else "in force")
        out.print(table)

"""Wallets: the addresses the gate can sign for."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from walletgate.cli.client import OperatorClient
from walletgate.cli.common import (
    DEFAULT_HOME,
    FdOption,
    FileOption,
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
    talk,
)  # fmt: skip
from walletgate.encoding import checksum_address
from walletgate.errors import SignerError
from walletgate.signers import create_keystore
from walletgate.signers.keystore import read_keystore

app = typer.Typer(no_args_is_help=True, help="Wallets: the addresses the gate can sign for.")

NameArgument = Annotated[str, typer.Argument(help="What the wallet is called in this gate.")]


@app.command()
def create(
    name: NameArgument,
    passphrase_file: FileOption = None,
    passphrase_fd: FdOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Make a new key in an encrypted keystore and add its address."""
    with leaving(as_json=as_json):
        passphrase = read_passphrase("the wallets", file=passphrase_file, descriptor=passphrase_fd, confirm=True)
        _add(home, name, passphrase, None, operator, operator_passphrase_file, as_json)


@app.command("import")
def import_key(
    name: NameArgument,
    keystore: Annotated[Path | None, typer.Option("--keystore", help="A V3 keystore to take the key from.")] = None,
    passphrase_file: FileOption = None,
    passphrase_fd: FdOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Take a key from a V3 keystore, or from a hidden prompt, into a keystore of the gate's own."""
    with leaving(as_json=as_json):
        if keystore is not None:
            secret = read_keystore(keystore, read_passphrase(f"keystore {keystore.name}"))
        else:
            secret = _prompt_secret()
        passphrase = read_passphrase("the wallets", file=passphrase_file, descriptor=passphrase_fd, confirm=True)
        _add(home, name, passphrase, secret, operator, operator_passphrase_file, as_json)


@app.command("list")
def list_wallets(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List wallets."""
    with leaving(as_json=as_json):
        wallets = OperatorClient(home_of(home)).get("/v1/status")["wallets"]
        if as_json:
            print_json(wallets)
            return
        table = Table("name", "address", box=None, pad_edge=False)
        for wallet in wallets:
            table.add_row(wallet["name"], wallet["address"])
        out.print(table)


def _add(
    home: Path, name: str, passphrase: str, secret: bytes | None, operator: str | None, file: Path | None, as_json: bool
) -> None:
    place = home_of(home)
    place.read_config()
    check_name(name)
    client = OperatorClient(place)
    _, operator_key = client.operator_secret(operator, lambda what: read_passphrase(what, file=file))
    path = place.wallet(name)
    address = checksum_address(create_keystore(path, passphrase, secret=secret))
    payload: dict[str, Any] = {"name": name, "address": address, "keystore": str(path)}
    answer = client.command("wallet.add", payload, secret=operator_key)
    if as_json:
        print_json({"name": name, "address": address})
        return
    out.print(f"Wallet  {name}  {address}")
    if answer.get("opened") is False:
        talk.print("The running gate could not open it: it was started with another passphrase. Restart `serve`.")
    talk.print(f"Next: [bold]walletgate grant create AGENT --wallet {name} --policy FILE[/]")


def _prompt_secret() -> bytes:
    if not sys.stdin.isatty():
        raise SignerError("a key is imported in a terminal or from --keystore", code="keystore_missing")
    text = getpass.getpass("Private key (64 hex digits, not shown): ").strip().removeprefix("0x")
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise SignerError("a private key has 64 hex digits", code="keystore_invalid")
    return secret

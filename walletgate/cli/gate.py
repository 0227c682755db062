"""init, serve, status, freeze, unfreeze."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from walletgate.cli.client import OperatorClient, signed_command
from walletgate.cli.common import (
    DEFAULT_HOME,
    FdOption,
    FileOption,
    HomeOption,
    JsonOption,
    OperatorFileOption,
    OperatorOption,
    check_name,
    escape,
    home_of,
    leaving,
    out,
    print_json,
    read_passphrase,
    talk,
)  # fmt: skip
from walletgate.cli.draft import waits
from walletgate.cli.hand import Elsewhere, ExternalOption, SignatureOption, TypedDataOption
from walletgate.cli.show import budget_table, quorum_warning
from walletgate.cli.store import without_password
from walletgate.encoding import checksum_address
from walletgate.errors import ConfigError, InvalidRequestError
from walletgate.server import create_home, serve
from walletgate.server.home import DEFAULT_LISTEN
from walletgate.signers import create_keystore
from walletgate.signers.keystore import read_keystore
from walletgate.types import CHAINS

ChainOption = Annotated[
    list[str], typer.Option("--chain", help="A chain to serve, as NAME=URL (base=http://127.0.0.1:8545). Repeatable.")
]
NameOption = Annotated[str, typer.Option("--name", help="The gate's name: log origin, and part of every signed word.")]
ListenOption = Annotated[str, typer.Option("--listen", help="Where agents reach the gate, HOST:PORT.")]
FirstOperatorOption = Annotated[str, typer.Option("--operator", help="The name of the first operator.")]
ScopeArgument = Annotated[str, typer.Argument(help="all, wallet:NAME, grant:ID, agent:NAME or chain:NAME.")]


def init(
    chain: ChainOption,
    name: NameOption = "walletgate/audit/1",
    listen: ListenOption = DEFAULT_LISTEN,
    operator: FirstOperatorOption = "operator",
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Make a gate's home: configuration, log key, and the first operator's key."""
    with leaving(as_json=as_json):
        chains = dict(_split_chain(text) for text in chain)
        place = home_of(home)
        check_name(operator)
        passphrase = read_passphrase(f"operator {operator}", file=operator_passphrase_file, confirm=True)
        made = create_home(place.root, name=name, chains=chains, listen=listen)
        address = create_keystore(made.operator(operator), passphrase)
        secret = read_keystore(made.operator(operator), passphrase)
        payload = {"name": operator, "address": checksum_address(address)}
        OperatorClient(made).command("operator.add", payload, secret=secret)
        if as_json:
            print_json({"home": str(made.root), "operator": payload})
            return
        out.print(f"Home      {made.root}")
        out.print(f"Operator  {operator}  {payload['address']}")
        talk.print("Next: [bold]walletgate wallet create NAME[/]")


def serve_command(
    home: HomeOption = DEFAULT_HOME,
    passphrase_file: FileOption = None,
    passphrase_fd: FdOption = None,
    store: Annotated[
        str | None, typer.Option("--store", help="postgresql://… that several gates share, instead of the home's own.")
    ] = None,
) -> None:
    """Run the gate until interrupted."""
    with leaving():
        place = home_of(home)
        place.read_config()
        url = None if store is None else without_password(store)
        passphrase = read_passphrase("the wallets", file=passphrase_file, descriptor=passphrase_fd)

        def ready(url: str) -> None:
            talk.print(f"[bold green]serving[/] agents at {url} and {place.agent_socket}")
            talk.print(f"        operators at {place.operator_socket}")

        if sys.platform == "win32":
            asyncio.run(serve(place, passphrase, ready=ready, place=url))
        else:
            import uvloop  # noqa: PLC0415 - only a serving process needs it, and it takes a while to load

            uvloop.run(serve(place, passphrase, ready=ready, place=url))


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show wallets, grants, what is left of every limit, and what waits."""
    with leaving(as_json=as_json):
        answer = OperatorClient(home_of(home)).get("/v1/status")
        if as_json:
            print_json(answer)
            return
        waiting = answer["open"]["awaiting_approval"]
        drafts = f"  {answer['drafts']} drafts" if answer["drafts"] else ""
        out.print(f"[bold]{escape(answer['gate'])}[/]  log {answer['log']['size']} entries  {waiting} waiting{drafts}")
        for chain in answer["chains"]:
            head = f"block {chain['head']}" if chain["problem"] is None else f"[red]{chain['problem']}[/]"
            out.print(f"chain {chain['chain_id']}  {head}")
        for freeze in answer["freezes"]:
            out.print(f"[bold red]FROZEN[/] {freeze['scope']} by {freeze['operator']}: {escape(freeze['reason'])}")
        for name in answer["stuck"]:
            out.print(f"[bold red]STUCK[/] {name}: nobody mines it (request speed-up, request cancel)")
        warning = quorum_warning(answer)
        if warning is not None:
            out.print(f"[yellow]warning[/] {escape(warning)}; `walletgate operator quorum 2`")
        out.print(_grants(answer))
        allowances = _allowances(answer["allowances"])
        if allowances is not None:
            out.print(allowances)
        table = budget_table(answer["grants"])
        if table is not None:
            out.print(table)


def freeze(  # noqa: PLR0917 - each is an option of the command line
    scope: ScopeArgument = "all",
    reason: Annotated[str, typer.Option("--reason", help="For the log.")] = "",
    external: ExternalOption = False,
    signature: SignatureOption = None,
    typed_data: TypedDataOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Stop signing for everything, a wallet, a grant, an agent or a chain, from the very next request.

    What waits for operators there ends, rejected. One operator suffices.
    """
    elsewhere = Elsewhere(external, signature, typed_data)
    _command("freeze", {"scope": scope, "reason": reason}, operator, operator_passphrase_file, elsewhere, home, as_json)


def unfreeze(
    scope: ScopeArgument = "all",
    external: ExternalOption = False,
    signature: SignatureOption = None,
    typed_data: TypedDataOption = None,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """End a freeze; needs the quorum."""
    elsewhere = Elsewhere(external, signature, typed_data)
    _command("unfreeze", {"scope": scope}, operator, operator_passphrase_file, elsewhere, home, as_json)


UNLIMITED = 2**159
"""From here on no holding is as large: Permit2 and ERC-20 both call their greatest number unlimited."""


def _command(
    action: str, payload: dict[str, Any], operator: str | None, file: Path | None, elsewhere: Elsewhere, home: Path,
    as_json: bool,
) -> None:  # fmt: skip
    with leaving(as_json=as_json):
        kind, _, name = str(payload["scope"]).partition(":")
        if kind == "chain" and not name.isdigit():
            payload = {**payload, "scope": f"chain:{_chain_id(home, name)}"}
        answer = signed_command(home, action, payload, operator=operator, passphrase_file=file, elsewhere=elsewhere)
        if waits(answer, as_json=as_json):
            return
        if as_json:
            print_json(answer)
            return
        ended = f"; {answer['ended']} waiting requests ended" if answer.get("ended") else ""
        out.print(f"{action}: {answer['scope']}{ended}")


def _chain_id(home: Path, name: str) -> int:
    """The id of a chain that the home names, or that everybody knows."""
    known = {chain.name: chain.chain_id for chain in home_of(home).read_config().chains}
    if name not in known and name not in CHAINS:
        raise InvalidRequestError(f"there is no chain {name}: give its number", code="scope_unknown")
    return known.get(name) or CHAINS[name][0]


def _allowances(rows: list[dict[str, Any]]) -> Table | None:
    """What spenders may still take at most; `request revoke-allowance` takes it back."""
    if not rows:
        return None
    table = Table("wallet", "spender", "may still take, at most", "of", "chain", box=None, pad_edge=False)
    for row in rows:
        amount = "[bold red]unlimited[/]" if int(row["amount"]) >= UNLIMITED else row["amount"]
        table.add_row(row["wallet"], row["spender"], amount, escape(row["asset_name"] or row["asset"]),
                      str(row["chain_id"]))  # fmt: skip
    return table


def _grants(answer: dict[str, Any]) -> Table:
    names = {wallet["address"]: wallet["name"] for wallet in answer["wallets"]}
    table = Table("agent", "grant", "wallet", "policy", "state", box=None, pad_edge=False)
    for grant in answer["grants"]:
        state = "[red]revoked[/]" if grant["revoked_ms"] else "[green]in force[/]"
        table.add_row(
            grant["agent"], grant["id"], names.get(grant["wallet"], grant["wallet"]), grant["policy"]["name"], state
        )
    return table


def _split_chain(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url:
        raise ConfigError(f"--chain wants NAME=URL, not {text!r}")
    return name, url

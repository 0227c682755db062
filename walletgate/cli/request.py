"""Requests: see what agents asked for, and decide on what waits."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.prompt import Prompt

from walletgate.cli.client import OperatorClient, hand_of, signed_command
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
    read_passphrase,
    talk,
)  # fmt: skip
from walletgate.cli.hand import Elsewhere, ExternalOption, Hand, SignatureOption, TypedDataOption
from walletgate.cli.show import folded, plain_request, request_panel, request_table
from walletgate.errors import InvalidRequestError

app = typer.Typer(no_args_is_help=True, help="Requests: see what agents asked for, and decide on what waits.")

IdArgument = Annotated[str, typer.Argument(help="The request's id, req_…")]
ReasonOption = Annotated[str, typer.Option("--reason", help="For the log.")]
POLL_S = 1.0


@app.command("list")
def list_requests(
    status: Annotated[str | None, typer.Option("--status", help="Only these, e.g. awaiting_approval.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 50,
    plain: Annotated[bool, typer.Option("--plain", help="One line a request, no table.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List requests, newest first; those that wait and would do the same are one line."""
    with leaving(as_json=as_json):
        query = f"?limit={limit}" + (f"&status={quote(status, safe='')}" if status else "")
        requests = OperatorClient(home_of(home)).get(f"/v1/requests{query}")["requests"]
        if as_json:
            print_json(requests)
        elif plain:
            for request, count in folded(requests):
                out.print(escape(plain_request(request, count)))
        else:
            out.print(request_table(requests))


@app.command()
def show(request_id: IdArgument, home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show one request: what it would do, why it was decided so, and its digest."""
    with leaving(as_json=as_json):
        request = OperatorClient(home_of(home)).get(_path(request_id))["request"]
        if as_json:
            print_json(request)
        else:
            out.print(request_panel(request))


@app.command()
def approve(  # noqa: PLR0917 - each is an option of the command line
    request_id: IdArgument,
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
    """Show a request, ask, and sign your yes to exactly it."""
    elsewhere = Elsewhere(external, signature, typed_data)
    _decide(
        home, request_id, approve=True, reason=reason, yes=yes, operator=operator,
        file=operator_passphrase_file, elsewhere=elsewhere, as_json=as_json,
    )  # fmt: skip


@app.command()
def reject(  # noqa: PLR0917 - each is an option of the command line
    request_id: IdArgument,
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
    """Sign your no to a request; one no ends it."""
    elsewhere = Elsewhere(external, signature, typed_data)
    _decide(
        home, request_id, approve=False, reason=reason, yes=yes, operator=operator,
        file=operator_passphrase_file, elsewhere=elsewhere, as_json=as_json,
    )  # fmt: skip


@app.command()
def watch(
    plain: Annotated[bool, typer.Option("--plain", help="One request after another, for screen readers.")] = False,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Wait for requests that need you, show each, and take your answer.

    On a terminal this is a screen with a queue; --plain asks line by line, as it does anywhere else.
    """
    with leaving():
        client = OperatorClient(home_of(home))
        gate = client.get("/v1/status")["gate"]
        name, secret = client.operator_secret(
            operator, lambda what: read_passphrase(what, file=operator_passphrase_file)
        )
        if not plain and sys.stdin.isatty() and sys.stdout.isatty():
            from walletgate.cli.watch import WatchApp  # noqa: PLC0415 - only a screen needs it, and it is slow to load

            WatchApp(client, Hand(secret), operator=name, gate=gate).run()
            return
        talk.print(f"Watching as [bold]{escape(name)}[/]; Ctrl-C ends.")
        skipped: set[str] = set()
        while True:
            waiting = client.get("/v1/requests?status=awaiting_approval&limit=200")["requests"]
            fresh = [request for request in reversed(waiting) if request["request_id"] not in skipped]
            for request in fresh:
                skipped.add(request["request_id"])
                out.print(request_panel(request))
                answer = Prompt.ask("approve, reject or skip", choices=["a", "r", "s"], default="s", console=talk)
                if answer != "s":
                    reason = "" if answer == "a" else Prompt.ask("reason", default="", console=talk)
                    with leaving_softly():
                        done = client.approve(request, secret=secret, gate=gate, approve=answer == "a", reason=reason)
                        out.print(escape(plain_request(done)))
            if not fresh:
                time.sleep(POLL_S)


class leaving_softly:  # noqa: N801 - reads as the statement it is
    """Shows an error and goes on with the next request."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> bool:
        from walletgate.errors import WalletGateError  # noqa: PLC0415

        if isinstance(error, WalletGateError):
            talk.print(f"[bold red]error[/] {escape(str(error))}")
            return True
        return False


def _path(request_id: str) -> str:
    return f"/v1/requests/{quote(request_id, safe='')}"


def _decide(
    home: Path, request_id: str, *, approve: bool, reason: str, yes: bool, operator: str | None, file: Path | None,
    elsewhere: Elsewhere, as_json: bool,
) -> None:  # fmt: skip
    with leaving(as_json=as_json):
        client = OperatorClient(home_of(home))
        gate = client.get("/v1/status")["gate"]
        request = client.get(_path(request_id))["request"]
        verb = "Approve" if approve else "Reject"
        if not as_json and not elsewhere.is_used:
            out.print(request_panel(request))
        if not yes and not elsewhere.is_used and not typer.confirm(f"{verb} this request?", err=True):
            raise typer.Exit(1)
        hand = hand_of(client, operator=operator, passphrase_file=file, elsewhere=elsewhere)
        done: dict[str, Any] = client.approve(request, secret=hand, gate=gate, approve=approve, reason=reason)
        if as_json:
            print_json(done)
        else:
            out.print(escape(plain_request(done)))


@app.command("speed-up")
def speed_up(
    request: IdArgument,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Send a transaction that nobody mines again at a higher price, if its policy allows that price."""
    _rescue("request.speed_up", {"request": request}, operator, operator_passphrase_file, home, as_json)


@app.command()
def cancel(
    request: IdArgument,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Take the place of a transaction that nobody mines with one that does nothing; either of them may still win."""
    _rescue("request.cancel", {"request": request}, operator, operator_passphrase_file, home, as_json)


@app.command("revoke-allowance")
def revoke_allowance(
    wallet: Annotated[str, typer.Argument(help="The wallet's name.")],
    asset: Annotated[str, typer.Argument(help="The token's address.")],
    spender: Annotated[str, typer.Argument(help="Who may still take it; see `walletgate status`.")],
    chain: Annotated[int, typer.Option("--chain-id", help="Where; needed only if it is the same on two chains.")] = 0,
    operator: OperatorOption = None,
    operator_passphrase_file: OperatorFileOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Take back what a spender may still take of a wallet's tokens."""
    with leaving(as_json=as_json):
        listed = OperatorClient(home_of(home)).get("/v1/status")["allowances"]
        wanted = (wallet, asset.lower(), spender.lower())
        chains = {
            row["chain_id"]
            for row in listed
            if (row["wallet"], row["asset"].lower(), row["spender"].lower()) == wanted and chain in (0, row["chain_id"])
        }
        if len(chains) != 1:
            problem = "this spender has no such allowance of ours" if not chains else "say on which chain: --chain-id"
            raise InvalidRequestError(problem, code="allowance_unknown")
    body = {"wallet": wallet, "asset": asset, "spender": spender, "chain_id": chains.pop()}
    _rescue("allowance.revoke", body, operator, operator_passphrase_file, home, as_json)


def _rescue(
    action: str, body: dict[str, Any], operator: str | None, file: Path | None, home: Path, as_json: bool
) -> None:
    with leaving(as_json=as_json):
        answer = signed_command(home, action, body, operator=operator, passphrase_file=file)
        if as_json:
            print_json(answer)
            return
        instead = f" in place of {answer['replaces']}" if answer["replaces"] else ""
        out.print(f"[bold green]signed[/]  {answer['request']}{instead}, nonce {answer['nonce']}, {answer['tx']}")
        if instead:
            talk.print("Only one of them can be mined; until one is, what the larger may cost stays reserved.")

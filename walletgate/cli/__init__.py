"""`walletgate`, the operators' command line: nouns, then verbs."""

from __future__ import annotations

import typer

from walletgate.cli import (
    audit,
    draft,
    evidence,
    export,
    grant,
    incident,
    notify,
    operator,
    policy,
    policy_live,
    policy_tools,
    report,
    request,
    store,
    wallet,
)
from walletgate.cli.demo import demo
from walletgate.cli.doctor import doctor
from walletgate.cli.gate import freeze, init, serve_command, status, unfreeze
from walletgate.cli.mcp import mcp

app = typer.Typer(
    name="walletgate",
    help="The permission layer between autonomous agents and crypto wallets.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init)
app.command("serve")(serve_command)
app.command()(status)
app.command()(freeze)
app.command()(unfreeze)
app.command()(doctor)
app.command()(demo)
app.command()(mcp)
app.add_typer(wallet.app, name="wallet")
app.add_typer(notify.app, name="notify")
app.add_typer(operator.app, name="operator")
app.add_typer(grant.app, name="grant")
app.add_typer(grant.app, name="agent", hidden=True)
policy_live.add_to(policy.app)
policy_tools.add_to(policy.app)
app.add_typer(policy.app, name="policy")
app.add_typer(request.app, name="request")
app.add_typer(draft.app, name="draft")
evidence.add_to(audit.app)
incident.add_to(audit.app)
report.add_to(audit.app)
export.add_to(audit.app)
app.add_typer(audit.app, name="audit")
app.add_typer(store.app, name="store")


def main() -> None:
    """The console entry point."""
    app()

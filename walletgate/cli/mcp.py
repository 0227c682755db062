"""mcp: an agent's wallet as tools for models. Runs on the agent's side and knows no more than an agent does."""

from __future__ import annotations

from typing import Annotated

import typer

from walletgate.cli.common import leaving
from walletgate.errors import ConfigError

AgentArgument = Annotated[str, typer.Argument(help="The agent's name, as in its configuration.")]
HttpOption = Annotated[
    str | None, typer.Option("--http", metavar="HOST:PORT", help="Streamable HTTP on loopback instead of stdio.")
]


def mcp(agent: AgentArgument, http: HttpOption = None) -> None:
    """Serve an agent's wallet as MCP tools, over stdio or HTTP; the policy decides as ever."""
    with leaving():
        try:
            from walletgate.agent.mcp import serve  # noqa: PLC0415 - an extra, and slow to load
        except ImportError as error:
            raise ConfigError(f"a part is missing ({error.name}): pip install 'walletgate[mcp]'") from None
        serve(agent, http=http, tell=lambda line: typer.echo(line, err=True))

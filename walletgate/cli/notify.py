"""notify: whether notices arrive."""

from __future__ import annotations

import asyncio

import typer

from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, escape, home_of, leaving, out, print_json, talk
from walletgate.errors import ConfigError
from walletgate.server.notify import send_test

app = typer.Typer(help="Notices: who is told without asking.", no_args_is_help=True)


@app.callback()
def notify() -> None:
    """Notices: who is told without asking."""


@app.command("test")
def send(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Send a test notice to everybody that walletgate.toml names, and say who took it."""
    with leaving(as_json=as_json):
        config = home_of(home).read_config()
        if not config.notify:
            raise ConfigError("walletgate.toml has no [[notify]]", code="notify_missing")
        results = asyncio.run(send_test(config.notify, config.name))
        if as_json:
            print_json([{"name": name, "problem": problem or None} for name, problem in results])
        else:
            for name, problem in results:
                mark = f"[red]failed[/]  {escape(problem)}" if problem else "[green]sent[/]"
                out.print(f"{escape(name)}  {mark}")
        if any(problem for _, problem in results):
            talk.print("See [[notify]] in walletgate.toml", markup=False)
            raise typer.Exit(1)

"""demo: the main job on embedded parts, in under a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from walletgate.cli.common import leaving, out
from walletgate.errors import ConfigError

KeepOption = Annotated[Path | None, typer.Option("--keep", help="Leave the gate's home in this new directory.")]


def demo(keep: KeepOption = None) -> None:
    """Play the accident against a gate, on an embedded chain; no account, no server."""
    with leaving():
        try:
            from walletgate.demo.stage import play  # noqa: PLC0415 - the chain is an extra, and slow to load
        except ImportError as error:
            raise ConfigError(f"the demo's parts are missing ({error.name}): pip install 'walletgate[demo]'") from None
        place = keep.expanduser().resolve() if keep is not None else None
        if place is not None and place.exists():
            raise ConfigError(f"{place} exists already; name a new directory", code="home_exists")
        if not play(out, keep=place):
            raise typer.Exit(1)

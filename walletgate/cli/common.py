"""What every command shares: options, passphrases, output, and how errors leave.

Data goes to stdout, talk to stderr. `--json` prints one JSON document and nothing else. Exit codes are stable:

    0 done   2 bad input or configuration   3 refused by policy   4 keystore or passphrase   5 the log does not verify
    6 not entitled, or a word that does not fit   7 conflict   8 chain   9 store, or the gate is not reachable
    70 the gate broke a promise of its own
"""

from __future__ import annotations

import getpass
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from walletgate.errors import (
    ApprovalError,
    AuditError,
    AuthenticationError,
    ChainError,
    ConfigError,
    ConflictError,
    GatePausedError,
    InvalidRequestError,
    InvariantViolation,
    PolicyDeniedError,
    SignerError,
    StoreError,
    WalletGateError,
)  # fmt: skip
from walletgate.server.home import Home

out = Console(highlight=False, soft_wrap=True)
talk = Console(stderr=True, highlight=False, soft_wrap=True)

EXIT_CODES: dict[type[BaseException], int] = {
    InvalidRequestError: 2,
    ConfigError: 2,
    PolicyDeniedError: 3,
    SignerError: 4,
    AuditError: 5,
    ApprovalError: 6,
    AuthenticationError: 6,
    ConflictError: 7,
    ChainError: 8,
    StoreError: 9,
    GatePausedError: 9,
    InvariantViolation: 70,
}

HINTS = {
    "home_missing": "walletgate init",
    "gate_unreachable": "walletgate serve",
    "operator_missing": "walletgate operator add NAME",
    "wrong_passphrase": "the passphrase is the one given when the keystore was made",
    "store_locked": "a gate is running on this home already: walletgate status",
    "behind_checkpoint": "walletgate audit verify",
    "draft_moved": "walletgate draft list --all",
    "draft_stale": "walletgate draft list --all",
    "policy_changed": "walletgate policy history --grant GRANT",
    "role_missing": "walletgate operator list",
    "quorum_unreachable": "walletgate operator list",
    "scope_unknown": "walletgate status",
}

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="WALLETGATE_HOME", help="The gate's home directory.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
OperatorOption = Annotated[
    str | None, typer.Option("--operator", "-o", help="Who signs; by default the only operator with a keystore here.")
]
OperatorFileOption = Annotated[
    Path | None, typer.Option("--operator-passphrase-file", help="Read the operator's passphrase from this 0600 file.")
]
FileOption = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Read the wallets' passphrase from this 0600 file.")
]
FdOption = Annotated[
    int | None, typer.Option("--passphrase-fd", help="Read the wallets' passphrase from this file descriptor.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

DEFAULT_HOME = Path.home() / ".walletgate"
PASSPHRASE_LENGTH_MAX = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def home_of(path: Path) -> Home:
    """The home at `path`."""
    return Home(path.expanduser().resolve())


def read_passphrase(
    what: str, *, file: Path | None = None, descriptor: int | None = None, confirm: bool = False
) -> str:
    """A passphrase from a private file, a descriptor, or a prompt; never from argv or the environment.

    Raises:
        ConfigError: `passphrase_missing`, `passphrase_exposed` (others can read the file).
    """
    if file is not None:
        return _read_file(file)
    if descriptor is not None:
        try:
            with os.fdopen(descriptor, closefd=False) as stream:
                return _first_line(stream.read(PASSPHRASE_LENGTH_MAX))
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"nothing to read at descriptor {descriptor}", code="passphrase_missing") from None
    if not sys.stdin.isatty():
        raise ConfigError(
            f"the passphrase of {what} is needed: run in a terminal, or give a file or descriptor",
            code="passphrase_missing",
        )
    passphrase = getpass.getpass(f"Passphrase of {what}: ")
    if confirm and getpass.getpass("Again: ") != passphrase:
        raise ConfigError("the passphrases differ", code="passphrase_missing")
    if not passphrase:
        raise ConfigError("an empty passphrase protects nothing", code="passphrase_missing")
    return passphrase


def _read_file(file: Path) -> str:
    try:
        if stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise ConfigError(f"{file} can be read by others: chmod 600 {file}", code="passphrase_exposed")
        with file.open() as stream:
            return _first_line(stream.read(PASSPHRASE_LENGTH_MAX))
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"cannot read a passphrase from {file}", code="passphrase_missing") from None


def check_name(name: str) -> None:
    """Refuses a name the gate would refuse, before a file is made for it.

    Raises:
        InvalidRequestError: `name_invalid`.
    """
    if not _NAME.match(name):
        raise InvalidRequestError("a name is 1 to 64 letters, digits, dots, dashes", code="name_invalid")


def _first_line(text: str) -> str:
    line = text.split("\n", 1)[0].rstrip("\r")
    if not line:
        raise ConfigError("the passphrase is empty", code="passphrase_missing")
    return line


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=True, default=str) + "\n")


@contextmanager
def leaving(*, as_json: bool = False) -> Iterator[None]:
    """Turns errors of ours into a message on stderr (or JSON on stdout) and their exit code."""
    try:
        yield
    except (WalletGateError, InvariantViolation) as error:
        fail(error, as_json=as_json)


def fail(error: WalletGateError | InvariantViolation, *, as_json: bool) -> NoReturn:
    """Says what is wrong and leaves."""
    code = error.code if isinstance(error, WalletGateError) else "invariant_violation"
    detail = error.detail if isinstance(error, WalletGateError) else str(error)
    if as_json:
        data = dict(error.data) if isinstance(error, WalletGateError) else {}
        print_json({"error": {"code": code, "detail": detail, "data": data}})
    else:
        talk.print(f"[bold red]error[/] {escape(detail)} [dim]\\[{code}][/]")
        if code in HINTS:
            talk.print(f"[dim]hint:[/] {HINTS[code]}")
    raise typer.Exit(next((number for kind, number in EXIT_CODES.items() if isinstance(error, kind)), 1))


def escape(text: str) -> str:
    """`text` without meaning to rich's markup."""
    return text.replace("[", "\\[")

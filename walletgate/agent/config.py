"""Where the gate is and what an agent shows it: arguments, then the environment, then a file.

    ~/.config/walletgate/agents/<name>.toml      (0600; written by `walletgate grant create <name> … --save`)

    url = "http://127.0.0.1:8550"                # or https://…, or unix:///path/to/agent.sock
    token = "wg_grant_…"

`url` and `token` are looked up separately: what is passed wins, then `WALLETGATE_URL` and `WALLETGATE_TOKEN`, then
the file. A file that others can read is refused, because a token others can read is everybody's.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from walletgate.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_TOKEN = re.compile(r"wg_grant_[A-Za-z0-9_-]{8,128}\Z")
_KEYS = ("url", "token")
_FILE_BYTES_MAX = 16_384


class Token:
    """A grant's token: shows itself nowhere, cannot be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wraps `text`.

        Raises:
            ConfigError: `bad_token`, not naming it.
        """
        if not _TOKEN.match(text):
            raise ConfigError("the token is not a grant's: those begin with wg_grant_", code="bad_token")
        self._text = text

    def reveal(self) -> str:
        """The token itself, for the wire and for nothing else."""
        return self._text

    def __repr__(self) -> str:
        return "Token(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a grant's token cannot be copied or pickled")


@dataclass(frozen=True, slots=True)
class Settings:
    """What it takes to reach the gate as one agent."""

    url: str
    token: Token


def read_settings(name: str, *, url: str | None = None, token: str | None = None) -> Settings:
    """The settings of agent `name`.

    Raises:
        ConfigError: `bad_agent_name`; `url_missing`, `token_missing`; `bad_url`, `bad_token`; `file_unsafe`;
            `toml_syntax`, `unknown_key`, `wrong_type` in the file.
    """
    if not _NAME.match(name):
        raise ConfigError(
            "an agent's name is 1 to 64 letters, digits, dots, dashes, underscores", code="bad_agent_name"
        )
    url = url or os.environ.get("WALLETGATE_URL")
    token = token or os.environ.get("WALLETGATE_TOKEN")
    path = Path.home() / ".config" / "walletgate" / "agents" / f"{name}.toml"
    if url is None or token is None:
        found = _read_file(path)
        url, token = url or found.get("url"), token or found.get("token")
    if url is None:
        raise _missing("url", name, path)
    if token is None:
        raise _missing("token", name, path)
    return Settings(check_url(url), Token(token))


def check_url(url: str) -> str:
    """`url` without a trailing slash.

    Raises:
        ConfigError: `bad_url` unless it is http, https or unix:///path, without user, query or fragment.
    """
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if is_whole and parts.scheme in ("http", "https"):
        is_good = parts.username is None and parts.password is None
    else:
        is_good = url.startswith("unix:///") and len(url) > len("unix:///")
    if not is_good or not url.isascii() or not url.isprintable() or set(url) & set(" ?#"):
        raise ConfigError(
            "the gate's address must be http://host:port, https://host or unix:///path",
            code="bad_url",
            data={"key": "url"},
        )
    return url.rstrip("/")


def _read_file(path: Path) -> Mapping[str, str]:
    try:
        with path.open("rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_mode & 0o077 or info.st_uid not in (os.getuid(), 0):
                raise ConfigError(
                    f"{path} can be read or written by others, or is not yours: chmod 600 {path}",
                    code="file_unsafe",
                    data={"file": str(path)},
                )
            text = file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", code="file_unreadable", data={"file": str(path)}
        ) from error
    return _parse(text, path)


def _parse(text: bytes, path: Path) -> Mapping[str, str]:
    try:
        document = tomllib.loads(text.decode())
    except ValueError:
        # Without its cause: that may quote the line, and the line may be the token.
        raise ConfigError(f"{path} is not TOML", code="toml_syntax", data={"file": str(path)}) from None
    for key, value in document.items():
        if key not in _KEYS:
            raise ConfigError(
                f"{path}: unknown key {key!r}; there are url and token",
                code="unknown_key",
                data={"file": str(path), "key": key},
            )
        if not isinstance(value, str):
            raise ConfigError(f"{path}: {key} must be text", code="wrong_type", data={"file": str(path), "key": key})
    return document


def _missing(key: str, name: str, path: Path) -> ConfigError:
    return ConfigError(
        f"agent {name!r} has no {key}: not passed, WALLETGATE_{key.upper()} is not set, and {path} does not say. "
        f"An operator creates it with: walletgate grant create {name} --wallet … --policy … --save",
        code=f"{key}_missing",
        data={"file": str(path), "key": key},
    )

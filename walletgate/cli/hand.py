"""How an operator signs: with a keystore on this machine, or elsewhere.

`--external` prints the EIP-712 typed data of the word as JSON on stdout, for a hardware or browser wallet
(`eth_signTypedData_v4`), and takes the signature from stdin. Where the two cannot be one session, the printed JSON is
kept in a file and the command is given again with `--typed-data FILE --signature 0x…`; the word is then made again from
what the gate says now, and is refused if it is not the one in the file. The key never comes near this machine.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from walletgate.cli.common import talk
from walletgate.effects.request import strict_json
from walletgate.encoding import parse_hex
from walletgate.errors import ConfigError, InvalidRequestError
from walletgate.gate import sign_word, typed_data
from walletgate.gate.commands import Word
from walletgate.types import Hash32

ExternalOption = Annotated[
    bool, typer.Option("--external", help="Sign elsewhere: print EIP-712 typed data, take the signature from stdin.")
]
SignatureOption = Annotated[
    str | None, typer.Option("--signature", help="A signature made elsewhere, with --typed-data.")
]
TypedDataOption = Annotated[
    Path | None, typer.Option("--typed-data", help="What was signed elsewhere: the JSON that --external printed.")
]
LINE_LENGTH_MAX = 256
FILE_SIZE_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The options of somebody who signs elsewhere."""

    external: bool = False
    signature: str | None = None
    typed_data: Path | None = None

    @property
    def is_used(self) -> bool:
        """Whether any of the options was given."""
        return self.external or self.signature is not None or self.typed_data is not None


@dataclass(frozen=True, slots=True)
class Hand:
    """Signs words: with `secret`, or elsewhere. `fixed` is the message that was signed already, if any."""

    secret: bytes | None = field(default=None, repr=False)
    signature: str | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def expires(self, lifetime_s: int) -> int:
        """When the word ends (Unix seconds): as it was signed, or so many seconds from now."""
        said = self.fixed.get("expires")
        return said if isinstance(said, int) and not isinstance(said, bool) else int(time.time()) + lifetime_s

    def nonce(self) -> Hash32:
        """A command's nonce: as it was signed, or a new one."""
        said = self.fixed.get("nonce")
        return Hash32(secrets.token_bytes(32) if said is None else parse_hex(said, where="nonce", size_bytes=32))

    def sign(self, word: Word, *, gate: str) -> bytes:
        """The signature of `word`.

        Raises:
            ConfigError: `signature_missing`, `typed_data_differs`, nothing that was signed is what is asked now.
            InvalidRequestError: `bad_hex`.
        """
        if self.secret is not None:
            return sign_word(word, self.secret, gate=gate)
        document = typed_data(word, gate=gate)
        if self.signature is not None:
            if self.fixed != document["message"]:
                raise ConfigError("what was signed is not what is asked now: start again with --external",
                                  code="typed_data_differs")  # fmt: skip
            return _signature(self.signature)
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        sys.stdout.flush()
        talk.print("Sign this typed data (eth_signTypedData_v4) and give the signature, 0x and 130 digits:")
        line = sys.stdin.readline(LINE_LENGTH_MAX).strip()
        if not line:
            raise ConfigError(
                "no signature was given: keep the JSON, and give both later with --typed-data and --signature",
                code="signature_missing",
            )
        return _signature(line)


def hand_elsewhere(options: Elsewhere) -> Hand:
    """A hand that signs elsewhere.

    Raises:
        ConfigError: `signature_missing`, a signature without what was signed, or the other way round;
            `typed_data_invalid`.
    """
    if options.signature is None and options.typed_data is None:
        return Hand()
    if options.signature is None or options.typed_data is None:
        raise ConfigError("--signature and --typed-data come together", code="signature_missing")
    return Hand(signature=options.signature, fixed=_message(options.typed_data))


def _message(path: Path) -> Mapping[str, Any]:
    try:
        data = path.read_bytes() if path.stat().st_size <= FILE_SIZE_BYTES_MAX else b""
        document = strict_json(data)
    except (OSError, InvalidRequestError) as error:
        raise ConfigError(f"{path} does not hold typed data", code="typed_data_invalid") from error
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict):
        raise ConfigError(f"{path} does not hold typed data", code="typed_data_invalid")
    return message


def _signature(text: str) -> bytes:
    data = parse_hex(text.strip(), where="the signature", size_bytes=65)
    return data[:64] + bytes((data[64] + 27,)) if data[64] in (0, 1) else data

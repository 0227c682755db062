"""The command line's end of the operator API: read with the token, change with an operator's signature.

Changes go to the running gate. When none runs, they are carried out here, on the store itself, by the same code and
under the same signatures; approvals need the running gate, because only it can sign.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from walletgate.cli.common import home_of, read_passphrase
from walletgate.encoding import keccak256, to_hex
from walletgate.errors import (
    ApprovalError,
    AuthenticationError,
    ChainError,
    ConfigError,
    ConflictError,
    GatePausedError,
    InvalidRequestError,
    StoreError,
    WalletGateError,
)  # fmt: skip
from walletgate.gate import (
    ApprovalWord,
    CommandWord,
    Gate,
    Operations,
    SignedCommand,
    sign_word,
)  # fmt: skip
from walletgate.gate.codec import canonical
from walletgate.server.app import clock_ms
from walletgate.server.home import Home
from walletgate.signers import KeyRing, Seal
from walletgate.signers.keystore import read_keystore
from walletgate.store import open_store
from walletgate.types import Hash32

COMMAND_LIFETIME_S = 300
TIMEOUT_S = 60
_BY_STATUS: dict[int, type[WalletGateError]] = {
    400: InvalidRequestError, 401: AuthenticationError, 403: ApprovalError, 404: InvalidRequestError,
    409: ConflictError, 413: InvalidRequestError, 502: ChainError, 503: GatePausedError,
}  # fmt: skip


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._path))


class OperatorClient:
    """Talks to the gate of one home."""

    def __init__(self, home: Home, *, token: str | None = None) -> None:
        """`token` stands in for the home's own operator token."""
        self.home = home
        self._token = token

    def is_running(self) -> bool:
        """Whether a gate answers on the operators' socket."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(self.home.operator_socket))
        except OSError:
            return False
        return True

    def get(self, path: str) -> dict[str, Any]:
        """Reads from the running gate.

        Raises:
            StoreError: `gate_unreachable`.
            WalletGateError: what the gate answered.
        """
        return self._call("GET", path, None)

    def approve(
        self, request: Mapping[str, Any], *, secret: bytes, gate: str, approve: bool, reason: str
    ) -> dict[str, Any]:
        """Signs and sends a yes or no on a request as it was shown.

        Raises:
            WalletGateError: what the gate answered.
        """
        word = ApprovalWord(
            request=request["request_id"],
            approve=approve,
            request_digest=_hash(request["digest"]),
            effects_digest=_hash(request["effects_digest"]),
            policy=_hash(request["policy"]),
            expires=int(time.time()) + 24 * 3600,
        )
        body = {
            "word": {
                "request": word.request, "approve": word.approve, "request_digest": to_hex(word.request_digest),
                "effects_digest": to_hex(word.effects_digest), "policy": to_hex(word.policy), "expires": word.expires,
            },
            "signature": to_hex(sign_word(word, secret, gate=gate)),
            "reason": reason,
        }  # fmt: skip
        answer: dict[str, Any] = self._call("POST", "/v1/approvals", body)["request"]
        return answer

    def command(self, action: str, payload: Mapping[str, Any], *, secret: bytes) -> dict[str, Any]:
        """Signs a command and has it carried out, by the running gate or here.

        Raises:
            WalletGateError: why not.
        """
        name = self.home.read_config().name
        body = canonical(dict(payload))
        word = CommandWord(
            action=action,
            payload=Hash32(keccak256(body)),
            nonce=Hash32(secrets.token_bytes(32)),
            expires=int(time.time()) + COMMAND_LIFETIME_S,
        )
        signature = sign_word(word, secret, gate=name)
        if not self.is_running():
            return asyncio.run(_carry_out(self.home, name, SignedCommand(word, body, signature)))
        document = {
            "word": {
                "action": action, "payload": to_hex(word.payload), "nonce": to_hex(word.nonce), "expires": word.expires,
            },
            "body": body.decode(),
            "signature": to_hex(signature),
        }  # fmt: skip
        return self._call("POST", "/v1/commands", document)

    def operator_secret(self, name: str | None, passphrase: Any) -> tuple[str, bytes]:
        """An operator's name and key; `passphrase` is asked for the keystore that is found.

        Raises:
            ConfigError: `operator_missing`, no keystore or not clear which.
            SignerError: the keystore does not open.
        """
        folder = self.home.root / "operators"
        known = sorted(path.stem for path in folder.glob("*.json"))
        if name is None and len(known) != 1:
            which = f"name one of {', '.join(known)} with --operator" if known else "there is none on this machine"
            raise ConfigError(f"an operator's key is needed: {which}", code="operator_missing")
        chosen = name or known[0]
        if chosen not in known:
            raise ConfigError(f"there is no keystore for operator {chosen} in {folder}", code="operator_missing")
        return chosen, read_keystore(self.home.operator(chosen), passphrase(f"operator {chosen}"))

    def _call(self, method: str, path: str, body: object) -> dict[str, Any]:
        token = self._token or self.home.read_operator_token()
        connection = _UnixConnection(self.home.operator_socket)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException):
            raise StoreError(f"no gate answers for {self.home.root}", code="gate_unreachable") from None
        finally:
            connection.close()
        if "error" in answer and response.status != 200:
            error = answer["error"]
            raise _BY_STATUS.get(response.status, WalletGateError)(
                str(error["detail"]), code=str(error["code"]), data=error.get("data")
            )
        return dict(answer)


def signed_command(
    home: Path, action: str, payload: Mapping[str, Any], *, operator: str | None, passphrase_file: Path | None
) -> dict[str, Any]:
    """Has an operator of this machine sign a command, and has it carried out; returns the gate's answer.

    Raises:
        WalletGateError: why not.
    """
    client = OperatorClient(home_of(home))
    _, secret = client.operator_secret(operator, lambda what: read_passphrase(what, file=passphrase_file))
    return client.command(action, payload, secret=secret)


async def _carry_out(home: Home, name: str, signed: SignedCommand) -> dict[str, Any]:
    """Opens the store and carries out one command; the first operator may add themselves."""
    store = open_store(home.store(), origin=name)
    try:
        seal = Seal()
        gate = Gate(store=store, signer=KeyRing(seal), seal=seal, chains={}, clock_ms=clock_ms)
        await gate.start(serving=False)
        try:
            return await Operations(gate, name=name, bootstrap=True).command(signed)
        finally:
            await gate.close()
    finally:
        await store.close()


def _hash(text: str) -> Hash32:
    return Hash32(bytes.fromhex(text[2:]))

"""The command line's end of the operator API: read with the token, change with an operator's signature.

Changes go to the running gate. When none runs, they are carried out here, on the store itself, by the same code and
under the same signatures; approvals need the running gate, because only it can sign.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from walletgate.cli.common import home_of, read_passphrase
from walletgate.cli.hand import Elsewhere, Hand, hand_elsewhere
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
    DraftWord,
    Gate,
    Operations,
    SignedCommand,
    SignedDraft,
    word_json,
)  # fmt: skip
from walletgate.gate.codec import canonical
from walletgate.server.app import clock_ms
from walletgate.server.home import Home
from walletgate.server.views import draft_view, versions_view
from walletgate.signers import KeyRing, Seal
from walletgate.signers.keystore import read_keystore
from walletgate.store import open_store, read_store
from walletgate.types import Hash32

COMMAND_LIFETIME_S = 300
EXTERNAL_LIFETIME_S = 3600
WORD_LIFETIME_S = 24 * 3600
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
        self, request: Mapping[str, Any], *, secret: bytes | Hand, gate: str, approve: bool, reason: str
    ) -> dict[str, Any]:
        """Signs and sends a yes or no on a request as it was shown.

        Raises:
            WalletGateError: what the gate answered.
        """
        hand = _hand(secret)
        word = ApprovalWord(
            request=request["request_id"],
            approve=approve,
            request_digest=_hash(request["digest"]),
            effects_digest=_hash(request["effects_digest"]),
            policy=_hash(request["policy"]),
            expires=hand.expires(WORD_LIFETIME_S),
        )
        body = {"word": word_json(word), "signature": to_hex(hand.sign(word, gate=gate)), "reason": reason}
        answer: dict[str, Any] = self._call("POST", "/v1/approvals", body)["request"]
        return answer

    def command(self, action: str, payload: Mapping[str, Any], *, secret: bytes | Hand) -> dict[str, Any]:
        """Signs a command and has it carried out, by the running gate or here.

        Raises:
            WalletGateError: why not.
        """
        name, hand = self.home.read_config().name, _hand(secret)
        body = canonical(dict(payload))
        word = CommandWord(
            action=action,
            payload=Hash32(keccak256(body)),
            nonce=hand.nonce(),
            expires=hand.expires(COMMAND_LIFETIME_S if hand.secret is not None else EXTERNAL_LIFETIME_S),
        )
        signature = hand.sign(word, gate=name)
        if not self.is_running():
            signed = SignedCommand(word, body, signature)
            return asyncio.run(_carry_out(self.home, name, lambda operations: operations.command(signed)))
        document = {"word": word_json(word), "body": body.decode(), "signature": to_hex(signature)}
        return self._call("POST", "/v1/commands", document)

    def drafts(self) -> list[dict[str, Any]]:
        """The newest drafts first, from the running gate or the store.

        Raises:
            WalletGateError: why not.
        """
        if self.is_running():
            found: list[dict[str, Any]] = self.get("/v1/drafts")["drafts"]
            return found
        with read_store(self.home.store()) as store:
            return [draft_view(draft, store) for draft in store.authority.drafts()]

    def sign_draft(
        self, draft: Mapping[str, Any], *, secret: bytes | Hand, approve: bool, reason: str
    ) -> dict[str, Any]:
        """Signs and sends a yes or no on a draft as it was shown.

        Raises:
            WalletGateError: what the gate answered.
        """
        name, hand = self.home.read_config().name, _hand(secret)
        word = DraftWord(
            draft=draft["id"],
            approve=approve,
            action=draft["action"],
            payload=Hash32(keccak256(draft["body"].encode())),
            summary=Hash32(keccak256("\n".join(draft["lines"]).encode())),
            before=_hash(draft["before"]),
            after=_hash(draft["after"]),
            expires=hand.expires(WORD_LIFETIME_S),
        )
        signature = hand.sign(word, gate=name)
        if not self.is_running():
            signed = SignedDraft(word, signature, reason)
            return asyncio.run(_carry_out(self.home, name, lambda operations: operations.sign_draft(signed)))
        document = {"word": word_json(word), "signature": to_hex(signature), "reason": reason}
        return self._call("POST", "/v1/drafts", document)

    def versions(self, grant: str) -> dict[str, Any]:
        """The policies a grant was put under, oldest first, with their texts; from the running gate or the store.

        Raises:
            WalletGateError: why not; `grant_unknown`.
        """
        if self.is_running():
            return self.get(f"/v1/grants/{quote(grant, safe='')}/versions")
        with read_store(self.home.store()) as store:
            return versions_view(grant, store)

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
    home: Path, action: str, payload: Mapping[str, Any], *, operator: str | None, passphrase_file: Path | None,
    elsewhere: Elsewhere = Elsewhere(),
) -> dict[str, Any]:  # fmt: skip
    """Has an operator of this machine sign a command, and has it carried out; returns the gate's answer.

    Raises:
        WalletGateError: why not.
    """
    client = OperatorClient(home_of(home))
    hand = hand_of(client, operator=operator, passphrase_file=passphrase_file, elsewhere=elsewhere)
    return client.command(action, payload, secret=hand)


def hand_of(
    client: OperatorClient, *, operator: str | None, passphrase_file: Path | None, elsewhere: Elsewhere
) -> Hand:
    """How the operator signs: elsewhere if they say so, otherwise with their keystore here.

    Raises:
        WalletGateError: there is no key, or it does not open.
    """
    if elsewhere.is_used:
        return hand_elsewhere(elsewhere)
    _, secret = client.operator_secret(operator, lambda what: read_passphrase(what, file=passphrase_file))
    return Hand(secret)


def _hand(secret: bytes | Hand) -> Hand:
    return secret if isinstance(secret, Hand) else Hand(secret)


async def _carry_out(home: Home, name: str, act: Callable[[Operations], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    """Opens the store and carries out one word; the first operator may add themselves."""
    store = open_store(home.store(), origin=name)
    try:
        seal = Seal()
        gate = Gate(store=store, signer=KeyRing(seal), seal=seal, chains={}, clock_ms=clock_ms)
        await gate.start(serving=False)
        try:
            return await act(Operations(gate, name=name, bootstrap=True))
        finally:
            await gate.close()
    finally:
        await store.close()


def _hash(text: str) -> Hash32:
    return Hash32(bytes.fromhex(text[2:]))

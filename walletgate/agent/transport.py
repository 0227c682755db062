"""HTTP to the gate over the standard library: connections are kept, everything is bounded. Threads may share one.

A call that breaks on the wire is made again, at most twice, because every call is safe to repeat: requests carry
an id of the agent's own and the gate does each id once. A call that takes too long is not made again; the caller
knows the id and can ask. There are no redirects, no proxies and no cookies, so the token goes to the gate alone.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
import weakref
from typing import Final
from urllib.parse import unquote, urlsplit

from walletgate.agent.answers import Object, invalid
from walletgate.agent.config import Token, check_url
from walletgate.agent.context import trace_headers
from walletgate.agent.errors import GateUnavailable, make
from walletgate.errors import InvalidRequestError

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
"""The longest answer that is read."""

NESTED_MAX: Final = 4_000
"""The most lists and objects in an answer, so that no nesting can exhaust the stack of whoever raised its limit."""

BODY_BYTES_MAX: Final = 1024 * 1024
"""The longest request that is sent; the gate reads no more."""

PAUSES_S: Final = (0.0, 0.25)
"""How long it waits before each further attempt; not before the first, since a kept connection may just be stale."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Opens the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Transport:
    """Calls to one gate under one token."""

    def __init__(self, url: str, token: Token, *, timeout_s: float) -> None:
        """Does not connect yet.

        Raises:
            ConfigError: `bad_url`.
        """
        self.url = check_url(url)
        self._parts = urlsplit(self.url)
        self._token = token
        self._timeout_s = timeout_s
        self._idle: list[tuple[int, http.client.HTTPConnection]] = []
        weakref.finalize(self, _close_all, self._idle)

    def call(self, method: str, path: str, body: Object | None = None, *, hold_s: float = 0.0) -> tuple[int, Object]:
        """The status and the JSON object that the gate answers; it may hold the call for `hold_s` seconds.

        Raises:
            GateUnavailable: `gate_unavailable`, `gate_timeout`, `answer_invalid`.
            InvalidRequestError: `body_too_large`.
        """
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        if data is not None and len(data) > BODY_BYTES_MAX:
            raise make(InvalidRequestError, f"the request exceeds {BODY_BYTES_MAX} bytes", code="body_too_large")
        target = path if self._parts.scheme == "unix" else self._parts.path + path
        status, answer = self._repeat(method, target, data, self._timeout_s + hold_s)
        return status, _parse(answer)

    def close(self) -> None:
        """Closes the connections that are kept; the next call opens another."""
        _close_all(self._idle)

    def _repeat(self, method: str, target: str, data: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        for pause_s in PAUSES_S:
            try:
                return self._attempt(method, target, data, timeout_s)
            except GateUnavailable as error:
                if error.code != GateUnavailable.default_code:
                    raise
            time.sleep(pause_s)
        return self._attempt(method, target, data, timeout_s)

    def _attempt(self, method: str, target: str, data: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        connection = self._take()
        try:
            answer = self._exchange(connection, method, target, data, timeout_s)
        except TimeoutError as error:
            connection.close()
            raise make(
                GateUnavailable, f"the gate at {self.url} did not answer in time", code="gate_timeout"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise make(GateUnavailable, f"the gate at {self.url} cannot be reached") from error
        except BaseException:
            connection.close()
            raise
        self._idle.append((os.getpid(), connection))
        return answer

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, data: bytes | None, timeout_s: float
    ) -> tuple[int, bytes]:
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        headers = {
            "Authorization": f"Bearer {self._token.reveal()}",
            "Accept": "application/json",
            "User-Agent": "walletgate/1",
            **trace_headers(),
        }
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, target, body=data, headers=headers)
        response = connection.getresponse()
        answer = response.read(ANSWER_BYTES_MAX + 1)
        if len(answer) > ANSWER_BYTES_MAX:
            raise invalid("it does not end")
        return response.status, answer

    def _take(self) -> http.client.HTTPConnection:
        while self._idle:
            # One step, so that no two threads take the same; what was opened before a fork is the parent's.
            try:
                pid, connection = self._idle.pop()
            except IndexError:
                break
            if pid == os.getpid():
                return connection
            connection.close()
        return self._open()

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        match self._parts.scheme:
            case "unix":
                return _UnixConnection(unquote(self._parts.path))
            case "https":
                return http.client.HTTPSConnection(host, port)
            case _:
                return http.client.HTTPConnection(host, port)


def _close_all(idle: list[tuple[int, http.client.HTTPConnection]]) -> None:
    while idle:
        idle.pop()[1].close()


def _parse(answer: bytes) -> Object:
    if answer.count(b"[") + answer.count(b"{") > NESTED_MAX:
        raise invalid("it is nested too much")
    try:
        body = json.loads(answer)
    except (ValueError, RecursionError):
        raise invalid("it is not JSON") from None
    if not isinstance(body, dict):
        raise invalid("it is not an object")
    return body

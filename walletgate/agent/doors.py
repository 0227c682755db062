"""The one-liners: an agent names itself and gets an account, an attached Web3, or a node URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from walletgate.agent.config import Settings, read_settings
from walletgate.errors import ConfigError

if TYPE_CHECKING:
    from web3 import AsyncWeb3, Web3

    from walletgate.agent.account import GateAccount
    from walletgate.agent.x402 import X402Client

WAIT_S = 30.0
"""How long a call waits for an operator, unless told otherwise, before it raises `ApprovalPending`."""


def account(name: str, *, url: str | None = None, token: str | None = None, wait_s: float = WAIT_S) -> GateAccount:
    """The account of agent `name`: an eth-account `LocalAccount` without a key.

    `wait_s` is how long each call waits for an operator's decision before it raises `ApprovalPending`.

    Raises:
        ConfigError: where the gate is, or the token, is not known; says how to create it.
    """
    from walletgate.agent.account import GateAccount  # noqa: PLC0415 - brings eth-account, which takes its time
    from walletgate.agent.client import Client  # noqa: PLC0415 - brings http.client

    settings = read_settings(name, url=url, token=token)
    return GateAccount(Client(settings.url, settings.token, wait_s=wait_s), name=name)


def attach(
    w3: Web3 | AsyncWeb3[Any],
    agent: str | GateAccount,
    *,
    url: str | None = None,
    token: str | None = None,
    wait_s: float = WAIT_S,
) -> GateAccount:
    """Lets `w3` send and sign through the gate, as `agent`; reads go on to its own provider. Works for AsyncWeb3, too.

    Raises:
        ConfigError: as `account`.
        GateUnavailable, AuthenticationError: the gate does not say which wallet this is.
    """
    from walletgate.agent.web3 import attach_account  # noqa: PLC0415 - brings web3, which is optional

    chosen = account(agent, url=url, token=token, wait_s=wait_s) if isinstance(agent, str) else agent
    attach_account(w3, chosen)
    return chosen


def x402_client(
    agent: str | GateAccount,
    *,
    url: str | None = None,
    token: str | None = None,
    wait_s: float = WAIT_S,
    payments_max: int = 1,
) -> X402Client:
    """Buys over x402 as `agent`: `.httpx()`, `.async_httpx()` and `.requests()` are HTTP clients that pay.

    `payments_max` bounds the payments of one HTTP call.

    Raises:
        ConfigError: as `account`.
    """
    from walletgate.agent.x402 import X402Client  # noqa: PLC0415 - brings eth-account

    chosen = account(agent, url=url, token=token, wait_s=wait_s) if isinstance(agent, str) else agent
    return X402Client(chosen, payments_max=payments_max)


def rpc_url(name: str, *, chain: str | None = None, url: str | None = None, token: str | None = None) -> str:
    """The URL under which the gate poses as an Ethereum node, with the token in it: for clients that take only a URL.

    Raises:
        ConfigError: as `account`; `no_rpc_url` where the gate is reached through a Unix socket.
    """
    settings = read_settings(name, url=url, token=token)
    place = f"{_http(settings)}/rpc/{settings.token.reveal()}"
    return place if chain is None else f"{place}/{quote(chain, safe='')}"


def rpc_headers(name: str, *, url: str | None = None, token: str | None = None) -> dict[str, str]:
    """The header with the token, for clients that can send one to `…/rpc`.

    Raises:
        ConfigError: as `account`.
    """
    return {"Authorization": f"Bearer {read_settings(name, url=url, token=token).token.reveal()}"}


def _http(settings: Settings) -> str:
    if settings.url.startswith("unix:"):
        raise ConfigError("a gate on a Unix socket has no node URL; use its http:// address", code="no_rpc_url")
    return settings.url

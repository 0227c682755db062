"""WalletGate for agents: a scoped signer instead of a key.

    import walletgate

    account = walletgate.account("trader")       # instead of Account.from_key(…)
    walletgate.attach(w3, "trader")              # or: this Web3 sends and signs through the gate
    Web3(HTTPProvider(walletgate.rpc_url("trader")))   # or: the gate poses as a node
    walletgate.x402_client("trader").httpx()     # or: an HTTP client that pays for what it fetches

Names are loaded when they are first used, because an agent that imports this must not wait for what it may
never need: eth-account comes with `account()`, web3 never comes unless the agent brought it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from walletgate.agent.account import GateAccount
    from walletgate.agent.answers import Limits, PolicyView, Preview, Request
    from walletgate.agent.client import AsyncClient, Client
    from walletgate.agent.context import tool_call
    from walletgate.agent.doors import account, attach, rpc_headers, rpc_url, x402_client
    from walletgate.agent.errors import (
        ApprovalPending,
        ApprovalRejected,
        GateDenied,
        GateUnavailable,
        OfferRefused,
        PaidNotServed,
    )
    from walletgate.agent.x402 import X402Client
    from walletgate.errors import WalletGateError

__all__ = [
    "ApprovalPending",
    "ApprovalRejected",
    "AsyncClient",
    "Client",
    "GateAccount",
    "GateDenied",
    "GateUnavailable",
    "Limits",
    "OfferRefused",
    "PaidNotServed",
    "PolicyView",
    "Preview",
    "Request",
    "WalletGateError",
    "X402Client",
    "account",
    "attach",
    "rpc_headers",
    "rpc_url",
    "tool_call",
    "x402_client",
]

_HOMES = {
    "ApprovalPending": "walletgate.agent.errors",
    "ApprovalRejected": "walletgate.agent.errors",
    "AsyncClient": "walletgate.agent.client",
    "Client": "walletgate.agent.client",
    "GateAccount": "walletgate.agent.account",
    "GateDenied": "walletgate.agent.errors",
    "GateUnavailable": "walletgate.agent.errors",
    "Limits": "walletgate.agent.answers",
    "OfferRefused": "walletgate.agent.errors",
    "PaidNotServed": "walletgate.agent.errors",
    "PolicyView": "walletgate.agent.answers",
    "Preview": "walletgate.agent.answers",
    "Request": "walletgate.agent.answers",
    "WalletGateError": "walletgate.errors",
    "X402Client": "walletgate.agent.x402",
    "account": "walletgate.agent.doors",
    "attach": "walletgate.agent.doors",
    "rpc_headers": "walletgate.agent.doors",
    "rpc_url": "walletgate.agent.doors",
    "tool_call": "walletgate.agent.context",
    "x402_client": "walletgate.agent.doors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""What operators can do about transactions and allowances: speed up, cancel, take back.

Each is a command like the others, and a transaction besides: it is signed in the commit that records the command.
Prices and whatever the policy needs to know are asked of the node before, so that nothing is asked inside.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from walletgate.encoding import checksum_address, parse_address, printable
from walletgate.errors import ConflictError, InvalidRequestError
from walletgate.gate.ask import Session
from walletgate.gate.codec import payload_from_json
from walletgate.gate.judging import Fees
from walletgate.gate.lifecycle import SENT
from walletgate.gate.orders import Body
from walletgate.gate.replace import Prepared, cancel, revoke_allowance, speed_up
from walletgate.policy import Facts
from walletgate.store import APPROVER, POLICY_MAKER, Outstanding, Request

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a node was asked before: prices to offer, and what the policy needs to know."""

    request: Request
    price: Fees
    facts: Facts
    allowance: Outstanding | None = None


@dataclass(frozen=True, slots=True)
class Rescue:
    """One of these commands: what to ask a node before, and what to sign. None of them loosens anything."""

    gather: Callable[[Gate, Body], Awaitable[Gathered]]
    sign: Callable[[Gate, str, Gathered], Prepared]
    roles: tuple[str, ...] = (APPROVER, POLICY_MAKER)


async def _gather_for_request(gate: Gate, body: Body) -> Gathered:
    """For a command about a transaction that waits to be mined.

    Raises:
        InvalidRequestError: `request_unknown`. ConflictError: `request_moved`. ChainError: the node failed.
    """
    request = gate.find(str(body.get("request")))
    if request is None:
        raise InvalidRequestError("there is no such request", code="request_unknown")
    if request.raw is None or request.status not in SENT:
        raise ConflictError("the request is not a transaction that waits to be mined", code="request_moved")
    payload = payload_from_json(json.loads(request.payload)["payload"])
    grant = gate.state.grants[request.grant_id]
    facts = await gate.deciding.facts(Session(grant, request.chain_id), payload, gate.state.policies[grant.policy])
    return Gathered(request, await gate.node_facts.quote(request.chain_id), facts)


async def _gather_for_allowance(gate: Gate, body: Body) -> Gathered:
    """For taking back what a spender may still take.

    Raises:
        InvalidRequestError: `wallet_unknown`, `allowance_unknown`. ChainError: the node failed.
    """
    name, spender = str(body.get("wallet")), parse_address(body.get("spender"), where="spender")
    asset = parse_address(body.get("asset"), where="asset")
    wallet = next((wallet for wallet in gate.state.wallets.values() if wallet.name == name), None)
    if wallet is None:
        raise InvalidRequestError(f"there is no wallet {printable(name)}", code="wallet_unknown")
    chain_id = body.get("chain_id")
    found = [
        each
        for each in gate.store.outstanding(wallet.address)
        if (each.asset.address, each.asset.chain_id, each.spender) == (asset, chain_id, spender)
    ]
    request = gate.find(found[0].request) if found else None
    if not found or request is None or chain_id not in gate.chains:
        raise InvalidRequestError("this spender has no such allowance of ours", code="allowance_unknown")
    await gate.node_facts.know_nonce(wallet.address, found[0].asset.chain_id)
    return Gathered(request, await gate.node_facts.quote(found[0].asset.chain_id), Facts(), found[0])


def _speed_up(gate: Gate, operator: str, gathered: Gathered) -> Prepared:
    return speed_up(gate, operator, gathered.request, gathered.price, gathered.facts)


def _cancel(gate: Gate, operator: str, gathered: Gathered) -> Prepared:
    return cancel(gate, operator, gathered.request, gathered.price)


def _revoke(gate: Gate, operator: str, gathered: Gathered) -> Prepared:
    if gathered.allowance is None:
        raise ConflictError("there is no such allowance", code="allowance_unknown")
    asset, spender = gathered.allowance.asset, gathered.allowance.spender
    return revoke_allowance(gate, operator, gathered.request, asset, spender, gathered.price)


RESCUES: Final[Mapping[str, Rescue]] = {
    "request.speed_up": Rescue(_gather_for_request, _speed_up),
    "request.cancel": Rescue(_gather_for_request, _cancel),
    "allowance.revoke": Rescue(_gather_for_allowance, _revoke),
}


def outstanding_view(gate: Gate) -> list[dict[str, Any]]:
    """What spenders may still take, at most, for operators."""
    names = {wallet.address: wallet.name for wallet in gate.state.wallets.values()}
    return [
        {
            "wallet": names.get(each.wallet, checksum_address(each.wallet)),
            "chain_id": each.asset.chain_id,
            "asset": checksum_address(each.asset.address),
            "asset_name": _asset_name(gate, each),
            "spender": checksum_address(each.spender),
            "amount": str(each.amount),
            "request": each.request,
            "at_ms": each.at_ms,
        }
        for each in gate.store.outstanding()
    ]


def _asset_name(gate: Gate, allowance: Outstanding) -> str | None:
    """What the policy of the request calls the asset."""
    request = gate.find(allowance.request)
    policy = gate.state.policies.get(request.policy) if request is not None else None
    if policy is None:
        return None
    return next((name for name, assets in policy.assets.items() if allowance.asset in assets), None)

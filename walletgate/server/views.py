"""Requests as agents and operators see them: plain JSON, decoded facts first, foreign text made harmless."""

from __future__ import annotations

import json
from typing import Any

from walletgate.encoding import checksum_address, printable, to_hex
from walletgate.errors import InvalidRequestError, WalletGateError
from walletgate.gate.asking import alike
from walletgate.gate.state import State
from walletgate.policy import LimitStatus, Policy, show
from walletgate.policy.amounts import format_duration
from walletgate.store import Approval, Draft, Request, Store, Version


def agent_view(request: Request) -> dict[str, Any]:
    """A request as its own agent sees it. The raw transaction is shown only where the agent is to send it."""
    decision, stored = json.loads(request.decision), json.loads(request.payload)
    view: dict[str, Any] = {
        "id": request.client_id,
        "request_id": request.id,
        "status": request.status.value,
        "wallet": checksum_address(request.wallet),
        "chain_id": request.chain_id,
        "decision": {"outcome": decision["outcome"], "reasons": decision["reasons"]},
        "effects": decision["words"],
        "created_ms": request.created_ms,
        "expires_at": None if request.expires_ms is None else request.expires_ms // 1000,
    }
    if request.nonce is not None:
        view["nonce"] = request.nonce
    if request.tx_hash is not None:
        view["tx_hash"] = to_hex(request.tx_hash)
    if request.raw is not None and stored["release_raw"]:
        view["raw"] = to_hex(request.raw)
    if request.signature is not None:
        view["signature"] = to_hex(request.signature)
    if request.outcome is not None:
        view["receipt" if "block" in request.outcome else "problem"] = json.loads(request.outcome)
    return view


def operator_view(request: Request, state: State, approvals: list[Approval]) -> dict[str, Any]:
    """A request with everything an operator needs to decide, and to see what was decided."""
    decision, stored = json.loads(request.decision), json.loads(request.payload)
    grant = state.grants[request.grant_id]
    wallet = state.wallets.get(request.wallet)
    return {
        **agent_view(request),
        "agent": grant.agent,
        "grant": grant.id,
        "wallet_name": wallet.name if wallet is not None else None,
        "method": request.kind,
        "surface": request.surface,
        "policy": to_hex(request.policy),
        "policy_name": state.policies[request.policy].name,
        "digest": to_hex(request.digest),
        "effects_digest": decision["effects_digest"],
        "effects_data": decision["effects"],
        "alike": to_hex(alike(decision["effects"])),
        "needs": decision["approvals"],
        "approvals": [
            {
                "operator": a.operator, "approved": a.approved, "at_ms": a.at_ms, "reason": printable(a.reason),
                "expires_ms": a.expires_ms,
            }
            for a in approvals
        ],
        "payload": stored["payload"],
        "memo": printable(stored["memo"]),
        "trace": {key: printable(str(value)) for key, value in stored["trace"].items()},
        "updated_ms": request.updated_ms,
    }  # fmt: skip


def draft_view(draft: Draft, store: Store) -> dict[str, Any]:
    """A draft as operators read it before they sign it: everything that the word on it names."""
    return {
        "id": draft.id,
        "action": draft.action,
        "lines": list(draft.lines),
        "status": draft.status,
        "proposer": draft.proposer,
        "grant": draft.about or None,
        "before": to_hex(draft.before),
        "after": to_hex(draft.after),
        "body": draft.body,
        "created_ms": draft.created_ms,
        "expires_ms": draft.expires_ms,
        "ended_ms": draft.ended_ms,
        "signed": [voice.operator for voice in store.authority.draft_voices(draft.id) if voice.approved],
        "needs": int(store.authority.setting("quorum", "1")),
    }


def versions_view(wanted: str, store: Store) -> dict[str, Any]:
    """The policies that the grant (its id, or its agent's name) was put under, oldest first.

    Raises:
        InvalidRequestError: `grant_unknown`.
    """
    found = [g for g in store.grants() if wanted in (g.id, g.agent) and g.revoked_ms is None]
    if len(found) != 1:
        problem = "there is no grant" if not found else "more than one grant is called"
        raise InvalidRequestError(f"{problem} {printable(wanted)}", code="grant_unknown")
    (grant,) = found
    texts = {policy.hash: policy for policy in store.policies()}
    versions = store.authority.versions(grant.id) or [Version(grant.id, 1, grant.policy, "", None, grant.created_ms)]
    return {
        "grant": grant.id,
        "agent": grant.agent,
        "policy": to_hex(grant.policy),
        "versions": [
            {
                "number": v.number, "policy": to_hex(v.policy), "name": texts[v.policy].name, "operator": v.operator,
                "draft": v.draft, "at_ms": v.at_ms, "text": texts[v.policy].text,
            }
            for v in versions
        ],
    }  # fmt: skip


def budget_view(before: LimitStatus, after: LimitStatus) -> dict[str, Any]:
    """What one request takes of a total: as it would be without it, and as it is with it."""
    return {
        "name": after.name,
        "asset": after.asset,
        "span": "all time" if after.window_s is None else format_duration(after.window_s),
        "limit": str(after.limit),
        "before": str(before.used or 0),
        "after": str(after.used or 0),
        "limit_text": after.limit_text,
        "before_text": before.used_text,
        "after_text": after.used_text,
    }


def limit_view(limit: LimitStatus) -> dict[str, Any]:
    """One limit with what is left of it, amounts as text."""
    return {
        name: str(value) if isinstance(value, int) and name in ("limit", "used", "available") else value
        for name in LimitStatus.__slots__
        if (value := getattr(limit, name)) is None or isinstance(value, str | int)
    }


def policy_view(policy: Policy) -> dict[str, Any]:
    """A policy as its agent may read it: what it calls things by, and all of it in words. Names are the operators'."""
    assets = [
        {
            "name": name,
            "chain_id": asset.chain_id,
            "address": None if asset.is_native else checksum_address(asset.address),
            "decimals": policy.decimals[asset],
        }
        for name, known in sorted(policy.assets.items())
        for asset in sorted(known, key=lambda asset: asset.chain_id)
    ]
    addresses = {
        name: {
            "anywhere": sorted(checksum_address(address) for address in found.members),
            "pinned": [[chain_id, checksum_address(address)] for chain_id, address in sorted(found.pinned)],
        }
        for name, found in sorted(policy.addresses.items())
    }
    return {
        "name": policy.name,
        "hash": to_hex(policy.hash),
        "chain_ids": sorted(policy.chain_ids),
        "assets": assets,
        "addresses": addresses,
        "words": show(policy),
    }


def error_view(error: WalletGateError) -> dict[str, Any]:
    """An error as it goes over the wire."""
    body = {"code": error.code, "detail": error.detail, "data": dict(error.data), "retryable": error.retryable}
    return {"error": body}

"""The corpus' small words: what comes beside a request, and what an answer says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Case = Mapping[str, Any]
AGENTS = tuple(json.loads(Path(__file__).with_name("meta.json").read_text())["wallets"])
_META = ("approval_of_step", "idempotency_key", "credential", "actor", "headers", "reason")


def meta_of(step: Case) -> dict[str, Any]:
    """What comes beside a step's request."""
    return {**(step.get("request_meta") or {}), **{k: step[k] for k in _META if k in step}}


def heard(answer: Case) -> str:
    """allow, approve or deny, from what a client is told."""
    if "request" in answer:
        outcome = answer["request"]["decision"]["outcome"]
        return {"allow": "allow", "require_approval": "approve"}.get(outcome, "deny")
    error = answer.get("error")
    if error is None:
        return "allow"
    return "approve" if error.get("code") == -32002 else "deny"


def problem(answer: Case) -> str:
    error = answer.get("error") or {}
    return str((error.get("data") or {}).get("walletgate", {}).get("code") or error.get("code") or "")


def token_of(meta: Case, agent: str) -> str:
    """The token a request comes with; what nobody ever got is `unknown`, none at all is empty."""
    credential = meta.get("credential")
    if credential is None:
        return str(meta.get("actor") or agent)
    word = str(credential)
    return "" if word == "none" else word if word in AGENTS or word in ("revoked", "expired") else "unknown"


def headers_of(meta: Case) -> dict[str, str]:
    """What the agent sends along; what HTTP cannot carry is left out."""
    own = {"authorization", "idempotency-key", "x-walletgate-wait", "content-type"}
    given = {str(name): str(value) for name, value in (meta.get("headers") or {}).items()}
    return {k: v for k, v in given.items() if k.lower() not in own and v.isprintable() and v.isascii()}


def wire_answers(answers: Case) -> dict[str, Any]:
    """Answers of the upstream node by JSON-RPC method; a contract function's answer becomes eth_call's."""
    found: dict[str, Any] = {}
    for name, value in answers.items():
        if name.endswith(")"):
            found["eth_call"] = f"0x{int(value):064x}" if isinstance(value, int) else value
        else:
            found[name] = value
    return found

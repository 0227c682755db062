"""The gate's effects in the neutral words of the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from walletgate.encoding import checksum_address
from walletgate.types import NATIVE

Row = Mapping[str, Any]


def neutral_effects(effects: Sequence[Row], context: Row) -> list[dict[str, Any]]:
    """Every effect that the corpus has a word for."""
    found = (_neutral(effect, context) for effect in effects)
    return [effect for effect in found if effect is not None]


def _neutral(effect: Row, context: Row) -> dict[str, Any] | None:
    match effect["effect"]:
        case "Transfer":
            via = {} if effect["via"] is None else {"via": _address(effect["via"])}
            to = _address(effect["recipient"])
            return {"kind": "spend", "token": _token(effect["asset"]), "amount": effect["amount"], "to": to, **via}
        case "Allowance":
            kind = "approval" if effect["amount"] != "0" else "revoke"
            ends = effect["expires_at"]
            ttl = {} if ends is None else {"ttl_s": int(ends) - int(context["now"])}
            spender = _address(effect["spender"])
            return {"kind": kind, "token": _token(effect["asset"]), "amount": effect["amount"], "to": spender, **ttl}
        case "NftTransfer":
            price = {} if effect["price"] is None else {"price_wei": effect["price"]}
            to = _address(effect["recipient"])
            return {"kind": "nft", "token": _token(effect["collection"]), "id": effect["token_id"], "to": to, **price}
        case "OperatorApproval":
            return {"kind": "operator", "token": _token(effect["contract"]), "to": _address(effect["operator"])}
        case "Call":
            return {"kind": "call", "to": _address(effect["to"]), "function": effect["signature"]}
        case "Receive":
            token = {} if effect["asset"] is None else {"token": _token(effect["asset"])}
            return {"kind": "receive", **token, "min_amount": effect["min_amount"], "to": _address(effect["recipient"])}
        case "Redirect":
            return {"kind": "redirect", "what": effect["what"], "to": _address(effect["recipient"])}
        case "FeeShare":
            return {"kind": "fee_share", "to": _address(effect["recipient"]), "bips": int(effect["bips"])}
        case "Delegation":
            return {"kind": "delegate", "what": effect["kind"], "to": _address(effect["delegate"])}
        case "AdminChange":
            return {"kind": "admin", "to": _token(effect["contract"]), "what": effect["action"]}
        case "Deployment":
            return {"kind": "create", "amount": effect["value"]}
        case "Login":
            return {"kind": "login", "domain": effect["domain"]}
        case "MessageSignature":
            return {"kind": "message", "what": "text"}
        case "Opaque":
            return {"kind": "blind", "what": effect["code"]}
        case _:
            return None


def _token(asset: Row) -> str:
    return "native" if asset["address"] == "0x" + NATIVE.hex() else _address(asset["address"])


def _address(text: str) -> str:
    return checksum_address(bytes.fromhex(text[2:]))

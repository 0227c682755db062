"""Checks a proof from `walletgate audit prove` without any code of WalletGate's: the format is small.

    python examples/verify_proof.py proof.json log.vkey

Needs Python, cryptography (Ed25519) and eth-account (keccak-256, recovery of signers). The log's key, `log.vkey`,
must come from somewhere you trust, and not from whoever handed you the proof.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

TYPES = {
    "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "version", "type": "string"}],
    "Approval": [
        {"name": "gate", "type": "string"}, {"name": "request", "type": "string"}, {"name": "approve", "type": "bool"},
        {"name": "requestDigest", "type": "bytes32"}, {"name": "effectsDigest", "type": "bytes32"},
        {"name": "policy", "type": "bytes32"}, {"name": "expires", "type": "uint64"},
    ],
}  # fmt: skip


def demand(holds: object, what: str) -> None:
    """Ends with a reason unless it holds."""
    if not holds:
        raise SystemExit(f"NOT PROVEN: {what}")


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def open_checkpoint(note: str, vkey: str) -> tuple[str, int, bytes]:
    """C2SP signed-note and tlog-checkpoint: origin, size and root, if the key signed them."""
    name, _key_id, encoded = vkey.strip().split("+", 2)
    key = base64.b64decode(encoded)
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        _dash, signer, signature = line.split(" ")
        raw = base64.b64decode(signature)
        if signer == name and raw[:4] == sha(name.encode(), b"\n", key)[:4]:
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(raw[4:], text.encode())
            origin, size, root = text.splitlines()
            return origin, int(size), base64.b64decode(root)
    raise SystemExit("NOT PROVEN: the log's key did not sign this checkpoint")


def root_from(entry: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.3.2: the root that an inclusion proof leads to."""
    node, last, found = index, size - 1, sha(b"\x00", entry)
    for sibling in proof:
        demand(last, "an inclusion proof is too long")
        if node & 1 or node == last:
            found = sha(b"\x01", sibling, found)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            found = sha(b"\x01", found, sibling)
        node, last = node >> 1, last >> 1
    demand(last == 0 and index < size, "an inclusion proof is too short")
    return found


def open_entry(item: Any, checkpoint: tuple[str, int, bytes]) -> dict[str, Any]:
    origin, size, root = checkpoint
    proof = [base64.b64decode(text) for text in item["proof"]]
    demand(
        root_from(item["entry"].encode(), item["seq"], size, proof) == root, f"entry {item['seq']} is not in the log"
    )
    entry: dict[str, Any] = json.loads(item["entry"])
    demand(entry["seq"] == item["seq"] and entry["log"] == origin, f"entry {item['seq']} belongs elsewhere")
    return entry


def signer_of(entry: dict[str, Any]) -> str:
    """Who signed an operator's word (EIP-712)."""
    message = {
        "gate": entry["log"], "request": entry["request"], "approve": entry["kind"] == "approval_given",
        "requestDigest": entry["digest"], "effectsDigest": entry["effects_digest"], "policy": entry["policy"],
        "expires": entry["expires"],
    }  # fmt: skip
    domain = {"name": "WalletGate", "version": "1"}
    document = {"types": TYPES, "primaryType": "Approval", "domain": domain, "message": message}
    return str(Account.recover_message(encode_typed_data(full_message=document), signature=entry["signature"])).lower()


def verify(proof: dict[str, Any], vkey: str) -> list[str]:
    """What the proof proves, in words."""
    for link in proof["keys"]:  # the log changed its key: the old one vouches for the new
        entry = open_entry(link, open_checkpoint(link["checkpoint"], vkey))
        demand(entry["kind"] == "log_key_changed" and entry["before"] == vkey.strip(), "the chain of keys is broken")
        vkey = entry["after"]
    checkpoint = open_checkpoint(proof["checkpoint"], vkey)
    entries = [open_entry(item, checkpoint) for item in proof["entries"]]
    mine = [entry for entry in entries if entry.get("request") == proof["request"]]
    operators = {e["name"]: e["address"] for e in entries if e["kind"] == "operator_added"}
    shown, private = proof["shown"], proof["shown"].pop("private", {})
    digests: dict[str, tuple[str, Callable[[str], bytes]]] = {
        "payload": ("digest", lambda text: keccak(text.encode())),
        "decision": ("decision_digest", lambda text: keccak(text.encode())),
        "policy": ("policy_text", lambda text: sha(text.encode())),
        "transaction": ("tx", lambda text: keccak(bytes.fromhex(text[2:]))),
        "signature": ("signature_digest", lambda text: sha(bytes.fromhex(text[2:]))),
    }
    for name, value in shown.items():
        field, digest = digests[name]
        naming = {entry[field] for entry in mine if field in entry}
        demand(naming == {"0x" + digest(value).hex()}, f"the {name} is not what the log names")
    for name, value in private.items():
        made = "0x" + sha(bytes.fromhex(value["salt"][2:]), value["text"].encode()).hex()
        demand(any(e.get("private", {}).get(name) == made for e in mine), f"the {name} is not what the log names")
    decision = json.loads(shown["decision"])
    lines = [f"log {checkpoint[0]}, {checkpoint[1]} entries", *(f"it {words}" for words in decision["words"])]
    lines += [f"because {reason['text']} ({reason['rule']})" for reason in decision["reasons"]]
    for entry in mine:
        lines.append(f"#{entry['seq']} {entry['kind'].replace('_', ' ')}")
        if "signature" in entry:
            who = signer_of(entry)
            demand(who == entry["address"] == operators.get(entry["operator"], who), "a word is not its operator's")
            demand(entry["digest"] == mine[0]["digest"], "a word is about another request")
            demand(entry["effects_digest"] == decision["effects_digest"], "a word is about other effects")
            lines.append(f"   signed by {entry['operator']} {who}")
    if "transaction" in shown:
        wallet = str(Account.recover_transaction(shown["transaction"])).lower()
        demand(wallet == mine[0]["wallet"], "the transaction is not the wallet's")
        lines.append(f"transaction 0x{keccak(hexstr=shown['transaction']).hex()} signed by {wallet}")
    return lines + [f"not proven: {text}" for text in proof["unproven"]]


def main(proof: str, vkey: str) -> None:
    """Prints what the file `proof` proves under the key in the file `vkey`."""
    print("\n".join(verify(json.loads(Path(proof).read_text()), Path(vkey).read_text().strip())))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What operators may do to the log: change its key, and erase private texts that it only commits to.

The log itself is never changed. An agent's memo is text for people, and may name some; so the log holds a salted
SHA-256 of it, and the text and its salt are in a table of their own until an operator erases them. Who kept a proof
made before still has both. What is asked and signed is not private: calldata, typed data and messages are evidence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from walletgate.audit.entry import Json, Kind
from walletgate.audit.note import parse_verifying_key
from walletgate.encoding import printable
from walletgate.errors import AuditError, ConflictError, InvalidRequestError
from walletgate.gate.codec import canonical
from walletgate.gate.orders import Act, Answer, By, Change
from walletgate.store import Writer
from walletgate.types import Status

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate


def weigh_redaction(_gate: Gate, body: Mapping[str, Any]) -> Change:
    """It lets nobody do more than before."""
    return Change(False, (f"erase the memo of {printable(str(body.get('request')))}",))


def weigh_rotation(_gate: Gate, _body: Mapping[str, Any]) -> Change:
    """The old key vouches for the new one, so nothing is loosened."""
    return Change(False, ("change the key that signs the log",))


def redact(gate: Gate, by: By, body: Mapping[str, Any]) -> Act:
    """Erases what the agent wrote for people. What was asked, decided and signed stays: the log proves it."""
    request = gate.find(str(body.get("request")))
    if request is None:
        raise InvalidRequestError("there is no such request", code="request_unknown")
    if request.status is Status.AWAITING_APPROVAL:
        raise ConflictError("an operator may still need the text to decide", code="request_waits")
    if not gate.store.private(request.id):
        raise ConflictError("there is no private text of this request", code="nothing_private")

    def act(tx: Writer) -> Answer:
        current = gate.find(request.id) or request
        fields: list[Json] = [*gate.store.private(request.id)]
        tx.erase_private(request.id)
        stored = json.loads(current.payload)
        kept = tx.move_request(current, payload=canonical({**stored, "memo": ""}).decode())
        if current.id in gate.state.requests:
            gate.state.keep(kept)
        tx.entry(Kind.REQUEST_REDACTED, {"request": request.id, "fields": fields, **by.said})
        return {"request": request.id, "erased": fields}

    return act


def rotate_log_key(gate: Gate, by: By, body: Mapping[str, Any]) -> Act:
    """Names the key that signs the log from here; `gate.checkpoints` then has the old one vouch for it."""
    try:
        before, after = (parse_verifying_key(str(body.get(key))) for key in ("before", "after"))
    except AuditError as error:
        raise InvalidRequestError(f"a key is malformed: {error.detail}", code="payload_invalid") from None
    if not before.name == after.name == gate.store.origin or before == after:
        raise InvalidRequestError("both keys must be this log's, and not the same", code="payload_invalid")

    def act(tx: Writer) -> Answer:
        tx.entry(Kind.LOG_KEY_CHANGED, {"before": str(before), "after": str(after), **by.said})
        return {"before": str(before), "after": str(after)}

    return act

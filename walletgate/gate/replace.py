"""Taking a nonce again: an agent's own replacement, an operator's speed-up and cancellation.

Of all signed transactions with one nonce a chain can include one. They are rivals: each is a request of its own, and
together they count as the largest of them (`limits`, slots). A replacement pays at least an eighth more per gas than
every rival, because nodes refuse less (geth asks for a tenth).

A speed-up is the same transaction at a higher price, judged again as if it were the first. A cancellation and the
revocation of an allowance only make less possible; an operator's signature is all they need, also under a freeze.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from walletgate.encoding import printable
from walletgate.errors import ApprovalError, ConflictError, InvalidRequestError
from walletgate.gate.ask import Ask, Session
from walletgate.gate.broadcast import OPERATOR_SURFACE
from walletgate.gate.codec import payload_from_json
from walletgate.gate.judging import Fees, Judged, decode_payload
from walletgate.gate.lifecycle import SENT
from walletgate.gate.record import Decided, record_first
from walletgate.policy import Facts
from walletgate.signers import Authorization, Signature
from walletgate.store import Request, Writer
from walletgate.types import (
    NATIVE,
    Address,
    Asset,
    Booking,
    Decision,
    Hash32,
    Measure,
    Outcome,
    Reason,
    Transaction,
    TransactionRequest,
    TransactionType,
)  # fmt: skip

if TYPE_CHECKING:
    from walletgate.gate.gate import Gate

_BUMP_DIVISOR = 8
CANCEL_GAS = 21_000
REVOKE_GAS = 100_000
_APPROVE = bytes.fromhex("095ea7b3")


def rivals(requests: Iterable[Request], wallet: Address, chain_id: int, nonce: int) -> list[Request]:
    """The signed transactions that want a nonce and of which nobody knows yet what becomes of them."""
    key = (wallet, chain_id, nonce)
    return [r for r in requests if (r.wallet, r.chain_id, r.nonce) == key and r.status in SENT]


def transaction_of(request: Request) -> Transaction:
    """The transaction that a request signed.

    Raises:
        InvalidRequestError: `not_a_transaction`.
    """
    payload = payload_from_json(json.loads(request.payload)["payload"])
    if not isinstance(payload, Transaction):
        raise InvalidRequestError("the request is not a transaction", code="not_a_transaction")
    return payload


def least_price(old: Iterable[Request]) -> Fees:
    """The least a replacement of `old` must offer, wei per gas."""
    most, priority = 0, 0
    for request in old:
        transaction = transaction_of(request)
        most = max(most, _raised(transaction.max_fee_per_gas))
        priority = max(priority, _raised(transaction.max_priority_fee_per_gas))
    return Fees(most, priority)


def underpriced(transaction: Transaction, old: Sequence[Request]) -> Reason | None:
    """Why no node would take `transaction` in place of `old`."""
    least = least_price(old)
    if transaction.max_fee_per_gas >= least.max_fee_per_gas and (
        transaction.max_priority_fee_per_gas >= least.max_priority_fee_per_gas
    ):
        return None
    text = "a replacement must pay an eighth more per gas than what it replaces, priority fee included"
    return Reason(
        "replacement_underpriced", text, None, transaction.max_fee_per_gas, least.max_fee_per_gas, "wei per gas"
    )


@dataclass(frozen=True, slots=True)
class Prepared:
    """What an operator's word has signed: the transaction, the request it becomes, and what it replaces."""

    session: Session
    ask: Ask
    payload: Transaction
    request_id: str
    decided: Decided

    @property
    def authorizations(self) -> tuple[Authorization, ...]:
        """Leave to sign it."""
        return () if self.decided.authorization is None else (self.decided.authorization,)

    def record(self, gate: Gate, tx: Writer, signatures: Sequence[Signature]) -> Request:
        """Writes it like any other request."""
        request = record_first(tx, self.session, self.ask, self.payload, self.request_id, self.decided, signatures)
        tx.add_movements(gate.state.book.pending(self.request_id))
        return gate.state.keep(request)


def speed_up(gate: Gate, operator: str, request: Request, price: Fees, facts: Facts) -> Prepared:
    """The same transaction at a higher price, judged again; books only what it may cost more.

    Raises:
        ConflictError: `request_moved`, it is settled or was never sent.
        ApprovalError: `frozen`, or `denied` by the policy, with what it says.
    """
    old = _rivals_of(gate, request)
    payload = _priced(transaction_of(request), _max(price, least_price(old)))
    grant = gate.state.check_live(request.grant_id, gate.now_ms())
    session = Session(grant, request.chain_id)
    if gate.state.frozen_by(grant, request.chain_id) is not None:
        raise ApprovalError("the grant is frozen", code="frozen")
    judged = gate.deciding.judge_again(request, payload, facts)
    if judged.decision.outcome is Outcome.DENY:
        reasons = "; ".join(reason.text for reason in judged.decision.reasons)
        raise ApprovalError(f"the policy does not allow it at that price: {reasons}", code="denied")
    decision = replace(judged.decision, outcome=Outcome.ALLOW, approvals=())
    return _prepare(gate, session, _ask_of("speed-up", operator, request, len(old)), payload,
                    replace(judged, decision=decision), request)  # fmt: skip


def cancel(gate: Gate, operator: str, request: Request, price: Fees) -> Prepared:
    """A transaction that does nothing, in the place of one that waits.

    Raises:
        ConflictError: `request_moved`.
    """
    old = _rivals_of(gate, request)
    payload = _own(request.wallet, request.chain_id, _max(price, least_price(old)), request.wallet, b"", CANCEL_GAS)
    session = Session(gate.state.grants[request.grant_id], request.chain_id)
    ask = _ask_of("cancel", operator, request, len(old))
    return _prepare(gate, session, ask, payload, _fee_only(gate, session, payload), request)


def revoke_allowance(
    gate: Gate, operator: str, request: Request, asset: Asset, spender: Address, price: Fees
) -> Prepared:
    """A transaction that takes an allowance back: `approve(spender, 0)` (EIP-20)."""
    data = _APPROVE + bytes(12) + spender + bytes(32)
    payload = _own(request.wallet, asset.chain_id, price, asset.address, data, REVOKE_GAS)
    session = Session(gate.state.grants[request.grant_id], asset.chain_id)
    ask = _ask_of("revoke-allowance", operator, request, gate.now_ms())
    return _prepare(gate, session, ask, payload, _fee_only(gate, session, payload), None)


def _rivals_of(gate: Gate, request: Request) -> list[Request]:
    current = gate.state.requests.get(request.id)
    if current is None or current.nonce is None or current.status not in SENT:
        raise ConflictError("the request is not a transaction that waits to be mined", code="request_moved")
    return rivals(gate.state.requests.values(), current.wallet, current.chain_id, current.nonce)


def _prepare(
    gate: Gate, session: Session, ask: Ask, payload: Transaction, judged: Judged, replaced: Request | None
) -> Prepared:
    request_id = gate.deciding.new_id()
    nonce = None if replaced is None else replaced.nonce
    authorization, taken = gate.deciding.authorize(request_id, session, payload, nonce)
    grant = session.grant
    gate.state.book.reserve(
        request_id, judged.decision.bookings, grant=grant.id, group=grant.team, wallet=grant.wallet,
        now_ms=gate.now_ms(), slot=(grant.wallet, session.chain_id, taken),
    )  # fmt: skip
    policy = gate.state.policies[grant.policy]
    decided = Decided(judged, policy, authorization, taken, None if replaced is None else replaced.id)
    return Prepared(session, ask, payload, request_id, decided)


def _fee_only(gate: Gate, session: Session, payload: Transaction) -> Judged:
    """An operator's own transaction: decided by the operator, booked with what it may cost."""
    policy = gate.state.policies[session.grant.policy]
    effects = decode_payload(payload, session=session, policy=policy, now_ms=gate.now_ms())
    fee = payload.gas * payload.max_fee_per_gas
    booking = Booking(Measure.FEE, fee, Asset(payload.chain_id, NATIVE))
    reason = Reason("operator_command", "an operator had it signed", None)
    return Judged(Decision(Outcome.ALLOW, (reason,), policy.hash, (), (booking,)), effects)


def _ask_of(what: str, operator: str, request: Request, number: int) -> Ask:
    asked = TransactionRequest(request.chain_id, sender=request.wallet, to=None, value=0, data=b"")
    return Ask(
        client_id=f"{what}:{request.id}:{number}", surface=OPERATOR_SURFACE, method="eth_sendTransaction", asked=asked,
        body_hash=Hash32(bytes(32)), memo=printable(f"{what} of {request.id} by {operator}"),
    )  # fmt: skip


def _own(wallet: Address, chain_id: int, price: Fees, to: Address, data: bytes, gas: int) -> Transaction:
    return Transaction(
        type=TransactionType.FEE_MARKET, chain_id=chain_id, sender=wallet, to=to, value=0, data=data, gas=gas,
        max_fee_per_gas=price.max_fee_per_gas, max_priority_fee_per_gas=price.max_priority_fee_per_gas,
    )  # fmt: skip


def _priced(transaction: Transaction, price: Fees) -> Transaction:
    if transaction.type in (TransactionType.LEGACY, TransactionType.ACCESS_LIST):
        return replace(
            transaction, max_fee_per_gas=price.max_fee_per_gas, max_priority_fee_per_gas=price.max_fee_per_gas
        )
    return replace(
        transaction, max_fee_per_gas=price.max_fee_per_gas, max_priority_fee_per_gas=price.max_priority_fee_per_gas
    )


def _max(one: Fees, other: Fees) -> Fees:
    most = max(one.max_fee_per_gas, other.max_fee_per_gas)
    return Fees(most, min(most, max(one.max_priority_fee_per_gas, other.max_priority_fee_per_gas)))


def _raised(price: int) -> int:
    return price + -(-price // _BUMP_DIVISOR)

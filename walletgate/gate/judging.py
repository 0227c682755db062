"""From what was asked to a decision: fill, decode, judge. No state is changed here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from walletgate.effects import DecodeContext, decode
from walletgate.encoding import checksum_address
from walletgate.errors import InvalidRequestError
from walletgate.gate.ask import Ask, Session
from walletgate.gate.state import State
from walletgate.policy import Case, Facts, Policy, PriceFact, describe, judge
from walletgate.types import (
    Address,
    Asset,
    Batch,
    Bucket,
    CodeAuthorization,
    Decision,
    Effect,
    Expectation,
    Outcome,
    Payload,
    Reason,
    Transaction,
    TransactionRequest,
    TransactionType,
)  # fmt: skip

WORDS_MAX = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, the effects it is about, and how an operator reads them.

    `prices` are those from feeds that were known then; they are stored with the decision, so that it can be replayed.
    """

    decision: Decision
    effects: tuple[Effect, ...]
    prices: Mapping[tuple[Asset, str], PriceFact] = field(default_factory=dict)

    def words(self, policy: Policy, wallet: Address) -> list[str]:
        """The effects in words, the first of them if there are very many."""
        lines = [describe(effect, policy, wallet=wallet) for effect in self.effects[:WORDS_MAX]]
        more = len(self.effects) - WORDS_MAX
        return [*lines, f"… and {more} more effects"] if more > 0 else lines


@dataclass(frozen=True, slots=True)
class Fees:
    """Prices to fill in, wei per gas."""

    max_fee_per_gas: int
    max_priority_fee_per_gas: int


def check_session(asked: object, session: Session) -> None:
    """Refuses what is for another wallet or another chain than the session's.

    Raises:
        InvalidRequestError: `wrong_wallet`, `wrong_chain`.
    """
    chain_id = getattr(asked, "chain_id", None)
    if isinstance(asked, TransactionRequest | Batch) and chain_id not in (None, session.chain_id):
        raise InvalidRequestError(
            f"the request is for chain {chain_id}, this endpoint is chain {session.chain_id}",
            code="wrong_chain",
            data={"actual": chain_id, "expected": session.chain_id},
        )
    sender = getattr(asked, "sender", None) or getattr(asked, "signer", session.grant.wallet)
    if sender != session.grant.wallet:
        raise InvalidRequestError(f"{checksum_address(sender)} is not this grant's wallet", code="wrong_wallet")


def fill(asked: TransactionRequest, session: Session, fees: Fees, gas: int) -> Transaction:
    """A complete transaction: what the agent left open comes from `fees` and `gas`."""
    kind = asked.type
    if kind is None:
        legacy = TransactionType.ACCESS_LIST if asked.access_list else TransactionType.LEGACY
        modern = TransactionType.SET_CODE if asked.authorization_list else TransactionType.FEE_MARKET
        kind = legacy if asked.gas_price is not None else modern
    if kind in (TransactionType.LEGACY, TransactionType.ACCESS_LIST):
        price = fees.max_fee_per_gas if asked.gas_price is None else asked.gas_price
        most, priority = price, price
    else:
        most = fees.max_fee_per_gas if asked.max_fee_per_gas is None else asked.max_fee_per_gas
        asked_priority = asked.max_priority_fee_per_gas
        priority = min(fees.max_priority_fee_per_gas, most) if asked_priority is None else asked_priority
    return Transaction(
        type=kind,
        chain_id=session.chain_id,
        sender=asked.sender,
        to=asked.to,
        value=asked.value,
        data=asked.data,
        gas=gas if asked.gas is None else asked.gas,
        max_fee_per_gas=most,
        max_priority_fee_per_gas=priority,
        access_list=asked.access_list or (),
        authorization_list=asked.authorization_list,
        max_fee_per_blob_gas=asked.max_fee_per_blob_gas or 0,
        blob_hashes=asked.blob_hashes,
    )


def decode_payload(payload: Payload, *, session: Session, policy: Policy, now_ms: int) -> tuple[Effect, ...]:
    """What `payload` would do, read with what the policy says about contracts."""
    context = DecodeContext(
        chain_id=session.chain_id,
        wallet=session.grant.wallet,
        now=now_ms // 1000,
        functions=policy.functions,
        underlying=policy.underlying,
        collections=policy.collections,
    )
    return decode(payload, context)


def judge_payload(
    payload: Payload, *, session: Session, policy: Policy, now_ms: int, method: str, expect: Expectation | None,
    facts: Facts, used: Callable[[Bucket, int | None], int],
) -> Judged:  # fmt: skip
    """Decodes and judges a complete payload. Pure but for `used`."""
    grant = session.grant
    chain_id = payload.chain_id if isinstance(payload, CodeAuthorization) else session.chain_id
    effects = decode_payload(payload, session=session, policy=policy, now_ms=now_ms)
    case = Case(
        grant=grant.id,
        agent=grant.agent,
        group=grant.team,
        wallet=grant.wallet,
        chain_id=chain_id or session.chain_id,
        now_ms=now_ms,
        method=method,
        effects=effects,
        expect=expect,
        facts=facts,
    )
    return Judged(judge(policy, case, used), effects, facts.prices)


def used_without(state: State, request: str | None, now_ms: int) -> Callable[[Bucket, int | None], int]:
    """What is used of each budget, without what `request` and its rivals for one nonce have reserved."""

    def used(bucket: Bucket, window_ms: int | None) -> int:
        own = 0 if request is None else state.book.share(request, bucket)
        return state.book.used(bucket, window_ms, now_ms) - own

    return used


def denied(judged: Judged, *reasons: Reason) -> Judged:
    """The same, refused for further reasons; without any it is left as it is."""
    if not reasons:
        return judged
    decision = replace(
        judged.decision, outcome=Outcome.DENY, reasons=(*judged.decision.reasons, *reasons), bookings=(), approvals=()
    )
    return replace(judged, decision=decision)


def chains_of(asked: object, chain_id: int) -> tuple[int, ...]:
    """The chains on which a request that came in for `chain_id` could be used; 0 is every one."""
    return (chain_id, asked.chain_id) if isinstance(asked, CodeAuthorization) else (chain_id,)


def ask_nonce(ask: Ask) -> int | None:
    """The nonce the agent insists on, if any."""
    return ask.asked.nonce if isinstance(ask.asked, TransactionRequest) else None

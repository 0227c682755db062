"""Between values and rows, the same for both engines; no statement and no connection here."""

from __future__ import annotations

from functools import cache
from typing import Any

from walletgate.limits import Movement, MovementState
from walletgate.store.records import Request
from walletgate.store.tables import Row
from walletgate.types import Address, Asset, Booking, Measure, Status


@cache
def columns(table: type[Row]) -> tuple[str, ...]:
    """The columns of a table, in order."""
    return tuple(column.name for column in table.__table__.columns)


def request_row(request: Request, change: int) -> tuple[Any, ...]:
    """A request as a row that commit `change` writes."""
    r = request
    return (
        r.id, r.grant_id, r.client_id, r.surface, r.kind, r.body_hash, r.status.value, r.payload, r.decision, r.policy,
        r.digest, r.wallet, r.chain_id, r.nonce, r.raw, r.tx_hash, r.signature, r.outcome, r.created_ms, r.updated_ms,
        r.expires_ms, r.replaces, int(r.moving), change,
    )  # fmt: skip


def request_of(row: tuple[Any, ...]) -> Request:
    """The request that `request_row` wrote."""
    (
        number, grant, client, surface, kind, body, status, payload, decision, policy, digest, wallet, chain, nonce,
        raw, tx_hash, signature, outcome, created_ms, updated_ms, expires_ms, replaces, moving, _,
    ) = row  # fmt: skip
    return Request(
        number, grant, client, surface, kind, body, Status(status), payload, decision, policy, digest, wallet, chain,
        created_ms, updated_ms, nonce, raw, tx_hash, signature, outcome, expires_ms, replaces, bool(moving),
    )  # fmt: skip


def movement_row(movement: Movement, change: int) -> tuple[Any, ...]:
    """A movement as a row that commit `change` writes."""
    m, b = movement, movement.booking
    chain, asset = (None, None) if b.asset is None else (b.asset.chain_id, b.asset.address)
    counts = b.amount if m.state is MovementState.PENDING else m.spent
    return (
        m.id, m.request, m.grant, m.group, m.wallet, b.measure.value, chain, asset, b.recipient, b.contract, b.unit,
        str(counts), str(b.amount), m.state.value, m.at_ms, change,
    )  # fmt: skip


def movement_of(row: tuple[Any, ...]) -> Movement:
    """The movement that `movement_row` wrote."""
    (
        number, request, grant, team, wallet, measure, chain, asset, recipient, contract, unit, amount, reserved, state,
        at_ms, _,
    ) = row  # fmt: skip
    booking = Booking(
        Measure(measure),
        int(reserved),
        None if asset is None else Asset(chain, Address(asset)),
        None if recipient is None else Address(recipient),
        None if contract is None else Address(contract),
        unit,
    )
    now = MovementState(state)
    spent = int(amount) if now is MovementState.POSTED else 0
    return Movement(number, request, grant, team, Address(wallet), booking, now, at_ms, spent)

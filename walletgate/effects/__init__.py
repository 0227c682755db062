"""What a request would do: bytes in, the complete list of effects out. Pure.

    effects = decode(transaction, DecodeContext(chain_id=8453, wallet=wallet, now=now))

`decode` never raises on what an agent sent. Whatever it does not understand in full is an `Opaque` effect,
and a request with one is refused unless the policy names that kind of blindness. Effects come in order of
execution; a transaction's `Fee` is last.

Where things are: `request` and `strictjson` read the wire, `signature` and `abi` calldata, `typed` EIP-712
documents, `messages` texts. `registry` walks calls and `signing` typed data by rules, and each family of
protocols is one file of rules. To teach the gate a protocol, write such a file and name it below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, assert_never

from walletgate.effects import (
    accounts,
    admin,
    aggregators,
    bridges,
    curve,
    delegations,
    lending,
    multicalls,
    nfts,
    orders,
    permit2,
    permits,
    positions,
    safe,
    seaport,
    swaps,
    tokens,
    universal_router,
    wrapped,
)
from walletgate.effects.messages import message_effects
from walletgate.effects.registry import DecodeContext, Registry, Site, Walk
from walletgate.effects.signing import by_type_hash, typed_effects
from walletgate.encoding import keccak256, printable
from walletgate.types import (
    UINT256_MAX,
    Batch,
    CodeAuthorization,
    Delegation,
    Deployment,
    Effect,
    Fee,
    Hash32,
    Opaque,
    RawHash,
    TextMessage,
    Transaction,
    TransactionRequest,
    TransactionType,
    TypedData,
)

__all__ = ["REGISTRY", "TYPED_RULES", "DecodeContext", "decode"]

INIT_CODE_BYTES_MAX: Final = 49_152
"""EIP-3860."""

_FAMILIES: Final = (
    tokens,
    permit2,
    nfts,
    wrapped,
    multicalls,
    safe,
    accounts,
    swaps,
    curve,
    universal_router,
    positions,
    aggregators,
    lending,
    bridges,
    admin,
    delegations,
    orders,
    seaport,
)
_SIGNED: Final = (
    permits,
    safe,
    accounts,
    lending,
    admin,
    delegations,
    orders,
    seaport,
)
REGISTRY: Final = Registry(rule for family in _FAMILIES for rule in family.CALLS)
TYPED_RULES: Final = by_type_hash(rule for family in _SIGNED for rule in family.TYPED)

Payload = Transaction | Batch | TypedData | TextMessage | RawHash | CodeAuthorization


def decode(payload: Payload, context: DecodeContext) -> tuple[Effect, ...]:
    """Every effect of `payload`, in order of execution."""
    if isinstance(payload, Transaction):
        return _transaction(payload, context)
    return tuple(_other(payload, context))


def _other(
    payload: Batch | TypedData | TextMessage | RawHash | CodeAuthorization, context: DecodeContext
) -> Iterator[Effect]:
    match payload:
        case Batch():
            yield from _batch(payload, context)
        case TypedData():
            yield from typed_effects(payload, Walk(context, REGISTRY), TYPED_RULES)
        case TextMessage():
            yield from message_effects(payload, context.chain_id)
        case RawHash():
            yield Opaque("blind_hash", "a bare hash: nobody can tell what it stands for")
        case CodeAuthorization():
            yield _delegation(payload, "")
        case _:
            assert_never(payload)


def _transaction(transaction: Transaction, context: DecodeContext) -> tuple[Effect, ...]:
    chain_id, to = transaction.chain_id, transaction.to
    fee = Fee(chain_id, min(UINT256_MAX, transaction.max_fee))
    if to is None:
        effects: Iterable[Effect] = _deployment(chain_id, transaction.value, transaction.data, "")
    else:
        effects = Walk(context, REGISTRY).call(
            Site(chain_id, transaction.sender, to, transaction.value, transaction.data)
        )
    plain = not (transaction.authorization_list or transaction.blob_hashes)
    if plain and transaction.type is not TransactionType.BLOB and chain_id == context.chain_id:
        return (*effects, fee)
    return (*_envelope(transaction, context), *effects, fee)


def _envelope(transaction: Transaction, context: DecodeContext) -> Iterator[Effect]:
    """What a transaction does besides its call."""
    if transaction.chain_id != context.chain_id:
        yield _mismatch(transaction.chain_id, context, "")
    if transaction.type is TransactionType.BLOB or transaction.blob_hashes:
        yield Opaque("blob_transaction", f"{len(transaction.blob_hashes)} blobs", transaction.to)
    for index, authorization in enumerate(transaction.authorization_list):
        yield _delegation(authorization, f"authorizationList[{index}]")


def _mismatch(chain_id: int, context: DecodeContext, path: str) -> Opaque:
    return Opaque("chain_mismatch", f"chain {chain_id} in a session on chain {context.chain_id}", path=path)


def _batch(batch: Batch, context: DecodeContext) -> Iterator[Effect]:
    if batch.chain_id != context.chain_id:
        yield _mismatch(batch.chain_id, context, "")
    for name in batch.capabilities:
        yield Opaque("capability", f"the batch demands the capability {printable(name, length_max=40)}")
    walk = Walk(context, REGISTRY)
    for index, call in enumerate(batch.calls):
        yield from _batch_call(walk, batch, call, f"calls[{index}]")


def _batch_call(walk: Walk, batch: Batch, call: TransactionRequest, path: str) -> Iterator[Effect]:
    if call.chain_id not in (None, batch.chain_id):
        yield Opaque("chain_mismatch", f"chain {call.chain_id} in a batch for chain {batch.chain_id}", call.to, path)
    for authorization in call.authorization_list:
        yield _delegation(authorization, path)
    if call.to is None:
        yield from _deployment(batch.chain_id, call.value, call.data, path)
    else:
        yield from walk.call(Site(batch.chain_id, batch.sender, call.to, call.value, call.data, path))


def _deployment(chain_id: int, value: int, data: bytes, path: str) -> Iterator[Effect]:
    """New code. The wei it starts with are in `Deployment.value`: the contract has no address to judge yet."""
    yield Deployment(chain_id, value, Hash32(keccak256(data)), path)
    if not data:
        yield Opaque("empty_init_code", "a contract without code: its value would be lost", path=path)
    if len(data) > INIT_CODE_BYTES_MAX:
        yield Opaque("init_code_too_large", f"{len(data)} bytes of init code", path=path)


def _delegation(authorization: CodeAuthorization, path: str) -> Delegation:
    return Delegation("set_code", authorization.address, authorization.chain_id, path)

"""Logs of a run, as effects: what moved and who may move what, told by the tokens themselves.

ERC-20 `Transfer` and `Approval`, ERC-721 (the same events with the token id indexed), ERC-1155 single and batch,
`ApprovalForAll`, Permit2's own `Approval` and `Permit`, and the pseudo-logs that nodes make of ether that moves, which
come from the address that stands for the coin. Other logs say nothing about the wallet's assets and are passed over.

Any contract can emit any log. So this reading is never a reason to permit; and a log that has the name of one of
these events but not its shape is an error, because then something moved of which nobody can say what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from walletgate.effects.abi import AbiError, decode_strict, parse_types
from walletgate.effects.permits import PERMIT2, unlimited
from walletgate.effects.registry import address as parse_known
from walletgate.encoding import keccak256
from walletgate.types import (
    Address,
    Allowance,
    Asset,
    Effect,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Transfer,
)

TOPICS_MAX: Final = 4
_WORD: Final = 32
_PERMIT2: Final = parse_known(PERMIT2)
_BATCH_TYPES: Final = parse_types("uint256[] ids,uint256[] values")


class LogError(ValueError):
    """A log with an event's name and not its shape."""


@dataclass(frozen=True, slots=True)
class Log:
    """One log as the EVM makes it; topics are 32 bytes each, at most four."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes


def log_effects(logs: Iterable[Log], chain_id: int) -> tuple[Effect, ...]:
    """What the logs say, in their order.

    Raises:
        LogError: a log of a known event that cannot be read in full.
    """
    found: list[Effect] = []
    for log in logs:
        read = _EVENTS.get(log.topics[0]) if log.topics else None
        if read is not None:
            found += read(log, Asset(chain_id, log.address))
    return tuple(found)


def _words(log: Log, count: int) -> list[int]:
    """The event's `count` arguments, indexed or not; all of them are one word."""
    data = b"".join(log.topics[1:]) + log.data
    if len(data) != count * _WORD:
        raise LogError(f"an event of {count} words has {len(data)} bytes")
    return [int.from_bytes(data[at : at + _WORD], "big") for at in range(0, len(data), _WORD)]


def _address(word: int) -> Address:
    if word >> 160:
        raise LogError("an address has more than 20 bytes")
    return Address(word.to_bytes(20, "big"))


def _transfer(log: Log, asset: Asset) -> Iterator[Effect]:
    sender, recipient, number = _words(log, 3)
    if len(log.topics) == TOPICS_MAX:
        yield NftTransfer(asset, number, 1, _address(sender), _address(recipient))
    else:
        yield Transfer(asset, _address(sender), _address(recipient), number)


def _approval(log: Log, asset: Asset) -> Iterator[Effect]:
    owner, spender, number = _words(log, 3)
    if len(log.topics) == TOPICS_MAX:
        yield NftApproval(asset, number, _address(owner), _address(spender))
    else:
        yield Allowance(asset, _address(owner), _address(spender), number)


def _approval_for_all(log: Log, asset: Asset) -> Iterator[Effect]:
    owner, operator, approved = _words(log, 3)
    yield OperatorApproval(asset, _address(owner), _address(operator), approved=approved != 0)


def _single(log: Log, asset: Asset) -> Iterator[Effect]:
    _, sender, recipient, token_id, amount = _words(log, 5)
    yield NftTransfer(asset, token_id, amount, _address(sender), _address(recipient))


def _batch(log: Log, asset: Asset) -> Iterator[Effect]:
    if len(log.topics) != TOPICS_MAX:
        raise LogError("a batch does not say from whom to whom")
    sender, recipient = (_address(int.from_bytes(topic, "big")) for topic in log.topics[2:])
    try:
        ids, amounts = decode_strict(_BATCH_TYPES, log.data)
    except AbiError as error:
        raise LogError("a batch is malformed") from error
    if not isinstance(ids, tuple) or not isinstance(amounts, tuple) or len(ids) != len(amounts):
        raise LogError("a batch has not as many amounts as tokens")
    for token_id, amount in zip(ids, amounts, strict=True):
        if isinstance(token_id, int) and isinstance(amount, int):
            yield NftTransfer(asset, token_id, amount, sender, recipient)


def _permit2(count: int) -> Callable[[Log, Asset], Iterator[Effect]]:
    def read(log: Log, asset: Asset) -> Iterator[Effect]:
        if log.address != _PERMIT2:
            return
        owner, token, spender, amount, *_ = _words(log, count)
        here = Asset(asset.chain_id, _address(token))
        yield Allowance(here, _address(owner), _address(spender), unlimited(amount))

    return read


_EVENTS: Final[Mapping[bytes, Callable[[Log, Asset], Iterator[Effect]]]] = {
    keccak256(signature.encode()): read
    for signature, read in (
        ("Transfer(address,address,uint256)", _transfer),
        ("Approval(address,address,uint256)", _approval),
        ("ApprovalForAll(address,address,bool)", _approval_for_all),
        ("TransferSingle(address,address,address,uint256,uint256)", _single),
        ("TransferBatch(address,address,address,uint256[],uint256[])", _batch),
        ("Approval(address,address,address,uint160,uint48)", _permit2(5)),
        ("Permit(address,address,address,uint160,uint48,uint48)", _permit2(6)),
    )
}

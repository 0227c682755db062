"""What the gate answers, as values. Unknown fields are passed over (a newer gate may say more), wrong ones are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from walletgate.agent.errors import GateUnavailable, make
from walletgate.types import Outcome, Reason, Status

Found = TypeVar("Found")
Object = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction on chain: the block's number, and the fee it cost in wei."""

    block: int
    gas_used: int
    fee: int
    succeeded: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What the gate would decide now, why, and the effects it sees, in words."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it stands. `id` is the agent's own, `request_id` the gate's; hashes and bytes are `0x` hex."""

    id: str
    request_id: str
    status: Status
    wallet: str
    chain_id: int | None
    outcome: Outcome
    reasons: tuple[Reason, ...]
    effects: tuple[str, ...]
    nonce: int | None = None
    tx_hash: str | None = None
    raw: str | None = None
    signature: str | None = None
    expires_at: int | None = None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the grant allows: `left` has an object for each limit, amounts as decimal text in base units."""

    grant: str
    wallet: str
    chain_id: int | None
    chain_ids: tuple[int, ...]
    policy: str
    policy_hash: str
    left: tuple[Object, ...]


@dataclass(frozen=True, slots=True)
class PinnedAsset:
    """An asset that the policy names. `address` is the token's contract, None for the chain's own coin."""

    name: str
    chain_id: int
    address: str | None
    decimals: int


@dataclass(frozen=True, slots=True)
class PolicyView:
    """The policy as the agent may read it: `words` is all of it, in sentences.

    `addresses` has for each name the (chain id, address) pairs it stands for; None is any of the policy's chains.
    """

    name: str
    hash: str
    chain_ids: tuple[int, ...]
    assets: tuple[PinnedAsset, ...]
    addresses: Mapping[str, tuple[tuple[int | None, str], ...]]
    words: tuple[str, ...]


def read_policy(body: Object) -> PolicyView:
    """A policy from the gate's JSON.

    Raises:
        GateUnavailable: `answer_invalid`.
    """
    book = _object(body, "addresses")
    return PolicyView(
        name=_text(body, "name"),
        hash=_text(body, "hash"),
        chain_ids=tuple(_integer(chain_id, "chain_ids") for chain_id in _list(body, "chain_ids")),
        assets=tuple(_asset(_mapping(item, "assets")) for item in _list(body, "assets")),
        addresses={name: _places(_object(book, name)) for name in book},
        words=_texts(body, "words"),
    )


def _asset(body: Object) -> PinnedAsset:
    return PinnedAsset(
        name=_text(body, "name"),
        chain_id=_integer(body.get("chain_id"), "chain_id"),
        address=_optional_text(body, "address"),
        decimals=_integer(body.get("decimals"), "decimals"),
    )


def _places(body: Object) -> tuple[tuple[int | None, str], ...]:
    found: list[tuple[int | None, str]] = [(None, address) for address in _texts(body, "anywhere")]
    for item in _list(body, "pinned"):
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], str):
            raise invalid("pinned")
        found.append((_integer(item[0], "pinned"), item[1]))
    return tuple(found)


def read_request(body: Object) -> Request:
    """A request from the gate's JSON.

    Raises:
        GateUnavailable: `answer_invalid`.
    """
    decision = _object(body, "decision")
    receipt = body.get("receipt")
    return Request(
        id=_text(body, "id"),
        request_id=_text(body, "request_id"),
        status=_parsed(body, "status", Status),
        wallet=_text(body, "wallet"),
        chain_id=_number(body, "chain_id"),
        outcome=_parsed(decision, "outcome", _outcome),
        reasons=_reasons(decision),
        effects=_texts(body, "effects"),
        nonce=_number(body, "nonce"),
        tx_hash=_optional_text(body, "tx_hash"),
        raw=_optional_text(body, "raw"),
        signature=_optional_text(body, "signature"),
        expires_at=_number(body, "expires_at"),
        receipt=None if receipt is None else _receipt(_object(body, "receipt")),
    )


def read_preview(body: Object) -> Preview:
    """A preview from the gate's JSON.

    Raises:
        GateUnavailable: `answer_invalid`.
    """
    decision = _object(body, "decision")
    return Preview(_parsed(decision, "outcome", _outcome), _reasons(decision), _texts(body, "effects"))


def read_limits(body: Object) -> Limits:
    """A grant's limits from the gate's JSON.

    Raises:
        GateUnavailable: `answer_invalid`.
    """
    policy = _object(body, "policy")
    return Limits(
        grant=_text(body, "grant"),
        wallet=_text(body, "wallet"),
        chain_id=_number(body, "chain_id"),
        chain_ids=tuple(_integer(chain_id, "chain_ids") for chain_id in _list(body, "chain_ids")),
        policy=_text(policy, "name"),
        policy_hash=_text(policy, "hash"),
        left=tuple(_mapping(limit, "limits") for limit in _list(body, "limits")),
    )


def read_reasons(body: Object) -> tuple[Reason, ...]:
    """The reasons in `body`, none if there are none.

    Raises:
        GateUnavailable: `answer_invalid`.
    """
    return _reasons(body) if "reasons" in body else ()


def invalid(what: str) -> GateUnavailable:
    """The gate's answer is not one."""
    return make(GateUnavailable, f"the gate's answer makes no sense: {what}", code="answer_invalid")


def _reasons(decision: Object) -> tuple[Reason, ...]:
    return tuple(_reason(_mapping(item, "reasons")) for item in _list(decision, "reasons"))


def _reason(body: Object) -> Reason:
    return Reason(
        code=_text(body, "code"),
        text=_text(body, "text"),
        rule=_optional_text(body, "rule"),
        actual=_number(body, "actual"),
        bound=_number(body, "bound"),
        unit=_optional_text(body, "unit"),
        path=_optional_text(body, "path") or "",
    )


def _receipt(body: Object) -> Receipt:
    succeeded = body.get("succeeded")
    if not isinstance(succeeded, bool):
        raise invalid("receipt")
    block, gas_used, fee = (_integer(body.get(name), "receipt") for name in ("block", "gas_used", "fee"))
    return Receipt(block, gas_used, fee, succeeded)


def _outcome(text: str) -> Outcome:
    return Outcome[text.upper()]


def _parsed(body: Object, name: str, parse: Callable[[str], Found]) -> Found:
    try:
        return parse(_text(body, name))
    except (KeyError, ValueError):
        raise invalid(name) from None


def _text(body: Object, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise invalid(name)
    return value


def _optional_text(body: Object, name: str) -> str | None:
    return None if body.get(name) is None else _text(body, name)


def _number(body: Object, name: str) -> int | None:
    return None if body.get(name) is None else _integer(body[name], name)


def _integer(value: object, name: str) -> int:
    """An integer, or the decimal text that large ones come as."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) < 100:
        return int(value)
    raise invalid(name)


def _list(body: Object, name: str) -> Sequence[object]:
    value = body.get(name)
    if not isinstance(value, list):
        raise invalid(name)
    return value


def _texts(body: Object, name: str) -> tuple[str, ...]:
    values = _list(body, name)
    if not all(isinstance(value, str) for value in values):
        raise invalid(name)
    return tuple(str(value) for value in values)


def _object(body: Object, name: str) -> Object:
    return _mapping(body.get(name), name)


def _mapping(value: object, name: str) -> Object:
    if not isinstance(value, dict):
        raise invalid(name)
    return value

"""Calls walked down to their leaves, and the table of what each known function does.

A family of protocols is one file with two tuples of rules: `CALLS` (by selector, for every contract or only
at named addresses) and `TYPED` (by EIP-712 type hash). A rule's handler gets one `Frame`, the strictly
decoded call and who makes it, and yields effects; for calls inside calls it asks the walk, which comes back
here. Handlers never parse raw calldata of their own and never see the policy.

What is promised: a call that is not understood in full yields `Opaque`, with these codes:
`unknown_function`, `noncanonical_abi`, `calldata_too_large`, `too_deep`, `too_many_calls`,
`value_to_token`, `delegatecall`. The walk is bounded in depth, in calls and in bytes, and nothing here raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from walletgate.effects.abi import CALLDATA_BYTES_MAX, AbiError, Function, parse_signature
from walletgate.effects.ledger import Ledger
from walletgate.effects.signature import AbiType
from walletgate.encoding import keccak256
from walletgate.types import (
    NATIVE,
    Address,
    Asset,
    Call,
    Deployment,
    Effect,
    Hash32,
    Opaque,
    Redirect,
    TrailingBytes,
    Transfer,
)

DEPTH_MAX: Final = 8
CALLS_MAX: Final = 512
BYTES_MAX: Final = 512 * 1024

RECIPIENT_NAMES: Final = frozenset(
    (
        "to",
        "recipient",
        "receiver",
        "dst",
        "destination",
        "beneficiary",
        "onBehalfOf",
        "onBehalf",
        "account",
        "refundTo",
        "refundAddress",
        "refundReceiver",
        "dstReceiver",
    )
)
"""Parameter names that, in a function the policy names, say who gets something of value. Whoever leaves an
address without a name gets the same: nobody knows that it is harmless."""

CREATE2_FACTORY: Final = Address(bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c"))
RECEIVE: Final = parse_signature("receive()")


@dataclass(frozen=True, slots=True)
class DecodeContext:
    """What decoding may depend on besides the bytes: all of it pinned by the operator or the gate.

    `wallet` is the address that would sign; `now` is Unix seconds. `functions` are the contract functions that
    the policy names, by (chain, contract, selector); the selector of `receive()` is empty. `underlying` is the
    token that a vault or market takes when calldata does not say so; `collections` are NFT contracts, for verbs
    that ERC-20 and ERC-721 share. Both by (chain, contract).
    """

    chain_id: int
    wallet: Address
    now: int
    functions: Mapping[tuple[int, Address, bytes], Function] = field(default_factory=dict)
    underlying: Mapping[tuple[int, Address], Address] = field(default_factory=dict)
    collections: frozenset[tuple[int, Address]] = frozenset()


class Site(NamedTuple):
    """A call to be walked: raw, not decoded yet.

    `payer` pays `value` when that is not `sender` (a forwarder passing on what it was sent). `prepaid` says that
    the value has been counted by an outer call (delegatecall to self keeps msg.value). `ledger` follows what a
    router holds between the steps of one plan.
    """

    chain_id: int
    sender: Address
    to: Address
    value: int
    data: bytes
    path: str = ""
    depth: int = 0
    delegate: bool = False
    payer: Address | None = None
    prepaid: bool = False
    ledger: Ledger | None = None


class Frame(NamedTuple):
    """A decoded call as its handler sees it: `sender` calls `to` with `value` wei.

    `args` are exactly what `function`'s types say, because they were decoded by them: hence Any.
    """

    walk: Walk
    chain_id: int
    sender: Address
    to: Address
    value: int
    function: Function
    args: tuple[Any, ...]
    path: str
    depth: int
    ledger: Ledger | None
    delegate: bool

    def asset(self, address: Address) -> Asset:
        """The token at `address` on this call's chain."""
        return token(self.chain_id, address)

    @property
    def here(self) -> Asset:
        """The called contract, as a token of its own."""
        return token(self.chain_id, self.to)

    @property
    def native(self) -> Asset:
        """This chain's own coin."""
        return token(self.chain_id, NATIVE)

    def spend(self, asset: Address, amount: int, *, sender: Address | None = None) -> Transfer:
        """`amount` of `asset` taken by the called contract."""
        return Transfer(
            token(self.chain_id, asset), sender or self.sender, self.to, amount, via=self.to, path=self.path
        )

    def redirect(self, recipient: bytes, what: str) -> Redirect:
        """Something of value that goes to `recipient`."""
        return Redirect(Address(recipient), what, path=self.path)

    def opaque(self, code: str, detail: str) -> Opaque:
        """A part of this call that is not understood."""
        return Opaque(code, detail, target=self.to, path=self.path)

    def step(self, name: str, index: int | None = None) -> str:
        """Path of a part of this call."""
        return join(self.path, name if index is None else f"{name}[{index}]")

    def inner(  # noqa: PLR0913 - the fields of a Site
        self,
        *,
        to: bytes,
        data: bytes,
        path: str,
        value: int = 0,
        sender: Address | None = None,
        delegate: bool = False,
        payer: Address | None = None,
        prepaid: bool = False,
        ledger: Ledger | None = None,
    ) -> Iterable[Effect]:
        """Effects of a call that the called contract makes, in its own name unless `sender` says otherwise."""
        depth = self.depth + 1
        caller = self.to if sender is None else sender
        return self.walk.call(
            Site(self.chain_id, caller, Address(to), value, data, path, depth, delegate, payer, prepaid, ledger)
        )


Handler = Callable[[Frame], Iterable[Effect]]


class CallRule(NamedTuple):
    """What one function does. `at` limits it to those contracts; a `plain` rule yields no Call effect.

    `delegated` ones mean the same when reached by delegatecall; one that `forwards` accounts for its value
    itself, because it passes it on.
    """

    function: Function
    handler: Handler
    at: frozenset[Address] | None = None
    plain: bool = False
    delegated: bool = False
    forwards: bool = False


def rule(signature: str, handler: Handler, *, at: Iterable[str] = (), **flags: bool) -> CallRule:
    """A rule for `signature`, everywhere or at the given addresses (`0x` hex)."""
    pinned = frozenset(map(address, at))
    return CallRule(parse_signature(signature), handler, pinned or None, **flags)


def address(text: str) -> Address:
    """20 bytes of a `0x` address written in the source."""
    return Address(bytes.fromhex(text[2:]))


@lru_cache(maxsize=4096)
def token(chain_id: int, contract: Address) -> Asset:
    """The asset at `contract`; shared, because the same few are named over and over."""
    return Asset(chain_id, contract)


def join(path: str, step: str) -> str:
    """`step` below `path`."""
    return f"{path}.{step}" if path else step


class Registry:
    """The rules by selector. A rule pinned to the called address comes before one for every address."""

    __slots__ = ("_anywhere", "_pinned", "_places")

    def __init__(self, rules: Iterable[CallRule]) -> None:
        self._anywhere: dict[bytes, CallRule] = {}
        self._pinned: dict[tuple[bytes, Address], CallRule] = {}
        self._places: set[Address] = set()
        for each in rules:
            selector = each.function.selector
            if each.at is None:
                if selector in self._anywhere:
                    raise ValueError(f"two rules for {each.function.signature}")
                self._anywhere[selector] = each
            for contract in each.at or ():
                self._pinned[selector, contract] = each
                self._places.add(contract)

    def find(self, selector: bytes, to: Address) -> CallRule | None:
        """The rule for calling `selector` on `to`, if any."""
        pinned = self._pinned.get((selector, to)) if to in self._places else None
        return pinned or self._anywhere.get(selector)

    def rules(self) -> Iterator[CallRule]:
        """Every rule, for listing and for tests."""
        yield from self._anywhere.values()
        yield from self._pinned.values()


class Walk:
    """One decoding: the context, the rules and what is left of the bounds."""

    __slots__ = ("_bytes_left", "_calls_left", "context", "registry")

    def __init__(self, context: DecodeContext, registry: Registry) -> None:
        self.context = context
        self.registry = registry
        self._calls_left = CALLS_MAX
        self._bytes_left = BYTES_MAX

    def call(self, site: Site) -> Iterable[Effect]:
        """Effects of one call, in order of execution."""
        data, size = site.data, len(site.data)
        self._calls_left -= 1
        self._bytes_left -= size
        if size > CALLDATA_BYTES_MAX or self._bytes_left < 0 or site.depth > DEPTH_MAX or self._calls_left < 0:
            return (self._refusal(site),)
        if site.delegate:
            return self._delegated(site)
        if not data:
            return self._send(site)
        if site.to == CREATE2_FACTORY:
            return self._create(site)
        found = self.registry.find(data[:4], site.to)
        return self._named(site) if found is None else self._known(site, found)

    def _refusal(self, site: Site) -> Opaque:
        if site.depth > DEPTH_MAX:
            return Opaque("too_deep", f"calls nested more than {DEPTH_MAX} deep", site.to, site.path)
        if self._calls_left < 0:
            return Opaque("too_many_calls", f"more than {CALLS_MAX} calls", site.to, site.path)
        return Opaque("calldata_too_large", f"{len(site.data)} bytes of calldata", site.to, site.path)

    def _known(self, site: Site, found: CallRule) -> Iterable[Effect]:
        function = found.function
        try:
            args, end = function.decode(site.data)
        except AbiError as error:
            return (*_value(site), _noncanonical(site, function, error))
        effects = found.handler(_frame(self, site, function, args))
        if found.plain and not site.value and end == len(site.data):
            return effects
        return self._dressed(site, found, args, effects, end)

    def _dressed(
        self, site: Site, found: CallRule, args: tuple[Any, ...], effects: Iterable[Effect], end: int
    ) -> Iterator[Effect]:
        """The handler's effects with the call itself and its value before them, and what trails after them."""
        if not found.plain:
            yield _call(site, found.function, args)
        if site.value and not site.prepaid:
            if found.plain:
                yield Opaque("value_to_token", f"{found.function.name} takes no ether", site.to, site.path)
            if not found.forwards:
                yield from _value(site)
        yield from effects
        if end != len(site.data):
            yield TrailingBytes(len(site.data) - end, site.path)

    def _named(self, site: Site) -> Iterator[Effect]:
        """A function that only the policy knows, or nobody."""
        function = self.context.functions.get((site.chain_id, site.to, site.data[:4]))
        if function is None or len(site.data) < 4:
            yield from _value(site)
            yield Opaque("unknown_function", f"selector 0x{site.data[:4].hex()}", site.to, site.path)
            return
        try:
            args, end = function.decode(site.data)
        except AbiError as error:
            yield from _value(site)
            yield _noncanonical(site, function, error)
            return
        yield _call(site, function, args)
        yield from _value(site)
        yield from _recipients(function.params, args, site.path)
        if end != len(site.data):
            yield TrailingBytes(len(site.data) - end, site.path)

    def _send(self, site: Site) -> Iterator[Effect]:
        """A call without data: a payment, or `receive()` where that is a function of its own."""
        if site.prepaid:
            yield Opaque("unknown_function", "an empty call of the contract by itself", site.to, site.path)
            return
        named = (site.chain_id, site.to, b"") in self.context.functions
        found = self.registry.find(b"", site.to)
        if not named and found is None:
            payer = site.payer or site.sender
            yield Transfer(token(site.chain_id, NATIVE), payer, site.to, site.value, path=site.path)
            return
        yield _call(site, RECEIVE, ())
        yield from _value(site)
        if found is not None:
            yield from found.handler(_frame(self, site, RECEIVE, ()))

    def _create(self, site: Site) -> Iterator[Effect]:
        """The deployment proxy takes a salt and init code, without a selector."""
        if len(site.data) <= 32:
            yield Opaque("empty_init_code", "the deployment proxy is called without init code", site.to, site.path)
        yield Deployment(site.chain_id, site.value, Hash32(keccak256(site.data[32:])), site.path)

    def _delegated(self, site: Site) -> Iterable[Effect]:
        """A delegatecall: only functions that mean the same in the caller's own context are understood."""
        found = self.registry.find(site.data[:4], site.to)
        if found is not None and found.delegated:
            return self._known(site, found)
        return (Opaque("delegatecall", f"foreign code, selector 0x{site.data[:4].hex()}", site.to, site.path),)


def _frame(walk: Walk, site: Site, function: Function, args: tuple[Any, ...]) -> Frame:
    return Frame(
        walk,
        site.chain_id,
        site.sender,
        site.to,
        site.value,
        function,
        args,
        site.path,
        site.depth,
        site.ledger,
        site.delegate,
    )


def _call(site: Site, function: Function, args: tuple[Any, ...]) -> Call:
    value = 0 if site.prepaid else site.value
    return Call(site.chain_id, site.to, function.selector, function.signature, args, value, site.delegate, site.path)


def _recipients(types: tuple[AbiType, ...], values: tuple[Any, ...], path: str) -> Iterator[Effect]:
    """Addresses among the arguments, at any depth, that may stand for somebody who gets something."""
    for abi_type, value in zip(types, values, strict=True):
        if abi_type.kind == "address" and (not abi_type.name or abi_type.name.lstrip("_") in RECIPIENT_NAMES):
            yield Redirect(Address(value), abi_type.name or "an argument without a name", path)
        elif abi_type.kind == "tuple":
            yield from _recipients(abi_type.components, value, path)
        elif abi_type.item is not None:
            item = replace(abi_type.item, name=abi_type.name)
            yield from _recipients((item,) * len(value), value, path)


def _noncanonical(site: Site, function: Function, error: AbiError) -> Opaque:
    return Opaque("noncanonical_abi", f"{function.signature}: {error}", site.to, site.path)


def _value(site: Site) -> Iterator[Effect]:
    """The wei that go with a call of a contract's function."""
    if site.value and not site.prepaid:
        asset = token(site.chain_id, NATIVE)
        yield Transfer(asset, site.payer or site.sender, site.to, site.value, via=site.to, path=site.path)

"""Typed-data signatures: the rules by type hash, and the frame their handlers see.

Two documents with the same names are the same thing only if their type hashes are equal, so a rule is written
as the full EIP-712 encoding of its type and found by its Keccak-256. A rule may demand the fields of the
domain, and the contracts where the type has the meaning that the handler gives it.

Codes: `malformed_typed_data`, `unknown_type_hash`, `domain_mismatch`, `chain_mismatch`,
`unknown_verifying_contract`, `not_the_signer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from walletgate.effects.registry import Walk, address, token
from walletgate.effects.typed import Typed, TypedDataError, parse
from walletgate.encoding import keccak256, printable
from walletgate.types import (
    Address,
    Asset,
    Effect,
    Hash32,
    Opaque,
    Redirect,
    TypedData,
    TypedSignature,
)

STANDARD: Final = ("name", "version", "chainId", "verifyingContract")
NO_VERSION: Final = ("name", "chainId", "verifyingContract")
CHAIN_AND_CONTRACT: Final = ("chainId", "verifyingContract")

CHAIN_ID_MAX: Final = 2**53 - 1

_USDC: Final = ("USD Coin", "2")
PINNED_DOMAINS: Final[Mapping[tuple[int | None, str], tuple[str, str]]] = {
    (1, "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"): _USDC,
    (10, "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85"): _USDC,
    (137, "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359"): _USDC,
    (8453, "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"): _USDC,
    (42161, "0xaf88d065e77c8cC2239327C5EDb3A432268e5831"): _USDC,
    (84532, "0x036CbD53842c5426634e7929541eC2318f3dCF7e"): ("USDC", "2"),
    (1, "0x6B175474E89094C44Da98b954EedeAC495271d0F"): ("Dai Stablecoin", "1"),
    (None, "0x0000000000000068F116a894984e2DB1123eB395"): ("Seaport", "1.6"),
    (None, "0x00000000000000ADc04C56Bf30aC9d3c0aAF14dC"): ("Seaport", "1.5"),
    (None, "0x9008D19f58AAbD9eD0D60971565AA8510560ab41"): ("Gnosis Protocol", "v2"),
    (None, "0x111111125421cA6dc452d289314280a0f8842A65"): ("1inch Aggregation Router", "6"),
    (None, "0x4337084D9E255Ff0702461CF8895CE9E3b5Ff108"): ("ERC4337", "1"),
    (None, "0xf85210B21cC50302F477BA56686d2019dC9b67Ad"): ("Spend Permission Manager", "1"),
    (None, "0xdb9B1e94B5b69Df7e401DDbedE43491141047dB3"): ("DelegationManager", "1"),
}
"""Name and version of the EIP-712 domain of contracts that most signatures are for; None: the same on every chain."""

_PINNED: Final = {(chain, address(text)): names for (chain, text), names in PINNED_DOMAINS.items()}


class TypedFrame(NamedTuple):
    """A typed-data signature as its handler sees it. `message` is what the type says: hence Any."""

    walk: Walk
    signer: Address
    chain_id: int
    contract: Address
    typed: Typed
    message: Mapping[str, Any]
    path: str

    @property
    def here(self) -> Asset:
        """The verifying contract, as a token of its own."""
        return token(self.chain_id, self.contract)

    def asset(self, contract: bytes) -> Asset:
        """The token at `contract` on the signature's chain."""
        return token(self.chain_id, Address(contract))

    def signature(self, *, after: int | None = None, until: int | None = None) -> TypedSignature:
        """The signature itself, with the bounds of its life (Unix seconds)."""
        typed = self.typed
        return TypedSignature(
            self.chain_id, self.contract, typed.primary_type, typed.type_hash, after, until, self.path
        )

    def redirect(self, recipient: bytes, what: str) -> Redirect:
        """Something of value that goes to `recipient`."""
        return Redirect(Address(recipient), what, self.path)

    def opaque(self, code: str, detail: str) -> Opaque:
        """A part that is not understood."""
        return Opaque(code, detail, self.contract, self.path)

    def not_owner(self, owner: bytes) -> Iterator[Effect]:
        """Opaque unless the message speaks for whoever signs it."""
        if owner != self.signer:
            yield self.opaque("not_the_signer", "the message names another owner than its signer")


TypedHandler = Callable[[TypedFrame], Iterable[Effect]]


class TypedRule(NamedTuple):
    """What signing one type does. `fields` and `name` are what its domain must have; None: not fixed."""

    encoded_type: str
    handler: TypedHandler
    fields: tuple[str, ...] | None = STANDARD
    name: str | None = None
    at: frozenset[Address] | None = None


def typed_rule(
    encoded_type: str,
    handler: TypedHandler,
    *,
    fields: tuple[str, ...] | None = STANDARD,
    name: str | None = None,
    at: Iterable[str] = (),
) -> TypedRule:
    """A rule for the type that encodes as `encoded_type` (EIP-712 encodeType)."""
    return TypedRule(encoded_type, handler, fields, name, frozenset(map(address, at)) or None)


def by_type_hash(rules: Iterable[TypedRule]) -> dict[Hash32, TypedRule]:
    """The rules by the Keccak-256 of their types."""
    return {Hash32(keccak256(rule.encoded_type.encode())): rule for rule in rules}


def typed_effects(data: TypedData, walk: Walk, rules: Mapping[Hash32, TypedRule], path: str = "") -> Iterator[Effect]:
    """Effects of signing `data`."""
    try:
        typed = parse(data.document)
    except TypedDataError as error:
        yield Opaque("malformed_typed_data", printable(str(error), length_max=160), path=path)
        return
    rule = rules.get(typed.type_hash) or _bulk(typed, rules)
    domain = typed.domain
    if rule is None:
        hash_text = f"{printable(typed.primary_type, length_max=40)} 0x{typed.type_hash.hex()}"
        yield Opaque("unknown_type_hash", hash_text, domain.contract, path)
        return
    if domain.chain_id is None or domain.chain_id > CHAIN_ID_MAX or domain.contract is None:
        yield Opaque("domain_mismatch", "the domain does not name a chain and a contract", domain.contract, path)
        return
    frame = TypedFrame(walk, data.signer, domain.chain_id, domain.contract, typed, typed.message, path)
    yield from _domain_findings(frame, rule)
    yield from rule.handler(frame)


def _domain_findings(frame: TypedFrame, rule: TypedRule) -> Iterator[Effect]:
    domain, expected = frame.typed.domain, frame.walk.context.chain_id
    if frame.chain_id != expected:
        yield frame.opaque("chain_mismatch", f"chain {frame.chain_id} in a session on chain {expected}")
    if "salt" in domain.fields or (rule.fields is not None and domain.fields != rule.fields):
        fields = rule.fields or STANDARD
        yield frame.opaque("domain_mismatch", f"the domain must have the fields {', '.join(fields)}")
    if rule.name is not None and domain.name != rule.name:
        yield frame.opaque("domain_mismatch", f"the domain's name must be {rule.name}")
    if rule.at is not None and frame.contract not in rule.at:
        yield frame.opaque("unknown_verifying_contract", "the type is known, but not for this contract")
    pinned = _PINNED.get((frame.chain_id, frame.contract)) or _PINNED.get((None, frame.contract))
    named = (domain.name, domain.version)
    if (pinned and pinned != named) or any(text and printable(text) != text for text in named):
        yield frame.opaque("domain_mismatch", "the domain's name or version is not the contract's")


def _bulk(typed: Typed, rules: Mapping[Hash32, TypedRule]) -> TypedRule | None:
    """Seaport's trees: one rule for BulkOrder, whose type has as many `[2]` as the tree is high."""
    if typed.primary_type != "BulkOrder":
        return None
    head, _, rest = typed.encoded_type.partition(" tree)")
    height, odd = divmod(len(head) - len("BulkOrder(OrderComponents"), len("[2]"))
    flat = "BulkOrder(OrderComponents" + "[2]" * height
    if odd or not 1 <= height <= 24 or head != flat:
        return None
    return rules.get(Hash32(keccak256(f"BulkOrder(OrderComponents[2] tree){rest}".encode())))

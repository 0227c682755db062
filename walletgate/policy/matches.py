"""What a rule speaks of: the part of its table that begins with `transfer`, `call`, `allowance` and so on.

Exactly one of the `KINDS` is in each rule, and each kind has its own keys. A permit rule must say everything
that bounds it (to whom, which function, how much); in `forbid` rules and `approve.when` what is left out is
not required, so that they reach further.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from walletgate.effects.abi import Function, parse_signature
from walletgate.effects.signature import SignatureError
from walletgate.encoding import parse_hex
from walletgate.errors import InvalidRequestError
from walletgate.policy.addresses import ANYONE, NOBODY, OWN, AddressSet, ContractId
from walletgate.policy.amounts import parse_amount, parse_duration
from walletgate.policy.conditions import Condition
from walletgate.policy.model import (
    AdminMatch,
    AllowanceMatch,
    BlindMatch,
    CallMatch,
    DelegateMatch,
    DeployMatch,
    FeeShareMatch,
    FunctionMatch,
    LoginMatch,
    Match,
    MessageMatch,
    NftMatch,
    RevokeMatch,
    SignMatch,
    TrailingMatch,
    TransferMatch,
)
from walletgate.policy.names import EVERYTHING, NATIVE_DECIMALS, Names
from walletgate.policy.reader import Table, nearest
from walletgate.policy.where import WhereReader
from walletgate.types import Asset

UNLIMITED: Final = "unlimited"
SIGNATURE_TTL_S: Final = 3600
"""How long a signature may be valid where a policy does not say."""

TRAILING_BYTES_MAX: Final = 4096


@dataclass(slots=True)
class Reading:
    """One rule's table being read: `strict` for permit rules; `functions` collects what rules name."""

    table: Table
    names: Names
    strict: bool
    ttl_max_s: int | None
    chain_ids: frozenset[int] | None
    functions: dict[tuple[ContractId, bytes], Function]
    where: WhereReader

    def addresses(self, key: str, default: AddressSet) -> AddressSet:
        """The addresses at `key`; where a permit rule says nothing, `default`, elsewhere anybody."""
        texts = self.table.texts(key)
        if texts is None:
            return default if self.strict else ANYONE
        return self.names.addresses_at(self.table, key, texts)

    def need_addresses(self, key: str) -> AddressSet:
        """The addresses at `key`, which a permit rule must name."""
        if self.strict:
            self.table.need(key)
        return self.addresses(key, NOBODY)

    def excluded(self, key: str) -> AddressSet:
        """Addresses that a forbid or approve rule leaves out; permit rules have no such key."""
        texts = None if self.strict else self.table.texts(key)
        return self.names.addresses_at(self.table, key, texts)

    def assets(self, key: str) -> frozenset[Asset] | None:
        """The assets at `key`: `*` is every declared one in a permit rule and any at all elsewhere."""
        texts = self.table.texts(key) or ()
        if EVERYTHING in texts and not self.strict:
            return None
        found = frozenset(self.names.assets_at(self.table, key, texts))
        return self._on_chains(key, found)

    def spend(self) -> frozenset[Asset]:
        """The assets a permitted call or signature may take: none unless named."""
        texts = self.table.texts("spend") if self.strict else None
        return self._on_chains("spend", frozenset(self.names.assets_at(self.table, "spend", texts or ())))

    def contracts(self, key: str) -> frozenset[ContractId] | None:
        """The contracts at `key`; None: any."""
        texts = self.table.texts(key)
        if texts is None or (EVERYTHING in texts and not self.strict):
            return None
        if EVERYTHING in texts:
            self.table.fail(key, "must name contracts: any contract at all cannot be permitted", code="too_wide")
        return self.names.contracts_at(self.table, key, texts, self.chain_ids)

    def need_contracts(self, key: str) -> frozenset[ContractId] | None:
        """The contracts at `key`, which a permit rule must name."""
        if self.strict:
            self.table.need(key)
        return self.contracts(key)

    def ttl(self) -> int | None:
        """The longest life at `max_ttl`; a permit rule without it has the policy's, others ask for none."""
        text = self.table.text("max_ttl") if self.strict else None
        if text is None:
            return self.ttl_max_s
        return None if text == UNLIMITED else self.table.exact("max_ttl", text, parse_duration)

    def words(self, key: str) -> frozenset[str] | None:
        """Texts at `key`; None where it says `*` or nothing."""
        texts = self.table.texts(key)
        return None if texts is None or EVERYTHING in texts else frozenset(texts)

    def _on_chains(self, key: str, assets: frozenset[Asset]) -> frozenset[Asset]:
        if self.chain_ids is None:
            return assets
        kept = frozenset(asset for asset in assets if asset.chain_id in self.chain_ids)
        if assets and not kept:
            self.table.fail(key, "names no asset on this rule's chains", code="unknown_name")
        return kept


def read_match(reading: Reading, *, also: frozenset[str] = frozenset()) -> Match:
    """The rule's one match. `also` are other keys that could stand in its place."""
    table = reading.table
    kinds = [kind for kind in KINDS if table.has(kind)]
    if len(kinds) > 1:
        table.fail(kinds[1], f"cannot stand beside `{kinds[0]}`: write a rule for each", code="ambiguous_rule")
    if not kinds:
        words = sorted({*KINDS, *also})
        hint = next(filter(None, (nearest(key, words) for key in table.given())), "")
        table.fail("", f"says nothing: one of {', '.join(words)}{hint}", code="missing_key")
    return KINDS[kinds[0]](reading)


def _transfer(reading: Reading) -> Match:
    return TransferMatch(
        reading.assets("transfer"),
        to=reading.need_addresses("to"),
        sender=reading.addresses("from", OWN),
        via=reading.addresses("via", NOBODY),
        not_to=reading.excluded("not_to"),
    )


def _call(reading: Reading) -> Match:
    contracts = reading.need_contracts("call")
    if reading.strict:
        reading.table.need("function")
    functions = _functions(reading, contracts)
    return CallMatch(
        contracts,
        functions,
        spend=reading.spend(),
        to=reading.addresses("to", OWN),
        via=reading.addresses("via", NOBODY),
        delegatecall=reading.table.flag("delegatecall") if reading.strict else False,
    )


def _functions(reading: Reading, contracts: frozenset[ContractId] | None) -> Mapping[bytes, FunctionMatch] | None:
    texts = reading.table.texts("function")
    if texts is None or EVERYTHING in texts:
        return None
    found: dict[bytes, FunctionMatch] = {}
    for text in texts:
        try:
            function = parse_signature(text)
        except SignatureError as error:
            raise reading.table.error(
                reading.table.at("function"), f"holds no function: {error}", code="bad_function"
            ) from error
        if function.selector in found:
            reading.table.fail("function", f"names {function.signature} twice", code="duplicate_name")
        found[function.selector] = FunctionMatch(
            function.signature, tuple(param.name for param in function.params), _where(reading, function, texts)
        )
        for contract in (contracts or ()) if reading.strict else ():
            _collect(reading, contract, function)
    return found


def _where(reading: Reading, function: Function, texts: tuple[str, ...]) -> Condition | None:
    table = reading.table.table("where")
    if table is None:
        return None
    if len(texts) != 1:
        reading.table.fail(
            "where", "is about the arguments of one function: write a rule for each", code="ambiguous_rule"
        )
    return reading.where.read(table, function.params)


def _collect(reading: Reading, contract: ContractId, function: Function) -> None:
    """Keeps the function for the decoder; the spelling with more parameter names wins, two that differ do not.

    Only permits say how calls are decoded, so that adding a forbid or approve rule can never change what is seen.
    """
    other = reading.functions.setdefault((contract, function.selector), function)
    if other.params == function.params:
        return
    if other.signature != function.signature:
        reading.table.fail("function", f"has the selector of {other.signature}", code="duplicate_name")
    names = [tuple(param.name for param in each.params) for each in (other, function)]
    if all(a == b or not a or not b for a, b in zip(*names, strict=True)):
        reading.functions[contract, function.selector] = max(
            (other, function), key=lambda each: sum(bool(param.name) for param in each.params)
        )
        return
    reading.table.fail("function", f"names the parameters of {function.signature} differently", code="duplicate_name")


def _allowance(reading: Reading) -> Match:
    assets = reading.assets("allowance")
    most = _most(reading, assets) if reading.strict else None
    ttl = reading.table.text("max_ttl") if reading.strict else None
    return AllowanceMatch(
        assets,
        spender=reading.need_addresses("spender"),
        most=most,
        ttl_max_s=reading.table.exact("max_ttl", ttl, parse_duration) if ttl not in (None, UNLIMITED) else None,
        counted=reading.table.flag("counted", default=True) if reading.strict else True,
        not_spender=reading.excluded("not_spender"),
    )


def _most(reading: Reading, assets: frozenset[Asset] | None) -> int | None:
    text = reading.table.need_text("max")
    if text == UNLIMITED:
        return None
    decimals = {reading.names.decimals[asset] for asset in assets or ()}
    if len(decimals) != 1:
        problem = 'needs one kind of asset: write a rule for each, or max = "unlimited"'
        reading.table.fail("max", problem, code="bad_amount")
    return reading.table.exact("max", text, lambda amount: parse_amount(amount, next(iter(decimals))))


def _revoke(reading: Reading) -> Match:
    if reading.table.need_text("revoke") != EVERYTHING:
        reading.table.fail("revoke", 'must be "*"', code="wrong_type")
    return RevokeMatch()


def _nft(reading: Reading) -> Match:
    text = reading.table.text("sell_above") if reading.strict else None
    to, operators = reading.addresses("to", NOBODY), reading.addresses("operators", NOBODY)
    if not reading.strict and reading.table.has("to") != reading.table.has("operators"):
        to = operators = to if reading.table.has("to") else operators
    return NftMatch(
        reading.contracts("nft"),
        to=to,
        operators=operators,
        sell_above=None
        if text is None
        else reading.table.exact("sell_above", text, lambda amount: parse_amount(amount, NATIVE_DECIMALS)),
    )


def _sign(reading: Reading) -> Match:
    return SignMatch(
        reading.need_contracts("contract"),
        reading.words("sign"),
        ttl_max_s=reading.ttl(),
        spend=reading.spend(),
        to=reading.addresses("to", OWN),
        via=reading.addresses("via", NOBODY),
    )


def _login(reading: Reading) -> Match:
    return LoginMatch(reading.words("login"), ttl_max_s=reading.ttl())


def _message(reading: Reading) -> Match:
    texts = reading.table.texts("message") or ()
    if EVERYTHING in texts:
        return MessageMatch()
    prefixes = frozenset(text[:-1] for text in texts if text.endswith(EVERYTHING))
    return MessageMatch(frozenset(text for text in texts if not text.endswith(EVERYTHING)), prefixes)


def _deploy(reading: Reading) -> Match:
    words = reading.words("deploy")
    if words is None:
        return DeployMatch(None)
    try:
        return DeployMatch(frozenset(parse_hex(word, where="it", size_bytes=32) for word in words))
    except InvalidRequestError as error:
        problem = f'must be "*" or hashes of init code: {error.detail}'
        raise reading.table.error(reading.table.at("deploy"), problem, code="wrong_type") from error


def _delegate(reading: Reading) -> Match:
    return DelegateMatch(
        _named_only(reading, "delegate"),
        to=reading.need_addresses("to"),
        any_chain=reading.table.flag("any_chain") if reading.strict else True,
    )


def _named_only(reading: Reading, key: str) -> frozenset[str] | None:
    words = reading.words(key)
    if words is None and reading.strict:
        reading.table.fail(key, "must name exactly what is permitted", code="too_wide")
    return words


def _admin(reading: Reading) -> Match:
    return AdminMatch(
        reading.contracts("admin"),
        _named_only(reading, "action") if reading.strict else reading.words("action"),
        subjects=reading.addresses("to", OWN),
    )


def _fee_share(reading: Reading) -> Match:
    bips = reading.table.integer("max_bips", most=10_000) if reading.strict else None
    if bips is None and reading.strict:
        reading.table.fail("max_bips", "is missing", code="missing_key")
    return FeeShareMatch(reading.addresses("fee_share", NOBODY), bips or 0)


def _trailing(reading: Reading) -> Match:
    size = reading.table.integer("trailing_bytes", least=1, most=TRAILING_BYTES_MAX)
    return TrailingMatch(size or 0)


def _blind(reading: Reading) -> Match:
    return BlindMatch(_named_only(reading, "blind"), reading.contracts("contract"))


KINDS: Final[Mapping[str, Callable[[Reading], Match]]] = {
    "transfer": _transfer,
    "call": _call,
    "allowance": _allowance,
    "revoke": _revoke,
    "nft": _nft,
    "sign": _sign,
    "login": _login,
    "message": _message,
    "deploy": _deploy,
    "delegate": _delegate,
    "admin": _admin,
    "fee_share": _fee_share,
    "trailing_bytes": _trailing,
    "blind": _blind,
}

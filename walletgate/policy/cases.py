"""Tests of a policy, written beside it: what an agent might ask, and what must come of it.

    version = 1
    wallet = "0x40fE73b698b1b21Dc2f861326B4d0F41ecCA8245"
    chain = "base"
    now = 2026-01-01T12:00:00Z

    [[case]]
    name = "a small purchase"
    pay = "1.50 USDC"
    to = "acme-api"
    want = "allow"

    [[case]]
    name = "the day is used up"
    pay = "1.50 USDC"
    to = "acme-api"
    used = "49 USDC"
    want = "deny"
    because = "over_window"

A case does one thing (`pay`, `allow`, `call`, `sign`, `login`, `message`), or several in `do = [{…}, {…}]`, or it
is a whole request as agents send it: `transaction` or `typed_data`, JSON text that goes through the decoder.
`used` was spent before, in every window; `balances`, `known` (who was paid before) and `prices` (such as
`{ USD = { ETH = "2500" } }`) are the facts that a policy may rest on. The file is read as strictly as a policy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from walletgate.effects import DecodeContext, decode
from walletgate.effects.abi import parse_signature
from walletgate.effects.request import parse_transaction, parse_typed_data, strict_json
from walletgate.effects.signature import SignatureError
from walletgate.encoding import keccak256
from walletgate.errors import InvalidRequestError
from walletgate.policy.amounts import QUOTE_DECIMALS, AmountError, parse_amount, parse_duration
from walletgate.policy.case import AGREES, Case, Facts, PriceFact
from walletgate.policy.document import Policy
from walletgate.policy.judge import judge
from walletgate.policy.names import Names, read_address, read_chains
from walletgate.policy.reader import Table, parse_toml
from walletgate.types import (
    UINT256_MAX,
    Address,
    Allowance,
    Asset,
    Bucket,
    Call,
    Decision,
    Effect,
    Expectation,
    Fee,
    Hash32,
    Login,
    Measure,
    MessageSignature,
    Outcome,
    Transaction,
    TransactionRequest,
    TransactionType,
    Transfer,
    TypedSignature,
)

VERSION: Final = 1
WORDS: Final = {"deny": Outcome.DENY, "approve": Outcome.REQUIRE_APPROVAL, "allow": Outcome.ALLOW}
_METHODS: Final = {"sign": "eth_signTypedData_v4", "login": "personal_sign", "message": "personal_sign"}
_ACTS: Final = ("pay", "allow", "call", "sign", "login", "message")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case: what was wanted, what came of it, and whether that is the same."""

    name: str
    want: Outcome
    because: str | None
    decision: Decision

    @property
    def passed(self) -> bool:
        """Whether outcome and reason are those that were wanted."""
        codes = {reason.code for reason in self.decision.reasons}
        return self.decision.outcome is self.want and (self.because is None or self.because in codes)


def run_cases(policy: Policy, text: str, *, source: str) -> tuple[CaseResult, ...]:
    """The results of the cases in `text` under `policy`.

    Raises:
        ConfigError: the file is not understood; `data` has `file` and `key`.
    """
    root = parse_toml(text, source=source)
    if root.need("version") != VERSION:
        root.fail("version", f"must be {VERSION}", code="bad_version")
    desk = _Desk(policy, root)
    results = [desk.run(table) for table in root.tables("case")]
    root.done()
    return tuple(results)


def result_lines(results: Iterable[CaseResult]) -> list[str]:
    """The results for reading: one line each, failures with their reasons, a sum at the end."""
    words = {outcome: word for word, outcome in WORDS.items()}
    lines, failed, count = [], 0, 0
    for result in results:
        count += 1
        got = words[result.decision.outcome]
        if result.passed:
            lines.append(f"ok    {result.name}: {got}")
            continue
        failed += 1
        because = f" because {result.because}" if result.because else ""
        lines.append(f"FAIL  {result.name}: wanted {words[result.want]}{because}, got {got}")
        lines += [f"        {reason.text} [{reason.code}]" for reason in result.decision.reasons]
    lines.append(f"{count - failed} of {count} cases are as wanted.")
    return lines


class _Desk:
    """What all cases of a file share."""

    def __init__(self, policy: Policy, root: Table) -> None:
        self.policy = policy
        terms = policy.terms
        self.names = Names(terms.chain_ids, dict(terms.assets), dict(terms.decimals), dict(terms.addresses))
        self.wallet = read_address(root, "wallet", root.need("wallet"))
        self.now_s = root.moment("now") or root.fail("now", "is missing", code="missing_key")
        chains = read_chains(root, "chain", within=terms.chain_ids) or self.names.only_chain(root, "chain")
        if len(chains) != 1:
            root.fail("chain", "must be one chain", code="wrong_type")
        self.chain_id = next(iter(chains))

    def run(self, table: Table) -> CaseResult:
        """One case."""
        name = table.need_text("name")
        want = table.need_text("want")
        if want not in WORDS:
            table.fail("want", f"must be one of {', '.join(WORDS)}", code="out_of_range")
        because = table.text("because")
        effects, method = self._effects(table)
        case = Case(
            grant="test",
            agent="test",
            wallet=self.wallet,
            chain_id=self.chain_id,
            now_ms=(table.moment("now") or self.now_s) * 1000,
            method=table.text("method") or method,
            effects=effects,
            expect=self._expect(table),
            facts=self._facts(table),
            group=table.text("group"),
        )
        used = self._used(table)
        table.done()
        return CaseResult(name, WORDS[want], because, judge(self.policy, case, used))

    # --- what is done

    def _effects(self, table: Table) -> tuple[tuple[Effect, ...], str]:
        if table.has("transaction"):
            return self._decoded(table, "transaction"), "eth_sendTransaction"
        if table.has("typed_data"):
            return self._decoded(table, "typed_data"), "eth_signTypedData_v4"
        acts = [table] if not table.has("do") else table.tables("do")
        effects: list[Effect] = []
        kinds: list[str] = []
        for act in acts:
            kinds.append(self._act(act, effects))
            if act is not table:
                act.done()
        method = next((_METHODS[kind] for kind in kinds if kind in _METHODS), "eth_sendTransaction")
        if method == "eth_sendTransaction":
            fee = table.text("fee")
            coin = self.policy.index.coins[self.chain_id]
            effects.append(Fee(self.chain_id, 0 if fee is None else self._amount(table, "fee", fee, only=coin)[1]))
        return tuple(effects), method

    def _act(self, table: Table, effects: list[Effect]) -> str:
        kinds = [kind for kind in _ACTS if table.has(kind)]
        if len(kinds) != 1:
            table.fail("", f"must do one of {', '.join(_ACTS)}", code="ambiguous_rule" if kinds else "missing_key")
        acts: dict[str, Callable[[Table], Iterable[Effect]]] = {
            "pay": self._pay,
            "allow": self._allow,
            "call": self._call,
            "sign": self._sign,
            "login": self._login,
            "message": lambda t: [MessageSignature(t.need_text("message"))],
        }
        effects += acts[kinds[0]](table)
        return kinds[0]

    def _pay(self, table: Table) -> Iterable[Effect]:
        asset, amount = self._amount(table, "pay", table.need_text("pay"))
        via = self._address(table, "via") if table.has("via") else None
        return [Transfer(asset, self.wallet, self._address(table, "to"), amount, via)]

    def _allow(self, table: Table) -> Iterable[Effect]:
        text = table.need_text("allow")
        amount, _, name = text.partition(" ")
        if amount == "unlimited":
            asset, units = self._asset(table, "allow", name), UINT256_MAX
        else:
            asset, units = self._amount(table, "allow", text)
        life = table.text("for")
        end = None if life is None else self.now_s + table.exact("for", life, parse_duration)
        return [Allowance(asset, self.wallet, self._address(table, "spender"), units, end)]

    def _call(self, table: Table) -> Iterable[Effect]:
        to = self._address(table, "call")
        try:
            function = parse_signature(table.need_text("function"))
        except SignatureError as error:
            raise table.error(table.at("function"), f"holds no function: {error}", code="bad_function") from error
        yield Call(self.chain_id, to, function.selector, function.signature, ())
        for text in table.texts("take") or ():
            asset, amount = self._amount(table, "take", text)
            yield Transfer(asset, self.wallet, to, amount, via=to)

    def _sign(self, table: Table) -> Iterable[Effect]:
        life = table.text("for", "1h") or "1h"
        until = self.now_s + table.exact("for", life, parse_duration)
        contract = self._address(table, "contract")
        primary = table.need_text("sign")
        type_hash = Hash32(keccak256(primary.encode()))
        yield TypedSignature(self.chain_id, contract, primary, type_hash, None, until)
        for text in table.texts("take") or ():
            asset, amount = self._amount(table, "take", text)
            yield Transfer(asset, self.wallet, contract, amount, via=contract)

    def _login(self, table: Table) -> Iterable[Effect]:
        domain, life = table.need_text("login"), table.text("for", "1h") or "1h"
        end = self.now_s + table.exact("for", life, parse_duration)
        return [Login(domain, f"https://{domain}", self.chain_id, expires_at=end)]

    def _decoded(self, table: Table, key: str) -> tuple[Effect, ...]:
        context = DecodeContext(
            self.chain_id,
            self.wallet,
            self.now_s,
            self.policy.functions,
            self.policy.underlying,
            self.policy.collections,
        )
        text = table.need_text(key)
        try:
            value = strict_json(text.encode())
            if key == "typed_data":
                return decode(parse_typed_data(value, signer=self.wallet), context)
            if not isinstance(value, dict):
                table.fail(key, "must be one JSON object", code="wrong_type")
            return decode(_complete(parse_transaction(value, where=key, sender=self.wallet), self.chain_id), context)
        except InvalidRequestError as error:
            raise table.error(table.at(key), f"is no request: {error.detail}", code=error.code) from error

    # --- what it is judged by

    def _facts(self, table: Table) -> Facts:
        balances = dict(self._amount(table, "balances", text) for text in table.texts("balances") or ())
        seen = {self._one(table, "known", name): 0 for name in table.texts("known") or ()}
        return Facts(balances, self._prices(table), seen, gas=table.integer("gas"), simulation=AGREES)

    def _prices(self, table: Table) -> dict[tuple[Asset, str], PriceFact]:
        """What feeds say at the time of the case."""
        found = {}
        units = table.section("prices")
        for unit in units.given():
            prices = units.need_table(unit)
            for name in prices.given():
                value = prices.exact(name, prices.need_text(name), lambda text: parse_amount(text, QUOTE_DECIMALS))
                found[self._asset(prices, name, name), unit] = PriceFact(value, table.moment("now") or self.now_s)
        return found

    def _expect(self, table: Table) -> Expectation | None:
        expect = table.table("expect")
        if expect is None:
            return None
        to = self._address(expect, "to") if expect.has("to") else None
        found = Expectation(expect.text("asset"), expect.text("amount"), to)
        expect.done()
        return found

    def _used(self, table: Table) -> Callable[[Bucket, int | None], int]:
        spent = [self._amount(table, "used", text) for text in table.texts("used") or ()]
        requests = table.integer("requests", 0) or 0

        def used(bucket: Bucket, _window_ms: int | None) -> int:
            if bucket.measure is Measure.COUNT:
                return requests
            if bucket.measure is not Measure.AMOUNT:
                return 0
            return sum(amount for asset, amount in spent if asset == bucket.asset)

        return used

    # --- words

    def _amount(self, table: Table, key: str, text: str, *, only: Asset | None = None) -> tuple[Asset, int]:
        amount, _, name = text.partition(" ")
        asset = self._asset(table, key, name)
        if only is not None and asset != only:
            table.fail(key, "must be in the chain's own coin", code="unknown_name")
        try:
            return asset, parse_amount(amount, self.policy.decimals[asset])
        except AmountError as error:
            raise table.error(table.at(key), f"{amount!r} {error}", code=error.code) from error

    def _asset(self, table: Table, key: str, name: str) -> Asset:
        here = [each for each in self.names.assets_at(table, key, [name]) if each.chain_id == self.chain_id]
        if not here:
            table.fail(key, f"names {name!r}, which is not on this chain", code="unknown_name")
        return here[0]

    def _address(self, table: Table, key: str) -> Address:
        return self._one(table, key, table.need_text(key))

    def _one(self, table: Table, key: str, name: str) -> Address:
        if name == "self":
            return self.wallet
        if name in self.names.assets:
            return self._asset(table, key, name).address
        found = self.names.addresses_at(table, key, [name])
        every = found.members | {address for _, address in found.pinned}
        if len(every) != 1:
            table.fail(key, f"must name one address, which {name!r} does not", code="wrong_type")
        return next(iter(every))


def _complete(request: TransactionRequest, chain_id: int) -> Transaction:
    """The request with what the gate would fill in, fees as asked for or none."""
    fee = request.max_fee_per_gas or request.gas_price or 0
    return Transaction(
        type=request.type or TransactionType.FEE_MARKET,
        chain_id=request.chain_id or chain_id,
        sender=request.sender,
        to=request.to,
        value=request.value,
        data=request.data,
        gas=request.gas or 0,
        max_fee_per_gas=fee,
        max_priority_fee_per_gas=request.max_priority_fee_per_gas or fee,
        access_list=request.access_list or (),
        authorization_list=request.authorization_list,
        max_fee_per_blob_gas=request.max_fee_per_blob_gas or 0,
        blob_hashes=request.blob_hashes,
    )

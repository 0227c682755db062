"""The translation of a neutral policy object keeps what it means, field by field."""

import importlib.util
import sys
from pathlib import Path

import pytest

from walletgate.policy import Case, Facts, judge, load
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    Address,
    Allowance,
    Asset,
    Call,
    Deployment,
    Fee,
    FeeShare,
    Login,
    MessageSignature,
    NftTransfer,
    OperatorApproval,
    Receive,
    Redirect,
    TrailingBytes,
    Transfer,
    TypedSignature,
)

_spec = importlib.util.spec_from_file_location("corpus_translate", Path(__file__).with_name("translate.py"))
translate_module = importlib.util.module_from_spec(_spec)
sys.modules["corpus_translate"] = translate_module
_spec.loader.exec_module(translate_module)
translate = translate_module.translate


def at(n):
    return Address(bytes([n]) * 20)


def text(n):
    return "0x" + f"{n:02x}" * 20


WALLET, SAFE, PAYEE, TOKEN, ROUTER, APES, PROXY, THIEF, FEES = (at(n) for n in range(1, 10))
CHAIN = 1
USD, COIN = Asset(CHAIN, TOKEN), Asset(CHAIN, NATIVE)
NOW = 1_767_225_600
NEUTRAL = {
    "chains": [CHAIN],
    "methods": ["eth_sendTransaction"],
    "read_methods": ["eth_call"],
    "tokens": [
        {"chain": 1, "token": "native", "symbol": "ETH", "decimals": 18, "max_per_tx": "10", "max_per_day": "50", "approve_above": "2"},
        {"chain": 1, "token": text(4), "symbol": "USD", "decimals": 6, "max_per_tx": "1000", "max_per_day": None, "approve_above": None},
    ],
    "recipients": {"mode": "list", "addresses": [text(3)]},
    "contracts": [{"chain": 1, "address": text(5), "functions": ["f(uint256)", "multicall(bytes[])"], "asset": text(4)}],
    "spenders": [
        {"chain": 1, "address": text(5), "token": text(4), "max_allowance": "500", "max_ttl_s": 60},
        {"chain": 1, "address": text(7), "token": text(4), "max_allowance": str(UINT256_MAX), "max_ttl_s": None},
    ],
    "typed_data": [{"chain": 1, "verifying_contract": text(5), "primary_types": ["Order"]}],
    "witness_spenders": [{"chain": 1, "spender": text(7), "recipient": "witness.to"}],
    "fee_recipients": [{"address": text(9), "max_bips": 100}],
    "accounts": [text(2)],
    "nfts": [{"chain": 1, "contract": text(6), "transfer_to": "recipients", "operators": [text(5)], "sell_floor_wei": "7"}],
    "on": {"revoke": "allow", "trailing_bytes": "allow", "contract_creation": "approve"},
    "fees": {"max_total_fee_wei": "100"},
    "swap": {"recipient": "self", "min_out": "nonzero", "max_deadline_s": 60},
    "signature": {"max_ttl_s": 60, "messages": "approve", "siwe_domains": ["a.example"]},
}  # fmt: skip
CALL = Call(CHAIN, ROUTER, bytes.fromhex("b3de648b"), "f(uint256)", ())


def outcome(*effects, used=0, method="eth_sendTransaction", **changes):
    policy = load(translate(NEUTRAL | changes), source="neutral")
    case = Case("g", "a", WALLET, CHAIN, NOW * 1000, method, effects, facts=Facts(first_seen_ms={}))
    return (
        judge(policy, case, lambda _bucket, _window: used).outcome.name.lower().replace("require_approval", "approve")
    )


def pay(amount, to=PAYEE, asset=COIN, sender=WALLET, via=None):
    return Transfer(asset, sender, to, amount, via)


@pytest.mark.parametrize(
    ("expected", "effects"),
    [
        ("allow", [pay(2)]),
        ("approve", [pay(3)]),
        ("approve", [pay(10)]),
        ("deny", [pay(11)]),
        ("deny", [pay(1, THIEF)]),
        ("allow", [pay(1, sender=SAFE)]),
        ("allow", [pay(1, via=PROXY)]),
        ("deny", [pay(1, via=THIEF)]),
        ("allow", [pay(1000, asset=USD)]),
        ("deny", [pay(1001, asset=USD)]),
        ("deny", [pay(1, asset=Asset(CHAIN, THIEF))]),
        ("allow", [pay(1), Fee(CHAIN, 100)]),
        ("deny", [pay(1), Fee(CHAIN, 101)]),
        ("allow", [CALL, pay(1, ROUTER, via=ROUTER), Redirect(PAYEE, "shares"), Receive(USD, WALLET, 1)]),
        ("deny", [CALL, Redirect(THIEF, "shares")]),
        ("deny", [CALL, Receive(USD, PAYEE, 1)]),
        ("deny", [CALL, Receive(USD, WALLET, 0)]),
        ("deny", [CALL, Receive(USD, WALLET, 1, deadline=NOW + 61)]),
        ("allow", [CALL, FeeShare(FEES, 100)]),
        ("deny", [CALL, FeeShare(FEES, 101)]),
        ("deny", [Call(CHAIN, ROUTER, b"none", "none()", ())]),
        ("allow", [Allowance(USD, WALLET, ROUTER, 500, NOW + 60)]),
        ("deny", [Allowance(USD, WALLET, ROUTER, 501, NOW + 60)]),
        ("deny", [Allowance(USD, WALLET, ROUTER, 500, NOW + 61)]),
        ("allow", [Allowance(USD, WALLET, PROXY, UINT256_MAX)]),
        ("deny", [Allowance(USD, WALLET, THIEF, 1, NOW)]),
        ("allow", [Allowance(USD, WALLET, THIEF, 0)]),
        ("allow", [TypedSignature(CHAIN, ROUTER, "Order", b"\x00" * 32, None, NOW + 60), pay(1, ROUTER, via=ROUTER)]),
        ("deny", [TypedSignature(CHAIN, ROUTER, "Order", b"\x00" * 32, None, NOW + 61)]),
        ("deny", [TypedSignature(CHAIN, ROUTER, "Permit", b"\x00" * 32)]),
        ("allow", [Login("a.example", "https://a.example", CHAIN, expires_at=NOW + 60)]),
        ("deny", [Login("b.example", "https://b.example", CHAIN, expires_at=NOW + 60)]),
        ("approve", [MessageSignature("x")]),
        ("allow", [pay(1), TrailingBytes(32)]),
        ("approve", [Deployment(CHAIN, 0, b"\x00" * 32)]),
        ("allow", [NftTransfer(Asset(CHAIN, APES), 1, 1, WALLET, PAYEE)]),
        ("deny", [NftTransfer(Asset(CHAIN, APES), 1, 1, WALLET, THIEF)]),
        ("allow", [NftTransfer(Asset(CHAIN, APES), 1, 1, WALLET, THIEF, price=7)]),
        ("deny", [NftTransfer(Asset(CHAIN, APES), 1, 1, WALLET, THIEF, price=6)]),
        ("allow", [OperatorApproval(Asset(CHAIN, APES), WALLET, ROUTER, approved=True)]),
        ("deny", [OperatorApproval(Asset(CHAIN, APES), WALLET, THIEF, approved=True)]),
    ],
)  # fmt: skip
def test_translated_rules_judge_alike(expected, effects):
    assert outcome(*effects) == expected


def test_the_day_the_method_and_the_vault_are_kept():
    assert outcome(pay(1), used=49) == "allow"
    assert outcome(pay(1), used=50) == "deny"
    assert outcome(pay(1), method="personal_sign") == "deny"
    policy = load(translate(NEUTRAL), source="neutral")
    assert policy.underlying == {(CHAIN, ROUTER): TOKEN}
    assert policy.terms.read_methods == {"eth_call"}


def test_words_that_ask_a_human():
    on = NEUTRAL["on"]
    assert outcome(pay(1, THIEF), on=on | {"unlisted_recipient": "approve"}) == "approve"
    assert outcome(pay(1), on=on | {"unlisted_recipient": "approve"}) == "allow"
    assert outcome(pay(1, THIEF), on=on | {"unlisted_recipient": "allow"}) == "allow"
    assert outcome(pay(11), on=on | {"over_limit": "approve"}) == "approve"
    assert outcome(Allowance(USD, WALLET, THIEF, 1), on=on | {"unlisted_spender": "approve"}) == "approve"
    assert outcome(Allowance(USD, WALLET, THIEF, 0), on={}) == "deny"
    assert outcome(pay(1, THIEF), recipients={"mode": "any"}) == "allow"


def test_a_price_floor_is_kept_in_base_units():
    floor = [{"sell": text(4), "buy": "native", "num": "3", "den": "2"}]
    swap = {"recipient": "self", "min_out": "floor", "floor": floor}
    assert outcome(CALL, Receive(COIN, WALLET, 3, USD, 2), swap=swap) == "allow"
    assert outcome(CALL, Receive(COIN, WALLET, 2, USD, 2), swap=swap) == "deny"


def test_a_bare_object_translates():
    bare = {"chains": [8453], "methods": [], "read_methods": [], "tokens": [], "recipients": {"mode": "list"}}
    assert load(translate(bare), source="neutral").terms.permits == ()

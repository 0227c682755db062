"""Protocols whose honest use needs them read in full: batches of batches, delegations redeemed, permissions, vaults."""

import pytest

from walletgate.effects.abi import encode, parse_signature, parse_types
from walletgate.effects.aggregators import BALANCER
from walletgate.effects.delegations import DELEGATION_MANAGER, SPEND_PERMISSION_MANAGER
from walletgate.effects.registry import address
from walletgate.types import NATIVE, ZERO_ADDRESS, Allowance, Asset, Call, Delegation, Receive, Redirect, Transfer

TOKEN, OUT, OWNER, PAYEE, MARKET = (bytes([n]) * 20 for n in (0x22, 0x33, 0x44, 0x55, 0x11))
USDC, DAI, COIN = Asset(1, TOKEN), Asset(1, OUT), Asset(1, NATIVE)
PAY = parse_signature("transfer(address,uint256)").encode(PAYEE, 7)
ROWS = "(address,uint256,bytes)[]"
MODE = "execute(bytes32,bytes)"
BATCHES = b"\1" + bytes(5) + b"\x78\x21\x00\x02" + bytes(22)
CHAIN = "(address,address,bytes32,(address,bytes,bytes)[],uint256,bytes)[]"
ROOT = b"\xff" * 32


def leaves(found):
    return [e for e in found if not isinstance(e, Call)]


def link(delegate, delegator):
    return (delegate, delegator, ROOT, (), 0, b"")


def test_a_batch_of_batches_is_unrolled(effects, call, codes):
    one = encode(parse_types(ROWS), (((TOKEN, 0, PAY),),))
    signed = encode(parse_types(ROWS + ",bytes"), (((ZERO_ADDRESS, 5, b""),), b"\1"))
    data = encode(parse_types("bytes[]"), ((one, signed),))
    found = leaves(effects(OWNER, call(MODE, BATCHES, data)))
    assert [(e.asset, e.sender, e.recipient, e.amount) for e in found] == [
        (USDC, OWNER, PAYEE, 7),
        (COIN, OWNER, OWNER, 5),
    ]
    assert codes(effects(OWNER, call(MODE, BATCHES, data + bytes(32)))) == ["noncanonical_abi"]
    assert codes(effects(OWNER, call(MODE, BATCHES, encode(parse_types("bytes[]"), ((b"\1",),))))) == [
        "noncanonical_abi"
    ]


def test_an_execution_may_be_one_struct(effects, call):
    (found,) = leaves(effects(OWNER, call("execute((address,uint256,bytes))", (TOKEN, 0, PAY))))
    assert (found.sender, found.recipient, found.amount) == (OWNER, PAYEE, 7)


@pytest.mark.parametrize(
    ("chain", "sender"),
    [(None, "wallet"), ((link(PAYEE, OWNER),), OWNER), ((link(PAYEE, OUT), link(OUT, OWNER)), OWNER)],
)
def test_redeemed_delegations_act_for_the_root_of_their_chain(effects, call, wallet, chain, sender):
    context = b"" if chain is None else encode(parse_types(CHAIN), (chain,))
    run = "redeemDelegations(bytes[],bytes32[],bytes[])"
    found = effects(address(DELEGATION_MANAGER), call(run, (context,), (bytes(32),), (TOKEN + bytes(32) + PAY,)))
    (moved,) = leaves(found)
    assert (moved.asset, moved.sender, moved.recipient) == (USDC, wallet if sender == "wallet" else sender, PAYEE)


def test_delegations_that_cannot_be_read_are_opaque(effects, call, codes):
    manager, run = address(DELEGATION_MANAGER), "redeemDelegations(bytes[],bytes32[],bytes[])"
    empty = encode(parse_types(CHAIN), ((),))
    for context in (b"\1", empty):
        assert codes(effects(manager, call(run, (context,), (bytes(32),), (b"",)))) == ["noncanonical_abi"]
    assert codes(effects(manager, call(run, (b"", b""), (bytes(32),), (b"",)))) == ["malformed_batch"]


def test_permissions_on_chain_are_allowances(effects, call, wallet):
    manager = address(SPEND_PERMISSION_MANAGER)
    fields = "(address,address,address,uint160,uint48,uint48,uint48,uint256,bytes)"
    terms = (wallet, PAYEE, TOKEN, 7, 10, 100, 125, 0, b"")
    assert leaves(effects(manager, call(f"approve({fields})", terms))) == [
        Delegation("spend_permission", PAYEE, 1),
        Allowance(USDC, wallet, PAYEE, 21, 125),
    ]
    assert leaves(effects(manager, call(f"revoke({fields})", terms))) == [Allowance(USDC, wallet, PAYEE, 0)]
    other = (OWNER, wallet, NATIVE, *terms[3:])
    assert leaves(effects(manager, call(f"spend({fields},uint160)", other, 5))) == [Transfer(COIN, OWNER, wallet, 5)]


SWAP = "swap((bytes32,uint8,address,address,uint256,bytes),(address,bool,address,bool),uint256,uint256)"


def test_balancer_swaps_take_the_most_and_bring_the_least(effects, call, codes, wallet):
    vault = address(BALANCER)

    def run(kind, asset_in, value=0):
        single = (bytes(32), kind, asset_in, OUT, 100, b"")
        return effects(vault, call(SWAP, single, (wallet, False, PAYEE, False), 90, 5), value)

    assert leaves(run(0, TOKEN)) == [
        Transfer(USDC, wallet, vault, 100, vault),
        Receive(DAI, PAYEE, 90, USDC, 100, 5),
    ]
    assert leaves(run(1, TOKEN)) == [Transfer(USDC, wallet, vault, 90, vault), Receive(DAI, PAYEE, 100, USDC, 90, 5)]
    assert leaves(run(0, ZERO_ADDRESS, 100))[0] == Transfer(COIN, wallet, vault, 100, vault)
    assert codes(run(2, TOKEN)) == ["unknown_mode"]


@pytest.mark.parametrize("verb", ["mint(uint256)", "repayBorrow(uint256)"])
def test_markets_without_a_token_in_the_call_take_what_the_policy_says(effects, call, context, wallet, verb):
    known = context(underlying={(1, MARKET): TOKEN})
    assert leaves(effects(MARKET, call(verb, 7), ctx=known)) == [Transfer(USDC, wallet, MARKET, 7, MARKET)]
    assert leaves(effects(MARKET, call(verb, 7))) == []


def test_repaying_for_somebody_says_for_whom(effects, call, context, wallet, codes):
    known = context(underlying={(1, MARKET): TOKEN})
    repay = call("repayBorrowBehalf(address,uint256)", PAYEE, 7)
    assert leaves(effects(MARKET, repay, ctx=known)) == [
        Transfer(USDC, wallet, MARKET, 7, MARKET),
        Redirect(PAYEE, "repayment"),
    ]
    assert codes(effects(MARKET, repay)) == ["asset_not_named"]

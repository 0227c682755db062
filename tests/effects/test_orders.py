"""Signed orders count at their worst."""

import pytest

from walletgate.effects import TYPED_RULES
from walletgate.effects.orders import COW, ONEINCH, REACTORS
from walletgate.effects.permits import PERMIT2
from walletgate.effects.registry import address
from walletgate.effects.signing import NO_VERSION
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Asset,
    FeeShare,
    NftTransfer,
    Receive,
    Redirect,
    Transfer,
)

SEAPORT, TOKEN, NFT, OTHER = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20, b"\x44" * 20
COIN, USDC, APE, WETH = Asset(1, NATIVE), Asset(1, TOKEN), Asset(1, NFT), Asset(1, WRAPPED[1])
NOW = 1_767_225_600
ZERO = b"\0" * 32
(REACTOR, *_) = sorted(REACTORS)


def typed(start):
    return next(r.encoded_type for r in TYPED_RULES.values() if r.encoded_type.startswith(start))


def item(kind, token, amount, *, identifier=0, end=None):
    return {
        "itemType": kind,
        "token": token,
        "identifierOrCriteria": identifier,
        "startAmount": amount,
        "endAmount": amount if end is None else end,
    }


def order(owner, offer, wanted):
    return {"offerer": owner, "zone": ZERO_ADDRESS, "offer": offer, "consideration": wanted, "orderType": 0, "startTime": NOW,
            "endTime": NOW + 60, "zoneHash": ZERO, "salt": 1, "conduitKey": ZERO, "counter": 0}  # fmt: skip


def to(recipient, what):
    return what | {"recipient": recipient}


@pytest.fixture
def seaport(sign):
    return lambda message: sign(typed("OrderComponents("), message, contract=SEAPORT, name="Seaport")


def test_a_listing_brings_the_least_after_everybodys_share(seaport, wallet):
    wanted = [
        to(wallet, item(0, ZERO_ADDRESS, 100, end=90)),
        to(wallet, item(1, WETH.address, 5)),
        to(OTHER, item(0, ZERO_ADDRESS, 5)),
    ]
    signature, nft, fee = seaport(order(wallet, [item(2, NFT, 1, identifier=7)], wanted))
    assert (signature.valid_after, signature.valid_until) == (NOW, NOW + 60)
    assert nft == NftTransfer(APE, 7, 1, wallet, SEAPORT, 95, SEAPORT)
    assert fee == FeeShare(OTHER, 477)


def test_every_piece_shares_the_price(seaport, wallet):
    found = seaport(
        order(
            wallet,
            [item(2, NFT, 1, identifier=7), item(3, NFT, 2, identifier=8)],
            [to(wallet, item(0, ZERO_ADDRESS, 100))],
        )
    )
    assert [e.price for e in found if isinstance(e, NftTransfer)] == [33, 33]


def test_a_bid_spends_the_most(seaport, wallet):
    wanted = [to(wallet, item(2, NFT, 1, identifier=7)), to(OTHER, item(1, TOKEN, 3))]
    found = seaport(order(wallet, [item(1, TOKEN, 90, end=100)], wanted))
    assert found[1] == Transfer(USDC, wallet, SEAPORT, 100, SEAPORT)
    assert [e for e in found if isinstance(e, Receive | Redirect)] == [Receive(APE, wallet, 1, USDC, 100)]


def test_a_sale_of_tokens_for_nothing_brings_nothing(seaport, wallet):
    found = seaport(order(wallet, [item(1, TOKEN, 100)], [to(OTHER, item(2, NFT, 1))]))
    assert Redirect(OTHER, "an NFT of the consideration") in found
    assert found[-1].min_amount == 0
    swap = seaport(order(wallet, [item(1, TOKEN, 100)], [to(wallet, item(0, ZERO_ADDRESS, 9, end=8))]))
    assert swap[-1] == Receive(COIN, wallet, 8, USDC, 100)


def test_offers_by_criteria_and_for_others_are_opaque(seaport, wallet, codes):
    assert codes(seaport(order(wallet, [item(4, NFT, 1)], []))) == ["criteria_offer"]
    assert codes(seaport(order(OTHER, [], []))) == ["not_the_signer"]


@pytest.mark.parametrize("height", [1, 2, 3])
def test_every_leaf_of_a_bulk_order_counts(sign, wallet, height, codes):
    good = order(wallet, [item(2, NFT, 1, identifier=7)], [to(wallet, item(0, ZERO_ADDRESS, 100))])
    bad = order(wallet, [item(2, NFT, 1, identifier=8)], [])
    empty = order(ZERO_ADDRESS, [], []) | {"endTime": 0, "startTime": 0}
    tree = [good, bad]
    for _ in range(height - 1):
        tree = [tree, [empty, empty] if tree[0] is good else tree]
    kind = typed("BulkOrder(").replace("[2] tree", "[2]" * height + " tree")
    found = sign(kind, {"tree": tree}, contract=SEAPORT, name="Seaport")
    assert codes(found) == []
    assert {(e.token_id, e.price) for e in found if isinstance(e, NftTransfer)} == {(7, 100), (8, 0)}
    assert found[0].valid_until == NOW + 60


def cow(**changes):
    base = {"sellToken": TOKEN, "buyToken": NFT, "receiver": ZERO_ADDRESS, "sellAmount": 100, "buyAmount": 90, "validTo": NOW + 60,
            "appData": ZERO, "feeAmount": 5, "kind": "sell", "partiallyFillable": False, "sellTokenBalance": "erc20", "buyTokenBalance": "erc20"}  # fmt: skip
    return base | changes


def test_cow_orders_take_their_fee_as_well(sign, wallet, codes):
    run = {"contract": address(COW), "name": "Gnosis Protocol", "version": "v2"}
    kind = typed("Order(address sellToken")
    _, taken, brought = sign(kind, cow(), **run)
    assert taken == Transfer(USDC, wallet, address(COW), 105, address(COW))
    assert brought == Receive(APE, wallet, 90, USDC, 105, NOW + 60)
    assert sign(kind, cow(receiver=OTHER), **run)[-1].recipient == OTHER
    assert codes(sign(kind, cow(kind="gift"), **run)) == ["malformed_order"]


def oneinch(wallet, **changes):
    base = {"salt": 0, "maker": wallet, "receiver": ZERO_ADDRESS, "makerAsset": TOKEN, "takerAsset": WETH.address,
            "makingAmount": 100, "takingAmount": 90, "makerTraits": (NOW + 60) << 80}  # fmt: skip
    return base | changes


def test_oneinch_orders_hide_their_expiry_in_the_traits(sign, wallet, codes):
    run = {"contract": address(ONEINCH), "name": "1inch Aggregation Router", "version": "6"}
    kind = typed("Order(uint256 salt")
    signature, taken, brought = sign(kind, oneinch(wallet), **run)
    assert signature.valid_until == NOW + 60
    assert taken.amount == 100
    assert brought == Receive(WETH, wallet, 90, USDC, 100, NOW + 60)
    assert sign(kind, oneinch(wallet, makerTraits=0), **run)[0].valid_until == UINT256_MAX
    assert sign(kind, oneinch(wallet, makerTraits=1 << 247), **run)[-1].asset == COIN
    assert codes(sign(kind, oneinch(wallet, makerTraits=1 << 249), **run)) == ["order_extension"]


def dutch(wallet, **changes):
    info = {
        "reactor": REACTOR,
        "swapper": wallet,
        "nonce": 0,
        "deadline": NOW,
        "additionalValidationContract": ZERO_ADDRESS,
        "additionalValidationData": b"",
    }
    outputs = [
        {"token": NFT, "startAmount": 100, "endAmount": 90, "recipient": wallet},
        {"token": NFT, "startAmount": 1, "endAmount": 1, "recipient": OTHER},
    ]
    witness = {
        "info": info,
        "cosigner": OTHER,
        "baseInputToken": TOKEN,
        "baseInputStartAmount": 40,
        "baseInputEndAmount": 50,
        "baseOutputs": outputs,
    }
    return {
        "permitted": {"token": TOKEN, "amount": 50},
        "spender": REACTOR,
        "nonce": 0,
        "deadline": NOW + 60,
        "witness": witness,
    } | changes


def test_dutch_orders_count_at_the_end_of_their_decay(sign, wallet, codes):
    run = {"contract": address(PERMIT2), "name": "Permit2", "fields": NO_VERSION}
    kind = next(r.encoded_type for r in TYPED_RULES.values() if "V2DutchOrder witness" in r.encoded_type)
    _, taken, brought, fee = sign(kind, dutch(wallet), **run)
    assert taken == Transfer(USDC, wallet, REACTOR, 50, REACTOR)
    assert brought == Receive(APE, wallet, 90, USDC, 50, NOW + 60)
    assert fee == FeeShare(OTHER, 100)
    stranger = sign(kind, dutch(wallet, spender=OTHER), **run)
    assert codes(stranger) == ["witness_not_binding"]
    assert stranger[1].recipient == OTHER
    everything_away = dutch(wallet)
    everything_away["witness"]["baseOutputs"] = everything_away["witness"]["baseOutputs"][1:]
    *_, away, nothing = sign(kind, everything_away, **run)
    assert (away.recipient, nothing.recipient, nothing.min_amount) == (OTHER, wallet, 0)


def uniswapx(wallet, start, witness):
    kind = next(r.encoded_type for r in TYPED_RULES.values() if start in r.encoded_type)
    info = {"reactor": REACTOR, "swapper": wallet, "nonce": 1, "deadline": NOW + 60,
            "additionalValidationContract": ZERO_ADDRESS, "additionalValidationData": b""}  # fmt: skip
    permitted = {"token": TOKEN, "amount": 100}
    full = {"info": info, "cosigner": OTHER} | witness
    return kind, {"permitted": permitted, "spender": REACTOR, "nonce": 1, "deadline": NOW + 60, "witness": full}


RUN = {"contract": bytes.fromhex(PERMIT2[2:]), "name": "Permit2", "fields": NO_VERSION}
CURVE = {"relativeBlocks": 1, "relativeAmounts": [-5, 5]}


@pytest.mark.parametrize(("least", "recipient"), [(80, None), (0, None), (80, OTHER)])
def test_curved_orders_count_at_their_minimum(sign, wallet, least, recipient):
    paid = recipient or wallet
    output = {"token": WETH.address, "startAmount": 90, "curve": CURVE, "recipient": paid, "minAmount": least,
              "adjustmentPerGweiBaseFee": 1}  # fmt: skip
    entry = {"token": TOKEN, "startAmount": 90, "curve": CURVE, "maxAmount": 100, "adjustmentPerGweiBaseFee": 1}
    witness = {"startingBaseFee": 1, "baseInput": entry, "baseOutputs": [output]}
    found = sign(*uniswapx(wallet, "V3DutchOrder witness", witness), **RUN)
    assert found[1] == Transfer(USDC, wallet, REACTOR, 100, REACTOR)
    assert found[2] == Receive(WETH, paid, least, USDC, 100, NOW + 60)


def test_priority_orders_count_at_what_is_signed(sign, wallet, codes):
    output = {"token": WETH.address, "amount": 80, "mpsPerPriorityFeeWei": 9, "recipient": wallet}
    fee = output | {"recipient": OTHER, "amount": 1}
    witness = {"auctionStartBlock": 1, "baselinePriorityFeeWei": 0, "outputs": [output, fee],
               "input": {"token": TOKEN, "amount": 100, "mpsPerPriorityFeeWei": 0}}  # fmt: skip
    kind, message = uniswapx(wallet, "PriorityOrder witness", witness)
    found = sign(kind, message, **RUN)
    assert found[1:] == (
        Transfer(USDC, wallet, REACTOR, 100, REACTOR),
        Receive(WETH, wallet, 80, USDC, 100, NOW + 60),
        FeeShare(OTHER, 124),
    )
    assert codes(sign(kind, message | {"spender": OTHER}, **RUN)) == ["witness_not_binding"]


def test_taking_orders_back_moves_nothing(effects, call):
    seaport = bytes.fromhex("0000000000000068f116a894984e2db1123eb395")
    (found,) = effects(seaport, call("incrementCounter()"))
    assert found.signature == "incrementCounter()"

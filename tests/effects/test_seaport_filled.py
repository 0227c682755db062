"""Orders of others that the wallet fills on chain, encoded by eth_abi: what it pays, what it gets, and who else does."""

import pytest
from eth_abi import encode

from walletgate.effects import REGISTRY
from walletgate.effects.registry import address
from walletgate.effects.seaport import SEAPORTS
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import NATIVE, ZERO_ADDRESS, Asset, FeeShare, NftTransfer, Receive, Redirect, Transfer

SEAPORT = address(SEAPORTS[0])
SELLER, TOKEN, NFT, FEES, OTHER = (bytes([n]) * 20 for n in (0x77, 0x22, 0x33, 0x44, 0x55))
APE, USDC, ETHER, WETH = Asset(1, NFT), Asset(1, TOKEN), Asset(1, NATIVE), Asset(1, WRAPPED[1])
NOW = 1_767_225_600
NONE, KEY = bytes(20), bytes(32)
FUNCTIONS = {rule.function.name: rule.function for rule in REGISTRY.rules() if rule.at and SEAPORT in rule.at}


def calldata(name, *values):
    """As an independent encoder writes it."""
    function = FUNCTIONS[name]
    return function.selector + encode([p.canonical for p in function.params], values)


def item(kind, token, amount, *, identifier=0, end=None):
    return kind, token, identifier, amount, amount if end is None else end


def to(recipient, what):
    return *what, recipient


def order(offer, wanted, *, offerer=SELLER, kind=0, original=None):
    count = len(wanted) if original is None else original
    return offerer, NONE, offer, wanted, kind, NOW, NOW + 60, KEY, 1, KEY, count


def advanced(parameters, part=1, whole=1):
    return parameters, part, whole, b"", b""


APE_7 = item(2, NFT, 1, identifier=7)
LISTING = order([APE_7], [to(SELLER, item(0, NONE, 95)), to(FEES, item(0, NONE, 5))])
FOR_TOKENS = order([APE_7], [to(SELLER, item(1, TOKEN, 90, end=95)), to(FEES, item(1, TOKEN, 5))])
BID = order([item(1, WETH.address, 100)], [to(SELLER, APE_7), to(FEES, item(1, WETH.address, 5))])


@pytest.fixture
def fill(effects):
    return lambda name, *values, value=0: effects(SEAPORT, calldata(name, *values), value)[1:]


def test_a_purchase_for_ether_brings_the_nft_to_the_wallet(fill, wallet, codes):
    found = fill("fulfillOrder", (LISTING, b""), KEY, value=100)
    assert found == (
        Transfer(ETHER, wallet, SEAPORT, 100, SEAPORT),
        Receive(APE, wallet, 1, ETHER, 100, NOW + 60),
    )


def test_a_purchase_for_tokens_takes_the_most(fill, wallet):
    assert fill("fulfillOrder", (FOR_TOKENS, b""), KEY) == (
        Transfer(USDC, wallet, SEAPORT, 100, SEAPORT),
        Receive(APE, wallet, 1, USDC, 100, NOW + 60),
    )


def test_a_purchase_for_somebody_else_names_them(fill, wallet):
    bought = fill("fulfillAdvancedOrder", advanced(FOR_TOKENS), [], KEY, OTHER)
    assert Redirect(OTHER, "what the order offers") in bought
    assert bought[-1].recipient == OTHER
    own = fill("fulfillAdvancedOrder", advanced(FOR_TOKENS), [], KEY, NONE)
    assert own == fill("fulfillOrder", (FOR_TOKENS, b""), KEY)


def test_a_tip_is_a_payment_to_whoever_gets_it(fill):
    """The seller signed two items; the third was added by whoever fills the order."""
    tipped = order([APE_7], [*FOR_TOKENS[3], to(OTHER, item(1, TOKEN, 900))], original=2)
    found = fill("fulfillOrder", (tipped, b""), KEY)
    assert Redirect(OTHER, "a tip that the order did not ask for") in found
    assert [e.amount for e in found if isinstance(e, Transfer)] == [1000]
    basic = fill("fulfillBasicOrder", basic_order(8, shares=[(5, FEES), (900, OTHER)], original=1))
    assert Redirect(OTHER, "a tip that the order did not ask for") in basic
    assert FEES not in [e.recipient for e in basic if isinstance(e, Redirect)]


def test_part_of_an_order_brings_part_and_counts_in_full(fill, wallet):
    swap = order([item(1, WETH.address, 10)], [to(SELLER, item(1, TOKEN, 100))])
    found = fill("fulfillAdvancedOrder", advanced(swap, 1, 3), [], KEY, NONE)
    assert found == (
        Transfer(USDC, wallet, SEAPORT, 100, SEAPORT),
        Receive(WETH, wallet, 3, USDC, 100, NOW + 60),
    )


def test_every_asset_that_is_paid_meets_its_own_floor(fill):
    both = order([item(1, OTHER, 10)], [to(SELLER, item(1, TOKEN, 1)), to(SELLER, item(1, WETH.address, 1000))])
    found = fill("fulfillOrder", (both, b""), KEY)
    assert {(e.sold, e.sold_amount) for e in found if isinstance(e, Receive)} == {(USDC, 1), (WETH, 1000)}


def test_a_bid_that_is_accepted_sells_at_what_is_left_of_it(fill, wallet):
    assert fill("fulfillOrder", (BID, b""), KEY) == (
        NftTransfer(APE, 7, 1, wallet, SEAPORT, 95, SEAPORT),
        FeeShare(FEES, 500),
    )
    away = fill("fulfillAdvancedOrder", advanced(BID), [], KEY, OTHER)
    assert [e.price for e in away if isinstance(e, NftTransfer)] == [0]
    assert Redirect(OTHER, "what the order offers") in away
    half = fill("fulfillAdvancedOrder", advanced(BID, 1, 2), [], KEY, NONE)
    assert [e.price for e in half if isinstance(e, NftTransfer)] == [45]


def basic_order(kind, *, asked=(TOKEN, 0, 95), given=(NFT, 7, 1), shares=((5, FEES),), original=None):
    count = len(shares) if original is None else original
    return (*asked, SELLER, NONE, *given, kind, NOW, NOW + 60, KEY, 1, KEY, KEY, count, list(shares), b"")


@pytest.mark.parametrize("name", ["fulfillBasicOrder", "fulfillBasicOrder_efficient_6GL6yc"])
def test_the_short_form_means_what_the_long_one_does(fill, name):
    for kind in range(4):
        found = fill(name, basic_order(kind, asked=(NONE, 0, 95)), value=100)
        assert found == fill("fulfillOrder", (LISTING, b""), KEY, value=100)
    for kind in range(8, 12):
        found = fill(name, basic_order(kind, asked=(TOKEN, 0, 95)))
        assert found == fill("fulfillOrder", (FOR_TOKENS, b""), KEY)
    for kind in range(16, 20):
        found = fill(name, basic_order(kind, asked=(NFT, 7, 1), given=(WETH.address, 0, 100)))
        assert found == fill("fulfillOrder", (BID, b""), KEY)


def test_available_orders_add_up_where_every_item_is_collected(fill, codes, wallet):
    pair = [(FOR_TOKENS, b""), (FOR_TOKENS, b"")]
    collected = [[(0, 0)], [(1, 0)]]
    found = fill("fulfillAvailableOrders", pair, collected, [], KEY, 2)
    assert [e.amount for e in found if isinstance(e, Transfer)] == [100, 100]
    assert codes(found) == []
    assert codes(fill("fulfillAvailableOrders", pair, collected[:1], [], KEY, 2)) == ["malformed_order"]
    assert codes(fill("fulfillAvailableOrders", pair, [], [], KEY, 2)) == ["malformed_order"] * 2
    more = [advanced(FOR_TOKENS)]
    away = fill("fulfillAvailableAdvancedOrders", more, [], collected, [], KEY, OTHER, 1)
    assert away[-1].recipient == OTHER
    assert fill("fulfillAvailableAdvancedOrders", more, [], collected, [], KEY, NONE, 1)[-1].recipient == wallet


def test_matching_counts_the_wallets_own_orders_as_if_they_were_signed(fill, wallet, codes):
    """Seaport asks for no signature from its caller, so matching could give the wallet's tokens away."""
    giving = order([item(1, TOKEN, 1000)], [], offerer=wallet)
    found = fill("matchOrders", [(giving, b""), (LISTING, b"")], [])
    assert Transfer(USDC, wallet, SEAPORT, 1000, SEAPORT, "orders[0]") in found
    assert found[-1].min_amount == 0
    assert fill("matchOrders", [(LISTING, b"")], []) == ()
    rest = fill("matchAdvancedOrders", [advanced(giving)], [], [], OTHER)
    assert Redirect(OTHER, "what the orders leave over") in rest
    assert codes(fill("matchOrders", [(LISTING, b"")], [], value=5)) == ["stranded_funds"]


CRITERIA = order([item(4, NFT, 1, identifier=99)], [to(SELLER, item(0, NONE, 1))])
RESOLVER = (0, 0, 0, 7, [])


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("fulfillOrder", ((CRITERIA, b""), KEY), "criteria_offer"),
        ("fulfillOrder", ((order([item(6, NFT, 1)], []), b""), KEY), "criteria_offer"),
        ("fulfillOrder", ((order([APE_7], [], kind=4), b""), KEY), "order_extension"),
        ("fulfillOrder", ((order([], LISTING[3]), b""), KEY), "malformed_order"),
        ("fulfillOrder", ((order([APE_7], [], original=1), b""), KEY), "malformed_order"),
        ("fulfillAdvancedOrder", (advanced(LISTING, 0, 1), [], KEY, NONE), "malformed_order"),
        ("fulfillAdvancedOrder", (advanced(LISTING, 2, 1), [], KEY, NONE), "malformed_order"),
        ("fulfillAdvancedOrder", (advanced(LISTING), [RESOLVER], KEY, NONE), "criteria_offer"),
        ("fulfillAvailableAdvancedOrders", ([advanced(LISTING)], [RESOLVER], [[(0, 0)]], [], KEY, NONE, 1), "criteria_offer"),
        ("matchAdvancedOrders", ([advanced(LISTING)], [RESOLVER], [], NONE), "criteria_offer"),
        ("matchOrders", ([(CRITERIA, b"")], []), "criteria_offer"),
        ("fulfillBasicOrder", (basic_order(24),), "malformed_order"),
        ("fulfillBasicOrder", (basic_order(8, original=2),), "malformed_order"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_completely_is_opaque(fill, codes, name, values, code):
    assert codes(fill(name, *values)) == [code]


def test_the_wallet_does_not_fill_its_own_order(fill, codes, wallet):
    own = order([APE_7], [], offerer=wallet)
    assert codes(fill("fulfillAdvancedOrder", advanced(own), [], KEY, OTHER)) == ["malformed_order"]


def test_only_the_venue_itself_is_read(effects, codes):
    assert codes(effects(OTHER, calldata("fulfillOrder", (LISTING, b""), KEY))) == ["unknown_function"]
    assert ZERO_ADDRESS == NONE

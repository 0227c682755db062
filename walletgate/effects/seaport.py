"""Seaport: orders that are signed for others to fill, and orders of others that the wallet fills.

A signed order counts at its worst: what it offers at the highest amount, what it asks at the lowest, and an NFT's
price is what the seller gets at least, after everybody else's share.

Who fills an order pays what the order asks (the consideration) and gets what it offers. What is paid is counted at
its highest amount, less what of the same asset the order brings the filler; what is bought is a `Receive` of the
collection or token. Consideration items beyond `totalOriginalConsiderationItems` were not signed by the seller:
the filler adds them, so whoever gets such a tip is named. Filling for somebody else names that recipient. Where the
filler gives an NFT (it accepts a bid), the price is what is left of the bid after all shares.

Seaport needs no signature for an order of its caller. So matching orders counts the wallet's own among them as if
they were signed, and an order of the wallet that the wallet fills itself is refused. Opaque: items by criteria and
their resolvers, orders whose terms a contract makes up when they are filled, available orders of which an item is
left with its seller (`malformed_order`), since then the wallet would pay and not get it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from walletgate.effects.handlers import nothing
from walletgate.effects.registry import Frame, Handler, join, rule
from walletgate.effects.signing import TypedFrame, typed_rule
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    Asset,
    Effect,
    FeeShare,
    NftTransfer,
    Receive,
    Transfer,
)

SEAPORTS: Final = (
    "0x0000000000000068F116a894984e2DB1123eB395",
    "0x00000000000000ADc04C56Bf30aC9d3c0aAF14dC",
)
_NATIVE_ITEM, _TOKEN_ITEM = 0, 1
_NFT_ITEMS: Final = (2, 3)
_CONTRACT_ORDER: Final = 4

Item = Mapping[str, Any]


# --- signed orders ---------------------------------------------------------------------------------


def _seaport(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(after=m["startTime"], until=m["endTime"])
    yield from frame.not_owner(m["offerer"])
    yield from _components(frame, m)


def _seaport_bulk(frame: TypedFrame) -> Iterator[Effect]:
    leaves = list(_leaves(frame.message["tree"]))
    orders = [leaf for leaf in leaves if leaf["offer"] or leaf["consideration"] or leaf["offerer"] != ZERO_ADDRESS]
    yield frame.signature(
        after=min((o["startTime"] for o in orders), default=None),
        until=max((o["endTime"] for o in orders), default=None),
    )
    for index, order in enumerate(orders):
        leaf = frame._replace(path=join(frame.path, f"tree[{index}]"))
        yield from leaf.not_owner(order["offerer"])
        yield from _components(leaf, order)


def _leaves(tree: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(tree, tuple):
        for branch in tree:
            yield from _leaves(branch)
    else:
        yield tree


def _components(frame: TypedFrame | Frame, order: Mapping[str, Any]) -> Iterator[Effect]:
    offer, wanted, owner = order["offer"], order["consideration"], order["offerer"]
    sold = [item for item in offer if item["itemType"] == _TOKEN_ITEM]
    nfts = [item for item in offer if item["itemType"] in _NFT_ITEMS]
    price = _price(frame, wanted, owner) // max(1, sum(map(_most, nfts)))
    for item in offer:
        yield from _offered(frame, item, owner, price)
    yield from _wanted(frame, wanted, owner, sold)
    if sold and not any(item["recipient"] == owner for item in wanted):
        yield Receive(None, owner, 0, frame.asset(sold[0]["token"]), _most(sold[0]), order["endTime"], frame.path)


def _offered(frame: TypedFrame | Frame, item: Item, owner: Address, price: int) -> Iterator[Effect]:
    kind, asset, venue = item["itemType"], frame.asset(item["token"]), frame.here.address
    if kind == _TOKEN_ITEM:
        yield Transfer(asset, owner, venue, _most(item), venue, frame.path)
    elif kind in _NFT_ITEMS:
        token_id = item["identifierOrCriteria"]
        yield NftTransfer(asset, token_id, _most(item), owner, venue, price, venue, frame.path)
    else:
        yield frame.opaque("criteria_offer", f"offers items of kind {kind}, which name no single token")


def _wanted(frame: TypedFrame | Frame, items: Iterable[Item], owner: Address, sold: list[Item]) -> Iterator[Effect]:
    items = tuple(items)
    for item in items:
        asset = _item_asset(frame, item)
        if item["itemType"] > _TOKEN_ITEM:
            if item["recipient"] != owner:
                yield frame.redirect(item["recipient"], "an NFT of the consideration")
            elif sold:
                source = frame.asset(sold[0]["token"])
                yield Receive(asset, owner, _least(item), source, _most(sold[0]), path=frame.path)
        elif item["recipient"] != owner:
            total = sum(_most(i) for i in items if _item_asset(frame, i) == asset) + sum(
                _most(i) for i in sold if frame.asset(i["token"]) == asset
            )
            yield FeeShare(item["recipient"], -(-_most(item) * 10_000 // max(1, total)), frame.path)
        elif sold:
            source = frame.asset(sold[0]["token"])
            yield Receive(asset, owner, _least(item), source, _most(sold[0]), path=frame.path)


def _price(frame: TypedFrame | Frame, items: Iterable[Item], owner: Address) -> int:
    """Native and wrapped wei for the seller, at least."""
    money = (frame.asset(NATIVE), frame.asset(WRAPPED.get(frame.chain_id, NATIVE)))
    total = sum(
        _least(item)
        for item in items
        if item["recipient"] == owner and item["itemType"] <= _TOKEN_ITEM and _item_asset(frame, item) in money
    )
    return min(UINT256_MAX, total)


def _item_asset(frame: TypedFrame | Frame, item: Item) -> Asset:
    return frame.asset(NATIVE if item["itemType"] == _NATIVE_ITEM else item["token"])


def _most(item: Item) -> int:
    return max(int(item["startAmount"]), int(item["endAmount"]))


def _least(item: Item) -> int:
    return min(int(item["startAmount"]), int(item["endAmount"]))


# --- orders that the wallet fills ------------------------------------------------------------------

_OFFER_FIELDS: Final = ("itemType", "token", "identifierOrCriteria", "startAmount", "endAmount")
_WANTED_FIELDS: Final = (*_OFFER_FIELDS, "recipient")


def _order_of(parameters: tuple[Any, ...]) -> dict[str, Any]:
    """The fields of OrderParameters by name."""
    offerer, _, offer, wanted, kind, _, end, _, _, _, original = parameters
    return {
        "offerer": offerer,
        "offer": [dict(zip(_OFFER_FIELDS, item, strict=True)) for item in offer],
        "consideration": [dict(zip(_WANTED_FIELDS, item, strict=True)) for item in wanted],
        "orderType": kind,
        "endTime": end,
        "original": original,
    }


def _fill(
    frame: Frame, order: Mapping[str, Any], recipient: Address, share: tuple[int, int] = (1, 1)
) -> Iterator[Effect]:
    """One order filled by the caller, or the part `share` of it, for `recipient`."""
    offer, wanted = order["offer"], order["consideration"]
    wrong = _unreadable(order, share)
    if wrong is None and order["offerer"] == frame.sender:
        wrong = ("malformed_order", "the wallet would fill an order of its own")
    if wrong is not None:
        yield frame.opaque(*wrong)
        return
    for tip in wanted[order["original"] :]:
        yield frame.redirect(tip["recipient"], "a tip that the order did not ask for")
    if recipient != frame.sender:
        yield frame.redirect(recipient, "what the order offers")
    paid = _sums(frame, wanted, _most)
    gained = _sums(frame, offer, lambda item: _least(item) * share[0] // share[1]) if recipient == frame.sender else {}
    yield from _give(frame, wanted, gained, paid)
    for asset, amount in paid.items():
        if not asset.is_native and amount > gained.get(asset, 0):
            yield frame.spend(asset.address, min(UINT256_MAX, amount - gained.get(asset, 0)))
    if not any(item["itemType"] in _NFT_ITEMS for item in wanted):
        yield from _bought(frame, order, recipient, share)


def _bought(frame: Frame, order: Mapping[str, Any], recipient: Address, share: tuple[int, int]) -> Iterator[Effect]:
    """What is offered, against each asset that is paid, so that a floor under any of them is asked about."""
    paid = _sums(frame, order["consideration"], _most)
    prices: list[tuple[Asset | None, int]] = [(asset, min(UINT256_MAX, amount)) for asset, amount in paid.items()]
    for item in order["offer"]:
        asset, least = _item_asset(frame, item), _least(item) * share[0] // share[1]
        for sold, amount in prices or [(None, 0)]:
            yield Receive(asset, recipient, least, sold, amount, order["endTime"], frame.path)


def _unreadable(order: Mapping[str, Any], share: tuple[int, int]) -> tuple[str, str] | None:
    items = (*order["offer"], *order["consideration"])
    if any(item["itemType"] not in (_NATIVE_ITEM, _TOKEN_ITEM, *_NFT_ITEMS) for item in items):
        return "criteria_offer", "an item by criteria names no single token"
    if order["orderType"] >= _CONTRACT_ORDER:
        return "order_extension", "a contract makes up the terms when the order is filled"
    if not 0 < share[0] <= share[1] or order["original"] > len(order["consideration"]) or not order["offer"]:
        return "malformed_order", "the order cannot be filled as it stands"
    return None


def _sums(frame: Frame, items: Iterable[Item], amount: Callable[[Item], int]) -> dict[Asset, int]:
    """Native coins and tokens among the items, added up."""
    found: dict[Asset, int] = {}
    for item in items:
        if item["itemType"] <= _TOKEN_ITEM:
            asset = _item_asset(frame, item)
            found[asset] = found.get(asset, 0) + amount(item)
    return found


def _give(
    frame: Frame, wanted: Sequence[Item], gained: Mapping[Asset, int], paid: Mapping[Asset, int]
) -> Iterator[Effect]:
    """The caller's own NFTs, at what is left of the bid; the others' shares of it."""
    nfts = [item for item in wanted if item["itemType"] in _NFT_ITEMS]
    if not nfts:
        return
    money = (frame.native, frame.asset(WRAPPED.get(frame.chain_id, NATIVE)))
    left = sum(max(0, gained.get(asset, 0) - paid.get(asset, 0)) for asset in dict.fromkeys(money))
    price = min(UINT256_MAX, left) // max(1, sum(map(_most, nfts)))
    for item in nfts:
        collection, token_id = frame.asset(item["token"]), item["identifierOrCriteria"]
        yield NftTransfer(collection, token_id, _most(item), frame.sender, frame.to, price, frame.to, frame.path)
    for item in wanted:
        whole = gained.get(_item_asset(frame, item), 0)
        if item["itemType"] <= _TOKEN_ITEM and item["recipient"] != frame.sender and whole:
            yield FeeShare(item["recipient"], min(10_000, -(-_most(item) * 10_000 // whole)), frame.path)


def _fulfill(frame: Frame) -> Iterator[Effect]:
    (parameters, _), _ = frame.args
    yield from _fill(frame, _order_of(parameters), frame.sender)


def _fulfill_advanced(frame: Frame) -> Iterator[Effect]:
    (parameters, part, whole, _, _), resolvers, _, recipient = frame.args
    if resolvers:
        yield frame.opaque("criteria_offer", "resolvers choose among tokens")
    yield from _fill(frame, _order_of(parameters), recipient if any(recipient) else frame.sender, (part, whole))


def _fulfill_basic(frame: Frame) -> Iterator[Effect]:
    """The short form: one item is offered and one asked for; the type says what they are and who pays the shares.

    Types 0-15 sell an NFT for ether (0-7) or tokens (8-15); 16-23 bid tokens for an NFT, and pay the shares from them.
    """
    asked, asked_id, asked_amount, offerer, _, given, given_id, given_amount, kind, *rest = frame.args[0]
    _, end, _, _, _, _, original, shares, _ = rest
    if kind > 23:
        yield frame.opaque("malformed_order", f"basic order type {kind}")
        return
    route = kind // 4
    money = _NATIVE_ITEM if route < 2 else _TOKEN_ITEM
    nft = _NFT_ITEMS[route % 2]
    asks, gives = (money, nft) if route < 4 else (nft, money)
    paid_in = asked if route < 4 else given
    wanted = [(asks, asked, asked_id, asked_amount, asked_amount, offerer)]
    wanted += [(money, paid_in, 0, amount, amount, recipient) for amount, recipient in shares]
    offered = (gives, given, given_id, given_amount, given_amount)
    order = _order_of((offerer, None, (offered,), wanted, kind % 4, 0, end, None, 0, None, original + 1))
    yield from _fill(frame, order, frame.sender)


def _available(*, advanced: bool) -> Handler:
    """Several orders, of which some may be gone: those that are filled are filled in full."""

    def handler(frame: Frame) -> Iterator[Effect]:
        orders, *middle = frame.args
        resolvers = middle.pop(0) if advanced else ()
        collected, _, _, *ends = middle
        recipient = ends[0] if advanced and any(ends[0]) else frame.sender
        if resolvers:
            yield frame.opaque("criteria_offer", "resolvers choose among tokens")
        named = {place for group in collected for place in group}
        for index, order in enumerate(orders):
            each = frame._replace(path=frame.step("orders", index))
            read = _order_of(order[0])
            if any((index, place) not in named for place in range(len(read["offer"]))):
                yield each.opaque("malformed_order", "an item that is offered is not collected")
            yield from _fill(each, read, recipient, (order[1], order[2]) if advanced else (1, 1))

    return handler


def _match(*, advanced: bool) -> Handler:
    """Orders that pay each other; the wallet's own among them need no signature."""

    def handler(frame: Frame) -> Iterator[Effect]:
        orders, *middle = frame.args
        if frame.value:
            yield frame.opaque("stranded_funds", "ether sent along pays for the orders of others")
        if advanced:
            resolvers, _, recipient = middle
            if resolvers:
                yield frame.opaque("criteria_offer", "resolvers choose among tokens")
            if any(recipient) and recipient != frame.sender:
                yield frame.redirect(recipient, "what the orders leave over")
        for index, order in enumerate(orders):
            each = frame._replace(path=frame.step("orders", index))
            read = _order_of(order[0])
            wrong = _unreadable(read, (order[1], order[2]) if advanced else (1, 1))
            if wrong is not None:
                yield each.opaque(*wrong)
            elif read["offerer"] == frame.sender:
                yield from _components(each, read)

    return handler


_ITEM: Final = "uint8 itemType,address token,uint256 identifierOrCriteria,uint256 startAmount,uint256 endAmount"
_COMPONENTS: Final = (
    "OrderComponents(address offerer,address zone,OfferItem[] offer,ConsiderationItem[] consideration,uint8 orderType,"
    "uint256 startTime,uint256 endTime,bytes32 zoneHash,uint256 salt,bytes32 conduitKey,uint256 counter)"
)
_CONSIDERATION: Final = f"ConsiderationItem({_ITEM},address recipient)"
_OFFER: Final = f"OfferItem({_ITEM})"

_HEAD: Final = (
    f"address offerer,address zone,({_ITEM})[] offer,({_ITEM},address recipient)[] consideration,uint8 orderType,"
    "uint256 startTime,uint256 endTime,bytes32 zoneHash,uint256 salt,bytes32 conduitKey"
)
_PARAMETERS: Final = f"({_HEAD},uint256 totalOriginalConsiderationItems) parameters"
_ORDER: Final = f"({_PARAMETERS},bytes signature)"
_ADVANCED: Final = f"({_PARAMETERS},uint120 numerator,uint120 denominator,bytes signature,bytes extraData)"
_RESOLVERS: Final = (
    "(uint256 orderIndex,uint8 side,uint256 index,uint256 identifier,bytes32[] criteriaProof)[] resolvers"
)
_PLACES: Final = "(uint256 orderIndex,uint256 itemIndex)[]"
_COLLECTED: Final = f"{_PLACES}[] offered,{_PLACES}[] considered,bytes32 conduitKey"
_MATCHES: Final = f"({_PLACES} offered,{_PLACES} considered)[] fulfillments"
_BASIC: Final = (
    "(address considerationToken,uint256 considerationIdentifier,uint256 considerationAmount,address offerer,"
    "address zone,address offerToken,uint256 offerIdentifier,uint256 offerAmount,uint8 basicOrderType,"
    "uint256 startTime,uint256 endTime,bytes32 zoneHash,uint256 salt,bytes32 offererConduitKey,"
    "bytes32 fulfillerConduitKey,uint256 totalOriginalAdditionalRecipients,"
    "(uint256 amount,address recipient)[] additionalRecipients,bytes signature) parameters"
)

CALLS: Final = (
    rule(f"cancel(({_HEAD},uint256 counter)[] orders)", nothing, at=SEAPORTS),
    rule("incrementCounter()", nothing, at=SEAPORTS),
    rule(f"fulfillBasicOrder({_BASIC})", _fulfill_basic, at=SEAPORTS),
    rule(f"fulfillBasicOrder_efficient_6GL6yc({_BASIC})", _fulfill_basic, at=SEAPORTS),
    rule(f"fulfillOrder({_ORDER} order,bytes32 conduitKey)", _fulfill, at=SEAPORTS),
    rule(
        f"fulfillAdvancedOrder({_ADVANCED} order,{_RESOLVERS},bytes32 conduitKey,address recipient)",
        _fulfill_advanced,
        at=SEAPORTS,
    ),
    rule(
        f"fulfillAvailableOrders({_ORDER}[] orders,{_COLLECTED},uint256 maximumFulfilled)",
        _available(advanced=False),
        at=SEAPORTS,
    ),
    rule(
        f"fulfillAvailableAdvancedOrders({_ADVANCED}[] orders,{_RESOLVERS},{_COLLECTED},address recipient,"
        "uint256 maximumFulfilled)",
        _available(advanced=True),
        at=SEAPORTS,
    ),
    rule(f"matchOrders({_ORDER}[] orders,{_MATCHES})", _match(advanced=False), at=SEAPORTS),
    rule(
        f"matchAdvancedOrders({_ADVANCED}[] orders,{_RESOLVERS},{_MATCHES},address recipient)",
        _match(advanced=True),
        at=SEAPORTS,
    ),
)

TYPED: Final = (
    typed_rule(_COMPONENTS + _CONSIDERATION + _OFFER, _seaport, name="Seaport"),
    typed_rule(
        f"BulkOrder(OrderComponents[2] tree){_CONSIDERATION}{_OFFER}{_COMPONENTS}", _seaport_bulk, name="Seaport"
    ),
)

"""NFTs: moves, operators, punks, and positions and names that are money in the shape of an NFT.

The standard's verbs yield no Call effect: what matters is the collection, the token and who gets it. An operator
may take everything of a collection at any time, so `setApprovalForAll` is an effect of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from walletgate.effects.handlers import nothing
from walletgate.effects.registry import Frame, rule
from walletgate.effects.swaps import ledger_of, pull
from walletgate.types import (
    ZERO_ADDRESS,
    Effect,
    NftApproval,
    NftTransfer,
    OperatorApproval,
)

PUNKS: Final = "0xb47e3cd837dDF8e4c57F05d70Ab865de6e193BBB"
POSITIONS: Final = ("0xC36442b4a4522E871399CD717aBDD847Ab11FE88", "0x03a520b32C04BF3bEEf7BEb72E919cf822Ed34f1")


def _move(frame: Frame) -> Iterator[Effect]:
    sender, recipient, token_id, *_ = frame.args
    yield NftTransfer(frame.here, token_id, 1, sender, recipient, path=frame.path)


def _move_amount(frame: Frame) -> Iterator[Effect]:
    sender, recipient, token_id, amount, _ = frame.args
    yield NftTransfer(frame.here, token_id, amount, sender, recipient, path=frame.path)


def _move_batch(frame: Frame) -> Iterator[Effect]:
    sender, recipient, ids, amounts, _ = frame.args
    if len(ids) != len(amounts):
        yield frame.opaque("malformed_batch", "ids and amounts differ in number")
        return
    for token_id, amount in zip(ids, amounts, strict=True):
        yield NftTransfer(frame.here, token_id, amount, sender, recipient, path=frame.path)


def _operator(frame: Frame) -> Iterator[Effect]:
    operator, approved = frame.args
    yield OperatorApproval(frame.here, frame.sender, operator, approved, frame.path)


def _permit(frame: Frame) -> Iterator[Effect]:
    """The owner is whoever holds the token; the signature says so, not the call."""
    spender, token_id, *_ = frame.args
    yield NftApproval(frame.here, token_id, frame.sender, spender, frame.path)


def _punk_transfer(frame: Frame) -> Iterator[Effect]:
    recipient, index = frame.args
    yield NftTransfer(frame.here, index, 1, frame.sender, recipient, path=frame.path)


def _punk_offer(frame: Frame) -> Iterator[Effect]:
    index, price, *buyer = frame.args
    recipient = buyer[0] if buyer else ZERO_ADDRESS
    yield NftTransfer(frame.here, index, 1, frame.sender, recipient, price, frame.to, frame.path)


def _mint_position(frame: Frame) -> Iterator[Effect]:
    """The amounts are the most it takes: ether that pays for them must be asked back."""
    asset0, asset1, _, _, _, amount0, amount1, _, _, recipient, _ = frame.args[0]
    ledger = ledger_of(frame)
    for asset, amount in ((asset0, amount0), (asset1, amount1)):
        yield from pull(frame, ledger, asset, amount, exact=False)
    yield frame.redirect(recipient, "liquidity position")
    if frame.ledger is None:
        yield from ledger.close(frame.path)


def _increase_position(frame: Frame) -> Iterator[Effect]:
    yield frame.opaque("asset_not_named", "the position's tokens are not in the call")


def _collect(frame: Frame) -> Iterator[Effect]:
    yield frame.redirect(frame.args[0][1], "fees and liquidity of a position")


_COLLECT: Final = "(uint256 tokenId,address recipient,uint128 amount0Max,uint128 amount1Max) params"

CALLS: Final = (
    rule("safeTransferFrom(address from,address to,uint256 tokenId)", _move, plain=True),
    rule("safeTransferFrom(address from,address to,uint256 tokenId,bytes data)", _move, plain=True),
    rule("safeTransferFrom(address from,address to,uint256 id,uint256 amount,bytes data)", _move_amount, plain=True),
    rule(
        "safeBatchTransferFrom(address from,address to,uint256[] ids,uint256[] amounts,bytes data)",
        _move_batch,
        plain=True,
    ),
    rule("setApprovalForAll(address operator,bool approved)", _operator, plain=True),
    rule("permit(address spender,uint256 tokenId,uint256 deadline,uint8 v,bytes32 r,bytes32 s)", _permit),
    rule("transferPunk(address to,uint256 index)", _punk_transfer, at=(PUNKS,), plain=True),
    rule("offerPunkForSale(uint256 index,uint256 minPrice)", _punk_offer, at=(PUNKS,), plain=True),
    rule("offerPunkForSaleToAddress(uint256 index,uint256 minPrice,address to)", _punk_offer, at=(PUNKS,), plain=True),
    rule("acceptBidForPunk(uint256 index,uint256 minPrice)", _punk_offer, at=(PUNKS,), plain=True),
    rule("buyPunk(uint256 index)", nothing, at=(PUNKS,)),
    rule("punkNoLongerForSale(uint256 index)", nothing, at=(PUNKS,)),
    rule(
        "mint((address token0,address token1,uint24 fee,int24 tickLower,int24 tickUpper,uint256 amount0,"
        "uint256 amount1,uint256 min0,uint256 min1,address recipient,uint256 deadline) params)",
        _mint_position,
        at=POSITIONS,
    ),
    rule(
        "increaseLiquidity((uint256 tokenId,uint256 amount0,uint256 amount1,uint256 min0,uint256 min1,"
        "uint256 deadline) params)",
        _increase_position,
        at=POSITIONS,
    ),
    rule(
        "decreaseLiquidity((uint256 tokenId,uint128 liquidity,uint256 min0,uint256 min1,uint256 deadline) params)",
        nothing,
        at=POSITIONS,
    ),
    rule(f"collect({_COLLECT})", _collect, at=POSITIONS),
    rule("burn(uint256 tokenId)", nothing, at=POSITIONS),
)

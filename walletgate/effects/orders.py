"""Signed orders: CoW, 1inch, UniswapX. Somebody else executes them, so the worst case counts.

What the order gives is a transfer to the settlement contract at the highest amount it may take; what it brings is
the lowest amount it may pay, to whoever it names. An order that brings its signer nothing brings a minimum of zero.
Seaport's orders have a file of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from walletgate.effects.handlers import nothing
from walletgate.effects.permits import PERMIT2
from walletgate.effects.registry import Frame, address, rule
from walletgate.effects.signing import NO_VERSION, TypedFrame, typed_rule
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    Asset,
    Effect,
    FeeShare,
    Receive,
    Transfer,
)

COW: Final = "0x9008D19f58AAbD9eD0D60971565AA8510560ab41"
ONEINCH: Final = "0x111111125421cA6dc452d289314280a0f8842A65"
REACTORS: Final = frozenset(
    map(
        address,
        (
            "0x00000011F84B9aa48e5f8aA8B9897600006289Be",
            "0x6000da47483062A0D734Ba3dc7576Ce6A0B645C4",
            "0x000000001Ec5656dcdB24D90DFa42742738De729",
            "0xB274d5F4b833b61B340b654d600A864fB604a87c",
        ),
    )
)
"""UniswapX reactors that pay the outputs of their orders: mainnet's two, Base's, and Arbitrum's."""


# --- CoW and 1inch ---------------------------------------------------------------------------------


def _cow(frame: TypedFrame) -> Iterator[Effect]:
    """`receiver` zero is the owner. Both kinds may take `sellAmount` and the fee, and must bring `buyAmount`."""
    m = frame.message
    yield frame.signature(until=m["validTo"])
    if m["kind"] not in ("sell", "buy"):
        yield frame.opaque("malformed_order", "the order is neither a sale nor a purchase")
    sold = frame.asset(m["sellToken"])
    amount = min(UINT256_MAX, m["sellAmount"] + m["feeAmount"])
    yield Transfer(sold, frame.signer, frame.contract, amount, frame.contract, frame.path)
    recipient = frame.signer if m["receiver"] == ZERO_ADDRESS else m["receiver"]
    bought = frame.asset(m["buyToken"])
    yield Receive(bought, recipient, m["buyAmount"], sold, amount, m["validTo"], frame.path)


def _pre_sign(frame: Frame) -> Iterator[Effect]:
    if frame.args[1]:
        yield frame.opaque("blind_hash", "signs an order by its identifier alone")


def _oneinch(frame: TypedFrame) -> Iterator[Effect]:
    """Bits of `makerTraits`: 80-119 expiration, 247 unwrap the proceeds, 249 an extension changes the order."""
    m = frame.message
    traits = m["makerTraits"]
    until = (traits >> 80) & (2**40 - 1) or UINT256_MAX
    yield frame.signature(until=until)
    yield from frame.not_owner(m["maker"])
    if traits >> 249 & 1:
        yield frame.opaque("order_extension", "an extension decides amounts and interactions")
    sold, amount = frame.asset(m["makerAsset"]), m["makingAmount"]
    yield Transfer(sold, m["maker"], frame.contract, amount, frame.contract, frame.path)
    recipient = m["maker"] if m["receiver"] == ZERO_ADDRESS else m["receiver"]
    wrapped = WRAPPED.get(frame.chain_id) == m["takerAsset"] and traits >> 247 & 1
    bought = frame.asset(NATIVE if wrapped else m["takerAsset"])
    yield Receive(bought, recipient, m["takingAmount"], sold, amount, until, frame.path)


# --- UniswapX --------------------------------------------------------------------------------------


def _dutch_v2(frame: TypedFrame) -> Iterator[Effect]:
    w = frame.message["witness"]
    yield from _dutch(frame, w["info"], w["baseInputToken"], w["baseOutputs"])


def _dutch_exclusive(frame: TypedFrame) -> Iterator[Effect]:
    w = frame.message["witness"]
    yield from _dutch(frame, w["info"], w["inputToken"], w["outputs"])


def _dutch_v3(frame: TypedFrame) -> Iterator[Effect]:
    """Amounts follow a curve and the base fee, but never beyond the input's maximum and each output's minimum."""
    w = frame.message["witness"]
    outputs = tuple(
        {**output, "startAmount": max(output["startAmount"], output["minAmount"]), "endAmount": output["minAmount"]}
        for output in w["baseOutputs"]
    )
    yield from _dutch(frame, w["info"], w["baseInput"]["token"], outputs)


def _priority(frame: TypedFrame) -> Iterator[Effect]:
    """Whoever bids a higher fee takes less or pays more; never worse than what is signed."""
    w = frame.message["witness"]
    outputs = tuple({**o, "startAmount": o["amount"], "endAmount": o["amount"]} for o in w["outputs"])
    yield from _dutch(frame, w["info"], w["input"]["token"], outputs)


def _dutch(
    frame: TypedFrame, info: Mapping[str, Any], asset_in: Address, outputs: tuple[Mapping[str, Any], ...]
) -> Iterator[Effect]:
    """Permit2 lets the spender take all that is permitted; only a reactor is bound by the order behind it."""
    m = frame.message
    until, spender, permitted = m["deadline"], m["spender"], m["permitted"]
    sold, amount = frame.asset(permitted["token"]), permitted["amount"]
    yield frame.signature(until=until)
    yield from frame.not_owner(info["swapper"])
    if spender not in REACTORS or info["reactor"] != spender or asset_in != permitted["token"]:
        yield Transfer(sold, frame.signer, spender, amount, path=frame.path)
        yield frame.opaque("witness_not_binding", "the spender is not bound by the order that is signed with it")
        return
    yield Transfer(sold, frame.signer, spender, amount, spender, frame.path)
    for output in outputs:
        yield from _output(frame, output, outputs, (sold, amount, until))
    if not any(output["recipient"] == frame.signer for output in outputs):
        yield Receive(None, frame.signer, 0, sold, amount, until, frame.path)


def _most(item: Mapping[str, Any]) -> int:
    return max(int(item["startAmount"]), int(item["endAmount"]))


def _least(item: Mapping[str, Any]) -> int:
    return min(int(item["startAmount"]), int(item["endAmount"]))


def _output(
    frame: TypedFrame,
    output: Mapping[str, Any],
    outputs: tuple[Mapping[str, Any], ...],
    terms: tuple[Asset, int, int],
) -> Iterator[Effect]:
    sold, amount, until = terms
    recipient = output["recipient"]
    contract = NATIVE if output["token"] == ZERO_ADDRESS else output["token"]
    own = [each for each in outputs if each["recipient"] == frame.signer and each["token"] == output["token"]]
    if recipient == frame.signer or not own:
        yield Receive(frame.asset(contract), recipient, _least(output), sold, amount, until, frame.path)
        return
    total = sum(_most(each) for each in outputs if each["token"] == output["token"])
    yield FeeShare(recipient, -(-_most(output) * 10_000 // max(1, total)), frame.path)


_OUTPUT: Final = "DutchOutput(address token,uint256 startAmount,uint256 endAmount,address recipient)"
_INFO: Final = (
    "OrderInfo(address reactor,address swapper,uint256 nonce,uint256 deadline,address additionalValidationContract,"
    "bytes additionalValidationData)"
)
_CURVE: Final = "NonlinearDutchDecay(uint256 relativeBlocks,int256[] relativeAmounts)"
_V3: Final = (
    "V3DutchInput(address token,uint256 startAmount,NonlinearDutchDecay curve,uint256 maxAmount,"
    "uint256 adjustmentPerGweiBaseFee)V3DutchOrder(OrderInfo info,address cosigner,uint256 startingBaseFee,"
    "V3DutchInput baseInput,V3DutchOutput[] baseOutputs)V3DutchOutput(address token,uint256 startAmount,"
    "NonlinearDutchDecay curve,address recipient,uint256 minAmount,uint256 adjustmentPerGweiBaseFee)"
)
_PRIORITY: Final = (
    "PriorityInput(address token,uint256 amount,uint256 mpsPerPriorityFeeWei)PriorityOrder(OrderInfo info,"
    "address cosigner,uint256 auctionStartBlock,uint256 baselinePriorityFeeWei,PriorityInput input,"
    "PriorityOutput[] outputs)PriorityOutput(address token,uint256 amount,uint256 mpsPerPriorityFeeWei,"
    "address recipient)"
)
_PERMITTED: Final = "TokenPermissions(address token,uint256 amount)"
_WITNESS: Final = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,"

CALLS: Final = (
    rule("setPreSignature(bytes orderUid,bool signed)", _pre_sign),
    rule("invalidateOrder(bytes orderUid)", nothing, at=(COW,)),
)

TYPED: Final = (
    typed_rule(
        "Order(address sellToken,address buyToken,address receiver,uint256 sellAmount,uint256 buyAmount,uint32 validTo,"
        "bytes32 appData,uint256 feeAmount,string kind,bool partiallyFillable,string sellTokenBalance,"
        "string buyTokenBalance)",
        _cow,
        name="Gnosis Protocol",
        at=(COW,),
    ),
    typed_rule(
        "Order(uint256 salt,address maker,address receiver,address makerAsset,address takerAsset,uint256 makingAmount,"
        "uint256 takingAmount,uint256 makerTraits)",
        _oneinch,
        at=(ONEINCH,),
    ),
    typed_rule(
        f"{_WITNESS}V2DutchOrder witness){_OUTPUT}{_INFO}{_PERMITTED}V2DutchOrder(OrderInfo info,address cosigner,"
        "address baseInputToken,uint256 baseInputStartAmount,uint256 baseInputEndAmount,DutchOutput[] baseOutputs)",
        _dutch_v2,
        fields=NO_VERSION,
        name="Permit2",
        at=(PERMIT2,),
    ),
    typed_rule(
        f"{_WITNESS}ExclusiveDutchOrder witness){_OUTPUT}ExclusiveDutchOrder(OrderInfo info,uint256 decayStartTime,"
        "uint256 decayEndTime,address exclusiveFiller,uint256 exclusivityOverrideBps,address inputToken,"
        f"uint256 inputStartAmount,uint256 inputEndAmount,DutchOutput[] outputs){_INFO}{_PERMITTED}",
        _dutch_exclusive,
        fields=NO_VERSION,
        name="Permit2",
        at=(PERMIT2,),
    ),
    typed_rule(
        f"{_WITNESS}V3DutchOrder witness){_CURVE}{_INFO}{_PERMITTED}{_V3}",
        _dutch_v3,
        fields=NO_VERSION,
        name="Permit2",
        at=(PERMIT2,),
    ),
    typed_rule(
        f"{_WITNESS}PriorityOrder witness){_INFO}{_PRIORITY}{_PERMITTED}",
        _priority,
        fields=NO_VERSION,
        name="Permit2",
        at=(PERMIT2,),
    ),
)

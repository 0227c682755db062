"""Lending markets, vaults and staking: Aave, Compound, Comet, Morpho, ERC-4626, Lido.

What goes in is a transfer to the market. Whom the position, the debt or the money that comes out belongs to is an
argument, and each such argument is a redirect. An amount of 2^256 - 1 means all: inward for withdrawals, where it
is nothing to count, and outward for repayments, where it is the most there can be.

Where the call does not say which token it takes, the operator's policy must (`DecodeContext.underlying`); a few
vaults are known. Without either the call is opaque: an amount of an unknown token cannot be counted.

Lido's `transferShares` moves stETH and counts in shares. What a share is worth changes every day, rises without a
limit and is not in the call, so each such transfer counts as 2^256 - 1: more than any limit, like an unlimited
allowance, because a rate that is guessed would let more leave than was counted. Who gets it is judged as ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from walletgate.effects.handlers import nothing, redirects, spends
from walletgate.effects.registry import CallRule, Frame, Handler, address, rule
from walletgate.effects.signing import CHAIN_AND_CONTRACT, TypedFrame, typed_rule
from walletgate.types import UINT256_MAX, ZERO_ADDRESS, Address, Effect, OperatorApproval, Transfer

MORPHO: Final = "0xBBBBBbbBBb9cC5e90e3b3Af64bdAF62C37EEFFCb"
LIDO_QUEUE: Final = "0x889edC2eDab5f40e902b864aD4d7AdE8E412F9B1"
LIDO_STETH: Final = "0xae7ab96520DE3A18E5e111B5EaAb095312D7fE84"
_STETH: Final = address(LIDO_STETH)
_WSTETH: Final = address("0x7f39C581F595B53c5cb19bD0b3f8dA6c935E2Ca0")

UNDERLYING: Final[Mapping[tuple[int, Address], Address]] = {
    (1, address("0x83F20F44975D03b1b09e64809B757c47f942BEeA")): address("0x6B175474E89094C44Da98b954EedeAC495271d0F"),
    (1, _WSTETH): _STETH,
}
"""sDAI takes DAI, wstETH takes stETH."""


def _underlying(frame: Frame) -> Address | None:
    here = (frame.chain_id, frame.to)
    return frame.walk.context.underlying.get(here) or UNDERLYING.get(here)


def _spend_underlying(frame: Frame, amount: int) -> Iterator[Effect]:
    asset = _underlying(frame)
    if asset is None:
        yield frame.opaque("asset_not_named", "neither the call nor the policy says which token is taken")
    else:
        yield frame.spend(asset, amount)


def _supply_from(frame: Frame) -> Iterator[Effect]:
    owner, recipient, asset, amount = frame.args
    yield frame.spend(asset, amount, sender=owner)
    yield frame.redirect(recipient, "deposit")


def _transfer_asset(frame: Frame) -> Iterator[Effect]:
    recipient, asset, amount = frame.args
    yield Transfer(frame.asset(asset), frame.sender, recipient, amount, frame.to, frame.path)


_TRUSTED: Final = {1: "what borrowers leave as collateral", 2: "prices that decide who may take the deposit"}

# --- Morpho ----------------------------------------------------------------------------------------


def _morpho(*, pays: int, trusts: tuple[int, ...] = ()) -> Handler:
    """Supply, supplyCollateral and repay: market, assets, (shares,) onBehalf, callback data.

    Anybody may open a market. Whoever chooses the collateral or the oracle of one can take all that is in it: so
    these fields of the market, which what goes in then `trusts`, are like recipients.
    """

    def handler(frame: Frame) -> Iterator[Effect]:
        market, assets, *_, owner, data = frame.args
        if not assets:
            yield frame.opaque("amount_not_named", "the amount is in shares, whose price is not in the call")
        if data:
            yield frame.opaque("callback", "the market calls back with data")
        yield frame.spend(market[pays], assets)
        yield frame.redirect(owner, "position")
        for index in trusts:
            yield frame.redirect(market[index], _TRUSTED[index])

    return handler


def _morpho_out(frame: Frame) -> Iterator[Effect]:
    *_, owner, receiver = frame.args
    yield frame.redirect(owner, "position that pays")
    yield frame.redirect(receiver, "withdrawn or borrowed funds")


def _authorize(frame: Frame) -> Iterator[Effect]:
    (owner, operator, approved, _, _), _ = frame.args
    yield OperatorApproval(frame.here, owner, operator, approved, frame.path)


def _authorization(frame: TypedFrame) -> Iterator[Effect]:
    m = frame.message
    yield frame.signature(until=m["deadline"])
    yield from frame.not_owner(m["authorizer"])
    yield OperatorApproval(frame.here, m["authorizer"], m["authorized"], m["isAuthorized"], frame.path)


# --- vaults and staking ----------------------------------------------------------------------------


def _vault_deposit(frame: Frame) -> Iterator[Effect]:
    assets, receiver = frame.args
    yield from _spend_underlying(frame, assets)
    yield frame.redirect(receiver, "shares")


def _vault_mint(frame: Frame) -> Iterator[Effect]:
    yield frame.opaque("amount_not_named", "the amount is in shares, whose price is not in the call")
    yield frame.redirect(frame.args[1], "shares")


def _vault_withdraw(frame: Frame) -> Iterator[Effect]:
    _, receiver, owner = frame.args
    yield frame.redirect(receiver, "withdrawn funds")
    if owner != frame.sender:
        yield frame.redirect(owner, "shares of another owner")


def _wrap(frame: Frame) -> Iterator[Effect]:
    yield from _spend_underlying(frame, frame.args[0])


def _market_in(frame: Frame) -> Iterator[Effect]:
    """Compound v2's verbs without a token: what they take is what the policy says that the market takes.

    Others have a `mint(uint256)` too, of their own NFTs; for those the policy says nothing, and the call is all.
    """
    if (frame.chain_id, frame.to) in frame.walk.context.underlying:
        yield from _spend_underlying(frame, frame.args[-1])


def _repay_for(frame: Frame) -> Iterator[Effect]:
    yield from _spend_underlying(frame, frame.args[1])
    yield frame.redirect(frame.args[0], "repayment")


def _request(asset: Address) -> Handler:
    """Zero as owner means the caller."""

    def handler(frame: Frame) -> Iterator[Effect]:
        amounts, owner, *_ = frame.args
        yield frame.spend(asset, min(UINT256_MAX, sum(amounts)))
        yield frame.redirect(frame.sender if owner == ZERO_ADDRESS else owner, "claims on withdrawals")

    return handler


def _move_shares(frame: Frame) -> Iterator[Effect]:
    *owner, recipient, shares = frame.args
    amount = UINT256_MAX if shares else 0
    yield Transfer(frame.here, owner[0] if owner else frame.sender, recipient, amount, path=frame.path)


_MARKET: Final = "(address loanToken,address collateralToken,address oracle,address irm,uint256 lltv) market"
_AMOUNTS: Final = "uint256 assets,uint256 shares"
_DEPOSIT: Final = (2, "deposit")
_OUT: Final = "withdrawn funds"

_AAVE: Final[tuple[CallRule, ...]] = (
    rule("supply(address asset,uint256 amount,address onBehalfOf,uint16 code)", spends(0, 1, _DEPOSIT)),
    rule("deposit(address asset,uint256 amount,address onBehalfOf,uint16 code)", spends(0, 1, _DEPOSIT)),
    rule(
        "supplyWithPermit(address asset,uint256 amount,address onBehalfOf,uint16 code,uint256 deadline,uint8 v,"
        "bytes32 r,bytes32 s)",
        spends(0, 1, _DEPOSIT),
    ),
    rule("withdraw(address asset,uint256 amount,address to)", redirects((2, _OUT))),
    rule(
        "borrow(address asset,uint256 amount,uint256 rateMode,uint16 code,address onBehalfOf)",
        redirects((4, "debt")),
    ),
    rule("repay(address asset,uint256 amount,uint256 rateMode,address onBehalfOf)", spends(0, 1, (3, "repayment"))),
    rule("repayWithATokens(address asset,uint256 amount,uint256 rateMode)", nothing),
    rule("setUserUseReserveAsCollateral(address asset,bool use)", nothing),
    rule("setUserEMode(uint8 category)", nothing),
    rule("depositETH(address pool,address onBehalfOf,uint16 code)", redirects((1, "deposit"))),
    rule("withdrawETH(address pool,uint256 amount,address to)", redirects((2, _OUT))),
    rule("borrowETH(address pool,uint256 amount,uint16 code)", nothing),
    rule("repayETH(address pool,uint256 amount,address onBehalfOf)", redirects((2, "repayment"))),
)

_COMET: Final[tuple[CallRule, ...]] = (
    rule("supply(address asset,uint256 amount)", spends(0, 1)),
    rule("supplyTo(address dst,address asset,uint256 amount)", spends(1, 2, (0, "deposit"))),
    rule("supplyFrom(address from,address dst,address asset,uint256 amount)", _supply_from),
    rule("withdraw(address asset,uint256 amount)", nothing),
    rule("withdrawTo(address to,address asset,uint256 amount)", redirects((0, _OUT))),
    rule(
        "withdrawFrom(address src,address to,address asset,uint256 amount)",
        redirects((0, "position that pays"), (1, _OUT)),
    ),
    rule("transferAsset(address dst,address asset,uint256 amount)", _transfer_asset),
)

_MORPHO: Final[tuple[CallRule, ...]] = (
    rule(f"supply({_MARKET},{_AMOUNTS},address onBehalf,bytes data)", _morpho(pays=0, trusts=(1, 2))),
    rule(f"repay({_MARKET},{_AMOUNTS},address onBehalf,bytes data)", _morpho(pays=0)),
    rule(f"supplyCollateral({_MARKET},uint256 assets,address onBehalf,bytes data)", _morpho(pays=1, trusts=(2,))),
    rule(f"withdraw({_MARKET},{_AMOUNTS},address onBehalf,address receiver)", _morpho_out),
    rule(f"borrow({_MARKET},{_AMOUNTS},address onBehalf,address receiver)", _morpho_out),
    rule(f"withdrawCollateral({_MARKET},uint256 assets,address onBehalf,address receiver)", _morpho_out),
    rule(
        "setAuthorizationWithSig((address authorizer,address authorized,bool isAuthorized,uint256 nonce,"
        "uint256 deadline) authorization,(uint8 v,bytes32 r,bytes32 s) signature)",
        _authorize,
    ),
)

_VAULTS: Final[tuple[CallRule, ...]] = (
    rule("deposit(uint256 assets,address receiver)", _vault_deposit),
    rule("mint(uint256 shares,address receiver)", _vault_mint),
    rule("withdraw(uint256 assets,address receiver,address owner)", _vault_withdraw),
    rule("redeem(uint256 shares,address receiver,address owner)", _vault_withdraw),
    rule("submit(address referral)", nothing),
    rule("wrap(uint256 amount)", _wrap),
    rule("unwrap(uint256 amount)", nothing),
    rule("transferShares(address recipient,uint256 shares)", _move_shares, at=(LIDO_STETH,)),
    rule("transferSharesFrom(address sender,address recipient,uint256 shares)", _move_shares, at=(LIDO_STETH,)),
    rule("requestWithdrawals(uint256[] amounts,address owner)", _request(_STETH), at=(LIDO_QUEUE,)),
    rule("requestWithdrawalsWstETH(uint256[] amounts,address owner)", _request(_WSTETH), at=(LIDO_QUEUE,)),
    rule("claimWithdrawal(uint256 requestId)", nothing, at=(LIDO_QUEUE,)),
    rule("claimWithdrawals(uint256[] ids,uint256[] hints)", nothing, at=(LIDO_QUEUE,)),
    rule("claimWithdrawalsTo(uint256[] ids,uint256[] hints,address recipient)", redirects((2, _OUT)), at=(LIDO_QUEUE,)),
)

_COMPOUND: Final[tuple[CallRule, ...]] = (
    rule("mint(uint256 amount)", _market_in),
    rule("repayBorrow(uint256 amount)", _market_in),
    rule("repayBorrowBehalf(address borrower,uint256 amount)", _repay_for),
    rule("redeem(uint256 shares)", nothing),
    rule("redeemUnderlying(uint256 amount)", nothing),
    rule("borrow(uint256 amount)", nothing),
)

CALLS: Final = (*_AAVE, *_COMET, *_MORPHO, *_VAULTS, *_COMPOUND)

TYPED: Final = (
    typed_rule(
        "Authorization(address authorizer,address authorized,bool isAuthorized,uint256 nonce,uint256 deadline)",
        _authorization,
        fields=CHAIN_AND_CONTRACT,
        at=(MORPHO,),
    ),
)

"""Bridges: CCTP, Across, the OP stack's standard bridge and portal, Arbitrum.

What leaves is a transfer to the bridge; who gets it on the other side is the question. CCTP and Across write
recipients as 32 bytes: on an EVM chain they must be a zero-padded address, and on any other chain nobody here can
tell whose they are. Across lets the sender name what comes out, so that must be the same token, and nearly as
much. A deposit through the OP portal is a call on the other chain in the wallet's own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from walletgate.effects.handlers import nothing, redirects, spends
from walletgate.effects.registry import Frame, Site, address, rule, token
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import ZERO_ADDRESS, Address, Asset, Effect, Receive

CCTP_EVM_DOMAINS: Final = frozenset((0, 1, 2, 3, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 26))
"""Circle's numbers of EVM chains; 4, 5, 8, 9 and others are Noble, Solana, Sui, Aptos and their like."""

PORTALS: Final[Mapping[tuple[int, Address], int]] = {
    (1, address("0x49048044D57e1C92A77f79988d21Fa8fAF74E97e")): 8453,
    (1, address("0xbEb5Fc579115071764c7423A4f12eDde41f106Ed")): 10,
}
SPOKE_POOLS: Final[Mapping[int, Address]] = {
    1: address("0x5c7BCd6E7De5423a257D81B442095A1a6ced35C5"),
    10: address("0x6f26Bf09B1C792e3228e5467807a900A503c0281"),
    137: address("0x9295ee1d8C5b022Be115A2AD3c30C72E34e7F096"),
    8453: address("0x09aea4b2242abC8bb4BB78D537A67a245A7bEC64"),
    42161: address("0xe35e9842fceaCA96570B734083f4a58e8F7C5f2A"),
}
"""Where Across takes deposits."""

_FEE_BIPS_MAX: Final = 100
_SPREAD_BIPS_MAX: Final = 500


def _family(rows: Mapping[int, str]) -> frozenset[Asset]:
    return frozenset(token(chain, address(text)) for chain, text in rows.items())


_FAMILIES: Final = (
    frozenset(token(chain, contract) for chain, contract in WRAPPED.items() if chain not in (56, 137)),
    _family(
        {
            1: "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
            10: "0x0b2C639c533813f4Aa9D7837CAf62653d097Ff85",
            137: "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359",
            8453: "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
            42161: "0xaf88d065e77c8cC2239327C5EDb3A432268e5831",
        }
    ),
    _family(
        {
            1: "0xdAC17F958D2ee523a2206206994597C13D831ec7",
            10: "0x94b008aA00579c1307B0EF2c499aD98a8ce58e58",
            137: "0xc2132D05D31c914a87C6611C10748AEb04B58e8F",
            42161: "0xFd086bC7CD5C481DCC9C85ebE478A1C0b69FCbb9",
        }
    ),
    _family(
        {
            1: "0x6B175474E89094C44Da98b954EedeAC495271d0F",
            10: "0xDA10009cBd5D07dd0CeCc66161FC93D7c9000da1",
            137: "0x8f3Cf7ad23Cd3CaDbD9735AFf958023239c6A063",
            8453: "0x50c5725949A6F0c72E6C4a641F24049A917DB0Cb",
            42161: "0xDA10009cBd5D07dd0CeCc66161FC93D7c9000da1",
        }
    ),
)
"""Wrapped ether, USDC, USDT and DAI on the chains where they are the same thing with the same decimals."""


def _padded(word: bytes) -> Address | None:
    return Address(word[12:]) if not any(word[:12]) else None


# --- CCTP ------------------------------------------------------------------------------------------


def _burn(frame: Frame) -> Iterator[Effect]:
    """amount, domain, mintRecipient, burnToken, then what the version adds."""
    amount, domain, recipient, asset, *rest = frame.args
    yield frame.spend(asset, amount)
    target = _padded(recipient)
    if domain not in CCTP_EVM_DOMAINS or target is None:
        yield frame.opaque("recipient_not_address", f"0x{recipient.hex()} on domain {domain} is no known address")
    else:
        yield frame.redirect(target, "bridged funds")
    if rest:
        yield from _burn_terms(frame, amount, rest)


def _burn_terms(frame: Frame, amount: int, rest: list[Any]) -> Iterator[Effect]:
    caller, *fees = rest
    sole = _padded(caller)
    if sole is None:
        yield frame.opaque("recipient_not_address", "the only caller on the other side is no address")
    elif sole != ZERO_ADDRESS:
        yield frame.redirect(sole, "alone may complete the transfer")
    if fees and fees[0] * 10_000 > amount * _FEE_BIPS_MAX:
        yield frame.opaque("bridge_fee", f"the bridge may keep {fees[0]} of {amount}")
    if len(fees) > 2:
        yield frame.opaque("bridge_message", "a hook runs on the other side")


# --- Across ----------------------------------------------------------------------------------------


class Deposit(NamedTuple):
    """What a deposit with Across says: who gets refunds, who the funds, and what goes in and comes out on `chain`."""

    depositor: Address
    recipient: Address
    sold: Address
    bought: Address
    amount: int
    output: int
    chain: int
    message: bytes


def _across(frame: Frame) -> Iterator[Effect]:
    *addresses, amount, output, chain, _, _, _, _, message = frame.args
    if isinstance(addresses[0], bytes) and len(addresses[0]) == 32:
        addresses = [_padded(each) for each in addresses]
        if None in addresses:
            yield frame.opaque("recipient_not_address", "a party on the other side is no EVM address")
            return
    depositor, recipient, sold, bought = addresses
    deposit = Deposit(depositor, recipient, sold, bought, amount, output, chain, message)
    if not (frame.value and deposit.sold == WRAPPED.get(frame.chain_id)):
        yield frame.spend(deposit.sold, amount)
    yield from across_effects(frame, deposit)


def across_effects(frame: Frame, deposit: Deposit, paid: tuple[Asset, int] | None = None) -> Iterator[Effect]:
    """Everything that a deposit does but for what it takes; `paid` is what was sold for the deposit before."""
    sold, amount, output = frame.asset(deposit.sold), deposit.amount, deposit.output
    asset = _same_token(sold, deposit.chain, deposit.bought)
    yield frame.redirect(deposit.depositor, "refunds of the bridge")
    if asset is None:
        yield frame.opaque("bridge_output_unknown", "what comes out is not known to be the same token")
    if output * 10_000 < amount * (10_000 - _SPREAD_BIPS_MAX):
        yield frame.opaque("bridge_fee", f"{amount} goes in and {output} comes out")
    yield Receive(asset, deposit.recipient, output, *(paid or (sold, amount)), path=frame.path)
    if deposit.message:
        yield frame.opaque("bridge_message", "the recipient is called with a message on the other side")


def _same_token(sold: Asset, chain: int, bought: Address) -> Asset | None:
    """The token on `chain` that is the same as `sold`, if `bought` is that or is left open (zero)."""
    for family in _FAMILIES:
        if sold in family:
            return next((a for a in family if a.chain_id == chain and bought in (a.address, ZERO_ADDRESS)), None)
    return None


# --- OP stack and Arbitrum -------------------------------------------------------------------------


def _portal(frame: Frame) -> Iterator[Effect]:
    to, value, _, creates, data = frame.args
    chain = PORTALS.get((frame.chain_id, frame.to))
    if chain is None or creates:
        yield frame.opaque("call_on_another_chain", "a transaction on another chain in the wallet's name")
        return
    yield from frame.walk.call(
        Site(chain, frame.sender, to, value, data, frame.step("depositTransaction"), frame.depth + 1)
    )


_CCTP: Final = "uint256 amount,uint32 domain,bytes32 mintRecipient,address burnToken"
_V2: Final = f"{_CCTP},bytes32 destinationCaller,uint256 maxFee,uint32 minFinality"
_TERMS: Final = (
    "uint256 inputAmount,uint256 outputAmount,uint256 destinationChainId,{0} exclusiveRelayer,uint32 quoteTimestamp,"
    "uint32 fillDeadline,uint32 exclusivityDeadline,bytes message"
)
_PARTIES: Final = "{0} depositor,{0} recipient,{0} inputToken,{0} outputToken"
_TAIL: Final = "uint32 gas,bytes data"
_REMOTE: Final = (1, "what stands for the funds on the other side")
"""Whoever made that token can turn it back into what was deposited, for themselves."""

CALLS: Final = (
    rule(f"depositForBurn({_CCTP})", _burn),
    rule(f"depositForBurnWithCaller({_CCTP},bytes32 destinationCaller)", _burn),
    rule(f"depositForBurn({_V2})", _burn),
    rule(f"depositForBurnWithHook({_V2},bytes hookData)", _burn),
    rule(f"depositV3({_PARTIES.format('address')},{_TERMS.format('address')})", _across),
    rule(f"deposit({_PARTIES.format('bytes32')},{_TERMS.format('bytes32')})", _across),
    rule(f"depositETH({_TAIL})", nothing),
    rule(f"bridgeETH({_TAIL})", nothing),
    rule(f"depositETHTo(address to,{_TAIL})", redirects((0, "bridged funds"))),
    rule(f"bridgeETHTo(address to,{_TAIL})", redirects((0, "bridged funds"))),
    rule(f"depositERC20(address local,address remote,uint256 amount,{_TAIL})", spends(0, 2, _REMOTE)),
    rule(f"bridgeERC20(address local,address remote,uint256 amount,{_TAIL})", spends(0, 2, _REMOTE)),
    rule(
        f"depositERC20To(address local,address remote,address to,uint256 amount,{_TAIL})",
        spends(0, 3, _REMOTE, (2, "bridged funds")),
    ),
    rule(
        f"bridgeERC20To(address local,address remote,address to,uint256 amount,{_TAIL})",
        spends(0, 3, _REMOTE, (2, "bridged funds")),
    ),
    rule(f"withdraw(address token,uint256 amount,{_TAIL})", spends(0, 1)),
    rule(f"withdrawTo(address token,address to,uint256 amount,{_TAIL})", spends(0, 2, (1, "bridged funds"))),
    rule("depositTransaction(address to,uint256 value,uint64 gas,bool creates,bytes data)", _portal),
    rule("depositEth()", nothing),
    rule(
        "outboundTransfer(address token,address to,uint256 amount,uint256 maxGas,uint256 gasPrice,bytes data)",
        spends(0, 2, (1, "bridged funds")),
    ),
)

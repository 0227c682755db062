"""Curve: its pools' own `exchange`, and the router that strings pools together.

The router's call names every token of its route, pulls the first and checks that enough of the last arrives, so
the pools between need not be known. A pool's call names coins by index instead: which token index 1 is, only the
pool knows. So pools are read where they stand in a table here, checked against each pool's `coins(i)`, and any
other pool's exchange is opaque (`asset_not_named`). Curve writes 0xEeee…eE for the native coin, and pays the caller
where the call has no receiver. None of these calls has a deadline.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from walletgate.effects.registry import Frame, address, rule
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import NATIVE, ZERO_ADDRESS, Address, Effect, Receive

_DAI: Final = address("0x6B175474E89094C44Da98b954EedeAC495271d0F")
_USDC: Final = address("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")
_USDT: Final = address("0xdAC17F958D2ee523a2206206994597C13D831ec7")
_CRVUSD: Final = address("0xf939E0A03FB07F59A73314E73794Be0E57ac1b4E")
_STETH: Final = address("0xae7ab96520DE3A18E5e111B5EaAb095312D7fE84")
_WBTC: Final = address("0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599")
_WETH: Final = WRAPPED[1]

COINS: Final[Mapping[tuple[int, Address], tuple[Address, ...]]] = {
    (1, address("0xbEbc44782C7dB0a1A60Cb6fe97d0b483032FF1C7")): (_DAI, _USDC, _USDT),
    (1, address("0xDC24316b9AE028F1497c275EB9192a3Ea0f67022")): (NATIVE, _STETH),
    (1, address("0x4DEcE678ceceb27446b35C672dC7d61F30bAD69E")): (_USDC, _CRVUSD),
    (1, address("0x390f3595bCa2Df7d23783dFd126427CCeb997BF4")): (_USDT, _CRVUSD),
    (1, address("0xD51a44d3FaE010294C616388b506AcdA1bfAAE46")): (_USDT, _WBTC, _WETH),
    (1, address("0x7F86Bf177Dd4F3494b841a37e810A34dD56c829B")): (_USDC, _WBTC, _WETH),
    (1, address("0xf5f5B97624542D72A9E06f04804Bf81baA15e2B4")): (_USDT, _WBTC, _WETH),
}
"""3pool, stETH, the two main crvUSD pools and the three tricrypto pools of Ethereum, coins by index."""


def _exchange(frame: Frame) -> Iterator[Effect]:
    """i, j, what is sold, the least that is bought; then whether wrapped ether means ether, and a receiver."""
    sold_at, bought_at, amount, minimum, *rest = frame.args
    coins = COINS.get((frame.chain_id, frame.to))
    if coins is None:
        yield frame.opaque("asset_not_named", "the call names the pool's coins by index, and the pool is not known")
        return
    if not (0 <= sold_at < len(coins) and 0 <= bought_at < len(coins)) or sold_at == bought_at:
        yield frame.opaque("malformed_path", "the pool has no such coins")
        return
    in_ether = True in rest
    receiver = next((Address(each) for each in rest if isinstance(each, bytes)), frame.sender)
    sold, bought = (_coin(coins[at], in_ether=in_ether) for at in (sold_at, bought_at))
    yield from _swap(frame, Exchange(sold, bought, receiver, amount, minimum))


def _coin(coin: Address, *, in_ether: bool) -> Address:
    return NATIVE if in_ether and coin == _WETH else coin


class Exchange(NamedTuple):
    """One exchange, its tokens by address."""

    sold: Address
    bought: Address
    receiver: Address
    amount: int
    minimum: int


def _swap(frame: Frame, exchange: Exchange) -> Iterator[Effect]:
    """Ether is in the call's value, which pool and router demand to be exactly the amount."""
    amount = frame.value if exchange.sold == NATIVE else exchange.amount
    if exchange.sold != NATIVE:
        yield frame.spend(exchange.sold, amount)
    sold, bought = frame.asset(exchange.sold), frame.asset(exchange.bought)
    yield Receive(bought, exchange.receiver, exchange.minimum, sold, amount, path=frame.path)


def _route(frame: Frame) -> Iterator[Effect]:
    """Token, pool, token, pool, …, token: up to the first pool that is zero. What comes last may be the receiver."""
    route, _, amount, minimum, *rest = frame.args
    receiver = Address(rest[-1]) if rest and isinstance(rest[-1], bytes) else frame.sender
    hops = next((hop for hop in range(1, 5) if route[2 * hop + 1] == ZERO_ADDRESS), 5)
    named, unused = route[: 2 * hops + 1], route[2 * hops + 1 :]
    if ZERO_ADDRESS in named or any(each != ZERO_ADDRESS for each in unused):
        yield frame.opaque("malformed_path", "the route does not lead from one token to another")
        return
    yield from _swap(frame, Exchange(named[0], named[-1], receiver, amount, minimum))


_ROUTE: Final = "exchange(address[11] route,uint256[{0}][5] params,uint256 amount,uint256 minimum"

CALLS: Final = (
    rule(f"{_ROUTE.format(5)})", _route),
    rule(f"{_ROUTE.format(5)},address[5] pools)", _route),
    rule(f"{_ROUTE.format(5)},address[5] pools,address receiver)", _route),
    rule(f"{_ROUTE.format(4)})", _route),
    rule(f"{_ROUTE.format(4)},address receiver)", _route),
    rule("exchange(int128 i,int128 j,uint256 dx,uint256 minimum)", _exchange),
    rule("exchange(int128 i,int128 j,uint256 dx,uint256 minimum,address receiver)", _exchange),
    rule("exchange(uint256 i,uint256 j,uint256 dx,uint256 minimum)", _exchange),
    rule("exchange(uint256 i,uint256 j,uint256 dx,uint256 minimum,address receiver)", _exchange),
    rule("exchange(uint256 i,uint256 j,uint256 dx,uint256 minimum,bool ether)", _exchange),
    rule("exchange(uint256 i,uint256 j,uint256 dx,uint256 minimum,bool ether,address receiver)", _exchange),
)

"""Facts beside a request that its policy's judgement rests on; nothing is fetched that the policy does not need.

A fact that cannot be had is left out, and a missing fact denies: the judge never sees a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from walletgate.chain import Chain, NodeRefusedError
from walletgate.encoding import checksum_address
from walletgate.errors import ChainError
from walletgate.gate.prices import PriceSource
from walletgate.gate.simulate import simulate
from walletgate.gate.state import State
from walletgate.policy import Facts, Need, Policy
from walletgate.store import Store
from walletgate.types import NATIVE, Address, Allowance, Asset, Effect, Payload, Transaction

_BALANCE_OF = "0x70a08231"
_ALLOWANCE = "0xdd62ed3e"


async def gather(
    policy: Policy, payload: Payload, effects: Iterable[Effect], *, wallet: Address, chain: Chain, store: Store,
    prices: PriceSource,
) -> Facts:  # fmt: skip
    """What is known of what `policy` needs."""
    balances: dict[Asset, int] = {}
    allowances: dict[tuple[Asset, Address, Address], int] = {}
    if Need.BALANCES in policy.needs:
        balances = await balances_of(policy, wallet, chain)
    if Need.ALLOWANCES in policy.needs:
        for effect in effects:
            if isinstance(effect, Allowance) and effect.added:
                amount = await _allowance(chain, effect)
                if amount is not None:
                    allowances[(effect.asset, effect.owner, effect.spender)] = amount
    simulation = None
    if Need.SIMULATION in policy.needs and isinstance(payload, Transaction):
        own = policy.terms.accounts | {wallet}
        simulation = await simulate(chain, payload, own=own, allowance=_allowance)
    return Facts(
        balances=balances,
        prices=await prices.known(policy, chain.chain_id) if Need.PRICES in policy.needs else {},
        allowances=allowances,
        first_seen_ms=store.first_seen_ms(wallet) if Need.FIRST_SEEN in policy.needs else None,
        gas=payload.gas if isinstance(payload, Transaction) else None,
        simulation=simulation,
    )


async def balances_of(policy: Policy, wallet: Address, chain: Chain) -> dict[Asset, int]:
    """What `wallet` holds on `chain` of the assets that `policy` limits by a share of it, as far as it is known."""
    shared = {limit.asset for limit in policy.terms.limits if limit.share_bips is not None}
    held = {}
    for asset in policy.decimals:
        if asset in shared and asset.chain_id == chain.chain_id:
            amount = await _balance(chain, wallet, asset)
            if amount is not None:
                held[asset] = amount
    return held


async def _balance(chain: Chain, wallet: Address, asset: Asset) -> int | None:
    if asset.address == NATIVE:
        try:
            return await chain.balance(wallet)
        except (ChainError, NodeRefusedError):
            return None
    return await _word(chain, asset.address, _BALANCE_OF + _pad(wallet))


async def _allowance(chain: Chain, effect: Allowance) -> int | None:
    return await _word(chain, effect.asset.address, _ALLOWANCE + _pad(effect.owner) + _pad(effect.spender))


async def _word(chain: Chain, to: Address, data: str) -> int | None:
    """One uint256 from a read of a contract; None for anything else."""
    try:
        answer = await chain.forward("eth_call", ({"to": checksum_address(to), "data": data}, "latest"))
    except (ChainError, NodeRefusedError):
        return None
    if not isinstance(answer, str) or len(answer) != 66 or not answer.startswith("0x"):
        return None
    try:
        return int(answer, 16)
    except ValueError:
        return None


def _pad(address: Address) -> str:
    return address.hex().rjust(64, "0")


def with_pending(facts: Facts, state: State, *, but: str = "") -> Facts:
    """The same facts with the allowances of requests that still move on top; `but` is the request itself."""
    if not facts.allowances:
        return facts
    raised = {key: amount + state.pending_allowance(key, but=but) for key, amount in facts.allowances.items()}
    return replace(facts, allowances=raised)

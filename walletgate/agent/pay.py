"""A payment in words as a transaction: whom and what by the names the policy gives them, the amount exact.

Contracts, decimals and payees come from the policy that is in force, through the gate, and what was meant goes along
as `expect`, so that the gate holds the transaction against the words it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass

from walletgate.agent.amounts import asset_named, payee_named, split_amount, to_units
from walletgate.agent.answers import PolicyView
from walletgate.agent.errors import make
from walletgate.errors import InvalidRequestError
from walletgate.types import CHAINS


@dataclass(frozen=True, slots=True)
class PaymentPlan:
    """A transaction as the agent API takes it, and what is meant by it."""

    payload: dict[str, str]
    expect: dict[str, str]


def plan_payment(policy: PolicyView, to: str, amount: str, chain: str | int | None = None) -> PaymentPlan:
    """What pays `amount` (`5 USDC`) to `to` (a name of the policy's, or an address).

    Raises:
        InvalidRequestError: `bad_amount`, `asset_unknown`, `payee_unknown`, `payee_unclear`, `chain_unclear`,
            `wrong_chain`.
    """
    number, name = split_amount(amount)
    asset = asset_named(policy, name, _chain_id(policy, chain))
    units = to_units(number, asset)
    recipient = payee_named(policy, to, asset.chain_id)
    expect = {"asset": asset.name, "amount": number, "recipient": recipient}
    chain_id = hex(asset.chain_id)
    if asset.address is None:
        return PaymentPlan({"chainId": chain_id, "to": recipient, "value": hex(units)}, expect)
    # ERC-20 transfer(address,uint256)
    data = f"0xa9059cbb{recipient[2:].lower():0>64}{units:064x}"
    return PaymentPlan({"chainId": chain_id, "to": asset.address, "data": data}, expect)


def _chain_id(policy: PolicyView, chain: str | int | None) -> int | None:
    if chain is None:
        return None
    known = CHAINS.get(chain) if isinstance(chain, str) else (chain, "")
    if known is None or known[0] not in policy.chain_ids:
        raise make(InvalidRequestError, f"the policy is not for the chain {chain!r}", code="wrong_chain")
    return known[0]

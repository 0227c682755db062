"""A node's run of the transaction as further evidence: it may add a denial, and nothing else.

Here and not beside the decoder, because the comparison needs what only the judge has: which addresses are the
wallet's own, the policy's names, and all effects together. The reading of logs is the decoder's (`effects.simulated`).

Where a policy says `simulate = "required"`, whatever the run takes from the wallet must be accounted for by what was
read:

    outflows      of each asset no more to a payee than is paid to it, also by a contract that passes it on; what goes
                  anywhere else, such as to a router's pools, no more than permitted calls take; so the sum is never
                  more than what limits counted
    allowances    no larger than was read, or than it was before (tokens say what is left of one when it is used)
    tokens by id  no other, no more, and to nobody else unless a contract takes them; no operator that was not read

What was read and did not happen is no disagreement: a swap takes at most its maximum. Transactions alone are run: a
signature does nothing by itself, and typed data is judged by reading. Whatever else cannot be run (a batch, an
EIP-7702 tuple on its own) is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from walletgate.encoding import printable
from walletgate.policy.case import Simulation
from walletgate.policy.naming import address_name, amount_text, asset_name
from walletgate.policy.state import Judging
from walletgate.types import (
    NATIVE,
    ZERO_ADDRESS,
    Address,
    Allowance,
    Asset,
    Deployment,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Reason,
    Transfer,
)

SIGNATURES: Final = frozenset(
    {"eth_sign", "eth_signTypedData", "eth_signTypedData_v3", "eth_signTypedData_v4", "personal_sign"}
)
"""Methods that run nothing."""

_CODE: Final = "simulation_disagrees"
_REVERT_LENGTH_MAX: Final = 200

Pair = tuple[Asset, Address, Address]
Payment = tuple[Asset, Address]


def check_evidence(state: Judging) -> None:
    """Denies where the policy requires a simulation and it failed, reverted or found more than was read."""
    if not state.policy.terms.simulate or state.case.method in SIGNATURES:
        return
    run = state.case.facts.simulation
    if run is None:
        state.denials.append(Reason("simulation_failed", "the policy requires a simulation, and there is none"))
        return
    if run.reverted is not None:
        text = f"the transaction would fail: {printable(run.reverted, length_max=_REVERT_LENGTH_MAX)}"
        state.denials.append(Reason("would_revert", text))
        return
    state.denials += [*_outflows(state, run), *_allowances(state, run), *_tokens(state, run), *_powers(state, run)]


def _outflows(state: Judging, run: Simulation) -> Iterator[Reason]:
    """Fungible assets: what each payee gets beyond its payments must fit into what permitted calls take."""
    paid, routed = _read_payments(state)
    beyond: dict[Asset, dict[Address, int]] = defaultdict(dict)
    for (asset, recipient), amount in _beyond_payments(state, run, paid).items():
        if amount:
            beyond[asset][recipient] = amount
    for asset, rests in beyond.items():
        total, bound = sum(rests.values()), routed.get(asset, 0)
        if total > bound:
            ends = ", ".join(sorted(address_name(state.policy, end) for end in rests))
            ran_text, read_text = (amount_text(state.policy, asset, n) for n in (total, bound))
            text = f"running it takes {ran_text} to {ends} beyond its payments; {read_text} was read"
            yield Reason(_CODE, text, None, total, bound, asset_name(state.policy, asset))


def _read_payments(state: Judging) -> tuple[dict[Payment, int], dict[Asset, int]]:
    """What was read: payments by payee, and what permitted calls take."""
    paid: dict[Payment, int] = defaultdict(int)
    routed: dict[Asset, int] = defaultdict(int)
    for effect in state.case.effects:
        match effect:
            case Transfer(via=None) if effect.sender in state.own:
                paid[effect.asset, effect.recipient] += effect.amount
            case Transfer() if effect.sender in state.own:
                routed[effect.asset] += effect.amount
            case Deployment():
                routed[Asset(effect.chain_id, NATIVE)] += effect.value
            case _:
                pass
    return paid, routed


def _beyond_payments(state: Judging, run: Simulation, paid: dict[Payment, int]) -> dict[Payment, int]:
    """What each recipient gets in the run that is neither its own payment nor passed on to payees."""
    ran: dict[Payment, int] = defaultdict(int)
    moves = [effect for effect in run.effects if isinstance(effect, Transfer)]
    for move in moves:
        if move.sender in state.own and move.recipient not in state.own:
            ran[move.asset, move.recipient] += move.amount
    left = {key: max(0, amount - ran.get(key, 0)) for key, amount in paid.items()}
    rest = {key: max(0, amount - paid.get(key, 0)) for key, amount in ran.items()}
    for move in moves:
        passed, payee = (move.asset, move.sender), (move.asset, move.recipient)
        used = min(move.amount, rest.get(passed, 0), left.get(payee, 0))
        if used:
            rest[passed] -= used
            left[payee] -= used
    return rest


def _allowances(state: Judging, run: Simulation) -> Iterator[Reason]:
    most: dict[Pair, int] = dict(run.before)
    for effect in state.case.effects:
        if isinstance(effect, Allowance):
            key = (effect.asset, effect.owner, effect.spender)
            before = most.get(key, 0)
            most[key] = before + effect.amount if effect.added else max(before, effect.amount)
    for effect in run.effects:
        if not isinstance(effect, Allowance) or effect.owner not in state.own or effect.spender in state.own:
            continue
        bound = most.get((effect.asset, effect.owner, effect.spender), 0)
        if effect.amount > bound:
            ran_text, read_text = (amount_text(state.policy, effect.asset, n) for n in (effect.amount, bound))
            text = f"running it lets {address_name(state.policy, effect.spender)} have {ran_text}; {read_text} was read"
            yield Reason(_CODE, text, None, effect.amount, bound, asset_name(state.policy, effect.asset))


def _tokens(state: Judging, run: Simulation) -> Iterator[Reason]:
    """Tokens by id: to a payee as read, or to anybody where a contract was to take them."""
    paid: dict[tuple[Asset, int, Address], int] = defaultdict(int)
    routed: dict[tuple[Asset, int], int] = defaultdict(int)
    for effect in state.case.effects:
        if isinstance(effect, NftTransfer) and effect.sender in state.own:
            if effect.via is None:
                paid[effect.collection, effect.token_id, effect.recipient] += effect.amount
            else:
                routed[effect.collection, effect.token_id] += effect.amount
    for effect in run.effects:
        if not isinstance(effect, NftTransfer) or effect.sender not in state.own or effect.recipient in state.own:
            continue
        key, one = (effect.collection, effect.token_id, effect.recipient), (effect.collection, effect.token_id)
        bound = paid[key] + routed[one]
        if effect.amount > bound:
            where = asset_name(state.policy, effect.collection)
            text = f"running it takes token {effect.token_id} of {where}, which was not read"
            yield Reason(_CODE, text, None, effect.amount, bound, "tokens")
            continue
        rest = max(0, effect.amount - paid[key])
        paid[key] -= effect.amount - rest
        routed[one] -= rest


def _powers(state: Judging, run: Simulation) -> Iterator[Reason]:
    """Operators of a whole collection or of one token."""
    read = {
        (effect.contract, None, effect.operator) if isinstance(effect, OperatorApproval)
        else (effect.collection, effect.token_id, effect.spender)
        for effect in state.case.effects
        if isinstance(effect, NftApproval) or (isinstance(effect, OperatorApproval) and effect.approved)
    }  # fmt: skip
    key: tuple[Asset, int | None, Address]
    for effect in run.effects:
        match effect:
            case OperatorApproval(approved=True):
                owner, key = effect.owner, (effect.contract, None, effect.operator)
            case NftApproval() if effect.spender != ZERO_ADDRESS:
                owner, key = effect.owner, (effect.collection, effect.token_id, effect.spender)
            case _:
                continue
        if owner in state.own and key[2] not in state.own and key not in read:
            where = asset_name(state.policy, key[0])
            text = f"running it lets {address_name(state.policy, key[2])} operate {where}, which was not read"
            yield Reason(_CODE, text, None, 1, 0, "operators")

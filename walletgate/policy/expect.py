"""What the agent said it would do, against what the request would do: the unit error caught at its source.

Everything that leaves the wallet is compared, allowances and the value of new contracts too: one asset, one
recipient, exactly one total, and no token of a collection or power beside it. A difference is refused whatever
the policy says, because one of the two is a mistake and nobody knows which.
"""

from __future__ import annotations

from walletgate.encoding import printable
from walletgate.policy.amounts import AmountError, parse_amount
from walletgate.policy.naming import address_name, amount_text, asset_name
from walletgate.policy.state import Judging
from walletgate.types import (
    NATIVE,
    ZERO_ADDRESS,
    Address,
    AdminChange,
    Allowance,
    Asset,
    Delegation,
    Deployment,
    Effect,
    Expectation,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Reason,
    Transfer,
)

Outflow = tuple[Asset, int, Address]


def check_expectation(state: Judging) -> None:
    """Denies where the effects differ from the expectation, or where the policy demands one and there is none."""
    expect = state.case.expect
    if expect is None and not state.policy.terms.require_expect:
        return
    outflows = [each for each in map(_outflow, state.case.effects) if each is not None]
    if expect is None or (expect.asset is None and expect.amount is None and expect.recipient is None):
        if state.policy.terms.require_expect and outflows:
            _deny(state, "expect_required", "the policy demands that the agent says what it expects")
        return
    if state.policy.terms.require_expect and outflows and (expect.asset is None or expect.amount is None):
        _deny(state, "expect_required", "the policy demands an expected asset and amount")
    _compare(state, expect, outflows)


def _outflow(effect: Effect) -> Outflow | None:
    match effect:
        case Transfer():
            return effect.asset, effect.amount, effect.recipient
        case Allowance() if effect.amount or effect.added:
            return effect.asset, effect.amount, effect.spender
        case Deployment() if effect.value:
            return Asset(effect.chain_id, NATIVE), effect.value, ZERO_ADDRESS
        case _:
            return None


def _is_power(effect: Effect) -> bool:
    """Something of value that no expected asset or amount describes."""
    match effect:
        case NftTransfer() | Delegation() | AdminChange():
            return True
        case NftApproval():
            return effect.spender != ZERO_ADDRESS
        case OperatorApproval():
            return effect.approved
        case _:
            return False


def _compare(state: Judging, expect: Expectation, outflows: list[Outflow]) -> None:
    policy = state.policy
    if any(map(_is_power, state.case.effects)):
        _deny(state, "expect_other", "something other than an amount of an asset leaves the wallet")
    assets = frozenset(asset for asset, _, _ in outflows)
    if expect.asset is not None:
        named = policy.assets.get(expect.asset)
        if named is None:
            _deny(state, "expect_unknown_asset", f"the policy has no asset {printable(expect.asset)}")
            return
        expected = frozenset(asset for asset in named if asset.chain_id == state.case.chain_id)
        if not assets or not assets <= expected:
            found = ", ".join(sorted(asset_name(policy, asset) for asset in assets)) or "nothing"
            _deny(state, "expect_asset", f"the agent expects {printable(expect.asset)} to leave, but it is {found}")
            return
        assets = expected
    if expect.recipient is not None:
        _compare_recipient(state, expect.recipient, outflows)
    if expect.amount is not None:
        _compare_amount(state, expect.amount, assets, outflows)


def _compare_recipient(state: Judging, recipient: Address, outflows: list[Outflow]) -> None:
    found = frozenset(end for _, _, end in outflows)
    if found == {recipient}:
        return
    names = ", ".join(sorted(address_name(state.policy, end) for end in found)) or "nobody"
    text = f"the agent expects to pay {address_name(state.policy, recipient)}, but it is {names}"
    _deny(state, "expect_recipient", text)


def _compare_amount(state: Judging, text: str, assets: frozenset[Asset], outflows: list[Outflow]) -> None:
    policy = state.policy
    if len(assets) != 1:
        _deny(state, "expect_asset", "the agent expects an amount, but not of one asset")
        return
    asset = next(iter(assets))
    decimals = policy.decimals.get(asset)
    if decimals is None:
        _deny(state, "expect_unknown_asset", f"{asset_name(policy, asset)} is not in the policy")
        return
    try:
        expected = parse_amount(text, decimals)
    except AmountError as error:
        _deny(state, "expect_invalid", f"the expected amount {printable(text, length_max=80)} {error}")
        return
    total = sum(amount for _, amount, _ in outflows)
    if total != expected:
        say = f"the agent expects {amount_text(policy, asset, expected)}, but it is {amount_text(policy, asset, total)}"
        state.denials.append(Reason("expect_amount", say, None, total, expected, asset_name(policy, asset)))


def _deny(state: Judging, code: str, text: str) -> None:
    state.denials.append(Reason(code, text))

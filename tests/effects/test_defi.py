"""Lending, vaults, bridges, names and power: whom each value-routing argument favours."""

import pytest

from walletgate.effects.bridges import PORTALS
from walletgate.effects.delegations import SPEND_PERMISSION_MANAGER
from walletgate.effects.delegations import TYPED as DELEGATIONS
from walletgate.effects.lending import LIDO_QUEUE, LIDO_STETH, MORPHO
from walletgate.effects.lending import TYPED as MARKETS
from walletgate.effects.registry import address
from walletgate.effects.signing import CHAIN_AND_CONTRACT
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    AdminChange,
    Allowance,
    Asset,
    Call,
    Delegation,
    OperatorApproval,
    Receive,
    Redirect,
    Transfer,
)

POOL, TOKEN, OTHER, PAYEE = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20, b"\x44" * 20
DAI, SDAI = address("0x6B175474E89094C44Da98b954EedeAC495271d0F"), address("0x83F20F44975D03b1b09e64809B757c47f942BEeA")
MARKET = (TOKEN, OTHER, POOL, POOL, 5)
M = "(address,address,address,address,uint256)"
NODE = b"\x09" * 32
NOW = 1_767_225_600


def leaves(found):
    return [e for e in found if not isinstance(e, Call)]


def spent(found):
    return [(e.asset.address, e.sender, e.amount) for e in found if isinstance(e, Transfer)]


def routed(found):
    return [e.recipient for e in found if isinstance(e, Redirect)]


@pytest.mark.parametrize(
    ("signature", "values", "amounts", "recipients"),
    [
        ("supply(address,uint256,address,uint16)", (TOKEN, 7, OTHER, 0), [7], [OTHER]),
        ("deposit(address,uint256,address,uint16)", (TOKEN, 7, OTHER, 0), [7], [OTHER]),
        ("withdraw(address,uint256,address)", (TOKEN, UINT256_MAX, OTHER), [], [OTHER]),
        ("borrow(address,uint256,uint256,uint16,address)", (TOKEN, 7, 2, 0, OTHER), [], [OTHER]),
        ("repay(address,uint256,uint256,address)", (TOKEN, 7, 2, OTHER), [7], [OTHER]),
        ("depositETH(address,address,uint16)", (TOKEN, OTHER, 0), [], [OTHER]),
        ("withdrawETH(address,uint256,address)", (TOKEN, 7, OTHER), [], [OTHER]),
        ("supply(address,uint256)", (TOKEN, 7), [7], []),
        ("supplyTo(address,address,uint256)", (OTHER, TOKEN, 7), [7], [OTHER]),
        ("withdraw(address,uint256)", (TOKEN, 7), [], []),
        ("withdrawTo(address,address,uint256)", (OTHER, TOKEN, 7), [], [OTHER]),
        ("withdrawFrom(address,address,address,uint256)", (PAYEE, OTHER, TOKEN, 7), [], [PAYEE, OTHER]),
        (f"supply({M},uint256,uint256,address,bytes)", (MARKET, 7, 0, PAYEE, b""), [7], [PAYEE, OTHER, POOL]),
        (f"repay({M},uint256,uint256,address,bytes)", (MARKET, 7, 0, OTHER, b""), [7], [OTHER]),
        (f"withdraw({M},uint256,uint256,address,address)", (MARKET, 7, 0, PAYEE, OTHER), [], [PAYEE, OTHER]),
        (f"borrow({M},uint256,uint256,address,address)", (MARKET, 7, 0, PAYEE, OTHER), [], [PAYEE, OTHER]),
        (f"withdrawCollateral({M},uint256,address,address)", (MARKET, 7, PAYEE, OTHER), [], [PAYEE, OTHER]),
        ("redeem(uint256,address,address)", (7, OTHER, PAYEE), [], [OTHER, PAYEE]),
        ("depositERC20(address,address,uint256,uint32,bytes)", (TOKEN, PAYEE, 7, 0, b""), [7], [PAYEE]),
        ("depositERC20To(address,address,address,uint256,uint32,bytes)", (TOKEN, PAYEE, OTHER, 7, 0, b""), [7], [PAYEE, OTHER]),
        ("withdrawTo(address,address,uint256,uint32,bytes)", (TOKEN, OTHER, 7, 0, b""), [7], [OTHER]),
        ("depositETHTo(address,uint32,bytes)", (OTHER, 0, b""), [], [OTHER]),
        ("depositETH(uint32,bytes)", (0, b""), [], []),
        ("depositForBurn(uint256,uint32,bytes32,address)", (7, 6, bytes(12) + OTHER, TOKEN), [7], [OTHER]),
        ("setAddr(bytes32,address)", (NODE, OTHER), [], [OTHER]),
        ("setAddr(bytes32,uint256,bytes)", (NODE, 60, OTHER), [], [OTHER]),
        ("setText(bytes32,string,string)", (NODE, "url", "x"), [], []),
        ("renew(string,uint256)", ("name", 5), [], []),
    ],
)  # fmt: skip
def test_what_goes_in_and_whom_it_favours(effects, call, wallet, codes, signature, values, amounts, recipients):
    found = effects(POOL, call(signature, *values))
    assert isinstance(found[0], Call)
    assert found[0].signature == signature
    assert spent(found) == [(TOKEN, wallet, amount) for amount in amounts]
    assert routed(found) == recipients
    assert codes(found) == []


def test_collateral_of_a_morpho_market_is_its_other_token(effects, call, wallet):
    supply = f"supplyCollateral({M},uint256,address,bytes)"
    assert spent(effects(POOL, call(supply, MARKET, 7, wallet, b""))) == [(OTHER, wallet, 7)]


@pytest.mark.parametrize(
    ("signature", "values", "code"),
    [
        (f"supply({M},uint256,uint256,address,bytes)", (MARKET, 0, 7, OTHER, b""), "amount_not_named"),
        (f"supply({M},uint256,uint256,address,bytes)", (MARKET, 7, 0, OTHER, b"x"), "callback"),
        ("deposit(uint256,address)", (7, OTHER), "asset_not_named"),
        ("wrap(uint256)", (7,), "asset_not_named"),
        ("mint(uint256,address)", (7, OTHER), "amount_not_named"),
        ("depositForBurn(uint256,uint32,bytes32,address)", (7, 5, b"\1" * 32, TOKEN), "recipient_not_address"),
        ("depositForBurn(uint256,uint32,bytes32,address)", (7, 5, bytes(12) + OTHER, TOKEN), "recipient_not_address"),
        ("depositForBurn(uint256,uint32,bytes32,address)", (7, 6, b"\1" * 32, TOKEN), "recipient_not_address"),
        ("depositForBurn(uint256,uint32,bytes32,address,bytes32,uint256,uint32)", (1000, 6, bytes(12) + OTHER, TOKEN, bytes(32), 11, 0), "bridge_fee"),
        ("depositForBurnWithHook(uint256,uint32,bytes32,address,bytes32,uint256,uint32,bytes)", (1000, 6, bytes(12) + OTHER, TOKEN, bytes(32), 10, 0, b"x"), "bridge_message"),
        ("depositForBurnWithCaller(uint256,uint32,bytes32,address,bytes32)", (7, 6, bytes(12) + OTHER, TOKEN, b"\1" * 32), "recipient_not_address"),
        ("setAddr(bytes32,uint256,bytes)", (NODE, 0, b"\1" * 25), "recipient_not_address"),
        ("depositTransaction(address,uint256,uint64,bool,bytes)", (OTHER, 7, 0, False, b""), "call_on_another_chain"),
        ("upgradeToAndCall(address,bytes)", (OTHER, b"x"), "delegatecall"),
        ("setPreSignature(bytes,bool)", (b"uid", True), "blind_hash"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_or_recognised_is_opaque(effects, call, codes, signature, values, code):
    assert codes(effects(POOL, call(signature, *values))) == [code]


def test_comet_moves_for_others(effects, call, wallet):
    found = effects(POOL, call("supplyFrom(address,address,address,uint256)", PAYEE, OTHER, TOKEN, 7))
    assert spent(found) == [(TOKEN, PAYEE, 7)]
    assert routed(found) == [OTHER]
    moved = leaves(effects(POOL, call("transferAsset(address,address,uint256)", OTHER, TOKEN, 7)))
    assert moved == [Transfer(Asset(1, TOKEN), wallet, OTHER, 7, POOL)]


def test_a_sole_caller_of_a_bridge_is_named(effects, call):
    burn = "depositForBurnWithCaller(uint256,uint32,bytes32,address,bytes32)"
    assert routed(effects(POOL, call(burn, 7, 6, bytes(12) + OTHER, TOKEN, bytes(12) + PAYEE))) == [OTHER, PAYEE]


def test_a_vault_takes_what_the_operator_says_it_takes(effects, call, context, wallet):
    deposit = call("deposit(uint256,address)", 7, wallet)
    assert spent(effects(POOL, deposit, ctx=context(underlying={(1, POOL): TOKEN}))) == [(TOKEN, wallet, 7)]
    assert spent(effects(SDAI, deposit)) == [(DAI, wallet, 7)]


def test_staked_ether_leaves_for_the_withdrawal_queue(effects, call, wallet):
    request = call("requestWithdrawals(uint256[],address)", (3, 4), ZERO_ADDRESS)
    found = effects(address(LIDO_QUEUE), request)
    assert [e.amount for e in found if isinstance(e, Transfer)] == [7]
    assert routed(found) == [wallet]


def test_market_operators_rule_everything(effects, call, sign, wallet):
    signed = call(
        "setAuthorizationWithSig((address,address,bool,uint256,uint256),(uint8,bytes32,bytes32))",
        (PAYEE, OTHER, True, 0, 9), (27, NODE, NODE),
    )  # fmt: skip
    assert leaves(effects(POOL, signed)) == [OperatorApproval(Asset(1, POOL), PAYEE, OTHER, approved=True)]
    message = {"authorizer": wallet, "authorized": OTHER, "isAuthorized": True, "nonce": 0, "deadline": NOW}
    found = sign(MARKETS[0].encoded_type, message, contract=address(MORPHO), fields=CHAIN_AND_CONTRACT)
    assert found[1] == OperatorApproval(Asset(1, address(MORPHO)), wallet, OTHER, approved=True)


ACROSS = "depositV3(address,address,address,address,uint256,uint256,uint256,address,uint32,uint32,uint32,bytes)"


USDC_1, USDC_B = (
    address("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"),
    address("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
)


def across(wallet, *, sold=USDC_1, bought=USDC_B, amount=1000, output=950, chain=8453, message=b""):
    return (wallet, OTHER, sold, bought, amount, output, chain, ZERO_ADDRESS, 0, 0, 0, message)


def test_across_delivers_on_the_other_chain(effects, call, wallet, codes):
    found = effects(POOL, call(ACROSS, *across(wallet)))
    assert spent(found) == [(USDC_1, wallet, 1000)]
    assert routed(found) == [wallet]
    assert found[-1] == Receive(Asset(8453, USDC_B), OTHER, 950, Asset(1, USDC_1), 1000)
    assert codes(found) == []
    ether = effects(POOL, call(ACROSS, *across(wallet, sold=WRAPPED[1], bought=ZERO_ADDRESS)), 1000)
    assert spent(ether) == [(NATIVE, wallet, 1000)]
    assert ether[-1].asset == Asset(8453, WRAPPED[8453])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"message": b"x"}, "bridge_message"),
        ({"output": 949}, "bridge_fee"),
        ({"bought": PAYEE}, "bridge_output_unknown"),
        ({"sold": TOKEN}, "bridge_output_unknown"),
        ({"bought": ZERO_ADDRESS, "chain": 56}, "bridge_output_unknown"),
        ({"bought": WRAPPED[8453]}, "bridge_output_unknown"),
    ],
)
def test_across_brings_the_same_token_and_nearly_as_much(effects, call, wallet, codes, changes, code):
    assert codes(effects(POOL, call(ACROSS, *across(wallet, **changes)))) == [code]


def test_across_with_wide_addresses(effects, call, wallet, codes):
    wide = "deposit(bytes32,bytes32,bytes32,bytes32,uint256,uint256,uint256,bytes32,uint32,uint32,uint32,bytes)"

    def values(recipient):
        head = (bytes(12) + wallet, recipient, bytes(12) + USDC_1, bytes(12) + USDC_B)
        return (*head, 1000, 990, 8453, bytes(32), 0, 0, 0, b"")

    assert effects(POOL, call(wide, *values(bytes(12) + OTHER)))[-1].recipient == OTHER
    assert codes(effects(POOL, call(wide, *values(b"\1" * 32)))) == ["recipient_not_address"]


def test_a_portal_deposit_is_a_call_on_the_other_chain(effects, call, wallet, codes):
    (_, portal), chain = next(iter(PORTALS.items()))
    inner = call("transfer(address,uint256)", OTHER, 7)
    deposit = "depositTransaction(address,uint256,uint64,bool,bytes)"
    found = effects(portal, call(deposit, TOKEN, 0, 1, False, inner))
    assert found[-1] == Transfer(Asset(chain, TOKEN), wallet, OTHER, 7, path="depositTransaction")
    assert codes(effects(portal, call(deposit, TOKEN, 0, 1, True, inner))) == ["call_on_another_chain"]


@pytest.mark.parametrize(
    ("signature", "values", "subject"),
    [
        ("transferOwnership(address)", (OTHER,), OTHER),
        ("renounceOwnership()", (), None),
        ("grantRole(bytes32,address)", (NODE, OTHER), OTHER),
        ("upgradeTo(address)", (OTHER,), OTHER),
        ("setOwner(bytes32,address)", (NODE, OTHER), OTHER),
        ("reclaim(uint256,address)", (5, OTHER), OTHER),
    ],
)
def test_power_changes_hands(effects, call, signature, values, subject):
    found = leaves(effects(POOL, call(signature, *values)))
    assert found == [AdminChange(Asset(1, POOL), signature.partition("(")[0], subject)]


def test_records_of_a_new_name_are_unrolled(effects, call, wallet):
    register = "register(string,address,uint256,bytes32,address,bytes[],bool,uint16)"
    records = (call("setAddr(bytes32,address)", NODE, OTHER),)
    found = effects(POOL, call(register, "name", wallet, 5, NODE, PAYEE, records, True, 0))
    assert routed(found) == [wallet, OTHER]


def test_votes_are_delegated_by_call_and_by_signature(effects, call, sign):
    assert leaves(effects(POOL, call("delegate(address)", OTHER))) == [Delegation("votes", OTHER, 1)]
    found = sign(
        "Delegation(address delegatee,uint256 nonce,uint256 expiry)",
        {"delegatee": OTHER, "nonce": 0, "expiry": NOW},
        contract=TOKEN,
    )
    assert found[1] == Delegation("votes", OTHER, 1)


def typed(start):
    return next(rule.encoded_type for rule in DELEGATIONS if rule.encoded_type.startswith(start))


def test_delegations_are_power_and_without_caveats_all_of_it(sign, wallet, codes):
    message = {
        "delegate": OTHER,
        "delegator": wallet,
        "authority": b"\xff" * 32,
        "caveats": [{"enforcer": PAYEE, "terms": b"x"}],
        "salt": 0,
    }
    kind = typed("Delegation(address delegate,")
    run = {"contract": POOL, "name": "DelegationManager"}
    found = sign(kind, message, **run)
    assert found[1] == Delegation("erc7710", OTHER, 1)
    assert codes(found) == []
    assert codes(sign(kind, message | {"caveats": []}, **run)) == ["no_caveats"]
    assert codes(sign(kind, message | {"authority": NODE}, **run)) == ["redelegation"]


def test_spend_permissions_count_for_all_their_periods(sign, wallet):
    message = {
        "account": wallet,
        "spender": OTHER,
        "token": NATIVE,
        "allowance": 7,
        "period": 10,
        "start": 100,
        "end": 125,
        "salt": 0,
        "extraData": b"",
    }
    found = sign(typed("SpendPermission("), message, contract=address(SPEND_PERMISSION_MANAGER))
    assert (found[0].valid_after, found[0].valid_until) == (100, 125)
    assert found[1] == Delegation("spend_permission", OTHER, 1)
    assert found[2] == Allowance(Asset(1, NATIVE), wallet, OTHER, 21, 125)


def test_spend_permission_batches(sign, wallet):
    one = {"spender": OTHER, "token": TOKEN, "allowance": 7, "salt": 0, "extraData": b""}
    message = {"account": wallet, "period": 0, "start": 100, "end": 125, "permissions": [one, one]}
    found = sign(typed("SpendPermissionBatch("), message, contract=address(SPEND_PERMISSION_MANAGER))
    assert [e.amount for e in found if isinstance(e, Allowance)] == [7, 7]


def test_meta_transactions_are_calls_in_the_signers_name(effects, call, sign, wallet, codes):
    pay = call("transfer(address,uint256)", OTHER, 7)
    relayed = "executeMetaTransaction(address,bytes,bytes32,bytes32,uint8)"
    assert spent(effects(TOKEN, call(relayed, PAYEE, pay, NODE, NODE, 27))) == [(TOKEN, PAYEE, 7)]
    found = sign(typed("MetaTransaction("), {"nonce": 0, "from": wallet, "functionSignature": pay}, contract=TOKEN)
    assert spent(found) == [(TOKEN, wallet, 7)]
    request = {"from": wallet, "to": TOKEN, "value": 0, "gas": 1, "nonce": 0, "deadline": NOW, "data": pay}
    with_deadline = next(r.encoded_type for r in DELEGATIONS if "uint48 deadline,bytes data" in r.encoded_type)
    forwarded = sign(with_deadline, request, contract=POOL)
    assert spent(forwarded) == [(TOKEN, wallet, 7)]
    assert forwarded[0].valid_until == NOW
    assert codes(sign(with_deadline, request | {"from": OTHER}, contract=POOL)) == ["not_the_signer"]


def test_a_names_resolver_answers_for_it(effects, call):
    found = leaves(
        effects(POOL, call("setSubnodeRecord(bytes32,bytes32,address,address,uint64)", NODE, NODE, OTHER, PAYEE, 0))
    )
    assert found == [AdminChange(Asset(1, POOL), "setSubnodeRecord", OTHER), Redirect(PAYEE, "answers for the name")]


def test_transfers_of_lido_shares_count_as_more_than_any_limit(effects, call, wallet, codes):
    """What a share is worth is not in the call; who gets it is."""
    steth = address(LIDO_STETH)
    moved = effects(steth, call("transferShares(address,uint256)", OTHER, 5))
    assert moved[1:] == (Transfer(Asset(1, steth), wallet, OTHER, UINT256_MAX),)
    taken = effects(steth, call("transferSharesFrom(address,address,uint256)", OTHER, wallet, 5))
    assert taken[1:] == (Transfer(Asset(1, steth), OTHER, wallet, UINT256_MAX),)
    assert effects(steth, call("transferShares(address,uint256)", OTHER, 0))[1].amount == 0
    assert codes(effects(OTHER, call("transferShares(address,uint256)", OTHER, 5))) == ["unknown_function"]


def test_wrapping_staked_ether_takes_it_and_unwrapping_takes_nothing(effects, call, wallet):
    wsteth, steth = address("0x7f39C581F595B53c5cb19bD0b3f8dA6c935E2Ca0"), Asset(1, address(LIDO_STETH))
    assert effects(wsteth, call("wrap(uint256)", 5))[1:] == (Transfer(steth, wallet, wsteth, 5, wsteth),)
    assert effects(wsteth, call("unwrap(uint256)", 5))[1:] == ()


def test_withdrawals_from_lido_name_who_may_claim_them(effects, call, wallet):
    queue, wsteth = address(LIDO_QUEUE), Asset(1, address("0x7f39C581F595B53c5cb19bD0b3f8dA6c935E2Ca0"))
    found = effects(queue, call("requestWithdrawalsWstETH(uint256[],address)", (5, 6), ZERO_ADDRESS))
    assert found[1:] == (Transfer(wsteth, wallet, queue, 11, queue), Redirect(wallet, "claims on withdrawals"))
    assert effects(queue, call("claimWithdrawals(uint256[],uint256[])", (1,), (2,)))[1:] == ()

"""The rarer token verbs, Permit2 on chain, NFTs, and wrapped ether."""

import pytest

from walletgate.effects.permits import PERMIT2
from walletgate.effects.registry import address
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Allowance,
    Asset,
    Call,
    NftApproval,
    NftTransfer,
    OperatorApproval,
    Receive,
    Transfer,
)

TOKEN, PAYEE, OTHER = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
USDC = Asset(1, TOKEN)
NOW = 1_767_225_600
SIG = (27, b"\x01" * 32, b"\x02" * 32)
NONCE = b"\x05" * 32
P2 = address(PERMIT2)
PUNKS = address("0xb47e3cd837dDF8e4c57F05d70Ab865de6e193BBB")


def without_calls(found):
    return [e for e in found if not isinstance(e, Call)]


@pytest.mark.parametrize(
    ("signature", "values", "kind", "fields"),
    [
        ("approve(address)", (PAYEE,), Allowance, {"spender": PAYEE, "amount": UINT256_MAX}),
        ("increaseApproval(address,uint256)", (PAYEE, 7), Allowance, {"amount": 7, "added": True}),
        ("decreaseApproval(address,uint256)", (PAYEE, 7), Allowance, {"amount": 0}),
        ("approveAndCall(address,uint256,bytes)", (PAYEE, 7, b"x"), Allowance, {"spender": PAYEE, "amount": 7}),
        ("approveDelegation(address,uint256)", (PAYEE, 7), Allowance, {"spender": PAYEE, "amount": 7}),
        ("transferAndCall(address,uint256,bytes)", (PAYEE, 7, b"x"), Transfer, {"recipient": PAYEE, "amount": 7}),
        ("transferAndCall(address,uint256)", (PAYEE, 7), Transfer, {"recipient": PAYEE, "amount": 7}),
        ("transferFromAndCall(address,address,uint256)", (OTHER, PAYEE, 7), Transfer, {"sender": OTHER, "recipient": PAYEE}),
        ("send(address,uint256,bytes)", (PAYEE, 7, b""), Transfer, {"recipient": PAYEE}),
        ("operatorSend(address,address,uint256,bytes,bytes)", (OTHER, PAYEE, 7, b"", b""), Transfer, {"sender": OTHER, "recipient": PAYEE}),
        ("burn(uint256)", (7,), Transfer, {"recipient": ZERO_ADDRESS, "amount": 7}),
        ("burnFrom(address,uint256)", (OTHER, 7), Transfer, {"sender": OTHER, "recipient": ZERO_ADDRESS}),
        ("transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)", (OTHER, PAYEE, 7, 0, 9, NONCE, *SIG), Transfer, {"sender": OTHER, "recipient": PAYEE, "amount": 7}),
        ("receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)", (OTHER, PAYEE, 7, 0, 9, NONCE, b"s"), Transfer, {"sender": OTHER, "recipient": PAYEE}),
        ("authorizeOperator(address)", (PAYEE,), OperatorApproval, {"operator": PAYEE, "approved": True}),
        ("revokeOperator(address)", (PAYEE,), OperatorApproval, {"approved": False}),
        ("setOperator(address,bool)", (PAYEE, True), OperatorApproval, {"approved": True}),
        ("allow(address,bool)", (PAYEE, True), OperatorApproval, {"operator": PAYEE}),
        ("setAuthorization(address,bool)", (PAYEE, False), OperatorApproval, {"approved": False}),
        ("transfer(address,uint256,uint256)", (PAYEE, 5, 7), NftTransfer, {"token_id": 5, "amount": 7}),
        ("approve(address,uint256,uint256)", (PAYEE, 5, 0), NftApproval, {"spender": ZERO_ADDRESS}),
    ],
)  # fmt: skip
def test_rare_verbs_are_the_same_effects_beside_their_call(effects, call, signature, values, kind, fields):
    named, found = effects(TOKEN, call(signature, *values))
    assert isinstance(named, Call)
    assert named.signature == signature
    assert isinstance(found, kind)
    assert {name: getattr(found, name) for name in fields} == fields


def test_permits_handed_in_are_allowances_without_a_call(effects, call):
    assert effects(
        TOKEN, call("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", OTHER, PAYEE, 7, NOW, *SIG)
    ) == (Allowance(USDC, OTHER, PAYEE, 7),)
    dai = "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)"
    assert effects(TOKEN, call(dai, OTHER, PAYEE, 0, 0, True, *SIG))[0].amount == UINT256_MAX
    assert effects(TOKEN, call(dai, OTHER, PAYEE, 0, 0, False, *SIG))[0].amount == 0


def test_permit2_names_the_token_among_its_arguments(effects, call, wallet):
    approve = "approve(address,address,uint160,uint48)"
    assert effects(P2, call(approve, TOKEN, PAYEE, 7, NOW + 5))[1] == Allowance(USDC, wallet, PAYEE, 7, NOW + 5)
    assert effects(P2, call(approve, TOKEN, PAYEE, 2**160 - 1, 0))[1] == Allowance(
        USDC, wallet, PAYEE, UINT256_MAX, NOW
    )
    lockdown = effects(P2, call("lockdown((address,address)[])", ((TOKEN, PAYEE), (TOKEN, OTHER))))
    assert [(e.spender, e.amount) for e in lockdown[1:]] == [(PAYEE, 0), (OTHER, 0)]
    moved = effects(P2, call("transferFrom(address,address,uint160,address)", wallet, PAYEE, 7, TOKEN))
    assert moved[1] == Transfer(USDC, wallet, PAYEE, 7)
    batch = effects(
        P2,
        call(
            "transferFrom((address,address,uint160,address)[])", ((wallet, PAYEE, 7, TOKEN), (OTHER, PAYEE, 8, TOKEN))
        ),
    )
    assert [(e.sender, e.amount) for e in batch[1:]] == [(wallet, 7), (OTHER, 8)]


def test_permit2_signatures_handed_in(effects, call, wallet):
    permit = ((TOKEN, 7, NOW + 5, 0), PAYEE, NOW)
    single = "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)"
    assert effects(P2, call(single, wallet, permit, b"s"))[1] == Allowance(USDC, wallet, PAYEE, 7, NOW + 5)
    take = "permitTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes)"
    assert effects(P2, call(take, ((TOKEN, 9), 0, NOW), (PAYEE, 7), OTHER, b"s"))[1] == Transfer(USDC, OTHER, PAYEE, 7)


def test_permit2_verbs_elsewhere_are_unknown(effects, call, codes):
    assert codes(effects(OTHER, call("lockdown((address,address)[])", ()))) == ["unknown_function"]


def test_nft_moves(effects, call, wallet):
    move = "safeTransferFrom(address,address,uint256)"
    assert effects(TOKEN, call(move, wallet, PAYEE, 5)) == (NftTransfer(USDC, 5, 1, wallet, PAYEE),)
    many = "safeTransferFrom(address,address,uint256,uint256,bytes)"
    assert effects(TOKEN, call(many, wallet, PAYEE, 5, 3, b"")) == (NftTransfer(USDC, 5, 3, wallet, PAYEE),)
    batch = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    assert [e.amount for e in effects(TOKEN, call(batch, wallet, PAYEE, (5, 6), (1, 2), b""))] == [1, 2]
    operator = effects(TOKEN, call("setApprovalForAll(address,bool)", PAYEE, True))
    assert operator == (OperatorApproval(USDC, wallet, PAYEE, approved=True),)


def test_uneven_nft_batches_are_opaque(effects, call, wallet, codes):
    batch = "safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)"
    assert codes(effects(TOKEN, call(batch, wallet, PAYEE, (5, 6), (1,), b""))) == ["malformed_batch"]


def test_famous_collections_are_collections_for_everybody(effects, call, wallet):
    bayc = address("0xBC4CA0EdA7647A8aB7C2061c2E118A18a936f13D")
    found = effects(bayc, call("transferFrom(address,address,uint256)", wallet, PAYEE, 8817))
    assert found == (NftTransfer(Asset(1, bayc), 8817, 1, wallet, PAYEE),)


def test_burning_a_token_of_a_collection_burns_the_token(effects, call, wallet, context):
    found = effects(TOKEN, call("burn(uint256)", 9), ctx=context(collections=frozenset({(1, TOKEN)})))
    assert found[1] == NftTransfer(USDC, 9, 1, wallet, ZERO_ADDRESS)


def test_positions_are_money(effects, call, wallet):
    positions = address("0xC36442b4a4522E871399CD717aBDD847Ab11FE88")
    mint = "mint((address,address,uint24,int24,int24,uint256,uint256,uint256,uint256,address,uint256))"
    found = effects(positions, call(mint, (TOKEN, OTHER, 500, -10, 10, 7, 8, 0, 0, PAYEE, 9)))
    assert [(e.asset.address, e.amount) for e in found if isinstance(e, Transfer)] == [(TOKEN, 7), (OTHER, 8)]
    assert found[-1].recipient == PAYEE
    collect = effects(positions, call("collect((uint256,address,uint128,uint128))", (5, PAYEE, 1, 1)))
    assert collect[-1].recipient == PAYEE
    assert effects(positions, call("burn(uint256)", 5))[1:] == ()


def test_punks_are_moved_and_offered(effects, call):
    assert effects(PUNKS, call("transferPunk(address,uint256)", PAYEE, 5))[0].recipient == PAYEE
    (offer,) = effects(PUNKS, call("offerPunkForSaleToAddress(uint256,uint256,address)", 5, 0, PAYEE))
    assert (offer.recipient, offer.price) == (PAYEE, 0)


def test_wrapping_goes_round_and_comes_back(effects, call, wallet):
    weth, coin = Asset(1, WRAPPED[1]), Asset(1, NATIVE)
    expected = [Transfer(coin, wallet, weth.address, 9, via=weth.address), Receive(weth, wallet, 9, coin, 9)]
    assert without_calls(effects(weth.address, call("deposit()"), 9)) == expected
    plain = effects(weth.address, b"", 9)
    assert plain[0].signature == "receive()"
    assert without_calls(plain) == expected
    assert without_calls(effects(weth.address, call("withdraw(uint256)", 9))) == [Receive(coin, wallet, 9, weth, 9)]


def test_wrapped_ether_swallows_unknown_selectors(effects, codes, wallet):
    found = effects(WRAPPED[1], b"\xde\xad\xbe\xef", 9)
    assert codes(found) == ["unknown_function"]
    assert isinstance(found[0], Transfer)

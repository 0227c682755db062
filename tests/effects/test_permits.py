"""Signatures that let somebody take tokens."""

import pytest

from walletgate.effects.permits import PERMIT2, TYPED, X402_EXACT, X402_UPTO
from walletgate.effects.registry import address
from walletgate.effects.signing import NO_VERSION
from walletgate.types import UINT256_MAX, Allowance, Asset, NftApproval, Transfer, TypedSignature

TOKEN, SPENDER, PAYEE, OTHER = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20, b"\x44" * 20
USDC = Asset(1, TOKEN)
NOW = 1_767_225_600
NONCE = b"\x07" * 32


def encoded(start, *parts):
    (found,) = [
        r.encoded_type for r in TYPED if r.encoded_type.startswith(start) and all(p in r.encoded_type for p in parts)
    ]
    return found


@pytest.fixture
def sign(sign):
    return lambda kind, message, **changes: sign(kind, message, **({"contract": TOKEN} | changes))


@pytest.fixture
def sign2(sign):
    return lambda kind, message, **changes: sign(
        kind, message, **({"contract": address(PERMIT2), "name": "Permit2", "fields": NO_VERSION} | changes)
    )


def permit(wallet, **changes):
    return {"owner": wallet, "spender": SPENDER, "value": 7, "nonce": 0, "deadline": NOW + 60} | changes


def authorization(wallet, **changes):
    return {"from": wallet, "to": PAYEE, "value": 7, "validAfter": 0, "validBefore": NOW + 60, "nonce": NONCE} | changes


def test_permit_is_an_allowance_that_outlives_its_deadline(sign, wallet):
    signature, allowance = sign(encoded("Permit(address owner"), permit(wallet))
    assert isinstance(signature, TypedSignature)
    assert (signature.valid_after, signature.valid_until, signature.contract) == (None, NOW + 60, TOKEN)
    assert allowance == Allowance(USDC, wallet, SPENDER, 7)


def test_permit_for_another_owner_is_opaque(codes, sign, wallet):
    assert codes(sign(encoded("Permit(address owner"), permit(wallet, owner=OTHER))) == ["not_the_signer"]


def test_dai_permit_is_all_or_nothing(sign, wallet):
    kind = encoded("Permit(address holder")
    message = {"holder": wallet, "spender": SPENDER, "nonce": 0, "expiry": 0, "allowed": True}
    signature, allowance = sign(kind, message)
    assert signature.valid_until == UINT256_MAX
    assert allowance.amount == UINT256_MAX
    assert sign(kind, message | {"allowed": False})[1].amount == 0


def test_nft_permit_approves_one_token(sign, wallet):
    found = sign(encoded("Permit(address spender"), {"spender": SPENDER, "tokenId": 9, "nonce": 0, "deadline": NOW})
    assert found[1] == NftApproval(USDC, 9, wallet, SPENDER)


@pytest.mark.parametrize("name", ["TransferWithAuthorization", "ReceiveWithAuthorization"])
def test_authorization_is_the_transfer_it_allows(sign, wallet, name):
    signature, transfer = sign(encoded(name), authorization(wallet))
    assert (signature.valid_after, signature.valid_until) == (0, NOW + 60)
    assert transfer == Transfer(USDC, wallet, PAYEE, 7)


def test_cancelling_moves_nothing(sign, wallet):
    assert len(sign(encoded("CancelAuthorization"), {"authorizer": wallet, "nonce": NONCE})) == 1


def test_signatures_for_another_chain_are_opaque(codes, sign, wallet):
    found = sign(encoded("TransferWithAuthorization"), authorization(wallet), chain_id=10)
    assert codes(found) == ["chain_mismatch"]
    assert found[-1].asset == Asset(10, TOKEN)


def test_domain_with_salt_or_control_characters_is_opaque(codes, sign, wallet):
    kind = encoded("TransferWithAuthorization")
    salted = ("name", "version", "chainId", "verifyingContract", "salt")
    assert codes(sign(kind, authorization(wallet), fields=salted)) == ["domain_mismatch"]
    assert codes(sign(kind, authorization(wallet), name="Test\x1b[2K")) == ["domain_mismatch"]
    assert codes(sign(kind, authorization(wallet), fields=("name", "version", "verifyingContract"))) == [
        "domain_mismatch"
    ]


def test_domain_of_a_known_token_is_pinned(codes, sign, wallet):
    usdc = address("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")
    kind = encoded("TransferWithAuthorization")
    assert codes(sign(kind, authorization(wallet), contract=usdc)) == ["domain_mismatch"]
    assert codes(sign(kind, authorization(wallet), contract=usdc, name="USD Coin", version="2")) == []


def details(**changes):
    return {"token": TOKEN, "amount": 7, "expiration": NOW + 100, "nonce": 0} | changes


def test_permit2_single_and_batch_are_allowances(sign2, wallet):
    message = {"details": details(), "spender": SPENDER, "sigDeadline": NOW + 60}
    assert sign2(encoded("PermitSingle"), message)[1] == Allowance(USDC, wallet, SPENDER, 7, NOW + 100)
    forever = message | {"details": details(amount=2**160 - 1, expiration=0)}
    assert sign2(encoded("PermitSingle"), forever)[1] == Allowance(USDC, wallet, SPENDER, UINT256_MAX, NOW)
    batch = message | {"details": [details(), details(amount=8)]}
    assert [e.amount for e in sign2(encoded("PermitBatch("), batch)[1:]] == [7, 8]


def test_a_permit_for_no_token_names_a_spender_that_nothing_judges(codes, sign2):
    message = {"details": [], "spender": SPENDER, "sigDeadline": NOW + 60}
    assert codes(sign2(encoded("PermitBatch("), message)) == ["malformed_batch"]
    assert codes(sign2(encoded("PermitBatchTransferFrom"), transfer_from(permitted=[]))) == ["malformed_batch"]


def test_permit2_types_mean_nothing_elsewhere(codes, sign2):
    message = {"details": details(), "spender": SPENDER, "sigDeadline": NOW + 60}
    assert codes(sign2(encoded("PermitSingle"), message, contract=OTHER)) == ["unknown_verifying_contract"]
    assert codes(sign2(encoded("PermitSingle"), message, name="Permit3")) == ["domain_mismatch"]
    versioned = sign2(encoded("PermitSingle"), message, fields=("name", "version", "chainId", "verifyingContract"))
    assert codes(versioned) == ["domain_mismatch"]


def transfer_from(**changes):
    return {"permitted": {"token": TOKEN, "amount": 7}, "spender": SPENDER, "nonce": 0, "deadline": NOW + 60} | changes


def test_signature_transfer_is_the_spenders_money(sign2, wallet):
    assert sign2(encoded("PermitTransferFrom"), transfer_from())[1] == Transfer(USDC, wallet, SPENDER, 7)
    batch = transfer_from(permitted=[{"token": TOKEN, "amount": 7}, {"token": OTHER, "amount": 8}])
    assert [e.amount for e in sign2(encoded("PermitBatchTransferFrom"), batch)[1:]] == [7, 8]


@pytest.mark.parametrize(("proxy", "extra"), [(X402_EXACT, {}), (X402_UPTO, {"facilitator": OTHER})])
def test_only_the_right_proxy_is_bound_by_its_witness(sign2, wallet, proxy, extra):
    kind = encoded("PermitWitnessTransferFrom", "facilitator" if extra else "Witness(address to,uint256 validAfter)")
    witness = {"to": PAYEE, "validAfter": 5} | extra
    signature, transfer = sign2(kind, transfer_from(spender=proxy, witness=witness))
    assert (signature.valid_after, signature.valid_until) == (5, NOW + 60)
    assert transfer == Transfer(USDC, wallet, PAYEE, 7)
    other = X402_UPTO if proxy == X402_EXACT else X402_EXACT
    for spender in (SPENDER, other):
        assert sign2(kind, transfer_from(spender=spender, witness=witness))[1].recipient == spender

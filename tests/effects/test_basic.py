"""Plain payments, the ERC-20 verbs, creation, and what is not understood."""

from walletgate.effects import decode
from walletgate.effects.abi import parse_signature
from walletgate.encoding import keccak256
from walletgate.types import (
    NATIVE,
    Allowance,
    Asset,
    Batch,
    Call,
    CodeAuthorization,
    Delegation,
    Deployment,
    Fee,
    NftApproval,
    NftTransfer,
    Opaque,
    RawHash,
    Redirect,
    TrailingBytes,
    TransactionRequest,
    TransactionType,
    Transfer,
)

TOKEN, PAYEE, OTHER = b"\x11" * 20, b"\x22" * 20, b"\x33" * 20
COIN, USDC = Asset(1, NATIVE), Asset(1, TOKEN)


def codes(found):
    return [e.code for e in found if isinstance(e, Opaque)]


def test_empty_data_is_a_payment_even_of_nothing(effects, wallet):
    assert effects(PAYEE, value=5) == (Transfer(COIN, wallet, PAYEE, 5),)
    assert effects(PAYEE) == (Transfer(COIN, wallet, PAYEE, 0),)


def test_fee_counts_gas_and_blobs(transaction, context):
    assert decode(transaction(PAYEE), context())[-1] == Fee(1, 2_100_000)
    blob = transaction(PAYEE, type=TransactionType.BLOB, blob_hashes=(b"\1" * 32,), max_fee_per_blob_gas=2)
    found = decode(blob, context())
    assert found[-1] == Fee(1, 2_100_000 + 2 * 131_072)
    assert codes(found) == ["blob_transaction"]


def test_erc20_verbs_are_transfers_and_allowances_without_a_call(effects, call, wallet):
    assert effects(TOKEN, call("transfer(address,uint256)", PAYEE, 7)) == (Transfer(USDC, wallet, PAYEE, 7),)
    assert effects(TOKEN, call("transferFrom(address,address,uint256)", OTHER, PAYEE, 7)) == (
        Transfer(USDC, OTHER, PAYEE, 7),
    )
    assert effects(TOKEN, call("approve(address,uint256)", PAYEE, 7)) == (Allowance(USDC, wallet, PAYEE, 7),)
    assert effects(TOKEN, call("increaseAllowance(address,uint256)", PAYEE, 7)) == (
        Allowance(USDC, wallet, PAYEE, 7, added=True),
    )
    assert effects(TOKEN, call("decreaseAllowance(address,uint256)", PAYEE, 7)) == (Allowance(USDC, wallet, PAYEE, 0),)


def test_shared_verbs_mean_tokens_of_a_pinned_collection(effects, call, wallet, context):
    ctx = context(collections=frozenset({(1, TOKEN)}))
    moved = effects(TOKEN, call("transferFrom(address,address,uint256)", wallet, PAYEE, 7), ctx=ctx)
    assert moved == (NftTransfer(USDC, 7, 1, wallet, PAYEE),)
    assert effects(TOKEN, call("approve(address,uint256)", PAYEE, 7), ctx=ctx) == (NftApproval(USDC, 7, wallet, PAYEE),)


def test_ether_sent_with_an_erc20_verb_is_opaque(effects, call, wallet):
    found = effects(TOKEN, call("transfer(address,uint256)", PAYEE, 7), 9)
    assert codes(found) == ["value_to_token"]
    assert Transfer(COIN, wallet, TOKEN, 9, via=TOKEN) in found


def test_trailing_bytes_are_an_effect(effects, call):
    found = effects(TOKEN, call("transfer(address,uint256)", PAYEE, 7) + b"tail!")
    assert found[-1] == TrailingBytes(5)


def test_noncanonical_calldata_is_opaque(effects, call):
    dirty = bytearray(call("transfer(address,uint256)", PAYEE, 7))
    dirty[5] = 1
    assert codes(effects(TOKEN, bytes(dirty))) == ["noncanonical_abi"]
    assert codes(effects(TOKEN, call("transfer(address,uint256)", PAYEE, 7)[:-1])) == ["noncanonical_abi"]


def test_unknown_functions_are_opaque_and_their_value_is_seen(effects, wallet):
    found = effects(TOKEN, b"\xde\xad\xbe\xef", 3)
    assert codes(found) == ["unknown_function"]
    assert Transfer(COIN, wallet, TOKEN, 3, via=TOKEN) in found
    assert codes(effects(TOKEN, b"\xa9")) == ["unknown_function"]


def test_functions_named_by_the_policy_are_decoded(effects, context, wallet):
    mint = parse_signature("mint(address to,uint256 id)")
    ctx = context(functions={(1, TOKEN, mint.selector): mint})
    found = effects(TOKEN, mint.encode(OTHER, 5), 3, ctx=ctx)
    assert found == (
        Call(1, TOKEN, mint.selector, "mint(address,uint256)", (OTHER, 5), 3),
        Transfer(COIN, wallet, TOKEN, 3, via=TOKEN),
        Redirect(OTHER, "to"),
    )
    assert codes(effects(OTHER, mint.encode(OTHER, 5), ctx=ctx)) == ["unknown_function"]
    assert codes(effects(TOKEN, mint.encode(OTHER, 5)[:-1], ctx=ctx)) == ["noncanonical_abi"]
    assert effects(TOKEN, mint.encode(OTHER, 5) + b"x", ctx=ctx)[-1] == TrailingBytes(1)


def test_addresses_without_a_name_might_be_anybodys(effects, context):
    claim = parse_signature("claim((address,uint256)[] rows,address[] to,(address token) what)")
    ctx = context(functions={(1, TOKEN, claim.selector): claim})
    found = effects(TOKEN, claim.encode(((OTHER, 5), (PAYEE, 6)), (OTHER,), (PAYEE,)), ctx=ctx)
    assert [(e.recipient, e.what) for e in found[1:]] == [
        (OTHER, "an argument without a name"),
        (PAYEE, "an argument without a name"),
        (OTHER, "to"),
    ]


def test_receive_is_a_function_where_the_policy_names_it(effects, context, wallet):
    receive = parse_signature("receive()")
    ctx = context(functions={(1, TOKEN, b""): receive})
    assert effects(TOKEN, value=4, ctx=ctx) == (
        Call(1, TOKEN, b"", "receive()", (), 4),
        Transfer(COIN, wallet, TOKEN, 4, via=TOKEN),
    )


def test_creation_is_a_deployment(effects):
    assert effects(None, b"\x60\x00", 2) == (Deployment(1, 2, keccak256(b"\x60\x00")),)
    assert codes(effects(None, b"", 2)) == ["empty_init_code"]
    assert codes(effects(None, b"\0" * 49_153)) == ["init_code_too_large"]


def test_authorizations_are_delegations_wherever_they_hide(effects, transaction, context):
    row = CodeAuthorization(0, PAYEE, 8)
    found = effects(PAYEE, type=TransactionType.SET_CODE, authorization_list=(row,))
    assert found[0] == Delegation("set_code", PAYEE, 0, "authorizationList[0]")
    assert effects(PAYEE, authorization_list=(row,))[0].kind == "set_code"
    assert decode(row, context()) == (Delegation("set_code", PAYEE, 0),)


def test_another_chain_than_the_sessions_is_opaque(effects):
    assert codes(effects(PAYEE, chain_id=10)) == ["chain_mismatch"]


def test_a_bare_hash_is_blind(context, wallet):
    assert codes(decode(RawHash(wallet, b"\0" * 32), context())) == ["blind_hash"]


def test_batches_are_unrolled(context, call, wallet):
    calls = (
        TransactionRequest(None, wallet, TOKEN, 0, call("transfer(address,uint256)", PAYEE, 7)),
        TransactionRequest(None, wallet, PAYEE, 3, b""),
        TransactionRequest(None, wallet, None, 0, b"\x00"),
    )
    found = decode(Batch(1, wallet, calls, capabilities={"paymasterService": {}}), context())
    assert codes(found) == ["capability"]
    assert found[1:3] == (
        Transfer(USDC, wallet, PAYEE, 7, path="calls[0]"),
        Transfer(COIN, wallet, PAYEE, 3, path="calls[1]"),
    )
    assert isinstance(found[3], Deployment)
    assert codes(decode(Batch(10, wallet, calls), context())) == ["chain_mismatch"]
    hidden = TransactionRequest(10, wallet, PAYEE, 0, b"", authorization_list=(CodeAuthorization(1, OTHER, 0),))
    found = decode(Batch(1, wallet, (hidden,)), context())
    assert codes(found) == ["chain_mismatch"]
    assert Delegation("set_code", OTHER, 1, "calls[0]") in found


def test_oversize_calldata_is_opaque(effects):
    assert codes(effects(TOKEN, b"\0" * (128 * 1024 + 1))) == ["calldata_too_large"]

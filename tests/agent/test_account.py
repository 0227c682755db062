import asyncio
import copy
import pickle
import threading
import traceback

import pytest
from eth_account import Account
from eth_account.datastructures import SignedMessage, SignedTransaction
from eth_account.messages import encode_defunct, encode_intended_validator, encode_typed_data
from eth_account.signers.local import LocalAccount
from hexbytes import HexBytes

import walletgate
from walletgate import ApprovalPending, GateDenied, GateUnavailable
from walletgate.agent import payload
from walletgate.errors import InvalidRequestError
from walletgate.types import Outcome, Status

TO = "0x2222222222222222222222222222222222222222"
TX = {
    "to": TO,
    "value": 10**15,
    "gas": 21_000,
    "nonce": 3,
    "chainId": 31337,
    "maxFeePerGas": 2,
    "maxPriorityFeePerGas": 1,
}
DOMAIN = {"name": "Test USD", "version": "1", "chainId": 31337, "verifyingContract": TO}
TYPES = {
    "Order": [{"name": "items", "type": "Item[]"}, {"name": "salt", "type": "bytes32"}],
    "Item": [{"name": "amount", "type": "uint256"}, {"name": "to", "type": "address"}, {"name": "ok", "type": "bool"}],
}
MESSAGE = {
    "items": [{"amount": 2**255, "to": TO, "ok": True}, {"amount": 7, "to": TO, "ok": False}],
    "salt": b"\x07" * 32,
}


@pytest.fixture
def account(gate, token):
    return walletgate.account("trader", url=gate.url, token=token, wait_s=0)


def refusal(kind, call, *args, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    return caught.value


def test_account_is_a_local_account_with_the_wallets_address(gate, account):
    assert isinstance(account, LocalAccount)
    assert gate.seen == []
    assert account.address == gate.signer.address
    assert account.address == gate.signer.address
    assert len(gate.seen) == 1


def test_account_has_no_key_to_give(account):
    assert not hasattr(account, "key")
    assert getattr(account, "key", None) is None
    for attempt in (lambda: account.key, lambda: bytes(account), lambda: account.encrypt("password")):
        assert refusal(walletgate.WalletGateError, attempt).code == "no_private_key"


def test_account_is_equal_by_address_and_hashable(gate, token, account):
    other = walletgate.account("other", url=gate.url, token=token)
    assert account == other
    assert len({account, other}) == 1
    assert account != gate.signer


def test_account_shows_no_token_and_cannot_be_copied(account, token):
    assert repr(account) == "GateAccount('trader')"
    assert token not in repr(vars(account)) + str(account)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            attempt(account)


def test_send_returns_the_hash_and_passes_on_what_is_meant(gate, account):
    tx_hash = account.send(
        {"to": TO, "value": 5, "data": b"\x01\x02", "accessList": [], "nonce": None},
        expect={"asset": "ETH", "amount": "0.1"},
        memo="tea",
        id="order-1",
    )
    assert isinstance(tx_hash, HexBytes)
    assert tx_hash.to_0x_hex() == gate.requests["order-1"]["tx_hash"]
    assert gate.bodies() == [
        {
            "id": "order-1",
            "kind": "transaction",
            "payload": {"to": TO, "value": "0x5", "data": "0x0102", "accessList": []},
            "expect": {"asset": "ETH", "amount": "0.1"},
            "memo": "tea",
            "wait_s": 0,
        }
    ]


def test_signed_transaction_is_what_a_key_would_have_signed(gate, account):
    signed = account.sign_transaction(TX)
    expected = gate.signer.sign_transaction(TX)
    assert isinstance(signed, SignedTransaction)
    assert signed == expected
    assert signed["raw_transaction"] == expected.raw_transaction
    assert Account.recover_transaction(signed.raw_transaction) == account.address


def test_signed_legacy_transaction_is_what_a_key_would_have_signed(gate, account):
    raw = gate.signer.sign_transaction({"to": TO, "value": 1, "gas": 21_000, "gasPrice": 5, "nonce": 0, "chainId": 1})
    original = gate._sign

    def sign(request, fields):
        original(request, fields)
        request["raw"] = raw.raw_transaction.to_0x_hex()
        return "signed"

    gate._sign = sign
    assert account.sign_transaction(TX) == raw


def test_contract_creation_has_no_recipient(gate, account):
    for nothing in ("", "0x", b"", None):
        account.preview({"to": nothing, "data": "0x00"})
    assert all(body["payload"] == {"data": "0x00"} for body in gate.bodies())


def test_signed_message_is_what_a_key_would_have_signed(gate, account):
    for message in (encode_defunct(text="grüße"), encode_defunct(b"\x00\xff"), encode_defunct(text="")):
        signed = account.sign_message(message)
        assert isinstance(signed, SignedMessage)
        assert signed == gate.signer.sign_message(message)


def test_message_that_hides_its_contents_is_refused(gate, account):
    hidden = encode_typed_data(DOMAIN, TYPES, MESSAGE)
    validator = encode_intended_validator(TO, text="x")
    for message in (hidden, validator, encode_defunct(b"x")._replace(header=b"thereum Signed Message:\n9")):
        error = refusal(InvalidRequestError, account.sign_message, message)
        assert error.code == "hash_refused"
    assert "sign_typed_data" in error.detail
    assert refusal(InvalidRequestError, account.unsafe_sign_hash, b"\x00" * 32).code == "hash_refused"
    assert gate.seen == []


def test_typed_data_is_signed_as_with_a_key_however_it_is_given(gate, account):
    full = {
        "types": {**TYPES, "EIP712Domain": [{"name": n, "type": t} for n, t in DOMAIN_TYPES]},
        "primaryType": "Order",
        "domain": DOMAIN,
        "message": MESSAGE,
    }
    expected = gate.signer.sign_typed_data(DOMAIN, TYPES, MESSAGE)
    assert account.sign_typed_data(DOMAIN, TYPES, MESSAGE) == expected
    assert account.sign_typed_data(domain_data=DOMAIN, message_types=TYPES, message_data=MESSAGE) == expected
    assert account.sign_typed_data(full_message=full) == expected
    sent = gate.bodies()[0]["payload"]
    assert sent["primaryType"] == "Order"
    assert sent["message"]["items"][0]["amount"] == str(2**255)
    assert sent["message"]["salt"] == "0x" + "07" * 32
    assert sent["types"]["EIP712Domain"] == full["types"]["EIP712Domain"]
    assert gate.bodies()[2]["payload"] == sent


DOMAIN_TYPES = [("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ((), "bad_typed_data"),
        ((DOMAIN, TYPES, None), "bad_typed_data"),
        ((None, None, None, {"types": []}), "bad_typed_data"),
        ((None, None, None, {"types": TYPES, "primaryType": "Nothing", "domain": {}, "message": {}}), "bad_typed_data"),
        ((DOMAIN, {**TYPES, "Other": []}, MESSAGE), "bad_typed_data"),
        ((DOMAIN, TYPES, {**MESSAGE, "salt": 1.5}), "bad_value"),
        ((DOMAIN, TYPES, {**MESSAGE, 5: "x"}), "bad_value"),
        ((DOMAIN, TYPES, {**MESSAGE, "salt": object()}), "bad_value"),
    ],
)
def test_typed_data_that_is_not_is_refused(gate, account, args, code):
    assert refusal(InvalidRequestError, account.sign_typed_data, *args).code == code
    assert gate.seen == []


@pytest.mark.parametrize(
    "fields", [{"value": 1.0}, {"value": -1}, {"data": object()}, {"accessList": [{"address": 1.5}]}]
)
def test_transaction_that_is_not_exact_is_refused(gate, account, fields):
    assert refusal(InvalidRequestError, account.send, fields).code == "bad_value"
    assert gate.seen == []


def test_authorization_is_what_a_key_would_have_signed(gate, account):
    terms = {"chainId": 31337, "address": TO, "nonce": 9}
    expected = gate.signer.sign_authorization(terms)
    signed = account.sign_authorization(terms)
    assert signed == expected
    assert HexBytes(signed.authority) == HexBytes(account.address)
    assert account.sign_authorization({"chainId": 31337, "address": TO}) == expected
    body = payload.transaction({"authorizationList": [signed, {"chainId": 1}]})
    assert body["authorizationList"][0]["yParity"] == hex(signed.y_parity)
    assert body["authorizationList"][0]["address"] == "0x" + "22" * 20
    assert body["authorizationList"][1] == {"chainId": "0x1"}


def test_blobs_are_refused(account):
    assert refusal(InvalidRequestError, account.sign_transaction, TX, blobs=[b""]).code == "blobs_not_supported"


def test_limits_preview_and_request_reach_the_gate(gate, account):
    assert account.limits().policy == "shopper"
    assert account.preview(TX, expect={"amount": "1"}).outcome is Outcome.ALLOW
    assert account.preview({"data": "0x00"}, kind="message").effects == ("sends 1 wei",)
    assert account.request("hash", {"data": "0x" + "00" * 32}, id="h").status is Status.SIGNED


def test_denial_is_raised_from_every_method(gate, account):
    message = encode_defunct(text="x")
    calls = [
        lambda: account.send(TX),
        lambda: account.sign_transaction(TX),
        lambda: account.sign_message(message),
        lambda: account.sign_typed_data(DOMAIN, TYPES, MESSAGE),
        lambda: account.sign_authorization({"chainId": 1, "address": TO, "nonce": 0}),
    ]
    gate.plan = [("denied", [])] * len(calls)
    for call in calls:
        assert refusal(GateDenied, call).code == "policy_denied"


def test_wait_returns_what_the_call_would_have_returned(gate, account):
    message = encode_defunct(text="x")
    gate.plan = [("awaiting_approval", [])] * 2
    first = refusal(ApprovalPending, account.sign_message, message)
    second = refusal(ApprovalPending, account.send, TX, id="b")
    gate.decide(first.id, "ok")
    gate.decide("b", "ok")
    assert first.wait(5) == gate.signer.sign_message(message)
    assert second.wait(5).to_0x_hex() == gate.requests["b"]["tx_hash"]


def test_call_waits_as_long_as_the_account_was_told(gate, token):
    patient = walletgate.account("trader", url=gate.url, token=token, wait_s=5)
    gate.plan = [("awaiting_approval", [])]
    threading.Timer(0.1, gate.decide, ("a", "ok")).start()
    assert patient.send(TX, id="a").to_0x_hex() == gate.requests["a"]["tx_hash"]


def test_answer_about_another_wallet_is_not_taken(gate, account):
    assert account.address
    gate.signer = Account.create()
    assert refusal(GateUnavailable, account.send, TX).code == "answer_invalid"


@pytest.mark.parametrize(
    ("field", "value"),
    [("signature", None), ("signature", "0x00"), ("signature", "zz"), ("signature", "0x" + "00" * 64 + "05")],
)
def test_signature_without_sense_is_not_taken(gate, account, field, value):
    original = gate._sign
    gate._sign = lambda request, fields: (original(request, fields), request.update({field: value}))[0]
    assert refusal(GateUnavailable, account.sign_message, encode_defunct(text="x")).code == "answer_invalid"


@pytest.mark.parametrize("value", [None, "0x", "0x02", "0x02c0", "0xff", "zz"])
def test_raw_transaction_without_sense_is_not_taken(gate, account, value):
    original = gate._sign
    gate._sign = lambda request, fields: (original(request, fields), request.update(raw=value))[0]
    assert refusal(GateUnavailable, account.sign_transaction, TX).code == "answer_invalid"


def test_missing_hash_is_not_taken(gate, account):
    original = gate._sign
    gate._sign = lambda request, fields: (original(request, fields), request.pop("tx_hash"))[0]
    assert refusal(GateUnavailable, account.send, TX).code == "answer_invalid"


def test_async_twins_do_the_same_without_stopping_the_loop(gate, account):
    message = encode_defunct(text="x")
    gate.plan = [("ok", [])] * 5 + [("awaiting_approval", [])]

    async def session():
        assert (await account.async_send(TX, id="a")).to_0x_hex() == gate.requests["a"]["tx_hash"]
        assert await account.async_sign_transaction(TX) == gate.signer.sign_transaction(TX)
        assert await account.async_sign_message(message) == gate.signer.sign_message(message)
        expected = gate.signer.sign_typed_data(DOMAIN, TYPES, MESSAGE)
        assert await account.async_sign_typed_data(DOMAIN, TYPES, MESSAGE) == expected
        terms = {"chainId": 1, "address": TO, "nonce": 0}
        assert await account.async_sign_authorization(terms) == gate.signer.sign_authorization(terms)
        assert (await account.async_limits()).grant == "grant_1"
        assert (await account.async_preview(TX)).outcome is Outcome.ALLOW
        waiting = asyncio.create_task(account.async_request("message", {"data": "0x00"}, id="z", wait_s=5))
        ticks = 0
        while "z" not in gate.requests:
            await asyncio.sleep(0.005)
            ticks += 1
        await asyncio.to_thread(gate.decide, "z", "ok")
        assert (await waiting).status is Status.SIGNED
        assert ticks > 0

    asyncio.run(session())


def test_errors_show_no_token(gate, account, token):
    gate.plan = [("denied", []), ("awaiting_approval", [])]
    shown = []
    for call in (
        lambda: account.send(TX),
        lambda: account.send(TX),
        lambda: account.key,
        lambda: account.send({"value": 0.5}),
    ):
        try:
            call()
        except walletgate.WalletGateError as error:
            shown.append("".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)))
    assert len(shown) == 4
    assert not any(token in text for text in shown)

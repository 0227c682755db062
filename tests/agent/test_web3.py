import asyncio
import json
import threading

import pytest
from eth_account.messages import encode_defunct
from eth_tester import EthereumTester, PyEVMBackend
from eth_utils import to_wei
from hexbytes import HexBytes
from web3 import AsyncWeb3, EthereumTesterProvider, Web3
from web3.exceptions import Web3RPCError
from web3.middleware import SignAndSendRawMiddlewareBuilder
from web3.providers.eth_tester import AsyncEthereumTesterProvider

import walletgate
from walletgate import ApprovalPending, ApprovalRejected, GateDenied, GateUnavailable
from walletgate.errors import AuthenticationError, GatePausedError, InvalidRequestError

TO = "0x2222222222222222222222222222222222222222"
CHAIN_ID = 131277322940537
TOKEN_ABI = [
    {
        "name": "transfer",
        "type": "function",
        "stateMutability": "nonpayable",
        "inputs": [{"name": "to", "type": "address"}, {"name": "amount", "type": "uint256"}],
        "outputs": [{"name": "", "type": "bool"}],
    }
]
TYPED = {
    "types": {"EIP712Domain": [{"name": "chainId", "type": "uint256"}], "Mail": [{"name": "n", "type": "uint256"}]},
    "primaryType": "Mail",
    "domain": {"chainId": CHAIN_ID},
    "message": {"n": 2**200},
}
REASON = {
    "code": "limit_exceeded",
    "text": "too much",
    "rule": "r",
    "actual": "2",
    "bound": "1",
    "unit": "wei",
    "path": "",
}


@pytest.fixture
def tester(gate):
    chain = EthereumTester(PyEVMBackend())
    funder = chain.get_accounts()[0]
    chain.send_transaction({"from": funder, "to": gate.signer.address, "value": to_wei(10, "ether"), "gas": 21_000})
    gate.broadcast = lambda raw: chain.send_raw_transaction(HexBytes(raw).to_0x_hex())
    gate.nonces = lambda: chain.get_nonce(gate.signer.address)
    return chain


@pytest.fixture
def account(gate, token):
    return walletgate.account("trader", url=gate.url, token=token, wait_s=0)


@pytest.fixture
def w3(tester, account):
    w3 = Web3(EthereumTesterProvider(tester))
    assert walletgate.attach(w3, account) is account
    return w3


def test_attach_sets_the_accounts_that_programs_look_for(w3, account, gate):
    assert w3.eth.default_account == gate.signer.address
    assert w3.eth.default_local_account is account
    assert list(w3.eth.accounts) == [gate.signer.address]


def test_attach_by_name_reads_the_settings(tester, gate, token):
    w3 = Web3(EthereumTesterProvider(tester))
    account = walletgate.attach(w3, "trader", url=gate.url, token=token)
    assert account.name == "trader"
    assert w3.eth.default_account == gate.signer.address


def test_attach_again_replaces_what_was_attached(w3, gate, token):
    walletgate.attach(w3, "other", url=f"unix://{gate.socket}", token=token)
    w3.eth.send_transaction({"to": TO, "value": 1})
    assert len(gate.bodies()) == 1
    assert w3.eth.default_local_account.name == "other"


def test_sent_transaction_is_the_gates_and_is_mined(w3, gate):
    tx_hash = w3.eth.send_transaction({"to": TO, "value": 5})
    receipt = w3.eth.wait_for_transaction_receipt(tx_hash)
    assert receipt["from"] == gate.signer.address
    assert w3.eth.get_balance(TO) == 5
    sent = gate.bodies()[0]
    assert sent["kind"] == "transaction"
    assert sent["payload"]["value"] == "0x5"
    assert sent["payload"]["chainId"] == hex(CHAIN_ID)
    assert sent["payload"]["from"] == gate.signer.address


def test_contract_call_goes_through_the_gate_unchanged(w3, gate):
    token = w3.eth.contract(address=TO, abi=TOKEN_ABI)
    token.functions.transfer(TO, 7).transact({"gas": 50_000})
    assert gate.bodies()[0]["payload"]["data"].startswith("0xa9059cbb")
    assert gate.bodies()[0]["payload"]["to"] == TO


def test_chain_that_the_program_names_is_not_overruled(w3, gate):
    w3.eth.send_transaction({"to": TO, "value": 1, "chainId": CHAIN_ID})
    assert gate.bodies()[0]["payload"]["chainId"] == hex(CHAIN_ID)


def test_reads_go_to_the_provider(w3, gate):
    before = len(gate.seen)
    assert w3.eth.block_number >= 1
    assert w3.eth.get_balance(gate.signer.address) == to_wei(10, "ether")
    assert len(gate.seen) == before


def test_signing_methods_are_the_gates(w3, gate):
    me = gate.signer.address
    assert len(w3.eth.sign(me, hexstr="0x" + "11" * 32)) == 65
    assert gate.bodies()[-1]["kind"] == "hash"
    assert w3.eth.sign_typed_data(me, TYPED) == gate.signer.sign_typed_data(full_message=TYPED).signature
    for method, params in [
        ("eth_signTypedData_v4", [me, json.dumps(TYPED)]),
        ("eth_signTypedData_v3", [me, TYPED]),
    ]:
        result = w3.manager.request_blocking(method, params)
        assert result == gate.signer.sign_typed_data(full_message=TYPED).signature.to_0x_hex()
    result = w3.manager.request_blocking("personal_sign", ["0x68656c6c6f", me])
    assert result == gate.signer.sign_message(encode_defunct(text="hello")).signature.to_0x_hex()


def test_signed_transaction_has_the_shape_web3_expects(w3, gate):
    answer = w3.eth.sign_transaction(
        {"to": TO, "value": 5, "gas": 21_000, "nonce": 0, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1}
    )
    assert answer["tx"]["value"] == 5
    assert answer["tx"]["hash"] == Web3.keccak(answer["raw"])
    assert gate.bodies()[0]["kind"] == "sign_transaction"
    tx_hash = w3.eth.send_raw_transaction(answer["raw"])
    assert w3.eth.wait_for_transaction_receipt(tx_hash)["status"] == 1


@pytest.mark.parametrize("method", ["eth_sign", "personal_sign", "eth_signTypedData_v4"])
def test_other_wallets_are_refused_and_never_reach_the_provider(w3, gate, method):
    params = [TO, "0x00"] if method != "personal_sign" else ["0x00", TO]
    with pytest.raises(InvalidRequestError) as caught:
        w3.manager.request_blocking(method, params)
    assert caught.value.code == "wrong_wallet"
    assert gate.bodies() == []


def test_sender_that_the_program_names_is_left_to_the_gate_to_refuse(w3, gate):
    w3.eth.send_transaction({"from": TO, "to": TO, "value": 1, "gas": 21_000})
    assert gate.bodies()[0]["payload"]["from"] == TO


def test_denial_is_caught_as_ours_and_as_web3s(w3, gate):
    gate.plan = [("denied", [REASON])] * 2
    with pytest.raises(GateDenied) as ours:
        w3.eth.send_transaction({"to": TO, "value": 5})
    assert ours.value.reasons[0].bound == 1
    with pytest.raises(Web3RPCError) as theirs:
        w3.eth.send_transaction({"to": TO, "value": 5})
    body = theirs.value.rpc_response["error"]
    assert body["code"] == 4001
    assert body["data"]["walletgate"]["code"] == "policy_denied"
    assert body["data"]["walletgate"]["request_id"] == "req_1"
    assert w3.eth.get_balance(TO) == 0


def test_each_answer_has_the_code_of_the_node_endpoint(w3, gate, answer_error):
    gate.plan = [("awaiting_approval", [])]
    cases = [(None, ApprovalPending, -32002)]
    cases += [((answer_error("token_expired", "x"), 401), AuthenticationError, 4100)]
    cases += [((answer_error("frozen", "x"), 503), GatePausedError, 4900), ((b"<", 200), GateUnavailable, 4900)]
    cases += [((answer_error("chain_unavailable", "x"), 502), walletgate.WalletGateError, -32003)]
    cases += [((answer_error("bad_hex", "x"), 400), InvalidRequestError, -32603)]
    for broken, kind, code in cases:
        gate.broken = broken
        with pytest.raises(Web3RPCError) as caught:
            w3.eth.send_transaction({"to": TO, "value": 5})
        assert isinstance(caught.value, kind)
        assert caught.value.rpc_response["error"]["code"] == code


def test_pending_send_is_waited_for_and_returns_the_hash(w3, gate):
    gate.plan = [("awaiting_approval", [])]
    with pytest.raises(ApprovalPending) as caught:
        w3.eth.send_transaction({"to": TO, "value": 5})
    threading.Timer(0.1, gate.decide, (caught.value.id, "ok")).start()
    tx_hash = caught.value.wait(5)
    assert w3.eth.wait_for_transaction_receipt(tx_hash)["status"] == 1


def test_rejected_send_is_raised(w3, gate):
    gate.plan = [("rejected", [])]
    with pytest.raises(ApprovalRejected) as caught:
        w3.eth.send_transaction({"to": TO, "value": 5})
    assert caught.value.rpc_response["error"]["code"] == 4001


def test_provider_that_does_not_know_its_chain_is_refused(w3, gate, monkeypatch):
    original = w3.provider.make_request
    monkeypatch.setattr(
        w3.provider,
        "make_request",
        lambda method, params: (
            {"jsonrpc": "2.0", "id": 1, "result": None} if method == "eth_chainId" else original(method, params)
        ),
    )
    with pytest.raises(InvalidRequestError) as caught:
        w3.manager._make_request("eth_sendTransaction", [{"to": TO}])
    assert caught.value.code == "chain_unknown"


def test_stock_signing_middleware_takes_the_account(tester, account, gate):
    w3 = Web3(EthereumTesterProvider(tester))
    w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    w3.eth.default_account = account.address
    tx_hash = w3.eth.send_transaction({"to": TO, "value": 9})
    assert w3.eth.wait_for_transaction_receipt(tx_hash)["status"] == 1
    assert gate.bodies()[0]["kind"] == "sign_transaction"


def test_async_web3_does_the_same(tester, account, gate):
    provider = AsyncEthereumTesterProvider()
    provider.ethereum_tester = tester

    async def session():
        w3 = AsyncWeb3(provider)
        walletgate.attach(w3, account)
        assert list(await w3.eth.accounts) == [gate.signer.address]
        tx_hash = await w3.eth.send_transaction({"to": TO, "value": 5})
        assert (await w3.eth.wait_for_transaction_receipt(tx_hash))["status"] == 1
        assert await w3.eth.get_balance(TO) == 5
        gate.plan = [("denied", [REASON])]
        with pytest.raises(GateDenied):
            await w3.eth.send_transaction({"to": TO, "value": 5})
        signed = await w3.manager.coro_request("eth_signTypedData_v4", [gate.signer.address, TYPED])
        assert signed == gate.signer.sign_typed_data(full_message=TYPED).signature.to_0x_hex()

    asyncio.run(session())

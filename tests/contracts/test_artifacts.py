import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from eth_account import Account
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from web3 import EthereumTesterProvider, Web3

ROOT = Path(__file__).parents[2]
SOURCES = {"Lobstar": "src/tokens/Lobstar.sol", "TestUSD": "src/tokens/TestUSD.sol"}


def load(name):
    return json.loads((ROOT / "walletgate" / "demo" / "artifacts" / f"{name}.json").read_text())


@pytest.fixture
def w3():
    return Web3(EthereumTesterProvider(EthereumTester(PyEVMBackend())))


def deploy(w3, name):
    artifact = load(name)
    factory = w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    receipt = w3.eth.wait_for_transaction_receipt(factory.constructor().transact({"from": w3.eth.accounts[0]}))
    return w3.eth.contract(address=receipt["contractAddress"], abi=artifact["abi"])


@pytest.mark.parametrize("name", SOURCES)
def test_artifact_is_of_the_source_beside_it(name):
    artifact = load(name)
    assert artifact["contract"] == name
    assert artifact["compiler"].startswith("0.8.30+")
    assert artifact["source_sha256"] == hashlib.sha256((ROOT / "contracts" / SOURCES[name]).read_bytes()).hexdigest()


@pytest.mark.node
def test_artifacts_are_what_the_sources_compile_to():
    command = [sys.executable, str(ROOT / "contracts" / "build.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0


def test_lobstar_sent_with_the_wrong_decimals_is_a_thousand_times_as_much(w3):
    token = deploy(w3, "Lobstar")
    agent, stranger = w3.eth.accounts[0], w3.eth.accounts[1]
    assert token.functions.decimals().call() == 6
    assert token.functions.balanceOf(agent).call() == 10**9 * 10**6
    token.functions.transfer(stranger, 52_439_283 * 10**6).transact({"from": agent})
    assert token.functions.balanceOf(stranger).call() == 1000 * (52_439_283 * 10**3)


def test_usd_transfer_authorized_with_eth_account_is_paid_once(w3):
    token = deploy(w3, "TestUSD")
    payer = Account.create()
    submitter, payee = w3.eth.accounts[:2]
    token.functions.mint(payer.address, 5_000_000).transact({"from": submitter})
    now = w3.eth.get_block("latest")["timestamp"]
    terms = {
        "from": payer.address,
        "to": payee,
        "value": 2_000_000,
        "validAfter": 0,
        "validBefore": now + 600,
        "nonce": b"\x07" * 32,
    }
    kinds = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]
    signed = payer.sign_typed_data(
        {
            "name": token.functions.name().call(),
            "version": token.functions.version().call(),
            "chainId": w3.eth.chain_id,
            "verifyingContract": token.address,
        },
        {"TransferWithAuthorization": [{"name": n, "type": t} for n, t in zip(terms, kinds, strict=True)]},
        terms,
    )
    transfer = token.get_function_by_signature(
        "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"
    )
    transfer(*terms.values(), signed.signature).transact({"from": submitter})
    assert token.functions.balanceOf(payee).call() == 2_000_000
    assert token.functions.authorizationState(payer.address, terms["nonce"]).call() is True
    with pytest.raises(TransactionFailed) as caught:
        transfer(*terms.values(), signed.signature).transact({"from": submitter})
    selector = w3.keccak(text="AuthorizationSpent(address,bytes32)")[:4]
    assert repr(bytes(selector))[2:-1] in str(caught.value)

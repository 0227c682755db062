"""A real EVM (py-evm, through eth-tester) behind JSON-RPC on loopback: the chain of the demo and the tests.

Every transaction is mined at once. Signing methods do not exist here, so that a client that gets something signed
got it from the gate. Errors come as nodes send them: an execution that reverts is code 3, a transaction the pool
would not take is -32000.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from web3 import EthereumTesterProvider, Web3
from web3.datastructures import NamedElementOnion
from web3.types import RPCEndpoint

ARTIFACTS = Path(__file__).parent / "artifacts"
_REFUSED = frozenset({"eth_sendTransaction", "eth_sign", "eth_signTransaction", "eth_signTypedData", "eth_accounts"})


class DevChain:
    """An embedded chain and its JSON-RPC front."""

    def __init__(self) -> None:
        self.tester = EthereumTester(PyEVMBackend())
        self.web3 = Web3(EthereumTesterProvider(self.tester))
        self.funder = self.web3.eth.accounts[0]
        self._request = EthereumTesterProvider(self.tester).request_func(self.web3, NamedElementOnion([]))

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        return int(self.web3.eth.chain_id)

    def deploy(self, name: str, *arguments: object) -> str:
        """Deploys a compiled contract (`artifacts/NAME.json`) and returns its address."""
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
        contract = self.web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        sent = contract.constructor(*arguments).transact({"from": self.funder})
        return str(self.web3.eth.wait_for_transaction_receipt(sent)["contractAddress"])

    def contract(self, name: str, address: str) -> Any:
        """A contract deployed before."""
        artifact = json.loads((ARTIFACTS / f"{name}.json").read_text())
        return self.web3.eth.contract(address=Web3.to_checksum_address(address), abi=artifact["abi"])

    def fund(self, address: str, wei: int) -> None:
        """Sends coins of the chain's own."""
        self.web3.eth.send_transaction({"from": self.funder, "to": address, "value": wei})  # type: ignore[typeddict-item]

    def answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        """The body of a JSON-RPC answer, without its id."""
        if method in _REFUSED:
            return _error(-32601, f"the method {method} does not exist")
        try:
            result = self._fee_history(params) if method == "eth_feeHistory" else self._ask(method, params)
        except TransactionFailed as error:
            return _error(3, f"execution reverted: {error.args[0] if error.args else ''}")
        except Exception as error:  # noqa: BLE001 - eth-tester and py-evm raise their own many kinds; a node answers
            return _error(-32000, f"{type(error).__name__}: {error}")
        return result

    def _ask(self, method: str, params: list[Any]) -> dict[str, Any]:
        response = self._request(RPCEndpoint(method), params)
        if "error" in response:
            return {"error": _plain(response["error"])}
        result = response.get("result")
        return {"result": str(result) if method == "net_version" else _plain(result)}

    def _fee_history(self, params: list[Any]) -> dict[str, Any]:
        """eth-tester answers with empty lists; clients want one price a block and one for the next."""
        count = min(int(params[0], 16), 20)
        head = self.web3.eth.get_block("latest")
        base, number = int(head["baseFeePerGas"]), int(head["number"])
        percentiles = params[2] if len(params) > 2 else []
        reward = [[hex(10**9) for _ in percentiles] for _ in range(count)]
        return {
            "result": {
                "oldestBlock": hex(max(0, number - count + 1)),
                "baseFeePerGas": [hex(base)] * (count + 1),
                "gasUsedRatio": [0.5] * count,
                "reward": reward,
            }
        }

    async def handle(self, request: web.Request) -> web.Response:
        """One HTTP request: a call or a batch."""
        body = await request.json()
        calls = body if isinstance(body, list) else [body]
        answers = [
            {"jsonrpc": "2.0", "id": call.get("id"), **self.answer(call["method"], call.get("params", []))}
            for call in calls
        ]
        return web.json_response(answers if isinstance(body, list) else answers[0])

    def app(self) -> web.Application:
        """The chain as a web application."""
        app = web.Application()
        app.add_routes([web.post("/", self.handle)])
        return app


async def serve_chain(chain: DevChain, *, port: int = 0) -> tuple[web.AppRunner, str]:
    """Serves `chain` on loopback; returns what stops it and its URL."""
    runner = web.AppRunner(chain.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def _error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _plain(value: Any) -> Any:
    """JSON as nodes send it: quantities and bytes in hex."""
    if isinstance(value, bool) or value is None or isinstance(value, str | float):
        return value
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes):
        return "0x" + bytes(value).hex()
    if isinstance(value, Mapping):
        return {_key(key): _field(key, item) for key, item in value.items() if key != "state_root"}
    return [_plain(item) for item in value]


def _key(key: str) -> str:
    return "yParity" if key == "y_parity" else key


def _field(key: str, value: Any) -> Any:
    return f"0x{value:0512x}" if key == "logsBloom" and isinstance(value, int) else _plain(value)

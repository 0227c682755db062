"""The node, which is not trusted: what the gate asks it, with a bound on everything it may answer.

`Chain` is what the gate needs of a chain; `NodeChain` speaks JSON-RPC (execution-apis) to one endpoint over one
pooled session. The chain id is checked against the operator's before anything else is believed; hashes are
computed here and never taken from an answer; signing methods do not exist on this side. Answers are read with a
parser that bounds nesting by itself, because the interpreter's own bound may have been lifted by a library.

*Refused* and *unknown* are different: a node that says no to raw bytes raises `broadcast_rejected`; a node that
does not answer raises `broadcast_uncertain`, and then the bytes may be out there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

import aiohttp
import orjson

from walletgate.encoding import checksum_address, to_hex
from walletgate.errors import ChainError
from walletgate.types import Address, Hash32, Transaction, TransactionType

ANSWER_SIZE_BYTES_MAX = 32 * 1024 * 1024
NONCE_MAX = 2**40
"""More transactions than any account will make; what a node says beyond is no count."""

HEIGHT_MAX = 2**48
"""More blocks than any chain will have; the log's integers end at 2^53."""

TIMEOUT_S = 10.0
_QUANTITY = re.compile(r"0x(?:0|[1-9a-fA-F][0-9a-fA-F]{0,63})\Z")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}\Z")
_KNOWN = ("already known", "already imported", "known transaction", "already exists")


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """What the chain asks for right now, in wei per gas. `base_fee` is 0 where there is none (EIP-1559)."""

    base_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction. `fee` is wei actually paid; `block_hash` may be missing in old nodes."""

    block_number: int
    succeeded: bool
    gas_used: int
    fee: int
    block_hash: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of the chain as the node has it now. `time_s` is Unix seconds."""

    number: int
    hash: str
    time_s: int


class NodeRefusedError(Exception):
    """The node's own error object, to be passed on to whoever asked."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class Chain(Protocol):
    """One chain, seen through a node. Every method may raise ChainError."""

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id, as the operator pinned it."""

    async def forward(self, method: str, params: Sequence[object]) -> object:
        """A read passed through as it is. Raises NodeRefusedError with the node's error."""

    async def block_number(self) -> int:
        """Height of the head."""

    async def block(self, number: int) -> Block | None:
        """The block at a height, None where there is none (yet)."""

    async def nonce(self, wallet: Address, block: str) -> int:
        """Transactions of `wallet` up to `block` (`latest`, `pending` or a hex number)."""

    async def fees(self) -> FeeQuote:
        """Current prices."""

    async def estimate_gas(self, call: Transaction) -> int:
        """Gas units the call would take now; raises NodeRefusedError when it would revert."""

    async def balance(self, wallet: Address) -> int:
        """Wei."""

    async def send_raw(self, raw: bytes) -> None:
        """Broadcasts signed bytes; returns when the node has them. `broadcast_rejected`, `broadcast_uncertain`."""

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        """The receipt, None while there is none."""

    async def close(self) -> None:
        """Lets go of connections."""


class NodeChain:
    """A chain behind one JSON-RPC endpoint."""

    def __init__(self, url: str, chain_id: int, *, failed: Callable[[str], None] = lambda _code: None) -> None:
        """`url` may carry credentials; it never appears in an error. `failed` is told the code of each failure."""
        self._failed = failed
        self._url = url
        self._chain_id = chain_id
        self._ids = count(1)
        self._session: aiohttp.ClientSession | None = None
        self._checked = False

    @property
    def chain_id(self) -> int:
        """See `Chain.chain_id`."""
        return self._chain_id

    async def check(self) -> None:
        """Asks the node which chain it is on, once per session.

        Raises:
            ChainError: `wrong_chain`, `chain_unavailable`, `chain_answer_invalid`.
        """
        answer = _quantity(await self._post("eth_chainId", ()), "eth_chainId")
        if answer != self._chain_id:
            raise ChainError(
                f"the node is on chain {answer}, not {self._chain_id}",
                code="wrong_chain",
                data={"actual": answer, "expected": self._chain_id},
            )
        self._checked = True

    async def forward(self, method: str, params: Sequence[object]) -> object:
        """See `Chain.forward`."""
        try:
            if not self._checked:
                await self.check()
            return await self._post(method, params)
        except ChainError as error:
            self._failed(error.code)
            raise

    async def block_number(self) -> int:
        """See `Chain.block_number`."""
        return _height(await self._number("eth_blockNumber"))

    async def block(self, number: int) -> Block | None:
        """See `Chain.block`."""
        answer = await self.forward("eth_getBlockByNumber", (hex(number), False))
        if not isinstance(answer, Mapping):
            return None
        time_s = _quantity(answer.get("timestamp"), "timestamp")
        if time_s > HEIGHT_MAX:
            raise ChainError("the node's block time is out of all proportion", code="chain_answer_invalid")
        return Block(number, _hash(answer.get("hash")), time_s)

    async def nonce(self, wallet: Address, block: str) -> int:
        """See `Chain.nonce`."""
        count = await self._number("eth_getTransactionCount", checksum_address(wallet), block)
        if count > NONCE_MAX:
            raise ChainError("the node's nonce is out of all proportion", code="chain_answer_invalid")
        return count

    async def fees(self) -> FeeQuote:
        """See `Chain.fees`."""
        block, priority = await asyncio.gather(
            self.forward("eth_getBlockByNumber", ("latest", False)), self._number("eth_maxPriorityFeePerGas")
        )
        if not isinstance(block, Mapping):
            raise ChainError("the node's latest block is not an object", code="chain_answer_invalid")
        return FeeQuote(_quantity(block.get("baseFeePerGas") or "0x0", "baseFeePerGas"), priority)

    async def estimate_gas(self, call: Transaction) -> int:
        """See `Chain.estimate_gas`."""
        return _quantity(await self.forward("eth_estimateGas", (call_object(call),)), "eth_estimateGas")

    async def balance(self, wallet: Address) -> int:
        """See `Chain.balance`."""
        return await self._number("eth_getBalance", checksum_address(wallet), "latest")

    async def send_raw(self, raw: bytes) -> None:
        """See `Chain.send_raw`. The hash in the answer is ignored: the gate has computed its own."""
        try:
            await self.forward("eth_sendRawTransaction", (to_hex(raw),))
        except NodeRefusedError as refusal:
            if any(words in refusal.message.lower() for words in _KNOWN):
                return
            raise ChainError(
                "the node refused the transaction",
                code="broadcast_rejected",
                data={"node_message": refusal.message[:200]},
            ) from None
        except ChainError as error:
            raise ChainError(
                f"it is not known whether the node took the transaction: {error.detail}", code="broadcast_uncertain"
            ) from None

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        """See `Chain.receipt`."""
        answer = await self.forward("eth_getTransactionReceipt", (to_hex(tx_hash),))
        if answer is None:
            return None
        if not isinstance(answer, Mapping) or answer.get("blockNumber") is None:
            return None
        gas_used = _quantity(answer.get("gasUsed"), "gasUsed")
        price = _quantity(answer.get("effectiveGasPrice") or "0x0", "effectiveGasPrice")
        extra = _quantity(answer.get("l1Fee") or "0x0", "l1Fee")
        succeeded = _quantity(answer.get("status"), "status") == 1
        height = _height(_quantity(answer["blockNumber"], "blockNumber"))
        return Receipt(height, succeeded, gas_used, gas_used * price + extra, _hash(answer.get("blockHash")))

    async def close(self) -> None:
        """See `Chain.close`."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _number(self, method: str, *params: object) -> int:
        return _quantity(await self.forward(method, params), method)

    async def _post(self, method: str, params: Sequence[object]) -> object:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        try:
            async with self._session.post(self._url, json=body, allow_redirects=False) as response:
                text = bytearray()
                async for part in response.content.iter_any():
                    text += part
                    if len(text) > ANSWER_SIZE_BYTES_MAX:
                        raise ChainError(f"{method}: the node's answer is too large", code="chain_answer_invalid")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._checked = False
            raise ChainError(f"{method}: no answer from the node ({type(error).__name__})") from None
        return _result(method, bytes(text))


def call_object(call: Transaction) -> dict[str, object]:
    """The JSON-RPC object of a call, for reads such as eth_estimateGas."""
    fields: dict[str, object] = {
        "from": checksum_address(call.sender),
        "value": hex(call.value),
        "data": to_hex(call.data),
    }
    if call.to is not None:
        fields["to"] = checksum_address(call.to)
    if call.access_list:
        fields["accessList"] = [
            {"address": checksum_address(e.address), "storageKeys": [to_hex(k) for k in e.storage_keys]}
            for e in call.access_list
        ]
    if call.type in (TransactionType.LEGACY, TransactionType.ACCESS_LIST):
        fields["type"] = hex(call.type)
    return fields


def _result(method: str, text: bytes) -> object:
    try:
        answer = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ChainError(f"{method}: the node's answer is not JSON", code="chain_answer_invalid") from None
    if not isinstance(answer, dict) or ("result" not in answer and "error" not in answer):
        raise ChainError(f"{method}: the node's answer is not JSON-RPC", code="chain_answer_invalid")
    error = answer.get("error")
    if error is None:
        return answer.get("result")
    if not isinstance(error, dict) or not isinstance(error.get("code"), int):
        raise ChainError(f"{method}: the node's error is malformed", code="chain_answer_invalid")
    raise NodeRefusedError(error["code"], str(error.get("message", "")), error.get("data"))


def _height(number: int) -> int:
    """A block's number that can be one: it goes into the log, whose integers end at 2^53."""
    if number > HEIGHT_MAX:
        raise ChainError("the node's block number is out of all proportion", code="chain_answer_invalid")
    return number


def _hash(value: object) -> str:
    """A 32-byte hash as text, empty when the node gives none that is one."""
    return value.lower() if isinstance(value, str) and _HASH.match(value) else ""


def _quantity(value: object, what: str) -> int:
    if not isinstance(value, str) or not _QUANTITY.match(value):
        raise ChainError(f"the node's {what} is not a quantity", code="chain_answer_invalid")
    return int(value, 16)

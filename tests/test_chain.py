"""The node client believes nothing it can check, and tells *no* from *not known*."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tests.factories import WALLET
from walletgate.chain import ANSWER_SIZE_BYTES_MAX, NodeChain, NodeRefusedError
from walletgate.errors import ChainError
from walletgate.types import Hash32

Work = Callable[[NodeChain], Awaitable[Any]]


def ask(answers: dict[str, Any], work: Work, *, raw: bytes | None = None) -> Any:
    """Runs `work` against a node that answers so; a dict with `error` is an error, `raw` is the whole body."""

    async def handle(request: web.Request) -> web.Response:
        call = await request.json()
        if raw is not None and call["method"] != "eth_chainId":
            return web.Response(body=raw)
        answer = answers.get(call["method"], "0x7a69" if call["method"] == "eth_chainId" else None)
        body = answer if isinstance(answer, dict) and "error" in answer else {"result": answer}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], **body})

    async def run() -> Any:
        app = web.Application()
        app.add_routes([web.post("/", handle)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        chain = NodeChain(f"http://user:secret@127.0.0.1:{runner.addresses[0][1]}", 31337)
        try:
            return await work(chain)
        finally:
            await chain.close()
            await runner.cleanup()

    return asyncio.run(run())


def test_a_node_on_another_chain_is_not_used() -> None:
    with pytest.raises(ChainError) as caught:
        ask({"eth_chainId": "0x1"}, lambda chain: chain.block_number())
    assert caught.value.code == "wrong_chain"
    assert caught.value.data["actual"] == 1


@pytest.mark.parametrize("answer", ["0xffffffffffffffff", hex(2**40 + 1)])
def test_a_nonce_out_of_all_proportion_is_no_nonce(answer: str) -> None:
    with pytest.raises(ChainError) as caught:
        ask({"eth_getTransactionCount": answer}, lambda chain: chain.nonce(WALLET, "pending"))
    assert caught.value.code == "chain_answer_invalid"


@pytest.mark.parametrize("answer", [12, "12", "0x", "0x00", "0xzz", None, [], {}, True, "0x" + "f" * 65, "-0x1", "0X1"])
def test_numbers_that_are_not_quantities_are_refused(answer: Any) -> None:
    with pytest.raises(ChainError) as caught:
        ask({"eth_blockNumber": answer}, lambda chain: chain.block_number())
    assert caught.value.code == "chain_answer_invalid"


@pytest.mark.parametrize(
    "raw", [b"", b"not json", b"[]", b"{}", b'{"error": 5}', b'{"error": {"code": "x"}}', b"[" * 200_000, b"\xff\xfe"]
)
def test_answers_that_are_not_json_rpc_are_refused(raw: bytes) -> None:
    with pytest.raises(ChainError) as caught:
        ask({}, lambda chain: chain.block_number(), raw=raw)
    assert caught.value.code == "chain_answer_invalid"


def test_an_endless_answer_is_cut() -> None:
    with pytest.raises(ChainError) as caught:
        ask({}, lambda chain: chain.block_number(), raw=b"x" * (ANSWER_SIZE_BYTES_MAX + 1))
    assert caught.value.code == "chain_answer_invalid"


def test_nobody_there_is_said_without_the_url() -> None:
    async def run() -> None:
        chain = NodeChain("http://user:secret@127.0.0.1:1", 31337)
        try:
            await chain.block_number()
        finally:
            await chain.close()

    with pytest.raises(ChainError) as caught:
        asyncio.run(run())
    assert caught.value.code == "chain_unavailable"
    assert "secret" not in str(caught.value)


def refusal(message: str) -> dict[str, Any]:
    return {"error": {"code": -32000, "message": message}}


@pytest.mark.parametrize("message", ["already known", "transaction already imported", "ALREADY KNOWN: 0xab"])
def test_a_transaction_the_node_has_is_sent(message: str) -> None:
    ask({"eth_sendRawTransaction": refusal(message)}, lambda chain: chain.send_raw(b"\x02"))


def test_a_refused_broadcast_is_no_uncertain_one() -> None:
    with pytest.raises(ChainError) as caught:
        ask({"eth_sendRawTransaction": refusal("nonce too low")}, lambda chain: chain.send_raw(b"\x02"))
    assert caught.value.code == "broadcast_rejected"
    with pytest.raises(ChainError) as caught:
        ask({}, lambda chain: chain.send_raw(b"\x02"), raw=b"gibberish")
    assert caught.value.code == "broadcast_uncertain"


def test_the_nodes_own_errors_pass_through_with_code_and_data() -> None:
    answer = {"error": {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}}
    with pytest.raises(NodeRefusedError) as caught:
        ask({"eth_call": answer}, lambda chain: chain.forward("eth_call", ({},)))
    assert (caught.value.code, caught.value.data) == (3, "0x08c379a0")


def test_a_receipt_counts_what_was_paid_with_the_second_layers_part() -> None:
    receipt = {
        "blockNumber": "0x10", "gasUsed": "0x5208", "effectiveGasPrice": "0x2", "l1Fee": "0x64", "status": "0x1",
    }  # fmt: skip
    found = ask({"eth_getTransactionReceipt": receipt}, lambda chain: chain.receipt(Hash32(bytes(32))))
    assert (found.block_number, found.succeeded, found.fee) == (16, True, 2 * 21_000 + 100)
    for missing in (None, {**receipt, "blockNumber": None}):
        assert ask({"eth_getTransactionReceipt": missing}, lambda chain: chain.receipt(Hash32(bytes(32)))) is None


def test_fees_and_nonces_are_read() -> None:
    answers = {
        "eth_getBlockByNumber": {"baseFeePerGas": "0x64"}, "eth_maxPriorityFeePerGas": "0x5",
        "eth_getTransactionCount": "0x2a",
    }  # fmt: skip
    quote = ask(answers, lambda chain: chain.fees())
    assert (quote.base_fee, quote.priority_fee) == (100, 5)
    assert ask(answers, lambda chain: chain.nonce(WALLET, "pending")) == 42


@pytest.mark.parametrize("height", [2**48 + 1, 2**53, 2**256 - 1])
def test_a_block_number_out_of_proportion_is_no_answer(height: int) -> None:
    """It would go into the log, whose integers end at 2^53, and stop the gate there."""
    receipt = {"blockNumber": hex(height), "status": "0x1", "gasUsed": "0x1", "effectiveGasPrice": "0x1"}
    answers = {"eth_blockNumber": hex(height), "eth_getTransactionReceipt": receipt}
    for work in (lambda chain: chain.block_number(), lambda chain: chain.receipt(Hash32(bytes(32)))):
        with pytest.raises(ChainError) as caught:
            ask(answers, work)
        assert caught.value.code == "chain_answer_invalid"

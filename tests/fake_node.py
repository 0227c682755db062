"""A `FakeChain` behind real JSON-RPC, in a thread, for gates that run in processes of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from tests.fakes import FakeChain
from walletgate.encoding import keccak256, parse_address, parse_hex, to_hex
from walletgate.errors import ChainError
from walletgate.types import Hash32


async def _answer(chain: FakeChain, method: str, params: list[Any]) -> Any:
    match method:
        case "eth_chainId":
            return hex(chain.chain_id)
        case "eth_blockNumber":
            return hex(chain.head)
        case "eth_getTransactionCount":
            return hex(await chain.nonce(parse_address(params[0], where="wallet"), params[1]))
        case "eth_getBlockByNumber":
            return {"baseFeePerGas": hex(chain.base_fee), "number": hex(chain.head), "timestamp": "0x0"}
        case "eth_maxPriorityFeePerGas":
            return hex(10**8)
        case "eth_estimateGas":
            return hex(50_000)
        case "eth_sendRawTransaction":
            raw = parse_hex(params[0], where="raw")
            await chain.send_raw(raw)
            return to_hex(keccak256(raw))
        case "eth_getTransactionReceipt":
            receipt = await chain.receipt(Hash32(parse_hex(params[0], where="hash")))
            if receipt is None:
                return None
            return {
                "blockNumber": hex(receipt.block_number), "gasUsed": hex(receipt.gas_used),
                "effectiveGasPrice": hex(chain.fee_per_gas), "status": hex(receipt.succeeded),
            }  # fmt: skip
        case "eth_call":
            call = params[0] if params and isinstance(params[0], dict) else {}
            return chain.reads.get((str(call.get("to")).lower(), str(call.get("data")).lower()), "0x" + "00" * 32)
        case "eth_getCode":
            return chain.reads.get((str(params[0]).lower(), "code"), "0x")
        case _:
            return chain.answers.get(method)


def node_app(chain: FakeChain) -> web.Application:
    """The chain as a web application. What `chain.answers` holds for a method is answered in place of the truth."""

    async def handle(request: web.Request) -> web.Response:
        call = await request.json()
        try:
            result = await _answer(chain, call["method"], call["params"])
        except ChainError:
            return web.Response(status=502)
        result = chain.answers.get(call["method"], result)
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "result": result})

    app = web.Application()
    app.add_routes([web.post("/", handle)])
    return app


@contextmanager
def served(chain: FakeChain) -> Iterator[str]:
    """The chain's URL, for as long as the block lasts."""

    async def start() -> tuple[web.AppRunner, int]:
        runner = web.AppRunner(node_app(chain), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, runner.addresses[0][1]

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner, port = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()

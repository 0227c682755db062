"""The tool call goes along with what is asked, and with nothing else."""

import asyncio
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

import walletgate
from walletgate.agent.client import Threads
from walletgate.agent.context import trace_headers
from walletgate.errors import InvalidRequestError

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_outside_of_a_tool_call_nothing_is_sent():
    assert trace_headers() == {}
    with walletgate.tool_call("call_1"):
        pass
    assert trace_headers() == {}


def test_inside_the_call_and_its_trace_are_sent():
    with walletgate.tool_call("call_1", traceparent=PARENT) as sent:
        assert trace_headers() == {"X-Tool-Call-Id": "call_1", "traceparent": PARENT}
        assert sent == PARENT
        with walletgate.tool_call("call_2"):
            assert trace_headers() == {"X-Tool-Call-Id": "call_2", "traceparent": PARENT}
        assert trace_headers()["X-Tool-Call-Id"] == "call_1"
    with walletgate.tool_call("call_3") as fresh:
        assert fresh != PARENT and trace_headers()["traceparent"] == fresh


@pytest.mark.parametrize(
    ("name", "parent"), [("", None), ("a b", None), ("x\r\nHost: y", None), ("ok", "nonsense"), ("ok", PARENT + "\n")]
)
def test_what_is_no_id_is_refused(name, parent):
    with pytest.raises(InvalidRequestError) as caught, walletgate.tool_call(name, traceparent=parent):
        pass
    assert caught.value.code == "bad_trace"


def test_it_goes_along_to_the_threads_of_async_clients_and_not_to_others():
    async def work():
        with walletgate.tool_call("call_9"):
            return await Threads().run(trace_headers)

    with ThreadPoolExecutor(1) as pool, walletgate.tool_call("call_8"):
        assert pool.submit(trace_headers).result() == {}
    assert asyncio.run(work())["X-Tool-Call-Id"] == "call_9"


def test_two_tasks_do_not_mix():
    async def one(name):
        with walletgate.tool_call(name):
            await asyncio.sleep(0)
            return trace_headers()["X-Tool-Call-Id"]

    async def work():
        return await asyncio.gather(*(one(f"call_{n}") for n in range(20)))

    assert asyncio.run(work()) == [f"call_{n}" for n in range(20)]


def test_the_current_span_of_opentelemetry_goes_along(monkeypatch):
    context = types.SimpleNamespace(
        trace_id=0x4BF92F3577B34DA6A3CE929D0E0E4736, span_id=0xF067AA0BA902B7, trace_flags=1
    )
    span = types.SimpleNamespace(get_span_context=lambda: context)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", types.SimpleNamespace(get_current_span=lambda: span))
    assert trace_headers() == {"traceparent": PARENT}
    with walletgate.tool_call("call_1"):
        assert trace_headers() == {"X-Tool-Call-Id": "call_1", "traceparent": PARENT}
    context.trace_id = 0
    assert trace_headers() == {}

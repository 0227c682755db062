"""Metrics and spans: what is counted is what happened, and Prometheus can read it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from tests.endpoints import OPERATOR_TOKEN, make_endpoints
from tests.factories import TOKEN, make_gate, payment
from walletgate.errors import ConfigError
from walletgate.gate.meter import BOUNDS_S, Histogram
from walletgate.server.home import parse_config
from walletgate.server.metrics import METRICS
from walletgate.server.spans import make_spans
from walletgate.types import Address

DASHBOARD = Path(__file__).parents[2] / "examples" / "grafana" / "walletgate.json"


def values(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def value(found: dict[str, list[tuple[dict[str, str], float]]], name: str, **labels: str) -> float:
    (number,) = [n for given, n in found[name] if labels.items() <= given.items()]
    return number


def test_metrics_say_what_happened(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as ends:
            await ends.bench.pay(10)
            await ends.bench.pay(10)
            waiting = await ends.bench.pay(30)
            await ends.bench.ask({"payload": payment(1, to=Address(b"\x13" * 20))})
            await ends.bench.quiet()
            headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
            await ends.operate("GET", "/v1/log")
            async with ends.operators.get("/metrics", headers=headers) as answer:
                assert answer.status == 200
                assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                found = values(await answer.text())
        assert waiting.status.value == "awaiting_approval"
        assert value(found, "walletgate_decisions_total", outcome="allow", code="permitted") == 2
        assert value(found, "walletgate_decisions_total", outcome="require_approval") == 1
        assert sum(n for labels, n in found["walletgate_decisions_total"] if labels["outcome"] == "deny") == 1
        assert value(found, "walletgate_requests_open", status="awaiting_approval") == 1
        assert value(found, "walletgate_inflight_nonces", wallet="main", chain="31337") == 2
        assert value(found, "walletgate_limit_used_ratio", asset="USDC", window="86400s") == pytest.approx(0.5)
        assert value(found, "walletgate_stage_seconds_count", stage="decide") == 4
        assert value(found, "walletgate_stage_seconds_count", stage="sign") == 2
        assert value(found, "walletgate_stage_seconds_count", stage="broadcast") == 2
        assert value(found, "walletgate_log_unsigned_entries") == 0
        assert value(found, "walletgate_checkpoint_age_seconds") == 0

    asyncio.run(work())


@pytest.mark.parametrize("token", [TOKEN, "nonsense"])
def test_metrics_are_for_operators(tmp_path: Path, token: str) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as ends:
            status, body = await ends.operate("GET", "/metrics", token=token)
            assert (status, body["error"]["code"] in ("wrong_endpoint", "token_unknown")) == (401, True)

    asyncio.run(work())


def test_failures_of_nodes_are_counted(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_endpoints(tmp_path) as ends:
            ends.bench.chain.refuse = "no"
            await asyncio.wait_for(ends.bench.pay(1), 5)
            async with ends.operators.get("/metrics", headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"}) as answer:
                found = values(await answer.text())
            assert value(found, "walletgate_node_errors_total", chain="31337", code="broadcast_rejected") >= 1

    asyncio.run(work())


def test_a_histogram_counts_up_to_its_bounds() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.0001, 0.00011, 10.0, 11.0):
        histogram.observe(seconds)
    assert histogram.counts[0] == 2
    assert histogram.counts[1] == 1
    assert histogram.counts[len(BOUNDS_S) - 1 :] == [1, 1]


def test_the_dashboard_asks_for_what_there_is_and_shows_all_of_it() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    exprs = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for expr in exprs for name in re.findall(r"walletgate_\w+", expr)}
    histograms = {name for name, (kind, _) in METRICS.items() if kind == "histogram"}
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    assert plain == set(METRICS)
    assert {re.sub(r"_(bucket|sum|count)$", "", n) for n in names if re.search(r"_(bucket|sum)$", n)} == histograms
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(expr.count("(") == expr.count(")") and expr.count("{") == expr.count("}") for expr in exprs)


# --- spans -------------------------------------------------------------------------------------------


def test_a_requests_span_is_a_child_of_the_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"

    async def work() -> None:
        async with make_endpoints(tmp_path) as ends:
            ends.bench.gate.meter.watcher = make_spans()
            body: dict[str, Any] = {"id": "a", "kind": "transaction", "payload": payment(1)}
            await ends.api("POST", "/v1/requests", body, headers={"traceparent": parent})
            await ends.api("POST", "/v1/requests", body, headers={"traceparent": parent})
            await ends.bench.pay(999)

    asyncio.run(work())
    spans = exporter.get_finished_spans()
    wholes = [span for span in spans if span.name == "walletgate.request"]
    assert [span.attributes["walletgate.outcome"] for span in wholes if span.attributes] == ["allow", "deny"]
    first = wholes[0]
    assert first.parent is not None and first.context is not None
    assert (f"{first.context.trace_id:032x}", f"{first.parent.span_id:016x}") == ("ab" * 16, "cd" * 8)
    parts = [span.name for span in spans if span.parent and span.parent.span_id == first.context.span_id]
    assert parts == ["walletgate.prepare", "walletgate.decide", "walletgate.commit", "walletgate.broadcast"]
    assert wholes[1].parent is None


def test_without_a_watcher_nothing_is_noted(tmp_path: Path) -> None:
    async def work() -> None:
        async with make_gate(tmp_path) as bench:
            assert bench.gate.meter.watcher is None
            await bench.pay(1)

    asyncio.run(work())


def test_spans_are_switched_on_by_a_boolean() -> None:
    base = 'name = "g"\n{}[chains.base]\nurl = "http://127.0.0.1:1"\n'
    assert not parse_config(base.format(""), source="x").spans
    assert parse_config(base.format("spans = true\n"), source="x").spans
    with pytest.raises(ConfigError) as caught:
        parse_config(base.format('spans = "yes"\n'), source="x")
    assert caught.value.data["key"] == "spans"

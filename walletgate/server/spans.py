"""OpenTelemetry spans of the gate's work, where the process has OpenTelemetry and walletgate.toml says `spans = true`.

Which exporter takes them is OpenTelemetry's own configuration (`opentelemetry-instrument walletgate serve`). A
request's span is made after its way has ended, from times that were noted; its parent is the trace context the agent
sent. Attributes are ids, codes and numbers; nothing an agent wrote, and no token or signature.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from walletgate.audit.trace import TRACEPARENT
from walletgate.encoding import to_hex
from walletgate.errors import ConfigError
from walletgate.gate.ask import Ask
from walletgate.gate.gate import VERSION
from walletgate.gate.meter import Mark, Watcher
from walletgate.store import Request


def make_spans() -> Watcher:
    """What makes a span of each request.

    Raises:
        ConfigError: `spans_unavailable`, OpenTelemetry is not installed.
    """
    try:
        api: Any = importlib.import_module("opentelemetry.trace")
        propagation: Any = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
    except ImportError:
        text = "spans = true needs OpenTelemetry: pip install opentelemetry-distro opentelemetry-exporter-otlp"
        raise ConfigError(text, code="spans_unavailable") from None
    tracer, reader = api.get_tracer("walletgate", VERSION), propagation.TraceContextTextMapPropagator()

    def watch(ask: Ask, request: Request, parts: tuple[Mark, ...]) -> None:
        parent = reader.extract({"traceparent": ask.trace.get(TRACEPARENT, "")})
        decision = json.loads(request.decision)
        attributes: dict[str, str | int] = {
            "walletgate.request": request.id, "walletgate.grant": request.grant_id,
            "walletgate.surface": request.surface, "walletgate.method": request.kind,
            "walletgate.chain_id": request.chain_id, "walletgate.status": request.status.value,
            "walletgate.outcome": str(decision["outcome"]),
        }  # fmt: skip
        if request.tx_hash is not None:
            attributes["walletgate.tx"] = to_hex(request.tx_hash)
        whole = tracer.start_span(
            "walletgate.request", context=parent, start_time=parts[0][1], attributes=attributes
        )  # fmt: skip
        within = api.set_span_in_context(whole)
        for name, began_ns, ended_ns in parts:
            tracer.start_span(f"walletgate.{name}", context=within, start_time=began_ns).end(end_time=ended_ns)
        whole.end(end_time=parts[-1][2])

    return watch

"""Where an agent's request comes from: the tool call that led to it, and the trace it is part of.

    with walletgate.tool_call("call_17"):
        account.send(…)

Whatever is asked inside goes to the gate with the call's id, and the log keeps it, so that afterwards one command shows
the way from the tool call to the money. The trace is W3C's (`traceparent`): the one given, otherwise OpenTelemetry's
current span where the agent uses it, otherwise, inside `tool_call`, a new one. It holds per task and thread, and nests.
Only ids are sent, no text.
"""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from walletgate.agent.errors import make
from walletgate.errors import InvalidRequestError

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@=+-]{0,127}\Z")
_PARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")

_current: ContextVar[tuple[str, str] | None] = ContextVar("walletgate_tool_call", default=None)


@contextmanager
def tool_call(id: str, *, traceparent: str | None = None) -> Iterator[str]:  # noqa: A002 - the API's word
    """Marks everything asked of the gate inside as part of the tool call `id`; gives the `traceparent` that is sent.

    Raises:
        InvalidRequestError: `bad_trace`, an id that is not 1 to 128 letters, digits and `._:/@=+-`, or no traceparent.
    """
    if not _ID.match(id):
        raise make(InvalidRequestError, "a tool call's id is 1 to 128 letters, digits and ._:/@=+-", code="bad_trace")
    if traceparent is not None and not _PARENT.match(traceparent):
        raise make(InvalidRequestError, "traceparent is not one (W3C Trace Context)", code="bad_trace")
    outer = _current.get()
    parent = traceparent or _span() or (outer[1] if outer else _fresh())
    token = _current.set((id, parent))
    try:
        yield parent
    finally:
        _current.reset(token)


def in_tool_call() -> bool:
    """Whether the agent has said which tool call this is."""
    return _current.get() is not None


def trace_headers() -> dict[str, str]:
    """The headers that carry the current tool call and trace; none outside of both."""
    found = _current.get()
    if found is not None:
        return {"X-Tool-Call-Id": found[0], "traceparent": _span() or found[1]}
    span = _span()
    return {} if span is None else {"traceparent": span}


def _span() -> str | None:
    """OpenTelemetry's current span, if the agent has loaded it and there is one."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None:
        return None
    context = api.get_current_span().get_span_context()
    text = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    return text if _PARENT.match(text) else None


def _fresh() -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"

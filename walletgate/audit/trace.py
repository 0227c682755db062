"""One agent's story as a tree: tool call, request, decision, approval, transaction, money.

Every request's first entry carries what the agent's own tracing says of itself: the W3C trace context (`traceparent`)
and the id of the tool call that led to it. So the story begins where the agent decided to act, and ends where money
moved or did not. `tell` takes entries as the log holds them, in order, and picks those about one agent, grant, request,
trace, tool call or transaction; it is given a way to read them twice, because what is asked for may be named late.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from walletgate.audit.entry import Kind
from walletgate.encoding import printable

TRACEPARENT: Final = "traceparent"
TOOL_CALL: Final = "x-tool-call-id"

REQUESTS_MAX: Final = 1000
"""The most requests in one story, the newest."""

_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?\Z")
_CALL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@=+-]{0,127}\Z")
_PROBLEM: Final = frozenset(
    (Kind.REQUEST_DENIED, Kind.REQUEST_REJECTED, Kind.REQUEST_EXPIRED, Kind.TRANSACTION_REVERTED, Kind.BROADCAST_FAILED,
     Kind.TRANSACTION_DROPPED, Kind.FROZEN, Kind.GRANT_REVOKED, Kind.AGENT_REFUSED, Kind.APPROVAL_REFUSED)
)  # fmt: skip
_SIGNED: Final = (Kind.TRANSACTION_SIGNED, Kind.MESSAGE_SIGNED, Kind.CODE_AUTHORIZATION_SIGNED)

Entry = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Node:
    """One step: what it is, in words, and the entry that says so (None: a heading)."""

    kind: str
    text: str
    seq: int | None = None
    at_ms: int | None = None
    is_problem: bool = False
    children: tuple[Node, ...] = ()


def parse_traceparent(text: str) -> tuple[str, str] | None:
    """Trace id and parent id of a W3C `traceparent`; None if it is not one, and then it must be ignored."""
    match = _PARENT.match(text)
    if match is None or match[1] == "ff" or not int(match[2], 16) or not int(match[3], 16):
        return None
    if match[1] == "00" and len(text) != 55:
        return None
    return match[2], match[3]


def clean_trace(found: Mapping[str, str]) -> dict[str, str]:
    """What of an agent's trace goes into the log: well-formed ids.

    Anything else is dropped, because a log that is kept for ever must not be a place to leave text in.
    """
    kept = {}
    parent, call = found.get(TRACEPARENT, ""), found.get(TOOL_CALL, "")
    if parse_traceparent(parent) is not None:
        kept[TRACEPARENT] = parent[:55]
    if _CALL.match(call):
        kept[TOOL_CALL] = call
    return kept


def tell(read: Callable[[], Iterable[Entry]], what: str, *, since_ms: int = 0) -> Node | None:
    """The story of `what` from `since_ms` on; None if the log does not name it."""
    wanted = what.lower()
    named: dict[str, None] = {}
    for entry in read():
        if "request" in entry and wanted in _names(entry):
            named[str(entry["request"])] = None
    chosen = set(list(named)[-REQUESTS_MAX:])
    stories: dict[str, list[Entry]] = {request: [] for request in chosen}
    beside: list[Entry] = []
    for entry in read():
        if _number(entry, "ts_ms") < since_ms:
            continue
        request = entry.get("request")
        if request in chosen:
            stories[str(request)].append(entry)
        elif request is None and (wanted in _names(entry) or entry.get("scope") in ("all", f"agent:{what}")):
            beside.append(entry)
    told = [story for story in stories.values() if story]
    if not told and not any(wanted in _names(entry) for entry in beside):
        return None
    return _root(what, sorted(told, key=lambda story: _number(story[0], "seq")), beside[-REQUESTS_MAX:])


def _names(entry: Entry) -> set[str]:
    """Everything an entry can be asked for by."""
    keys = ("agent", "grant", "request", "client_id", "tx")
    names = {str(entry[key]).lower() for key in keys if key in entry}
    trace = entry.get("trace")
    if isinstance(trace, Mapping):
        names |= {str(value).lower() for value in trace.values()}
        parent = parse_traceparent(str(trace.get(TRACEPARENT, "")))
        names |= set(parent or ())
    return names


def _root(what: str, stories: Sequence[Sequence[Entry]], beside: Sequence[Entry]) -> Node:
    """Headings by trace and tool call, where there are any, and what belongs to no request between them."""
    children: dict[tuple[str, str], list[Node]] = {}
    order: dict[tuple[str, str], int] = {}
    for story in stories:
        place = _place(story[0])
        children.setdefault(place, []).append(_request(story))
        order.setdefault(place, _number(story[0], "seq"))
    nodes = [(order[place], _headed(place, found)) for place, found in children.items()]
    nodes += [(_number(entry, "seq"), (_step(entry),)) for entry in beside]
    flat = [node for _, group in sorted(nodes, key=lambda item: item[0]) for node in group]
    agents = sorted({str(story[0]["agent"]) for story in stories if "agent" in story[0]})
    text = f"{printable(what)}: {len(stories)} request{'' if len(stories) == 1 else 's'}"
    if agents and agents != [what]:
        text += f" of {', '.join(map(printable, agents))}"
    return Node("story", text, children=tuple(flat))


def _place(entry: Entry) -> tuple[str, str]:
    trace = entry.get("trace")
    if not isinstance(trace, Mapping):
        return "", ""
    parent = parse_traceparent(str(trace.get(TRACEPARENT, "")))
    return (parent[0] if parent else ""), str(trace.get(TOOL_CALL, ""))


def _headed(place: tuple[str, str], nodes: Sequence[Node]) -> tuple[Node, ...]:
    trace, call = place
    inner = tuple(nodes)
    if call:
        inner = (Node("tool call", f"tool call {printable(call)}", None, nodes[0].at_ms, children=inner),)
    if trace:
        inner = (Node("trace", f"trace {trace}", None, nodes[0].at_ms, children=inner),)
    return inner


def _request(story: Sequence[Entry]) -> Node:
    first = story[0]
    words = _texts(first, "effects")
    what = words[0] if words else str(first.get("method", first.get("code", "")))
    more = f" (+{len(words) - 1} more)" if len(words) > 1 else ""
    text = f"{printable(str(first['request']))} over {printable(str(first.get('surface', '?')))}: it {what}{more}"
    decision = _decision(story)
    return Node("request", text, _number(first, "seq"), _number(first, "ts_ms"), decision.is_problem, (decision,))


def _decision(story: Sequence[Entry]) -> Node:
    """What was decided, and below it all that followed."""
    first = story[0]
    reasons = first.get("reasons")
    said = [r for r in reasons if isinstance(r, Mapping)] if isinstance(reasons, list) else []
    rules = [f"{r.get('text', r.get('code', ''))}{_rule(r)}" for r in said]
    outcome = str(first.get("decision", "?")).replace("_", " ")
    approvals = [_step(entry) for entry in story[1:] if "operator" in entry or _kind(entry) in _ENDINGS]
    signed = [entry for entry in story if _kind(entry) in _SIGNED]
    children = [*approvals, *(_transaction(entry, story) for entry in signed)]
    if not signed and "booked" in first:
        children.append(_money(story))
    text = f"{outcome}: {'; '.join(map(printable, rules[:4]))}" if rules else outcome
    return Node(
        "decision", text, _number(first, "seq"), _number(first, "ts_ms"), _kind(first) in _PROBLEM, tuple(children)
    )


_ENDINGS: Final = (Kind.REQUEST_EXPIRED, Kind.REQUEST_WITHDRAWN, Kind.REQUEST_DENIED, Kind.APPROVAL_REFUSED)


def _transaction(signed: Entry, story: Sequence[Entry]) -> Node:
    after = [e for e in story if _number(e, "seq") > _number(signed, "seq")]
    name = f"transaction {signed['tx']}, nonce {signed.get('nonce')}" if "tx" in signed else "message signed"
    steps = tuple(_step(entry) for entry in after if "operator" not in entry)
    return Node(
        "transaction", name, _number(signed, "seq"), _number(signed, "ts_ms"), any(s.is_problem for s in steps),
        (*steps, _money(story)),
    )  # fmt: skip


def _money(story: Sequence[Entry]) -> Node:
    """What it came to: spent, reserved, or given back."""
    kinds = {_kind(entry) for entry in story}
    last = story[-1]
    words = "; ".join(_texts(story[0], "effects")) or "nothing that is counted"
    fee = next((f", fee {e['fee']} wei" for e in story if "fee" in e), "")
    if Kind.TRANSACTION_CONFIRMED in kinds:
        text = f"spent: {words}{fee}"
    elif Kind.TRANSACTION_REVERTED in kinds:
        text = f"only the fee was spent{fee}"
    elif kinds & {Kind.REQUEST_REJECTED, Kind.REQUEST_EXPIRED, Kind.REQUEST_WITHDRAWN, Kind.TRANSACTION_DROPPED}:
        text = "nothing was spent; the reservation was given back"
    elif kinds & set(_SIGNED):
        text = f"counts as spent since it was signed: {words}"
    else:
        text = f"reserved: {words}"
    return Node("money", printable(text, length_max=400), _number(last, "seq"), _number(last, "ts_ms"))


def _step(entry: Entry) -> Node:
    """One entry on a line."""
    kind = _kind(entry)
    details = [
        f"{key} {printable(str(entry[key]), length_max=120)}"
        for key in ("block", "code", "detail", "why", "scope", "reason", "name", "after")
        if entry.get(key) not in (None, "")
    ]
    who = f" by {printable(str(entry['operator']))}" if "operator" in entry else ""
    text = f"{kind.replace('_', ' ')}{who}{': ' if details else ''}{', '.join(details)}"
    return Node(kind, text, _number(entry, "seq"), _number(entry, "ts_ms"), kind in _PROBLEM)


def _rule(reason: Mapping[str, object]) -> str:
    return f" (rule {reason['rule']})" if reason.get("rule") else ""


def _texts(entry: Entry, key: str) -> list[str]:
    value = entry.get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def _kind(entry: Entry) -> str:
    return str(entry["kind"])


def _number(entry: Entry, key: str) -> int:
    return int(str(entry[key]))

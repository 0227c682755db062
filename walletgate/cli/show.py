"""How requests, budgets and times look in a terminal. Decoded facts first, foreign text last and quoted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

STATUS_STYLES = {
    "denied": "red",
    "rejected": "red",
    "expired": "yellow",
    "withdrawn": "yellow",
    "awaiting_approval": "bold yellow",
    "signed": "cyan",
    "broadcast": "cyan",
    "confirmed": "green",
    "reverted": "red",
    "replaced": "yellow",
    "dropped": "yellow",
}


def quorum_warning(status: Mapping[str, Any]) -> str | None:
    """What is unwise about the quorum: it is 1 although several policy-makers could agree."""
    makers = [o["name"] for o in status["operators"] if o["removed_ms"] is None and "policy-maker" in o["roles"]]
    if status["quorum"] > 1 or len(makers) < 2:
        return None
    return f"any one of {', '.join(makers)} can loosen everything alone: the quorum is 1"


def moment(milliseconds: int | None) -> str:
    """A time of the log, in UTC to the second."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def request_panel(request: dict[str, Any]) -> RenderableType:
    """One request as an operator needs to see it before deciding."""
    facts = Table.grid(padding=(0, 1))
    facts.add_column(style="dim", justify="right", no_wrap=True)
    facts.add_column(overflow="fold")
    for number, line in enumerate(request["effects"]):
        facts.add_row("it" if number == 0 else "and", Text(line, style="bold"))
    for reason in request["decision"]["reasons"]:
        rule = f" ({reason['rule']})" if reason["rule"] else ""
        facts.add_row("because", Text(f"{reason['text']}{rule}"))
    for need in request["needs"]:
        facts.add_row("needs", Text(needs_text(need)))
    for word in request["approvals"]:
        verb = "approved" if word["approved"] else "rejected"
        facts.add_row("so far", Text(f"{verb} by {word['operator']} at {moment(word['at_ms'])}"))
    facts.add_row("agent", Text(f"{request['agent']} with wallet {request['wallet_name']} {request['wallet']}"))
    facts.add_row("chain", Text(str(request["chain_id"])))
    if request.get("expires_at"):
        facts.add_row("until", Text(moment(request["expires_at"] * 1000) + " UTC"))
    if request.get("tx_hash"):
        facts.add_row("hash", Text(request["tx_hash"]))
    facts.add_row("digest", Text(request["digest"]))
    parts: list[RenderableType] = [facts]
    if request["memo"]:
        said = Table.grid()
        said.add_column(overflow="fold")
        said.add_row(Text(f"\nthe agent says (not checked): {request['memo']}", style="dim italic"))
        parts.append(said)
    style = STATUS_STYLES.get(request["status"], "white")
    title = Text.assemble((request["request_id"], "bold"), "  ", (request["status"].replace("_", " "), style))
    return Panel(Group(*parts), title=title, title_align="left", border_style=style)


def needs_text(need: dict[str, Any]) -> str:
    """Whom a request waits for."""
    said = f"{need['quorum']} of {', '.join(need['of']) or 'any operator'}"
    if need["groups"]:
        between = " and " if need["every"] else " or "
        said = between.join(f"{group['quorum']} of {', '.join(group['of'])}" for group in need["groups"])
    return f"{said}, but not who drafted the policy or gave the grant" if need["apart"] else said


def folded(requests: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Requests with how many there are like each: those of one grant that wait and would do the same are one line."""
    found: dict[tuple[str, str, str], tuple[dict[str, Any], int]] = {}
    for request in requests:
        waits = request["status"] == "awaiting_approval"
        key = (request["grant"], request["alike"], "" if waits else request["request_id"])
        found[key] = (request, found[key][1] + 1 if key in found else 1)
    return list(found.values())


def request_table(requests: Sequence[dict[str, Any]]) -> Table:
    """Requests, one a line."""
    table = Table("time", "request", "agent", "status", "what", box=None, pad_edge=False)
    for request, count in folded(requests):
        style = STATUS_STYLES.get(request["status"], "white")
        first = request["effects"][0] if request["effects"] else "-"
        more = f" (+{len(request['effects']) - 1})" if len(request["effects"]) > 1 else ""
        more += f"  [{count} alike]" if count > 1 else ""
        table.add_row(
            moment(request["created_ms"]), request["request_id"], Text(request["agent"]),
            Text(request["status"].replace("_", " "), style=style), Text(first + more),
        )  # fmt: skip
    return table


def plain_request(request: dict[str, Any], count: int = 1) -> str:
    """One request on one line, for screen readers and pipes; `count` is how many are alike."""
    effects = "; ".join(request["effects"]) or "nothing"
    status, alike = request["status"].replace("_", " "), f" ({count} alike)" if count > 1 else ""
    return f"{moment(request['created_ms'])} {request['request_id']} {request['agent']} {status}{alike}: {effects}"


def budget_table(grants: Sequence[dict[str, Any]]) -> Table | None:
    """What is left of every windowed limit; None when there is nothing to show."""
    rows = [
        (grant["agent"], limit)
        for grant in grants
        for limit in grant["limits"]
        if limit["kind"] in ("window", "lifetime", "share")
    ]
    if not rows:
        return None
    table = Table("agent", "in", "used", "limit", "", box=None, pad_edge=False)
    for agent, limit in rows:
        used = Text("each its own") if limit["used"] is None else Text(limit["used_text"])
        bar = Text("") if limit["used"] is None else _bar(int(limit["used"]), int(limit["limit"]))
        span = "a request" if limit["kind"] == "share" else _window(limit["window_s"])
        table.add_row(Text(agent), span, used, Text(limit["limit_text"]), bar)
    return table


def _window(seconds: int | None) -> str:
    if seconds is None:
        return "ever"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0 and (seconds >= 2 * size or size == 60):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _bar(used: int, limit: int, *, width: int = 12) -> Text:
    full = width if limit == 0 else min(width, -(-used * width // limit))
    style = "green" if full < width * 4 // 5 else "yellow" if full < width else "red"
    return Text.assemble(("█" * full, style), ("░" * (width - full), "dim"))

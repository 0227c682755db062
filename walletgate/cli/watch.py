"""`request watch` as a screen: what waits, what it would do and why it is here, and a key for each answer.

Decoded facts come first, what the agent says comes last and is marked as unchecked; nothing from outside is read as
markup, and what does not print is replaced, so that no name can draw on the screen. It works in 80 columns and 24
lines, and says in characters whatever it says in colour. Nothing is signed by one key: an approval and a freeze are
shown again, with what exactly they are about, and want `y`; a rejection wants a reason or Enter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import quote

from rich.text import Text
from textual import events, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input, Static

from walletgate.cli.client import OperatorClient
from walletgate.cli.hand import Hand
from walletgate.cli.show import folded, moment, needs_text
from walletgate.errors import WalletGateError

POLL_S: Final = 1.0
QUEUE_LINES: Final = 5
BAR_WIDTH: Final = 20
_CONFIRM: Final = "y signs, any other key goes back"
_KEYS: Final = "up/down choose  PageDown more  a approve  r reject  f freeze the agent  q leave"


@dataclass(frozen=True, slots=True)
class _Question:
    """What is about to be signed, in words, and what signs it."""

    text: str
    act: Callable[[str], str]
    wants_reason: bool = False


class WatchApp(App[None]):
    """Requests that wait, one of them in full."""

    CSS = """
    #queue { height: auto; max-height: 7; }
    #detail { height: 1fr; border-top: solid $foreground; }
    #ask { height: auto; max-height: 4; border-top: solid $foreground; }
    #reason { display: none; height: 3; }
    #reason.open { display: block; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", show=False),
        Binding("down,j", "choose(1)", show=False),
        Binding("a", "approve", show=False),
        Binding("r", "reject", show=False),
        Binding("f", "freeze", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("q", "quit", show=False),
    ]

    def __init__(self, client: OperatorClient, hand: Hand, *, operator: str, gate: str) -> None:
        """`operator` is who signs with `hand`, for the title; `gate` the gate's name."""
        super().__init__()
        self._client = client
        self._hand = hand
        self._who = f"{operator} at {gate}"
        self._gate = gate
        self._waiting: list[tuple[dict[str, Any], int]] = []
        self._chosen = ""
        self._shown: dict[str, Any] | None = None
        self._question: _Question | None = None
        self._said = ""

    def compose(self) -> ComposeResult:
        """Queue, request, question."""
        yield Static(id="queue")
        with VerticalScroll(id="detail"):
            yield Static(id="request")
        yield Input(placeholder="why? Enter rejects, Escape goes back", id="reason", max_length=200)
        yield Static(id="ask")

    def on_mount(self) -> None:
        """Begins to look."""
        self._draw()
        self._look()
        self.set_interval(POLL_S, self._look)

    # --- looking -----------------------------------------------------------------------------------------

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(self._client.get, "/v1/requests?status=awaiting_approval&limit=200")
            self._waiting = folded(found["requests"][::-1])
            ids = [request["request_id"] for request, _ in self._waiting]
            if self._chosen not in ids:
                self._chosen = ids[0] if ids else ""
                self._close()
            await self._fetch()
        except WalletGateError as error:
            self._said = f"error: {error}"
        self._draw()

    async def _fetch(self) -> None:
        """The chosen request as it is now, with its budgets."""
        name = self._chosen
        if not name:
            self._shown = None
            return
        found = await asyncio.to_thread(self._client.get, f"/v1/requests/{quote(name, safe='')}")
        if self._chosen == name and self._question is None:
            self._shown = found["request"]

    def action_choose(self, step: int) -> None:
        """Another request."""
        ids = [request["request_id"] for request, _ in self._waiting]
        if self._question is None and self._chosen in ids:
            self._chosen = ids[min(max(ids.index(self._chosen) + step, 0), len(ids) - 1)]
            self._shown = None
            self._look()

    def action_page(self, step: int) -> None:
        """The rest of a long request."""
        detail = self.query_one("#detail", VerticalScroll)
        (detail.scroll_page_down if step > 0 else detail.scroll_page_up)(animate=False)

    # --- deciding ----------------------------------------------------------------------------------------

    def action_approve(self) -> None:
        """Asks before it signs a yes."""
        request = self._shown
        if request is not None:
            first = request["effects"][0] if request["effects"] else "does nothing"
            more = f" and {len(request['effects']) - 1} more effects" if len(request["effects"]) > 1 else ""
            text = f"Approve {request['request_id']}? {_CONFIRM}\ndigest {request['digest']}\nit {first}{more}"
            self._ask(_Question(text, lambda reason: self._sign(request, True, reason)))

    def action_reject(self) -> None:
        """Asks why before it signs a no."""
        request = self._shown
        if request is not None:
            text = f"Reject {request['request_id']} of {request['agent']}"
            self._ask(_Question(text, lambda reason: self._sign(request, False, reason), wants_reason=True))

    def action_freeze(self) -> None:
        """Asks before it freezes the agent."""
        request = self._shown
        if request is not None:
            scope = f"agent:{request['agent']}"
            text = f"Freeze {scope}? {_CONFIRM}\nNothing of it is signed from now on, and what waits ends."
            self._ask(_Question(text, lambda _reason: self._freeze(scope)))

    def _ask(self, question: _Question) -> None:
        if self._question is not None:
            return
        self._question = question
        if question.wants_reason:
            box = self.query_one("#reason", Input)
            box.value = ""
            box.add_class("open")
            box.focus()
        self._draw()

    def on_key(self, event: events.Key) -> None:
        """Answers the question, if there is one."""
        question = self._question
        if question is None or (question.wants_reason and event.key != "escape"):
            return
        event.stop()
        event.prevent_default()
        self._close()
        if event.key == "y" and not question.wants_reason:
            self._carry_out(question, "")
        self._draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """A rejection with its reason."""
        question = self._question
        if question is not None:
            self._close()
            self._carry_out(question, event.value)

    def _close(self) -> None:
        self._question = None
        box = self.query_one("#reason", Input)
        box.remove_class("open")
        self.set_focus(None)

    @work(group="act")
    async def _carry_out(self, question: _Question, reason: str) -> None:
        try:
            self._said = await asyncio.to_thread(question.act, reason)
        except WalletGateError as error:
            self._said = f"error: {error}"
        self._look()

    def _sign(self, request: Mapping[str, Any], approve: bool, reason: str) -> str:
        done = self._client.approve(request, secret=self._hand, gate=self._gate, approve=approve, reason=reason)
        return f"{done['request_id']} is {done['status'].replace('_', ' ')}"

    def _freeze(self, scope: str) -> str:
        answer = self._client.command("freeze", {"scope": scope, "reason": "from watch"}, secret=self._hand)
        return f"{answer['scope']} is frozen; {answer['ended']} waiting requests ended"

    # --- drawing -----------------------------------------------------------------------------------------

    def _draw(self) -> None:
        self.query_one("#queue", Static).update(queue_text(self._waiting, self._chosen, self._who))
        self.query_one("#request", Static).update(request_text(self._shown))
        question = self._question
        text = question.text if question is not None else f"{self._said}\n{_KEYS}" if self._said else _KEYS
        self.query_one("#ask", Static).update(Text(plain(text)))


def plain(text: str) -> str:
    """`text` with a mark in place of what does not print, but for ends of lines."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text)


def one_line(text: str) -> str:
    """`text` as one line that prints."""
    return plain(text.replace("\n", "\ufffd"))


def queue_text(waiting: Sequence[tuple[dict[str, Any], int]], chosen: str, who: str) -> Text:
    """The queue around the chosen request, oldest first; the chosen one has a mark that needs no colour."""
    names = [request["request_id"] for request, _ in waiting]
    place = names.index(chosen) if chosen in names else 0
    start = max(0, min(place - QUEUE_LINES // 2, len(waiting) - QUEUE_LINES))
    lines = [Text(one_line(f"{len(waiting)} waiting   {who}"), no_wrap=True, overflow="ellipsis", style="bold")]
    for request, count in waiting[start : start + QUEUE_LINES]:
        mark = ">" if request["request_id"] == chosen else " "
        alike = f" ({count} alike)" if count > 1 else ""
        first = request["effects"][0] if request["effects"] else "does nothing"
        line = f"{mark} {moment(request['created_ms'])[11:]} {request['agent']}{alike}: {first}"
        lines.append(Text(one_line(line), no_wrap=True, overflow="ellipsis"))
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def request_text(request: Mapping[str, Any] | None) -> Text:
    """One request in full: what it would do, why it is here, budgets, whose it is, digest; then what the agent says."""
    if request is None:
        return Text("Nothing waits.")
    lines = [
        Text(("it " if number == 0 else "and ") + one_line(effect), style="bold")
        for number, effect in enumerate(request["effects"])
    ]
    for reason in request["decision"]["reasons"]:
        rule = f" ({reason['rule']})" if reason["rule"] else ""
        lines.append(Text(one_line(f"because {reason['text']}{rule}")))
    lines += [Text(one_line(f"needs {needs_text(need)}")) for need in request["needs"]]
    for word in request["approvals"]:
        lines.append(Text(one_line(f"{'approved' if word['approved'] else 'rejected'} by {word['operator']}")))
    lines += [Text(one_line(bar_line(budget))) for budget in request.get("budgets", ())]
    wallet = f"wallet {request['wallet_name']} {request['wallet']}, chain {request['chain_id']}"
    lines.append(Text(one_line(f"agent {request['agent']}, {wallet}")))
    if request.get("expires_at"):
        lines.append(Text(f"until {moment(request['expires_at'] * 1000)} UTC"))
    lines.append(Text(one_line(f"{request['request_id']} digest {request['digest']}")))
    if request["memo"]:
        lines.append(Text(one_line(f"the agent says (not checked): {request['memo']}"), style="italic"))
    return Text("\n").join(lines)


def bar_line(budget: Mapping[str, Any]) -> str:
    """A budget as a bar: `#` is used without this request, `+` is this request, `.` is left."""
    limit, before, after = (int(budget[key]) for key in ("limit", "before", "after"))
    used = BAR_WIDTH if limit == 0 else min(BAR_WIDTH, before * BAR_WIDTH // limit)
    whole = BAR_WIDTH if limit == 0 else min(BAR_WIDTH, -(-after * BAR_WIDTH // limit))
    bar = "#" * used + "+" * max(0, whole - used) + "." * (BAR_WIDTH - max(used, whole))
    return f"[{bar}] {budget['before_text']} -> {budget['after_text']} of {budget['limit_text']} in {budget['span']}"

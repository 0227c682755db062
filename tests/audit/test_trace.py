"""One agent's story as a tree."""

import pytest

from walletgate.audit.trace import clean_trace, parse_traceparent, tell

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def entry(seq, kind, **body):
    return {"v": 1, "log": "x", "seq": seq, "ts_ms": 1000 + seq, "kind": kind, **body}


def first(seq, kind, request, decision, *, agent="shopper", **body):
    reasons = [{"code": "permitted", "text": "pay acme", "rule": "pay acme"}]
    return entry(
        seq, kind, request=request, grant="grant_1", agent=agent, method="eth_sendTransaction", surface="sdk",
        decision=decision, reasons=reasons, effects=["pays 5 USDC to acme"], booked=[{"amount": "5"}], **body,
    )  # fmt: skip


LOG = [
    entry(0, "grant_created", grant="grant_1", agent="shopper", operator="alice"),
    first(
        1,
        "request_awaiting_approval",
        "req_a",
        "require_approval",
        trace={"traceparent": PARENT, "x-tool-call-id": "call_17"},
        client_id="mine",
    ),
    first(2, "request_denied", "req_b", "deny", trace={"traceparent": PARENT}),
    entry(3, "approval_given", request="req_a", operator="alice", reason="ok"),
    entry(4, "request_approved", request="req_a"),
    entry(5, "transaction_signed", request="req_a", tx="0xAB12", nonce=3),
    first(6, "transaction_signed", "req_c", "allow", agent="other", tx="0xcd", nonce=4),
    entry(7, "transaction_broadcast", request="req_a", tx="0xAB12"),
    entry(8, "transaction_confirmed", request="req_a", tx="0xAB12", block=9, fee="21000"),
    entry(9, "frozen", scope="agent:shopper", operator="alice", reason="drill\x1b[31m"),
    entry(10, "request_denied", agent="shopper", grant="grant_1", code="bad_id", detail="no"),
    first(11, "request_awaiting_approval", "req_d", "require_approval"),
    entry(12, "request_rejected", request="req_d", operator="bob"),
    entry(13, "frozen", scope="agent:somebody", operator="alice", reason="x"),
]


def lines(node, depth=0):
    return [
        f"{'  ' * depth}{node.kind}: {node.text}",
        *(line for child in node.children for line in lines(child, depth + 1)),
    ]


def test_the_story_goes_from_the_tool_call_to_the_money():
    told = tell(lambda: LOG, "req_a")
    kinds = []
    node = told
    while node.children:
        node = node.children[-1]
        kinds.append(node.kind)
    assert kinds == ["trace", "tool call", "request", "decision", "transaction", "money"]
    assert node.text == "spent: pays 5 USDC to acme, fee 21000 wei"
    text = "\n".join(lines(told))
    for fact in (
        f"trace {TRACE}",
        "tool call call_17",
        "require approval: pay acme (rule pay acme)",
        "approval given by alice: reason ok",
        "transaction 0xAB12, nonce 3",
        "transaction confirmed: block 9",
    ):
        assert fact in text
    assert text.index("approval given") < text.index("transaction 0xAB12")


@pytest.mark.parametrize("what", ["req_a", "mine", "call_17", "0xab12", "0xAB12", "MINE"])
def test_a_story_is_found_by_whatever_names_it(what):
    assert "transaction 0xAB12" in "\n".join(lines(tell(lambda: LOG, what)))


def test_an_agents_story_has_everything_of_it_and_nothing_of_others():
    text = "\n".join(lines(tell(lambda: LOG, "shopper")))
    for fact in (
        "req_a",
        "req_b",
        "req_d",
        "frozen by alice: scope agent:shopper",
        "grant created",
        "code bad_id",
        "nothing was spent",
    ):
        assert fact in text
    assert "req_c" not in text and "somebody" not in text and "\x1b" not in text


def test_a_trace_shows_all_its_requests():
    told = tell(lambda: LOG, TRACE)
    assert told.text == f"{TRACE}: 2 requests of shopper"
    (trace, other) = told.children
    assert trace.kind == other.kind == "trace"


def test_the_unknown_has_no_story_and_since_leaves_out_the_past():
    assert tell(lambda: LOG, "nobody") is None
    assert tell(lambda: LOG, "req_a", since_ms=10**6) is None
    assert "req_a" not in "\n".join(lines(tell(lambda: LOG, "shopper", since_ms=1009)))


def test_problems_are_marked():
    denied = tell(lambda: LOG, "req_b")
    assert denied.children[0].children[0].is_problem


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (PARENT, True), (f"01-{TRACE}-00f067aa0ba902b7-01-more", True), (f"00-{TRACE}-00f067aa0ba902b7-01-more", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False), (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False), (PARENT.upper(), False), ("", False), (PARENT + "\n", False),
    ],
)  # fmt: skip
def test_a_traceparent_is_w3cs_or_nothing(text, good):
    assert (parse_traceparent(text) is not None) == good
    assert ("traceparent" in clean_trace({"traceparent": text})) == good


@pytest.mark.parametrize("text", ["", "a b", "\x1b[31m", "x" * 129, "\u202e", "-x", "ü"])
def test_a_tool_call_that_is_text_is_dropped(text):
    assert clean_trace({"x-tool-call-id": text}) == {}

"""The report: right sums, harmless text, one file, and a million entries without filling the memory."""

import re
from html.parser import HTMLParser

import pytest

from walletgate.audit.page import EXPLORERS, About, Unit, amount, render
from walletgate.audit.tally import BINS, ROWS_MAX, Line, Tally

USDC = ("amount", "8453:0xusdc")
FEE = ("fee", "8453:0xee")
DAY = 86_400_000
SINCE = 1_795_000_000_000
HOSTILE = '</td><script>alert(1)</script><img src=x onerror=y>\x1b[31m\u202e" \' onload="z'
VOID = {"meta", "rect", "line"}


class Checker(HTMLParser):
    """Every tag closed, nothing that loads or runs."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.tags = set()
        self.links = []
        self.words = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name != "src", (tag, name)
            if name == "href":
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        if tag == "p" and self.open[-1] != "p":
            raise AssertionError(self.open)
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def entry(seq, kind, at_ms=None, **body):
    return {
        "v": 1,
        "log": "x",
        "seq": seq,
        "ts_ms": SINCE + seq * 60_000 if at_ms is None else at_ms,
        "kind": kind,
        **body,
    }


def signed(seq, base, *, at_ms=None, agent="shopper", kind="transaction_signed", **extra):
    return entry(
        seq, kind, at_ms, request=f"req_{seq}", grant="grant_1", agent=agent, decision="allow", chain=8453,
        effects=[f"pays {base} to acme"], tx=f"0x{seq:064x}", nonce=seq,
        booked=[{"measure": "amount", "asset": USDC[1], "amount": str(base)}, {"measure": "fee", "asset": FEE[1], "amount": "7"}],
        **extra,
    )  # fmt: skip


def tally_of(entries, *, lines=(), days=30):
    tally = Tally(since_ms=SINCE, until_ms=SINCE + days * DAY, lines=lines)
    for each in entries:
        tally.feed(each)
    return tally


def about(**changes):
    given = {
        "log": "gate.example/audit/1",
        "made_ms": SINCE,
        "size": 9,
        "root": "0xab",
        "covered": 9,
        "checkpoints": 2,
        "note": "gate.example/audit/1\n9\nabc=\n\n\u2014 gate.example/audit/1 sig=\n",
        "keys": ["gate.example/audit/1+00+x"],
        "units": {USDC: Unit("USDC", 6)},
        **changes,
    }
    return About(**given)


def page_of(tally, **changes):
    html = "".join(render(tally, about(**changes)))
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    assert not checker.tags & {"script", "img", "iframe", "object", "embed", "link", "form", "input", "base", "video"}
    assert "url(" not in html and "@import" not in html
    assert all(link.startswith(tuple(EXPLORERS.values())) for link in checker.links)
    return html, " ".join(checker.words), checker.links


def test_what_was_spent_counts_from_the_signature_and_is_taken_back_when_it_failed():
    tally = tally_of([
        signed(0, 5_000_000), signed(1, 7_000_000), signed(2, 11_000_000),
        entry(3, "transaction_reverted", request="req_1"), entry(4, "transaction_dropped", request="req_2"),
        entry(5, "transaction_confirmed", request="req_0"),
    ])  # fmt: skip
    assert (sum(tally.spent[USDC]), sum(tally.spent[FEE])) == (5_000_000, 14)
    _, words, links = page_of(tally)
    assert "5 USDC in all" in words
    assert f"https://basescan.org/tx/0x{1:064x}" in links


def test_what_waits_counts_when_it_is_signed_and_not_when_it_is_rejected():
    waiting = signed(0, 5_000_000, kind="request_awaiting_approval")
    del waiting["tx"]
    other = {**waiting, "request": "req_x", "seq": 1}
    tally = tally_of([
        waiting, other, entry(2, "approval_given", request="req_0", operator="alice"),
        entry(3, "transaction_signed", request="req_0", tx="0x" + "3" * 64, nonce=1),
        entry(4, "request_rejected", request="req_x", operator="bob"),
    ])  # fmt: skip
    assert sum(tally.spent[USDC]) == 5_000_000
    assert (tally.approvals["alice", "gave"], tally.approvals["bob", "refused"]) == (1, 1)


@pytest.mark.parametrize(("gap_ms", "most"), [(DAY - 1, 12), (DAY + 120_000, 7), (60_000, 12)])
def test_the_most_in_a_window_is_the_rolling_one(gap_ms, most):
    line = Line("grant_1", "shopper", USDC, DAY, 10_000_000, "a")
    tally = tally_of([signed(0, 5_000_000, at_ms=SINCE), signed(1, 7_000_000, at_ms=SINCE + gap_ms)], lines=[line])
    assert tally.windows[0].most == most * 1_000_000
    _, words, _ = page_of(tally)
    assert f"{most} USDC" in words
    assert ("120%" if most == 12 else "70%") in words


def test_only_the_period_counts_but_what_was_open_before_it_is_known():
    before = signed(0, 5_000_000, at_ms=SINCE - 5 * DAY, kind="request_awaiting_approval")
    del before["tx"]
    tally = tally_of([
        before, signed(1, 9_000_000, at_ms=SINCE - DAY),
        entry(2, "transaction_signed", SINCE + 5, request="req_0", tx="0x" + "2" * 64),
        signed(3, 1_000_000, at_ms=SINCE + 31 * DAY),
    ])  # fmt: skip
    assert sum(tally.spent[USDC]) == 5_000_000
    assert sum(tally.requests.values()) == 0


def test_denials_are_counted_by_rule():
    reason = {"code": "limit_exceeded", "rule": "usdc", "text": "51 USDC is more than 50 USDC"}
    tally = tally_of([
        entry(n, "request_denied", request=f"r{n}", agent="shopper", grant="g", decision="deny", reasons=[reason])
        for n in range(3)
    ] + [entry(9, "request_denied", agent="shopper", code="bad_id", detail="no")])  # fmt: skip
    _, words, _ = page_of(tally)
    assert (tally.denials["limit_exceeded", "usdc"], tally.denials["bad_id", ""]) == (3, 1)
    assert "51 USDC is more than 50 USDC" in words


def test_hostile_text_stays_text():
    reason = {"code": HOSTILE, "rule": HOSTILE, "text": HOSTILE}
    entries = [
        {**signed(0, 1, agent=HOSTILE), "effects": [HOSTILE], "tx": HOSTILE},
        entry(1, "request_denied", request="r", agent=HOSTILE, decision="deny", reasons=[reason]),
        entry(2, "frozen", scope=HOSTILE, operator=HOSTILE, reason=HOSTILE),
        entry(3, "approval_given", request=HOSTILE, operator=HOSTILE),
        entry(4, "operator_refused", code=HOSTILE, detail=HOSTILE),
    ]
    html, _, links = page_of(tally_of(entries), log=HOSTILE, note=HOSTILE, keys=[HOSTILE], root=HOSTILE)
    assert "<script" not in html and "\x1b" not in html and "\u202e" not in html
    assert links == []


def test_a_gap_in_what_is_covered_is_said():
    _, words, _ = page_of(tally_of([]), covered=4)
    assert "newest 5 entries are not covered" in words
    assert "None." in words


def test_lists_are_bounded_and_say_so():
    entries = [entry(n, "frozen", SINCE + n, scope=f"agent:{n}", operator="a", reason="") for n in range(3 * ROWS_MAX)]
    tally = tally_of(entries)
    _, words, _ = page_of(tally)
    assert len(tally.notable) == ROWS_MAX
    assert f"and {2 * ROWS_MAX} more" in words
    many = tally_of([signed(n, n, at_ms=SINCE + n, agent=f"agent-{n}") for n in range(5000)])
    assert len(page_of(many)[0]) < 400_000
    assert len(many.by_agent) <= 2001
    assert len(many.spent[USDC]) == BINS


def test_amounts_are_written_in_full():
    assert amount(123_456_789_012, Unit("USDC", 6)) == "123,456.789012 USDC"
    assert amount(-5, Unit("X", 1)) == "-0.5 X"
    assert amount(10**30, None) == f"{10**30:,} base units"
    assert re.fullmatch(r"7 requests", amount(7, Unit("requests", 0)))

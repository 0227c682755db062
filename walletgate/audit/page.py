"""The report as one HTML page: for a board, a regulator, or a printer.

Self-contained: no script, no font, no image from anywhere; links go to chain explorers and are followed only by who
clicks them. Everything that came from outside is made printable and escaped, by `text`, on its way in; the only markup
is this module's own. Figures are inline SVG with their numbers in words beside them.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from walletgate.audit.tally import BINS, ROWS_MAX, Key, Payment, Tally
from walletgate.encoding import printable

EXPLORERS: Final[Mapping[int, str]] = {
    1: "https://etherscan.io/tx/",
    10: "https://optimistic.etherscan.io/tx/",
    56: "https://bscscan.com/tx/",
    137: "https://polygonscan.com/tx/",
    8453: "https://basescan.org/tx/",
    42161: "https://arbiscan.io/tx/",
    84532: "https://sepolia.basescan.org/tx/",
    11155111: "https://sepolia.etherscan.io/tx/",
}
"""Where people look transactions up, by chain id."""

_STYLE: Final = """
:root{--ink:#1a1f2b;--dim:#5c6675;--line:#dfe3ea;--fill:#f6f7f9;--blue:#2457c5;--red:#b3261e;--green:#1b7f3b;--amber:#a35b00}
*{box-sizing:border-box}body{margin:0 auto;max-width:60rem;padding:2.5rem 1.5rem;font:15px/1.5 system-ui,sans-serif;
color:var(--ink);background:#fff}h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.5rem 0 .75rem;
border-bottom:1px solid var(--line);padding-bottom:.3rem}p{margin:.4rem 0}.dim{color:var(--dim)}
.seal{border-left:4px solid var(--green);background:var(--fill);padding:.75rem 1rem;margin:1.25rem 0}
.seal.open{border-color:var(--amber)}code,.mono{font:12.5px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr));gap:.75rem;margin:1.25rem 0}
.tile{border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}.tile b{display:block;font-size:1.5rem}
.bad{color:var(--red)}.good{color:var(--green)}table{width:100%;border-collapse:collapse;font-size:14px}
th{text-align:left;font-weight:600;color:var(--dim)}td,th{padding:.3rem .6rem .3rem 0;
border-bottom:1px solid var(--line);
vertical-align:top;overflow-wrap:anywhere}td.n,th.n{text-align:right;white-space:nowrap}.when{white-space:nowrap}
.bar{width:12rem}svg{display:block;width:100%;height:auto;margin:.3rem 0 1rem}figure{margin:0}figcaption{font-size:14px}
a{color:var(--blue)}pre{background:var(--fill);padding:.75rem 1rem;overflow:auto;font-size:12.5px;white-space:pre-wrap}
@media print{body{padding:0;max-width:none;font-size:11pt}h2{break-after:avoid}tr,figure,.seal{break-inside:avoid}}
""".strip()


@dataclass(frozen=True, slots=True)
class Unit:
    """How amounts of one key are written."""

    name: str
    decimals: int


@dataclass(frozen=True, slots=True)
class About:
    """What the page says about the log as a whole. `note` is the newest signed checkpoint, `covered` what it covers."""

    log: str
    made_ms: int
    size: int
    root: str
    covered: int
    checkpoints: int
    note: str
    keys: Sequence[str]
    units: Mapping[Key, Unit] = field(default_factory=dict)
    grants: Mapping[str, str] = field(default_factory=dict)


def render(tally: Tally, about: About) -> Iterator[str]:
    """The page, piece by piece."""
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{text(about.log)}: report</title><style>{_STYLE}</style></head><body>\n"
    )
    period = f"{moment(tally.since_ms)} to {moment(tally.until_ms)} UTC"
    yield f"<h1>What the gate did</h1><p class=dim>{text(about.log)}, {period}</p>\n"
    yield _seal(about)
    yield _tiles(tally)
    yield from _spending(tally, about)
    yield _limits(tally, about)
    yield _denials(tally)
    yield _approvals(tally)
    yield _agents(tally)
    yield from _payments(tally, about)
    yield _timeline(tally)
    yield _check(about)
    yield "</body></html>\n"


def text(value: object, *, length_max: int = 300) -> str:
    """Anything from outside as harmless text."""
    return html.escape(printable(str(value), length_max=length_max), quote=True)


def moment(at_ms: int) -> str:
    """A time in UTC to the second."""
    return datetime.fromtimestamp(max(0, min(at_ms, 253_402_300_799_000)) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def amount(value: int, unit: Unit | None) -> str:
    """An amount in its unit, thousands apart."""
    if unit is None:
        return f"{value:,} base units"
    whole, part = divmod(abs(value), 10**unit.decimals)
    digits = f"{part:0{unit.decimals}d}".rstrip("0") if unit.decimals else ""
    return f"{'-' if value < 0 else ''}{whole:,}{'.' + digits if digits else ''} {unit.name}"


def _seal(about: About) -> str:
    left = about.size - about.covered
    head = f"<b>The log was verified for this report.</b> {about.size:,} entries, every one hashed again."
    cover = (
        f"{about.checkpoints:,} signed checkpoints agree with it"
        + (", up to the last entry." if not left else f"; the newest {left:,} entries are not covered by one yet.")
    )  # fmt: skip
    return (
        f'<div class="seal{" open" if left else ""}"><p>{head} {cover}</p>'
        f'<p class=mono>root {text(about.root)}</p></div>\n'
    )  # fmt: skip


def _tiles(tally: Tally) -> str:
    kinds, asked = tally.kinds, tally.requests
    tiles = [
        ("requests", sum(asked.values()), ""),
        ("allowed", asked["allow"], "good"),
        ("held for people", asked["require_approval"], ""),
        ("denied", asked["deny"], "bad" if asked["deny"] else ""),
        ("turned away", kinds["request_denied"] - asked["deny"] + kinds["agent_refused"], ""),
        ("approvals", kinds["approval_given"], ""),
        ("rejected", kinds["request_rejected"], ""),
        ("freezes", kinds["frozen"], "bad" if kinds["frozen"] else ""),
    ]
    body = "".join(
        f'<div class=tile><b class="{style}">{max(0, count):,}</b>{name}</div>' for name, count, style in tiles
    )
    return f"<div class=tiles>{body}</div>\n"


def _spending(tally: Tally, about: About) -> Iterator[str]:
    yield "<h2>Spent</h2><p class=dim>Counted from the signature; taken back where a transaction failed.</p>\n"
    keys = sorted(key for key in tally.spent if key[0] in ("amount", "fee"))
    if not keys:
        yield "<p>Nothing.</p>\n"
    for key in keys[:40]:
        bins = tally.spent[key]
        unit = about.units.get(key)
        what = "fees at most, " if key[0] == "fee" else ""
        shown = _name(key, unit)
        total = amount(sum(bins), unit)
        yield (
            f"<figure><figcaption><b>{text(shown)}</b> {what}{text(total)} in all, "
            f"most in one bar {text(amount(max(bins), unit))}</figcaption>{_bars(bins, tally)}</figure>\n"
        )


def _bars(bins: Sequence[int], tally: Tally) -> str:
    most = max(1, *bins)
    width, height = 960 / BINS, 90
    bars = "".join(
        f'<rect x="{n * width:.1f}" y="{height - max(1.0, height * value / most):.1f}" width="{width - 2:.1f}" '
        f'height="{max(1.0, height * value / most):.1f}" fill="#2457c5"/>'
        for n, value in enumerate(bins)
        if value > 0
    )
    return (
        f'<svg viewBox="0 0 960 112" role="img" aria-label="spending over time">'
        f'<line x1="0" y1="{height}.5" x2="960" y2="{height}.5" stroke="#dfe3ea"/>{bars}'
        f'<g font-size="12" fill="#5c6675"><text x="0" y="107">{moment(tally.since_ms)[:16]}</text>'
        f'<text x="960" y="107" text-anchor="end">{moment(tally.until_ms)[:16]}</text></g></svg>'
    )


def _limits(tally: Tally, about: About) -> str:
    if not tally.lines:
        return ""
    rows = []
    for line, window in zip(tally.lines, tally.windows, strict=True):
        unit = about.units.get(line.key)
        share = window.most / line.bound if line.bound else float(bool(window.most))
        part = min(1.0, share)
        colour = "#1b7f3b" if part < 0.8 else "#a35b00" if part < 1 else "#b3261e"
        bar = (
            f'<svg viewBox="0 0 200 14" style="margin:.3rem 0" role="img" aria-label="{part:.0%}">'
            f'<rect width="200" height="12" fill="#f0f2f5"/>'
            f'<rect width="{200 * part:.1f}" height="12" fill="{colour}"/></svg>'
        )
        when = moment(window.most_ms) if window.most else ""
        rows.append(
            f"<tr><td>{text(line.agent)}</td><td>{text(amount(line.bound, unit))} in {_length(line.window_ms)}"
            f"{' of fees' if line.key[0] == 'fee' else ''}</td><td class=n>{text(amount(window.most, unit))}</td>"
            f"<td class=n>{share:.0%}</td><td class=bar>{bar}</td><td class=when>{when}</td></tr>"
        )
    return _table("Against the limits", ("agent", "limit", "n:most in a window", "n:share", "", "when"), rows)


def _denials(tally: Tally) -> str:
    rows = [
        f"<tr><td>{text(code.replace('_', ' '))}</td><td>{text(rule)}</td><td class=n>{count:,}</td>"
        f"<td>{text(tally.examples.get((code, rule), ''))}</td></tr>"
        for (code, rule), count in tally.denials.most_common(50)
    ]
    return _table("Denied, by rule", ("why", "rule", "n:times", "for example"), rows, more=len(tally.denials) - 50)


def _approvals(tally: Tally) -> str:
    people = sorted({name for name, _ in tally.approvals})
    rows = [
        f"<tr><td>{text(name)}</td><td class=n>{tally.approvals[name, 'gave']:,}</td>"
        f"<td class=n>{tally.approvals[name, 'refused']:,}</td></tr>"
        for name in people[:ROWS_MAX]
    ]
    return _table("Decided by people", ("operator", "n:approved", "n:rejected"), rows)


def _agents(tally: Tally) -> str:
    totals: Counter[str] = Counter()
    for (name, _), count in tally.by_agent.items():
        totals[name] += count
    rows = [
        f"<tr><td>{text(name)}</td>"
        + "".join(f"<td class=n>{tally.by_agent[name, d]:,}</td>" for d in ("allow", "require_approval", "deny"))
        + "</tr>"
        for name, _ in totals.most_common(ROWS_MAX)
    ]
    return _table("By agent", ("agent", "n:allowed", "n:held", "n:denied"), rows)


def _payments(tally: Tally, about: About) -> Iterator[str]:
    for key in sorted(tally.largest)[:20]:
        found = sorted(tally.largest[key], key=lambda item: (-item[0], item[1]))
        unit = about.units.get(key)
        rows = [_payment(payment, amount(value, unit)) for value, _, payment in found]
        yield _table(f"Largest in {_name(key, unit)}", ("time (UTC)", "agent", "what", "n:amount", "transaction"), rows)
    rows = [_payment(payment, payment.outcome) for payment in reversed(tally.newest.values())]
    yield _table("Newest transactions", ("time (UTC)", "agent", "what", "n:state", "transaction"), rows[:50])


def _payment(payment: Payment, last: str) -> str:
    short = f"{payment.tx[:10]}…{payment.tx[-6:]}"
    base = EXPLORERS.get(payment.chain)
    link = (
        f'<a rel="noreferrer" href="{text(base + payment.tx)}">{text(short)}</a>'
        if base is not None and _is_hash(payment.tx)
        else f'<span title="{text(payment.tx)}">{text(short)}</span>'
    )
    return (
        f"<tr><td class=when>{moment(payment.at_ms)}</td><td>{text(payment.agent)}</td><td>{text(payment.words)}</td>"
        f"<td class=n>{text(last)}</td><td class=mono>{link}</td></tr>"
    )


def _timeline(tally: Tally) -> str:
    rows = []
    for entry in reversed(tally.notable):
        kind = str(entry["kind"])
        about = ", ".join(
            f"{key} {text(entry[key], length_max=120)}"
            for key in (
                "agent",
                "grant",
                "scope",
                "name",
                "request",
                "operator",
                "reason",
                "code",
                "detail",
                "why",
                "after",
            )
            if entry.get(key) not in (None, "")
        )
        style = (
            ' class="bad"' if kind in ("frozen", "operator_refused", "approval_refused", "transaction_reverted") else ""
        )
        rows.append(
            f"<tr><td class=n>{text(entry['seq'])}</td><td class=when>{moment(int(str(entry['ts_ms'])))}</td>"
            f"<td{style}>{text(kind.replace('_', ' '))}</td><td>{about}</td></tr>"
        )
    more = tally.notable_count - len(tally.notable)
    return _table(
        "Decisions of people and changes of authority, newest first",
        ("n:entry", "time (UTC)", "what", "about"),
        rows,
        more=more,
    )


def _check(about: About) -> str:
    keys = "".join(f"<p class=mono>{text(key)}</p>" for key in about.keys)
    return (
        "<h2>Check it yourself</h2><p>The log is an RFC 6962 Merkle tree; its checkpoints are C2SP signed notes. Keep"
        " the checkpoint below somewhere else: whoever holds one can tell whether history was changed since.</p>"
        f"<pre>{html.escape(_lines(about.note))}</pre><p>Signed by</p>{keys}"
        "<p>Everything again: <code>walletgate audit verify</code>. One request, as a file that needs no trust in this"
        " page: <code>walletgate audit prove REQUEST</code>. The whole log for tools of others:"
        " <code>walletgate audit export DIR</code>.</p>"
        f"<p class=dim>Made {moment(about.made_ms)} UTC. Times are the gate's own clock. What the chains did is for the"
        " chains to say; links lead to explorers.</p>\n"
    )


def _lines(note: str) -> str:
    return "\n".join(printable(line, length_max=2000) for line in note.split("\n"))


def _table(title: str, columns: Sequence[str], rows: Sequence[str], *, more: int = 0) -> str:
    if not rows:
        return f"<h2>{text(title)}</h2><p class=dim>None.</p>\n"
    heads = "".join(f"<th class=n>{c[2:]}</th>" if c.startswith("n:") else f"<th>{c}</th>" for c in columns)
    tail = f"<p class=dim>and {more:,} more</p>" if more > 0 else ""
    return f"<h2>{text(title)}</h2><table><tr>{heads}</tr>{''.join(rows)}</table>{tail}\n"


def _name(key: Key, unit: Unit | None) -> str:
    return unit.name if unit is not None else key[1] or key[0]


def _length(window_ms: int) -> str:
    for size, word in ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes")):
        if window_ms % size == 0 and (window_ms > size or word == "minutes"):
            return f"any {window_ms // size} {word}"
    return f"any {window_ms // 1000} seconds"


def _is_hash(value: str) -> bool:
    return len(value) == 66 and value.startswith("0x") and all(c in "0123456789abcdef" for c in value[2:])

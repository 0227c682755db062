"""policy test, lint, compare, bound, replay: what a policy does, before it is in force."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from walletgate.cli.common import DEFAULT_HOME, HomeOption, JsonOption, escape, home_of, leaving, out, print_json
from walletgate.cli.policy import FileArgument, NodeOption, node_urls, read_policy
from walletgate.cli.show import moment
from walletgate.errors import ConfigError
from walletgate.gate.codec import plain
from walletgate.gate.replay import replay
from walletgate.gate.survey import survey
from walletgate.policy import Policy
from walletgate.policy.amounts import parse_duration
from walletgate.policy.bound import Exposure, bound
from walletgate.policy.cases import result_lines, run_cases
from walletgate.policy.compare import compare, comparison_lines, named_lines
from walletgate.policy.lint import Severity, in_order, lint
from walletgate.policy.naming import asset_name, measure_text
from walletgate.policy.onchain import disagreements
from walletgate.store import read_store
from walletgate.types import Measure, Outcome

_STYLES = {"error": "red", "warning": "yellow", "hint": "dim"}
_SAID = {Outcome.DENY: "deny", Outcome.REQUIRE_APPROVAL: "ask", Outcome.ALLOW: "allow"}


def run_policy_cases(
    file: FileArgument,
    cases: Annotated[Path, typer.Argument(help="Cases written beside the policy (TOML).")],
    as_json: JsonOption = False,
) -> None:
    """Run a policy's own test cases and print a table; fails when one fails."""
    with leaving(as_json=as_json):
        policy = read_policy(file)
        try:
            text = cases.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {cases}: {error}", code="cases_missing") from None
        results = run_cases(policy, text, source=str(cases))
        if as_json:
            print_json([plain(result) for result in results])
        else:
            for line in result_lines(results):
                out.print(escape(line))
        if not all(result.passed for result in results):
            raise typer.Exit(1)


def lint_policy(
    file: FileArgument,
    node: NodeOption = None,
    on_chain: Annotated[
        bool, typer.Option("--on-chain", help="Ask the home's configured nodes about everything pinned, too.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Find rules that do nothing, do more than they say, or look like a slip; fails on errors.

    With a node, also what is pinned and disagrees with the chain: decimals, symbols, code, chain id.
    """
    with leaving(as_json=as_json):
        policy = read_policy(file)
        findings = lint(policy, now_s=int(time.time()))
        if node or on_chain:
            urls = node_urls(policy, node or (), home_of(home) if on_chain else None)
            findings = in_order((*findings, *disagreements(policy, asyncio.run(survey(policy, urls)))))
        if as_json:
            print_json([plain(finding) for finding in findings])
        elif not findings:
            out.print("[green]nothing found[/]")
        else:
            for finding in findings:
                word = finding.severity.name.lower()
                where = f" {finding.rule!r}" if finding.rule else ""
                out.print(
                    f"[{_STYLES[word]}]{word}[/]{escape(where)}: {escape(finding.text)} [dim]\\[{finding.code}][/]"
                )
        if any(finding.severity is Severity.ERROR for finding in findings):
            raise typer.Exit(1)


def compare_policies(
    old: Annotated[Path, typer.Argument(help="The policy as it is.")],
    new: Annotated[Path, typer.Argument(help="The policy as it would be.")],
    as_json: JsonOption = False,
) -> None:
    """Say whether a new policy is tighter, looser or both, rule by rule, with examples."""
    with leaving(as_json=as_json):
        before, after = read_policy(old), read_policy(new)
        comparison = compare(before, after)
        if as_json:
            changes = [{"part": c.part, "name": c.name, "direction": c.direction.value, "text": c.text}
                       for c in comparison.changes]  # fmt: skip
            print_json({"direction": comparison.direction.value, "changes": changes})
        else:
            for line in (*comparison_lines(comparison), *named_lines(before, after)):
                out.print(escape(line))


def bound_policy(
    file: FileArgument,
    approved: Annotated[bool, typer.Option("--approved", help="As if operators approved everything.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say the most a fully hostile agent could take of each asset in an hour, a day, ever."""
    with leaving(as_json=as_json):
        policy = read_policy(file)
        bounds = bound(policy, approved=approved)
        if as_json:
            print_json(plain(bounds))
            return
        table = Table("asset", "in any hour", "in any day", "ever", box=None, pad_edge=False)
        for item in bounds.exposures:
            name = asset_name(policy, item.asset) + (" fees" if item.measure is Measure.FEE else "")
            table.add_row(Text(name), *(_most(policy, item, most) for most in (item.hour, item.day, item.ever)))
        out.print(table)
        for text in (*bounds.powers, *bounds.notes):
            out.print(escape(text))


def _most(policy: Policy, item: Exposure, most: int | None) -> Text:
    if most is None:
        return Text("unlimited", style="bold red")
    return Text(measure_text(policy, Measure.AMOUNT, item.asset, None, most))


def replay_policy(
    file: FileArgument,
    since: Annotated[str, typer.Option("--since", help="How far back, e.g. 24h or 30d.")] = "30d",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Judge past requests under a policy, and show those it would have decided differently."""
    with leaving(as_json=as_json):
        policy = read_policy(file)
        try:
            start_ms = int(time.time() * 1000) - parse_duration(since) * 1000
        except ValueError as error:
            raise ConfigError(f"--since: {error}", code="bad_duration") from None
        with read_store(home_of(home).store()) as reader:
            grants = {grant.id: grant for grant in reader.grants()}
            results = list(replay(policy, reader.requests_since(start_ms), grants))
        changed = [result for result in results if result.before is not result.after]
        missing = Counter(note for result in results for note in result.notes)
        if as_json:
            found = [plain(result) for result in changed]
            print_json({"requests": len(results), "changed": found, "not_recorded": dict(missing)})
            return
        table = Table("time", "agent", "was", "would be", "what, and why", box=None, pad_edge=False)
        for result in changed:
            what = "; ".join((*result.words[:1], *result.notes, *result.reasons[:1]))
            table.add_row(moment(result.at_ms), result.agent, _SAID[result.before], _SAID[result.after], Text(what))
        if changed:
            out.print(table)
        out.print(f"{len(changed)} of {len(results)} requests would have been decided differently.")
        for note, count in sorted(missing.items()):
            out.print(f"{note}: {count} requests were judged without it, and so refused.")


def add_to(app: typer.Typer) -> None:
    """Makes these tools verbs of `walletgate policy`."""
    app.command("test")(run_policy_cases)
    app.command("lint")(lint_policy)
    app.command("compare")(compare_policies)
    app.command("bound")(bound_policy)
    app.command("replay")(replay_policy)

"""Policies: check, read in plain words, try, and put in force."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from walletgate.chain import NodeChain
from walletgate.cli.common import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    escape,
    home_of,
    leaving,
    out,
    print_json,
)  # fmt: skip
from walletgate.effects.request import strict_json
from walletgate.encoding import parse_address, to_hex
from walletgate.errors import ConfigError, InvalidRequestError
from walletgate.gate import Session
from walletgate.gate.codec import effect_json, plain
from walletgate.gate.facts import balances_of
from walletgate.gate.judging import Fees, Judged, fill, judge_payload
from walletgate.gate.prices import PriceSource
from walletgate.policy import AGREES, Facts, Need, Policy, describe, load, show
from walletgate.policy import explain as explain_words
from walletgate.policy.amounts import QUOTE_DECIMALS, format_amount
from walletgate.policy.naming import asset_name
from walletgate.server.app import clock_ms
from walletgate.server.home import Home
from walletgate.server.wire import ask_of_api
from walletgate.store import Grant
from walletgate.types import CHAINS, Address, Bucket, Hash32, Outcome, Payload, Transaction, TransactionRequest

app = typer.Typer(no_args_is_help=True, help="Policies: check, read in plain words, try, and put in force.")

POLICY_SIZE_BYTES_MAX = 1024 * 1024
FileArgument = Annotated[Path, typer.Argument(help="A policy file (TOML).")]
NodeOption = Annotated[
    list[str] | None, typer.Option("--node", help="A node to ask: URL, or CHAIN=URL where there are several chains.")
]


def read_policy(path: Path) -> Policy:
    """Reads and compiles a policy file.

    Raises:
        ConfigError: naming file and key.
    """
    try:
        if path.stat().st_size > POLICY_SIZE_BYTES_MAX:
            raise ConfigError(f"{path} is larger than {POLICY_SIZE_BYTES_MAX} bytes", code="policy_too_large")
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", code="policy_missing") from None
    return load(text, source=str(path))


def node_urls(policy: Policy, named: Sequence[str], home: Home | None) -> dict[int, str]:
    """The nodes to ask, by chain id: those of `home`, and in their place those that are `named`.

    Raises:
        ConfigError: `node_invalid`, or what is wrong with the home.
    """
    urls = {} if home is None else {chain.chain_id: chain.url for chain in home.read_config().chains}
    for text in named:
        chain, _, url = ("", "", text) if text.startswith("http") else text.partition("=")
        only = next(iter(policy.chain_ids)) if len(policy.chain_ids) == 1 else 0
        number = int(chain) if chain.isascii() and chain.isdigit() and len(chain) < 20 else 0
        chosen = CHAINS.get(chain, (number, ""))[0] if chain else only
        if not chosen or not url.startswith(("http://", "https://")):
            problem = "--node wants a URL, or CHAIN=URL when the policy has several chains"
            raise ConfigError(problem, code="node_invalid")
        urls[chosen] = url
    return urls


@app.command()
def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Check a policy file; errors name the key and the nearest right one."""
    with leaving(as_json=as_json):
        policy = read_policy(file)
        if as_json:
            print_json({"name": policy.name, "hash": to_hex(policy.hash), "chains": sorted(policy.chain_ids)})
        else:
            out.print(f"[green]ok[/]  {escape(policy.name)}  {to_hex(policy.hash)}")


@app.command("show")
def show_policy(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say a policy in plain words."""
    with leaving(as_json=as_json):
        lines = show(read_policy(file))
        if as_json:
            print_json({"lines": lines})
        else:
            for line in lines:
                out.print(escape(line))


@app.command()
def explain(
    file: FileArgument,
    request: Annotated[
        Path, typer.Argument(help="A request as JSON: {kind, payload, expect?}, as the agent API takes it.")
    ],
    wallet: Annotated[str, typer.Option("--wallet", help="The wallet's address.")],
    chain: Annotated[int | None, typer.Option("--chain", help="Chain id; by default the policy's only one.")] = None,
    node: NodeOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Judge a request without touching anything: nothing spent yet.

    A node, by default the home's, is asked for prices of feeds and for balances, and only if the policy needs them.
    """
    with leaving(as_json=as_json):
        policy = read_policy(file)
        place = home_of(home)
        urls = node_urls(policy, node or (), place if place.config.exists() else None)
        judged, facts = _judge_file(policy, request, wallet, chain, urls)
        prices = _price_lines(policy, facts, int(time.time()))
        if as_json:
            print_json(
                {
                    "outcome": judged.decision.outcome.name.lower(),
                    "reasons": [plain(reason) for reason in judged.decision.reasons],
                    "effects": [effect_json(effect) for effect in judged.effects],
                    "prices": prices,
                }
            )
        else:
            owner = parse_address(wallet, where="--wallet")
            for effect in judged.effects:
                out.print(f"it {escape(describe(effect, policy, wallet=owner))}")
            for line in explain_words(judged.decision, policy):
                out.print(escape(line))
            for line in prices:
                out.print(escape(line))
        if judged.decision.outcome is Outcome.DENY:
            raise typer.Exit(3)


def _price_lines(policy: Policy, facts: Facts, now_s: int) -> list[str]:
    """Which prices were used, and how old they are; or that there was none."""
    lines = []
    for price in policy.terms.prices:
        name = f"1 {asset_name(policy, price.asset)}"
        fact = facts.prices.get((price.asset, price.unit))
        if price.fixed is not None:
            lines.append(f"price used: {name} = {format_amount(price.fixed, QUOTE_DECIMALS)} {price.unit}, fixed")
        elif fact is not None:
            value, age_s = format_amount(fact.value, QUOTE_DECIMALS), max(0, now_s - fact.at_s)
            lines.append(f"price used: {name} = {value} {price.unit}, {age_s} s old, from its feed")
        elif price.unit in policy.index.units:
            lines.append(f"no price: {name} in {price.unit} is not known; name a node with --node")
    return lines


async def _look(policy: Policy, wallet: Address, chain_id: int, urls: Mapping[int, str]) -> Facts:
    """What nodes say about prices and balances, as far as the policy needs to know."""
    chains = {number: NodeChain(url, number) for number, url in urls.items()}
    try:
        prices, held = {}, {}
        if Need.PRICES in policy.needs:
            prices = await PriceSource(chains, clock_ms).known(policy, chain_id)
        if Need.BALANCES in policy.needs and chain_id in chains:
            held = await balances_of(policy, wallet, chains[chain_id])
        return Facts(prices=prices, balances=held)
    finally:
        for each in chains.values():
            await each.close()


def _judge_file(
    policy: Policy, path: Path, wallet: str, chain: int | None, urls: Mapping[int, str]
) -> tuple[Judged, Facts]:
    try:
        body = strict_json(path.read_bytes())
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}", code="request_missing") from None
    if not isinstance(body, dict):
        raise InvalidRequestError(f"{path} must hold a JSON object", code="bad_shape")
    if chain is None and len(policy.chain_ids) != 1:
        raise InvalidRequestError("the policy has several chains: name one with --chain", code="wrong_chain")
    address = parse_address(wallet, where="--wallet")
    ask = ask_of_api({"id": "explain", **body}, wallet=address, surface="cli", trace={})
    nothing = Hash32(bytes(32))
    grant = Grant("explain", "explain", None, address, policy.hash, nothing, 0)
    session = Session(grant, chain if chain is not None else min(policy.chain_ids))
    asked = ask.asked
    payload: Payload = fill(asked, session, Fees(0, 0), 0) if isinstance(asked, TransactionRequest) else asked

    def unused(_bucket: Bucket, _window_ms: int | None) -> int:
        return 0

    gas = payload.gas if isinstance(payload, Transaction) else None
    looked = asyncio.run(_look(policy, address, session.chain_id, urls))
    facts = replace(looked, first_seen_ms={}, gas=gas, simulation=AGREES)
    judged = judge_payload(
        payload,
        session=session,
        policy=policy,
        now_ms=int(time.time() * 1000),
        method=ask.method,
        expect=ask.expect,
        facts=facts,
        used=unused,
    )
    return judged, facts

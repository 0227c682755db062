"""One real gate in a process of its own, for the tests that need nothing else of it than that it is real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fake_node import served
from tests.fakes import FakeChain
from tests.gate_process import GateProcess, make_home, running
from walletgate.cli.client import OperatorClient


@dataclass
class Live:
    """A gate that serves, the chain behind it, and an operator's line to it."""

    process: GateProcess
    chain: FakeChain
    operator: OperatorClient

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def unix_url(self) -> str:
        return f"unix://{self.process.home.agent_socket}"


TOKENS = {agent: f"wg_grant_{agent}" + "t" * 30 for agent in ("shopper", "rpc", "api", "sdk", "web3")}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A served gate with five grants alike, under the tests' policy."""
    root: Path = tmp_path_factory.mktemp("live")
    chain = FakeChain()
    with served(chain) as node:
        home = make_home(root / "home", node, tokens=TOKENS)
        with running(home) as process:
            yield Live(process, chain, OperatorClient(home))

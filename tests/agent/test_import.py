"""What an agent pays for `import walletgate` (in CPU time, since others use the machine), and what it must never load."""

import json
import subprocess
import sys

import pytest

BUDGET_MS = 150
BUDGET_MB = 30
REPORT = """
import json, resource, sys, time
def pages():
    return int(open("/proc/self/statm").read().split()[1])
before = pages()
started = time.process_time()
{what}
took = (time.process_time() - started) * 1000
grown = (pages() - before) * resource.getpagesize() / 2**20
print(json.dumps({{"ms": took, "mb": grown, "modules": sorted(sys.modules)}}))
"""


def run(what):
    command = [sys.executable, "-c", REPORT.format(what=what)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def ours(report):
    return {name for name in report["modules"] if name.split(".")[0] == "walletgate"}


def test_import_is_within_its_budget():
    reports = [run("import walletgate") for _ in range(3)]
    assert min(report["ms"] for report in reports) <= BUDGET_MS
    assert min(report["mb"] for report in reports) <= BUDGET_MB
    assert ours(reports[0]) == {"walletgate"}


def test_client_without_an_account_needs_the_standard_library_only():
    report = run("from walletgate import Client, GateDenied, account, attach, rpc_url")
    assert report["mb"] <= BUDGET_MB
    assert not {"eth_account", "web3", "pydantic", "aiohttp", "asyncio"} & set(report["modules"])


@pytest.mark.parametrize("what", ["from walletgate import GateAccount", "import walletgate.agent.web3"])
def test_agents_side_sees_only_errors_and_types_of_ours(what):
    seen = ours(run(what))
    assert all(
        name.startswith("walletgate.agent") for name in seen - {"walletgate", "walletgate.errors", "walletgate.types"}
    )
    assert "sqlmodel" not in run(what)["modules"]


def test_account_without_web3_does_not_bring_it():
    assert "web3" not in run("from walletgate import GateAccount")["modules"]


def test_errors_are_plain_until_web3_is_there():
    what = """
from walletgate.agent.errors import GateDenied, make
plain = make(GateDenied, "no")
assert type(plain) is GateDenied
import web3
both = make(GateDenied, "no")
assert isinstance(both, GateDenied) and isinstance(both, web3.exceptions.Web3RPCError)
assert type(both) is type(make(GateDenied, "no"))
assert str(both) == str(plain) == "no [policy_denied]"
"""
    assert run(what)

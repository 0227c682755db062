"""The examples do what they say: policies pass their own tests and the linter, programs load and have types."""

from __future__ import annotations

import importlib.util
import typing
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import pytest

import walletgate
from walletgate.policy import Policy, load, show
from walletgate.policy.cases import result_lines, run_cases
from walletgate.policy.lint import Severity, lint
from walletgate.types import Outcome

EXAMPLES = Path(__file__).parent.parent / "examples"
POLICIES = sorted(path for path in EXAMPLES.glob("policies/*.toml") if not path.name.endswith(".cases.toml"))
PROGRAMS = sorted(EXAMPLES.glob("*.py"))
ACME = "0xd62E97C1C4219a3850376f168e3B18aD242765Db"

each_policy = pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
each_program = pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)


def policy_at(path: Path) -> Policy:
    return load(path.read_text(), source=path.name)


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_examples() -> None:
    assert {path.stem for path in POLICIES} == {"dex-trader", "read-only", "treasury-payer", "x402-shopper"}
    assert {path.stem for path in PROGRAMS} >= {"pay", "web3_agent", "x402_shopper"}


@each_policy
def test_a_template_has_nothing_to_warn_of(path: Path) -> None:
    serious = [finding for finding in lint(policy_at(path)) if finding.severity is not Severity.HINT]
    assert serious == []
    assert show(policy_at(path))


@each_policy
def test_a_template_passes_its_own_cases(path: Path) -> None:
    beside = path.with_suffix(".cases.toml")
    results = run_cases(policy_at(path), beside.read_text(), source=beside.name)
    assert all(result.passed for result in results), "\n".join(result_lines(results))
    refused = sum(result.want is Outcome.DENY for result in results)
    assert len(results) >= 8
    assert refused > len(results) - refused
    assert all(result.because for result in results if result.want is Outcome.DENY)


def test_the_read_only_template_signs_nothing_at_all() -> None:
    terms = policy_at(EXAMPLES / "policies" / "read-only.toml").terms
    assert (terms.methods, terms.permits) == (frozenset(), ())
    assert not any(word in method.lower() for method in terms.read_methods for word in ("sign", "send"))


@each_program
def test_a_program_loads_without_running_and_has_types(path: Path) -> None:
    module = module_at(path)
    hints = typing.get_type_hints(module.main)
    assert hints.pop("return") is type(None)
    assert hints and set(hints.values()) == {str}


class Flaky:
    """An account whose first answers are lost."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.asked: list[dict[str, object]] = []

    def send(self, call: dict[str, str], **options: object) -> object:
        self.asked.append({**call, **options})
        if len(self.asked) <= self.lost:
            raise walletgate.GateUnavailable("no answer", code="gate_timeout")
        return type("Hash", (), {"to_0x_hex": lambda _self: "0xabc"})()


def test_the_paying_example_asks_again_with_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_at(EXAMPLES / "pay.py")
    monkeypatch.setattr(module.time, "sleep", lambda _s: None)
    account = Flaky(lost=2)
    assert module.pay(account, "invoice-17", ACME, Decimal("12.50")) == "0xabc"
    assert len(account.asked) == 3
    assert account.asked[0] == account.asked[1] == account.asked[2]
    assert account.asked[0]["id"] == "invoice-17"
    assert account.asked[0]["expect"] == {"asset": "USDC", "amount": "12.50", "recipient": ACME}
    assert account.asked[0]["data"] == "0xa9059cbb" + ACME[2:].lower().rjust(64, "0") + f"{12_500_000:064x}"
    with pytest.raises(TimeoutError):
        module.pay(Flaky(lost=99), "invoice-17", ACME, Decimal(1))


@pytest.mark.parametrize("amount", ["0", "-1", "0.0000001", "NaN"])
def test_the_paying_example_refuses_what_is_no_amount(amount: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        module_at(EXAMPLES / "pay.py").transfer(ACME, Decimal(amount))

"""House rules that a machine can check: who imports whom, how long things are, and what is made where."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import walletgate

ROOT = Path(walletgate.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))

VOCABULARY = {"errors", "types"}
PURE = VOCABULARY | {"encoding"}
CORE = PURE | {"effects", "limits", "audit"}
JUDGED = CORE | {"policy"}
HELD = JUDGED | {"store", "signers", "chain"}
GATE = HELD | {"gate"}
EDGES = GATE | {"server", "cli", "demo"}
MAY_IMPORT = {
    "errors": set(), "types": set(), "encoding": VOCABULARY,
    "effects": PURE | {"effects"}, "limits": PURE, "audit": PURE | {"audit"},
    "policy": CORE | {"policy"},
    "store": JUDGED | {"store"}, "signers": JUDGED | {"signers"}, "chain": JUDGED,
    "gate": GATE, "server": GATE | {"server"}, "cli": EDGES | {"agent"}, "__main__": EDGES,
    "demo": EDGES | {"agent", "__init__"},
    "agent": VOCABULARY | {"agent"}, "__init__": {"agent", "errors"},
}  # fmt: skip
"""What each part may import of ours (design, section 6): one way only."""

LINES_MAX = 400
FUNCTION_LINES_MAX = 70


def part_of(path: Path) -> str:
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """The parts of ours that a module imports, wherever in it."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where things come from"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "walletgate":
                known = len(parts) > 1 and ((ROOT / parts[1]).is_dir() or (ROOT / f"{parts[1]}.py").exists())
                yield parts[1] if known else "__init__"


def calls_of(tree: ast.AST, name: str) -> int:
    return sum(
        isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == name)
            or (isinstance(node.func, ast.Attribute) and node.func.attr == name)
        )
        for node in ast.walk(tree)
    )


def docstring_lines(tree: ast.AST) -> set[int]:
    """Lines of docstrings, and of the texts that describe the constants above them."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


@cache
def code_lines(path: Path) -> list[int]:
    """Lines that hold code: no docstrings, comments or blank lines."""
    text = path.read_text()
    without = docstring_lines(ast.parse(text))
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            held |= set(range(token.start[0], token.end[0] + 1))
    return sorted(held - without)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    foreign = set(imported(tree_of(path))) - MAY_IMPORT[part_of(path)]
    assert not foreign, f"{name_of(path)} imports {sorted(foreign)}"


@pytest.mark.parametrize("part", ["effects", "policy", "audit", "limits"])
def test_the_core_does_no_input_or_output(part: str) -> None:
    outside = {
        "asyncio", "socket", "http", "urllib", "aiohttp", "sqlite3", "subprocess", "threading", "os", "sys", "random",
        "secrets", "pathlib", "logging", "tempfile", "time",
    }  # fmt: skip
    for path in MODULES:
        if part_of(path) != part:
            continue
        for node in ast.walk(tree_of(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            used = {name.split(".")[0] for name in names} & outside
            assert not used, f"{name_of(path)} imports {sorted(used)}"
        for name in ("open", "print", "input", "now", "utcnow"):
            assert not calls_of(tree_of(path), name), f"{name_of(path)} calls {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_fit_in_a_head(path: Path) -> None:
    lines = code_lines(path)
    assert len(lines) <= LINES_MAX, f"{name_of(path)} has {len(lines)} lines of code"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            held = [n for n in lines if node.lineno <= n <= (node.end_lineno or node.lineno)]
            assert len(held) <= FUNCTION_LINES_MAX, f"{name_of(path)}:{node.lineno} {node.name} has {len(held)} lines"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_promises(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)) or path.stat().st_size == 0


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_catches_everything(path: Path) -> None:
    if part_of(path) == "demo":
        return
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        names = {kind.id if isinstance(kind, ast.Name) else None for kind in kinds if kind is not None}
        again = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
        assert node.type is not None, f"{name_of(path)}:{node.lineno} catches without a name"
        assert "Exception" not in names, f"{name_of(path)}:{node.lineno} catches Exception"
        assert "BaseException" not in names or again, f"{name_of(path)}:{node.lineno} keeps a BaseException to itself"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_promise_of_a_broken_invariant_is_caught_nowhere_but_where_it_leaves(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            names = {inner.id for inner in ast.walk(node.type) if isinstance(inner, ast.Name)}
            assert "InvariantViolation" not in names or name_of(path) == "cli/common.py"


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("Authorization", {"gate/deciding.py"}),
        ("authorize", {"gate/deciding.py", "gate/operate.py", "gate/replace.py"}),
        ("PrivateKey", {"signers/keystore.py", "gate/commands.py"}),
        ("Seal", {"signers/process.py", "cli/client.py"}),
        ("KeyRing", {"signers/process.py", "cli/client.py"}),
        ("unsafe_secret", {"server/home.py"}),
        ("decode_keyfile_json", {"signers/keystore.py"}),
        ("sign_recoverable", {"signers/keystore.py", "gate/commands.py"}),
        ("eval", set()),
        ("exec", set()),
        ("__import__", set()),
        ("system", set()),
    ],
)
def test_what_is_dangerous_is_made_in_one_place(name: str, places: set[str]) -> None:
    found = {name_of(path) for path in MODULES if calls_of(tree_of(path), name)}
    assert found <= places


def test_keys_are_named_only_by_those_who_hold_them() -> None:
    holders = {"signers", "gate/commands.py"}
    for path in MODULES:
        if part_of(path) in holders or name_of(path) in holders:
            continue
        for node in ast.walk(tree_of(path)):
            name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            assert name != "PrivateKey", f"{name_of(path)}:{getattr(node, 'lineno', 0)}"


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=lambda path: path.name)
def test_nothing_is_left_for_later(path: Path) -> None:
    if path == Path(__file__):
        return
    text = path.read_text()
    for word in ("TO" + "DO", "FIX" + "ME", "XXX" + ":", "pytest.sk" + "ip", "mark.sk" + "ip", "mark.xf" + "ail"):
        assert word not in text, f"{path.name} says {word}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_promises_do_not_depend_on_assert(path: Path) -> None:
    """`python -O` removes it."""
    for node in ast.walk(tree_of(path)):
        assert not isinstance(node, ast.Assert), f"{name_of(path)}:{node.lineno}"


def test_the_public_names_are_these_and_all_load() -> None:
    assert sorted(walletgate.__all__) == [
        "ApprovalPending", "ApprovalRejected", "AsyncClient", "Client", "GateAccount", "GateDenied", "GateUnavailable",
        "Limits", "OfferRefused", "PaidNotServed", "PolicyView", "Preview", "Request", "WalletGateError", "X402Client",
        "account", "attach", "rpc_headers", "rpc_url", "tool_call", "x402_client",
    ]  # fmt: skip
    for name in walletgate.__all__:
        assert getattr(walletgate, name) is not None

#!/usr/bin/env python3
"""Compiles the contracts that the Python package deploys, into `walletgate/demo/artifacts/<name>.json`.

    npm ci                              # once, in contracts/
    python contracts/build.py           # compile and write
    python contracts/build.py --check   # compile and compare byte for byte; exit code 1 if anything differs

The artifacts are committed, because whoever installs the package has no Node. Each is one line of JSON: `contract`,
`compiler`, `abi`, `bytecode` (creation code, `0x` hex) and `source_sha256` of its own source file, by which a test
without Node notices a forgotten build. The bytecode holds no metadata, so it depends on sources, compiler and
settings only; the settings are those of foundry.toml.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ARTIFACTS = HERE.parent / "walletgate" / "demo" / "artifacts"

CONTRACTS = {
    "Lobstar": "src/tokens/Lobstar.sol",
    "TestUSD": "src/tokens/TestUSD.sol",
}

SETTINGS: dict[str, Any] = {
    "evmVersion": "prague",
    "optimizer": {"enabled": True, "runs": 200},
    "remappings": ["@openzeppelin/contracts/=node_modules/@openzeppelin/contracts/"],
    "metadata": {"appendCBOR": False, "bytecodeHash": "none"},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
}


def main() -> int:
    """Build or check; the exit code."""
    parser = argparse.ArgumentParser(description="Compile the contracts that the Python package deploys.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if an artifact is not up to date")
    is_check = parser.parse_args().check
    built = build_artifacts()
    stale = [name for name, text in built.items() if read(ARTIFACTS / f"{name}.json") != text]
    extra = sorted(path.name for path in ARTIFACTS.glob("*.json") if path.stem not in built)
    if is_check:
        for name in [f"{name}.json" for name in stale] + extra:
            sys.stderr.write(f"{name} is not what the sources compile to; run contracts/build.py\n")
        return 1 if stale or extra else 0
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (ARTIFACTS / f"{name}.json").write_text(built[name], encoding="utf-8")
    for name in extra:
        (ARTIFACTS / name).unlink()
    sys.stderr.write(f"{len(built)} artifacts, {len(stale) + len(extra)} changed\n")
    return 0


def build_artifacts() -> dict[str, str]:
    """The text of each artifact, by contract."""
    sources = {path: (HERE / path).read_text(encoding="utf-8") for path in CONTRACTS.values()}
    standard = {
        "language": "Solidity",
        "sources": {path: {"content": text} for path, text in sources.items()},
        "settings": SETTINGS,
    }
    compiler = run_compiler("--version").split("Version: ", 1)[1].split(".Emscripten", 1)[0].strip()
    output = json.loads(run_compiler("--standard-json", stdin=json.dumps(standard)))
    problems = [problem["formattedMessage"] for problem in output.get("errors", ())]
    if problems:
        sys.exit("\n".join(problems))
    built = {}
    for name, path in CONTRACTS.items():
        compiled = output["contracts"][path][name]
        artifact = {
            "contract": name,
            "compiler": compiler,
            "source_sha256": hashlib.sha256(sources[path].encode()).hexdigest(),
            "abi": compiled["abi"],
            "bytecode": "0x" + compiled["evm"]["bytecode"]["object"],
        }
        built[name] = json.dumps(artifact, separators=(",", ":")) + "\n"
    return built


def run_compiler(option: str, *, stdin: str = "") -> str:
    """What the pinned compiler answers."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "solc").is_dir():
        sys.exit("the compiler is not installed: npm ci (in contracts/, with Node 20 or later)")
    command = [node, str(HERE / "tools" / "solc"), option]
    return subprocess.run(command, input=stdin, capture_output=True, check=True, cwd=HERE, text=True).stdout  # noqa: S603  # our own wrapper


def read(path: Path) -> str | None:
    """The text of a file, None if there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())

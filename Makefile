# demo and test set themselves up; every other target expects `make setup` to have run once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FORGE := node_modules/@foundry-rs/forge-linux-amd64/bin/forge
NODE_STAMP := contracts/node_modules/.package-lock.json

LOCK := --universal --generate-hashes --quiet --no-emit-index-url --no-annotate --no-header

.PHONY: demo test fast fuzz bench plots lint format types lock setup contracts clean

demo: setup
	$(BIN)/walletgate demo

test: setup contracts
	$(BIN)/pytest -n 2 --dist worksteal
	cd contracts && $(FORGE) test
	$(BIN)/python contracts/build.py --check

fast: setup
	$(BIN)/pytest -n 2 -m "not slow and not node"

bench: setup
	$(BIN)/python -m tests.bench

plots: setup
	$(BIN)/python -m tests.plots

fuzz: setup
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	mkdir -p .fuzz
	$(BIN)/python -m tests.fuzz_effects -max_total_time=600 -timeout=5 -rss_limit_mb=1024 .fuzz tests/fuzz_corpus

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

contracts: $(NODE_STAMP)

$(NODE_STAMP): contracts/package.json contracts/package-lock.json
	cd contracts && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $(NODE_STAMP)

lock:
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev $(LOCK) --prerelease=if-necessary-or-explicit -o requirements.lock
	echo "atheris==3.0.0" | $(BIN)/uv pip compile - $(LOCK) -o requirements-fuzz.lock

clean:
	rm -rf $(VENV) contracts/node_modules contracts/out contracts/cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything a fresh machine needs: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
NODE_TESTS := tests/interop

.PHONY: setup demo test lint texts chaos fuzz bench pictures requirements clean

setup: $(BIN)/griffier            ## the virtual environment with the `griffier` command

$(BIN)/griffier: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup                       ## the whole chain on this machine, with a sample ministry
	$(BIN)/griffier demo

test: setup                       ## all tests, on the embedded stack
	$(BIN)/python -m pytest

lint: setup                       ## style, types, the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

texts: setup                      ## the texts of pages and exports that lack a translation, or have a wrong one
	$(BIN)/python -m tests.texts

chaos: setup                      ## the long form of the storm: 200 kills and 100 other blows (GRIFFIER_CHAOS_SEED repeats one)
	GRIFFIER_CHAOS_KILLS=200 $(BIN)/python -m pytest -s tests/chaos/test_storm.py
	GRIFFIER_CHAOS_BRIDGE_KILLS=60 $(BIN)/python -m pytest -s tests/chaos/test_bridge_storm.py tests/chaos/test_kill_bridge.py

fuzz: setup                       ## a million hostile events, 200,000 hostile webhooks, then the coverage-guided fuzzer on both
	$(BIN)/python -m tests.fuzz
	$(BIN)/python -m tests.fuzz.webhooks
	$(BIN)/python -m tests.fuzz.guided events
	$(BIN)/python -m tests.fuzz.guided webhooks

bench: setup                      ## ratios to a baseline measured in the same run
	$(BIN)/python -m tests.bench

pictures: setup                   ## the README's pictures, anew from the demo (needs Chromium)
	$(BIN)/python -m tests.pictures

requirements:                     ## pin the dependencies again, with hashes
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --extra demo \
	  --custom-compile-command "make requirements" -o requirements.txt pyproject.toml
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --extra demo --extra dev \
	  --custom-compile-command "make requirements" -o requirements-dev.txt pyproject.toml

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# One way to run everything. The set-up lives in .venv and is redone only when pyproject.toml changes.
#   make run ARGS="--port 9000"     make test ARGS="tests/cli -x"     make setup PYTHON=python3.12
#   make chaos ARGS="--seconds 120 --seed 7"
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run test check audit bench chaos clean

help:
	@echo "make run    set up what is needed, then start everything on this machine (llamarelay up)"
	@echo "make test   set up what is needed, then run all tests"
	@echo "make check  linters, formatting, types, import rules, known vulnerabilities"
	@echo "make audit  known vulnerabilities of the installed packages alone"
	@echo "make bench  benchmarks"
	@echo "make chaos  15 minutes of load while processes are killed, stopped, paused and cut off"
	@echo "make setup  only the set-up: .venv with the dependencies, llama.cpp compiled"
	@echo "make clean  remove caches and build leftovers (.venv and data stay)"

setup: .venv/.ready
	@echo ".venv is ready"

run: .venv/.ready
	@$(BIN)/llamarelay up $(ARGS)

test: .venv/.ready-test
	$(BIN)/python -m pytest $(ARGS)

check: .venv/.ready-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/audit.py

audit: .venv/.ready-check
	$(BIN)/python .ci/audit.py

bench: .venv/.ready
	$(BIN)/python -m bench $(ARGS)

chaos: .venv/.ready-test
	$(BIN)/python -m tests.chaos $(ARGS)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Stamps: what is installed in .venv. Running needs neither the tests' nor the linters' packages.
.venv/.ready: EXTRAS =
.venv/.ready-test: EXTRAS = test,train
.venv/.ready-check: EXTRAS = check
.venv/.ready-test .venv/.ready-check: .venv/.ready
.venv/.ready .venv/.ready-test .venv/.ready-check: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is missing: install it (Debian, Ubuntu: apt install python3 python3-venv), or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) cli/bootstrap.py $(EXTRAS)
	@touch $@

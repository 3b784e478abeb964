# The newcomer's commands. Everything needs only git, make and Python 3.11+; `setup` fetches the rest.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
PYTHON := $(or $(PYTHON),python3)
BIN := .venv/bin
# Real machines may be late while four tests run at once: what failed is asked once more, alone. Both outcomes are shown.
AGAIN = $(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none $(TESTS) </dev/null
# Tests wait for machines and clocks more than they compute: two workers a core.
JOBS ?= $(shell expr 2 \* $$(nproc))

.PHONY: help setup neighbours demo test test-long test-only lint format docs bench lock clean

help:
	@echo "make setup      prepare this machine and .venv/bin/gureum"
	@echo "make neighbours setup, and moto, which answers S3, IAM, SQS … beside gureum"
	@echo "make demo       setup, then a tour with stock command lines"
	@echo "make test       lint, types, import contracts and all tests but the long ones"
	@echo "make test-long  the tests that take minutes"
	@echo "make bench      the benchmarks of the README, with their peers"
	@echo "make lint       lint, types and import contracts"
	@echo "make format     what lint can mend by itself"
	@echo "make docs       write the pages that are made from the code"
	@echo "make lock       pin the Python packages anew"

setup:
	@$(PYTHON) tools/setup.py

neighbours:
	@$(PYTHON) tools/setup.py --neighbours

demo:
	@$(PYTHON) tools/setup.py --demo
	@$(BIN)/gureum demo

test: lint test-only

test-only:
	@$(PYTHON) tools/setup.py --test
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(TESTS) </dev/null || $(AGAIN)

test-long:
	@$(PYTHON) tools/setup.py --test
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m long $(TESTS) </dev/null

lint:
	@$(PYTHON) tools/setup.py --test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports >/dev/null || $(BIN)/lint-imports --verbose

format:
	@$(PYTHON) tools/setup.py --test
	@$(BIN)/ruff check --fix -q .
	@$(BIN)/ruff format -q .

docs:
	@$(PYTHON) tools/setup.py --test
	@$(BIN)/python tools/docs_pages.py

bench:
	@$(PYTHON) tools/setup.py --test
	@$(BIN)/python -m bench

# uv is wanted here only; every version that is pinned stays pinned until its line is removed or UPGRADE=--upgrade is given.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	--no-header $(UPGRADE) pyproject.toml
lock:
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(LOCK) --extra dev --extra demo -o requirements-dev.lock
	$(LOCK) --extra build -c requirements-dev.lock -o requirements.lock
	$(LOCK) --extra build --extra demo -c requirements-dev.lock -o requirements-demo.lock
	$(LOCK) --extra build --extra neighbours -c requirements-dev.lock -o requirements-neighbours.lock
	$(LOCK) --extra bench -o requirements-bench.lock

clean:
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache

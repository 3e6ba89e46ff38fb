# Everything starts from a plain python3 with venv; `make help` lists what there is.
# PYTHON=/path/to/python3 makes .venv with another interpreter; without it an existing .venv is kept.
PYTHON ?=
ARGS ?=
# xdist: one process per core; a test run still has one broker and one Postgres (tests/conftest.py).
WORKERS ?= auto

RUN := .venv/bin/python
COMPILE := --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
.DEFAULT_GOAL := help
.PHONY: help setup up test test-full soak month check format bench lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

setup: ## make or renew .venv from requirements.lock; quick when nothing changed
	@sh caravan/setup.sh "$(PYTHON)"

up: setup ## run the whole platform here: make up ARGS="--port 8000 --data-dir .caravan"
	@exec $(RUN) -m caravan up $(ARGS)

test: setup ## every test but the long ones; make test ARGS="-k points" picks some
	@$(RUN) -m pytest -n $(WORKERS) -m "not full" $(ARGS)

test-full: setup ## every test
	@$(RUN) -m pytest -n $(WORKERS) $(ARGS)

soak: setup ## random faults on a whole platform with three brokers: make soak ARGS="--minutes 30 --seed 7"
	@$(RUN) -m tests.faults.soak $(ARGS)

month: setup ## a month of a town against a plain model, row for row: make month ARGS="--users 2000 --days 5 --seed 7"
	@$(RUN) -m tests.month $(ARGS)

check: setup ## lint, format, types, import contracts, message contracts
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy
	@$(RUN) -c "from importlinter.cli import lint_imports_command as lint; lint()"
	@$(RUN) -m caravan contracts check

format: setup ## put the code into its format
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

bench: setup ## measure this platform and its peers on this machine; see benchmarks/README.md
	@$(RUN) -m benchmarks $(ARGS)

lock: setup ## resolve the dependencies of pyproject.toml into the locks; ARGS="--upgrade" for newer ones
	@$(RUN) -m uv pip compile $(COMPILE) --extra dev --output-file requirements.lock $(ARGS) pyproject.toml
	@$(RUN) -m uv pip compile $(COMPILE) --constraints requirements.lock --output-file deploy/requirements.lock pyproject.toml
	@$(RUN) -m uv pip compile $(COMPILE) --output-file benchmarks/peers/requirements.lock $(ARGS) benchmarks/peers/requirements.in

clean: ## remove .venv and caches; data folders stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One verb per chore. Every verb sets up what it needs first; when nothing changed, that takes a moment.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PYTHON

BIN := .venv/bin
UNIT := tests/unit tests/contract
REAL := tests/chaos tests/integration
ROOMS := chaos $(filter-out __pycache__,$(notdir $(patsubst %/,%,$(wildcard tests/integration/*/))))
ROOM_TESTS := $(ROOMS:%=test-%)
# Files share two workers, each with a stack of its own: most of a test is waiting for a time-out.
# tests/conftest.py puts the long files first, so that both workers end together.
WORKERS ?= 2
ON_WORKERS = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo up down setup setup-dev trained check check-pythons test $(ROOM_TESTS) test-long soak mutants bench docs lock
.PHONY: lock-jars clean clean-all

help: ## this list
	@awk -F ':.*## ' '/^[a-z$$][^ ]*:.*## /{sub(/^\$$.*/, "test-<room>", $$1); printf "  make %-13s %s\n", $$1, $$2}' \
	  $(MAKEFILE_LIST)

demo: ## set up, start everything, place real orders and watch them arrive; stays up
	@setup/run --jars --ports
	@$(BIN)/orderflow demo

up: ## set up and start the local stack
	@setup/run --jars --ports
	@$(BIN)/orderflow up

down: ## stop the local stack; its data stays
	@if [ -x $(BIN)/orderflow ]; then $(BIN)/orderflow down; else echo "nothing was ever set up here"; fi

setup: ## only set up: .venv from hashed requirements, the Java parts by checksum
	@setup/run --jars

setup-dev:
	@setup/run --jars development bench lake

check: ## format, lint, types, import law, unit and contract tests, schema history: one or two minutes
	@setup/run development bench lake
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/orderflow schemas check
	$(BIN)/pytest $(UNIT) $(ON_WORKERS)

check-pythons: setup-dev ## the kit's unit tests on every other Python from 3.11 on that is installed here
	@$(BIN)/python setup/check_pythons.py

trained: setup-dev
	@$(BIN)/python -m orderflow.stack.training

test: setup-dev check trained ## all that CI runs: check, then integration and chaos tests on real parts
	$(BIN)/pytest $(REAL) -m 'not soak and not long' $(ON_WORKERS) --durations 25

$(ROOM_TESTS): test-%: trained ## one room of the real tests: chaos, kit, order, payment … (tests/integration/)
	$(BIN)/pytest $(wildcard tests/$* tests/integration/$*) -m 'not soak and not long' $(ON_WORKERS)

test-long: trained ## ten kills at each point instead of one, and what takes long
	$(BIN)/pytest $(REAL) -m long --timeout 1800

soak: trained ## the long campaigns: hundreds of kills; at the end a table of faults, counts, violations
	$(BIN)/pytest $(REAL) -m soak --timeout 3600

mutants: trained ## plant known bugs in a scratch copy and expect their tests to fail
	$(BIN)/python -m tests.mutants

bench: setup-dev ## measure, each figure beside its baseline
	$(BIN)/orderflow bench flow
	$(BIN)/orderflow bench post
	$(BIN)/orderflow bench relay
	$(BIN)/orderflow bench payment
	$(BIN)/orderflow bench inventory
	$(BIN)/orderflow bench notification
	$(BIN)/orderflow bench revenue
	$(BIN)/orderflow bench copies

docs: setup-dev ## write docs/asyncapi.json, docs/metrics.md and the dashboards anew, as the code has them
	$(BIN)/python -m orderflow.services.asyncapi
	$(BIN)/python -m orderflow.services.metrics
	$(BIN)/python -m deploy.grafana.panels

lock: ## pin the Python requirements anew, with hashes
	@setup/run development bench lake
	@for name in runtime fetch lake development bench clients installer; do \
	  $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
	    requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done

lock-jars: ## resolve the Java parts anew (versions: setup/lock_jars.py) and pin them
	@setup/run
	@$(BIN)/python setup/lock_jars.py

clean: ## remove what tools left in the work tree
	@rm -rf .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache build dist
	@find src tests setup -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## stop the stack; delete its data, .venv and the shared cache, after asking (YES=1: without)
	@$${PYTHON:-python3} -B setup/clean.py $(if $(YES),--yes)

# Everything a machine needs is python3 (3.11 or later, with pip and venv), node, gcc and make.
# The rest is installed into .venv from requirements/dev.txt, by hash, the first time it is needed.

ARGS ?=
# processes that share the tests, file by file; 0: none beside pytest itself, as a debugger wants it
JOBS ?= 2
PYTHON ?= python3
TESTS ?= tests brokers

VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
OPENAPI := docs/openapi/gateway.json
LOCK_DIR ?= requirements
LOCK_CHECK := $(VENV)/lock-check

# A company's own certificate authority lives in the system's store; uv would not look there by itself.
export UV_SYSTEM_CERTS ?= 1
# uv warns when its cache and .venv are on two disks; copying is what it then does anyway.
export UV_LINK_MODE ?= copy
# Tests, the demo and the bench start many processes: without bytecode on the disk each would compile the house and
# its libraries anew, which costs a command five seconds.
unexport PYTHONDONTWRITEBYTECODE
# pyright comes whole in its locked wheel: do not ask the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  Options go in ARGS:  make demo ARGS="--once --json"   make test ARGS="-x -k lease"'
	@echo '  One room of tests:   make test TESTS=tests/unit'

.PHONY: demo
demo: setup ## Run the main job: database, broker simulators, gateway, one leader, 20 followers
	@$(BIN)/kopitra demo $(ARGS)

.PHONY: test
test: setup ## Run all tests
	@$(BIN)/pytest --numprocesses=$(JOBS) --dist=loadfile $(TESTS) $(ARGS)

# -k: show every kind of fault at once. Two jobs: type checking takes as long as all others together.
FIRST ?= 1
SEEDS ?= 500
FIGURES ?= .kopitra/figures
# what docs/reliability.md is made from
RESULTS ?= tests/faults/results

.PHONY: faults
faults: setup ## Simulate seeds with faults: make faults FIRST=1 SEEDS=500
	@mkdir -p $(FIGURES)
	@$(BIN)/python -m tests.faults run --first $(FIRST) --seeds $(SEEDS) --figures $(FIGURES)/seeds.json

.PHONY: chaos
chaos: setup ## Replay one seed, made as small as it still fails: make chaos SEED=7
	@$(BIN)/python -m tests.faults replay --seed $(SEED)

# Several names in one run: make ablate ARGS="'T_vis' 'one-shot sends'"
.PHONY: ablate
ablate: setup ## Take every safeguard out once and tell who misses it (T-90)
	@mkdir -p $(RESULTS) $(FIGURES)
	@$(BIN)/python -m tests.faults ablate --figures $(if $(ARGS),$(FIGURES)/ablated.json,$(RESULTS)/ablations.json) $(ARGS)

.PHONY: publish
publish: setup ## Put the figures of the last runs onto docs/reliability.md
	@$(BIN)/python -m tests.faults publish

# Each tier writes its figures, whatever it finds, and the page gets them all; then nightly fails if one of them did.
NIGHTLY := nightly-machines nightly-seeds nightly-sweep nightly-same nightly-crash nightly-database nightly-wire nightly-handovers \
	nightly-revisions nightly-ablate

# T-10: the files whose state machines take their length from tests/machines.py
MACHINES := $(shell grep -rl "^from tests.machines import" tests --include='test_*.py')

.PHONY: nightly
nightly: setup ## Every long tier (hours): seeds, crash points, hand-overs, wires, ablations; then publish
	@mkdir -p $(RESULTS) $(FIGURES)
	@$(MAKE) -k $(NIGHTLY); outcome=$$?; $(MAKE) publish && exit $$outcome

.PHONY: $(NIGHTLY)
nightly-machines:
	@MACHINE_RUNS=5000 MACHINE_STEPS=100 $(BIN)/pytest -q --numprocesses=2 --dist=loadfile $(MACHINES)
nightly-seeds:
	@$(BIN)/python -m tests.faults run --first $(FIRST) --seeds 20000 --figures $(RESULTS)/seeds.json
nightly-sweep:
	@$(BIN)/python -m tests.faults sweep --figures $(RESULTS)/sweep.json
nightly-same:
	@$(BIN)/python -m tests.faults same --seeds 200
nightly-crash:
	@$(BIN)/python -m tests.faults.crash --points all --out $(RESULTS)/crash.json
nightly-database:
	@$(BIN)/python -m tests.faults.crash.database --restarts 60 --out $(RESULTS)/database.json
nightly-wire:
	@$(BIN)/python -m tests.faults.wire --seeds 20 --out $(RESULTS)/wire.json
nightly-handovers:
	@HANDOVERS=500 HANDOVER_FIGURES=$(RESULTS)/handover.json $(BIN)/pytest -q tests/faults/test_handover.py
nightly-revisions:
	@REVISIONS_S=60 REVISIONS_FIGURES=$(RESULTS)/revisions.json $(BIN)/pytest -q tests/faults/test_revisions.py
nightly-ablate: ablate

.PHONY: check
check: setup ## Check format, lint, types, import contracts, and that generated files are fresh
	@$(MAKE) -k -j2 --output-sync=target check-types check-format check-lint check-imports check-lock check-openapi

.PHONY: check-types check-format check-lint check-imports check-lock check-openapi
check-types: setup
	@$(BIN)/pyright
check-format: setup
	@$(BIN)/ruff format --check --quiet || { echo "not formatted; run 'make format':"; $(BIN)/ruff format --check; }
check-lint: setup
	@$(BIN)/ruff check --quiet
check-imports: setup
	@$(BIN)/lint-imports --no-logo
# Compiled again over a copy of today's pins: a newer release elsewhere changes nothing, a changed
# group in pyproject.toml or an edited pin does. Without a network uv's cache usually knows enough.
check-lock: setup
	@rm -rf $(LOCK_CHECK) && cp -R requirements $(LOCK_CHECK)
	@$(MAKE) lock LOCK_DIR=$(LOCK_CHECK) || UV_OFFLINE=1 $(MAKE) lock LOCK_DIR=$(LOCK_CHECK)
	@diff -r requirements $(LOCK_CHECK) || { echo "requirements/ is stale; run 'make lock' and commit it"; exit 1; }
check-openapi: setup
	@test ! -e $(OPENAPI) || $(BIN)/kopitra openapi | diff $(OPENAPI) - \
		|| { echo "$(OPENAPI) is stale; run 'make openapi' and commit it"; exit 1; }

.PHONY: format
format: setup ## Format the code and apply the safe lint fixes
	@$(BIN)/ruff check --quiet --fix-only
	@$(BIN)/ruff format

.PHONY: bench
bench: setup ## Measure the README's claims; writes bench/results.json
	@$(BIN)/python -m bench $(ARGS)

# dev holds every group, so it is compiled first and its pins bind the others.
.PHONY: lock
lock: $(UV) ## Compile requirements/ from pyproject.toml, keeping pins (ARGS=--upgrade moves them)
	@$(call compile,dev,)
	@for group in bootstrap functions gateway; do \
		$(call compile,$$group,--constraints $(LOCK_DIR)/dev.txt) || exit 1; \
	done

define compile
$(UV) pip compile pyproject.toml --group $(1) $(2) --output-file $(LOCK_DIR)/$(1).txt \
	--quiet --no-build --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" $(ARGS)
endef

.PHONY: openapi
openapi: setup ## Write docs/openapi/gateway.json from the running code
	@mkdir -p $(dir $(OPENAPI))
	@$(BIN)/kopitra openapi > $(OPENAPI)

.PHONY: clean
clean: ## Remove .venv and caches; the data in .kopitra/ stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.kopitra/*' -prune -exec rm -rf {} +

# ---- setting up: each stamp is younger than what it was made from, so a second run costs nothing ----

.PHONY: setup
setup: $(VENV)/.project ## Install everything (the other targets do this themselves)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Kopitra needs Python 3.11 or later; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(UV): requirements/bootstrap.txt | $(VENV)/.python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< >&2
	@touch $@

# pip is the second way in: it reads the machine's pip.conf, which may know a mirror that uv does not.
$(VENV)/.packages: requirements/dev.txt $(UV)
	@echo "installing the packages of $<" >&2
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes $< \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $< >&2
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.packages
	@$(UV) pip install --quiet --offline --python $(BIN)/python --no-deps --no-build-isolation --editable . >&2
	@touch $@

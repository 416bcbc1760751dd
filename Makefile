# Everything that is done to this project, by name. `make` alone prints the list.
.DEFAULT_GOAL := help
.PHONY: help setup lock demo test check format schemas bench chaos bench-waiting simulate nightly clean
.SUFFIXES:

# The first whose code is in one piece and not in a shared library, which is worth a sixth of the
# speed (`uprp doctor` says what one has); else whatever is called python3.
IN_ONE_PIECE := import ensurepip, sys, venv; \
	sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) or "libpython" in open("/proc/self/maps").read())
PYTHON ?= $(or $(shell for one in python3 /usr/bin/python3 python3.11 python3.12 python3.13; do \
	"$$one" -I -c '$(IN_ONE_PIECE)' 2>/dev/null && echo "$$one" && break; done),python3)
UV := uv==0.13.9
BIN := .venv/bin
READY := .venv/.ready
# Two processes share the tests by whole files: many wait, and meanwhile others compute.
SHARED := -n 2 --dist loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Processes are started by the dozen. Each would compile every module anew, for a second, where the
# environment forbids to keep the bytecode beside the sources; here it is kept apart.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/bytecode
# The environment decides which mirrors, proxies and certificates are used, but not where packages
# are installed. These variables redirect the interpreter or uv, and no option overrules them.
unexport PYTHONHOME PYTHONPATH PYTHONPLATLIBDIR UV_WORKING_DIR UV_WORKING_DIRECTORY
# Every other setting of a place is overruled by an option on the call itself, because pip and uv
# read such settings from their configuration files as well.
INTO := --python $(BIN)/python
PIP_INTO := --no-user --target= --root=/ --prefix="$(CURDIR)/.venv"
# No option overrules a target in uv's configuration, so a configuration with one is not read.
UV_PIP := $(BIN)/uv $$($(BIN)/uv --show-settings pip sync requirements.lock | \
	awk '/^ *(target|prefix): Some/ {found = 1} END {if (found) print "--config-file=/dev/null"}') pip

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the pinned packages (PYTHON=python3.12 chooses the interpreter)

$(READY): pyproject.toml requirements.lock
	@echo "setup: virtual environment ($(PYTHON))"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "setup: $(UV)"
	@$(BIN)/python -m pip $(INTO) install --quiet $(PIP_INTO) $(UV)
	@echo "setup: pinned packages (requirements.lock)"
	@$(UV_PIP) sync $(INTO) --quiet --require-hashes requirements.lock
	@echo "setup: uprp itself"
	@$(UV_PIP) install $(INTO) --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock: $(READY) ## Pin the packages of pyproject.toml again, with hashes, into requirements.lock
	$(BIN)/uv pip compile $(INTO) --quiet --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --extra dev pyproject.toml \
		-o requirements.lock

demo: setup ## Redeem points on real servers and watch (KEEP=1 leaves everything running)
	@$(BIN)/uprp demo $(if $(KEEP),--keep)

test: check ## check, then every test that is not nightly (PYTEST_ARGS="-k kafka -x" adds options)
	@$(BIN)/python -m tests.quick_java
	@$(BIN)/python -m pytest -m "not nightly" $(SHARED) $(PYTEST_ARGS)

check: setup ## Style, types, layers, and generated files up to date
	@echo "check: ruff" && $(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@echo "check: mypy" && $(BIN)/mypy --no-error-summary
	@echo "check: layers" && { out=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$out"; exit 1; }; }
	@echo "check: generated files" && $(BIN)/python -m schemas.publish --check && $(BIN)/python -m adapters.cli.docs --check
	@echo "check: citations" && $(BIN)/python -m tests.docs.citations

format: setup ## Put the sources into the one format
	@$(BIN)/ruff check --quiet --fix . && $(BIN)/ruff format .

schemas: setup ## Write AsyncAPI, JSON Schema and the generated parts of the documents anew
	@$(BIN)/python -m schemas.publish
	@$(BIN)/python -m adapters.cli.docs

bench: setup ## Measure the bare loop and the coordinator side by side (build/bench.json)
	@$(BIN)/python -m tests.bench

simulate: setup ## The coordinator on a virtual clock, hostile seed after seed (SEEDS=1000 FIRST=0)
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

bench-waiting: setup ## What 200,000 waiting sagas cost the others (build/bench-waiting.json)
	@$(BIN)/python -m tests.bench.waiting

chaos: setup ## Everything at once on real servers (MINUTES=30 RATE=300; SEED=n brings a run back)
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),30) --rate $(or $(RATE),300) \
		$(if $(SEED),--seed $(SEED))

nightly: setup ## The long form of every proof
	@$(BIN)/python -m tests.quick_java
	@$(BIN)/python -m pytest -m nightly $(PYTEST_ARGS)

clean: ## Stop the embedded environment; delete its data and all that was generated but .venv
	@if test -d .uprp && test -x $(BIN)/uprp; then $(BIN)/uprp down --delete-data >/dev/null; fi
	@rm -rf .uprp build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Two commands do everything on a fresh machine: `make demo` and `make test`. Each sets up .venv by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := $(VENV)/.ready-tools
SOURCE ?= sp500_modelled
DATA ?=
RUN ?=
RECIPE ?=
PORT ?=
REPORT_PORT ?=
WORKERS ?= 2
ARGS ?=
PEERS := .venv-bench

export DAGSTER_HOME := $(CURDIR)/.dagster
# One thread a test worker: two workers fill two cores.
test test-slow check: export OMP_NUM_THREADS := 1

.PHONY: help demo test test-slow dev lint wheel check bench bench-gpu clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

demo: $(READY)  ## the whole chain, market data to bundle; SOURCE= DATA= RUN= RECIPE=
	@$(BIN)/clstm demo --source "$(SOURCE)" $(if $(DATA),--data "$(DATA)") $(if $(RUN),--run "$(RUN)") \
		$(if $(RECIPE),--recipe "$(RECIPE)")

test: $(TOOLS)  ## the fast tests, on two workers
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -m "not slow and not gpu"

test-slow: $(TOOLS)  ## the tests that learn for minutes
	$(BIN)/python -m pytest -m "slow and not gpu"

dev: $(READY)  ## the Dagster UI and the report server, on 127.0.0.1; PORT= REPORT_PORT=
	@$(BIN)/clstm dev $(if $(PORT),--port "$(PORT)") $(if $(REPORT_PORT),--report-port "$(REPORT_PORT)")

lint: $(TOOLS)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(TOOLS)  ## build the wheel, and call its two commands from outside the checkout
	@rm -rf build && mkdir -p build/wheel
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/wheel/site build/wheel/*.whl
	cd build/wheel && PYTHONPATH=site ../../$(BIN)/python -P -m clstm_core.train --help > /dev/null
	cd build/wheel && PYTHONPATH=site ../../$(BIN)/python -P -m orchestration.cli --help > /dev/null
	cd build/wheel && PYTHONPATH=site ../../$(BIN)/python -P -c "import clstm_core, pathlib; assert 'site' in pathlib.Path(clstm_core.__file__).parts"
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/policy ./clstm_policy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/policy/site build/policy/*.whl
	cd build/policy && PYTHONPATH=site ../../$(BIN)/python -P -c "import clstm_policy, pathlib, sys; assert 'site' in pathlib.Path(clstm_policy.__file__).parts and 'torch' not in sys.modules"

check: lint  ## lint, types and the tests of pure code, about a minute
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow and not gpu" tests/options tests/model tests/env tests/test_import_graph.py

bench: $(READY) $(PEERS)/.ready  ## our trainer beside its peers on this CPU, some 15 minutes; ARGS="--help" lists its flags
	@$(BIN)/python -m tools.bench $(ARGS)

bench-gpu:  ## the published configuration on a GPU, with the Python of PYTHON=, whose torch sees it; ARGS=
	@$(PYTHON) -m tools.bench.gpu $(ARGS)

# in an environment of their own; without them the comparison names what is missing and goes on
$(PEERS)/.ready: tools/bench/requirements.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "Installing the peers into $(PEERS) ..."
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r $< && touch $@ \
		|| echo "error: the peers cannot be installed: expected a package index in reach. Run make bench again." >&2

clean:  ## remove the environments and caches; data/ and .dagster/ stay
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache build *.egg-info

# what is imported is compiled then: compiling all of it here takes as long as the rest of the installation
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: $(PYTHON) is missing or is older than the Python 3.11 that this project needs. Run make PYTHON=/path/to/python3.11 (or newer)." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '$(1)'
endef

$(READY): pyproject.toml
	$(call install,.)
	@touch $@

# what tests, lint and types need besides
$(TOOLS): pyproject.toml
	$(call install,.[dev])
	@touch $(READY) $@

# Everything sets itself up: 'make test' and 'make demo' need Python 3.11 or later and nothing else.

PYTHON ?= python3
VENV   ?= .venv
OUT    ?= reports/demo
JOBS   ?= 2

BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install test lint bench methods slow demo clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Variables: VENV=$(VENV) OUT=$(OUT) JOBS=$(JOBS) PYTHON=$(PYTHON)"

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "hqsim needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=python3.11 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing hqsim and its dependencies into $(VENV) (minutes the first time)"
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[test]'
	@touch $@

install: $(INSTALLED)  ## Create the virtual environment and install hqsim into it

test: lint  ## Run every check: style, types, import directions, tests, kernels without the compiler
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not slow"
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -q -n $(JOBS) -m "not slow" tests/kernels

lint: $(INSTALLED)  ## Check style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## Measure speed beside torch and write benchmarks/RESULTS.md (nothing else should run)
	$(BIN)/python benchmarks/speed.py

methods: $(INSTALLED)  ## Train and compare the methods (hours; goes on where it was stopped); write docs/METHODS.md
	$(BIN)/python -m benchmarks.methods

slow: $(INSTALLED)  ## Run the slow tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m slow

demo: $(INSTALLED)  ## Do the main job on the embedded model and write a report to OUT
	$(BIN)/hqsim demo --out $(OUT) --overwrite

clean:  ## Remove caches and build results (not VENV, not reports)
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find hqsim tests -name __pycache__ -type d -prune -exec rm -rf {} +

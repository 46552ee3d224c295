# Everything a newcomer needs: `make demo`, `make test`. Each target sets up what it lacks; nothing else need be run first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUS ?= embedded
# Tests wait more than they compute. A file's tests stay in one process, in their order; the longest files come first.
PROCESSES ?= 2
SEEDS ?= 500
FIRST ?= 0
MUTATION ?=
MINUTES ?= 10
SEED ?= 1
REPORTS ?= .pytest_cache
STAMP := $(VENV)/.installed

.PHONY: help setup demo test lint types imports bench bench-runtime bench-runtime-soak bench-volume simulate faults clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Sixfold needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Name one with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

setup: $(STAMP) ## Install Sixfold and its tools into .venv

demo: $(STAMP) ## Run the whole system once, from push to deployment (BUS=embedded, kafka or compose)
	@PYTHON=$(BIN)/python examples/demo.sh $(BUS)

test: $(STAMP) lint types imports ## Check style, types and layers, then run every test
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not containers" --junitxml=$(REPORTS)/tests.xml
	$(BIN)/python -m pytest -m containers --junitxml=$(REPORTS)/containers.xml

lint: $(STAMP) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Check types
	$(BIN)/mypy
	$(BIN)/mypy tests examples bench

imports: $(STAMP) ## Check that the layers hold
	$(BIN)/lint-imports

bench: $(STAMP) ## Measure; the last line is one JSON object
	$(BIN)/python -m bench

bench-runtime: $(STAMP) ## Measure the runtime beside its Python peers on a real Kafka (40 minutes; bench/README.md)
	$(BIN)/python -m bench.runtime

bench-runtime-soak: $(STAMP) ## Measure a function's memory: a minute idle, ten at full rate
	$(BIN)/python -m bench.runtime soak

bench-volume: $(STAMP) ## Measure the quorum volume beside etcd and MariaDB on a real Kafka (20 minutes; bench/README.md)
	$(BIN)/python -m bench.volume

simulate: $(STAMP) ## Let volumes live through faults drawn from seeds (SEEDS=500)
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) $(if $(MUTATION),--mutation $(MUTATION))

faults: $(STAMP) ## Let real faults strike a volume's processes, and check what its clients saw (MINUTES=10 SEED=1 BUS=kafka)
	$(BIN)/python -m tests.faults --bus $(BUS) --minutes $(MINUTES) --seed $(SEED)

clean: ## Remove what the targets above made
	rm -rf $(VENV) .sixfold .kafka dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

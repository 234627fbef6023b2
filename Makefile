# `make` alone tells what there is. Set-up belongs to `make setup`; every other target does it first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
FUZZ_SECONDS ?= 1800
# How many tests run at the same time.
WORKERS ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: $(STAMP)  ## install Debian packages (as root) and make .venv with every command in .venv/bin

$(STAMP): pyproject.toml hatch_build.py tools/setup-debian $(wildcard bpf/* launcher/*)
	tools/setup-debian
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup  ## the main job: record nginx, make its profile, run it under that in podman and Docker
	$(BIN)/python -m examples.demo

test: setup  ## every test, linters and types among them
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --durations=12 --durations-min=5

lint: setup  ## linters and types only
	$(BIN)/python -m pytest tests/lint

bench: setup  ## what recording and enforcing cost, side by side with what there was before
	tools/setup-debian bench
	$(BIN)/python -m benchmarks.percall
	$(BIN)/python -m benchmarks.start --install-incumbent
	$(BIN)/python -m benchmarks.policies
	$(BIN)/python -m benchmarks.extract
	$(BIN)/python -m benchmarks.filters
	$(BIN)/python -m benchmarks.launch
	$(BIN)/python -m benchmarks.shim
	$(BIN)/python -m benchmarks.monitor --install-sandlock
	$(BIN)/python -m benchmarks.watch

soak: setup fuzz conformance  ## the long proofs
	SCMM_SOAK=1 $(BIN)/python -m pytest

fuzz: setup  ## the readers, the launcher's too, and the filter compiler against mutated input, for FUZZ_SECONDS
	tools/setup-debian fuzz
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python tests/fuzz/run.py all $(FUZZ_SECONDS)

conformance: setup  ## runc's own integration cases under scmm-runc, compared with runc itself
	tools/setup-debian conformance
	$(BIN)/python -m tools.conformance
	$(BIN)/python -m tools.conformance --agent

tables: setup  ## regenerate scmm_oci/tables/data from the pinned source
	$(BIN)/python tools/make_tables.py
	$(BIN)/python tools/make_vocabulary.py
	$(BIN)/python tools/make_groups.py
	$(BIN)/python tools/make_launcher_names.py

clean:  ## remove what was built, not what was recorded
	rm -rf $(VENV) build dist out .cache scmm_oci/data/*.bpf.o scmm_oci/data/scmm-enforce.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup demo test lint bench soak fuzz conformance tables clean

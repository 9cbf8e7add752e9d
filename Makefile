# What people do with Tidemark; `make` lists it. Every target repeats safely.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
LOCKS := constraints.txt constraints-jobs.txt constraints-dev.txt
# Tools that are not needed for anything else.
SUPPLY := .tidemark/supply
DEMO ?= quarter
# Files of the services tier that run at the same time, on one stack: most of their time they wait for it.
WORKERS ?= 4
PICTURES ?= docs/images
SHOWN := .tidemark/dashboards
SEED ?= 1
HOLD_S ?= 0
REPORT ?= .tidemark/game-day.md

.PHONY: help setup lock audit sbom provision demo up down clean test test-unit fuzz test-oracle test-flink test-services chaos game-day kube-test ha-test bench bench-quick lint types docs docs-check reference diagrams dashboards ci

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.installed ## Create .venv with the pinned dependencies

$(VENV)/.installed: pyproject.toml setup.py sdk/python/pyproject.toml $(LOCKS) infra/install_locked.sh
	@echo "== making $(VENV) with the locked dependencies (about 700 MB, a few minutes on a new machine)"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || (apt-get update -qq && apt-get install -y -qq python3-venv)
	$(PYTHON) -m venv $(VENV)
	infra/install_locked.sh $(BIN)/pip $(LOCKS)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable ./sdk/python --editable .
	$(BIN)/pip check
	$(BIN)/python -c 'import pyflink, jobs, tidemark_client, pytest'
	@touch $@

# What is needed for one thing alone: the site of the documentation, and drills.
$(VENV)/.installed-extra: $(VENV)/.installed constraints-extra.txt
	infra/install_locked.sh $(BIN)/pip $(LOCKS) constraints-extra.txt
	@touch $@

$(SUPPLY)/.installed: infra/supply/tools.txt
	@echo "== making $(SUPPLY) with tools for lock files and bills of materials"
	$(PYTHON) -m venv $(SUPPLY)
	infra/install_locked.sh $(SUPPLY)/bin/pip infra/supply/tools.txt
	@touch $@

lock: $(SUPPLY)/.installed ## Write the hashes of the versions in the lock files, and those of the jars
	$(BIN)/python -m infra.supply.lock $(SUPPLY)/bin/pip-compile
	$(BIN)/python -m infra.local.checksums

audit: $(SUPPLY)/.installed ## Known vulnerabilities of what is locked; needs PyPI's own JSON or, with AUDIT='--vulnerability-service osv', osv.dev
	$(SUPPLY)/bin/pip-audit --strict --disable-pip --require-hashes $(AUDIT) $(addprefix --requirement ,$(LOCKS) constraints-extra.txt)

sbom: setup provision $(SUPPLY)/.installed ## Bills of materials (CycloneDX) into build/sbom, and docs/licences.md
	$(BIN)/python -m infra.supply.bom $(SUPPLY)/bin/cyclonedx-py

provision: setup ## Fetch what the services need (Debian packages, jars), once a machine
	@$(BIN)/python -m infra.local

demo: setup ## Count a quarter of real flights and compare with the oracle; DEMO=year: the whole year
	@$(BIN)/tidemark demo --period $(DEMO)

up: setup ## Start the services and both jobs on this machine
	@$(BIN)/tidemark up --jobs

down: setup ## Stop the local stack; its data stays
	@$(BIN)/tidemark down

clean: ## Stop the local stack and those of tests and benchmarks, and remove their data and .venv
	@if [ -x $(BIN)/tidemark ]; then \
	  for stack in local demo secured test test-ha bench dashboards; do $(BIN)/tidemark clean --state-dir .tidemark/$$stack; done; fi
	rm -rf $(VENV) .tidemark build ./*.egg-info sdk/python/*.egg-info sdk/python/build

test: setup provision test-unit test-oracle test-flink test-services ## All tiers and a chaos smoke

test-unit: setup ## Pure core and tools: no JVM, no services
	@echo "== unit tests"
	$(PYTEST) tests/unit -q -n auto

fuzz: setup ## Properties on examples that no run before tried; what fails is printed with how to reproduce it
	HYPOTHESIS_PROFILE=fuzz $(PYTEST) tests/unit tests/oracle -q -n auto

test-oracle: setup ## The recomputation in DuckDB: against figures by hand, and against the model; no services
	@echo "== oracle tests (DuckDB)"
	$(PYTEST) tests/oracle -q -n auto

test-flink: setup provision ## Plans and views on a mini-cluster
	@echo "== Flink tests (mini-cluster)"
	$(PYTEST) tests/flink -q

test-services: setup provision ## Integration tests and the chaos smoke, on real services
	@echo "== integration tests and chaos smoke (Kafka, TimescaleDB, Redis, Flink)"
	$(PYTEST) tests/integration tests/chaos -m "not drill" -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
	  --durations=20

chaos: setup provision $(VENV)/.installed-extra ## All fault drills, the site of the documentation, ten minutes of hostile records
	$(PYTEST) tests/chaos -v --capture=tee-sys
	$(PYTEST) tests/integration -m drill -v
	$(BIN)/python -m tests.unit.fuzz

game-day: setup provision ## Faults in the order of SEED under load, each with its alert and runbook; writes REPORT
	GAME_DAY_SEED=$(SEED) GAME_DAY_HOLD_S=$(HOLD_S) GAME_DAY_REPORT=$(abspath $(REPORT)) $(PYTEST) tests/chaos/game_day -q -s

kube-test: setup ## The chart on a real Kubernetes API; builds its programs by Go first (half an hour, once a machine)
	$(PYTEST) tests/kube -v

ha-test: setup provision ## Two JobManagers, elected by ZooKeeper and by Kubernetes: the leader killed, frozen and woken under load
	$(PYTEST) tests/ha -v -s

bench: setup provision ## All benchmarks with long sizes and killed contestants, some hours; writes results and their pages
	code=0; $(BIN)/python -m tests.bench || code=$$?; $(MAKE) reference; exit $$code

bench-quick: setup provision ## Most benchmarks in ten minutes (tools are made first); writes results and their pages
	code=0; $(BIN)/python -m tests.bench --quick || code=$$?; $(MAKE) reference; exit $$code

lint: setup ## Style, and which folder may import which; writes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup ## Types
	$(BIN)/mypy

docs-check: setup ## Reference pages and the figures of README are what the code and the measurements say
	$(BIN)/python -m tidemark.cli.reference --check
	$(BIN)/python -m tidemark.cli.figures --check
	$(BIN)/python -m tests.bench.report.pages --check

reference: setup ## Write docs/reference.md, figures of README, tables of the benchmarks and the OpenAPI document
	$(BIN)/python -m tidemark.cli.reference
	$(BIN)/python -m tidemark.cli.figures
	$(BIN)/python -m tests.bench.report.pages
	$(BIN)/python -m tidemark.api.openapi

docs: $(VENV)/.installed-extra ## Make the site of the documentation in build/site; a link that leads nowhere ends it
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs/site docs build/site
	@echo "open build/site/index.html"

diagrams: ## Draw docs/flow.svg from docs/flow.dot (needs Debian's graphviz)
	dot -Tsvg docs/flow.dot > docs/flow.svg
	printf '<!-- source sha256 %s -->\n' "$$(sha256sum < docs/flow.dot | cut -d' ' -f1)" >> docs/flow.svg

dashboards: setup provision ## Draw the dashboards over a demo with live traffic into docs/images (needs Debian's chromium)
	$(BIN)/python -m infra.dashboards.preview $(SHOWN) --prepare
	$(BIN)/tidemark demo --state-dir $(SHOWN) --flink-metrics
	@code=0; $(BIN)/python -m infra.dashboards.preview $(SHOWN) --page .tidemark/dashboards.html --pictures $(PICTURES) \
	  --range tidemark-usage=2013-01-01/2013-04-02 || code=$$?; $(BIN)/tidemark clean --state-dir $(SHOWN); exit $$code

ci: lint types docs-check test ## What .ci/run calls

# Everything here makes its own virtual environment in .venv; `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help search test lint types pytest torture fuzz site bench bench-quick bench-peers check-package check-lowest check-python check-engines chromium postgresql clean

VENV := .venv
PROBLEM ?= problems/moe10b.toml
NAME = $(basename $(notdir $(PROBLEM)))
VERSION_CHECK := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c '$(VERSION_CHECK)' 2>/dev/null && echo $$python && break; done)

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

search: $(VENV)/.installed ## search PROBLEM (default problems/moe10b.toml) and write results/
	$(VENV)/bin/autoparallel search $(PROBLEM) --out results/$(NAME)
	@echo "The report is results/$(NAME)/report.html: open it in a browser."

test: lint types pytest bench-quick ## check style, types and behaviour

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed-dev
	$(VENV)/bin/mypy

pytest: $(VENV)/.installed-dev chromium postgresql
	$(VENV)/bin/pytest

torture: $(VENV)/.installed-dev postgresql ## kill workers of shared searches and sweeps, restart their database
	AUTOPARALLEL_TORTURE_S=30 $(VENV)/bin/pytest -q tests/test_shared_search_torture.py tests/sweeping/test_cluster.py -o junit_family=xunit1 --junit-xml=.torture.xml
	@grep -o '<property [^>]*>' .torture.xml

FUZZ_INPUTS ?= 20000
FUZZ_SEED ?= 1
fuzz: $(VENV)/.installed-dev ## 20,000 hostile inputs: no crash, no hang, no code run, nothing written elsewhere
	$(VENV)/bin/python -m tests.fuzz.campaign $(FUZZ_INPUTS) --seed $(FUZZ_SEED)

site: $(VENV)/.installed-dev ## build the documentation site into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet

bench: $(VENV)/.installed-dev ## measure the figures of the README, beside the last committed ones
	$(VENV)/bin/python benchmarks/speed.py

# Told, not judged: the machine may be busy.
bench-quick: $(VENV)/.installed-dev
	-$(VENV)/bin/python benchmarks/speed.py --quick

PEERS := .venv-peers
bench-peers: $(VENV)/.installed-dev $(PEERS)/.installed ## time AIConfigurator and this, asked the same
	$(VENV)/bin/python benchmarks/peers.py $(PEERS)

$(PEERS)/.installed:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check aiconfigurator==0.12.0
	@touch $@

# The engines' own parsers, without what needs a GPU: about 4 GB in ENGINES, which stays until `make clean`.
# Their packages ask for CUDA builds, so each is installed without its requirements, and of those only
# what the parsers import; TensorRT-LLM has no package that could be installed.
ENGINES := .venv-engines
check-engines: $(VENV)/.installed-dev $(ENGINES)/.installed ## run generated commands through the real parsers of vLLM and SGLang
	rm -rf .engine-commands
	$(VENV)/bin/python tests/engines/write_commands.py .engine-commands
	$(ENGINES)/bin/python tests/engines/real_parsers.py check .engine-commands
	for engine in vllm sglang; do \
		$(ENGINES)/bin/python tests/engines/real_parsers.py dump $$engine .engine-commands/$$engine.toml; \
		diff autoparallel/catalog/engines/flags/$$engine.toml .engine-commands/$$engine.toml; done

$(ENGINES)/.installed: tests/engines/requirements.txt tests/engines/without_requirements.txt
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/pip install --quiet --disable-pip-version-check -r tests/engines/requirements.txt
	$(ENGINES)/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/engines/without_requirements.txt
	@touch $@

# The report's tests draw it in a browser, those of shared searches run a database; without them they are
# skipped and say so.
chromium:
	@if command -v chromium chromium-browser google-chrome >/dev/null; then exit 0; fi; $(call install,chromium)

postgresql:
	@if command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then exit 0; fi; \
	$(call install,postgresql)

define install
root=; if [ "$$(id -u)" != 0 ]; then root="sudo -n"; fi; \
if command -v apt-get >/dev/null && $$root apt-get update -qq \
	&& DEBIAN_FRONTEND=noninteractive $$root apt-get install -y -qq --no-install-recommends $(1); then exit 0; fi; \
echo "No $(1), and it cannot be installed here: its tests are skipped." >&2; \
echo "On Debian: apt-get install $(1)" >&2
endef

# Tests of what the program does; not those that need a browser, a database, or very long.
CORE := -k "not browser and not torture and not shared_search and not site and not campaign" -p no:cacheprovider

check-package: $(VENV)/.installed-dev ## build wheel and source distribution, run the README's examples with each alone
	$(VENV)/bin/python tests/package/check_built.py

LOWEST := .venv-lowest
check-lowest: ## run the tests with the lowest version of every dependency that is allowed
	rm -rf $(LOWEST) && $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable '.[dev]'
	$(LOWEST)/bin/python -m pytest -q $(CORE) tests

OTHER := .venv-python
check-python: ## run the tests with another Python: make check-python PYTHON=python3.13
	rm -rf $(OTHER) && $(PYTHON) -m venv $(OTHER)
	$(OTHER)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(OTHER)/bin/python -m pytest -q $(CORE) tests

clean: ## remove the virtual environment and all caches, keep results
	rm -rf $(VENV) $(ENGINES) $(PEERS) $(LOWEST) $(OTHER) .engine-commands site build dist .torture.xml .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or newer is needed. On Debian: apt-get install python3 python3-venv" >&2; exit 1; fi
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@ $(VENV)/.installed

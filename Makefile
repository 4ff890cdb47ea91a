PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
DATA ?= ../shared
PIP_FLAGS = --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-data lint format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

demo: $(DEMO_VENV)/.ready  ## install the base alone and segment the four example photos into demo/
	$(DEMO_VENV)/bin/python examples/demo.py demo

test: lint  ## all tests but those that need the labelled pictures; first ruff, codespell and mypy
	$(VENV)/bin/python -m pytest -m "not data"
	@echo "make test: all passed"

test-data: $(VENV)/.ready  ## the tests on labelled pictures: make test-data DATA=FOLDER
	GKC_DATA=$(abspath $(DATA)) GKC_CLIP_BPE=$(abspath $(DATA))/teachers/bpe_simple_vocab_16e6.txt.gz \
		$(VENV)/bin/python -m pytest -m data
	@echo "make test-data: all passed"

lint: $(VENV)/.ready  ## ruff (rules and format), codespell and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/codespell src docs examples benchmarks scripts tests *.md
	$(VENV)/bin/mypy

format: $(VENV)/.ready  ## let ruff mend and format what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:  ## remove environments, caches and results
	rm -rf $(VENV) $(DEMO_VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is older than what it was made from when that changes, and the environment is made anew.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --editable ".[train,export,video,dev]"
	@touch $@

$(DEMO_VENV)/.ready: pyproject.toml constraints.txt $(shell find src -type f -not -name '*.pyc')
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install $(PIP_FLAGS) .
	@touch $@

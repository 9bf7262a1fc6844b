# Every target sets itself up: a virtual environment in .venv, made once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SEEDS ?= 5
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: help setup demo test test-oldest lint

help:
	@echo "make demo         fine-tune the embedded BERT: 2 methods, $(SEEDS) seeds each, a table and a picture"
	@echo "make test         run the tests"
	@echo "make test-oldest  run the library's tests on the oldest supported jax and optax"
	@echo "make lint         check format, style and types"

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[examples]" --group test
	touch $@

setup: $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python examples/finetune_glue.py --task acceptability --method cwgnc,adamw --seeds $(SEEDS) --output-dir runs/demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

# Every target sets itself up, in a virtual environment that is made once.
PYTHON ?= python3
VENV ?= .venv
OLDEST ?= .venv-oldest
BIN := $(VENV)/bin
SEEDS ?= 5
# Processes that test side by side: one a core, of up to 1.5 GB each.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -lt 8 ] && echo $$n || echo 8)
# Files in their order, of which the last ones are short: no worker ends long after others.
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
export HF_HUB_DISABLE_TELEMETRY := 1
# What is imported is compiled once, into the environments and __pycache__.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo figures check test test-medium test-slow test-gpu test-oldest lint docs gpu-report tpu-report dist setup-oldest
# A virtual environment whose making was interrupted is made again.
.DELETE_ON_ERROR:

help:
	@echo "make demo         fine-tune the embedded BERT with two methods, $(SEEDS) seeds each"
	@echo "make figures      draw the paper's figures from runs of the embedded BERT"
	@echo "make check        run the examples of docstrings and the tests of the clip"
	@echo "make test         run the tests that are quick, some 3,000"
	@echo "make test-medium  run those that take seconds each"
	@echo "make test-slow    run those that take longer"
	@echo "make test-gpu     run the tests on a GPU, but for those of the CPU's compiler"
	@echo "make test-oldest  run the library's tests on the oldest supported jax and optax"
	@echo "make gpu-report   measure everything on a GPU, with $(PYTHON) as it is"
	@echo "make tpu-report   the same on a TPU"
	@echo "make lint         check format, style, types and layers"
	@echo "make docs         build the documentation's pages into site/"
	@echo "make dist         build sdist and wheel into dist/, and check them"

setup: $(VENV)/.installed-tests

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# Done when all of it is: without network once, it is tried anew from the top. Python
# compiles what it imports, which is a small part of what is installed here.
PIP_INSTALL := -m pip install --quiet --no-compile

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the examples' packages into $(VENV) (1.2 GB, a minute or two)"
	$(BIN)/python $(PIP_INSTALL) --upgrade "pip>=25.1"
	$(BIN)/python $(PIP_INSTALL) --editable ".[examples]"
	touch $@

$(VENV)/.installed-tests: $(VENV)/.installed
	$(BIN)/python $(PIP_INSTALL) --group test
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/finetune_glue.py --task acceptability --method cwgnc,adamw --seeds $(SEEDS) --output-dir runs/demo

figures: $(VENV)/.installed
	$(BIN)/python examples/gradual_unfreezing.py --epochs 3 --seeds $(SEEDS) --output-dir runs/figures/gradual_unfreezing
	$(BIN)/python examples/gradient_norms.py --epochs 3 --seeds $(SEEDS) --output-dir runs/figures/gradient_norms

check: $(VENV)/.installed-tests
	$(BIN)/python $(PYTEST) -m "not slow" tests/library/test_clip.py tests/library/components cwgnc_jax

test: $(VENV)/.installed-tests
	$(BIN)/python $(PYTEST) -m "not slow and not medium"

# Whole runs, programs of all of a model.
test-medium: $(VENV)/.installed-tests
	$(BIN)/python $(PYTEST) -m "medium and not slow" tests

# Processes that die, meshes of eight devices, pretraining.
test-slow: $(VENV)/.installed-tests
	$(BIN)/python $(PYTEST) -m slow tests

# On a GPU: one process, that leaves memory for those it starts; products in float32 and
# sums in a fixed order, which by default they are not there.
test-gpu: export JAX_DEFAULT_MATMUL_PRECISION := highest
test-gpu: export XLA_PYTHON_CLIENT_PREALLOCATE := false
test-gpu: export XLA_FLAGS := --xla_gpu_deterministic_ops=true
test-gpu: $(VENV)/.installed-tests
	$(BIN)/python -c 'import jax; jax.default_backend() == "gpu" or exit("jax sees no GPU: $(BIN)/pip install .[cuda13]")'
	$(BIN)/python -m pytest -m "not slow"

# They skip what needs flax and what else the oldest versions come without.
LIBRARY_TESTS := cwgnc_jax tests/library

setup-oldest: $(OLDEST)/.installed

$(OLDEST)/.installed: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python $(PIP_INSTALL) --upgrade "pip>=25.1"
	$(OLDEST)/bin/python $(PIP_INSTALL) --editable . --group oldest
	touch $@

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python $(PYTEST) -m "not slow" $(LIBRARY_TESTS)
	$(OLDEST)/bin/python -m pytest tests/library/components/test_shards.py

# With the Python that there is, which has what an accelerator needs: nothing is installed.
REPORT := $(PYTHON) benchmarks/gpu_report.py

gpu-report:
	$(REPORT) $(ARGS)

tpu-report:
	$(REPORT) --accelerator tpu $(ARGS)

lint: $(VENV)/.installed-tests
	$(BIN)/python $(PIP_INSTALL) --group tools
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	PYTHONPATH=examples $(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

# The notebooks of the gallery are executed; neither building nor reading needs network.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build
	@echo "Open site/index.html"

$(VENV)/.installed-docs: $(VENV)/.installed-tests
	$(BIN)/python $(PIP_INSTALL) --group docs
	touch $@

dist: | $(VENV)/bin/python
	$(BIN)/python $(PIP_INSTALL) --upgrade "pip>=25.1"
	$(BIN)/python $(PIP_INSTALL) --group release
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python .ci/check_dist.py dist

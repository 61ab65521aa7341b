# Two commands do everything: `make demo` and `make test`. See README.md.

VENV ?= .venv
WORKERS ?= 2
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

NEEDS_PYTHON = keras_nas needs Python 3.11 with venv: install python3.11 and python3.11-venv \
(or uv, https://docs.astral.sh/uv), then run make again.
WRONG_VENV = $(VENV) holds another Python than 3.11 or no pip: remove it, then run make again.

export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help install data demo test slow lint format bazel

help:
	@echo "make demo    train, search, prune, finetune, export and measure one small network"
	@echo "make test    the fast tests"
	@echo "make slow    the slow tests (other tools, other environments, minutes each)"
	@echo "make lint    ruff and mypy"
	@echo "make data    Fashion-MNIST into the data folder"
	@echo "make bazel   build and test with Debian's bazel, offline"

$(INSTALLED): requirements.txt
	@if [ -e $(VENV)/bin/python ]; then \
	  $(VENV)/bin/python -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	    || { echo "$(WRONG_VENV)" >&2; exit 1; }; \
	elif python3.11 -c 'import ensurepip, venv' 2>/dev/null; then \
	  python3.11 -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	elif command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --seed --python 3.11 $(VENV) || { rm -rf $(VENV); exit 1; }; \
	else \
	  echo "$(NEEDS_PYTHON)" >&2; exit 1; \
	fi
	@echo "Installing requirements.txt into $(VENV) (once; a few minutes, 3 GB)"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

install: $(INSTALLED)

data: $(INSTALLED)
	@$(PYTHON) -m apps.fetch_data --task=fashion_mnist

demo: data
	@$(PYTHON) -m apps.search --flagfile=apps/flagfiles/demo_dnal.cfg

test: data
	@$(PYTHON) -m pytest -n $(WORKERS) --dist loadfile

slow: data
	@$(PYTHON) -m pytest -m slow

lint: $(INSTALLED)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

format: $(INSTALLED)
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

bazel: $(INSTALLED)
	@$(PYTHON) -m pytest -m slow tests/test_build_files.py

# run: the main job, nothing else installed · test: all tests · check: lint, types, floors · bench: speed
# deb: a Debian package with all that it runs on
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test check bench deb lock

run: $(VENV)/run
	$(BIN)/vskd-streamd --config configs/demo.yaml

test: $(VENV)/dev
	$(BIN)/python -m pytest

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python packaging/audit.py

bench: $(VENV)/dev
	$(BIN)/python -m tests.bench

deb:
	packaging/deb/build

$(VENV)/run: requirements/run.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes --only-binary :all: -r requirements/run.txt
	$(PIP) install --no-deps --editable .
	touch $@

$(VENV)/dev: $(VENV)/run requirements/dev.txt
	$(PIP) install -r requirements/dev.txt
	touch $@

# Refreshes the exact pins from pyproject.toml. The development pins carry no hashes: the CPU and
# the CUDA build of torch share a version, and which one is installed is the machine's choice: where a
# folder has the CPU build, UV_FIND_LINKS names it, and none of CUDA's packages are pinned.
lock:
	rm -f requirements/dev.txt
	uv pip compile pyproject.toml --python-version 3.11 --generate-hashes --quiet --no-header -o requirements/run.txt
	uv pip compile pyproject.toml --python-version 3.11 --extra train --extra dev --quiet --no-header --no-annotate \
		-c requirements/run.txt -o requirements/dev.txt
	sed -i -E 's/^(torch==[0-9.]+)\+cpu/\1/' requirements/dev.txt

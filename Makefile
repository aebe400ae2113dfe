# Every target sets up what it needs. The environment in .venv is rebuilt when a file that defines it changes.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEFINES_VENV := requirements/cpu.txt requirements/dev.txt pyproject.toml Makefile
# Two test files at once: most of a test's time goes into waiting for processes to start.
TWO_AT_ONCE := -n 2 --dist loadfile --no-loadscope-reorder
STAMP := $(VENV)/made-of-$(shell cat $(DEFINES_VENV) | sha256sum | cut -c1-16)

.PHONY: install demo test test-all check clean

install: $(STAMP)

$(STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing; install Python 3.11 or give PYTHON=path"; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 -c requirements/cpu.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/cpu.txt -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install
	$(BIN)/rcpt run jobs/recipes/demo.yaml

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install
	$(BIN)/python -m pytest $(TWO_AT_ONCE) -m "not slow"

test-all: install
	$(BIN)/python -m pytest $(TWO_AT_ONCE)

clean:
	rm -rf $(VENV) runs

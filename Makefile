# Everything runs in ./.venv, made on first use. `make demo` and `make test` need nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What one process has compiled, others need not, also where a container says otherwise.
export PYTHONDONTWRITEBYTECODE :=
DEMO ?= demo

.PHONY: setup demo check test types tests docs chaos mutants bench clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# A sample drive, six rows, one gang of two CPU ranks. Run it again: everything is done already.
demo: setup
	$(BIN)/python datasets/make_sample.py --out $(DEMO)/sample
	$(BIN)/cosmos-ray generate --manifest $(DEMO)/sample/manifest.parquet --output $(DEMO)/output \
		--model tiny --gang-size 2 --max-failed 1

# About a minute: format, lint, types, fast tests.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest -q -m 'not slow and not ray and not long' -n 2 --dist loadfile

# Everything CI runs, types beside the tests. Most of it waits for processes to start and to die, so three files run at a
# time.
test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory -j 2 types tests

types: setup
	$(BIN)/mypy

tests: setup
	$(BIN)/python -m pytest -q -m 'not long' -n 3 --dist loadfile --no-loadscope-reorder --durations=15

# The pages as a site, build/site/index.html (`python -m http.server -d build/site`: with its search). Whatever a link does
# not find ends it.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# Every fault of the table in tests/chaos.py, and what it cost (an hour: three outages are of five minutes, and there are
# 42 signals), then the tests that `make test` leaves out (half an hour), and rules on fresh examples. Some faults show
# once in a while.
ROUNDS ?= 1
chaos: setup
	for round in $$(seq $(ROUNDS)); do \
		$(BIN)/python tests/chaos.py && $(BIN)/python -m pytest -q -m long tests && \
		$(BIN)/python -m pytest -q -m hypothesis --hypothesis-profile fresh tests || exit 1; \
	done

# Small mistakes put into what differs from BASE, one at a time: which of them does no fast test notice? Not part of CI
# (docs/mutants.md).
BASE ?= main
mutants: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	$(BIN)/python tests/tools/mutants --base $(BASE)

# The benchmark that needs no GPU. The others say in their first lines how to run them.
bench: setup
	$(BIN)/python benchmarks/pipeline.py

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info

# make setup    the environment, pinned
# make search   the main job: hard materials without cobalt, from nothing but this folder
# make quick    linter and laws, in a minute; ROOM=screening: with the types and tests of one room
# make test     all tests but the long ones; make test-slow: these; make check: linters and types too
#               PYTEST_ARGS="-k NAME" or PYTEST_ARGS=tests/FOLDER: a part of them; PROCESSES: how many
# make versions the quick tests on Python 3.12 and 3.13, where they are installed
# make coverage like make test, and tells which lines it reaches
# make audit    advisories of the pinned packages, asked of PyPI
# make docs     the site, into build/site
# PYTHON=...    another interpreter (3.11 or newer)
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
PROCESSES ?= 2
OUT ?= runs/hard-$(shell date +%Y%m%d-%H%M%S)

.PHONY: setup search quick versions test test-slow coverage lint types check audit docs bench clean

PIP = $(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): some minutes, in which pip says nothing."
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

# linters, tests and what these need besides: potentials, databases
$(VENV)/.ready-dev: $(VENV)/.ready
	$(PIP) --editable ".[dev]"
	touch $@

setup: $(VENV)/.ready-dev

search: $(VENV)/.ready
	$(RUN)/matlode search examples/goals/hard_coating_without_cobalt.toml --out $(OUT)

# a file of tests stays in one process, which shares its fixtures; the longest begin
PYTEST = $(RUN)/python -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: setup
	$(PYTEST) $(PYTEST_ARGS)

# ROOM=screening: the types and tests of one room in place of the laws of the first ones
ROOM ?=
QUICK = $(if $(ROOM),tests/$(ROOM),tests/test_rooms.py tests/data tests/representation tests/latent tests/screening)

quick: setup
	$(RUN)/ruff check .
	$(if $(ROOM),$(RUN)/mypy src/matlode/$(ROOM))
	$(PYTEST) -m "not slow and not hours and not laboratory" $(QUICK) $(PYTEST_ARGS)

# pyenv has commands for versions that it does not run
versions:
	@for python in python3.12 python3.13; do \
	  if $$python -c "" 2> /dev/null; then \
	    $(MAKE) quick PYTHON=$$python VENV=build/$$python || exit 1; \
	  fi; \
	done

# hostile files and kills by the thousand, models and benchmarks on more rows: hours
test-slow: setup
	$(RUN)/python -m pytest -m "hours or laboratory" $(PYTEST_ARGS)

# which lines no test reaches; fewer than nine of ten are an error
coverage: setup
	$(PYTEST) --cov=matlode --cov-report=term-missing:skip-covered --cov-fail-under=90

lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: setup
	$(RUN)/mypy

check: lint types test

# in an environment of its own: what it needs is none of ours
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

$(VENV)/.ready-docs: $(VENV)/.ready
	$(PIP) --editable ".[docs]"
	touch $@

# a page that leads nowhere is an error
docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --quiet
	@echo "build/site/index.html; to search in it: $(PYTHON) -m http.server -d build/site"

bench: $(VENV)/.ready
	$(RUN)/matlode bench xrd

clean:
	rm -rf $(VENV) build src/*.egg-info

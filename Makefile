# Callsheet. `make` alone prints what there is.
.POSIX:
PYTHON = python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check

help:
	@echo 'make demo    one full story: twelve subjects, from request to signed delivery'
	@echo 'make test    the whole gate: format, lint, types, floors, tests, coverage'
	@echo 'make dev     everything in one terminal, data kept in .data/'
	@echo 'make bench   the figures, as ratios to floors of the same run, and whether they meet their aims'
	@echo 'make drill-restore  copies, restores under load, a dump: with real processes, eight minutes'
	@echo 'make drill-retention  a history is pruned under load, with real processes; SIZE=20000 subjects'
	@echo 'make fix     format, and mend what the linter can mend'
	@echo 'make wheel   what production installs, in dist/'
	@echo 'make lock    write the requirements files anew, with uv'
	@echo 'make clean   remove what the above made'

# Pip resolves nothing: a release that came out since the lock was written changes nothing here.
# `pip check` says whether what is locked fits together. $(@F) is the name of a stamp and of a lock.
INSTALL = \
	started=$$(date +%s) && echo 'Installing what requirements-$(@F).lock lists …' && \
	{ $(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv; } && \
	$(PIP) install --quiet --no-deps --require-hashes -r requirements-$(@F).lock
INSTALLED = { $(PIP) check || \
		{ echo 'What is in .venv does not fit together: make clean, and then this again.'; exit 1; } } && \
	echo "Installed in $$(($$(date +%s) - started)) s." && touch $@

# A stamp is newer than its lock once everything in that is installed. What `local` lists runs the
# service and its demo; `dev` lists the same, and what tests it. What no lock lists any more stays
# in .venv, and may bound what is listed: `make clean` removes it.
.venv/local: requirements-local.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Callsheet needs Python 3.11 or newer: make PYTHON=/path/to/python3'; exit 1; }
	@$(INSTALL) && $(PIP) install --quiet --no-deps --no-build-isolation -e . && $(INSTALLED)

.venv/dev: .venv/local requirements-dev.lock
	@$(INSTALL) && $(INSTALLED)

# Whoever names a PYTHON gets that one, or is told that .venv has another: first of all, so that
# nothing is installed or run before.
demo dev test bench drill-restore fix wheel: named-python

named-python:
	@test '$(PYTHON)' = python3 || test ! -x $(BIN)/python || { \
		named=$$($(PYTHON) -V 2>&1) ; ours=$$($(BIN)/python -V 2>&1) ; \
		test "$$named" = "$$ours" || { echo \
			"$(PYTHON) is $$named, and .venv has $$ours: make clean, and then this again."; exit 1; } }

demo: .venv/local
	@$(BIN)/python -m service demo

dev: .venv/local
	@$(BIN)/python -m service dev

test: .venv/dev
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --cov --numprocesses auto --maxprocesses 4 --dist worksteal

bench: .venv/dev
	@$(BIN)/python -m tests.bench

drill-restore: .venv/dev
	@$(BIN)/python -m tests.drills

drill-retention: .venv/dev
	@$(BIN)/python -m tests.drills retention --size $${SIZE:-20000}

fix: .venv/dev
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

# Each lock is held to the smaller ones before it: a package has one version in all.
COMPILE = uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --quiet

lock:
	$(COMPILE) -o requirements.lock
	$(COMPILE) --extra local -c requirements.lock -o requirements-local.lock
	$(COMPILE) --extra tracing -c requirements-local.lock -o requirements-tracing.lock
	$(COMPILE) --extra dev -c requirements-local.lock -c requirements-tracing.lock -o requirements-dev.lock

# For production: without embedded servers, and without the build's own tools.
wheel: .venv/local
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

.PHONY: help named-python demo dev test bench drill-restore fix wheel lock clean

# Callsheet. `make` alone prints what there is.
.POSIX:
PYTHON = python3
BIN = .venv/bin

help:
	@echo 'make demo    one full story: twelve subjects, from request to signed delivery'
	@echo 'make test    the whole gate: format, lint, types, floors, tests, coverage'
	@echo 'make dev     everything in one terminal, data kept in .data/'
	@echo 'make bench   the figures, as ratios to floors measured in the same run'
	@echo 'make fix     format, and mend what the linter can mend'
	@echo 'make lock    write requirements.lock anew'
	@echo 'make clean   remove what the above made'

# The stamp is newer than the lock once everything in it is installed.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Callsheet needs Python 3.11 or newer: make PYTHON=/path/to/python3'; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch .venv/installed

demo: .venv/installed
	@$(BIN)/python -m service demo

dev: .venv/installed
	@$(BIN)/python -m service dev

test: .venv/installed
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --cov --numprocesses auto --maxprocesses 4 --dist worksteal

bench: .venv/installed
	@$(BIN)/python -m tests.bench

fix: .venv/installed
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --quiet -o requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

.PHONY: help demo dev test bench fix lock clean

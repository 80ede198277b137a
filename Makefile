# The same words here, in the README and in CI.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv

.PHONY: run test unit check format clean

$(VENV)/.ready: pyproject.toml uv.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/pip install --quiet --disable-pip-version-check "uv>=0.9"
	@VIRTUAL_ENV=$(abspath $(VENV)) $(UV) sync --active --quiet --frozen --inexact --all-groups --no-group load
	@touch $@

run: $(VENV)/.ready   ## one node; what is not configured runs embedded
	@exec $(BIN)/python -m server run

test: $(VENV)/.ready  ## the whole suite, with every real service it needs
	$(BIN)/pytest $(PYTEST_ARGS)

unit: $(VENV)/.ready  ## the pure parts, in seconds
	$(BIN)/pytest -m "not node and not browser and not slow" $(PYTEST_ARGS)

check: $(VENV)/.ready ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready ## let the tools write
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# The same words here, in the README and in CI.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv

.PHONY: run cluster soak test unit check format load clean

$(VENV)/.ready: pyproject.toml uv.lock
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (make PYTHON=…)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	@VIRTUAL_ENV=$(abspath $(VENV)) $(UV) sync --active --quiet --frozen --inexact --all-groups --no-group load
	@touch $@

run: $(VENV)/.ready   ## one node; what is not configured runs embedded
	@exec $(BIN)/python -m server run

cluster: $(VENV)/.ready ## NODES nodes behind a load balancer, on one address
	@exec $(BIN)/python -m tests.cluster --nodes $(or $(NODES),3)

soak: $(VENV)/.ready  ## a fault every few seconds for MINUTES on NODES nodes with streaming clients
	@exec $(BIN)/python -m tests.cluster.soak --minutes $(or $(MINUTES),10) --nodes $(or $(NODES),3) $(SOAK_ARGS)

test: $(VENV)/.ready  ## the whole suite, with every real service it needs
	$(BIN)/pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

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

# locust patches the standard library, so it has an environment of its own
load: $(VENV)/.ready  ## users of every door against HOST, in stages
	@test -x .venv-load/bin/python || $(BIN)/python -m venv .venv-load
	@VIRTUAL_ENV=$(abspath .venv-load) $(UV) sync --active --quiet --frozen --inexact --only-group load
	.venv-load/bin/locust -f loadtest/locustfile.py --headless --host $(or $(HOST),http://127.0.0.1:3006) $(LOCUST_ARGS)

clean:
	rm -rf $(VENV) .venv-load .data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

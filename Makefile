# One command each for using, testing and checking Tallystick; all they need is Python 3.11 or newer.

PYTHON ?= python3
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
PYTEST ?= $(BIN)/pytest -n logical

.PHONY: serve test test-fast test-slow mcp-conformance check lint coverage format bench screenshots constraints node-constraints clean

serve: $(VENV)/.server  ## the server on 127.0.0.1; PORT=, ECONOMY= and DATABASE_URL= override
	@if [ -n "$$ECONOMY" ]; then export TALLY_ECONOMY="$$ECONOMY"; fi; \
	if [ -n "$$DATABASE_URL" ]; then export TALLY_DATABASE_URL="$$DATABASE_URL"; fi; \
	exec $(BIN)/tally serve --host 127.0.0.1 --port "$(PORT)"

test: $(VENV)/.dev  ## every test, on SQLite and PostgreSQL
	$(PYTEST)

test-fast: $(VENV)/.dev  ## what is worth running after each change
	$(PYTEST) -m "not slow"

test-slow: $(VENV)/.dev
	$(PYTEST) -m slow

mcp-conformance: $(VENV)/.dev $(VENV)/.node  ## the official MCP suite and inspector against our servers; needs npm
	$(PYTEST) tests/conformance

check: lint test-fast  ## what a change has to pass

lint: $(VENV)/.dev  ## format, lint, types, import contracts, dead code, dependencies
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/deptry src

coverage: $(VENV)/.dev  ## which of the core's branches its own tests and the services' take
	$(PYTEST) tests/core tests/services -m "not slow" --cov=tallystick.core --cov-fail-under=98

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## the benchmarks beside their peers: a table, and bench/results.json
	$(BIN)/python -m bench

screenshots: $(VENV)/.dev  ## the pictures of the dashboard in docs/images, anew
	$(BIN)/python -m tests.screenshots

constraints: $(VENV)/.python  ## constraints.txt anew, from the newest versions that pyproject.toml allows
	rm -rf $(VENV)/new && $(BIN)/python -m venv $(VENV)/new
	$(VENV)/new/bin/pip install --quiet --editable ".[server,dev]"
	$(VENV)/new/bin/pip freeze --exclude-editable > constraints.txt
	rm -rf $(VENV)/new

node-constraints: $(VENV)/.dev  ## tests/conformance/package-lock.json anew, from its package.json
	$(BIN)/python -m tests.conformance.lock

clean:  ## everything that these commands made; databases stay
	rm -rf $(VENV) build dist .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Tallystick needs Python 3.11 or newer, and '$(PYTHON)' is not: try  make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.server: $(VENV)/.python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[server]"
	@touch $@

$(VENV)/.dev: $(VENV)/.server
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[server,dev]"
	@touch $@

# With the digests of the lock file and without scripts of theirs; Node itself is one of the packages.
$(VENV)/.node: $(VENV)/.python tests/conformance/package.json tests/conformance/package-lock.json
	@command -v npm > /dev/null || { \
		echo "make mcp-conformance needs npm, which comes with Node.js, and found none on the PATH" >&2; exit 1; }
	@mkdir -p $(VENV)/node
	cp tests/conformance/package.json tests/conformance/package-lock.json $(VENV)/node
	npm ci --prefix $(VENV)/node --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

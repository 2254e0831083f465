# `make help` names the targets. ARGS go to the program behind the target: make test ARGS="-k broker -x".

PYTHON ?= python3
BIN := .venv/bin
# What the tests run for real (see tests/machine/install for the names).
PARTS ?= engine broker registry postgres busybox buildx git-lfs wrk hey

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-6s  %s\n' "$$name" "$$what"; done

demo: .venv/.stamp  ## the whole of Blacktree on this machine, against a stand-in for GitHub
	@tests/machine/install engine busybox
	@exec $(BIN)/python -m tests.demo $(ARGS)

test: .venv/.stamp  ## install and start what the tests need, lint, then pytest $(ARGS)
	@tests/machine/install $(PARTS)
	@tests/machine/engine start
	@tests/machine/npm-ci
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest $(ARGS)

bench: .venv/.stamp  ## a figure against a shell script, side by side: make bench ARGS=builds (or logs, deploys)
	@tests/machine/install $(PARTS)
	@tests/machine/engine start
	@tests/machine/npm-ci
	@for figure in $(or $(ARGS),builds logs deploys); do $(BIN)/python -m bench.$$figure || exit 1; done

lint: .venv/.stamp  ## ruff, mypy, the directions of imports, the dependencies
	@$(BIN)/ruff check --no-cache --quiet .
	@$(BIN)/ruff format --no-cache --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry .

LOCK = PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip compile --quiet --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --python-version 3.11

lock: .venv/.stamp  ## the lock files from pyproject.toml: all, each role's, and what builds the package
	@command -v uv >/dev/null || $(BIN)/pip install --quiet uv
	@$(LOCK) pyproject.toml --extra dev -o requirements.lock
	@$(LOCK) pyproject.toml --extra bot --no-annotate -c requirements.lock -o requirements-bot.lock
	@$(LOCK) pyproject.toml --extra worker --no-annotate -c requirements.lock -o requirements-worker.lock
	@echo hatchling | $(LOCK) - --no-annotate -c requirements.lock -o requirements-build.lock

clean:  ## stop what was started here; remove the environment and the caches
	@tests/machine/engine stop
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache tests/github/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock has every dependency with its hash; this package itself has none, and is installed as it lies here.
.venv/.stamp: requirements.lock pyproject.toml
	@tests/machine/install python-venv
	@echo "installing .venv from requirements.lock"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# `make help` names the targets. ARGS go to the program behind the target: make test ARGS="-k broker -x".

PYTHON ?= python3
BIN := .venv/bin
# What the tests run for real (see tests/machine/install for the names).
PARTS ?= engine faketime broker registry postgres redis-server busybox buildx git-lfs promtool chromium wrk hey

# What is compiled is kept, also where the environment says not to: every process of the tests, of which
# there are hundreds, would compile it anew; to collect the tests alone takes 10 s so, and 4 s otherwise.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check tests bench chaos zero long apps fuzz lint lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-6s  %s\n' "$$name" "$$what"; done

demo: .venv/.stamp  ## all of Blacktree on this machine, against the stand-in for GitHub that its tests have
	@tests/machine/install engine busybox
	@exec $(BIN)/python -m tests.demo $(ARGS)

# Processes share the tests out by what they need (tests/sharing.py); what ARGS choose is run by one.
PROCESSES ?= 3

test: .venv/.stamp  ## install and start what the tests need, lint, and run them all; or pytest $(ARGS)
	@tests/machine/install $(PARTS)
	@tests/machine/engine start
	@tests/machine/npm-ci
	@$(MAKE) --no-print-directory -j2 lint tests

check: .venv/.stamp  ## in minutes, while one works: lint, and all tests that need no engine
	@tests/machine/install $(filter-out engine busybox buildx wrk hey,$(PARTS))
	@tests/machine/npm-ci
	@$(MAKE) --no-print-directory -j2 lint tests NEED='-m "not engine"'

tests: .venv/.stamp
	@$(BIN)/pytest $(NEED) $(or $(ARGS),-n $(PROCESSES))

# Each prints what it measured: builds logs deploys push intake dispatch fairness heartbeats scaling failover pages.
bench: .venv/.stamp  ## figures, side by side with a peer where there is one: make bench ARGS="intake dispatch"
	@tests/machine/install $(PARTS) webhook
	@tests/machine/engine start
	@tests/machine/npm-ci
	@for figure in $(or $(ARGS),builds logs deploys); do $(BIN)/python -m bench.$$figure || exit 1; done

chaos: .venv/.stamp  ## break everything, by a seed: make chaos ARGS="--seed 7 --seconds 60" (or --seeds 10, --calm)
	@tests/machine/install $(PARTS)
	@tests/machine/npm-ci
	@exec $(BIN)/python -m tests.chaos $(ARGS)

zero: .venv/.stamp  ## 100 deploys of three processes in two images under load: make zero ARGS="--deploys 20"
	@tests/machine/install engine busybox
	@exec $(BIN)/python -m tests.zero $(ARGS)

long: .venv/.stamp  ## a build of two hours at RabbitMQ's defaults: make long ARGS="--minutes 45"
	@tests/machine/install engine busybox broker registry
	@exec $(BIN)/python -m tests.long $(ARGS)

apps: .venv/.stamp  ## whole projects that others wrote, from push to rollback; or those in ARGS="FOLDER..." (docs/apps.md)
	@tests/machine/install engine busybox buildx
	@exec $(BIN)/python -m tests.apps $(ARGS)

fuzz: .venv/.stamp  ## schemathesis against the API, for minutes: make fuzz ARGS="--examples 1000"
	@tests/machine/npm-ci
	@exec $(BIN)/python -m tests.bot.web.api.fuzz $(ARGS)

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
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache tests/github/node_modules tests/browser/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock has every dependency with its hash; this package itself has none, and is installed as it lies here.
.venv/.stamp: requirements.lock pyproject.toml
	@tests/machine/install python-venv
	@echo "installing .venv from requirements.lock"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

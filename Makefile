# Commands of the project; `make` alone lists them. Settings are given as `make run PORT=0` or in the environment.
.DEFAULT_GOAL := help
.PHONY: help run demo paper-exchange test lint types format clean install runtime

PY := .venv/bin/python

help:  ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 18

# Recipes that stay are one plain command each: make then starts it without a shell in between that could outlive it.
run: runtime  ## start everything on this machine until Ctrl-C
	@$(PY) -m local_stack run

demo: runtime  ## one decision from the bus to its closed trade, checked against the exchange
	@$(PY) -m local_stack demo

paper-exchange: runtime  ## the paper exchange alone
	@$(PY) -m paper_exchange --port $(or $(PAPER_EXCHANGE_PORT),8700)

# Files in the order of their folders: e2e first and the quick unit tests last, so that all workers end together.
# One worker more than a small machine's two cores: many tests wait, for processes that start and for cycles of beat.
WORKERS := $(or $(JOBS),3)
test: install  ## all tests, on real PostgreSQL and Valkey that they start themselves
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install  ## ruff, bandit, the arrows between packages, and whether a migration is missing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/bandit --quiet -ll --configfile pyproject.toml --recursive execution execution_project local_stack paper_exchange
	.venv/bin/lint-imports
	@EXECUTION_MODE=paper $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@$(PY) -m tests.house

types: install  ## mypy, strict
	.venv/bin/mypy .

format: install  ## write the code in its one format
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean:  ## delete the state of the local stack (.local) and the caches of the tools
	@if [ -x $(PY) ]; then $(PY) -m local_stack.clean; fi
	@rm -rf .local .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

install:  ## make .venv and install what development needs
	@scripts/bootstrap dev

runtime:
	@scripts/bootstrap runtime

.PHONY: bench
bench: install  ## figures of the running service against their bounds; SECTION=name for one, ARGS=--profile for details
	@$(PY) -m tests.bench $(if $(SECTION),--section $(SECTION)) $(ARGS)

.PHONY: test-clients
test-clients: install  ## run real third-party clients against the paper exchange; ARGS="--client ccxt" for one
	@$(PY) -m tests.clients $(ARGS)

.PHONY: chaos
chaos: install  ## the fault matrix: kill, cut and confuse everything, and check the books; SEED=n, ARGS="--rows 1,5 --workers 8"
	@$(PY) -m tests.chaos $(ARGS)

.PHONY: health-table
health-table: install  ## freeze, kill and break each process, queue, stream and store, and time until health names it
	@HEALTH_TABLE=all $(PY) -m pytest -q -s tests/e2e/test_health_table.py $(ARGS)

.PHONY: alerts
alerts: install  ## 1,000 alerts with repeats and broken ones against the running web server; ALERTS=n for another number
	@ALERTS=$(or $(ALERTS),1000) $(PY) -m pytest -q -s tests/e2e/test_webhook_storm.py $(ARGS)

.PHONY: scenarios
scenarios: install  ## trading scenarios on the paper exchange with figures computed by hand; ARGS="--only target,stop"
	@$(PY) -m tests.scenarios $(ARGS)

.PHONY: soak
soak: install  ## two hours of market time in minutes, or SOAK_DAYS=60 of them, books against the wallet; SOAK_MINUTES=10, SEED=n
	@$(PY) -m tests.soak $(if $(SOAK_DAYS),--days $(SOAK_DAYS)) $(if $(SOAK_MINUTES),--minutes $(SOAK_MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: sequences
sequences: install  ## random contract terms, decisions, fills and changes, 2,000 times; SEQUENCES=200 for less, SEED=n
	@$(PY) -m tests.sequences $(if $(SEQUENCES),--sequences $(SEQUENCES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: house
house: install  ## how the code is built: rooms, imports, names, words; ARGS=--goals, ARGS="--list words"
	@$(PY) -m tests.house $(ARGS)

.PHONY: coverage
coverage: install  ## lines and branches that the suite runs, child processes too; at least 98 % a room; ARGS=--report for the last run
	@$(PY) -m tests.coverage -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: lock
LOCK := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
lock: install  ## write the lock files anew: every package of the closure with its hashes
	@$(LOCK) requirements-dev.txt -o requirements-dev.lock
	@$(LOCK) -c requirements-dev.lock requirements.txt -o requirements.lock

.PHONY: sbom
sbom: install  ## list the packages of the service in CycloneDX form, in .local/sbom.json
	@mkdir -p .local
	@.venv/bin/cyclonedx-py requirements requirements.lock --of JSON -o .local/sbom.json

.PHONY: mutants
mutants: install  ## change the code that decides about money, one thing at a time, and expect a red test; ARGS=--short, SEED=n
	@$(PY) -m tests.mutants $(ARGS)

.PHONY: screenshots
screenshots: install  ## pictures of the admin, desktop and phone, with axe-core on each; ARGS="--docs after" keeps them in docs
	@$(PY) -m tests.screenshots $(ARGS)

.PHONY: browser
browser: install  ## an operator's day at the dashboard in headless Chromium; ARGS="--docs" keeps the pictures in docs
	@$(PY) -m tests.browser $(ARGS)

.PHONY: cold-demo
cold-demo: install  ## make demo on a fresh clone, cold and warm, with a clock on its lines
	@$(PY) -m tests.cold_demo

SHELL := bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements/dev.txt requirements/embedded-db.txt
PIP := $(BIN)/python -m pip install --disable-pip-version-check --require-hashes
PORT ?= 8000
TELEGRAM_PORT ?= 8081
STRIPE_PORT ?= 8082
ARGS ?=
CHAOS_ARGS ?=
CLUSTER_ARGS ?=
DRILL_ARGS ?=
TRIALS_ARGS ?=
FUZZ_ARGS ?=

# Many an environment forbids Python to keep what it has compiled. The hundreds of processes that the tests start would
# each compile everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install run test cover thorough outages lint messages mutants bench chaos cluster drill trials fuzz sbom audit forget lock

help: ## say what there is
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

install: $(VENV)/.installed ## make .venv with everything locked in it (PYTHON=… picks the interpreter)

$(VENV)/.installed: $(LOCKS)
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3) ''; do \
		[ -n "$$python" ] || { echo "Starledger needs Python 3.11 or later; name one with make PYTHON=…" >&2; exit 1; }; \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
			echo "$$python has no venv module: install it first (Debian: apt-get install python3-venv)." >&2; exit 1; }; \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV); }
	@# uv takes a tenth of pip's time. It does not read pip's configuration, so where only that leads to packages pip does it.
	@$(PIP) --quiet -r <(awk '/^[a-z]/ { on = /^uv==/ } on' requirements/dev.txt)
	@$(BIN)/uv pip install --system-certs --python $(BIN)/python --require-hashes $(LOCKS:%=-r %) || $(PIP) $(LOCKS:%=-r %)
	@# Lets pytest and the other tools of the environment find the project's packages from anywhere.
	@pwd > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/starledger.pth"
	@touch $@

.env:
	@umask 077; $(BIN)/python -c 'import re, secrets, sys; print(re.sub(r"^(SECRET_KEY|JWT_SIGNING_KEY|TELEGRAM_WEBHOOK_SECRET)=$$", lambda name: name[0] + secrets.token_urlsafe(48), sys.stdin.read(), flags=re.M), end="")' \
		< .env.example > .env.new && mv .env.new .env
	@echo "Wrote .env with fresh secrets."

run: install ## start everything and print where it is (PORT=… TELEGRAM_PORT=… STRIPE_PORT=…)
	@[ -e .env ] || $(MAKE) --no-print-directory .env
	@exec $(BIN)/python manage.py demo --port $(PORT) --telegram-port $(TELEGRAM_PORT) --stripe-port $(STRIPE_PORT)

test: install ## run every test, three at a time: many wait (ARGS=… goes to pytest)
	@$(BIN)/python -m pytest -n 3 --dist loadgroup $(COVER) $(ARGS)

cover: COVER := --cov --cov-report=term
cover: test ## the same, and say what they cover

thorough: export THOROUGH = 1
thorough: test ## the same with more random steps, more payments at once and more orders

outages: install ## take the database, the Bot API or Redis away, rotate all secrets, and hold what we promise
	@$(BIN)/python -m pytest -m alone $(ARGS)

lint: export ENV_FILE =
lint: export DEBUG = true
lint: export SECRET_KEY = only-for-the-linters
lint: export JWT_SIGNING_KEY = only-for-the-linters-and-32-bytes-long
lint: install ## check style, types, imports, migrations, compiled texts, locks and licences
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@DATABASE_URL=postgresql:///unused $(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python -m tests.supply_chain locks
	@$(BIN)/python -m tests.supply_chain licences
	@compiled=$$(mktemp); trap 'rm -f "$$compiled"' EXIT; \
	for source in $$(git ls-files '*.po'); do \
		$(BIN)/pybabel --quiet compile --input-file "$$source" --output-file "$$compiled"; \
		cmp --silent "$$compiled" "$${source%.po}.mo" || { echo "$$source is not what was compiled: run make messages" >&2; exit 1; }; \
	done

messages: install ## compile the translations
	@for source in $$(git ls-files '*.po'); do $(BIN)/pybabel --quiet compile --input-file "$$source" --output-file "$${source%.po}.mo"; done

mutants: install ## make the classic mistakes in a copy, and see that the tests notice each (ARGS="X6 X7")
	@$(BIN)/python -m tests.mutants $(ARGS)

bench: install ## measure, side by side with the textbook ways (ARGS=…)
	@$(BIN)/python -m benchmarks $(ARGS)

chaos: install ## sell under load while processes and the database are killed, and compare the books (CHAOS_ARGS=…)
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

cluster: install ## two web servers and workers, PgBouncer and a replica: sell, and kill one of each (CLUSTER_ARGS=…)
	@$(BIN)/python -m tests.cluster $(CLUSTER_ARGS)

drill: install ## lose the database, restore an older dump, reconcile, and compare the books (DRILL_ARGS=…)
	@$(BIN)/python -m tests.chaos.restore $(DRILL_ARGS)

trials: install ## poison, outages, slow clients, restarts …: what becomes of those who pay, beside limits (TRIALS_ARGS=…)
	@$(BIN)/python -m tests.trials $(TRIALS_ARGS)

fuzz: install ## send spoilt bodies to the real server, and judge its answers by the contract (FUZZ_ARGS=…)
	@$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

sbom: install ## print what production installs, as CycloneDX JSON
	@$(BIN)/python -m tests.supply_chain sbom

audit: install ## tell the licence of every package, and what is known against it (needs a network)
	@$(BIN)/python -m tests.supply_chain licences --list
	@$(BIN)/python -m tests.supply_chain vulnerabilities

forget: install ## drop the demo's data
	@$(BIN)/python -m config.embedded_postgres
	@rm -rf .starledger

lock: install ## choose the newest versions that fit requirements/*.in
	@for name in base embedded-db prod dev; do \
		echo "requirements/$$name.txt"; \
		constraint=; case $$name in prod | dev) constraint="--constraint requirements/base.txt";; esac; \
		$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
			$$constraint --output-file requirements/$$name.txt requirements/$$name.in; \
	done

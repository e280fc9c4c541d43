# make report and make test are all a newcomer needs; each sets up what it lacks.
PYTHON ?= python3
BIN := .venv/bin
export FORECAST_CACHE ?= $(CURDIR)/.cache/jax

.PHONY: setup setup-training setup-docs report reports test test-slow lint smoke docs bench bench-docs demo demo-training clean

setup: .venv/installed

# pip's own cache makes a second set-up quick; the stamp makes it free.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 setup"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Forecasting needs no torch, whose wheel for a GPU is gigabytes; training and its tests do.
setup-training: .venv/installed-training

.venv/installed-training: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,training,cluster]'
	@touch $@

# The documents read the docstrings of both packages, so they need what training needs.
setup-docs: .venv/installed-docs

.venv/installed-docs: .venv/installed-training
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,training,cluster,docs]'
	@touch $@

report: setup
	$(BIN)/forecast report nethack-transformer --out reports/nethack-transformer --force

reports: report
	$(BIN)/forecast report atari-cnn --out reports/atari-cnn --force

test: setup-training
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: setup-training
	$(BIN)/python -m pytest -m slow

lint: setup-training
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

# The wheel, installed as a user would: both commands start in an empty folder.
smoke: setup-training
	tests/smoke_wheel.sh $(BIN)/python

# The documents, their code executed, to build/docs/index.html. A warning is an error; nothing is fetched.
docs: setup-docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --quiet docs build/docs

# What the documents claim about speed and accuracy, and their tables: over an hour on two cores, of which backtest.py,
# rules.py and each replay of next_runs.py take about ten minutes, public.py twenty. `make bench-docs` writes the table
# of back-tests from those in the package, in seconds.
bench: setup-training
	$(BIN)/python benchmarks/commands.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/backtest.py --docs
	$(BIN)/python benchmarks/public.py --docs
	$(BIN)/python benchmarks/finite.py --docs
	$(BIN)/python benchmarks/short_tables.py --docs
	$(BIN)/python benchmarks/next_runs.py --seeds 0 1
	$(BIN)/python benchmarks/next_runs.py atari-cnn --starts 100 --targets 1 10
	$(BIN)/python benchmarks/shards.py --docs
	$(BIN)/python benchmarks/rules.py
	$(BIN)/python benchmarks/stepping.py
	$(BIN)/python benchmarks/policies.py
	$(BIN)/python benchmarks/expert.py

bench-docs: setup
	$(BIN)/python benchmarks/backtest.py --bundled --docs

# The loop closed: record, sweep, forecast, freeze, train the recommendation, score the forecast. Under half an hour.
demo: setup-training
	$(BIN)/python benchmarks/demo.py --out demo/loop

# Record games, convert them, clone three sizes over three budgets, play and read the table: the whole path, small.
demo-training: setup-training
	$(BIN)/python benchmarks/demo_training.py --out demo/training

clean:
	rm -rf .venv .cache build *.egg-info

# make run    the dashboard on http://127.0.0.1:8501
# make owner      an account for whoever owns this desk; from then on it asks everybody to sign in
# make simulator   a simulated E*TRADE on http://127.0.0.1:8189
# make test   lint, types, tests (browser tests too where a Chromium is found)
# make prove  long campaigns; results go to docs/evidence/
# make bench  speed beside peers; results go to benchmarks/RESULTS.md
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
# half a minute here spares it to whoever backtests first; without it that run compiles, so it may fail
COMPILE := $(BIN)/python -m backtest.compile || true

.PHONY: run owner simulator test lint types prove bench clean

run: $(VENV)/run.stamp
	@echo "The candlestick desk opens on http://127.0.0.1:$(PORT) (stop it with Ctrl+C)"
	@exec $(BIN)/streamlit run streamlit_dashboard.py --server.port $(PORT)

owner: $(VENV)/run.stamp
	@exec $(BIN)/python -m desk.accounts owner

simulator: $(VENV)/run.stamp
	@exec $(BIN)/python -m simulator.etrade

# Types are checked beside the tests, on whatever the processors have to spare; both must hold.
test: $(VENV)/dev.stamp lint
	@$(BIN)/mypy > .types.log 2>&1 & types=$$!; \
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long"; tests=$$?; \
	wait $$types; sound=$$?; echo "$(BIN)/mypy"; cat .types.log; [ $$tests -eq 0 ] && [ $$sound -eq 0 ]

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

prove: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m tests.campaigns

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt | $(VENV)/bin/python
	@echo "Installing what the dashboard needs (a few minutes, once) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(COMPILE)
	@touch $@

$(VENV)/dev.stamp: requirements.txt requirements-dev.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@# a stranger's client, to prove the simulator by: its own pins are older than what it works with
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pyetrade==2.1.1
	@$(COMPILE)
	@touch $@ $(VENV)/run.stamp

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

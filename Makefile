# `make help` lists what there is: the words behind each target's ##. A bare `make` is `make run`.
SHELL := /bin/bash
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
# half a minute here spares it to whoever backtests first; without it that run compiles, so it may fail
COMPILE := $(BIN)/python -m backtest.compile || true

.PHONY: run help doctor backup backups restore owner simulator demo test lint types prove docs pictures bench clean

run: $(VENV)/run.stamp ## the dashboard on http://127.0.0.1:8501 (PORT=8600 for another)
	@echo "The candlestick desk opens on http://127.0.0.1:$(PORT) (stop it with Ctrl+C)"
	@exec $(BIN)/streamlit run streamlit_dashboard.py --server.port $(PORT)

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# It must speak where nothing is installed: the Python of the environment where there is one, any other where not.
doctor: ## what is wrong or missing here, why it matters, and what cures it
	@if [ -x $(BIN)/python ]; then exec $(BIN)/python -m upkeep doctor; else exec $(PYTHON) -m upkeep doctor; fi

backup: $(VENV)/run.stamp ## a backup while the desk runs (TO=folder KEEP=14 CANDLES=1 SECRETS=1)
	@exec $(BIN)/python -m upkeep backup $(if $(TO),--to "$(TO)") $(if $(KEEP),--keep $(KEEP)) $(if $(CANDLES),--candles) $(if $(SECRETS),--secrets)

backups: $(VENV)/run.stamp ## the backups there are (TO=folder)
	@exec $(BIN)/python -m upkeep list $(if $(TO),--to "$(TO)")

restore: $(VENV)/run.stamp ## put a backup in the place of what is there, halted (FROM=archive SECRETS=1)
	@exec $(BIN)/python -m upkeep restore $(if $(FROM),"$(FROM)") $(if $(SECRETS),--secrets)

owner: $(VENV)/run.stamp ## an account for whoever owns this desk; from then on it asks everybody to sign in
	@exec $(BIN)/python -m desk.accounts owner

simulator: $(VENV)/run.stamp ## a simulated E*TRADE on http://127.0.0.1:8189
	@exec $(BIN)/python -m simulator.etrade

demo: $(VENV)/run.stamp ## a scripted market day at 60 times speed with the bot trading, on http://127.0.0.1:8501
	@exec $(BIN)/python -m simulator.demo --port $(PORT)

# Types are checked beside the tests, on whatever the processors have to spare; both must hold.
test: $(VENV)/dev.stamp lint ## lint, types, tests (browser tests too where a Chromium is found)
	@$(BIN)/mypy > .types.log 2>&1 & types=$$!; \
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not long"; tests=$$?; \
	wait $$types; sound=$$?; echo "$(BIN)/mypy"; cat .types.log; [ $$tests -eq 0 ] && [ $$sound -eq 0 ]

lint: $(VENV)/dev.stamp ## ruff alone: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp ## mypy alone, strict
	$(BIN)/mypy

prove: $(VENV)/dev.stamp ## long campaigns; results go to docs/evidence/
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m tests.campaigns

docs: $(VENV)/docs.stamp ## the documents as a site in site/, built strictly
	$(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html is the way in"

pictures: $(VENV)/dev.stamp ## the documents' pictures, taken anew from the real desk in Chromium
	$(BIN)/python -m docs._house
	$(BIN)/python -m tests.pictures

bench: $(VENV)/dev.stamp ## speed beside peers; results go to benchmarks/RESULTS.md
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

$(VENV)/docs.stamp: requirements-docs.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	@touch $@

clean: ## take away the virtual environment and the caches; data and models stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

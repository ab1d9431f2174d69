# Each target builds .venv itself when it is missing or pyproject.toml or constraints.txt changed.
PYTHON ?= python3
BIN := .venv/bin
NAS := $(BIN)/nas
RUNS ?= runs
DEMO := $(RUNS)/demo
LATENCY ?= 15

.PHONY: help demo mixpath rank compare tfnas test test-fast check format bench clean

help:
	@echo "make demo       install, then train, search and retrain on handwritten digits; prints where the report lies"
	@echo "make mixpath    the same without the report: MixPath's small recipe end to end"
	@echo "make tfnas      TF-NAS's small recipe end to end: a network for LATENCY=15 ms on this processor, retrained, and a report"
	@echo "make rank       train a supernet of S4 and rank its 34 networks on the benchmark that comes with the package"
	@echo "make compare    searchers beside each other on the benchmark that comes with the package, and a report"
	@echo "make test       install what tests need and run every test"
	@echo "make test-fast  leave out the slow ones"
	@echo "make check      format, lint, types"
	@echo "make bench      measure speed against the straightforward way"
	@echo "make clean      remove .venv and caches (runs stay)"

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/.installed-dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch .venv/.installed $@

# A demo that was broken off goes on where it stopped; `rm -r runs/demo` starts it anew.
mixpath: .venv/.installed
	test -e $(DEMO)/supernet/run.json || $(NAS) train-supernet mixpath --recipe mixpath-digits --out $(DEMO)/supernet
	$(NAS) runs resume $(DEMO)/supernet
	test -e $(DEMO)/search/run.json || $(NAS) search mixpath --run $(DEMO)/supernet --out $(DEMO)/search
	$(NAS) runs resume $(DEMO)/search
	test -e $(DEMO)/retrain/run.json || $(NAS) retrain $(DEMO)/search --best 1 --out $(DEMO)/retrain
	$(NAS) runs resume $(DEMO)/retrain

rank: .venv/.installed
	test -e $(DEMO)/s4/run.json || $(NAS) train-supernet mixpath --recipe mixpath-s4-digits --out $(DEMO)/s4
	$(NAS) runs resume $(DEMO)/s4
	test -e $(DEMO)/rank/run.json || $(NAS) rank --bench s4-digits --run $(DEMO)/s4 --out $(DEMO)/rank
	$(NAS) runs resume $(DEMO)/rank

compare: .venv/.installed
	test -e $(DEMO)/compare/run.json || $(NAS) compare gp-ei random evolution local-search --bench s4-digits --budget 30 --same-init --out $(DEMO)/compare
	$(NAS) runs resume $(DEMO)/compare
	$(NAS) report $(DEMO)/compare --out $(DEMO)/compare.html

# The first time the blocks are measured for five minutes; the table is kept.
tfnas: .venv/.installed
	test -e $(DEMO)/latency/run.json || $(NAS) search tfnas --latency $(LATENCY) --out $(DEMO)/latency
	$(NAS) runs resume $(DEMO)/latency
	test -e $(DEMO)/latency-retrain/run.json || $(NAS) retrain $(DEMO)/latency --out $(DEMO)/latency-retrain
	$(NAS) runs resume $(DEMO)/latency-retrain
	$(NAS) report $(DEMO)/latency $(DEMO)/latency-retrain --out $(DEMO)/latency.html

demo: mixpath rank
	$(NAS) report $(DEMO)/supernet $(DEMO)/search $(DEMO)/rank $(DEMO)/retrain --out $(DEMO)/report.html

test: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: .venv/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

check: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/.installed-dev
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: .venv/.installed
	for script in benchmarks/speed_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

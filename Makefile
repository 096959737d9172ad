# Everything here needs Python 3.11 or later and nothing else: the environments are made on the first use.
PYTHON ?= python3
UV_VERSION := 0.13.8
A3 := .venv
A2 := .venv-airflow2
CLIENTS := .venv-clients
ifneq ($(filter test%,$(MAKECMDGOALS)),)
# Three at a time on any machine: the tests wait for something half of their time.
MAKEFLAGS += --jobs=3 --output-sync
endif

.PHONY: help demo ui test test-airflow2 test-system test-scale test-clients test-rest benchmarks lint format constraints clean

help:
	@echo "make demo           archive, export and archive again, through a real Airflow, against the sandbox"
	@echo "make ui             Airflow's UI with the example DAGs and the sandbox"
	@echo "make test           lint, types, layers, unit and integration tests on the newest Airflow"
	@echo "make test-airflow2  the same tests on Airflow 2.11"
	@echo "make test-system    what a retry does, on real Airflow processes that are killed; also on Airflow 2.11"
	@echo "make test-scale     a million issues, a file of 1,500,000 rows, 5,000 pools; some 15 minutes"
	@echo "make benchmarks     requests, time and memory as runs grow; writes benchmarks/RESULTS.md"
	@echo "make test-clients   the sandbox against the services' independent clients"
	@echo "make test-rest      everything but make test, several at once"
	@echo "make constraints    renew the pins of the test environments"

$(A3)/.ready: pyproject.toml constraints/airflow-3.txt
	$(PYTHON) -m venv --clear $(A3)
	$(A3)/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(A3)/bin/uv pip install -q -p $(A3)/bin/python -r constraints/airflow-3.txt -e .
	touch $@

$(A2)/.ready: pyproject.toml constraints/airflow-2.txt
	$(PYTHON) -m venv --clear $(A2)
	$(A2)/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(A2)/bin/uv pip install -q -p $(A2)/bin/python -r constraints/airflow-2.txt -e .
	touch $@

$(CLIENTS)/.ready: constraints/clients.txt
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	$(CLIENTS)/bin/uv pip install -q -p $(CLIENTS)/bin/python -r constraints/clients.txt
	touch $@

demo: $(A3)/.ready
	$(A3)/bin/python scripts/demo.py

ui: $(A3)/.ready
	$(A3)/bin/python scripts/ui.py

lint: $(A3)/.ready
	$(A3)/bin/ruff check .
	$(A3)/bin/ruff format --check .
	$(A3)/bin/mypy
	$(A3)/bin/lint-imports --no-logo

format: $(A3)/.ready
	$(A3)/bin/ruff check --fix .
	$(A3)/bin/ruff format .

# A run for each directory, side by side: Airflow takes its settings when it is imported, and they differ.
test: lint airflow3/tests/integration airflow3/tests/unit

test-airflow2: airflow2/tests/integration airflow2/tests/unit

# Real schedulers, triggerers and API servers, really killed. On Airflow 2.11 dag.test() runs what needs none.
test-system: airflow3/tests/system airflow2/tests/system

test-rest: test-system test-airflow2 test-clients

test-scale: $(A3)/.ready
	$(A3)/bin/python -m pytest -q -m scale tests/system

benchmarks: $(A3)/.ready
	$(A3)/bin/python benchmarks/run.py

# These spend most of their time waiting for Airflow's own loops, so several run at once.
airflow3/tests/integration: PARALLEL := -n 2
airflow2/tests/integration: PARALLEL := -n 2
airflow3/tests/unit airflow2/tests/unit: PARALLEL := -n 2
airflow3/tests/system airflow2/tests/system: PARALLEL := -n 3 --dist worksteal -m "not scale"

airflow3/%: $(A3)/.ready
	$(A3)/bin/python -m pytest -q $(PARALLEL) $*

airflow2/%: $(A2)/.ready
	$(A2)/bin/python -m pytest -q $(PARALLEL) $*

test-clients: $(CLIENTS)/.ready
	$(CLIENTS)/bin/python -m pytest -q tests/clients

PINS := --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links --python-version 3.11
constraints: $(A3)/.ready
	for n in 2 3; do $(A3)/bin/uv pip compile -q $(PINS) --extra sandbox --group dev \
		pyproject.toml constraints/airflow-$$n.in -o constraints/airflow-$$n.txt; done
	$(A3)/bin/uv pip compile -q $(PINS) --universal tests/clients/requirements.in -o constraints/clients.txt

clean:
	rm -rf $(A3) $(A2) $(CLIENTS) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# make app    the dashboard on http://localhost:8501
# make demo   the same job without a browser: digits on a Raspberry Pi 4, ends with the table and the package
# make test   all tests; make test ARGS='-m "not slow"' the fast part
# make coverage   what the fast part reaches, in children too; fails below [tool.coverage.report] fail_under
# make lint   form and types: ruff and mypy
# make docs   the documentation as a site, build/site/index.html
# Each sets up .venv by itself the first time.

VENV := .venv
RUN := $(VENV)/bin/python
PORT ?= 8501
ARGS ?=
WORKERS ?= 2
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c '$(IN_RANGE)' 2>/dev/null && echo $$p && break; done)
DEMO := build/demo
# where PyTorch's own index can't be reached, each retry would wait once for every package
export PIP_RETRIES ?= 0

.PHONY: help app demo demo-pytorch demo-keras test coverage lint docs environment compiled tools

help:
	@sed -n '/^#/s/^# //p;/^$$/q' $(MAKEFILE_LIST)

app: compiled
	$(RUN) -m streamlit run server.py --server.port $(PORT) --server.headless true

demo: demo-pytorch demo-keras

demo-pytorch demo-keras: demo-%: compiled
	@echo "digits/$*/small on digits for a Raspberry Pi 4: every technique, about two minutes"
	@$(RUN) -m engine optimize digits/$*/small --dataset digits --device raspberry_pi_4 --time-budget 30 --output $(DEMO)/$*
	@chosen=$$($(RUN) -c 'import json, sys; run = json.load(open(sys.argv[1])); print(run["id"], run["recommendation"]["winner"])' $(DEMO)/$*/run.json) \
		&& $(RUN) -m engine package $$chosen --output $(DEMO)/$*.zip

test: $(VENV)/.installed-tests compiled tools
	$(RUN) -m pytest -n $(WORKERS) $(ARGS)

coverage: $(VENV)/.installed-tests compiled tools
	@mkdir -p build
	$(RUN) -m pytest -n $(WORKERS) -m "not slow" --cov $(ARGS)

lint: $(VENV)/.installed-tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(VENV)/.installed-tests
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict

environment: $(VENV)/.installed-tests compiled

# the children of a run write no bytecode, so that each would compile what it imports
compiled: $(VENV)/.installed
	@$(RUN) -m compileall -q app.py server.py pages engine estimator deploy models

$(VENV)/.installed: requirements.txt $(wildcard requirements/*.txt)
	@$(RUN) -c '$(IN_RANGE)' 2>/dev/null && $(RUN) -m pip --version >/dev/null 2>&1 || { \
		test -n "$(PYTHON)" || { echo "Edgewise needs Python 3.11, 3.12 or 3.13, and none is installed: install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
		$(PYTHON) -c '$(IN_RANGE)' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): Edgewise needs Python 3.11, 3.12 or 3.13." >&2; exit 1; }; \
		$(PYTHON) -m venv --clear $(VENV); }
	$(RUN) -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@

$(VENV)/.installed-tests: requirements-test.txt $(VENV)/.installed
	$(RUN) -m pip install --disable-pip-version-check -q -r requirements-test.txt
	@touch $@

# Browser tests need Chromium, those of the inspection line a broker. Where they can't be installed the tests skip and say so.
tools:
	@for tool in chromium mosquitto; do \
		PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null && continue; \
		if [ "$$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$tool >/dev/null \
				|| echo "$$tool could not be installed: its tests will be skipped."; \
		else echo "There is no $$tool, and only root on Debian may install it here: its tests will be skipped."; fi; \
	done

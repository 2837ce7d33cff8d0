# Two commands are for everyone: `make demo` and `make test`. The others are for who changes the code.
# Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := requirements/ci.txt
DEVELOPING := .[dev,train,metaimage,serve]

# A stamp is younger than the files an environment was made from, or the environment is brought up to date.
USING_STAMP := $(VENV)/.using
DEVELOPING_STAMP := $(VENV)/.developing

.DELETE_ON_ERROR: # half an environment is none
.PHONY: demo test check style format wheel lock clean

demo: $(USING_STAMP)
	$(BIN)/lungsight demo

test: $(DEVELOPING_STAMP)
	$(BIN)/pytest

check: style test

style: $(DEVELOPING_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEVELOPING_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(BIN)/python
	rm -rf dist
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

# Takes the newest versions that pyproject.toml allows and writes down which they are.
lock: $(BIN)/python
	$(PIP) install --quiet --upgrade --upgrade-strategy eager --editable "$(DEVELOPING)"
	{ echo "# Versions the tests run with. Written by \`make lock\`; constraints only, nothing is installed from here."; \
	  $(PIP) list --format=freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+.*//'; } > $(CONSTRAINTS).new
	mv $(CONSTRAINTS).new $(CONSTRAINTS)
	touch $(USING_STAMP) $(DEVELOPING_STAMP)

clean:
	rm -rf $(VENV) dist build lungsight-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Found: $$($(PYTHON) --version 2>&1 || true) as $(PYTHON). Expected: Python 3.11, 3.12 or 3.13." \
	       "Remedy: name one, as in \`make demo PYTHON=python3.11\`." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(USING_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing Lungsight into $(VENV): a minute or two."
	$(PIP) install --quiet --editable .
	touch $@

$(DEVELOPING_STAMP): pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	@echo "Installing Lungsight and its tests' libraries (PyTorch among them) into $(VENV): a few minutes."
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable "$(DEVELOPING)"
	touch $(USING_STAMP) $@

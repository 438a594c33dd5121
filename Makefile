# Set-up, runs and tests of the ANOCA simulator.
#
# Needs Python 3.11 or later (with venv), make and, for the best Ipopt, gcc with the Python headers.
# Everything is installed from PyPI into .venv; nothing else on the machine is touched.

# What `make run` runs once the set-up is done.
MAIN_JOB := .venv/bin/anoca demo

VENV := .venv
BIN  := $(VENV)/bin
SAY  := @printf '==> %s\n'
PIP  := $(BIN)/python -m pip
# -qq keeps errors only: one line per step is ours to print.
PIP_INSTALL := $(PIP) install -qq -c constraints.txt
SETUP_FILES := pyproject.toml constraints.txt .ci/install_ipopt.py

# Another interpreter: make PYTHON=/path/to/python3.12 setup
PYTHON ?=
PYTHON_CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.13 python3)

# One thread per process: results do not depend on the number of cores, and two test processes share two cores.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1
export PIP_ROOT_USER_ACTION = ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv setup setup-test run test test-slow lint format docs validation lock clean

help: ## list the targets
	@printf 'ANOCA simulator\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\n  make run and make test do all the set-up by themselves.\n'

venv: $(VENV)/.made ## make the virtual environment .venv, empty

setup: $(VENV)/.runtime ## install the simulator, its libraries and Ipopt into .venv

setup-test: $(VENV)/.test

run: $(VENV)/.runtime ## set up if needed, then run the main job
	$(SAY) '$(MAIN_JOB)'
	@$(MAIN_JOB)

test: lint ## set up if needed, then lint and run the tests but the slow ones
	$(SAY) 'Running the tests (two processes, slow ones left out)'
	@$(BIN)/python -m pytest -n 2 -q

test-slow: $(VENV)/.test ## run the slow tests
	$(SAY) 'Running the slow tests'
	@$(BIN)/python -m pytest -n 2 -q -m slow || { [ $$? -eq 5 ] && echo 'There is none.'; }

lint: $(VENV)/.test ## check style, format and types
	$(SAY) 'Checking style (ruff)'
	@$(BIN)/ruff check -q .
	$(SAY) 'Checking format (ruff format)'
	@$(BIN)/ruff format -q --check .
	$(SAY) 'Checking types (mypy)'
	@$(BIN)/mypy --no-error-summary

format: $(VENV)/.test ## rewrite the sources in the common format
	$(SAY) 'Formatting'
	@$(BIN)/ruff check -q --select I --fix .
	@$(BIN)/ruff format -q .

docs: $(VENV)/.runtime ## run every command for the README's table, and rewrite docs/scenarios.md
	$(SAY) 'Running every command of the README (a few minutes)'
	@$(BIN)/python docs/settings.py
	@$(BIN)/python docs/commands.py

validation: $(VENV)/.test ## hold every test circuit against OpenDSS, and rewrite docs/validation.md
	$(SAY) 'Comparing with OpenDSS (some ten minutes)'
	@$(BIN)/python benchmarks/validation.py

clean: ## remove the environment, caches and build products (results/ is kept)
	$(SAY) 'Removing .venv, caches and build products'
	@rm -rf $(VENV) $(VENV)-lock build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The stamps: a set-up step is done again only when a file it depends on has changed.

$(VENV)/.made:
	@chosen=; tried=; \
	for python in $(PYTHON_CANDIDATES); do \
	    command -v "$$python" >/dev/null 2>&1 || continue; \
	    tried="$$tried $$python"; \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        chosen="$$python"; break; \
	    fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "Python 3.11 or later is needed; none of these is it: $(PYTHON_CANDIDATES) (found:$${tried:- none})." >&2; \
	    echo "Install it, or name one: make PYTHON=/path/to/python3.11 setup" >&2; \
	    exit 1; \
	fi; \
	if ! "$$chosen" -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "$$chosen has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; \
	fi; \
	printf '==> %s\n' "Making $(VENV) with $$("$$chosen" --version)"; \
	"$$chosen" -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(SETUP_FILES) | $(VENV)/.made
	$(SAY) 'Installing the simulator, its libraries and OpenDSS (about 1 GB on disk; a minute or more the first time)'
	@$(PIP_INSTALL) -e '.[opendss,fast]'
	@$(BIN)/python .ci/install_ipopt.py
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	$(SAY) 'Installing the test tools'
	@$(PIP_INSTALL) -e '.[test,opendss,fast]'
	@touch $@

# A new environment with the newest versions that pyproject.toml allows; only names and versions are kept.
lock: $(VENV)/.made ## renew constraints.txt with today's newest versions
	$(SAY) 'Installing the newest versions into $(VENV)-lock'
	@rm -rf $(VENV)-lock
	@$(BIN)/python -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install -qq -e '.[test,opendss,fast]'
	@$(VENV)-lock/bin/python .ci/install_ipopt.py
	@{ echo '# Exact versions of everything the set-up installs, made by `make lock` (Python 3.11, Linux x86-64).'; \
	   $(VENV)-lock/bin/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools \
	   | LC_ALL=C sort -f; } > constraints.txt
	@rm -rf $(VENV)-lock
	$(SAY) 'constraints.txt is renewed: make test uses it from now on'

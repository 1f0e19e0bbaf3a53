# Everything a developer types. Needs python3.11 or newer, with pip; the rest is set up in .venv.

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p) 2>/dev/null)))
BIN := .venv/bin
RAY := .venv-ray
DEMO := build/demo
QUESTION ?= 주말에도 문 여나요?
# Twice the two cores of a small CI machine, as tests wait half of their time; with more: WORKERS=16
WORKERS ?= 4
SEED ?= 1

# Tests and demos start thousands of processes; each starts in half the time with compiled modules.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-real demo-server demo-exit clean-demo test test-slow test-slurm test-ray fuzz check format schema topics bench constraints lock clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.ready ## Set up .venv with everything the other targets need

# torch stands alone and first: asked for with everything else, pip may settle on another release
# and fetch gigabytes of CUDA packages that a machine without a GPU has no use for.
.venv/.ready: pyproject.toml constraints.txt
	@echo "==> Setting up .venv (once; a few minutes)"
	@test -n "$(PYTHON)" || { echo "No python3 found. Install Python 3.11 or newer."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old. Name a newer one: make setup PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install -qq -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(DEMO)/.gitignore ## Train two Korean fine-tunes on this machine, ask one of them a question
	@set -e; show() { echo "==> ftctl --dir $(DEMO) $$*"; $(BIN)/ftctl --dir $(DEMO) "$$@"; }; \
	code=0; show apply --auto-approve || code=$$?; echo; \
	show status; echo; \
	show chat cafe-answers --base -m "$(QUESTION)"; echo; \
	echo "Next: change learning_rate in $(DEMO)/finetunes/cafe-inquiries.yaml, then type"; \
	echo "      $(BIN)/ftctl --dir $(DEMO) plan"; \
	exit $$code

# The last file `ftctl init --demo` writes: without it the demo is not there, or only half of it.
$(DEMO)/.gitignore: | .venv/.ready
	@echo "==> ftctl init --demo $(DEMO)"
	@rm -rf $(DEMO)
	@$(BIN)/ftctl init --demo $(DEMO)
	@echo

demo-real: .venv/.ready ## Tune a real model of 90 MB, downloaded once, on this machine; ten minutes
	@$(BIN)/python -m tests.demos.real $(DEMO)-real

demo-server: $(DEMO)/.gitignore ## Serve the demo's base model, and train over the OpenAI protocol against it
	@$(BIN)/python -m tests.demos.serve $(DEMO) $(DEMO)-client

demo-exit: $(DEMO)/.gitignore ## Move two hosted fine-tunes to this machine before their service ends
	@$(BIN)/python -m tests.demos.exit $(DEMO) $(DEMO)-exit

clean-demo: ## Forget the demo, so that `make demo` starts anew
	@rm -rf $(DEMO)

test: .venv/.ready ## Run all tests but the slow ones
	@echo "==> pytest"
	@$(BIN)/python -m pytest -m "not slow and not slurm and not ray" -n $(WORKERS) --dist worksteal --durations=15

test-slow: .venv/.ready ## Run the slow tests: kills, whole stories, real consumers
	@echo "==> pytest, slow tests"
	@$(BIN)/python -m pytest -m "slow and not ray" -n $(WORKERS) --dist worksteal --durations=15

test-slurm: .venv/.ready ## Run the launcher of Slurm at a real Slurm, which is started on this machine
	@for daemon in munged slurmctld slurmd; do \
		PATH="$$PATH:/usr/sbin" command -v "$$daemon" >/dev/null || lacking="$$lacking $$daemon"; \
	done; \
	if [ -z "$$lacking" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "==> apt-get install slurm-wlm munge"; \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends slurm-wlm munge; \
	else \
		echo "Slurm is not installed here (missing:$$lacking). On Debian, type as root:"; \
		echo "      apt-get install slurm-wlm munge"; \
	fi
	@echo "==> pytest, Slurm"
	@$(BIN)/python -m pytest -m slurm -o faulthandler_timeout=3600 tests/engines/slurm

test-ray: $(RAY)/.ready ## Start a Ray cluster of two nodes here, and run the tests that need one
	@echo "==> pytest, on a real Ray cluster"
	@$(RAY)/bin/python -m pytest -m ray tests/engines/ray

# A Python of its own: Ray brings packages that nothing else here wants.
$(RAY)/.ready: pyproject.toml constraints.txt tests/engines/ray/constraints.txt
	@echo "==> Setting up $(RAY) (once; a few minutes)"
	@test -x $(RAY)/bin/python || "$(PYTHON)" -m venv $(RAY)
	@$(RAY)/bin/python -m pip install -qq -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(RAY)/bin/python -m pip install -qq -c constraints.txt -c tests/engines/ray/constraints.txt \
		-e '.[local,evaluate,openai,serve,store]' 'ray[default]' pytest pytest-timeout
	@touch $@

fuzz: .venv/.ready ## Damage specs and data files by the thousand; SEED=2 damages others
	@$(BIN)/python -m tests.fuzz.specs --seed $(SEED)
	@$(BIN)/python -m tests.fuzz.data_files --seed $(SEED)

check: .venv/.ready ## Check style, types, the JSON Schema, the specs and the workflows
	@echo "==> ruff"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@echo "==> mypy"
	@$(BIN)/mypy
	@echo "==> JSON Schema of specs"
	@$(BIN)/ftctl schema | cmp - finetunes/.schema.json \
		|| { echo "finetunes/.schema.json is out of date. Type: make schema"; exit 1; }
	@$(BIN)/check-jsonschema --quiet --schemafile finetunes/.schema.json finetunes/*.yaml
	@echo "==> workflows"
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-actions .github/actions/*/action.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/zizmor --quiet --offline --pedantic .github
	@echo "All checks passed."

format: .venv/.ready ## Format the code, and mend what ruff can mend by itself
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

schema: .venv/.ready ## Write finetunes/.schema.json anew, after the spec's models changed
	@$(BIN)/ftctl schema --out finetunes/.schema.json

topics: .venv/.ready ## Write the keys and exit codes in controller/help/*.md again, after they changed
	@$(BIN)/python -m tests.topics

bench: .venv/.ready ## Run the benchmarks, one after the other; they print ratios
	@test -n "$(wildcard tests/benchmarks/*.py)" || echo "There are none yet: tests/benchmarks/*.py"
	@for file in $(wildcard tests/benchmarks/*.py); do \
		echo "==> $$file"; $(BIN)/python "$$file" || exit 1; \
	done

constraints: .venv/.ready ## Record the installed versions as the tested ones
	@{ sed '/^[^#]/,$$d' constraints.txt; \
		$(BIN)/python -m pip list --format=freeze --exclude ftctl --exclude pip \
		| sed -E 's/^(torch==[^+]*).*/\1/' | LC_ALL=C sort -f; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt

lock: .venv/.ready ## Lock what the workflows install, by version and hash, after constraints.txt changed
	@$(BIN)/python -m pip install -qq uv
	@$(BIN)/python .ci/lock.py $(BIN)/uv

clean: ## Remove .venv, builds and caches; finetunes/ and models/ stay
	@rm -rf .venv $(RAY) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

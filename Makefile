# Everything runs in .venv, made on first use from constraints.txt. A target run again goes on where it stopped.

PYTHON = python3
BIN = .venv/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Where torch comes from. PyPI's Linux build brings gigabytes of CUDA: without an NVIDIA driver, ask the CPU index.
# TORCH_INDEX= (empty) takes PyPI's.
TORCH_INDEX = $(shell command -v nvidia-smi >/dev/null 2>&1 || echo https://download.pytorch.org/whl/cpu)

.PHONY: help demo test kernels counters docs lint types clean

help: ## say what there is (default)
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

demo: .venv/demo.stamp ## train on examples/clouds.gif (CPU, minutes) and sample from it; run it again to resume
	$(BIN)/sgif train examples/clouds.gif -o runs/demo --preset draft
	$(BIN)/sgif sample runs/demo -n 4
	@echo "The trained model, its previews and the samples are in runs/demo; open runs/demo/report.html to see it all."

test: .venv/test.stamp ## run the tests; choose with ARGS="-m slow" or ARGS=tests/engine
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

kernels: .venv/test.stamp ## compile every Triton kernel for each GPU (none needed) and print what it uses; ARGS=--update
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.tools.kernel_table $(ARGS)

counters: .venv/test.stamp ## count what the benchmarks launch, move and hold, and compare with bench/results
	printf '%s\n' memory scaling example ops step | OMP_NUM_THREADS=1 xargs -P 2 -I SUITE \
	  $(BIN)/sgif bench SUITE --counters --device cpu -o build/counters >/dev/null
	$(BIN)/sgif bench compare bench/results build/counters

docs: .venv/test.stamp ## build the documentation's site in build/site, ready to open; any broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lint: .venv/dev.stamp ## ruff check; layout is by hand, since a formatter undoes aligned tables
	$(BIN)/ruff check .

types: .venv/dev.stamp ## mypy
	$(BIN)/mypy

clean: ## remove builds and caches; .venv and runs stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . \( -name .git -o -name .venv -o -name runs \) -prune -o -name __pycache__ -exec rm -rf {} +

# A stamp per set of extras, each on top of the one before, so that `make -j` never runs two pips at once.
# torch goes first and alone: the CPU index is asked for nothing else, and --retries keeps that short where it is cut off.
.venv/torch.stamp: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "sgif needs Python 3.11 or newer; point to one with make PYTHON=/path/to/python3.11." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps $(if $(TORCH_INDEX),--retries 1 --extra-index-url $(TORCH_INDEX)) torch
	@touch $@

.venv/demo.stamp: .venv/torch.stamp setup.py pyproject.toml
	$(PIP) -e .
	@touch $@

.venv/test.stamp: .venv/demo.stamp
	$(PIP) -e '.[test]'
	@touch $@

.venv/dev.stamp: .venv/test.stamp
	$(PIP) -e '.[dev]'
	@touch $@

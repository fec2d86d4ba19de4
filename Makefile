# The lattice controller. `make help` lists the targets.

CARGO ?= cargo

# Archive and image reference; `make push REG_URL=registry.example/name:0.1.0`.
ARCHIVE   ?= build/lattice-controller.par.gz
VERSION   := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
REG_URL   ?= localhost:5000/lattice-controller:$(VERSION)
# Plain HTTP, only when asked: `make push INSECURE=1`.
INSECURE  ?=
# For `start` and `inventory`, which need wash and a host.
HOST_ID   ?=
LINK_NAME ?= default
# For `fuzz` and `bench`: all where none is named.
FUZZ      ?=
BENCH     ?=
# For `real`: programs of wasmCloud hosts, one or more.
HOSTS     ?=

.PHONY: help all build release dev par par-full inspect push start inventory \
	test real fuzz demo bench soak check clean
.DELETE_ON_ERROR:

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: par ## the same as par

# --- build ---

build: ## the provider, target/debug/lattice-controller
	$(CARGO) build --locked

release: ## the provider, optimized, for this machine: target/release/lattice-controller
	$(CARGO) build --locked --release --bin lattice-controller

# --- archive ---

par: ## the archive that hosts start, build/lattice-controller.par.gz
	@scripts/par release $(ARCHIVE)

par-full: ## the same for every target whose standard library is installed
	@scripts/par full $(ARCHIVE)

dev: ## an archive of a debug build, build/lattice-controller-dev.par.gz, for hosts on this machine
	@scripts/par dev build/lattice-controller-dev.par.gz

inspect: ## what the archive says of itself
	@test -f $(ARCHIVE) || { echo "no $(ARCHIVE): make par" >&2; exit 1; }
	@if scripts/fitting-wash; then wash par inspect $(ARCHIVE); \
	else scripts/par-tool inspect $(ARCHIVE); fi

push: ## the archive into a registry: REG_URL, and INSECURE=1 for plain HTTP
	@test -f $(ARCHIVE) || { echo "no $(ARCHIVE): make par" >&2; exit 1; }
	@if scripts/fitting-wash; then scripts/with-wash push $(if $(INSECURE),--insecure) $(REG_URL) $(ARCHIVE); \
	else scripts/par-tool push $(if $(INSECURE),--insecure) $(REG_URL) $(ARCHIVE); fi

# --- a host, by wash ---

start: ## the pushed provider on a host: REG_URL, HOST_ID, LINK_NAME (needs wash)
	@scripts/with-wash start provider $(REG_URL) --link-name $(LINK_NAME) $(if $(HOST_ID),--host-id $(HOST_ID)) --timeout-ms 15000

inventory: ## what runs on a host: HOST_ID (needs wash)
	@test -n "$(HOST_ID)" || { echo "HOST_ID is missing: make inventory HOST_ID=N…" >&2; exit 1; }
	@scripts/with-wash get inventory $(HOST_ID)

# --- develop ---

# Tests read the archive.
test: ## the whole suite; installs nats-server and docker-registry where they are missing
	@scripts/install-servers
	@scripts/par release $(ARCHIVE)
	$(CARGO) test --locked --workspace

real: ## all operations and random orders on real hosts: HOSTS="/path/to/wasmcloud-0.82.0 …"
	@test -n "$(HOSTS)" || { \
	echo 'make real HOSTS="/path/to/wasmcloud-0.82.0 /path/to/another": programs of wasmCloud hosts,' >&2; \
	echo 'version 0.78 to 0.82, for this machine; tests/real/main.rs has the rest' >&2; exit 2; }
	@scripts/install-servers nats-server
	@scripts/par release $(ARCHIVE)
	ARCHIVE=$(ARCHIVE) $(CARGO) test --locked --test real -- $(HOSTS)

fuzz: ## what must hold whatever comes in, FUZZ_SECONDS (60) for each; FUZZ names some of fuzz/targets
	@scripts/fuzz $(FUZZ)

# Examples and tests are built alike, so that a newcomer builds once.
demo: ## a lattice of three simulated hosts, the real provider, an actor that walks through it
	@scripts/install-servers nats-server
	$(CARGO) build --locked --bins --examples
	$(CARGO) run --quiet --locked --example demo

bench: ## how long things take, against the least that is possible, in one run; BENCH names parts
	@scripts/install-servers nats-server
	$(if $(BENCH),,$(CARGO) bench --locked --bench allocations)
	$(CARGO) bench --locked --bench bench -- $(BENCH)

soak: ## 64 callers while servers are killed, for five minutes, or SOAK_SECONDS=; SOAK_SEED= repeats one
	@scripts/install-servers nats-server
	$(CARGO) bench --locked --bench soak

check: ## format, clippy, documentation and dependencies, all warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items --quiet
	scripts/deny

clean: ## removes what was built; keys and downloaded tools stay
	$(CARGO) clean
	rm -rf fuzz/target
	rm -f build/*.par.gz

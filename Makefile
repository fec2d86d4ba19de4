# The lattice controller. `make help` lists the targets.

CARGO ?= cargo

# The archive and its image reference; `make push REG_URL=registry.example/name:0.1.0`.
ARCHIVE   ?= build/lattice-controller.par.gz
VERSION   := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
REG_URL   ?= localhost:5000/lattice-controller:$(VERSION)
# For a registry with plain HTTP: `make push INSECURE=1`.
INSECURE  ?=
# For `start` and `inventory`, which need wash and a host.
HOST_ID   ?=
LINK_NAME ?= default
# For `fuzz` and `bench`, which run all parts where none is named.
FUZZ      ?=
BENCH     ?=
# For `real`: one or more programs of wasmCloud hosts, instead of what `host` builds.
HOSTS     ?=

.PHONY: help all build release dev par par-full inspect push start inventory \
	test host real fuzz demo bench soak check clean
.DELETE_ON_ERROR:

help: ## lists the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

all: par ## does the same as par

# --- build ---

build: ## builds the provider, target/debug/lattice-controller
	$(CARGO) build --locked

release: ## builds the optimized provider for this machine, target/release/lattice-controller
	$(CARGO) build --locked --release --bin lattice-controller

# --- archive ---

par: ## makes the archive that hosts start, build/lattice-controller.par.gz
	@scripts/par release $(ARCHIVE)

par-full: ## makes the archive for every target whose standard library is installed
	@scripts/par full $(ARCHIVE)

dev: ## makes an archive of a debug build for hosts on this machine, build/lattice-controller-dev.par.gz
	@scripts/par dev build/lattice-controller-dev.par.gz

inspect: ## shows the claims and the contents of the archive
	@test -f $(ARCHIVE) || { echo "no $(ARCHIVE): make par" >&2; exit 1; }
	@if scripts/fitting-wash; then wash par inspect $(ARCHIVE); \
	else scripts/par-tool inspect $(ARCHIVE); fi

push: ## pushes the archive into a registry: REG_URL, and INSECURE=1 for plain HTTP
	@test -f $(ARCHIVE) || { echo "no $(ARCHIVE): make par" >&2; exit 1; }
	@if scripts/fitting-wash; then scripts/with-wash push $(if $(INSECURE),--insecure) $(REG_URL) $(ARCHIVE); \
	else scripts/par-tool push $(if $(INSECURE),--insecure) $(REG_URL) $(ARCHIVE); fi

# --- a host, by wash ---

start: ## starts the pushed provider on a host: REG_URL, HOST_ID, LINK_NAME (needs wash)
	@scripts/with-wash start provider $(REG_URL) --link-name $(LINK_NAME) $(if $(HOST_ID),--host-id $(HOST_ID)) --timeout-ms 15000

inventory: ## lists what runs on a host: HOST_ID (needs wash)
	@test -n "$(HOST_ID)" || { echo "HOST_ID is missing: make inventory HOST_ID=N…" >&2; exit 1; }
	@scripts/with-wash get inventory $(HOST_ID)

# --- develop ---

# Tests use the archive.
test: ## runs the whole suite; installs nats-server and docker-registry where they are missing
	@scripts/install-servers
	@scripts/par release $(ARCHIVE)
	$(CARGO) test --locked --workspace

# A workspace of its own: nothing else builds it.
BUILT_HOST := tools/host/target/release/host

host: ## builds a wasmCloud 1.9 host for tests, tools/host/target/release/host (ten minutes)
	$(CARGO) build --locked --release --manifest-path tools/host/Cargo.toml --target-dir tools/host/target

real: ## runs all operations and random commands on real hosts: HOSTS="/path/to/wasmcloud-0.82.0 …", or that of `make host`
	@scripts/install-servers nats-server
ifeq ($(strip $(HOSTS)),)
	@$(MAKE) --no-print-directory host
	$(CARGO) test --locked --test real -- $(BUILT_HOST)
else
	@scripts/par release $(ARCHIVE)
	ARCHIVE=$(ARCHIVE) $(CARGO) test --locked --test real -- $(HOSTS)
endif

fuzz: ## fuzzes the promises for every input, FUZZ_SECONDS (60) each; FUZZ names some of fuzz/targets
	@scripts/fuzz $(FUZZ)

# Examples and tests have the same build profile, so that a newcomer builds once.
demo: ## shows a lattice of four simulated hosts, the real provider, and an actor that walks through it
	@scripts/install-servers nats-server
	$(CARGO) build --locked --bins --examples
	$(CARGO) run --quiet --locked --example demo

bench: ## measures how long things take beside the least possible time; BENCH names parts
	@scripts/install-servers nats-server
	$(if $(BENCH),,$(CARGO) bench --locked --bench allocations)
	$(CARGO) bench --locked --bench bench -- $(BENCH)

soak: ## runs 64 callers while servers are killed, for SOAK_SECONDS (300); SOAK_SEED= repeats one
	@scripts/install-servers nats-server
	$(CARGO) bench --locked --bench soak

check: ## checks format, clippy, documentation and dependencies, with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) fmt --manifest-path tools/host/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items --quiet
	scripts/deny

clean: ## removes build results; keys and downloaded tools stay
	$(CARGO) clean
	rm -rf fuzz/target tools/host/target
	rm -f build/*.par.gz

# The lattice controller. `make help` lists the targets.

CARGO ?= cargo

.PHONY: help build test demo bench check clean
.DELETE_ON_ERROR:

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the provider, target/debug/lattice-controller
	$(CARGO) build --locked

test: ## the whole suite; installs nats-server where it is missing
	@scripts/install-nats-server
	$(CARGO) test --locked

# Examples and tests are built alike, so that a newcomer builds once.
demo: ## a lattice of three simulated hosts, the real provider, an actor that walks through it
	@scripts/install-nats-server
	$(CARGO) build --locked --bins --examples
	$(CARGO) run --quiet --locked --example demo

bench: ## how long things take, against the least that is possible, in one run
	@scripts/install-nats-server
	$(CARGO) bench --locked --bench bench

check: ## format, clippy and documentation, all warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items --quiet

clean: ## removes what was built
	$(CARGO) clean

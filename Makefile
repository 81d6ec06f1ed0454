# What a developer types. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CLIENTS := gateway/tests/clients
WEB := gateway/web
# The official client for browsers, which the gateway embeds.
CLIENT_SCRIPT := $(WEB)/node_modules/.package-lock.json

.PHONY: help run cluster test tools build test-rust test-clients test-go test-python test-load test-deploy test-upgrade chaos chaos-failovers \
	check fmt audit bench bench-flood bench-presence bench-flaky

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-16s%s\n", $$1, $$2 }'

run: $(CLIENT_SCRIPT) ## one node without Redis on http://127.0.0.1:3000
	cargo run --release --locked --package gateway

cluster: build ## three nodes, Redis and HAProxy on http://127.0.0.1:8080; Ctrl-C ends them
	deploy/local/cluster.sh

test: tools test-rust build test-clients test-python test-load test-deploy ## everything, after installing what it needs

tools: ## install what the tests need
	.ci/tools

build: $(CLIENT_SCRIPT)
	cargo build --release --locked

$(CLIENT_SCRIPT): $(WEB)/package-lock.json
	npm ci --prefix $(WEB) --ignore-scripts --no-audit --no-fund
	@touch $@

test-rust: $(CLIENT_SCRIPT) ## unit, contract, cluster and edge tests
	cargo test --locked --workspace

test-clients: build ## clients in JavaScript, Java, Go and Rust against nodes behind HAProxy and nginx
	npm test --prefix $(CLIENTS)

test-go: tools build ## a client in Go, which fails by itself now and then
	TEST_GO=1 node --test --test-name-pattern=Go $(CLIENTS)/languages.test.mjs

test-python: build ## python-socketio against three nodes behind HAProxy
	.tools/venv/bin/python -m unittest discover -s $(CLIENTS)

test-load: build ## k6, crowds and slow clients against one node; dashboards and rules against its metrics
	.ci/test-load

test-deploy: ## configurations that other programs read
	PATH=$$PATH:/usr/sbin HAPROXY_COOKIE_KEY=check haproxy -c -f deploy/compose/haproxy.cfg
	promtool check config --syntax-only deploy/compose/prometheus.yml

chaos: SECONDS = 600
chaos: CLIENTS = 500
chaos: ROOMS = 50
chaos: SEED =
chaos: ## the auditor at length, e.g. make chaos SECONDS=3600 CLIENTS=500 ROOMS=50 SEED=7
	CHAOS_SECONDS=$(SECONDS) CHAOS_CLIENTS=$(CLIENTS) CHAOS_ROOMS=$(ROOMS) CHAOS_SEED=$(SEED) \
		cargo test --release --locked --workspace --test chaos -- --nocapture whatever_fails

chaos-failovers: SEED =
chaos-failovers: ## a minute of the auditor over Sentinels
	CHAOS_SECONDS=60 CHAOS_SEED=$(SEED) CHAOS_SENTINELS=1 \
		cargo test --release --locked --workspace --test chaos -- --nocapture whatever_fails

# The version before this one: nodes of both serve side by side while a deployment is upgraded. A release moves it.
PREVIOUS = 6edd153
test-upgrade: SECONDS = 60
test-upgrade: ## the auditor over nodes of this version and of the one before, which replace each other
	rm -rf .tools/previous/src && mkdir -p .tools/previous/src
	git archive $(PREVIOUS) | tar -x -C .tools/previous/src
	cd .tools/previous/src && CARGO_TARGET_DIR=../target cargo build --locked --package gateway
	CHAOS_PREVIOUS=$(CURDIR)/.tools/previous/target/debug/gateway CHAOS_SECONDS=$(SECONDS) CHAOS_FAULT_EVERY=6 \
		cargo test --locked --workspace --test chaos -- --nocapture whatever_fails

check: ## formatting, lints, documentation, dependencies: as strict as it gets
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny --locked check bans licenses sources

audit: ## known vulnerabilities in dependencies; fetches the advisory database
	cargo deny --locked check advisories

fmt: ## format the code
	cargo fmt --all

bench: SECONDS = 10
bench: CONNECTIONS = 5000
bench: ROWS =
bench: RUNS =
bench: BEFORE =
bench: build ## the gateway beside socket.io on Node and the floor, e.g. make bench ROWS="1 4" SECONDS=20 BEFORE=/other/gateway
	npm ci --prefix loadtest/bench --no-audit --no-fund
	node loadtest/bench/run.mjs --seconds "$(SECONDS)" --connections "$(CONNECTIONS)" --rows "$(ROWS)" \
		--runs "$(RUNS)" --before "$(BEFORE)"

bench-flood: build ## what the others notice of a client that sends 100 times what it may
	loadtest/bench-flood.sh

bench-presence: MEMBERS = 5000
bench-presence: ROOMS = 50
bench-presence: SECONDS = 60
bench-presence: build ## who is counted on three nodes, two of which die, e.g. make bench-presence MEMBERS=1000 ROOMS=10 SECONDS=30
	MEMBERS=$(MEMBERS) ROOMS=$(ROOMS) ROUND_SECONDS=$(SECONDS) loadtest/bench-presence.sh

bench-flaky: tools build ## what clients lose when their network fails: the gateway and npm's socket.io
	npm ci --prefix loadtest/flaky --no-audit --no-fund
	node loadtest/flaky/run.mjs compare

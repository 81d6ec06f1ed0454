# What a developer types. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CLIENTS := gateway/tests/clients
BROWSER := gateway/tests/browser
WEB := gateway/web
# The programs that the tests run, which are built with them: they are quick enough, and check themselves.
PROGRAMS := $(CURDIR)/target/debug
TESTED := GATEWAY_BIN=$(PROGRAMS)/gateway SWARM_BIN=$(PROGRAMS)/swarm
# What is no default, and is in releases and in what is tested. One test has a build without any of it, see test-rust.
ALL := --features traces
# The pages and the official client for browsers, which the gateway embeds; what they are made with, and from.
PAGES := $(WEB)/dist/site/index.html
WEB_PACKAGES := $(WEB)/node_modules/.package-lock.json
WEB_SOURCES := $(shell find $(WEB)/src $(WEB)/public $(WEB)/console -type f) $(WEB)/index.html $(wildcard $(WEB)/*.ts $(WEB)/*.json)

# Whose configurations are in deploy/proxies.
PROXIES := haproxy nginx nginx-before-1.29 caddy

.PHONY: help run web cluster demo test tools build test-ready test-programs test-web test-rust test-clients test-browser test-go test-python \
	test-load test-k6 test-redis test-deploy test-kubernetes-renders test-kubernetes test-proxies test-compose-short test-compose test-systemd \
	image test-image deb test-deb test-reproducible $(addprefix test-proxy-,$(PROXIES)) \
	 kubernetes-golden dashboards pictures-dashboards rehearse test-upgrade chaos \
	chaos-failovers chaos-jobs chaos-two-redis fuzz-api check fmt audit bench bench-api bench-archive bench-comeback bench-flood bench-jobs bench-k6 bench-presence \
	bench-flaky bench-store bench-plan simulate bench-passing test-balance bench-redis

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-25s%s\n", $$1, $$2 }'

run: $(PAGES) ## one node without Redis on http://127.0.0.1:3000
	cargo run --release --locked --package gateway

web: $(WEB_PACKAGES) ## the pages as they are being changed, in front of a node that runs; NODE_URL and ADMIN_URL say where else it is
	npm run --prefix $(WEB) dev

cluster: build ## three nodes, Redis and HAProxy on http://127.0.0.1:8080; Ctrl-C ends them
	deploy/local/cluster.sh

demo: build ## a cluster that breaks while you look at it in two tabs
	node deploy/local/demo.mjs

test: test-ready test-web test-rust test-clients test-browser test-python test-load test-k6 test-deploy ## everything, after installing what it needs

# What is fetched and what is compiled wait for different things.
test-ready:
	$(MAKE) -j2 tools test-programs

test-programs: $(PAGES)
	cargo build --locked --workspace --all-targets $(ALL)

tools: ## install what the tests need
	.ci/tools

build: $(PAGES)
	cargo build --release --locked $(ALL)

$(PAGES): $(WEB_PACKAGES) $(WEB_SOURCES)
	npm run --prefix $(WEB) --silent build
	@touch $@

$(WEB_PACKAGES): $(WEB)/package-lock.json
	npm ci --prefix $(WEB) --ignore-scripts --no-audit --no-fund
	@touch $@

test-rust: test-programs ## unit, contract, cluster and edge tests
	cargo test --locked --workspace $(ALL) --no-fail-fast
	cargo test --locked --workspace --no-default-features --test structure without_
	@# The program that the others run is there with all features again.
	cargo build --locked --workspace --all-targets $(ALL)

test-web: $(WEB_PACKAGES) ## what the pages know, without a browser
	npm test --prefix $(WEB)

test-clients: test-programs ## clients in JavaScript, Java, Go and Rust against nodes behind HAProxy and nginx
	$(TESTED) npm test --prefix $(CLIENTS)

test-browser: test-programs ## the pages in a browser; PICTURES=folder keeps pictures of them
	$(TESTED) npm test --prefix $(BROWSER)

test-go: tools test-programs ## a client in Go, which fails by itself now and then
	$(TESTED) TEST_GO=1 node --test --test-name-pattern=Go $(CLIENTS)/languages.test.mjs

test-python: test-programs ## python-socketio against three nodes behind HAProxy; the HTTP API against its contract
	$(TESTED) .tools/venv/bin/python -m unittest discover -s $(CLIENTS)

test-load: test-programs ## k6, crowds and slow clients against one node; the names in dashboards and rules against its metrics
	$(TESTED) .ci/test-load

test-k6: test-programs ## every k6 scenario shortened, what makes them fail, their results and their names in Prometheus
	$(TESTED) .ci/test-k6

test-deploy: test-kubernetes-renders test-proxies test-compose-short test-systemd ## configurations that other programs read; dashboards, alerts and their tests
	PATH=$$PATH:/usr/sbin HAPROXY_COOKIE_KEY=check haproxy -c -f deploy/compose/haproxy.cfg
	promtool check config --syntax-only deploy/compose/prometheus.yml
	python3 grafana/check.py

dashboards: ## make grafana/dashboards of grafana/boards
	python3 grafana/build.py

pictures-dashboards: PICTURES = target/dashboards
pictures-dashboards: tools test-programs ## every panel drawn over nine minutes of a cluster with faults; PICTURES=folder says where to
	npm ci --prefix grafana/pictures --ignore-scripts --no-audit --no-fund
	rm -rf "$(PICTURES)/data" "$(PICTURES)/pictures"
	$(TESTED) node grafana/pictures/scene.mjs "$(PICTURES)"
	node grafana/pictures/draw.mjs "$(PICTURES)"

rehearse: CASE =
rehearse: tools test-programs ## runbooks played through: what alerts are for is brought about, and their commands typed; CASE=name for one
	$(TESTED) node grafana/rehearse/rehearse.mjs $(CASE)

# Each in network, mount and process namespaces of its own, so that they are free to be where their configurations say.
test-proxies: ## official clients through HAProxy, nginx and Caddy, as deploy/proxies configures them
	$(MAKE) -j4 --output-sync=target $(addprefix test-proxy-,$(PROXIES))

$(addprefix test-proxy-,$(PROXIES)): test-proxy-%: tools test-programs
	PROXY=$* $(TESTED) deploy/tests/sandbox --if-possible $* node --test deploy/proxies/tests/proxies.test.mjs

# The processes of compose.yaml, without an engine for containers.
test-compose-short: tools test-programs
	$(TESTED) deploy/tests/sandbox --if-possible 'what compose.yaml starts' .tools/venv/bin/python deploy/compose/tests/check.py

test-compose: CLIENTS = 500
test-compose: tools test-programs ## what compose.yaml starts: smoke test, scaling, and all nodes restarted and replaced under 500 clients
	$(TESTED) deploy/tests/sandbox .tools/venv/bin/python deploy/compose/tests/check.py --clients $(CLIENTS)

test-systemd: tools test-programs ## the unit under systemd, as the first process of a sandbox: hardening, reload, restarts, credentials
	$(TESTED) .tools/venv/bin/python deploy/systemd/tests/check.py

image: TAG = gateway:dev
image: $(PAGES) ## the image, compiled here: one static program on nothing; TAG=gateway:dev. Needs Docker or buildah, and musl-tools
	.ci/tools image
	deploy/image/build $(TAG)

deb: $(PAGES) ## the Debian package, into target/debian; needs dpkg-deb
	deploy/release/build
	deploy/deb/build

test-deb: deb ## the package installed, upgraded, removed and purged in a copy of this machine's root; takes root
	deploy/tests/sandbox deploy/deb/tests/check.py $$(ls -t target/debian/*.deb | head -1)

test-reproducible: $(PAGES) ## the program of a release, built twice in different folders, is the same
	.ci/test-reproducible

test-image: tools ## what `make image` made: its size, its start, and the smoke test where there is nothing else
	deploy/tests/sandbox .tools/venv/bin/python deploy/image/tests/check.py

test-kubernetes-renders: tools test-programs ## the Helm chart rendered anew: golden files, schemas, mistakes that are refused
	$(TESTED) .tools/venv/bin/python deploy/kubernetes/tests/check.py

# Not a part of `test`: what it needs takes a quarter of an hour to build, once.
test-kubernetes: ## the Helm chart in a real cluster without machines; CHECKS="install upgrade" runs only these
	.ci/tools kubernetes
	.tools/venv/bin/python deploy/kubernetes/tests/check_cluster.py $(CHECKS)

kubernetes-golden: tools test-programs ## write the chart's golden files, its copies of alerts and dashboards, and its table of values anew
	$(TESTED) .tools/venv/bin/python deploy/kubernetes/tests/check.py --write

test-redis: tools test-programs ## what rests on Redis on a Valkey instead; and that a Redis which is too old is refused
	$(TESTED) .ci/test-redis

test-balance: CLIENTS = 2000
test-balance: ## nodes that join, drain, die and restart under 2,000 clients behind HAProxy; e.g. make test-balance CLIENTS=500
	BALANCE_CLIENTS=$(CLIENTS) cargo test --locked --workspace $(ALL) --test cluster -- --ignored --nocapture balance::at_length

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

chaos-two-redis: SECONDS = 120
chaos-two-redis: SEED =
chaos-two-redis: ## the auditor where what is audited has a Redis of its own beside the main one, e.g. make chaos-two-redis SEED=7
	CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) CHAOS_TWO_REDIS=1 \
		cargo test --locked --workspace $(ALL) --test chaos -- --nocapture whatever_fails

chaos-jobs: SECONDS = 1200
chaos-jobs: SEED =
chaos-jobs: SENTINELS =
chaos-jobs: ## the auditor of jobs at length, e.g. make chaos-jobs SECONDS=600 SEED=7 SENTINELS=1
	CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) CHAOS_SENTINELS=$(SENTINELS) \
		cargo test --release --locked --workspace --test chaos -- --nocapture every_job_is_done

bench-jobs: ## jobs per second with concurrency 16, and what an idle queue costs
	cargo test --release --locked --workspace --test contract -- --ignored --nocapture jobs::measured

fuzz-api: SECONDS = 600
fuzz-api: tools test-programs ## schemathesis against the HTTP API at length, e.g. make fuzz-api SECONDS=3600
	$(TESTED) FUZZ_SECONDS=$(SECONDS) .tools/venv/bin/python $(CLIENTS)/test_api_contract.py

# The version before this one: nodes of both serve side by side while a deployment is upgraded. A release moves it.
PREVIOUS = efff90b
test-upgrade: SECONDS = 60
test-upgrade: ## the auditor over nodes of this version and of the one before, which replace each other
	rm -rf .tools/previous/src && mkdir -p .tools/previous/src
	git archive $(PREVIOUS) | tar -x -m -C .tools/previous/src
	cd .tools/previous/src && CARGO_TARGET_DIR=../target cargo build --locked --package gateway
	CHAOS_PREVIOUS=$(CURDIR)/.tools/previous/target/debug/gateway CHAOS_SECONDS=$(SECONDS) CHAOS_FAULT_EVERY=6 \
		cargo test --locked --workspace $(ALL) --test chaos -- --nocapture whatever_fails

check: $(WEB_PACKAGES) ## formatting, lints, documentation, dependencies: as strict as it gets
	npm run --prefix $(WEB) --silent check
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets $(ALL) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace $(ALL) --no-deps --document-private-items
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

bench-api: SECONDS = 10
bench-api: RUNS = 3
bench-api: BEFORE =
bench-api: tools build ## what publishing over HTTP costs, beside Centrifugo, e.g. make bench-api SECONDS=5 RUNS=1 BEFORE=/other/gateway
	loadtest/centrifugo/build.sh
	node loadtest/bench/api.mjs --seconds "$(SECONDS)" --runs "$(RUNS)" --before "$(BEFORE)"

bench-archive: SECONDS = 10
bench-archive: RUNS = 3
bench-archive: BEFORE =
bench-archive: tools build ## what the archive costs publishing, and what that notices of a database that is away
	node loadtest/bench/archive.mjs --seconds "$(SECONDS)" --runs "$(RUNS)" --before "$(BEFORE)"

bench-passing: SECONDS = 5
bench-passing: RUNS = 3
bench-passing: build ## what a request costs that reaches another node than its client's
	node loadtest/bench/passing.mjs --seconds "$(SECONDS)" --runs "$(RUNS)"

bench-k6: RESULTS = $(CURDIR)/target/bench-k6
bench-k6: SCENARIOS =
bench-k6: BEFORE =
bench-k6: tools build ## every k6 scenario against one node; RESULTS=folder keeps what they found, BEFORE=folder compares with another run
	node loadtest/bench/k6.mjs --results "$(RESULTS)" --scenarios "$(SCENARIOS)" --before "$(BEFORE)"

bench-flood: build ## what the others notice of a client that sends 100 times what it may
	loadtest/bench-flood.sh

bench-comeback: CONNECTIONS = 19500
bench-comeback: SPREAD =
bench-comeback: build ## how long it takes until everybody of a node that was killed is back, e.g. make bench-comeback CONNECTIONS=6000 SPREAD=1
	CONNECTIONS=$(CONNECTIONS) SPREAD=$(SPREAD) loadtest/bench-comeback.sh

# BENCH_PROFILE=debug measures what the tests built: whether this works, and no figure that means anything.
bench-plan: SECONDS = 10
bench-plan: RUNS = 2
bench-plan: LOAD = 1
bench-plan: MEASURED =
bench-plan: $(if $(filter debug,$(BENCH_PROFILE)),test-programs,build) ## `gateway plan` against three loads, within 20 %, e.g. make bench-plan SECONDS=20 MEASURED=/tmp/measured.json
	node loadtest/bench/plan.mjs --seconds "$(SECONDS)" --runs "$(RUNS)" --load "$(LOAD)" --measured "$(MEASURED)"

simulate: SEED = 7
simulate: ARGS =
simulate: ## a log in partitions, simulated and audited: the table of docs/scaling.md, e.g. make simulate SEED=7 ARGS="--scale small"
	cargo run --quiet --locked --package simulate -- --seed "$(SEED)" $(ARGS)

bench-presence: MEMBERS = 5000
bench-presence: ROOMS = 50
bench-presence: SECONDS = 60
bench-presence: build ## who is counted on three nodes, two of which die, e.g. make bench-presence MEMBERS=1000 ROOMS=10 SECONDS=30
	MEMBERS=$(MEMBERS) ROOMS=$(ROOMS) ROUND_SECONDS=$(SECONDS) loadtest/bench-presence.sh

bench-redis: SECONDS = 10
bench-redis: RUNS = 3
bench-redis: NODES = 2
bench-redis: build ## two namespaces in one Redis, and each in its own, e.g. make bench-redis SECONDS=5 RUNS=1 NODES=3
	node loadtest/bench/redis.mjs --seconds "$(SECONDS)" --runs "$(RUNS)" --nodes "$(NODES)"

bench-flaky: tools build ## what clients lose when their network fails: the gateway and npm's socket.io
	npm ci --prefix loadtest/flaky --no-audit --no-fund
	node loadtest/flaky/run.mjs compare

bench-store: EVENTS = 1000000
bench-store: tools ## what each database takes, how late it is, and how long pages take, e.g. make bench-store EVENTS=100000
	BENCH_EVENTS=$(EVENTS) cargo test --release --locked --workspace --test contract -- --ignored --nocapture --test-threads=1 measured

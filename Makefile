# Wattbook. `make demo` does the main job, `make test` proves it; both do all their set-up and say what they do.

CARGO ?= cargo
SEED ?= 1
MINUTES ?= 10

.PHONY: help setup demo demo-cluster test soak bench bench-book bench-ledger bench-feed bench-consensus bench-gpu bench-gpu-build clean

help:
	@echo 'make demo        build, then run one real day of a real grid (SEED=$(SEED))'
	@echo 'make demo-cluster the same day on four delegates and a standby, five processes; the leader is killed at noon'
	@echo 'make test        formatting, lints and every test; counts what it had to skip'
	@echo 'make soak        fuzzing, kills, flips and simulation for MINUTES=$(MINUTES); totals in perf/results/soak.jsonl'
	@echo 'make bench       criterion: what an operation costs, room by room'
	@echo 'make bench-book  the book beside the least a book can cost and beside other books, one JSON line a figure and rival'
	@echo 'make bench-gpu   the batch verifier on the processor and on a graphics processor, beside blst and bare SHA-256'
	@echo 'make bench-gpu-build  the same as a folder that needs neither Rust nor network: target/bench-gpu/bench-gpu'
	@echo 'make bench-ledger what a ledger costs its node: appends, commits, replay, export, restart, proof; one JSON line a figure'
	@echo 'make bench-consensus delegates as processes: finality, takeover, throughput, catching up, the light client; one JSON line a figure'
	@echo 'make bench-feed  clients against a running node: what a user gets, one JSON line a figure, and a report to look at'

setup:
	@bash .ci/setup

demo: setup
	@echo '== building the node (release)'
	$(CARGO) build --release --locked -p wattbook-node
	@echo '== running the day'
	@target/release/wattbook demo --seed $(SEED)

demo-cluster: setup
	@echo '== building the node (release)'
	$(CARGO) build --release --locked -p wattbook-node
	@echo '== running the day on five nodes'
	@target/release/wattbook demo --cluster --seed $(SEED)

test: setup
	@bash .ci/test

soak: setup
	@echo '== building the node and the soak runner (release speed, assertions on)'
	$(CARGO) build --profile soak --locked -p wattbook-node -p wattbook-perf
	@target/soak/wattbook-soak --minutes $(MINUTES)

bench: setup
	$(CARGO) bench --locked -p wattbook-benches

bench-book: setup
	@echo '== building the book bench and its rivals (release)'
	$(CARGO) build --release --locked -p wattbook-bench-book --features rivals
	@echo '== base, rivals and ours in turn on the same operations; leave the machine alone'
	@target/release/bench-book --seed 42

bench-ledger: setup
	@echo '== the ledger beside the disk it lies on; leave the machine alone'
	$(CARGO) bench --locked -p wattbook-ledger --bench figures -- --out $(CURDIR)/perf/results/ledger.jsonl
	@echo '== building the node and the ledger bench (release)'
	$(CARGO) build --release --locked -p wattbook-bench-ledger
	@echo '== ledgers of up to 5 GB in the temporary folder (TMPDIR); leave the machine alone'
	@target/release/bench-ledger

# FLOW: recorded order events that shape the peak hour, a CSV with a column t_ms, gzip or not.
bench-feed: setup
	@echo '== building the node and the load generator (release)'
	$(CARGO) build --release --locked -p wattbook-node -p wattbook-perf
	@echo '== a node under load; leave the machine alone'
	@target/release/wattbook-perf ingest --out perf/results/feed.jsonl
	@target/release/wattbook-perf crowd --out perf/results/feed.jsonl
	@target/release/wattbook-perf attack --out perf/results/feed.jsonl
	@target/release/wattbook-perf feed --out perf/results/feed.jsonl --report target/bench-feed $(if $(FLOW),--flow $(FLOW))

bench-consensus: setup
	@echo '== building the node and the load generator (release)'
	$(CARGO) build --release --locked -p wattbook-node -p wattbook-perf
	@echo '== 4, 7 and 21 delegates on this machine; leave it alone'
	@target/release/wattbook-perf consensus --out perf/results/consensus.jsonl

bench-gpu: setup
	@echo '== building the node (release)'
	$(CARGO) build --release --locked -p wattbook-node
	@WATTBOOK=target/release/wattbook perf/bench-gpu perf/results

# A folder that runs where there is no Rust and no network: portable x86-64, stripped, inputs derived.
bench-gpu-build:
	$(CARGO) build --release --locked -p wattbook-node
	@rm -rf target/bench-gpu && mkdir -p target/bench-gpu
	@strip -o target/bench-gpu/wattbook target/release/wattbook
	@cp perf/bench-gpu target/bench-gpu/
	@git describe --always --exclude='*' --dirty --abbrev=7 > target/bench-gpu/COMMIT
	@du -sk target/bench-gpu | awk '{ print $$2 ": " $$1 " KiB"; exit $$1 > 65536 }'

clean:
	$(CARGO) clean

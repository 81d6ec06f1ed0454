#!/usr/bin/env bash
# Measures one embedded node: resident memory per idle connection at 5,000, CPU per delivery at 200 events/s into rooms
# of 100. Each on a fresh node, three times; machines are noisy, so read the middle one. In memory; with DISK=1 on disk.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-3}
data=${DISK:+$(mktemp -d)}
node=''
trap '[[ -z $node ]] || kill $node; [[ -z $data ]] || rm -r "$data"' EXIT

fresh_node() {
  [[ -z $node ]] || { kill $node; wait $node || true; }
  GATEWAY_LISTEN=127.0.0.1:3900 GATEWAY_ADMIN_LISTEN=127.0.0.1:3901 GATEWAY_DRAIN__TIMEOUT=1s \
    GATEWAY_DATA_DIR=$data GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS=0 GATEWAY_LIMITS__EVENTS_PER_SECOND=0 \
    GATEWAY_LIMITS__BYTES_PER_SECOND=0 GATEWAY_TELEMETRY__LOG=error \
    target/release/gateway &
  node=$!
  until curl -fsS http://127.0.0.1:3901/readyz >/dev/null 2>&1; do sleep 0.05; done
}

for run in $(seq "$runs"); do
  fresh_node
  echo "== run $run: idle"
  target/release/swarm idle --url http://127.0.0.1:3900 --connections 5000 --hold 10s --connect-rate 1000 --source-addresses 20 --server-pid $node
  fresh_node
  echo "== run $run: rooms"
  target/release/swarm rooms --url http://127.0.0.1:3900 --connections 5000 --room-size 100 --rate 200 --bytes 100 --seconds 20 --source-addresses 20 --server-pid $node
done

#!/usr/bin/env bash
# Whether a client that sends 100 times what it may is felt by the others: one node with its default limits, 500 polite
# clients in rooms of 20, their p99 in calm and flood by turns. Ends with 1 if a flood moved it by more than 20 %.
#
# ATTACKS      which floods (publishes,acked-publishes,bytes,joins,connects)
# WINDOWS      windows of 10 s per stretch of calm or flood (6)
# TIMES        how many times its limit the flooder sends (100)
# NICE         niceness of the flooder (0); higher where its own work, not the gateway's, takes the cores
# GATEWAY_BIN  the program (target/release/gateway of this repository); SWARM_BIN likewise
# GATEWAY_...  every other variable of the gateway reaches the node
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${GATEWAY_BIN:-target/release/gateway}
swarm=${SWARM_BIN:-target/release/swarm}
# The gateway refuses variables that it does not know, and this one is ours.
unset GATEWAY_BIN
dir=$(mktemp -d)
node=''
stop() {
  [[ -z $node ]] || { kill "$node" 2>/dev/null || true; wait "$node" 2>/dev/null || true; }
  rm -rf "$dir"
}
trap stop EXIT

# Ports from the system: the node says which ones it got. In memory, so that no disk is measured.
GATEWAY_LISTEN=127.0.0.1:0 GATEWAY_ADMIN_LISTEN=127.0.0.1:0 GATEWAY_DATA_DIR='' GATEWAY_TELEMETRY__FORMAT=json \
  GATEWAY_DRAIN__ANNOUNCE=0s GATEWAY_DRAIN__TIMEOUT=1s "$binary" 2>"$dir/log" &
node=$!
for _ in $(seq 200); do
  ready=$(grep '"message":"ready"' "$dir/log" || true)
  [[ -z $ready ]] || break
  kill -0 $node || { cat "$dir/log" >&2; exit 2; }
  sleep 0.05
done
[[ -n $ready ]] || { echo 'the gateway was not ready within 10 s' >&2; exit 2; }
field() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])["fields"][sys.argv[2]])' "$ready" "$1"; }

code=0
# The polite clients have addresses of their own, because the limit on handshakes is per address.
"$swarm" neighbours --url "http://$(field address)" --server-pid $node --source-addresses 20 \
  --attacks "${ATTACKS:-publishes,acked-publishes,bytes,joins,connects}" --windows "${WINDOWS:-6}" \
  --times "${TIMES:-100}" --flooder-nice "${NICE:-0}" "$@" || code=$?
echo 'refusals and limits, as the gateway counted them:'
curl -fsS "http://$(field admin)/metrics" | grep -E '^gateway_(refusals|rate_limit|handshakes|connections_closed)' | grep -v ' 0$' || true
exit $code

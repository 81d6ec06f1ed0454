#!/usr/bin/env bash
# Whether everybody in a room is counted, and nobody else: three nodes behind one Redis, 5,000 users in one room and in 50
# smaller ones, who come, go, flap, lose their connections, and lose two nodes to SIGKILL. Ends with 1 if a count was wrong,
# came right too late, or a coming or going was told twice or never.
#
# MEMBERS      users, one connection each (5000)
# ROOMS        smaller rooms (50, at most 90)
# ROUND_SECONDS  how long they come and go (60); a round takes about half a minute, and there is at least one
# GATEWAY_BIN  the program (target/release/gateway of this repository); SWARM_BIN likewise
# KEEP_DIR=1   keep the directory with the logs
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$(realpath "${GATEWAY_BIN:-target/release/gateway}")
swarm=${SWARM_BIN:-target/release/swarm}
# The gateway refuses variables that it does not know, and this one is ours.
unset GATEWAY_BIN
command -v redis-server >/dev/null || { echo 'not installed: redis-server. sudo apt-get install -y redis-server' >&2; exit 2; }
dir=$(mktemp -d)
pids=()
stop() {
  # Two of them are dead already, if all went as it should.
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do { wait "$pid" || true; } 2>/dev/null; done
  if [[ ${KEEP_DIR:-} ]]; then echo "logs are in $dir" >&2; else rm -rf "$dir"; fi
}
trap stop EXIT

# Nobody in the rooms hears of comings and goings, or 5,000 joins would be 12 million deliveries: another room does.
cat >"$dir/gateway.toml" <<'TOML'
[[route]]
event = "presence"
action = "presence"
room = "{arg.room}"
allow = ["anyone"]

[[route]]
event = "$join"
action = "publish"
room = "watch/{room}"
emit = "joined"
args = ["{user.id}", "{room}"]

[[route]]
event = "$leave"
action = "publish"
room = "watch/{room}"
emit = "left"
args = ["{user.id}", "{room}"]
TOML

# A port that another process takes between choosing and using it ends the server: then another is tried.
for _ in $(seq 10); do
  redis_port=$((20000 + RANDOM % 12000))
  redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly no >"$dir/redis.log" 2>&1 &
  redis=$!
  for _ in $(seq 100); do
    ! grep -qi 'ready to accept connections' "$dir/redis.log" || break 2
    kill -0 $redis 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL $redis 2>/dev/null || true
  redis=''
done
[[ $redis ]] || { cat "$dir/redis.log" >&2; exit 2; }
pids+=("$redis")

SWARM_SECRET=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export SWARM_SECRET
field() { python3 -c 'import json, sys; print(json.loads(sys.argv[1])["fields"][sys.argv[2]])' "$ready" "$1"; }
arguments=()
for name in node-1 node-2 node-3; do
  # Ports from the system: the node says which ones it got. Rates are not what is measured here.
  GATEWAY_NODE_NAME=$name GATEWAY_LISTEN=127.0.0.1:0 GATEWAY_ADMIN_LISTEN=127.0.0.1:0 \
    GATEWAY_REDIS_URL=redis://127.0.0.1:$redis_port GATEWAY_AUTH__SECRET=$SWARM_SECRET \
    GATEWAY_TELEMETRY__FORMAT=json GATEWAY_LIMITS__EVENTS_PER_SECOND=0 \
    GATEWAY_LIMITS__HANDSHAKES_PER_SECOND_PER_ADDRESS=0 \
    "$binary" --config "$dir/gateway.toml" 2>"$dir/$name.log" >&2 &
  node=$!
  pids+=("$node")
  # Two of them will be killed, and bash would report it in its own words.
  disown "$node"
  ready=''
  for _ in $(seq 200); do
    ready=$(grep '"message":"ready"' "$dir/$name.log" || true)
    [[ -z $ready ]] || break
    kill -0 $node || { cat "$dir/$name.log" >&2; exit 2; }
    sleep 0.05
  done
  [[ $ready ]] || { echo "$name was not ready within 10 s" >&2; exit 2; }
  arguments+=(--url "http://$(field address)" --kill-pid "$node")
done

"$swarm" presence "${arguments[@]}" --members "${MEMBERS:-5000}" --rooms "${ROOMS:-50}" \
  --seconds "${ROUND_SECONDS:-60}" --watch --source-addresses 20 "$@"

#!/usr/bin/env bash
# Runs a cluster on this machine as plain processes on loopback: Redis, gateway nodes, HAProxy in front.

set -euo pipefail

usage() {
  cat <<'TEXT'
usage: cluster.sh [--json] [--embedded]

  --json      say everything in lines of JSON; standard input is the control channel and its end is the end
  --embedded  one node behind HAProxy, without Redis

environment:
  NODES        how many nodes (3)
  PORT         where HAProxy listens (8080); 0 picks a free port
  REDIS_PORT   where Redis listens (0: picks a free port)
  GATEWAY_BIN  the program (target/release/gateway of this repository)
  GATEWAY_...  every other variable of the gateway reaches the nodes
  KEEP_DIR=1   keep the directory with logs and data afterwards
TEXT
}

json='' embedded=''
for argument in "$@"; do
  case $argument in
    --json) json=1 ;;
    --embedded) embedded=1 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 64 ;;
  esac
done

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
nodes=${NODES:-3}
port=${PORT:-8080}
redis_port=${REDIS_PORT:-0}
binary=${GATEWAY_BIN:-$here/../../target/release/gateway}
# The gateway refuses variables that it does not know, and this one is ours.
unset GATEWAY_BIN
# Debian installs HAProxy where only root's PATH looks.
PATH=$PATH:/usr/sbin:/sbin

ready_seconds=20  # for a process to come up
stop_seconds=5    # for a process to go away before it is killed

dir=''            # logs, data, the generated configuration
keep_dir=${KEEP_DIR:-}
starting=1
declare -A pid_of=() admin_port_of=() client_port_of=()
names=()          # in the order of starting

# --- what is said -------------------------------------------------------------------------------------------

say() { [[ $json ]] || printf '%s\n' "$*" || true; }

# A reader that has gone away must not end the cluster half way through: standard input decides that.
emit() { [[ ! $json ]] || printf '%s\n' "$*" 2>/dev/null || true; }

quoted() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

complain() {
  printf 'cluster: %s\n' "$*" >&2
  emit "{\"event\":\"failed\",\"message\":$(quoted "$*")}"
}

give_up() {
  complain "$@"
  exit 1
}

# --- processes ----------------------------------------------------------------------------------------------

# Ctrl-C is for this script, which ends its children in order; and should it be killed without a chance to do
# so, the kernel ends them.
leash=()
if setsid setpriv --pdeathsig KILL -- true 2>/dev/null; then leash=(setsid setpriv --pdeathsig KILL --); fi

launch() { # NAME COMMAND...
  local name=$1
  shift
  mkdir -p "$dir/$name"
  # A node keeps its data in its working directory, and no child may hold on to our own descriptors: the lock
  # would stay taken, and who reads our output would not see its end.
  (
    cd "$dir/$name"
    exec "${leash[@]}" "$@"
  ) >>"$dir/$name.log" 2>&1 </dev/null 3>&- 9>&- &
  pid_of[$name]=$!
}

alive() { [[ ${pid_of[$1]:-} ]] && kill -0 "${pid_of[$1]}" 2>/dev/null; }

ended_with=0
collect() { # NAME: forgets a process that ended, and keeps its exit code
  ended_with=0
  # Silent, because the shell would report a killed child in its own words.
  { wait "${pid_of[$1]}" || ended_with=$?; } 2>/dev/null
  unset "pid_of[$1]"
}

status_of() { # PORT PATH: the status of an HTTP answer, or nothing
  (
    exec 4<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&4
    read -r -t 2 _ status _ <&4 && printf '%s' "$status"
  ) 2>/dev/null
}

answers_200() { [[ $(status_of "$1" "$2") == 200 ]]; }

redis_answers() {
  (
    exec 4<>"/dev/tcp/127.0.0.1/$redis_port" || exit 1
    printf 'PING\r\n' >&4
    read -r -t 2 answer <&4 && [[ $answer == +PONG* ]]
  ) 2>/dev/null
}

# Whether NAME came up: CHECK holds and the process that should have made it hold is still there.
comes_up() { # NAME CHECK...
  local name=$1 deadline=$((SECONDS + ready_seconds))
  shift
  until "$@"; do
    if ! alive "$name"; then
      collect "$name"
      complain "$name ended with code $ended_with before it was ready:" "$(tail -n 5 "$dir/$name.log")"
      return 1
    fi
    if ((SECONDS >= deadline)); then
      complain "$name was not ready within $ready_seconds s:" "$(tail -n 5 "$dir/$name.log")"
      return 1
    fi
    sleep 0.05
  done
  alive "$name" || { complain "somebody else answers in place of $name"; return 1; }
}

launch_redis() {
  # Everything is on disk when it stops in an orderly way, so that it can be stopped and started again.
  launch redis redis-server --port "$redis_port" --bind 127.0.0.1 --daemonize no --dir "$dir/redis" \
    --appendonly yes --save '' --maxmemory 1gb --maxmemory-policy noeviction
}

launch_node() { # NAME
  local name=$1
  launch "$name" env \
    GATEWAY_NODE_NAME="$name" \
    GATEWAY_LISTEN="127.0.0.1:${client_port_of[$name]}" \
    GATEWAY_ADMIN_LISTEN="127.0.0.1:${admin_port_of[$name]}" \
    GATEWAY_REDIS_URL="$redis_url" \
    GATEWAY_DATA_DIR="${GATEWAY_DATA_DIR-$dir/data}" \
    GATEWAY_TRUSTED_PROXIES="${GATEWAY_TRUSTED_PROXIES-127.0.0.1/32}" \
    "$binary"
}

launch_haproxy() { launch haproxy haproxy -db -f "$dir/haproxy.cfg"; }

launch_by_name() {
  case $1 in
    redis) launch_redis ;;
    haproxy) launch_haproxy ;;
    *) launch_node "$1" ;;
  esac
}

is_up() {
  case $1 in
    redis) comes_up redis redis_answers ;;
    haproxy) comes_up haproxy answers_200 "$port" /haproxy/ready ;;
    *) comes_up "$1" answers_200 "${admin_port_of[$1]}" /readyz ;;
  esac
}

end_processes() { # NAME...: asks, waits, then insists
  local name pids=() deadline=$((SECONDS + stop_seconds))
  for name in "$@"; do
    alive "$name" || continue
    pids+=("${pid_of[$name]}")
    # One that was stopped by a signal has to run to hear that it should end.
    kill -TERM "${pid_of[$name]}" 2>/dev/null || true
    kill -CONT "${pid_of[$name]}" 2>/dev/null || true
  done
  local pid
  for pid in "${pids[@]}"; do
    while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.02; done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}

clean_up() {
  local code=$?
  # A second Ctrl-C must not cut this short.
  trap '' INT TERM HUP
  trap - EXIT
  set +e
  # From the outside in, so that nobody loses what it still needs and logs the loss.
  end_processes haproxy
  end_processes "${names[@]}"
  end_processes redis
  if [[ $dir ]]; then
    if [[ $keep_dir || ($starting && $code -ne 0) ]]; then
      printf 'cluster: logs are in %s\n' "$dir" >&2
    else
      rm -rf -- "$dir"
    fi
  fi
  exit "$code"
}

# --- ports --------------------------------------------------------------------------------------------------

listens() { (exec 4<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Whether any socket has the port, in whatever state; where the kernel does not show them, whether one listens.
in_use() {
  local hex
  hex=$(printf ':%04X' "$1")
  grep -qsE "^ *[0-9]+: [0-9A-F]+$hex " /proc/net/tcp /proc/net/tcp6 || listens "$1"
}

picked=' '
pick_port() { # VARIABLE
  local candidate
  while :; do
    # Below the range that the kernel gives to outgoing connections: there, one of them could take the port
    # between this look and the bind.
    candidate=$((20000 + RANDOM % 12000))
    [[ $picked == *" $candidate "* ]] && continue
    in_use "$candidate" && continue
    picked+="$candidate "
    printf -v "$1" %s "$candidate"
    return
  done
}

# Two of these scripts that start at once must not pick the same port: the lock is held until all ports are bound.
hold_port_lock() {
  command -v flock >/dev/null || return 0
  exec 9>"${TMPDIR:-/tmp}/gateway-local-$(id -u).lock"
  flock -w 120 9 || give_up 'another cluster.sh has been starting for two minutes'
}

# --- start --------------------------------------------------------------------------------------------------

[[ $nodes =~ ^[1-9][0-9]?$ ]] || give_up "NODES must be 1 to 99, not '$nodes'"
[[ $port =~ ^[0-9]+$ && $redis_port =~ ^[0-9]+$ ]] || give_up 'PORT and REDIS_PORT must be numbers'
[[ ! $embedded ]] || nodes=1

tools=(haproxy)
[[ $embedded ]] || tools+=(redis-server)
missing=()
for tool in "${tools[@]}"; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
((${#missing[@]} == 0)) || give_up "not installed: ${missing[*]}. sudo apt-get install -y ${missing[*]}"
[[ -x $binary ]] || give_up "there is no program at $binary: build it (cargo build --release) or set GATEWAY_BIN"
binary=$(realpath -- "$binary")

# HAProxy holds two descriptors per client, a node one; more than this only costs HAProxy memory.
wanted=65536
hard=$(ulimit -Hn)
[[ $hard == unlimited ]] || ((hard > wanted)) || wanted=$hard
ulimit -Sn "$wanted"

hold_port_lock
((port)) || pick_port port
! listens "$port" || give_up "port $port is taken: set PORT"
if [[ $embedded ]]; then
  redis_url=''
else
  ((redis_port)) || pick_port redis_port
  ! listens "$redis_port" || give_up "port $redis_port is taken: set REDIS_PORT"
  redis_url="redis://127.0.0.1:$redis_port"
fi

trap clean_up EXIT
trap 'exit 0' INT TERM HUP
trap : PIPE
dir=$(mktemp -d "${TMPDIR:-/tmp}/gateway-cluster.XXXXXX")

if [[ ! $embedded ]]; then
  launch_redis
  is_up redis || exit 1
fi

servers=''
for ((i = 1; i <= nodes; i++)); do
  name=node-$i
  names+=("$name")
  pick_port "client_port_of[$name]"
  pick_port "admin_port_of[$name]"
  servers+="    server $name 127.0.0.1:${client_port_of[$name]} cookie $name port ${admin_port_of[$name]}"$'\n'
  launch_node "$name"
done
for name in "${names[@]}"; do is_up "$name" || exit 1; done

template=$(<"$here/haproxy.cfg.template")
template=${template//@PORT@/$port}
printf '%s\n' "${template//@SERVERS@/$servers}" >"$dir/haproxy.cfg"
launch_haproxy
is_up haproxy || exit 1
exec 9>&-
starting=''

# --- say where everything is --------------------------------------------------------------------------------

described=''
for name in "${names[@]}"; do
  described+="${described:+,}{\"name\":\"$name\",\"pid\":${pid_of[$name]}"
  described+=",\"url\":\"http://127.0.0.1:${client_port_of[$name]}\""
  described+=",\"admin\":\"http://127.0.0.1:${admin_port_of[$name]}\""
  described+=",\"log\":$(quoted "$dir/$name.log")}"
done
redis_fields=',"redis_port":null,"redis_pid":null'
[[ $embedded ]] || redis_fields=",\"redis_port\":$redis_port,\"redis_pid\":${pid_of[redis]}"
front_fields="\"url\":\"http://127.0.0.1:$port\",\"haproxy_port\":$port,\"haproxy_pid\":${pid_of[haproxy]}"
emit "{$front_fields$redis_fields,\"nodes\":[$described],\"dir\":$(quoted "$dir")}"

say "cluster    http://127.0.0.1:$port   (Ctrl-C ends it)"
[[ $embedded ]] || say "redis      $redis_url"
for name in "${names[@]}"; do
  say "$name     http://127.0.0.1:${client_port_of[$name]}   admin http://127.0.0.1:${admin_port_of[$name]}/metrics"
done
say "logs       $dir"

# --- until the end ------------------------------------------------------------------------------------------

report_ended() {
  local name
  for name in "${!pid_of[@]}"; do
    alive "$name" && continue
    collect "$name"
    emit "{\"event\":\"ended\",\"name\":\"$name\",\"code\":$ended_with}"
    say "$name ended with code $ended_with; to start it again: echo start $name > $dir/control"
  done
}

known() { [[ $1 == haproxy || (! $embedded && $1 == redis) || ${client_port_of[$1]:-} ]]; }

obey() { # start NAME
  local verb=$1 name=${2:-none}
  if [[ $verb != start ]] || ! known "$name"; then
    complain "the only order is: start NAME, where NAME is redis, haproxy or a node"
  elif alive "$name"; then
    complain "$name is running"
  else
    launch_by_name "$name"
    is_up "$name" || return 0
    emit "{\"event\":\"started\",\"name\":\"$name\",\"pid\":${pid_of[$name]}}"
    say "$name is back"
  fi
}

if [[ $json ]]; then
  exec 3<&0
else
  mkfifo "$dir/control"
  # Opened for both, so that it does not end with the first who writes to it.
  exec 3<>"$dir/control"
fi

order=''
while :; do
  code=0
  IFS= read -r -t 0.2 -u 3 part || code=$?
  # When its time is over in the midst of a line, it has what came so far.
  order+=$part
  report_ended
  # More than 128: nothing was said in time. Anything else: whoever held the other end is gone, and we go too.
  if ((code == 0)); then
    read -r verb name <<<"$order"
    order=''
    [[ ! $verb ]] || obey "$verb" "$name"
  elif ((code <= 128)); then
    exit 0
  fi
done

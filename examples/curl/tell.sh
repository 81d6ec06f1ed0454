#!/usr/bin/env bash
# Tells a room something by curl, once however often it has to try: tell.sh ROOM EVENT DATA ID, where DATA is JSON.
#
# REALTIME_URL  where the gateway is (http://127.0.0.1:3000)
# REALTIME_KEY  a key of it whose scopes have `publish`
set -euo pipefail
(($# == 4)) || { sed -n '2s/^# //p' "$0" >&2; exit 64; }
room=$1 event=$2 data=$3 id=$4
: "${REALTIME_KEY:?is not set}"

# Names in paths are percent-encoded, byte by byte.
encoded() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g'; }
# Texts in JSON: curl has no help for it, and these have no control characters.
quoted() { local text=${1//\\/\\\\}; printf '"%s"' "${text//\"/\\\"}"; }

answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
# Lost connections, 408, 429 and 5xx are tried again, after what Retry-After says; with --fail, curl would try again whatever was
# refused. The key is read from a file that only this process has: arguments can be seen by everybody on the machine.
status=$(curl --silent --show-error --retry 5 --retry-all-errors --max-time 5 \
  --header @<(printf 'Authorization: Bearer %s\n' "$REALTIME_KEY") \
  --header 'Content-Type: application/json' --data "{\"event\": $(quoted "$event"), \"data\": $data, \"id\": $(quoted "$id")}" \
  --output "$answer" --write-out '%{http_code}' \
  "${REALTIME_URL:-http://127.0.0.1:3000}/api/v1/rooms/$(encoded "$room")/events")
if [[ $status != 201 ]]; then
  cat "$answer" >&2
  exit 1
fi
cat "$answer"
echo

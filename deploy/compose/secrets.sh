#!/bin/sh
# Makes the secrets of the cluster, each a file, where there are none yet. Delete one and run it again to have a new one.
#   secrets.sh [FOLDER]    ./secrets beside this script by default, as compose.yaml expects them
set -eu
umask 022
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
# The files are read by the users of the containers, who are nobody here; so it is the folder that keeps others out.
chmod 700 "$folder"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Nodes are Redis's only user; who does not log in may ask whether it is there, for the health check.
if [ ! -e "$folder/redis_url" ] || [ ! -e "$folder/redis_users" ]; then
  password=$(random)
  echo "redis://gateway:$password@redis:6379" >"$folder/redis_url"
  {
    echo "user default on nopass -@all +ping"
    echo "user gateway on >$password ~* &* +@all -@dangerous +info +config|get"
  } >"$folder/redis_users"
fi
[ -e "$folder/admin_token" ] || random >"$folder/admin_token"
# Empty: anybody may come in, without a name.
[ -e "$folder/auth_secret" ] || : >"$folder/auth_secret"
# A piece of HAProxy's configuration, because that reads no files.
[ -e "$folder/haproxy_cookie_key" ] || printf 'global\n    setenv HAPROXY_COOKIE_KEY %s\n' "$(random)" >"$folder/haproxy_cookie_key"

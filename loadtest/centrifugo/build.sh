#!/usr/bin/env bash
# Builds the pinned Centrifugo into .tools/bin, unless it is there. It takes minutes, so only who measures beside it does so.
set -euo pipefail
cd "$(dirname "$0")"
program=$PWD/../../.tools/bin/centrifugo
[[ ! -e $program || go.sum -nt $program ]] || exit 0
# The Go that `.ci/tools` has found or installed.
go=$(command -v go || true)
if [[ -z $go ]] || ! [[ $("$go" env GOVERSION) =~ ^go1\.(2[6-9]|[3-9][0-9]) ]]; then go=$PWD/../../.tools/venv/bin/go; fi
mkdir -p "${program%/*}"
CGO_ENABLED=0 "$go" build -o "$program" github.com/centrifugal/centrifugo/v6

#!/usr/bin/env bash
# Configures (once) and builds one preset. usage: scripts/build.sh PRESET [ninja targets...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
[ -f "build/$preset/build.ninja" ] || cmake --preset "$preset" >"/tmp/odradek-cmake-$preset-$$.log" 2>&1 || {
  cat "/tmp/odradek-cmake-$preset-$$.log" >&2
  exit 1
}
rm -f "/tmp/odradek-cmake-$preset-$$.log"
targets=()
for target in "$@"; do targets+=(--target "$target"); done
cmake --build "build/$preset" "${targets[@]}"

#!/usr/bin/env bash
# Installs the Debian packages that a purpose needs; quick when all are there. usage: scripts/packages.sh build|test
# Needs root or sudo only when something is missing.
set -euo pipefail

build=(g++ cmake ninja-build ccache mold pkg-config libisal-dev zlib1g-dev libzstd-dev liblz4-dev libsnappy-dev libxxhash-dev libfmt-dev
       libspdlog-dev libexpected-dev libabsl-dev nlohmann-json3-dev libcpp-httplib-dev libsqlite3-dev libzookeeper-mt-dev libcli11-dev
       librdkafka-dev libssl-dev python3)
test=(libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev clang-16 libclang-rt-16-dev python3-venv kcat prometheus
      default-jdk-headless maven procps iproute2 libfuse3-dev)

case "${1:-build}" in
  build) wanted=("${build[@]}") ;;
  test) wanted=("${build[@]}" "${test[@]}") ;;
  *) echo "usage: $0 build|test" >&2; exit 2 ;;
esac

command -v dpkg-query >/dev/null || { echo "$0: not a Debian system; install by hand: ${wanted[*]}" >&2; exit 1; }
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
missing=()
for package in "${wanted[@]}"; do
  case "$package" in
    # A JDK or Maven from elsewhere serves as well.
    default-jdk-headless) command -v javac >/dev/null && continue ;;
    maven) command -v mvn >/dev/null && continue ;;
  esac
  grep -qxF "$package" <<<"$have" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "$0: run as root or install sudo; missing packages: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
echo "installing: ${missing[*]}"
# The services of test packages (prometheus) must not start.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
  "${as_root[@]}" chmod +x $policy
  made_policy=1
fi
cleanup() { if [ -n "$made_policy" ]; then "${as_root[@]}" rm -f $policy; fi; }
trap cleanup EXIT
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

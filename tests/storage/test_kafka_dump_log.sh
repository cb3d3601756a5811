#!/usr/bin/env bash
# timeout: 600
# Apache Kafka's dump tool reads every file of partitions that the storage room wrote, checks batches, records and indexes, and finds
# as many records as were appended.
set -u -o pipefail
source_dir=${ODRADEK_SOURCE:-$(cd "$(dirname "$0")/../.." && pwd)}
. "$source_dir/tests/lib/kafka.sh"
version=3.9.2

for writer in "$source_dir"/build/{debug,asan}/bin/storage_test; do [ -x "$writer" ] && break; done
[ -x "$writer" ] || { echo "storage_test is not built"; exit 77; }
command -v java >/dev/null || { echo "java is not installed"; exit 77; }
kafka_home $version >/dev/null || { echo "Apache Kafka cannot be fetched"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ODRADEK_DUMP_DIR=$work "$writer" --gtest_filter='DumpDir.*' >"$work/written" 2>&1 || { cat "$work/written"; exit 1; }
expected=$(grep '^expect ' "$work/written")
[ -n "$expected" ] || { echo "the writer said nothing"; exit 1; }

failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
dump() { kafka_run $version kafka.tools.DumpLogSegments "$@" 2>"$work/stderr"; }

while read -r _ partition start end; do
  folder=$work/data/$partition
  files() { (cd "$folder" && printf "$folder/%s\n" *."$1") 2>/dev/null | grep -v '\*' | paste -sd,; }

  # Batches and records: CRCs, offsets; the records' number.
  dump --deep-iteration --files "$(files log)" >"$work/out" || { fail "$partition: dump of the log"; cat "$work/stderr"; }
  grep -q 'isvalid: false' "$work/out" && fail "$partition: a batch is not valid"
  records=$(grep -c '^| offset:' "$work/out")
  [ "$records" = $((end - start)) ] || fail "$partition: $records records, $((end - start)) expected"

  # Indexes: each entry against the log, and their own sanity.
  indexes="$(files index),$(files timeindex)"
  for check in --verify-index-only --index-sanity-check; do
    dump $check --files "$indexes" >"$work/out" || { fail "$partition: $check"; cat "$work/stderr"; }
    grep -iE 'mismatch|corrupt|out of order|larger than|not found|exception|error' "$work/out" "$work/stderr" | head -5 | grep . && fail "$partition: $check complains"
  done
  dump --files "$indexes" >"$work/out" || fail "$partition: dump of the indexes"
  [ "$end" = "$start" ] || grep -q '^offset: [0-9]* position: [1-9]' "$work/out" || fail "$partition: the offset indexes have no entries"
  grep -iE 'mismatch|corrupt|out of order|larger than' "$work/out" | head -5 | grep . && fail "$partition: the indexes do not fit the log"

  for kind in snapshot txnindex; do
    list=$(files $kind)
    [ -n "$list" ] || continue
    dump --files "$list" >"$work/out" || { fail "$partition: dump of .$kind"; cat "$work/stderr"; }
    case $kind in
      snapshot) grep -q 'producerId: 100 producerEpoch: 1' "$work/out" || fail "$partition: the snapshots do not show producer 100" ;;
      txnindex) grep -q 'producerId: 200' "$work/out" || fail "$partition: the transaction indexes do not show producer 200" ;;
    esac
    grep -qi 'corrupt' "$work/out" "$work/stderr" && fail "$partition: .$kind is corrupt"
  done
  echo "$partition: offsets $start to $end, $(ls "$folder"/*.log | wc -l) segments"
done <<<"$expected"
[ $failures = 0 ]

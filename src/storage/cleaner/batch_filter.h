// What stays of a frame (a v2 batch, a message or a wrapper) when its log is compacted: of each key the record at the offset that the
// map knows, tombstones until their time has come, no aborted records, no records without a key.
// A frame of which everything stays is taken byte for byte; else it is made again in its format and codec with the same offsets.
// v2: the first time a batch with tombstones, or a marker without data before it, is compacted, its delete horizon is set (now +
// delete.retention.ms); they go after it. Older formats: their time comes with that of the segment.
// A v2 batch stays without records where it is the last of a producer (its sequence number), or of the part that is cleaned.
// Rules: Kafka's. Thread: one.
#pragma once

#include <absl/container/flat_hash_map.h>

#include "record/compression.h"
#include "record/frame.h"
#include "storage/cleaner/cleaned_transactions.h"
#include "storage/cleaner/key_offsets.h"
#include "storage/log/types.h"

namespace odradek::storage {

struct FilterRules {
  const KeyOffsets& latest;
  const absl::flat_hash_map<int64_t, LastRecord>& last_records;
  int64_t now_ms = 0;
  int64_t delete_retention_ms = 0;
  Offset end{0};  // of the part that is cleaned
};

struct FilterCounts {
  int64_t records_read = 0;
  int64_t records_kept = 0;
  int64_t records_without_key = 0;
};

class BatchFilter {
 public:
  explicit BatchFilter(const FilterRules& rules) : rules_(rules) {}

  // Of the segment that the next frames come from. `keep_old_tombstones`: the time of those of v0 and v1 has not come.
  void start_segment(const std::vector<AbortedTransaction>& aborted, bool keep_old_tombstones);

  // Appends what stays to `out`. True: not the same bytes. Frames come in the order of the log; their CRC was checked.
  // Errors: those of the readers: the frame cannot be read.
  Result<bool> filter(const record::Frame& frame, Bytes& out);

  // Abort markers that stay with data before them, since the last call: entries of the new txn index.
  std::vector<AbortedTransaction> take_aborted() { return std::exchange(aborted_, {}); }
  const FilterCounts& counts() const { return counts_; }

 private:
  Result<bool> filter_batch(const record::BatchView& batch, Bytes& out);
  Result<bool> filter_messages(const record::MessageView& entry, Bytes& out);
  bool keeps(const std::optional<ByteView>& key, bool has_value, Offset offset, bool keep_tombstone);
  bool is_last_of_producer(const record::BatchHeader& batch) const;

  const FilterRules rules_;
  CleanedTransactions transactions_;
  bool keep_old_tombstones_ = false;
  record::Decompressor decompressor_;
  std::vector<bool> kept_;  // of the records of one frame
  std::vector<AbortedTransaction> aborted_;
  FilterCounts counts_;
};

}  // namespace odradek::storage

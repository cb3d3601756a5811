// Makes one v2 batch: for the broker's own topics, transaction markers, rebuilt batches and the tools.
// Thread: one. Invariants (CHECK): a batch stays below 2^31 bytes, offsets rise.
#pragma once

#include <span>

#include "record/record.h"

namespace odradek::record {

struct BuilderOptions {
  Codec codec = Codec::kNone;
  std::optional<int> level;  // nullopt: the codec's default
  Offset base_offset{0};
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
  ProducerId producer_id = kNoProducer;
  int16_t producer_epoch = kNoProducerEpoch;
  int32_t base_sequence = kNoSequence;
  bool transactional = false;
  bool control = false;
  TimestampType timestamp_type = TimestampType::kCreateTime;
  int64_t log_append_time_ms = kNoTimestamp;   // the max timestamp of a kLogAppendTime batch
  std::optional<int64_t> delete_horizon_ms;    // set by the cleaner: becomes the base timestamp
};

class BatchBuilder {
 public:
  explicit BatchBuilder(const BuilderOptions& options);

  // The next record; its offset is one above the former's.
  void append(int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value, std::span<const HeaderView> headers = {});
  // The same at a given offset, above the former's: a batch with gaps, as the cleaner leaves them.
  void append_at(Offset offset, int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value,
                 std::span<const HeaderView> headers = {});
  // `headers` as they stand in another record.
  void append_at(Offset offset, int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value, const Headers& headers);

  int32_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  // Size of the batch as it stands, before compression.
  size_t size_in_bytes() const { return kBatchHeaderSize + records_.size(); }

  // The batch ends at this offset although its last record has a smaller one (the cleaner).
  void set_last_offset(Offset offset);

  // The finished batch; the builder is empty again, with the same options.
  Bytes build();

 private:
  void put(Offset offset, int64_t timestamp, std::optional<ByteView> key, std::optional<ByteView> value, int32_t header_count,
           ByteView headers);

  BuilderOptions options_;
  Bytes records_;
  Bytes scratch_;
  int32_t count_ = 0;
  int64_t base_timestamp_ = kNoTimestamp;
  int64_t max_timestamp_ = kNoTimestamp;
  int32_t last_offset_delta_ = -1;
};

}  // namespace odradek::record

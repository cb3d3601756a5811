// Walks the headers of the batches in a piece of a log file without reading what lies between them: single headers where batches are
// large, windows of 16 KiB where they are small.
// What it checks: magic, lengths, offsets that rise. Formats 0, 1 (messages and wrappers) and 2 may be mixed.
// Thread: one. Cost: 0 allocations; one pread for each large batch or each 16 KiB.
#pragma once

#include <cstdint>
#include <optional>

#include "base/file.h"
#include "record/batch.h"

namespace odradek::storage {

struct BatchMeta {
  int64_t position = 0;
  int64_t size = 0;
  Offset base{0};  // v0, v1: the same as `last`
  Offset last{0};
  int8_t magic = 2;
  int64_t max_timestamp = kNoTimestamp;  // v0: -1
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
  // The v2 header, until the next call of next(); false for older formats.
  record::BatchHeader header;
};

class BatchWalk {
 public:
  // Batches in [position, end) of the file; offsets at or above `lowest`, that of the first one at or below `first_at_most` (what an
  // index says of `position`).
  BatchWalk(base::File& file, int64_t position, int64_t end, Offset lowest, Offset first_at_most = {INT64_MAX})
      : file_(file), position_(position), end_(end), lowest_(lowest), first_at_most_(first_at_most) {}

  // nullopt: the end; a cut-off batch is the end too (then position() < end). Errors: kCorruptMessage: what lies there is no batch.
  Result<std::optional<BatchMeta>> next();
  // Leaves out what lies before `position`, where a batch begins whose last offset is `last`.
  void skip_to(int64_t position, Offset last) {
    position_ = position;
    first_at_most_ = last;
    has_begun_ = false;
  }
  // Behind the last batch given.
  int64_t position() const { return position_; }
  bool has_begun() const { return has_begun_; }  // gave a batch

 private:
  static constexpr size_t kWindow = 16 * 1024;
  static constexpr size_t kFirstWindow = 4096;
  static constexpr int64_t kLarge = 4096;  // batches from here on: the next read is of one header
  // At least `wanted` bytes at position_, if the file has them.
  Result<size_t> have(size_t wanted);

  base::File& file_;
  int64_t position_;
  const int64_t end_;
  Offset lowest_;
  Offset first_at_most_;
  bool has_begun_ = false;
  int64_t window_at_ = 0;
  size_t window_size_ = 0;
  size_t read_ahead_ = kFirstWindow;
  uint8_t window_[kWindow];  // not initialised: the first pread fills it
};

// All bytes of a batch that a walk gave. Errors: kKafkaStorageError: I/O, or the file is shorter than it was.
Result<Bytes> read_batch(base::File& file, const BatchMeta& batch);

}  // namespace odradek::storage

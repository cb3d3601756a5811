#include "storage/segment/batch_walk.h"

#include <algorithm>

#include "model/error_code.h"

namespace odradek::storage {

Result<size_t> BatchWalk::have(size_t wanted) {
  int64_t skip = position_ - window_at_;
  if (skip >= 0 && static_cast<size_t>(skip) + wanted <= window_size_) return window_size_ - static_cast<size_t>(skip);
  size_t size = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(std::max(wanted, read_ahead_)), end_ - position_));
  window_size_ = 0;
  auto got = file_.pread(position_, {window_, size});
  if (!got) return fail(std::move(got.error()));
  window_at_ = position_;
  window_size_ = *got;
  return window_size_;
}

Result<std::optional<BatchMeta>> BatchWalk::next() {
  auto broken = [&](const std::string& why) {
    return fail(ErrorCode::kCorruptMessage, "position " + std::to_string(position_) + ": " + why);
  };
  auto at_end = [&]() -> Result<std::optional<BatchMeta>> {
    if (!has_begun_ && first_at_most_.value != INT64_MAX) return broken("no batch, where the index has one");
    return std::nullopt;
  };
  if (position_ == end_) return std::nullopt;  // the index may have an entry for the batch that is being appended
  if (position_ > end_) return at_end();
  auto available = have(record::kBatchHeaderSize);
  if (!available) return fail(std::move(available.error()));
  const uint8_t* at = window_ + (position_ - window_at_);
  auto frame = record::peek_frame({at, *available});
  if (!frame) return broken(frame.error().what);
  if (!*frame || (*frame)->total_size > static_cast<size_t>(end_ - position_)) return at_end();

  BatchMeta batch;
  batch.position = position_;
  batch.size = static_cast<int64_t>((*frame)->total_size);
  batch.magic = (*frame)->magic;
  if (batch.magic == record::kMagicV2) {
    batch.header = record::BatchHeader(at);
    batch.base = batch.header.base_offset();
    batch.last = batch.header.last_offset();
    if (batch.header.last_offset_delta() < 0) return broken("a batch ends before it begins");
    batch.max_timestamp = batch.header.max_timestamp();
    batch.leader_epoch = batch.header.leader_epoch();
  } else {
    batch.base = batch.last = {(*frame)->offset};
    constexpr size_t kTimestampAt = 18;  // of magic 1: behind the attributes
    if (batch.magic == record::kMagicV1) batch.max_timestamp = base::load_be<int64_t>(at + kTimestampAt);
  }
  if (batch.base < lowest_) {
    return broken("offset " + std::to_string(batch.base.value) + " where at least " + std::to_string(lowest_.value) + " is expected");
  }
  // (Old brokers wrote the first offset of a wrapper into the index.)
  if (!has_begun_ && batch.magic == record::kMagicV2 && batch.base > first_at_most_) {
    return broken("offset " + std::to_string(batch.base.value) + ", which is above " + std::to_string(first_at_most_.value) + " in the index");
  }
  has_begun_ = true;
  lowest_ = batch.last + 1;
  position_ += batch.size;
  // The next read: only a header if batches are large, else as much as the window takes.
  read_ahead_ = batch.size >= kLarge ? record::kBatchHeaderSize : kWindow;
  return batch;
}

Result<Bytes> read_batch(base::File& file, const BatchMeta& batch) {
  Bytes bytes(static_cast<size_t>(batch.size));
  auto got = file.pread(batch.position, bytes);
  if (!got) return fail(std::move(got.error()));
  if (*got != bytes.size()) return fail(ErrorCode::kKafkaStorageError, "a segment is shorter than it was");
  return bytes;
}

}  // namespace odradek::storage

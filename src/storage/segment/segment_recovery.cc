// What a start does with a segment, and walks over all its batches.
#include <algorithm>
#include <utility>

#include "record/frame.h"
#include "storage/segment/segment.h"

namespace odradek::storage {
namespace {

constexpr int64_t kRecoveryBuffer = 1 << 20;
constexpr int64_t kLargestControlBatch = 1 << 16;

}  // namespace

Result<Segment::Recovered> Segment::recover(Offset check_crc_from, const LogConfig& config, const Visit& visit) {
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::File& file = (*opened)->file();
  auto file_size = file.size();
  if (!file_size) return fail(std::move(file_size.error()));
  if (auto begun = indexes_.begin_rewrite(); !begun) return fail(std::move(begun.error()));
  log_.rewind();
  first_timestamp_.reset();
  const int64_t modified_ms = this->modified_ms();

  Recovered result;
  result.next_offset = base_;
  Bytes buffer;
  int64_t buffer_at = 0, buffer_size = 0;  // what of the file stands in it
  auto bytes_at = [&](int64_t position, int64_t size) -> Result<ByteView> {
    if (position < buffer_at || position + size > buffer_at + buffer_size) {
      buffer.resize(static_cast<size_t>(std::min(std::max(size, kRecoveryBuffer), *file_size - position)));
      auto got = file.pread(position, buffer);
      if (!got) return fail(std::move(got.error()));
      buffer_at = position;
      buffer_size = static_cast<int64_t>(*got);
    }
    int64_t there = std::min(size, buffer_at + buffer_size - position);
    return ByteView(buffer.data() + (position - buffer_at), static_cast<size_t>(std::max<int64_t>(there, 0)));
  };

  BatchWalk walk(file, 0, *file_size, base_);
  int64_t good = 0;
  while (good < *file_size) {
    auto next = walk.next();
    if (!next) {
      if (next.error().code != ErrorCode::kCorruptMessage) return fail(std::move(next.error()));
      result.reason = next.error().what;
      break;
    }
    if (!*next) {
      result.reason = "position " + std::to_string(good) + ": a batch is cut off";
      break;
    }
    BatchMeta batch = **next;
    if (batch.last - base_ > INT32_MAX) {
      result.reason = "position " + std::to_string(good) + ": offset " + std::to_string(batch.last.value) + " is out of the segment's range";
      break;
    }
    record::BatchView whole;
    const bool check_crc = batch.last >= check_crc_from;
    if (check_crc || (batch.header && batch.header.is_control() && batch.size <= kLargestControlBatch)) {
      auto bytes = bytes_at(batch.position, batch.size);
      if (!bytes) return fail(std::move(bytes.error()));
      if (static_cast<int64_t>(bytes->size()) != batch.size || (check_crc && !record::Frame(*bytes).crc_matches())) {
        result.reason = "position " + std::to_string(good) + ": the CRC of the batch at offset " + std::to_string(batch.base.value) + " is wrong";
        break;
      }
      if (batch.magic == record::kMagicV2) whole = record::BatchView(*bytes);
    }
    if (visit) {
      if (auto seen = visit(batch, whole); !seen) return fail(std::move(seen.error()));
    }
    if (auto noted = note_batch(batch.last, batch.size, batch.max_timestamp, config, modified_ms); !noted) return fail(std::move(noted.error()));
    good += batch.size;
    result.next_offset = batch.last + 1;
  }
  if (good < *file_size) {
    result.truncated_bytes = *file_size - good;
    // Durable at once: the offsets are given again, and an old batch must not come back in their place.
    if (auto cut = file.truncate(good); !cut) return fail(std::move(cut.error()));
    if (auto synced = file.sync_data(); !synced) return fail(std::move(synced.error()));
  }
  if (auto closed = become_inactive(config); !closed) return fail(std::move(closed.error()));
  if (auto ended = indexes_.trim(); !ended) return fail(std::move(ended.error()));  // if there was no batch
  return result;
}

Result<std::optional<Offset>> Segment::find_next_offset() {
  if (size() == 0) return base_;
  auto last = indexes_.offset_index().last();
  if (!last) {
    if (last.error().code == ErrorCode::kCorruptMessage) return std::nullopt;
    return fail(std::move(last.error()));
  }
  if (last->position < 0 || last->position >= size() || last->offset < base_) return std::nullopt;
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  BatchWalk walk((*opened)->file(), last->position, size(), base_);
  Offset next = base_;
  for (;;) {
    auto batch = walk.next();
    if (!batch) {
      if (batch.error().code == ErrorCode::kCorruptMessage) return std::nullopt;
      return fail(std::move(batch.error()));
    }
    if (!*batch) break;
    next = (*batch)->last + 1;
  }
  if (walk.position() != size()) return std::nullopt;
  return next;
}

Result<void> Segment::for_each_batch(Offset from, const Visit& visit, Offset upto) {
  if (auto ready = indexes_.ensure(); !ready) return ready;
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::File& file = (*opened)->file();
  return indexes_.walk_from(from, file, [&](BatchWalk& walk) -> Result<void> {
    for (;;) {
      auto next = walk.next();
      if (!next) return fail(std::move(next.error()));
      if (!*next) return {};
      const BatchMeta& batch = **next;
      if (batch.last < from) continue;
      if (batch.base >= upto) return {};
      Bytes body;
      record::BatchView whole;
      if (batch.header && batch.header.is_control() && batch.size <= kLargestControlBatch) {
        auto bytes = read_batch(file, batch);
        if (!bytes) return fail(std::move(bytes.error()));
        body = std::move(*bytes);
        whole = record::BatchView(body);
      }
      if (auto seen = visit(batch, whole); !seen) return seen;
    }
  });
}

Result<Segment::Tail> Segment::tail_below(Offset offset, int64_t bytes) {
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto end = indexes_.offset_index().lookup(offset);
  if (!end) return fail(std::move(end.error()));
  Result<std::optional<OffsetPosition>> start;
  if (end->position > bytes) start = indexes_.offset_index().batch_before(end->position - bytes, false);
  if (!start) return fail(std::move(start.error()));
  if (!*start) return Tail{base_, end->position};
  return Tail{(*start)->offset, end->position - (*start)->position};
}


}  // namespace odradek::storage

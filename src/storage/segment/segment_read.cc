// Reads of a segment: slices for consumers and followers, offsets and times.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "record/frame.h"
#include "storage/files/page.h"
#include "storage/segment/record_at_time.h"
#include "storage/segment/segment.h"

namespace odradek::storage {
namespace {

constexpr int64_t kLargestProbe = 1 << 20;   // how much a cold read asks to be loaded
constexpr int64_t kWorthSkipping = 1 << 15;  // bytes whose batches' heads take longer than a search in the index
constexpr OffsetPosition kSegmentStart{{0}, 0};

}  // namespace

Result<Segment::Range> Segment::cold_start() {
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  Range range;
  range.slice.generation = (*opened)->generation();
  range.slice.file = std::move(*opened);
  range.slice.size = std::min(size(), kPage);
  range.cold = range.found = true;
  known_from_.store(size(), std::memory_order_relaxed);
  return range;
}

Result<Segment::Range> Segment::read(Offset from, int64_t max_bytes, Offset upper_bound, bool at_least_one, bool only_cached) {
  only_cached = only_cached && size() > 0;
  if (only_cached) {
    auto cached = indexes_.are_cached();
    if (!cached) return fail(std::move(cached.error()));
    if (!*cached) return cold_start();
  }
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto start = indexes_.offset_index().lookup(from, only_cached);
  if (!start && only_cached && start.error().os_error == EAGAIN) return cold_start();
  if (!start) return fail(std::move(start.error()));
  auto range = read_from(*start, from, max_bytes, upper_bound, at_least_one, only_cached);
  if (!range && may_be_the_index(range.error(), *start)) range = read_from(kSegmentStart, from, max_bytes, upper_bound, at_least_one, only_cached);
  return range;
}

std::optional<OffsetPosition> Segment::end_of_known(int64_t from, int64_t limit) {
  if (limit - from < kWorthSkipping || from < known_from_.load(std::memory_order_relaxed)) return std::nullopt;
  auto found = indexes_.offset_index().batch_before(limit);
  if (!found || !*found || (*found)->position <= from) return std::nullopt;  // a broken index is for the walk to meet
  return *found;
}

Result<Segment::Range> Segment::read_from(OffsetPosition start, Offset from, int64_t max_bytes, Offset upper_bound, bool at_least_one,
                                          bool only_cached) {
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::SharedFile& shared = **opened;
  Range range;
  // Generation before size: a truncation lowers the size first, so a slice of the new generation never reaches beyond it.
  range.slice.generation = shared.generation();
  range.next_offset = from;
  const int64_t end = size();
  int64_t cached_end = start.position;
  if (only_cached && start.position < end) {
    int64_t wanted = std::min({end - start.position, std::max<int64_t>(max_bytes, 1), kLargestProbe});
    if (!shared.file().resident(start.position, wanted)) {
      range.slice.file = std::move(*opened);
      range.slice.position = start.position;
      range.slice.size = wanted;
      range.cold = range.found = true;
      known_from_.store(end, std::memory_order_relaxed);
      return range;
    }
    cached_end += wanted;
  }
  BatchWalk walk(shared.file(), start.position, end, base_, first_at_most(start));
  int64_t total = 0;
  for (;;) {
    auto next = walk.next();
    if (!next) {
      if (total == 0) return fail(ErrorCode::kCorruptMessage, segment_name(base_) + ".log, " + next.error().what);
      log::error("storage", "{}.log is broken at {}", segment_name(base_), next.error().what);
      break;
    }
    if (!*next) break;
    const BatchMeta& batch = **next;
    if (batch.last < from) continue;
    range.found = true;
    if (batch.last >= upper_bound) break;
    if (total + batch.size > max_bytes && !(total == 0 && at_least_one)) break;
    if (total == 0) range.slice.position = batch.position;
    const bool first = total == 0;
    total += batch.size;
    range.next_offset = batch.last + 1;
    if (!first) continue;
    auto known = end_of_known(walk.position(), std::min(cached_end, range.slice.position + max_bytes));
    if (!known || known->offset >= upper_bound) continue;
    BatchWalk behind(shared.file(), known->position, end, range.next_offset, known->offset);
    if (auto next_known = behind.next(); !next_known || !*next_known || (*next_known)->last != known->offset) continue;
    total = known->position - range.slice.position;
    walk.skip_to(known->position, known->offset);
  }
  range.slice.size = total;
  range.slice.file = std::move(*opened);
  return range;
}

Result<std::optional<BatchMeta>> Segment::find_batch(Offset offset) {
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  return indexes_.walk_from(offset, (*opened)->file(), [&](BatchWalk& walk) -> Result<std::optional<BatchMeta>> {
    for (;;) {
      auto batch = walk.next();
      if (!batch) return fail(std::move(batch.error()));
      if (!*batch) return std::nullopt;
      if ((*batch)->last < offset) continue;
      (*batch)->header = {};
      return *batch;
    }
  });
}

Result<int64_t> Segment::largest_timestamp() {
  auto largest = max_timestamp();
  if (!largest) return fail(std::move(largest.error()));
  return largest->timestamp >= 0 ? largest->timestamp : modified_ms();
}

Result<int64_t> Segment::first_batch_timestamp() {
  if (const int64_t known = first_batch_timestamp_.load(std::memory_order_relaxed); known != kNotRead) return known;
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  BatchWalk walk((*opened)->file(), 0, size(), base_);
  auto first = walk.next();
  if (!first) return fail(std::move(first.error()));
  const int64_t timestamp = *first ? (*first)->max_timestamp : kNoTimestamp;
  first_batch_timestamp_.store(timestamp, std::memory_order_relaxed);
  return timestamp;
}

Result<int64_t> Segment::offset_index_bytes() {
  auto count = indexes_.offset_index().file().count();
  if (!count) return fail(std::move(count.error()));
  return int64_t{*count} * OffsetIndex::kEntrySize;
}

Result<int64_t> Segment::time_index_bytes() {
  auto count = indexes_.time_index().file().count();
  if (!count) return fail(std::move(count.error()));
  return int64_t{*count} * TimeIndex::kEntrySize;
}

Result<std::optional<TimestampOffset>> Segment::find_timestamp(int64_t timestamp, Offset lowest) {
  if (auto ready = indexes_.ensure(); !ready) return fail(std::move(ready.error()));
  auto near = indexes_.time_index().lookup(timestamp);
  if (!near) return fail(std::move(near.error()));
  auto opened = file();
  if (!opened) return fail(std::move(opened.error()));
  base::File& log = (*opened)->file();
  return indexes_.walk_from(std::max(near->offset, lowest), log, [&](BatchWalk& walk) -> Result<std::optional<TimestampOffset>> {
    for (;;) {
      auto batch = walk.next();
      if (!batch) return fail(std::move(batch.error()));
      if (!*batch) return std::nullopt;
      if ((*batch)->max_timestamp < timestamp || (*batch)->last < lowest) continue;
      auto bytes = read_batch(log, **batch);
      if (!bytes) return fail(std::move(bytes.error()));
      auto found = find_record(record::Frame(*bytes), timestamp, lowest);
      if (!found || *found) return found;
    }
  });
}

}  // namespace odradek::storage

// What a log answers: records, and offsets for times.
#include <algorithm>
#include <cerrno>

#include "storage/dir/log_dir.h"
#include "storage/log/log.h"

namespace odradek::storage {

Result<LogRead> Log::read(Offset from, int32_t max_bytes, Offset upper_bound, bool at_least_one_batch, base::FileSlice* cold) const {
  if (!dir_->online()) return fail(offline_error());
  const Offset end = log_end_offset();
  if (from < log_start_offset() || from > end) {
    return fail(ErrorCode::kOffsetOutOfRange, label_ + ": offset " + std::to_string(from.value) + " is not in [" +
                                                  std::to_string(log_start_offset().value) + ", " + std::to_string(end.value) + "]");
  }
  LogRead result;
  result.next_offset = from;
  upper_bound = std::min(upper_bound, end);
  if (from >= upper_bound) return result;

  std::shared_ptr<Segment> segment;
  {
    base::MutexLock lock(state_mutex_);
    if (tail_.covers(from.value)) {
      TailRing::Range range = tail_.range(from.value, max_bytes, upper_bound.value, at_least_one_batch);
      if (range.size == 0) return result;
      // The file's generation is taken under the lock: a truncation empties the ring under it first.
      auto file = segments_.back()->file();
      if (!file) return fail(fail_dir(std::move(file.error())));
      result.slice.generation = (*file)->generation();
      result.slice.file = std::move(*file);
      result.slice.position = range.position;
      result.slice.size = range.size;
      result.next_offset = {range.next_offset};
      return result;
    }
    auto above = std::upper_bound(segments_.begin(), segments_.end(), from, [](Offset o, const auto& s) { return o < s->base_offset(); });
    segment = above == segments_.begin() ? *above : *std::prev(above);
  }
  for (; segment != nullptr && segment->base_offset() < upper_bound; segment = segment_after(segment->base_offset())) {
    auto range = segment->read(from, max_bytes, upper_bound, at_least_one_batch, cold != nullptr);
    if (!range) {
      if (!is_listed(*segment) && from >= log_start_offset()) return read(from, max_bytes, upper_bound, at_least_one_batch, cold);  // just compacted
      if (from < log_start_offset()) return fail(ErrorCode::kOffsetOutOfRange, label_ + ": the segment has just been deleted");
      if (range.error().code == ErrorCode::kCorruptMessage) return fail(std::move(range.error()));
      return fail(fail_dir(std::move(range.error())));
    }
    if (!range->found) continue;  // its records up to the end are gone (compaction)
    if (range->cold) {
      *cold = std::move(range->slice);
      return result;
    }
    if (range->slice.size == 0) return result;
    result.slice = std::move(range->slice);
    result.next_offset = range->next_offset;
    return result;
  }
  return result;
}

Result<std::optional<TimestampOffset>> Log::offset_for_timestamp(int64_t timestamp, Offset upper_bound) const {
  if (!dir_->online()) return fail(offline_error());
  const Offset start = log_start_offset();
  for (auto segment = segment_for(start); segment != nullptr && segment->base_offset() < upper_bound; segment = segment_after(segment->base_offset())) {
    Result<std::optional<TimestampOffset>> found;
    auto largest = segment->max_timestamp();
    if (!largest) {
      found = fail(std::move(largest.error()));
    } else if (largest->timestamp >= timestamp) {
      found = segment->find_timestamp(timestamp, start);
    }
    if (!found && !is_listed(*segment)) return offset_for_timestamp(timestamp, upper_bound);  // just compacted or dropped
    if (!found) return fail(fail_dir(std::move(found.error())));
    if (*found) return found;
  }
  return std::nullopt;
}

Result<std::optional<TimestampOffset>> Log::max_timestamp_offset() const {
  if (!dir_->online()) return fail(offline_error());
  std::shared_ptr<Segment> holder;
  int64_t greatest = kNoTimestamp;
  for (const auto& segment : segments()) {
    auto largest = segment->max_timestamp();
    if (!largest && !is_listed(*segment)) return max_timestamp_offset();  // just compacted or dropped
    if (!largest) return fail(fail_dir(std::move(largest.error())));
    if (largest->timestamp > greatest) {
      greatest = largest->timestamp;
      holder = segment;
    }
  }
  if (holder == nullptr) return std::nullopt;
  auto found = holder->find_timestamp(greatest, log_start_offset());
  if (!found && !is_listed(*holder)) return max_timestamp_offset();
  if (!found) return fail(fail_dir(std::move(found.error())));
  return found;
}

std::vector<Offset> Log::legacy_offsets_before(int64_t timestamp, int max_count) const {
  constexpr int64_t kLatest = -1;
  constexpr int64_t kEarliest = -2;
  struct Point {
    Offset offset;
    int64_t changed_ms;
  };
  std::vector<Point> points;
  const auto all = segments();
  for (const auto& segment : all) points.push_back({std::max(segment->base_offset(), log_start_offset()), segment->modified_ms()});
  if (all.back()->size() > 0) points.push_back({log_end_offset(), dir_->clock().wall_ms()});

  ptrdiff_t at = static_cast<ptrdiff_t>(points.size()) - 1;
  if (timestamp == kEarliest) {
    at = 0;
  } else if (timestamp != kLatest) {
    while (at >= 0 && points[static_cast<size_t>(at)].changed_ms > timestamp) --at;
  }
  std::vector<Offset> offsets;
  for (; at >= 0 && static_cast<int>(offsets.size()) < max_count; --at) offsets.push_back(points[static_cast<size_t>(at)].offset);
  std::sort(offsets.begin(), offsets.end(), [](Offset a, Offset b) { return a > b; });
  return offsets;
}

}  // namespace odradek::storage

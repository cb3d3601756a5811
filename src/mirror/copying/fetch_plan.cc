#include "mirror/copying/fetch_plan.h"

#include <algorithm>

#include "base/check.h"
#include "record/frame.h"

namespace odradek::mirror {

namespace {
constexpr Offset kOpen{INT64_MAX};
}  // namespace

void FetchPlan::reset(Offset from) {
  ranges_.clear();
  Range open;
  open.id = next_id_++;
  open.from = from;
  open.until = kOpen;
  ranges_.push_back(std::move(open));
  limit_ = from;
}

FetchTask FetchPlan::task_for(Range& range, int32_t max_bytes) {
  range.on_the_way = true;
  return {.range = range.id, .from = range.from, .max_bytes = max_bytes, .first = range.id == ranges_.front().id};
}

std::optional<FetchTask> FetchPlan::poll() {
  if (ranges_.size() != 1 || ranges_.front().on_the_way || !ranges_.front().chunks.empty()) return std::nullopt;
  return task_for(ranges_.front(), options_.poll_bytes);
}

std::optional<FetchTask> FetchPlan::next_range() {
  for (Range& range : ranges_) {
    if (range.until == kOpen || range.on_the_way || range.done()) continue;
    // A little more than what the range is thought to hold; what is too much comes twice, what is missing costs another round trip.
    double expected = bytes_per_offset_ * static_cast<double>(range.until - range.from) + bytes_per_frame_;
    return task_for(range, static_cast<int32_t>(std::clamp(expected, 64.0 * 1024, 4.0 * options_.range_bytes)));
  }
  return std::nullopt;
}

void FetchPlan::failed(uint64_t id) {
  for (Range& range : ranges_) {
    if (range.id == id) range.on_the_way = false;
  }
}

Result<void> FetchPlan::answered(const FetchTask& task, Chunk chunk, Offset limit) {
  auto found = std::find_if(ranges_.begin(), ranges_.end(), [&](const Range& range) { return range.id == task.range; });
  if (found == ranges_.end()) return {};
  Range& range = *found;
  range.on_the_way = false;
  limit_ = std::max(limit_, limit);
  ByteView rest = chunk.frames;
  size_t used = 0, frames = 0;
  size_t skipped = 0;  // frames before the range
  Offset next = range.from;
  for (;;) {
    auto frame = record::next_frame(rest);
    if (!frame) return fail(std::move(frame.error()));
    if (!*frame) break;
    Offset last = frame->last_offset();
    if (last >= range.until) {
      next = range.until;
      break;
    }
    used += frame->size_in_bytes();
    if (last < range.from) {  // of the range before
      skipped = used;
      continue;
    }
    ++frames;
    next = std::max(next, last + 1);
  }
  if (frames > 0) {
    auto bytes = static_cast<double>(used - skipped), offsets = static_cast<double>(std::max<int64_t>(1, next - range.from));
    auto smooth = [](double& value, double sample) { value = value == 0 ? sample : 0.7 * value + 0.3 * sample; };
    smooth(bytes_per_offset_, bytes / offsets);
    smooth(bytes_per_frame_, bytes / static_cast<double>(frames));
    chunk.frames = chunk.frames.subspan(skipped, used - skipped);
    range.chunks.push_back(std::move(chunk));
  }
  range.from = next;
  cut();
  return {};
}

// Makes ranges of what is left before the readable end, as far as it is worth it.
void FetchPlan::cut() {
  if (bytes_per_offset_ <= 0) return;
  auto offsets = std::max<int64_t>(1, static_cast<int64_t>(options_.range_bytes / bytes_per_offset_));
  while (static_cast<int32_t>(ranges_.size()) <= options_.ranges) {
    Range& open = ranges_.back();
    if (open.on_the_way || limit_ - open.from < offsets) return;
    Range rest;
    rest.id = next_id_++;
    rest.from = open.from + offsets;
    rest.until = kOpen;
    open.until = rest.from;
    ranges_.push_back(std::move(rest));
  }
}

std::optional<Chunk> FetchPlan::take() {
  while (!ranges_.empty()) {
    Range& head = ranges_.front();
    if (!head.chunks.empty()) {
      Chunk chunk = std::move(head.chunks.front());
      head.chunks.pop_front();
      return chunk;
    }
    if (head.until == kOpen || !head.done()) return std::nullopt;
    ranges_.pop_front();
    cut();
  }
  return std::nullopt;
}

}  // namespace odradek::mirror

// Which offsets of one source partition are asked for next, so that the distance to the source does not limit the rate.
// An ordinary Fetch may name any offset: the answer begins with the batch that holds it. While much is left, the way to the end is
// therefore cut into ranges of about range_bytes each (by the bytes per offset seen so far), and several of them are on their way at once,
// over several connections. Each frame belongs to the range that holds its last offset, so the ranges together are exactly the log.
// Near the end there is one open range, which is polled.
// Chunks come out in order. Thread: one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "mirror/copying/copier.h"
#include "model/types.h"

namespace odradek::mirror {

struct FetchPlanOptions {
  int32_t range_bytes = 4 << 20;
  int32_t ranges = 8;  // on their way or waiting for those before them
  int32_t poll_bytes = 1 << 20;
};

struct FetchTask {
  uint64_t range = 0;
  Offset from;
  int32_t max_bytes = 0;
  bool first = false;  // everything before it has come: nothing may hold it up
};

// Whole frames of an answer, in `owner`. The first one may begin before its range: then it was not in the range before.
struct Chunk {
  std::shared_ptr<void> owner;
  MutableByteView frames;
  std::vector<Aborted> aborted;
  // Whether the source's leader has compared the leader epoch of the record before them with its own.
  bool compared = false;
};

class FetchPlan {
 public:
  explicit FetchPlan(const FetchPlanOptions& options) : options_(options) {}

  // Begins anew; answers to tasks given out before are taken for those of no range.
  void reset(Offset from);

  // The open range, if it is next and not on its way.
  std::optional<FetchTask> poll();
  // A range that is not on its way, the first one first.
  std::optional<FetchTask> next_range();
  // A task came to nothing: its offsets will be asked for again.
  void failed(uint64_t range);
  // `frames` of the answer to `task`, where only those whose last offset is in the range are taken; `limit`: where the readable log ends
  // (high watermark or last stable offset). Errors: kCorruptMessage, frames that are none; the task has failed then.
  Result<void> answered(const FetchTask& task, Chunk chunk, Offset limit);
  // The next chunk in order.
  std::optional<Chunk> take();

  // Where the readable log ended when it was last heard of.
  Offset limit() const { return limit_; }
  bool in_ranges() const { return ranges_.size() > 1; }

 private:
  struct Range {
    uint64_t id = 0;
    Offset from;
    Offset until;  // INT64_MAX: open
    bool on_the_way = false;
    std::deque<Chunk> chunks;
    bool done() const { return from >= until; }
  };
  void cut();
  FetchTask task_for(Range& range, int32_t max_bytes);

  FetchPlanOptions options_;
  std::deque<Range> ranges_;  // the last one is open
  uint64_t next_id_ = 1;
  Offset limit_{0};
  double bytes_per_offset_ = 0;   // smoothed; 0: not known
  double bytes_per_frame_ = 0;
};

}  // namespace odradek::mirror

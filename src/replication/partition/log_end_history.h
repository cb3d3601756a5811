// Where the leader's log ended at some moments of the last while. A follower that keeps several fetches on the way is a round trip behind for
// ever; it has caught up with what there was then.
// Shape: at most some 64 moments, over twice replica.lag.time.max.ms. Thread: one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <utility>

#include "model/types.h"

namespace odradek::replication {

class LogEndHistory {
 public:
  // `lag_ms`: replica.lag.time.max.ms.
  explicit LogEndHistory(int64_t lag_ms) : lag_ms_(lag_ms) {}

  // Neither times nor ends go back. Not each is kept.
  void note(int64_t now_ms, Offset end);
  // When the log ended at or below `end` last, as far as it is remembered; -1: it is not.
  int64_t last_time_below(Offset end) const;
  void clear() { ends_.clear(); }

 private:
  const int64_t lag_ms_;
  std::deque<std::pair<int64_t, Offset>> ends_;
};

}  // namespace odradek::replication

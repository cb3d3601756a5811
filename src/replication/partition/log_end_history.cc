#include "replication/partition/log_end_history.h"

#include <algorithm>

namespace odradek::replication {

namespace {
constexpr int64_t kRemembered = 32;  // in replica.lag.time.max.ms
}  // namespace

void LogEndHistory::note(int64_t now_ms, Offset end) {
  if (!ends_.empty() && now_ms - ends_.back().first < std::max<int64_t>(lag_ms_ / kRemembered, 1)) return;
  ends_.emplace_back(now_ms, end);
  while (ends_.front().first < now_ms - 2 * lag_ms_) ends_.pop_front();
}

int64_t LogEndHistory::last_time_below(Offset end) const {
  for (auto at = ends_.rbegin(); at != ends_.rend(); ++at) {
    if (at->second <= end) return at->first;
  }
  return -1;
}

}  // namespace odradek::replication

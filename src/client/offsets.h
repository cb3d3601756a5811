// Offsets of many partitions at once: one ListOffsets to each leader, asked again where a leader moved.
// Thread: as Cluster, one at a time.
#pragma once

#include <map>

#include "client/cluster.h"

namespace odradek::client {

inline constexpr int64_t kLatestTimestamp = -1;    // the log end, or the last stable offset when reading committed
inline constexpr int64_t kEarliestTimestamp = -2;  // the log start

struct ListedOffset {
  ErrorCode error = ErrorCode::kNone;
  Offset offset{-1};  // -1 without an error: no record is that young
  int64_t timestamp = kNoTimestamp;
};

// For each partition the first offset with this timestamp or a later one. Partitions that could not be asked until the patience of
// `cluster` ended have their last error. Errors: only those that concern all, as no broker to be reached.
Result<std::map<TopicPartition, ListedOffset>> list_offsets(Cluster& cluster, const std::map<TopicPartition, int64_t>& timestamps,
                                                            IsolationLevel isolation = IsolationLevel::kReadUncommitted);

}  // namespace odradek::client

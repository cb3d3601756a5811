// The settings of one log, typed. Filled from the topic's configs, replaced as a whole when they change.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/types.h"
#include "record/codec.h"

namespace odradek::config {
class TopicConfigValues;
}

namespace odradek::storage {

// Which answers to producers wait until the records are on the disk.
enum class FlushBeforeAck : uint8_t { kNone, kAcksAll, kAll };

// The replicas of a topic that a throttle names.
struct ThrottledReplicas {
  bool all = false;
  std::vector<std::pair<int32_t, BrokerId>> listed;  // partition, broker

  bool holds(int32_t partition, BrokerId broker) const {
    return all || std::find(listed.begin(), listed.end(), std::pair(partition, broker)) != listed.end();
  }
};
// `*`, or partition:broker each; what is neither is left out.
ThrottledReplicas parse_throttled_replicas(const std::vector<std::string>& list);

struct LogConfig {
  int32_t segment_bytes = 1 << 30;             // a segment is rolled before it would exceed this
  int64_t segment_ms = 7ll * 24 * 3600 * 1000;
  int64_t segment_jitter_ms = 0;
  int32_t segment_index_bytes = 10 << 20;      // size of a preallocated index; a full one rolls the segment
  int32_t index_interval_bytes = 4096;
  int64_t retention_ms = 7ll * 24 * 3600 * 1000;  // -1: for ever
  int64_t retention_bytes = -1;                   // -1: any size
  int64_t flush_messages = INT64_MAX;
  int64_t flush_ms = INT64_MAX;
  FlushBeforeAck flush_before_ack = FlushBeforeAck::kNone;
  int32_t max_message_bytes = 1048588;
  bool delete_policy = true;    // cleanup.policy has delete
  bool compact_policy = false;  // cleanup.policy has compact
  std::optional<record::Codec> compression;  // nullopt: the producer's
  int gzip_level = record::kDefaultGzipLevel;
  int lz4_level = record::kDefaultLz4Level;
  int zstd_level = record::kDefaultZstdLevel;
  record::TimestampType timestamp_type = record::TimestampType::kCreateTime;
  int64_t timestamp_before_max_ms = INT64_MAX;
  int64_t timestamp_after_max_ms = INT64_MAX;
  bool preallocate = false;
  int64_t file_delete_delay_ms = 60'000;
  int32_t min_insync_replicas = 1;
  bool message_downconversion = true;
  bool keep_old_formats = false;  // message.format.policy is as-produced
  int64_t delete_retention_ms = 24ll * 3600 * 1000;
  int64_t min_compaction_lag_ms = 0;
  int64_t max_compaction_lag_ms = INT64_MAX;
  double min_cleanable_dirty_ratio = 0.5;
  ThrottledReplicas leader_throttled, follower_throttled;

  // A record of a compacted log reaches a closed segment in time for max.compaction.lag.ms.
  int64_t roll_ms() const { return compact_policy && max_compaction_lag_ms > 0 ? std::min(segment_ms, max_compaction_lag_ms) : segment_ms; }

  // Of the codec that `compression` names; nullopt for none or the producer's.
  std::optional<int> level() const;
};

LogConfig make_log_config(const config::TopicConfigValues& values);

}  // namespace odradek::storage

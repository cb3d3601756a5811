// The settings of the group coordinator, by their keys in the configuration; defaults are Kafka's.
#pragma once

#include <cstdint>

namespace odradek::coordinator {

struct GroupConfig {
  int32_t min_session_timeout_ms = 6'000;          // group.min.session.timeout.ms
  int32_t max_session_timeout_ms = 1'800'000;      // group.max.session.timeout.ms
  int32_t initial_rebalance_delay_ms = 3'000;      // group.initial.rebalance.delay.ms
  int32_t max_size = INT32_MAX;                    // group.max.size
  // What the members of all groups and the ids given out to new ones may take in memory together; a join beyond it has to wait.
  int64_t membership_max_bytes = 256ll << 20;
  // The same for one group, whose leader may be told all of it any number of times; less where its log takes no batch for which its
  // members need as much (GroupShard::group_limit).
  int64_t group_max_bytes = 256ll << 20;
  int32_t new_member_join_timeout_ms = 300'000;    // a member whose first join is not answered is dropped after this (fixed in Kafka)
  int32_t offset_metadata_max_bytes = 4'096;       // offset.metadata.max.bytes
  int64_t offsets_retention_ms = 7ll * 86'400'000; // offsets.retention.minutes
  int64_t retention_check_interval_ms = 600'000;   // offsets.retention.check.interval.ms
  int32_t commit_timeout_ms = 5'000;               // offsets.commit.timeout.ms: how long an answer waits for the high watermark
  int32_t load_buffer_bytes = 5'242'880;           // offsets.load.buffer.size
  int32_t load_threads = 1;                        // partitions loaded at the same time
  int32_t offsets_topic_partitions = 50;           // offsets.topic.num.partitions, while __consumer_offsets does not exist
  int8_t offsets_codec = 0;                        // offsets.topic.compression.codec: record::Codec of the batches written
};

}  // namespace odradek::coordinator

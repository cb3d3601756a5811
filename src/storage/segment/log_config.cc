#include "storage/segment/log_config.h"

#include <algorithm>
#include <charconv>

#include "config/topic_config.h"

namespace odradek::storage {

std::optional<int> LogConfig::level() const {
  if (!compression) return std::nullopt;
  switch (*compression) {
    case record::Codec::kGzip: return gzip_level;
    case record::Codec::kLz4: return lz4_level;
    case record::Codec::kZstd: return zstd_level;
    default: return std::nullopt;
  }
}

namespace {

std::optional<record::Codec> codec_of(const std::string& name) {
  if (name == "uncompressed") return record::Codec::kNone;
  for (auto codec : {record::Codec::kGzip, record::Codec::kSnappy, record::Codec::kLz4, record::Codec::kZstd}) {
    if (name == record::name_of(codec)) return codec;
  }
  return std::nullopt;  // producer
}

}  // namespace

ThrottledReplicas parse_throttled_replicas(const std::vector<std::string>& list) {
  ThrottledReplicas replicas;
  for (const std::string& element : list) {
    if (element == "*") replicas.all = true;
    int32_t partition = 0, broker = 0;
    const char* end = element.data() + element.size();
    auto first = std::from_chars(element.data(), end, partition);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':') continue;
    auto second = std::from_chars(first.ptr + 1, end, broker);
    if (second.ec == std::errc() && second.ptr == end) replicas.listed.emplace_back(partition, BrokerId{broker});
  }
  return replicas;
}

LogConfig make_log_config(const config::TopicConfigValues& values) {
  LogConfig config;
  config.segment_bytes = values.get_int("segment.bytes");
  config.segment_ms = values.get_long("segment.ms");
  config.segment_jitter_ms = values.get_long("segment.jitter.ms");
  config.segment_index_bytes = values.get_int("segment.index.bytes");
  config.index_interval_bytes = values.get_int("index.interval.bytes");
  config.retention_ms = values.get_long("retention.ms");
  config.retention_bytes = values.get_long("retention.bytes");
  config.flush_messages = values.get_long("flush.messages");
  config.flush_ms = values.get_long("flush.ms");
  const std::string& before_ack = values.get_string("flush.before.ack");
  config.flush_before_ack = before_ack == "all" ? FlushBeforeAck::kAll : before_ack == "acks-all" ? FlushBeforeAck::kAcksAll : FlushBeforeAck::kNone;
  config.max_message_bytes = values.get_int("max.message.bytes");
  const auto& policies = values.get_list("cleanup.policy");
  config.delete_policy = std::find(policies.begin(), policies.end(), "delete") != policies.end();
  config.compact_policy = std::find(policies.begin(), policies.end(), "compact") != policies.end();
  config.compression = codec_of(values.get_string("compression.type"));
  config.gzip_level = values.get_int("compression.gzip.level");
  config.lz4_level = values.get_int("compression.lz4.level");
  config.zstd_level = values.get_int("compression.zstd.level");
  config.timestamp_type = values.get_string("message.timestamp.type") == record::name_of(record::TimestampType::kLogAppendTime)
                              ? record::TimestampType::kLogAppendTime
                              : record::TimestampType::kCreateTime;
  config.timestamp_before_max_ms = values.timestamp_before_max_ms();
  config.timestamp_after_max_ms = values.timestamp_after_max_ms();
  config.preallocate = values.get_bool("preallocate");
  config.file_delete_delay_ms = values.get_long("file.delete.delay.ms");
  config.min_insync_replicas = values.get_int("min.insync.replicas");
  config.message_downconversion = values.get_bool("message.downconversion.enable");
  config.keep_old_formats = values.get_string("message.format.policy") == "as-produced";
  config.delete_retention_ms = values.get_long("delete.retention.ms");
  config.min_compaction_lag_ms = values.get_long("min.compaction.lag.ms");
  config.max_compaction_lag_ms = values.get_long("max.compaction.lag.ms");
  config.min_cleanable_dirty_ratio = values.get_double("min.cleanable.dirty.ratio");
  config.leader_throttled = parse_throttled_replicas(values.get_list("leader.replication.throttled.replicas"));
  config.follower_throttled = parse_throttled_replicas(values.get_list("follower.replication.throttled.replicas"));
  return config;
}

}  // namespace odradek::storage

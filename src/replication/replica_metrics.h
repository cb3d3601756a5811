// What the partitions of this broker count: per topic and for all topics, and gauges over the partitions.
// Thread: any. Counting is a relaxed add; a topic's counters are looked up once, when one of its partitions comes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "metrics/registry.h"
#include "model/error_code.h"
#include "replication/partition/partition.h"

namespace odradek::replication {

class ReplicaMetrics;

// Samples of one topic (or of all): they go when the last partition that counts into them goes.
struct TopicCounters {
  TopicCounters(metrics::Registry& registry, std::shared_ptr<ReplicaMetrics> owner, std::string topic);
  ~TopicCounters();
  TopicCounters(const TopicCounters&) = delete;

  const std::shared_ptr<ReplicaMetrics> owner;  // null: of all topics. Shared: a fetch session may keep a partition longer than the manager
  const std::string topic;      // empty: all topics
  // Shared with the registry, which writes them out.
  std::shared_ptr<metrics::Counter> messages_in, bytes_in, bytes_out, bytes_rejected, produce_requests, failed_produce_requests, fetch_requests,
      failed_fetch_requests, produce_conversions, fetch_conversions;
};

class ReplicaMetrics : public std::enable_shared_from_this<ReplicaMetrics> {
 public:
  // The registry outlives this.
  explicit ReplicaMetrics(metrics::Registry& registry);

  // From now until close() the gauges are written: of all `partitions()` of the moment, asked by the thread that writes metrics.
  void open(std::function<std::vector<std::shared_ptr<Partition>>()> partitions);
  void close() { gauges_.reset(); }

  std::shared_ptr<TopicCounters> of_topic(const std::string& topic);
  TopicCounters& all() { return all_; }

  void appended(TopicCounters* topic, const storage::AppendInfo& info);
  void converted(TopicCounters* topic, int64_t records);  // for a consumer
  void append_failed(TopicCounters* topic, ErrorCode error, size_t bytes);

  std::shared_ptr<metrics::Counter> isr_shrinks, isr_expands, replication_bytes_out, held_produces;

 private:
  friend struct TopicCounters;
  void forget(const std::string& topic);

  metrics::Registry& registry_;
  TopicCounters all_;
  std::shared_ptr<metrics::Counter> invalid_crc_, invalid_offset_or_sequence_;
  base::Mutex mutex_;
  std::map<std::string, std::weak_ptr<TopicCounters>> topics_ GUARDED_BY(mutex_);
  metrics::Registration gauges_;
};

}  // namespace odradek::replication

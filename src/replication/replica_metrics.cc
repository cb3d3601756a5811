#include "replication/replica_metrics.h"

#include <array>

namespace odradek::replication {

namespace {

constexpr std::array kPerTopic = {&metrics::kMessagesIn,     &metrics::kBytesIn,
                                  &metrics::kBytesOut,       &metrics::kBytesRejected,
                                  &metrics::kTotalProduceRequests, &metrics::kFailedProduceRequests,
                                  &metrics::kTotalFetchRequests,   &metrics::kFailedFetchRequests,
                                  &metrics::kProduceMessageConversions, &metrics::kFetchMessageConversions};

}  // namespace

TopicCounters::TopicCounters(metrics::Registry& registry, std::shared_ptr<ReplicaMetrics> owner, std::string name) : owner(std::move(owner)), topic(std::move(name)) {
  const std::array into = {&messages_in,     &bytes_in,
                           &bytes_out,       &bytes_rejected,
                           &produce_requests, &failed_produce_requests,
                           &fetch_requests,   &failed_fetch_requests,
                           &produce_conversions, &fetch_conversions};
  for (size_t i = 0; i < into.size(); ++i) *into[i] = topic.empty() ? registry.counter(*kPerTopic[i]) : registry.counter(*kPerTopic[i], {topic});
}

TopicCounters::~TopicCounters() {
  if (owner != nullptr) owner->forget(topic);
}

ReplicaMetrics::ReplicaMetrics(metrics::Registry& registry)
    : isr_shrinks(registry.counter(metrics::kIsrShrinks)),
      isr_expands(registry.counter(metrics::kIsrExpands)),
      replication_bytes_out(registry.counter(metrics::kReplicationBytesOut)),
      held_produces(registry.counter(metrics::kHeldProduces)),
      registry_(registry),
      all_(registry, nullptr, ""),
      invalid_crc_(registry.counter(metrics::kInvalidCrcRecords)),
      invalid_offset_or_sequence_(registry.counter(metrics::kInvalidOffsetOrSequenceRecords)) {}

void ReplicaMetrics::open(std::function<std::vector<std::shared_ptr<Partition>>()> partitions) {
  gauges_ = registry_.collector(
      {&metrics::kLeaderCount, &metrics::kPartitionCount, &metrics::kOfflineReplicaCount, &metrics::kUnderReplicatedPartitions,
       &metrics::kUnderMinIsrPartitionCount, &metrics::kAtMinIsrPartitionCount, &metrics::kPartitionUnderReplicated},
      [partitions = std::move(partitions)](std::vector<metrics::SampleSink*>& sinks) {
        int64_t leaders = 0, count = 0, offline = 0, under_replicated = 0, under_min = 0, at_min = 0;
        for (const auto& partition : partitions()) {
          ++count;
          if (partition->role() == Role::kOffline) ++offline;
          if (!partition->is_leader()) continue;
          ++leaders;
          const bool lacks = partition->is_under_replicated();
          under_replicated += lacks;
          under_min += partition->is_under_min_isr();
          at_min += partition->is_at_min_isr();
          if (lacks) sinks[6]->add({partition->name().topic, std::to_string(partition->name().partition)}, int64_t{1});
        }
        const std::array values = {leaders, count, offline, under_replicated, under_min, at_min};
        for (size_t i = 0; i < values.size(); ++i) sinks[i]->add({}, values[i]);
      });
}

std::shared_ptr<TopicCounters> ReplicaMetrics::of_topic(const std::string& topic) {
  base::MutexLock lock(mutex_);
  std::weak_ptr<TopicCounters>& known = topics_[topic];
  if (auto counters = known.lock()) return counters;
  auto counters = std::make_shared<TopicCounters>(registry_, shared_from_this(), topic);
  known = counters;
  return counters;
}

void ReplicaMetrics::forget(const std::string& topic) {
  base::MutexLock lock(mutex_);
  // The topic may have come again meanwhile, with counters of its own under the same names.
  auto known = topics_.find(topic);
  if (known == topics_.end() || !known->second.expired()) return;
  topics_.erase(known);
  for (const metrics::MetricDef* def : kPerTopic) registry_.remove(*def, {topic});
}

void ReplicaMetrics::appended(TopicCounters* topic, const storage::AppendInfo& info) {
  for (TopicCounters* counters : {topic, &all_}) {
    if (counters == nullptr) continue;
    counters->produce_requests->inc();
    if (info.duplicate) continue;
    counters->messages_in->inc(static_cast<uint64_t>(info.record_count));
    counters->bytes_in->inc(static_cast<uint64_t>(info.size_bytes));
    if (info.rewritten) counters->produce_conversions->inc(static_cast<uint64_t>(info.record_count));
  }
}

void ReplicaMetrics::converted(TopicCounters* topic, int64_t records) {
  for (TopicCounters* counters : {topic, &all_}) {
    if (counters != nullptr) counters->fetch_conversions->inc(static_cast<uint64_t>(records));
  }
}

void ReplicaMetrics::append_failed(TopicCounters* topic, ErrorCode error, size_t bytes) {
  const bool too_large = error == ErrorCode::kMessageTooLarge || error == ErrorCode::kRecordListTooLarge;
  const bool our_fault = error == ErrorCode::kKafkaStorageError || error == ErrorCode::kUnknownServerError;
  for (TopicCounters* counters : {topic, &all_}) {
    if (counters == nullptr) continue;
    counters->produce_requests->inc();
    if (too_large) counters->bytes_rejected->inc(bytes);
    if (our_fault) counters->failed_produce_requests->inc();
  }
  if (error == ErrorCode::kCorruptMessage) invalid_crc_->inc();
  if (error == ErrorCode::kOutOfOrderSequenceNumber) invalid_offset_or_sequence_->inc();
}

}  // namespace odradek::replication

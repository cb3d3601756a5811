#include "coordinator/group/offsets.h"

namespace odradek::coordinator {

const CommittedOffset* GroupOffsets::find(std::string_view topic, int32_t partition) const {
  auto of_topic = topics_.find(topic);
  if (of_topic == topics_.end()) return nullptr;
  auto found = of_topic->second.find(partition);
  return found == of_topic->second.end() ? nullptr : &found->second;
}

void GroupOffsets::put(std::string_view topic, int32_t partition, CommittedOffset offset) {
  auto of_topic = topics_.find(topic);
  if (of_topic == topics_.end()) of_topic = topics_.emplace(std::string(topic), Topic{}).first;
  auto [_, is_new] = of_topic->second.insert_or_assign(partition, std::move(offset));
  if (is_new) ++size_;
}

bool GroupOffsets::remove(std::string_view topic, int32_t partition) {
  auto of_topic = topics_.find(topic);
  if (of_topic == topics_.end() || of_topic->second.erase(partition) == 0) return false;
  --size_;
  if (of_topic->second.empty()) topics_.erase(of_topic);
  return true;
}

void GroupOffsets::put_pending(ProducerId producer, std::string_view topic, int32_t partition, CommittedOffset offset) {
  pending_[producer.value][std::string(topic)].insert_or_assign(partition, std::move(offset));
}

void GroupOffsets::complete(ProducerId producer, bool commit) {
  auto open = pending_.find(producer.value);
  if (open == pending_.end()) return;
  auto written = std::move(open->second);
  pending_.erase(open);
  if (!commit) return;
  for (auto& [topic, partitions] : written) {
    for (auto& [partition, offset] : partitions) {
      const CommittedOffset* known = find(topic, partition);
      if (known == nullptr || known->record < offset.record) put(topic, partition, std::move(offset));
    }
  }
}

bool GroupOffsets::has_pending(std::string_view topic, int32_t partition) const {
  for (const auto& [producer, topics] : pending_) {
    auto of_topic = topics.find(topic);
    if (of_topic != topics.end() && of_topic->second.contains(partition)) return true;
  }
  return false;
}

std::vector<TopicPartition> GroupOffsets::expired(const Group& group, int64_t now_wall_ms, int64_t retention_ms) const {
  enum class Rule { kSinceEmpty, kSinceCommit, kSinceCommitUnlessSubscribed };
  Rule rule;
  if (!group.protocol_type()) {
    rule = Rule::kSinceCommit;
  } else if (group.state() == GroupState::kEmpty) {
    rule = group.state_timestamp_ms() >= 0 ? Rule::kSinceEmpty : Rule::kSinceCommit;
  } else if (group.protocol_type() == "consumer" && group.state() == GroupState::kStable && group.subscribed_topics()) {
    rule = Rule::kSinceCommitUnlessSubscribed;
  } else {
    return {};
  }
  std::vector<TopicPartition> result;
  for (const auto& [topic, partitions] : topics_) {
    if (rule == Rule::kSinceCommitUnlessSubscribed && group.is_subscribed_to(topic)) continue;
    for (const auto& [partition, offset] : partitions) {
      // (Clients of v1 name the time of their commit themselves: any number.)
      bool due = offset.expire_timestamp_ms >= 0
                     ? now_wall_ms >= offset.expire_timestamp_ms
                     : (rule == Rule::kSinceEmpty ? group.state_timestamp_ms() : offset.commit_timestamp_ms) <= now_wall_ms - retention_ms;
      if (due && !has_pending(topic, partition)) result.push_back({topic, partition});
    }
  }
  return result;
}

}  // namespace odradek::coordinator

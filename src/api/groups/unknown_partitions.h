// OffsetCommit and OffsetDelete: partitions that do not exist are answered without asking the group's coordinator.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "base/string_map.h"
#include "metadata/image/image.h"
#include "model/error_code.h"

namespace odradek::api {

// Takes the partitions that the cluster does not know out of `topics` (and topics that have none left) and answers them with
// UNKNOWN_TOPIC_OR_PARTITION. AnsweredTopic, AskedTopic: those of the message.
template <class AnsweredTopic, class AskedTopic>
std::vector<AnsweredTopic> take_unknown_partitions(const metadata::ClusterImage& image, std::vector<AskedTopic>& topics) {
  std::vector<AnsweredTopic> unknown;
  std::erase_if(topics, [&](AskedTopic& topic) {
    AnsweredTopic answered;
    std::erase_if(topic.partitions, [&](const auto& partition) {
      if (image.find_partition(topic.name, partition.partition_index) != nullptr) return false;
      auto& entry = answered.partitions.emplace_back();
      entry.partition_index = partition.partition_index;
      entry.error_code = static_cast<int16_t>(ErrorCode::kUnknownTopicOrPartition);
      return true;
    });
    if (answered.partitions.empty()) return false;
    answered.name = topic.name;
    unknown.push_back(std::move(answered));
    return topic.partitions.empty();
  });
  return unknown;
}

// Adds the partitions of `more`; a topic stands once.
template <class AnsweredTopic>
void merge_topics(std::vector<AnsweredTopic>& topics, std::vector<AnsweredTopic> more) {
  if (more.empty()) return;
  base::StringMap<size_t> known;
  for (size_t i = 0; i < topics.size(); ++i) known.try_emplace(topics[i].name, i);
  for (AnsweredTopic& topic : more) {
    auto [at, is_new] = known.try_emplace(topic.name, topics.size());
    if (is_new) {
      topics.push_back(std::move(topic));
    } else {
      for (auto& partition : topic.partitions) topics[at->second].partitions.push_back(std::move(partition));
    }
  }
}

}  // namespace odradek::api

#include "client/assignor.h"

#include <algorithm>

namespace odradek::client {
namespace {

bool reads(const GroupMate& member, const std::string& topic) { return std::find(member.topics.begin(), member.topics.end(), topic) != member.topics.end(); }

void sort_members(std::vector<GroupMate>& members) {
  std::sort(members.begin(), members.end(), [](const GroupMate& a, const GroupMate& b) {
    if (a.instance_id && b.instance_id) return *a.instance_id < *b.instance_id;
    if (a.instance_id || b.instance_id) return a.instance_id.has_value();
    return a.id < b.id;
  });
}

}  // namespace

Assignment assign_range(std::vector<GroupMate> members, const std::map<std::string, int32_t>& partitions_of_topics) {
  sort_members(members);
  Assignment result;
  for (const GroupMate& member : members) result[member.id];
  for (const auto& [topic, partitions] : partitions_of_topics) {
    std::vector<const GroupMate*> readers;
    for (const GroupMate& member : members) {
      if (reads(member, topic)) readers.push_back(&member);
    }
    if (readers.empty()) continue;
    auto count = static_cast<int32_t>(readers.size());
    int32_t next = 0;
    for (int32_t i = 0; i < count; ++i) {
      int32_t share = partitions / count + (i < partitions % count ? 1 : 0);
      for (int32_t k = 0; k < share; ++k) result[readers[static_cast<size_t>(i)]->id].push_back({topic, next++});
    }
  }
  return result;
}

Assignment assign_cooperative(std::vector<GroupMate> members, const std::map<std::string, int32_t>& partitions_of_topics) {
  sort_members(members);
  // Of two members that claim a partition, the one of the later generation has it.
  std::map<TopicPartition, const GroupMate*> owners;
  for (const GroupMate& member : members) {
    for (const TopicPartition& partition : member.owned) {
      auto topic = partitions_of_topics.find(partition.topic);
      if (topic == partitions_of_topics.end() || partition.partition >= topic->second || !reads(member, partition.topic)) continue;
      const GroupMate*& owner = owners[partition];
      if (owner == nullptr || owner->generation < member.generation) owner = &member;
    }
  }
  Assignment result;
  for (const GroupMate& member : members) result[member.id];
  auto least = [&](const std::string& topic) {
    const GroupMate* best = nullptr;
    for (const GroupMate& member : members) {
      if (reads(member, topic) && (best == nullptr || result[member.id].size() < result[best->id].size())) best = &member;
    }
    return best;
  };
  for (const auto& [partition, owner] : owners) result[owner->id].push_back(partition);
  for (const auto& [topic, count] : partitions_of_topics) {
    for (int32_t i = 0; i < count; ++i) {
      if (owners.contains({topic, i})) continue;
      if (const GroupMate* member = least(topic)) result[member->id].push_back({topic, i});
    }
  }
  // From whoever has two more than another reader of the same topic, until nobody has.
  for (bool moved = true; moved;) {
    moved = false;
    for (auto& [id, partitions] : result) {
      for (size_t i = partitions.size(); i-- > 0 && !moved;) {
        const GroupMate* to = least(partitions[i].topic);
        if (to == nullptr || partitions.size() < result[to->id].size() + 2) continue;
        result[to->id].push_back(partitions[i]);
        partitions.erase(partitions.begin() + static_cast<ptrdiff_t>(i));
        moved = true;
      }
      if (moved) break;
    }
  }
  for (auto& [id, partitions] : result) {
    std::erase_if(partitions, [&, name = id](const TopicPartition& partition) {
      auto owner = owners.find(partition);
      return owner != owners.end() && owner->second->id != name;
    });
    std::sort(partitions.begin(), partitions.end());
  }
  return result;
}

}  // namespace odradek::client

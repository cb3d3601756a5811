// The committed offsets of one group, and those of open transactions that become visible when their marker is COMMIT.
// Thread: none of its own (a shard's strand). Source: disk.md §7, behaviours.md §6.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/string_map.h"
#include "coordinator/group/group.h"
#include "model/types.h"

namespace odradek::coordinator {

struct CommittedOffset {
  Offset offset{-1};
  LeaderEpoch leader_epoch = kNoLeaderEpoch;
  std::string metadata;
  int64_t commit_timestamp_ms = 0;
  int64_t expire_timestamp_ms = -1;  // set by commits that brought a retention time of their own; -1: the broker's rule
  Offset record{-1};                 // where it stands in __consumer_offsets: of two commits the later one counts
};

class GroupOffsets {
 public:
  using Topic = absl::flat_hash_map<int32_t, CommittedOffset>;

  // Null: none.
  const CommittedOffset* find(std::string_view topic, int32_t partition) const;
  const base::StringMap<Topic>& topics() const { return topics_; }
  bool empty() const { return topics_.empty() && pending_.empty(); }
  size_t size() const { return size_; }

  void put(std::string_view topic, int32_t partition, CommittedOffset offset);
  bool remove(std::string_view topic, int32_t partition);

  // --- transactions ---------------------------------------------------------------------------------------------------------
  void put_pending(ProducerId producer, std::string_view topic, int32_t partition, CommittedOffset offset);
  // The marker: on commit what it wrote counts, unless a later record of the same partition is there already.
  void complete(ProducerId producer, bool commit);
  bool has_pending(std::string_view topic, int32_t partition) const;
  bool has_pending() const { return !pending_.empty(); }

  // What may go now. Rules: an explicit expiry is taken at its word; else `retention_ms` after the group became empty (a group with
  // members before), after the commit (no members ever), or after the commit for topics that no member of a stable consumer group
  // is subscribed to. Nothing of an open transaction.
  std::vector<TopicPartition> expired(const Group& group, int64_t now_wall_ms, int64_t retention_ms) const;

 private:
  base::StringMap<Topic> topics_;
  absl::flat_hash_map<int64_t, base::StringMap<Topic>> pending_;  // by producer id
  size_t size_ = 0;
};

}  // namespace odradek::coordinator

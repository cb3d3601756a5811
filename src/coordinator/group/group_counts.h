// What the metrics show of groups; kept by the shards, read by the web thread. Thread: any.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "coordinator/group/group.h"

namespace odradek::coordinator {

struct GroupCounts {
  std::array<std::atomic<int64_t>, 5> groups{};  // by GroupState
  std::atomic<int64_t> offsets{0};
  std::atomic<int64_t> held_bytes{0};            // what memberships take in memory: GroupConfig::membership_max_bytes bounds it
  std::atomic<uint64_t> commits{0};              // offsets committed
  std::atomic<uint64_t> expirations{0};          // offsets expired
  std::atomic<uint64_t> rebalances{0};           // completed

  std::atomic<int64_t>& of(GroupState state) { return groups[static_cast<size_t>(state)]; }
  int64_t total() const {
    int64_t sum = 0;
    for (const auto& count : groups) sum += count.load(std::memory_order_relaxed);
    return sum;
  }
};

// The share of one group in the counts. It must be taken out again: gone().
// Thread: the strand of its shard.
class CountedGroup {
 public:
  // As the group is now.
  void update(GroupCounts& counts, GroupState state, size_t offsets, size_t held_bytes);
  void gone(GroupCounts& counts);

 private:
  void set(GroupCounts& counts, std::optional<GroupState> state, size_t offsets, size_t held_bytes);

  std::optional<GroupState> state_;
  size_t offsets_ = 0;
  size_t held_bytes_ = 0;
};

}  // namespace odradek::coordinator

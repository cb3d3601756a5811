#include "coordinator/group/group_counts.h"

namespace odradek::coordinator {

void CountedGroup::update(GroupCounts& counts, GroupState state, size_t offsets, size_t held_bytes) { set(counts, state, offsets, held_bytes); }

void CountedGroup::gone(GroupCounts& counts) { set(counts, std::nullopt, 0, 0); }

void CountedGroup::set(GroupCounts& counts, std::optional<GroupState> state, size_t offsets, size_t held_bytes) {
  if (offsets != offsets_) {
    counts.offsets.fetch_add(static_cast<int64_t>(offsets) - static_cast<int64_t>(offsets_), std::memory_order_relaxed);
    offsets_ = offsets;
  }
  if (held_bytes != held_bytes_) {
    counts.held_bytes.fetch_add(static_cast<int64_t>(held_bytes) - static_cast<int64_t>(held_bytes_), std::memory_order_relaxed);
    held_bytes_ = held_bytes;
  }
  if (state == state_) return;
  if (state_ == GroupState::kCompletingRebalance && state == GroupState::kStable) counts.rebalances.fetch_add(1, std::memory_order_relaxed);
  if (state_) counts.of(*state_).fetch_sub(1, std::memory_order_relaxed);
  if (state) counts.of(*state).fetch_add(1, std::memory_order_relaxed);
  state_ = state;
}

}  // namespace odradek::coordinator

#include "replication/partition/role_gate.h"

namespace odradek::replication {

ErrorCode RoleWord::check(LeaderEpoch asked, bool leader_only) const {
  if (role() == Role::kOffline) return ErrorCode::kKafkaStorageError;
  if (role() == Role::kNone) return ErrorCode::kNotLeaderOrFollower;
  if (asked != kNoLeaderEpoch) {
    if (asked < epoch()) return ErrorCode::kFencedLeaderEpoch;
    if (asked > epoch()) return ErrorCode::kUnknownLeaderEpoch;
  }
  if (leader_only && role() != Role::kLeader) return ErrorCode::kNotLeaderOrFollower;
  return ErrorCode::kNone;
}

RoleWord RoleGate::enter() const {
  while (true) {
    inside_.fetch_add(1, std::memory_order_seq_cst);
    const RoleWord word(word_.load(std::memory_order_seq_cst));
    if (!word.is_changing()) return word;
    leave();
    wait_for_change();
  }
}

void RoleGate::leave() const {
  if (inside_.fetch_sub(1, std::memory_order_seq_cst) == 1 && RoleWord(word_.load(std::memory_order_seq_cst)).is_changing()) inside_.notify_all();
}

void RoleGate::close() {
  word_.fetch_or(RoleWord::kChanging, std::memory_order_seq_cst);
  for (uint32_t inside; (inside = inside_.load(std::memory_order_seq_cst)) != 0;) inside_.wait(inside);
}

void RoleGate::open(RoleWord word) { word_.store(word.bits_, std::memory_order_seq_cst); }

}  // namespace odradek::replication

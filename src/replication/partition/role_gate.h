// The role and leader epoch of a partition, and the gate in front of its appends: they enter and leave; a change of role closes the gate and
// waits until none is inside.
// Both stand in one word, so that who looks sees those of one moment.
// Memory order: enter and close() are sequentially consistent: either the append sees the gate closed, or the change sees it inside.
// Thread: any; one change at a time, by `change_mutex`.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "model/error_code.h"
#include "model/types.h"
#include "replication/partition/types.h"

namespace odradek::replication {

class RoleWord {
 public:
  RoleWord(Role role, LeaderEpoch epoch) : bits_((static_cast<uint64_t>(static_cast<uint32_t>(epoch.value)) << 3) | static_cast<uint64_t>(role)) {}

  Role role() const { return static_cast<Role>(bits_ & kRoleMask); }
  // -1 before the first LeaderAndIsr.
  LeaderEpoch epoch() const { return {static_cast<int32_t>(static_cast<uint32_t>(bits_ >> 3))}; }
  bool is_changing() const { return (bits_ & kChanging) != 0; }  // the gate is closed
  bool is_same_role(const RoleWord& other) const { return (bits_ & ~kChanging) == (other.bits_ & ~kChanging); }
  // What a request is answered that asks for the epoch `asked` (-1: any): kNone; kNotLeaderOrFollower; kFencedLeaderEpoch /
  // kUnknownLeaderEpoch when it is another one; kKafkaStorageError when the log dir is offline.
  ErrorCode check(LeaderEpoch asked, bool leader_only) const;

 private:
  friend class RoleGate;
  static constexpr uint64_t kRoleMask = 3;
  static constexpr uint64_t kChanging = 4;
  explicit RoleWord(uint64_t bits) : bits_(bits) {}

  uint64_t bits_;
};

class RoleGate {
 public:
  RoleGate() = default;
  RoleGate(const RoleGate&) = delete;

  RoleWord word() const { return RoleWord(word_.load(std::memory_order_acquire)); }

  // Inside for as long as it lives: the role is that of word(). Waits while the role changes.
  class Inside {
   public:
    explicit Inside(const RoleGate& gate) : gate_(gate), word_(gate.enter()) {}
    ~Inside() { gate_.leave(); }
    Inside(const Inside&) = delete;
    RoleWord word() const { return word_; }

   private:
    const RoleGate& gate_;
    const RoleWord word_;
  };

  // Waits until none is inside; the caller holds nothing that those inside need to leave. open() gives the role that holds then.
  void close() REQUIRES(change_mutex);
  void open(RoleWord word) REQUIRES(change_mutex);
  // Until the change that is under way, if one is, has ended.
  void wait_for_change() const EXCLUDES(change_mutex) { base::MutexLock wait(change_mutex); }

  mutable base::Mutex change_mutex;

 private:
  RoleWord enter() const;
  void leave() const;

  std::atomic<uint64_t> word_{RoleWord(Role::kNone, kNoLeaderEpoch).bits_};
  mutable std::atomic<uint32_t> inside_{0};
};

}  // namespace odradek::replication

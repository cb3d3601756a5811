// Who waits for something to happen to one partition. Used for operations that cannot be answered yet: each stands in the list
// of every partition that could complete it, as data, not as a thread.
// No wake-up is lost: a waiter registers and then looks at the state; an event changes the state and then looks at the list. Both
// touch count_ with a read-modify-write, so one of the two comes second and sees what the other did before.
// Cost: an event with nobody waiting is one atomic operation; registering and leaving are O(1).
// Thread: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace odradek::replication {

// A parked operation. Held by shared_ptr: by the lists it stands in, by its timer, and by whoever is checking it.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // Something happened to the partition registered under `tag`. Completes the operation if it can be. Thread: any, several at once.
  virtual void check(uint32_t tag) = 0;
};

class WaitList {
 public:
  // Where a waiter stands in one list; lives in the waiter and does not move while it stands there. Guarded by the list's mutex.
  class Slot {
    friend class WaitList;
    static constexpr uint32_t kNowhere = ~0u;
    uint32_t index_ = kNowhere;
  };

  WaitList() = default;
  WaitList(const WaitList&) = delete;

  void add(std::shared_ptr<Waiter> waiter, uint32_t tag, Slot& slot);
  // Not there (any more): nothing happens.
  void remove(Slot& slot);
  bool has_waiters() const { return count_.fetch_add(0, std::memory_order_acq_rel) != 0; }
  // Checks every waiter; no lock is held meanwhile.
  void wake();
  size_t size() const { return count_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    std::shared_ptr<Waiter> waiter;
    Slot* slot = nullptr;
    uint32_t tag = 0;
  };
  base::Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
  mutable std::atomic<uint32_t> count_{0};
};

}  // namespace odradek::replication

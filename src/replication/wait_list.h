// Who waits for something to happen to one partition. Used by the purgatory: an operation that cannot be answered yet stands in
// the list of each partition that could complete it, as data, not as a thread.
// No wake-up is lost: a waiter registers and then looks again at the state; an event changes the state and then looks at the
// list. Both sides are sequentially consistent, so at least one of the two sees the other.
// Cost: an event with nobody waiting is one load.
// Thread: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace odradek::replication {

// A parked operation. Held by shared_ptr: by the lists it stands in, its timer, and whoever is checking it.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // Something happened to the partition registered under `tag`. Completes the operation if it can be. Thread: any, several at once.
  virtual void check(uint32_t tag) = 0;
  // Completed or given up: lists drop it when they meet it.
  virtual bool is_done() const = 0;
};

class WaitList {
 public:
  void add(std::shared_ptr<Waiter> waiter, uint32_t tag);
  // After completion, so that a long-lived list does not grow by waiters that completed elsewhere.
  void remove(const Waiter* waiter);
  bool has_waiters() const { return count_.load(std::memory_order_seq_cst) != 0; }
  // Checks every waiter; no lock is held meanwhile.
  void wake();
  size_t size() const { return count_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    std::shared_ptr<Waiter> waiter;
    uint32_t tag = 0;
  };
  base::Mutex mutex_;
  std::vector<Entry> entries_ GUARDED_BY(mutex_);
  std::atomic<uint32_t> count_{0};
};

}  // namespace odradek::replication

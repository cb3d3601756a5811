// Lets a thread sleep until a condition over lock-free data may have changed, without a lock around the data.
//   waiter:   key = prepare_wait(); if (condition) cancel_wait(); else commit_wait(key);     (in a loop)
//   notifier: change the data; notify_one() or notify_all();
// No wake-up is lost: waiter and notifier both modify `state_`. If the notifier comes second it sees the waiter and wakes it; if
// it comes first, the waiter's prepare_wait has read its modification, hence sees the changed data.
// Cost: notify is one atomic addition, and a system call only if somebody waits. Thread: any.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <climits>
#include <cstdint>

namespace odradek::base {

class EventCount {
 public:
  using Key = uint32_t;

  Key prepare_wait() { return static_cast<Key>(state_.fetch_add(kWaiter, std::memory_order_acq_rel) >> 32); }
  void cancel_wait() { state_.fetch_sub(kWaiter, std::memory_order_acq_rel); }
  // May return without a notification.
  void commit_wait(Key key) {
    if (static_cast<Key>(state_.load(std::memory_order_acquire) >> 32) == key) {
      ::syscall(SYS_futex, epoch(), FUTEX_WAIT_PRIVATE, key, nullptr, nullptr, 0);
    }
    cancel_wait();
  }

  void notify_one() { notify(1); }
  void notify_all() { notify(INT_MAX); }

  // Threads between prepare_wait and the end of their wait.
  uint32_t waiters() const { return static_cast<uint32_t>(state_.load(std::memory_order_relaxed)); }
  // The same for a notifier that has changed the data: whoever is not among them will see the change before it waits.
  uint32_t waiters_after_change() { return static_cast<uint32_t>(state_.fetch_add(0, std::memory_order_acq_rel)); }

 private:
  static constexpr uint64_t kWaiter = 1;
  static constexpr uint64_t kEpoch = 1ull << 32;

  void notify(int how_many) {
    // Acquire-release: meets prepare_wait, see above.
    if (static_cast<uint32_t>(state_.fetch_add(kEpoch, std::memory_order_acq_rel)) != 0) {
      ::syscall(SYS_futex, epoch(), FUTEX_WAKE_PRIVATE, how_many, nullptr, nullptr, 0);
    }
  }
  // The half of `state_` that the kernel compares.
  uint32_t* epoch() {
    auto* words = reinterpret_cast<uint32_t*>(&state_);
    return std::endian::native == std::endian::little ? words + 1 : words;
  }

  std::atomic<uint64_t> state_{0};  // high half: epoch, low half: waiters
};

}  // namespace odradek::base

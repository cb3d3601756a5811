// Time that a thread spends waiting for work, readable from outside while it waits.
#pragma once

#include <atomic>
#include <cstdint>

namespace odradek::net {

// Thread: begin/end by the measured thread, idle_ns() by any.
class IdleMeter {
 public:
  void begin(int64_t now_ns) { since_.store(now_ns, std::memory_order_relaxed); }
  void end(int64_t now_ns) {
    int64_t since = since_.load(std::memory_order_relaxed);
    // The sum first: a reader between the two stores sees the span twice for a moment, never not at all.
    idle_.store(idle_.load(std::memory_order_relaxed) + (now_ns - since), std::memory_order_relaxed);
    since_.store(0, std::memory_order_release);
  }
  // All waiting up to `now_ns`, the present wait included.
  int64_t idle_ns(int64_t now_ns) const {
    int64_t since = since_.load(std::memory_order_acquire);
    int64_t idle = idle_.load(std::memory_order_relaxed);
    return since == 0 || now_ns < since ? idle : idle + (now_ns - since);
  }

 private:
  std::atomic<int64_t> idle_{0};
  std::atomic<int64_t> since_{0};  // 0: awake
};

// Sums over a pool of threads. Between two readings: idle ratio = difference of idle_ns / difference of alive_ns.
struct IdleTimes {
  int64_t idle_ns = 0;
  int64_t alive_ns = 0;  // threads x time since each was started
  int threads = 0;
};

}  // namespace odradek::net

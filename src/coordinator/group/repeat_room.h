// What an OffsetFetch may be told more than once. A group, or a partition of it, that a request names again is described again, as
// Kafka does: some bytes of the request bring kilobytes of the answer. All that is told again in one request has this much room.
// Thread: any; shared by the shards that answer one request.
#pragma once

#include <atomic>
#include <cstdint>

namespace odradek::coordinator {

class RepeatRoom {
 public:
  static constexpr int64_t kBytes = 1 << 20;
  // False: there is no room for as much; none is taken.
  bool take(int64_t bytes) {
    int64_t left = left_.load(std::memory_order_relaxed);
    while (left >= bytes) {
      if (left_.compare_exchange_weak(left, left - bytes, std::memory_order_relaxed)) return true;
    }
    return false;
  }

 private:
  std::atomic<int64_t> left_{kBytes};
};

}  // namespace odradek::coordinator

// Over which connection a pipelined fetch goes, and over how many: one TCP connection carries no more than its receive window in a
// round trip, so that a long way at a high rate wants several. Answers are taken in the order of the requests, so the slowest connection holds up
// all: the next request goes where the fewest are on the way.
// Thread: belongs to a lane's executor.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace odradek::replication {

class Striping {
 public:
  // A little less than a window left to the kernel lets through in a round trip (net.ipv4.tcp_rmem of Linux: 6 MiB, of which 2.7 MB are data).
  static constexpr int64_t kWindowBytes = 9 << 18;
  // A connection that has only one answer to carry rests for a round trip behind each, and its congestion control never learns what the way carries.
  static constexpr size_t kRequestsOfConnection = 4;
  static constexpr size_t kMostRequests = 64;
  static constexpr int64_t kMeasureMs = 500;

  // From `least` connections up to `most`, which is at least as many; `window_bytes`: of one connection.
  Striping(int least, int most, int64_t window_bytes = kWindowBytes)
      : most_(static_cast<size_t>(std::max({least, most, 1}))), window_bytes_(std::max<int64_t>(window_bytes, 1)), on_the_way_(static_cast<size_t>(std::max(least, 1))) {}

  size_t connections() const { return on_the_way_.size(); }
  // On the way at a time, all together.
  size_t most_requests() const { return std::min(kRequestsOfConnection * on_the_way_.size(), kMostRequests); }
  // The connection of the next request, which counts as on its way.
  size_t take();
  void answered(size_t connection);
  // All connections are given up, with what was on the way.
  void restart();
  // True: it is time to measure().
  bool received(int64_t bytes, int64_t now_ms);
  // Half as many connections more where those there are carry as much as their windows let through. `round_trip` 0: not known, nothing is added.
  void measure(int64_t now_ms, std::chrono::microseconds round_trip);

 private:
  struct Load {
    size_t requests = 0;
    uint64_t last = 0;  // in the order of requests: of those with equal load the one that rested longest is next, so that none idles until it is closed
  };
  const size_t most_;
  const int64_t window_bytes_;
  std::vector<Load> on_the_way_;
  uint64_t taken_ = 0;
  int64_t since_ms_ = 0, bytes_ = 0;
};

}  // namespace odradek::replication

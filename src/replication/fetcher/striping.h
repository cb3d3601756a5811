// Over which connection a pipelined fetch goes, how much its answer may carry, and over how many connections they go: one TCP connection carries no
// more than its window in a round trip, so that a long way at a high rate wants several. Answers are taken in the order of the requests: whatever came
// before its turn waits for the slowest connection. So the next request goes where the fewest are on the way, and a connection is asked for no
// more at a time than it carries in three round trips, of a new one for next to nothing.
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
  // The share of their windows that connections use when they wait for each other.
  static constexpr double kUsed = 0.75;
  // A connection that has only one answer to carry rests for a round trip behind each, and its congestion control never learns what the way carries.
  static constexpr size_t kRequestsOfConnection = 4;
  static constexpr size_t kMostRequests = 64;
  // A new TCP connection carries 14 KB in its first round trip, twice as much in the next: one answer at a time, each twice the former, until it
  // has learnt something.
  static constexpr int64_t kFirstBytes = 32 << 10;
  static constexpr int64_t kLearntBytes = 128 << 10;
  static constexpr int64_t kMeasureMs = 500;
  // On a shorter way nobody waits long for anybody.
  static constexpr int64_t kShortestRoundTripMs = 20;

  struct Limits {
    int least = 4, most = 16;                 // connections; `most` counts as `least` at least
    int64_t window_bytes = kWindowBytes;      // of one connection
    int64_t in_flight_bytes = 64 << 20;       // asked for on all, or here before its turn
    int64_t response_max_bytes = 10 << 20;    // of one answer
  };
  explicit Striping(const Limits& limits)
      : limits_(limits), on_the_way_(static_cast<size_t>(std::max(limits.least, 1))) {}

  size_t connections() const { return on_the_way_.size(); }
  // On the way at a time, all together.
  size_t most_requests() const;
  // The connection of the next request, which counts as on its way.
  size_t take(int64_t now_ms);
  // What the answer to the next request on it may carry. As many as are on the way may be here before their turn.
  int64_t answer_bytes(size_t connection) const;
  // `bytes` of records were in the answer.
  void answered(size_t connection, int64_t bytes, int64_t now_ms);
  // All connections are given up, with what was on the way.
  void restart();
  // True: it is time to measure().
  bool received(int64_t bytes, int64_t now_ms);
  // Half as many connections more where those there are carry as much as can be used of their windows. `round_trip` 0: not known, nothing is added.
  void measure(int64_t now_ms, std::chrono::microseconds round_trip);

 private:
  struct Load {
    size_t requests = 0;
    uint64_t last = 0;  // in the order of requests: of those with equal load the one that rested longest is next, so that none idles until it is closed
    int64_t answer_bytes = kFirstBytes;
    // Since when it has been busy, and what has come since: a round trip at least makes the next answer_bytes.
    int64_t since_ms = 0, bytes = 0;

    bool has_learnt = false;

    void begin(int64_t now_ms) { since_ms = now_ms, bytes = 0; }
    size_t most_requests() const { return has_learnt ? kRequestsOfConnection : 1; }
  };
  const Limits limits_;
  std::vector<Load> on_the_way_;
  uint64_t taken_ = 0;
  int64_t round_trip_ms_ = kShortestRoundTripMs;
  bool measured_ = false;
  int64_t since_ms_ = 0, bytes_ = 0;
};

}  // namespace odradek::replication

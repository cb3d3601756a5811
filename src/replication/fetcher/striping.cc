#include "replication/fetcher/striping.h"

#include <tuple>
#include <utility>

namespace odradek::replication {

size_t Striping::most_requests() const {
  size_t most = 0;
  for (const Load& load : on_the_way_) most += load.most_requests();
  return std::min(most, kMostRequests);
}

size_t Striping::take(int64_t now_ms) {
  auto least = std::min_element(on_the_way_.begin(), on_the_way_.end(), [](const Load& a, const Load& b) {
    const auto rank = [](const Load& load) { return std::tuple(load.requests >= load.most_requests(), load.requests, load.last); };
    return rank(a) < rank(b);
  });
  if (least->requests++ == 0) least->begin(now_ms);
  least->last = ++taken_;
  return static_cast<size_t>(least - on_the_way_.begin());
}

int64_t Striping::answer_bytes(size_t connection) const {
  const int64_t share = limits_.in_flight_bytes / static_cast<int64_t>(2 * most_requests());
  return std::max<int64_t>(std::min({on_the_way_[connection].answer_bytes, share, limits_.response_max_bytes}), 1);
}

void Striping::answered(size_t connection, int64_t bytes, int64_t now_ms) {
  Load& load = on_the_way_[connection];
  --load.requests;
  load.bytes += bytes;
  // Where the leader had no more, or with nothing behind it, it says nothing of what the connection could carry.
  const bool full = bytes >= answer_bytes(connection) / 2;
  if (full && !load.has_learnt) {
    load.answer_bytes *= 2;
    load.has_learnt = load.answer_bytes >= kLearntBytes;
  }
  if (!full || load.requests == 0) return load.begin(now_ms);
  const int64_t elapsed_ms = now_ms - load.since_ms;
  if (elapsed_ms < round_trip_ms_) return;
  // Four of three quarters of what it carries in a round trip: enough to carry twice as much in the next one, also in whole batches.
  load.answer_bytes = std::max(load.bytes * round_trip_ms_ / elapsed_ms * 3 / 4, kFirstBytes);
  load.begin(now_ms);
}

void Striping::restart() {
  std::fill(on_the_way_.begin(), on_the_way_.end(), Load{});
  bytes_ = 0;
}

bool Striping::received(int64_t bytes, int64_t now_ms) {
  if (bytes_ == 0) since_ms_ = now_ms;
  bytes_ += bytes;
  return !measured_ || now_ms - since_ms_ >= kMeasureMs;
}

void Striping::measure(int64_t now_ms, std::chrono::microseconds round_trip) {
  round_trip_ms_ = std::max<int64_t>(round_trip.count() / 1000, kShortestRoundTripMs);
  // The first time is for the round trip alone.
  if (!std::exchange(measured_, true)) return;
  const int64_t elapsed_ms = std::max<int64_t>(now_ms - since_ms_, 1);
  // What came in a round trip is what was on the way at a time.
  const double on_the_way = static_cast<double>(bytes_) / (static_cast<double>(elapsed_ms) * 1000) * static_cast<double>(round_trip.count());
  bytes_ = 0;
  const double usable = kUsed * static_cast<double>(std::max<int64_t>(limits_.window_bytes, 1)) * static_cast<double>(on_the_way_.size());
  if (on_the_way < usable) return;
  // Not more at once: they share what the way carries, and have to learn it.
  const size_t more = std::max<size_t>(on_the_way_.size() / 2, 1);
  const size_t most = static_cast<size_t>(std::max({limits_.least, limits_.most, 1}));
  on_the_way_.resize(std::min(on_the_way_.size() + more, most));
}

}  // namespace odradek::replication

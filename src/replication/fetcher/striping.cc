#include "replication/fetcher/striping.h"

namespace odradek::replication {

size_t Striping::take() {
  auto least = std::min_element(on_the_way_.begin(), on_the_way_.end(), [](const Load& a, const Load& b) {
    return a.requests != b.requests ? a.requests < b.requests : a.last < b.last;
  });
  ++least->requests;
  least->last = ++taken_;
  return static_cast<size_t>(least - on_the_way_.begin());
}

void Striping::answered(size_t connection) { --on_the_way_[connection].requests; }

void Striping::restart() {
  for (Load& load : on_the_way_) load.requests = 0;
  bytes_ = 0;
}

bool Striping::received(int64_t bytes, int64_t now_ms) {
  if (bytes_ == 0) since_ms_ = now_ms;
  bytes_ += bytes;
  return now_ms - since_ms_ >= kMeasureMs;
}

void Striping::measure(int64_t now_ms, std::chrono::microseconds round_trip) {
  const int64_t elapsed_ms = std::max<int64_t>(now_ms - since_ms_, 1);
  // What came in a round trip is what was on the way at a time.
  const double on_the_way = static_cast<double>(bytes_) / (static_cast<double>(elapsed_ms) * 1000) * static_cast<double>(round_trip.count());
  bytes_ = 0;
  // Not more at once: answers on a new connection are slow for some round trips, and those behind them wait.
  const size_t more = std::max<size_t>(on_the_way_.size() / 2, 1);
  if (on_the_way >= static_cast<double>(window_bytes_) * static_cast<double>(on_the_way_.size())) on_the_way_.resize(std::min(on_the_way_.size() + more, most_));
}

}  // namespace odradek::replication

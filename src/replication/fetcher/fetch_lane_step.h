// Shared by the sources of FetchLane.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>

#include "base/clock.h"
#include "replication/fetcher/fetch_lane.h"

namespace odradek::replication {

// Says that the executor works for the lane.
class FetchLane::Step {
 public:
  explicit Step(FetchLane& lane) : lane_(lane) {
    lane_.busy_since_ms_.store(std::max<int64_t>(1, lane.context_->runtime.clock().monotonic_ms()), std::memory_order_relaxed);
  }
  ~Step() { lane_.busy_since_ms_.store(0, std::memory_order_relaxed); }
  Step(const Step&) = delete;

 private:
  FetchLane& lane_;
};

template <class Answer>
UniqueFunction<void(Answer)> FetchLane::here(UniqueFunction<void(FetchLane&, Answer)> then) {
  auto arrived = std::make_shared<std::optional<Answer>>();  // shared: by the one who answers and the task that takes it
  Task task = executor_.posting([weak = weak_from_this(), era = era_, arrived, then = std::move(then)]() mutable {
    auto lane = weak.lock();
    if (lane == nullptr || lane->era_ != era) return;
    Step inside(*lane);
    then(*lane, std::move(**arrived));
  });
  return [arrived, task = std::move(task)](Answer answer) mutable {
    arrived->emplace(std::move(answer));
    task();
  };
}

}  // namespace odradek::replication

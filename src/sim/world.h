// One virtual world: time, chance, what happens next, the trace of it and what was found wrong.
// Time stands still while something runs; when nothing can run it jumps to the next thing that is due.
// Thread: one. Everything in this room runs on it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/function.h"
#include "base/random.h"

namespace odradek::sim {

// splitmix64
class SeededRandom final : public base::Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  uint64_t next() override;
  // True in `percent` of the calls.
  bool chance(uint64_t percent) { return below(100) < percent; }
  // low <= result <= high.
  int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low + 1))); }

 private:
  uint64_t state_;
};

// Something whose tasks the world picks from: the executors of one broker.
class TaskSource {
 public:
  virtual ~TaskSource() = default;
  virtual size_t runnable() = 0;
  virtual void run(size_t index) = 0;
  // Earliest moment at which something becomes runnable; INT64_MAX: none.
  virtual int64_t next_ns() = 0;
};

class World {
 public:
  World(uint64_t seed, bool verbose) : random(seed), verbose_(verbose) {}

  SeededRandom random;

  int64_t now_ns() const { return now_ns_; }
  int64_t now_ms() const { return now_ns_ / 1'000'000; }
  void spend(int64_t ns) { now_ns_ += ns; }

  using EventId = uint64_t;
  EventId at(int64_t when_ns, Task task);
  EventId after_ms(int64_t ms, Task task) { return at(now_ns_ + ms * 1'000'000, std::move(task)); }
  EventId after_us(int64_t us, Task task) { return at(now_ns_ + us * 1'000, std::move(task)); }
  bool cancel(EventId id);

  void add(TaskSource* source) { sources_.push_back(source); }
  void remove(TaskSource* source) { std::erase(sources_, source); }

  // One thing happens. False: nothing is left to happen.
  bool step();
  int64_t steps() const { return steps_; }
  int64_t operations = 0;  // requests of clients that were answered, or that want no answer

  // Every line is part of the trace's hash; printed if verbose.
  template <class... Args>
  void trace(fmt::format_string<Args...> format, Args&&... args) {
    line(fmt::format(format, std::forward<Args>(args)...));
  }
  uint64_t trace_hash() const { return hash_; }

  // A promise was broken. The first one is kept.
  void violation(const std::string& what);
  bool failed() const { return !violation_.empty(); }
  const std::string& what_failed() const { return violation_; }

  static constexpr int64_t kStartMs = 1'700'000'000'000;

 private:
  void line(const std::string& text);

  const bool verbose_;
  int64_t now_ns_ = kStartMs * 1'000'000;
  int64_t steps_ = 0;
  EventId last_id_ = 0;
  std::map<std::pair<int64_t, EventId>, Task> events_;
  std::map<EventId, int64_t> due_of_;
  std::vector<TaskSource*> sources_;
  uint64_t hash_ = 0xcbf29ce484222325ull;
  std::string violation_;
};

}  // namespace odradek::sim

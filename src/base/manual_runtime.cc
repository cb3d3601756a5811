#include "base/manual_runtime.h"

#include <algorithm>
#include <atomic>

#include "base/check.h"

namespace odradek::base {

class ManualRuntime::ManualClock final : public Clock {
 public:
  int64_t wall_ms() const override { return now_ms.load(); }
  int64_t monotonic_ns() const override { return now_ms.load() * 1'000'000; }
  std::atomic<int64_t> now_ms{kStartMs};
};

class ManualRuntime::SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed) : state_(seed) {}
  // splitmix64
  uint64_t next() override {
    MutexLock lock(mutex_);
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }

 private:
  Mutex mutex_;
  uint64_t state_ GUARDED_BY(mutex_);
};

class ManualRuntime::ManualTimers final : public Timers {
 public:
  explicit ManualTimers(ManualClock& clock) : clock_(clock) {}

  TimerId after(std::chrono::milliseconds delay, Task task) override {
    MutexLock lock(mutex_);
    const TimerId id = ++last_id_;
    const int64_t due = clock_.now_ms + std::max<int64_t>(delay.count(), 0);
    by_due_.emplace(std::pair(due, id), std::move(task));
    due_of_.emplace(id, due);
    return id;
  }

  bool cancel(TimerId id) override {
    Task dropped;  // may own anything: destroyed outside the lock
    MutexLock lock(mutex_);
    auto found = due_of_.find(id);
    if (found == due_of_.end()) return false;
    auto at = by_due_.find({found->second, id});
    dropped = std::move(at->second);
    by_due_.erase(at);
    due_of_.erase(found);
    return true;
  }

  // The next one due until `until`; false: none.
  bool take(int64_t until, int64_t& due, Task& task) {
    MutexLock lock(mutex_);
    if (by_due_.empty() || by_due_.begin()->first.first > until) return false;
    due = by_due_.begin()->first.first;
    task = std::move(by_due_.begin()->second);
    due_of_.erase(by_due_.begin()->first.second);
    by_due_.erase(by_due_.begin());
    return true;
  }
  size_t size() {
    MutexLock lock(mutex_);
    return by_due_.size();
  }

 private:
  ManualClock& clock_;
  Mutex mutex_;
  TimerId last_id_ GUARDED_BY(mutex_) = 0;
  std::map<std::pair<int64_t, TimerId>, Task> by_due_ GUARDED_BY(mutex_);
  std::map<TimerId, int64_t> due_of_ GUARDED_BY(mutex_);
};

class ManualRuntime::ManualExecutor final : public Executor {
 public:
  explicit ManualExecutor(ManualRuntime& runtime) : runtime_(runtime) {}
  ~ManualExecutor() override {
    close_door();
    while (runtime_.run_one(this)) {
    }
  }
  void post(Task task) override {
    MutexLock lock(runtime_.mutex_);
    runtime_.posted_.push_back({this, std::move(task)});
  }
  bool on_this_executor() const override { return runtime_.running_ == this; }

 private:
  ManualRuntime& runtime_;
};

ManualRuntime::ManualRuntime(FileSystem* files, uint64_t seed)
    : clock_(std::make_unique<ManualClock>()),
      random_(std::make_unique<SeededRandom>(seed)),
      timers_(std::make_unique<ManualTimers>(*clock_)),
      files_(files) {}
ManualRuntime::~ManualRuntime() = default;

Clock& ManualRuntime::clock() { return *clock_; }
Random& ManualRuntime::random() { return *random_; }
FileSystem& ManualRuntime::files() {
  CHECK(files_ != nullptr);
  return *files_;
}
Timers& ManualRuntime::timers() { return *timers_; }
std::unique_ptr<Executor> ManualRuntime::make_executor(const std::string&, int) { return std::make_unique<ManualExecutor>(*this); }

bool ManualRuntime::run_one(ManualExecutor* only) {
  Posted next{};
  {
    MutexLock lock(mutex_);
    auto found = std::find_if(posted_.begin(), posted_.end(), [&](const Posted& posted) { return only == nullptr || posted.executor == only; });
    if (found == posted_.end()) return false;
    next = std::move(*found);
    posted_.erase(found);
  }
  ManualExecutor* before = std::exchange(running_, next.executor);
  next.task();
  running_ = before;
  return true;
}

void ManualRuntime::run_until_idle() {
  while (run_one(nullptr)) {
  }
}

void ManualRuntime::advance(int64_t ms) {
  run_until_idle();
  const int64_t until = clock_->now_ms + ms;
  int64_t due;
  Task task;
  while (timers_->take(until, due, task)) {
    clock_->now_ms = std::max<int64_t>(clock_->now_ms, due);
    task();
    task = nullptr;
    run_until_idle();
  }
  clock_->now_ms = until;
}

size_t ManualRuntime::pending_timers() const { return timers_->size(); }

}  // namespace odradek::base

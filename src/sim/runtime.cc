#include "sim/runtime.h"

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "base/check.h"

namespace odradek::sim {

class SimRuntime::SimClock final : public base::Clock {
 public:
  explicit SimClock(World& world) : world_(world) {}
  int64_t wall_ms() const override { return world_.now_ms(); }
  int64_t monotonic_ns() const override { return world_.now_ns(); }

 private:
  World& world_;
};

class SimRuntime::SimTimers final : public base::Timers {
 public:
  explicit SimTimers(SimRuntime& runtime) : runtime_(runtime) {}
  ~SimTimers() override { halt(); }

  base::TimerId after(std::chrono::milliseconds delay, Task task) override {
    const base::TimerId id = ++last_id_;
    if (runtime_.lose && runtime_.lose("timer")) return id;
    World& world = runtime_.world_;
    int64_t late_us = world.random.chance(90) ? world.random.between(0, 1'500) : world.random.between(0, 20'000);
    int64_t due_ns = world.now_ns() + std::max<int64_t>(delay.count(), 0) * 1'000'000 + late_us * 1'000;
    tasks_.emplace(id, std::pair(World::EventId{0}, std::move(task)));
    if (!runtime_.halted_) tasks_[id].first = world.at(due_ns, [this, id] { fire(id); });
    return id;
  }
  bool cancel(base::TimerId id) override {
    auto found = tasks_.find(id);
    if (found == tasks_.end()) return false;
    if (found->second.first != 0) runtime_.world_.cancel(found->second.first);
    Task dropped = std::move(found->second.second);
    tasks_.erase(found);
    return true;
  }
  void go_on() {
    for (base::TimerId id : std::exchange(late_, {})) {
      auto found = tasks_.find(id);
      if (found != tasks_.end()) found->second.first = runtime_.world_.at(runtime_.world_.now_ns(), [this, id] { fire(id); });
    }
  }
  void halt() {
    for (auto& [id, timer] : tasks_) {
      if (timer.first != 0) runtime_.world_.cancel(std::exchange(timer.first, 0));
    }
  }

 private:
  void fire(base::TimerId id) {
    auto found = tasks_.find(id);
    if (runtime_.paused_) {
      found->second.first = 0;
      late_.push_back(id);
      return;
    }
    Task task = std::move(found->second.second);
    tasks_.erase(found);
    task();
  }

  SimRuntime& runtime_;
  base::TimerId last_id_ = 0;
  std::vector<base::TimerId> late_;
  std::map<base::TimerId, std::pair<World::EventId, Task>> tasks_;
};

// Each thread is a slot that is free from a moment on.
class SimRuntime::SimExecutor final : public base::Executor {
 public:
  SimExecutor(SimRuntime& runtime, std::string name, int threads)
      : runtime_(runtime), name_(std::move(name)), free_at_ns_(static_cast<size_t>(std::max(threads, 1)), 0) {
    runtime_.executors_.push_back(this);
  }
  ~SimExecutor() override {
    close_door();
    while (!tasks_.empty() && !runtime_.halted_) run();
    std::erase(runtime_.executors_, this);
    auto dropped = std::move(tasks_);
    tasks_.clear();
  }

  void post(Task task) override {
    if (runtime_.halted_) return;
    if (runtime_.lose && runtime_.lose(name_)) return;
    // What a call to the disk does is done when its task runs. So that others run between an append and the end of its flush, some
    // flushes begin late.
    World& world = runtime_.world_;
    const bool late = name_.starts_with("flush") && world.random.chance(25);
    tasks_.push_back({late ? world.now_ns() + world.random.between(100'000, 20'000'000) : 0, std::move(task)});
    earliest_ns_ = std::min(earliest_ns_, tasks_.back().not_before_ns);
  }
  bool on_this_executor() const override { return runtime_.running_ == this; }

  int64_t ready_ns() const { return std::max(earliest_ns_, free_ns_); }

  void run() {
    World& world = runtime_.world_;
    // With several threads the first few may start in any order.
    std::vector<size_t> ready;
    for (size_t i = 0; i < tasks_.size() && ready.size() < free_at_ns_.size(); ++i) {
      if (tasks_[i].not_before_ns <= world.now_ns()) ready.push_back(i);
    }
    const size_t pick = ready.empty() ? 0 : ready[world.random.below(ready.size())];  // none: the executor ends
    Task task = std::move(tasks_[pick].task);
    tasks_.erase(tasks_.begin() + static_cast<std::ptrdiff_t>(pick));
    earliest_ns_ = INT64_MAX;
    for (const Posted& one : tasks_) earliest_ns_ = std::min(earliest_ns_, one.not_before_ns);
    SimExecutor* before = std::exchange(runtime_.running_, this);
    int64_t held_up_before = std::exchange(runtime_.held_up_ns_, 0);
    task();
    task = nullptr;
    int64_t pause = std::exchange(runtime_.held_up_ns_, held_up_before);
    runtime_.running_ = before;
    if (world.random.chance(2)) pause += world.random.between(0, 8'000'000);  // the scheduler took the processor away
    *std::min_element(free_at_ns_.begin(), free_at_ns_.end()) = world.now_ns() + pause;
    free_ns_ = *std::min_element(free_at_ns_.begin(), free_at_ns_.end());
  }

 private:
  SimRuntime& runtime_;
  const std::string name_;
  struct Posted {
    int64_t not_before_ns;
    Task task;
  };
  std::deque<Posted> tasks_;
  std::vector<int64_t> free_at_ns_;
  // Asked all the time: when the first task may begin, and when the first thread is free.
  int64_t earliest_ns_ = INT64_MAX, free_ns_ = 0;
};

SimRuntime::SimRuntime(World& world, base::FileSystem* files)
    : world_(world),
      files_(files),
      random_(world.random.next()),
      clock_(std::make_unique<SimClock>(world)),
      timers_(std::make_unique<SimTimers>(*this)) {
  world_.add(this);
}

SimRuntime::~SimRuntime() {
  halt();
  world_.remove(this);
}

base::Clock& SimRuntime::clock() { return *clock_; }
base::FileSystem& SimRuntime::files() {
  CHECK(files_ != nullptr);
  return *files_;
}
base::Timers& SimRuntime::timers() { return *timers_; }
std::unique_ptr<base::Executor> SimRuntime::make_executor(const std::string& name, int threads) {
  return std::make_unique<SimExecutor>(*this, name, threads);
}

void SimRuntime::set_paused(bool paused) {
  paused_ = paused;
  if (!paused && !halted_) timers_->go_on();
}

void SimRuntime::halt() {
  halted_ = true;
  timers_->halt();
}

size_t SimRuntime::runnable() {
  if (halted_ || paused_) return 0;
  return static_cast<size_t>(std::count_if(executors_.begin(), executors_.end(), [&](auto* one) { return one->ready_ns() <= world_.now_ns(); }));
}

void SimRuntime::run(size_t index) {
  for (SimExecutor* one : executors_) {
    if (one->ready_ns() <= world_.now_ns() && index-- == 0) return one->run();
  }
}

int64_t SimRuntime::next_ns() {
  int64_t next = INT64_MAX;
  if (halted_ || paused_) return next;
  for (SimExecutor* one : executors_) next = std::min(next, one->ready_ns());
  return next;
}

bool SimWaiter::wait(UniqueFunction<void(Task done)> begin, std::chrono::milliseconds limit) {
  auto is_done = std::make_shared<bool>(false);  // shared: `done` may come after the limit
  begin([is_done] { *is_done = true; });
  const int64_t until_ns = world_.now_ns() + limit.count() * 1'000'000;
  while (!*is_done) {
    if (given_up_() || world_.failed() || world_.now_ns() >= until_ns || !world_.step()) return false;
  }
  return true;
}

}  // namespace odradek::sim

// base::Runtime of one life of a broker: its executors' tasks run in an order drawn from the seed, its timers a little late, its
// clock is the world's. halt() is the end of the process: nothing of it runs any more, what waits is dropped.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/waiter.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/file.h"
#include "sim/world.h"

namespace odradek::sim {

class SimRuntime final : public base::Runtime, public TaskSource {
 public:
  // `files` may be null.
  SimRuntime(World& world, base::FileSystem* files);
  ~SimRuntime() override;

  base::Clock& clock() override;
  base::Random& random() override { return random_; }
  base::FileSystem& files() override;
  base::Timers& timers() override;
  std::unique_ptr<base::Executor> make_executor(const std::string& name, int threads) override;

  // Nothing runs until it goes on; timers that came due meanwhile are due then.
  void set_paused(bool paused);
  bool paused() const { return paused_; }
  void halt();
  bool halted() const { return halted_; }
  // The thread that runs now was held up (by its disk).
  void hold_up(int64_t ns) { held_up_ns_ += ns; }

  // A planted bug: asked for each task that is posted (executor's name) and each timer ("timer"); true: it is lost.
  std::function<bool(const std::string& executor)> lose;

  size_t runnable() override;
  void run(size_t index) override;
  int64_t next_ns() override;

 private:
  class SimClock;
  class SimTimers;
  class SimExecutor;

  World& world_;
  base::FileSystem* files_;
  SeededRandom random_;
  std::unique_ptr<SimClock> clock_;
  std::unique_ptr<SimTimers> timers_;
  std::vector<SimExecutor*> executors_;  // in the order of making
  SimExecutor* running_ = nullptr;
  int64_t held_up_ns_ = 0;
  bool halted_ = false;
  bool paused_ = false;
};

// Start and stop of the broker wait while the world goes on.
class SimWaiter final : public app::Waiter {
 public:
  // `given_up`: nobody waits any more (the broker has died meanwhile).
  SimWaiter(World& world, std::function<bool()> given_up) : world_(world), given_up_(std::move(given_up)) {}
  bool wait(UniqueFunction<void(Task done)> begin, std::chrono::milliseconds limit) override;

 private:
  World& world_;
  std::function<bool()> given_up_;
};

}  // namespace odradek::sim

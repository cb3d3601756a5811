// A Runtime that a test drives by hand: time stands still until advance(), tasks wait until they are run, all on the caller's thread.
// Thread: tasks may be posted and timers set from any thread; run_until_idle() and advance() belong to one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/executor.h"
#include "base/file.h"
#include "base/mutex.h"
#include "base/random.h"

namespace odradek::base {

class ManualRuntime : public Runtime {
 public:
  // `files`: null = none, files() must not be called.
  explicit ManualRuntime(FileSystem* files = nullptr, uint64_t seed = 1);
  ~ManualRuntime() override;

  Clock& clock() override;
  Random& random() override;
  FileSystem& files() override;
  Timers& timers() override;
  std::unique_ptr<Executor> make_executor(const std::string& name, int threads) override;

  // Runs what was posted to the executors, in the order of posting, and what that posts.
  void run_until_idle();
  // Time goes on by `ms`; timers that fall due run in their order, with run_until_idle() behind each.
  void advance(int64_t ms);
  size_t pending_timers() const;
  // Both clocks start here.
  static constexpr int64_t kStartMs = 1'700'000'000'000;

 private:
  class ManualClock;
  class SeededRandom;
  class ManualTimers;
  class ManualExecutor;
  struct Posted {
    ManualExecutor* executor;
    Task task;
  };
  bool run_one(ManualExecutor* only);

  std::unique_ptr<ManualClock> clock_;
  std::unique_ptr<SeededRandom> random_;
  std::unique_ptr<ManualTimers> timers_;
  FileSystem* files_;
  mutable Mutex mutex_;
  std::deque<Posted> posted_ GUARDED_BY(mutex_);
  ManualExecutor* running_ = nullptr;
};

}  // namespace odradek::base

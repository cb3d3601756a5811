// Threads and timers, passed in so that a simulation can run every task from one loop in an order drawn from a seed.
// Rooms ask for an Executor by name and never start a thread themselves.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/function.h"
#include "base/mutex.h"

namespace odradek::base {

// Runs tasks: in order if it has one thread, in any order otherwise.
class Executor {
 public:
  // Waits until the tasks that were posted have run.
  virtual ~Executor() = default;
  // Thread: any. Never blocks; a task must not throw.
  virtual void post(Task task) = 0;
  // True on a thread of this executor.
  virtual bool on_this_executor() const = 0;

  // A task that posts `task` here, or drops it if this executor is gone: what a timer is given, which may fire while its
  // executor is being destroyed. Thread: this call and the task's, any.
  Task posting(Task task) {
    return [door = door_, task = std::move(task)]() mutable {
      MutexLock lock(door->mutex);
      if (door->to != nullptr) door->to->post(std::move(task));
    };
  }

 protected:
  // First in the destructor of every implementation: waits for a posting() task that is inside, lets none in after.
  void close_door() {
    MutexLock lock(door_->mutex);
    door_->to = nullptr;
  }

 private:
  struct Door {
    explicit Door(Executor* executor) : to(executor) {}
    Mutex mutex;
    Executor* to GUARDED_BY(mutex);
  };
  const std::shared_ptr<Door> door_ = std::make_shared<Door>(this);
};

using TimerId = uint64_t;  // 0: none

// One timer wheel of 1 ms steps. Tasks run on the timer's thread and must be short: longer work is posted to an executor.
class Timers {
 public:
  virtual ~Timers() = default;
  virtual TimerId after(std::chrono::milliseconds delay, Task task) = 0;
  // True: the task will not run. False: it has run, or runs now.
  virtual bool cancel(TimerId id) = 0;
};

// Everything that ties a room to the outside world. One for the process; the simulation makes its own.
class Clock;
class Random;
class FileSystem;

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Clock& clock() = 0;
  virtual Random& random() = 0;
  virtual FileSystem& files() = 0;
  virtual Timers& timers() = 0;
  // Threads are named `<name>-<n>` as seen in `top -H` (15 characters are shown).
  virtual std::unique_ptr<Executor> make_executor(const std::string& name, int threads) = 0;
};

// Real clock, real files, real threads.
std::unique_ptr<Runtime> make_system_runtime();

// Repeats `task` on `executor` every `period`, first after one period, until destroyed. The destructor waits for a running task
// unless it is called from that task.
class PeriodicTask {
 public:
  PeriodicTask(Runtime& runtime, Executor& executor, std::chrono::milliseconds period, Task task);
  ~PeriodicTask();
  PeriodicTask(const PeriodicTask&) = delete;
  PeriodicTask& operator=(const PeriodicTask&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared: the timer's task may outlive this object by one step
};

}  // namespace odradek::base

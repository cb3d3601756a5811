// One thing at a time: tasks of a strand never run side by side, and each sees what the former did. A coordinator's shard lives on
// one, so it needs no lock. Who brings a task while nothing runs does it at once, on its own thread: no hop for the usual request.
// While another thread runs, the task is left to that one. Nobody ever waits. Who runs does so for one turn of kTurn tasks at most;
// what has come since goes on on the executor, behind the turns of other strands: a busy strand keeps no thread for itself.
// Thread: any. A task may bring further tasks to its own strand: they run after it.
// A task that throws (memory) is over, and the next one runs; who brought it by run() and ran it gets the exception, else it is logged.
#pragma once

#include <deque>
#include <memory>
#include <utility>

#include "base/executor.h"
#include "base/function.h"
#include "base/mutex.h"

namespace odradek::coordinator {

class Strand : public std::enable_shared_from_this<Strand> {
 public:
  static constexpr int kTurn = 64;

  // Shared: a timer or a callback of the log may come after its owner is gone; it then finds the strand closed.
  // `executor` outlives the strand until close().
  static std::shared_ptr<Strand> make(base::Executor& executor) { return std::shared_ptr<Strand>(new Strand(executor)); }

  // Runs `task` before it returns, unless the strand is running: then after what is running.
  template <class F>
  void run(F&& task) {
    {
      base::MutexLock lock(mutex_);
      if (closed_) return;
      if (running_) {
        queue_.emplace_back(std::forward<F>(task));
        return;
      }
      running_ = true;
    }
    try {
      std::forward<F>(task)();
    } catch (...) {
      drain();  // the others know nothing of it
      throw;
    }
    drain();
  }

  // Never on this thread within the call, unless the strand already runs on it: for callers that may hold locks.
  void post(Task task);

  // From now on tasks are dropped without being run; those that wait still run, all in the turn of the moment. The executor is no
  // longer used afterwards once its posted tasks are done.
  void close();

 private:
  explicit Strand(base::Executor& executor) : executor_(executor) {}
  // A turn; only who has set running_.
  void drain();
  // False: the turn is over, and the strand rests or goes on on the executor.
  bool take(int ran, Task& task);

  base::Executor& executor_;
  base::Mutex mutex_;
  std::deque<Task> queue_ GUARDED_BY(mutex_);
  bool running_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace odradek::coordinator

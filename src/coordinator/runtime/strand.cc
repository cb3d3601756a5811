#include "coordinator/runtime/strand.h"

#include <exception>
#include <new>

#include "base/log.h"

namespace odradek::coordinator {

void Strand::post(Task task) {
  base::MutexLock lock(mutex_);
  if (closed_) return;
  if (!running_) {
    // Within the lock: close() must not return between the check and the use of the executor. It comes before the task is in the queue:
    // if memory runs out at either, the strand is not left as one that runs while nobody does.
    executor_.post([self = shared_from_this()] { self->drain(); });
    running_ = true;
  }
  queue_.push_back(std::move(task));
}

void Strand::close() {
  base::MutexLock lock(mutex_);
  closed_ = true;
}

bool Strand::take(int ran, Task& task) {
  base::MutexLock lock(mutex_);
  if (queue_.empty()) {
    running_ = false;
    return false;
  }
  if (ran >= kTurn && !closed_) {
    try {
      executor_.post([self = shared_from_this()] { self->drain(); });
      return false;
    } catch (const std::bad_alloc&) {
      // Then it goes on here.
    }
  }
  task = std::move(queue_.front());
  queue_.pop_front();
  return true;
}

void Strand::drain() {
  for (int ran = 0;; ++ran) {
    try {
      // Inside: if it throws, what it owns goes with the exception (a request then closes its connection).
      Task task;
      if (!take(ran, task)) return;
      task();
    } catch (const std::exception& thrown) {
      log::error("group", "a task of a coordinator threw: {}", thrown.what());
    }
  }
}

}  // namespace odradek::coordinator

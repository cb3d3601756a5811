#include "coordinator/runtime/strand.h"

namespace odradek::coordinator {

void Strand::post(Task task) {
  {
    base::MutexLock lock(mutex_);
    if (closed_) return;
    queue_.push_back(std::move(task));
    if (running_) return;
    running_ = true;
    // Within the lock: close() must not return between the check and the use of the executor.
    executor_.post([self = shared_from_this()] { self->drain(); });
  }
}

void Strand::close() {
  base::MutexLock lock(mutex_);
  closed_ = true;
}

void Strand::drain() {
  std::vector<Task> tasks;
  while (true) {
    tasks.clear();
    {
      base::MutexLock lock(mutex_);
      if (queue_.empty()) {
        running_ = false;
        return;
      }
      tasks.swap(queue_);
    }
    for (Task& task : tasks) task();
  }
}

}  // namespace odradek::coordinator

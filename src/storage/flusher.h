// The flush threads of a log dir. A log is at most once in their queue; one flush covers everything that was appended before it.
// Logs that are due by time wait in one list with one timer: no wake-up without data to flush.
// Thread: any.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"

namespace odradek::storage {

class Log;

class Flusher {
 public:
  Flusher(base::Runtime& runtime, const std::string& name, int threads);
  ~Flusher();
  // Waits for what was posted; what waits for its time, or comes later, is dropped.
  void stop();

  // Runs on a flush thread; may block on the disk.
  void post(Task task);
  void post_after(int64_t delay_ms, Task task);
  // The log asks for a flush in `delay_ms` (flush.ms after its first unflushed append).
  void flush_after(int64_t delay_ms, std::weak_ptr<Log> log);

 private:
  struct Due;
  std::shared_ptr<Due> due_;  // shared with the timer's task, which may outlive this
  std::unique_ptr<base::Executor> executor_;
};

}  // namespace odradek::storage

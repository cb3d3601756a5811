// The flush threads of a log dir. Logs that are due go to them through a lock-free queue, each at most once; one flush covers
// everything that was appended before it.
// Logs that are due by time wait in one list with one timer: no wake-up without data to flush. When one is due, those that have waited
// at least half of their time go along: syncs that come together share one commit of the file system's journal, and where each holds up
// everybody's writes (ext4, a slow disk) logs that are due one after the other would leave no time for writing.
// Thread: any.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/executor.h"
#include "base/mpmc_queue.h"
#include "base/mutex.h"
#include "storage/dir/flushable.h"

namespace odradek::storage {

class Flusher {
 public:
  Flusher(base::Runtime& runtime, const std::string& name, int threads);
  ~Flusher();
  // Waits for what was posted; what waits for its time, or comes later, is dropped.
  void stop();

  // `log`'s flush runs soon. Takes no lock while all flush threads are busy: one of them comes back to the queue.
  void enqueue(std::shared_ptr<Flushable> log);
  // Runs on a flush thread; may block on the disk.
  void post(Task task);
  void post_after(int64_t delay_ms, Task task);
  // The same for the removal of files that nobody needs, one after the other: a full disk does not wait for its time.
  void post_deletion(int64_t delay_ms, Task task);
  void hasten_deletions();
  // Early writeback (Segment::start_writeback) pays while the kernel takes it without waiting. Where the device holds up even that, it only
  // takes flush threads from the flushes: after a call that took kSlowWritebackMs there is none for kWritebackPauseMs.
  bool writeback_pays() const {
    const int64_t until = no_writeback_before_ms_.load(std::memory_order_relaxed);
    return until == 0 || clock_.monotonic_ms() >= until;
  }
  void writeback_took(int64_t ms) {
    if (ms >= kSlowWritebackMs) no_writeback_before_ms_.store(clock_.monotonic_ms() + kWritebackPauseMs, std::memory_order_relaxed);
  }
  static constexpr int64_t kSlowWritebackMs = 20;
  static constexpr int64_t kWritebackPauseMs = 10'000;

  // The log asks for a flush in `delay_ms` (flush.ms after its first unflushed append), or after half of it with another's.
  void flush_after(int64_t delay_ms, std::weak_ptr<Flushable> log);

 private:
  struct Due;
  void call_worker();
  void work();

  static constexpr size_t kQueue = 1024;  // logs; more go as tasks
  const int threads_;
  base::Clock& clock_;
  std::atomic<int64_t> no_writeback_before_ms_{0};
  std::shared_ptr<Due> due_;  // shared with the timer's task, which may outlive this
  base::MpmcQueue<std::shared_ptr<Flushable>> queue_{kQueue};  // shared: who asks for a flush may let go of its log
  std::atomic<int> workers_{0};  // tasks that look into the queue, at most one a thread
  std::atomic<bool> stopped_{false};
  std::unique_ptr<base::Executor> executor_;
};

}  // namespace odradek::storage

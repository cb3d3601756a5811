// One log dir: its state, its threads, and what the logs in it share.
// A disk failure takes it offline for good: the first one is reported to the owner, every log here refuses from then on.
// A full disk does not: records of clients are refused, what must go on takes room from the reserve, and both end when there is room.
// Thread: any.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/executor.h"
#include "base/file.h"
#include "base/mutex.h"
#include "metrics/registry.h"
#include "storage/files/disk_error.h"
#include "storage/files/file_cache.h"
#include "storage/files/reserve.h"

namespace odradek::storage {

class Flusher;

class LogDir {
 public:
  struct Options {
    int flush_threads = 16;
    int flush_debt_factor = 4;  // 0: answers are never held
    int64_t reserve_bytes = 0;
    int64_t producer_id_expiration_ms = 86'400'000;
    std::shared_ptr<metrics::Histogram> flush_time, dir_flush_time;  // of all dirs, of this one; may be null; shared with the registry
  };
  // Something that the checkpoint of high watermarks, recovery points, log starts or cleaned offsets holds has changed.
  enum class Changed { kHighWatermark, kRecoveryPoint, kLogStart, kCleaned };
  // Who runs the dirs: the log manager.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_failure(LogDir& dir) = 0;             // once
    virtual void on_full(LogDir& dir) = 0;                // each time it becomes full; never blocks
    virtual void on_change(LogDir& dir, Changed what) = 0;  // the first time since clear_changed
    // Writes the checkpoint of all logs here, now. Blocks on the disk.
    virtual Result<void> checkpoint(LogDir& dir, Changed what) = 0;
  };

  LogDir(base::Runtime& runtime, std::string path, uint32_t number, std::shared_ptr<FileCache> cache, const Options& options, Owner& owner);
  ~LogDir();
  LogDir(const LogDir&) = delete;

  const std::string& path() const { return path_; }
  uint32_t number() const { return number_; }
  base::FileSystem& files() const { return files_; }
  const base::Clock& clock() const { return clock_; }
  base::Random& random() const { return random_; }
  FileCache& cache() const { return *cache_; }
  const Options& options() const { return options_; }
  Flusher& flusher() const { return *flusher_; }
  base::Executor& reader() const { return *reader_; }

  // Of one fdatasync of a segment.
  void note_flush_time(int64_t ns);

  bool online() const { return online_.load(std::memory_order_acquire); }
  // A disk failure takes the dir offline, a full disk makes it full; the rest is logged.
  void fail(const Error& error);
  // Records of clients are refused.
  bool full() const { return full_.load(std::memory_order_acquire); }
  // Whether there is room again; then the reserve is whole. Blocks on the disk.
  bool look_for_room();
  // For what must go on although the disk is full, and leaves nothing behind when it fails: again and again while the reserve lasts.
  template <class Operation>
  auto with_reserve(Operation operation) {
    for (;;) {
      auto done = operation();
      if (done || !is_disk_full(done.error())) return done;
      if (release_reserve(done.error())) continue;
      starved_.store(true, std::memory_order_release);
      return done;
    }
  }
  // Whether something gave up in with_reserve since this was last asked.
  bool take_starved() { return starved_.exchange(false, std::memory_order_acq_rel); }
  bool release_reserve(const Error& error);
  Reserve& reserve() { return reserve_; }
  void changed(Changed what);
  // The checkpoint is about to be written: later changes are told again.
  void clear_changed(Changed what) { changed_[static_cast<size_t>(what)].store(false, std::memory_order_seq_cst); }
  Result<void> checkpoint(Changed what);

  // The owner goes away: waits for the flush threads, then nothing works here any more but reading what is open.
  void detach();

 private:
  const std::string path_;
  const uint32_t number_;
  base::FileSystem& files_;
  const base::Clock& clock_;
  base::Random& random_;
  const std::shared_ptr<FileCache> cache_;  // shared: segments that outlive the manager leave it
  const Options options_;
  std::atomic<bool> online_{true};
  std::atomic<bool> full_{false};
  std::atomic<bool> starved_{false};
  Reserve reserve_;
  std::atomic<bool> changed_[4]{};
  base::Mutex owner_mutex_;
  Owner* owner_ GUARDED_BY(owner_mutex_);
  base::Mutex checkpoint_mutex_;
  Owner* checkpointer_ GUARDED_BY(checkpoint_mutex_);
  std::unique_ptr<base::Executor> reader_;
  std::unique_ptr<Flusher> flusher_;
};

}  // namespace odradek::storage

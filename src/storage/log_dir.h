// One log dir: its state, its threads, and what the logs in it share.
// A disk failure takes it offline for good: the first one is reported to the listener, every log here refuses from then on.
// Thread: any.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/executor.h"
#include "base/file.h"
#include "metrics/registry.h"
#include "storage/file_cache.h"

namespace odradek::storage {

class Flusher;

// Whether an error of the file layer says that the disk failed (and not, say, that descriptors ran out).
bool is_disk_failure(const Error& error);

class LogDir {
 public:
  struct Options {
    int flush_threads = 8;
    int64_t producer_id_expiration_ms = 86'400'000;
    std::shared_ptr<metrics::Histogram> flush_time;  // may be null; shared with the registry
  };
  LogDir(base::Runtime& runtime, std::string path, uint32_t number, FileCache& cache, const Options& options);
  ~LogDir();
  // Waits for what was posted to the flush threads; what comes later is dropped.
  void stop_flusher();
  LogDir(const LogDir&) = delete;

  const std::string& path() const { return path_; }
  uint32_t number() const { return number_; }
  base::FileSystem& files() const { return files_; }
  const base::Clock& clock() const { return clock_; }
  base::Random& random() const { return random_; }
  FileCache& cache() const { return cache_; }
  const Options& options() const { return options_; }
  Flusher& flusher() const { return *flusher_; }
  base::Executor& reader() const { return *reader_; }

  bool online() const { return online_.load(std::memory_order_acquire); }
  // Only a disk failure counts. `what` was being done: for the log line.
  void fail(const Error& error);
  // Set before the dir is used.
  void on_failure(std::function<void(LogDir&)> listener) { on_failure_ = std::move(listener); }
  // Something that the high watermark, recovery point or log start checkpoint holds has changed. Set before the dir is used.
  enum class Changed { kHighWatermark, kRecoveryPoint, kLogStart };
  void on_change(std::function<void(LogDir&, Changed)> listener) { on_change_ = std::move(listener); }
  void changed(Changed what) {
    // Relaxed first: the flag is set most of the time.
    auto& flag = changed_[static_cast<size_t>(what)];
    if (flag.load(std::memory_order_relaxed) || flag.exchange(true, std::memory_order_acq_rel)) return;
    if (on_change_) on_change_(*this, what);
  }
  // The checkpoint is about to be written: later changes are told again.
  void clear_changed(Changed what) { changed_[static_cast<size_t>(what)].store(false, std::memory_order_seq_cst); }
  // Writes the recovery points of all logs here, now. Set before the dir is used. Blocks on the disk.
  void on_checkpoint_needed(std::function<Result<void>(LogDir&)> writer) { checkpoint_ = std::move(writer); }
  Result<void> checkpoint_recovery_points() { return checkpoint_ ? checkpoint_(*this) : Result<void>(); }

 private:
  const std::string path_;
  const uint32_t number_;
  base::FileSystem& files_;
  const base::Clock& clock_;
  base::Random& random_;
  FileCache& cache_;
  const Options options_;
  std::atomic<bool> online_{true};
  std::atomic<bool> changed_[3]{};
  std::function<void(LogDir&)> on_failure_;
  std::function<void(LogDir&, Changed)> on_change_;
  std::function<Result<void>(LogDir&)> checkpoint_;
  std::unique_ptr<base::Executor> reader_;
  std::unique_ptr<Flusher> flusher_;
};

}  // namespace odradek::storage

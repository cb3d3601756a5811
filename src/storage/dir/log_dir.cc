#include "storage/dir/log_dir.h"

#include <cerrno>

#include "base/log.h"
#include "base/random.h"
#include "storage/dir/flusher.h"

namespace odradek::storage {

LogDir::LogDir(base::Runtime& runtime, std::string path, uint32_t number, std::shared_ptr<FileCache> cache, const Options& options, Owner& owner)
    : path_(std::move(path)),
      number_(number),
      files_(runtime.files()),
      clock_(runtime.clock()),
      random_(runtime.random()),
      cache_(std::move(cache)),
      options_(options),
      reserve_(files_, path_ + "/" + std::string(kReserveFile), options.reserve_bytes),
      owner_(&owner),
      checkpointer_(&owner),
      reader_(runtime.make_executor("reader-" + std::to_string(number), 1)),
      flusher_(std::make_unique<Flusher>(runtime, "flush-" + std::to_string(number), options.flush_threads)) {}

LogDir::~LogDir() = default;

bool LogDir::release_reserve(const Error& error) {
  fail(error);
  return reserve_.release();
}

bool LogDir::look_for_room() {
  if (!reserve_.refill()) return false;
  if (!full_.exchange(false, std::memory_order_acq_rel)) return true;
  log::info("storage", "log dir {} has room again", path_);
  return true;
}

void LogDir::fail(const Error& error) {
  if (is_disk_full(error)) {
    if (full_.exchange(true, std::memory_order_acq_rel)) return;
    log::error("storage", "log dir {} is full, records of clients are refused until there is room: {}", path_, error.what);
    base::MutexLock lock(owner_mutex_);
    if (owner_ != nullptr) owner_->on_full(*this);
    return;
  }
  if (!is_disk_failure(error) && (error.os_error != ENOENT || files_.exists(path_))) {
    log::error("storage", "{}: {}", path_, error.what);
    return;
  }
  if (!online_.exchange(false, std::memory_order_acq_rel)) return;
  log::error("storage", "log dir {} goes offline: {}", path_, error.what);
  base::MutexLock lock(owner_mutex_);
  if (owner_ != nullptr) owner_->on_failure(*this);
}

void LogDir::note_flush_time(int64_t ns) {
  for (const auto& histogram : {options_.flush_time, options_.dir_flush_time}) {
    if (histogram != nullptr) histogram->record(static_cast<uint64_t>(ns));
  }
}

void LogDir::changed(Changed what) {
  auto& flag = changed_[static_cast<size_t>(what)];
  // Relaxed first: the flag is set most of the time.
  if (flag.load(std::memory_order_relaxed) || flag.exchange(true, std::memory_order_acq_rel)) return;
  base::MutexLock lock(owner_mutex_);
  if (owner_ != nullptr) owner_->on_change(*this, what);
}

Result<void> LogDir::checkpoint(Changed what) {
  base::MutexLock lock(checkpoint_mutex_);
  return checkpointer_ == nullptr ? Result<void>() : checkpointer_->checkpoint(*this, what);
}

void LogDir::detach() {
  flusher_->stop();
  online_.store(false, std::memory_order_release);
  {
    base::MutexLock lock(owner_mutex_);
    owner_ = nullptr;
  }
  base::MutexLock lock(checkpoint_mutex_);
  checkpointer_ = nullptr;
  reader_.reset();
}

}  // namespace odradek::storage

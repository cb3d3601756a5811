// Making a log durable. No fsync runs under the locks that appends and reads take.
#include <algorithm>
#include <cerrno>

#include "storage/checkpoint.h"
#include "storage/flusher.h"
#include "storage/log.h"
#include "storage/log_dir.h"
#include "storage/log_loader.h"

namespace odradek::storage {

// A log is in the queue at most once; a request that comes while its flush runs makes it run once more.
void Log::request_flush(bool active_too) {
  if (active_too) flush_active_too_.store(true, std::memory_order_release);
  FlushState state = flush_state_.load(std::memory_order_acquire);
  for (;;) {
    if (state == FlushState::kQueued || state == FlushState::kRunningAgain) return;
    const FlushState next = state == FlushState::kIdle ? FlushState::kQueued : FlushState::kRunningAgain;
    if (flush_state_.compare_exchange_weak(state, next, std::memory_order_acq_rel)) {
      if (next == FlushState::kQueued) dir_->flusher().post([self = shared_from_this()] { self->run_flush(); });
      return;
    }
  }
}

void Log::run_flush() {
  flush_state_.store(FlushState::kRunning, std::memory_order_seq_cst);
  const bool active_too = flush_active_too_.exchange(false, std::memory_order_acq_rel);
  if (dir_->online()) (void)sync_up_to(active_too, false);  // what fails takes the dir offline
  FlushState running = FlushState::kRunning;
  if (flush_state_.compare_exchange_strong(running, FlushState::kIdle, std::memory_order_acq_rel)) return;
  flush_state_.store(FlushState::kQueued, std::memory_order_release);
  dir_->flusher().post([self = shared_from_this()] { self->run_flush(); });
}

void Log::flush_is_due() {
  // First the flag: an append from here on sets the next timer.
  flush_timer_set_.store(false, std::memory_order_seq_cst);
  if (log_end_offset() > recovery_point()) request_flush(true);
}

Result<void> Log::flush() {
  if (!dir_->online()) return fail(offline_error());
  return sync_up_to(true, false);
}

Result<void> Log::sync_up_to(bool active_too, bool closing) {
  base::MutexLock flush(flush_mutex_);
  const uint64_t truncations = truncations_.load(std::memory_order_acquire);
  Offset target = log_end_offset();  // before the list: what lies below is in these segments
  std::vector<std::shared_ptr<Segment>> segments;
  std::vector<std::string> small_files;
  std::string folder;
  {
    base::MutexLock lock(state_mutex_);
    segments = segments_;
    small_files.swap(unsynced_files_);
    folder = path_;
  }
  auto failed = [&](Error error) {
    if (error.os_error == ENOENT && path() != folder) return fail(std::move(error));  // the partition has just been deleted
    return fail(fail_dir(std::move(error)));
  };
  for (const auto& segment : segments) {
    const bool active = segment == segments.back();
    if (active && !active_too) target = segment->base_offset();
    if ((active && !active_too) || !segment->unflushed()) continue;
    const int64_t began = dir_->clock().monotonic_ns();
    if (auto synced = segment->sync(!active || closing); !synced) {
      // Retention may have taken its files away meanwhile.
      if (synced.error().os_error == ENOENT && segment->base_offset() < first_segment_base()) continue;
      return failed(std::move(synced.error()));
    }
    if (dir_->options().flush_time) dir_->options().flush_time->record(static_cast<uint64_t>(dir_->clock().monotonic_ns() - began));
  }
  for (const std::string& path : small_files) {
    auto file = dir_->files().open(path, base::OpenMode::kReadWrite);
    if (!file && file.error().os_error == ENOENT) continue;
    auto synced = file ? (*file)->sync_all() : Result<void>(fail(std::move(file.error())));
    if (!synced) return failed(std::move(synced.error()));
  }
  if (auto saved = save_epochs(); !saved) return failed(std::move(saved.error()));
  if (directory_changed_.exchange(false, std::memory_order_acq_rel)) {
    if (auto synced = dir_->files().sync_directory(folder); !synced) return failed(std::move(synced.error()));
  }
  if (folder_is_new_.exchange(false, std::memory_order_acq_rel)) {
    if (auto synced = dir_->files().sync_directory(dir_->path()); !synced) return failed(std::move(synced.error()));
  }
  base::MutexLock lock(state_mutex_);
  // A truncation since then has lowered it, and must be believed.
  if (truncations == truncations_.load(std::memory_order_acquire) && target > recovery_point()) {
    recovery_point_.store(target.value, std::memory_order_release);
    dir_->changed(LogDir::Changed::kRecoveryPoint);
  }
  return {};
}

Result<void> Log::save_epochs() {
  std::string text, path;
  {
    base::MutexLock lock(state_mutex_);
    if (epoch_file_ != EpochFile::kOld) return {};
    text = epochs_.encode();
    path = path_ + "/" + std::string(kLeaderEpochFile);
    epoch_file_ = EpochFile::kCurrent;
  }
  auto written = base::write_file_atomically(dir_->files(), path, as_bytes(text));
  if (!written) epochs_changed(EpochFile::kOld);
  return written;
}

Result<void> Log::close_cleanly() {
  if (!dir_->online()) return fail(offline_error());
  const std::shared_ptr<const LogConfig> config = this->config();
  {
    base::MutexLock lock(mutex_);
    closed_ = true;
    if (auto done = active_->become_inactive(*config); !done) return fail(fail_dir(std::move(done.error())));
    const Offset end = log_end_offset();
    const Offset newest = snapshots_.empty() ? Offset{0} : snapshots_.back();
    if (newest < end && (newest.value > 0 || end > first_segment_base())) {
      const std::string folder = path();
      if (auto wrote = write_snapshot(*dir_, folder, end, producers_, snapshots_); !wrote) return fail(fail_dir(std::move(wrote.error())));
      directory_changed_.store(true, std::memory_order_release);
      base::MutexLock state(state_mutex_);
      unsynced_files_.push_back(snapshot_path(folder, end));
    }
  }
  return sync_up_to(true, true);
}

}  // namespace odradek::storage

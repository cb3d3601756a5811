// Making a log durable. No fsync runs under the locks that appends and reads take.
#include <algorithm>
#include <cerrno>

#include "storage/dir/flusher.h"
#include "storage/dir/log_dir.h"
#include "storage/files/checkpoint.h"
#include "storage/log/log.h"
#include "storage/log/log_loader.h"

namespace odradek::storage {

namespace {
constexpr int64_t kRetryMs = 1'000;
}

// A log is in the queue at most once; a request that comes while its flush runs makes it run once more.
void Log::request_flush(uint8_t want) {
  flush_wants_.fetch_or(want, std::memory_order_release);  // meets the exchange in run_flush()
  FlushState state = flush_state_.load(std::memory_order_acquire);
  for (;;) {
    if (state == FlushState::kQueued || state == FlushState::kRunningAgain) return;
    const FlushState next = state == FlushState::kIdle ? FlushState::kQueued : FlushState::kRunningAgain;
    if (flush_state_.compare_exchange_weak(state, next, std::memory_order_acq_rel)) {
      if (next == FlushState::kQueued) dir_->flusher().enqueue(shared_from_this());
      return;
    }
  }
}

void Log::run_flush() {
  flush_state_.store(FlushState::kRunning, std::memory_order_seq_cst);
  const uint8_t wants = flush_wants_.exchange(0, std::memory_order_acq_rel);
  if (dir_->online()) {
    if ((wants & (kWantClosed | kWantAll)) != 0) {
      // A failure of the disk takes the dir offline; what was only without room or descriptors is tried again.
      if (!sync_up_to((wants & kWantAll) != 0, false) && dir_->online()) {
        dir_->flusher().post_after(kRetryMs, [weak = weak_from_this()] {
          if (auto log = weak.lock()) log->request_flush();
        });
      }
    } else if ((wants & kWantWriteback) != 0) {
      start_writeback();
    }
  }
  FlushState running = FlushState::kRunning;
  if (flush_state_.compare_exchange_strong(running, FlushState::kIdle, std::memory_order_acq_rel)) return;
  flush_state_.store(FlushState::kQueued, std::memory_order_release);
  dir_->flusher().enqueue(shared_from_this());
}

void Log::start_writeback() {
  std::shared_ptr<Segment> active;
  {
    base::MutexLock lock(state_mutex_);
    active = segments_.back();
  }
  const int64_t begin_ms = dir_->clock().monotonic_ms();
  active->start_writeback();
  dir_->flusher().writeback_took(dir_->clock().monotonic_ms() - begin_ms);
}

void Log::flush_is_due() {
  // First the flag: an append from here on sets the next timer.
  flush_timer_set_.store(false, std::memory_order_seq_cst);
  if (log_end_offset() > flushed_offset()) request_flush(kWantAll);
}

// --- debt -------------------------------------------------------------------------------------------------------------------

double Log::debt_ratio() const {
  const std::shared_ptr<const LogConfig> config = this->config();
  const int64_t unflushed = log_end_.load(std::memory_order_acquire) - flushed_.load(std::memory_order_acquire);
  if (unflushed <= 0) return 0;
  double ratio = 0;
  if (config->flush_messages != INT64_MAX) ratio = static_cast<double>(unflushed) / static_cast<double>(config->flush_messages);
  if (config->flush_ms != INT64_MAX) {
    ratio = std::max(ratio, static_cast<double>(unflushed_age_ms()) / static_cast<double>(std::max<int64_t>(config->flush_ms, 1)));
  }
  return ratio;
}

int64_t Log::unflushed_age_ms() const {
  const int64_t since = std::min(unflushed_since_ms_.load(std::memory_order_relaxed), flushing_since_ms_.load(std::memory_order_relaxed));
  return since == kNever ? 0 : dir_->clock().monotonic_ms() - since;
}

void Log::set_debt_limits(const LogConfig& config) {
  const int64_t factor = dir_->options().flush_debt_factor;
  auto limit = [&](int64_t setting) { return factor == 0 || setting > INT64_MAX / factor ? INT64_MAX : setting * factor; };
  debt_messages_.store(limit(config.flush_messages), std::memory_order_relaxed);
  debt_ms_.store(limit(std::max<int64_t>(config.flush_ms, 1)), std::memory_order_relaxed);
}

std::optional<uint64_t> Log::debt_hold() {
  // Before the look at the debt: a flush that ends in between lets the answers go.
  const uint64_t flushes = flush_count();
  const int64_t unflushed = log_end_.load(std::memory_order_acquire) - flushed_.load(std::memory_order_acquire);
  const int64_t debt_ms = debt_ms_.load(std::memory_order_relaxed);
  if (unflushed <= debt_messages_.load(std::memory_order_relaxed) && (debt_ms == INT64_MAX || unflushed <= 0 || unflushed_age_ms() <= debt_ms)) {
    return std::nullopt;
  }
  request_flush(kWantAll);
  return flushes;
}

void Log::set_flush_listener(std::weak_ptr<FlushListener> listener) {
  base::MutexLock lock(state_mutex_);
  flush_listener_ = std::move(listener);
}

void Log::flush_has_ended() {
  flushes_.fetch_add(1, std::memory_order_acq_rel);  // before the listener looks at who waits
  std::shared_ptr<FlushListener> listener;
  {
    base::MutexLock lock(state_mutex_);
    listener = flush_listener_.lock();
  }
  if (listener != nullptr) listener->on_flushed();
}

// --- one flush ----------------------------------------------------------------------------------------------------------------

Result<void> Log::flush() {
  if (!dir_->online()) return fail(offline_error());
  return sync_up_to(true, false);
}

Error Log::flush_failed(Error error, const std::string& folder) const {
  if (error.os_error == ENOENT && path() != folder) return error;  // the partition has just been deleted
  return fail_dir(std::move(error));
}

Result<void> Log::sync_up_to(bool active_too, bool closing) {
  auto records = sync_records(active_too);
  if (!records) return fail(std::move(records.error()));
  if (active_too) flush_has_ended();
  return sync_rest(*records, closing);
}

Result<Log::Flush> Log::sync_records(bool active_too) {
  base::MutexLock flush(flush_mutex_);
  // Whoever waited for a flush that failed: the kernel tells of lost pages once, and the next fdatasync would say that all is well.
  if (!dir_->online()) return fail(offline_error());
  Flush done;
  done.truncations = truncations_.load(std::memory_order_acquire);
  if (active_too) flushing_since_ms_.store(unflushed_since_ms_.exchange(kNever, std::memory_order_relaxed), std::memory_order_relaxed);
  done.target = log_end_offset();  // before the list: what lies below is in these segments
  std::vector<std::shared_ptr<Segment>> unsynced;
  std::string folder;
  {
    base::MutexLock lock(state_mutex_);
    if (!active_too) done.target = segments_.back()->base_offset();
    for (const auto& segment : segments_) {
      if ((active_too || segment != segments_.back()) && segment->log_unsynced()) unsynced.push_back(segment);
    }
    folder = path_;
  }
  for (const auto& segment : unsynced) {
    const int64_t began = dir_->clock().monotonic_ns();
    if (auto synced = segment->sync_log(); !synced) {
      // Retention or the cleaner may have taken its files away meanwhile.
      if (synced.error().os_error == ENOENT && !is_listed(*segment)) continue;
      return fail(flush_failed(std::move(synced.error()), folder));
    }
    dir_->note_flush_time(dir_->clock().monotonic_ns() - began);
  }
  // The names of the files, too: the records must be found again.
  if (directory_changed_.exchange(false, std::memory_order_acq_rel)) {
    if (auto synced = dir_->files().sync_directory(folder); !synced) {
      directory_changed_.store(true, std::memory_order_release);
      return fail(flush_failed(std::move(synced.error()), folder));
    }
  }
  if (folder_is_new_.exchange(false, std::memory_order_acq_rel)) {
    if (auto synced = dir_->files().sync_directory(dir_->path()); !synced) {
      folder_is_new_.store(true, std::memory_order_release);
      return fail(flush_failed(std::move(synced.error()), folder));
    }
  }
  base::MutexLock lock(state_mutex_);
  // A truncation since then has lowered it, and must be believed.
  if (done.truncations == truncations_.load(std::memory_order_acquire) && done.target > flushed_offset()) {
    flushed_.store(done.target.value, std::memory_order_release);  // pairs with flushed_offset()
  }
  if (active_too) {
    flushing_since_ms_.store(kNever, std::memory_order_relaxed);
    if (log_end_offset() <= flushed_offset()) unflushed_since_ms_.store(kNever, std::memory_order_relaxed);
  }
  return done;
}

Result<void> Log::sync_rest(const Flush& records, bool closing) {
  base::MutexLock flush(flush_mutex_);
  if (!dir_->online()) return fail(offline_error());
  std::vector<std::shared_ptr<Segment>> segments;
  std::vector<std::string> small_files;
  std::string folder;
  {
    base::MutexLock lock(state_mutex_);
    for (const auto& segment : segments_) {
      if ((closing || segment != segments_.back()) && segment->unflushed()) segments.push_back(segment);
    }
    small_files.swap(unsynced_files_);
    folder = path_;
  }
  auto failed = [&](Error error) {
    base::MutexLock lock(state_mutex_);
    unsynced_files_.insert(unsynced_files_.end(), small_files.begin(), small_files.end());
    return error;
  };
  for (const auto& segment : segments) {
    if (auto synced = segment->sync_indexes(); !synced) {
      if (synced.error().os_error == ENOENT && !is_listed(*segment)) continue;
      return fail(flush_failed(failed(std::move(synced.error())), folder));
    }
  }
  for (const std::string& path : small_files) {
    auto file = dir_->files().open(path, base::OpenMode::kReadWrite);
    if (!file && file.error().os_error == ENOENT) continue;
    auto synced = file ? (*file)->sync_all() : Result<void>(fail(std::move(file.error())));
    if (!synced) return fail(flush_failed(failed(std::move(synced.error())), folder));
  }
  if (auto saved = save_epochs(); !saved) return fail(flush_failed(failed(std::move(saved.error())), folder));
  base::MutexLock lock(state_mutex_);
  if (records.truncations == truncations_.load(std::memory_order_acquire) && records.target > recovery_point()) {
    recovery_point_.store(records.target.value, std::memory_order_release);
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
  auto written = dir_->with_reserve([&] { return base::write_file_atomically(dir_->files(), path, as_bytes(text)); });
  if (!written) epochs_changed(EpochFile::kOld);
  return written;
}

Result<void> Log::close_cleanly() {
  if (!dir_->online()) return fail(offline_error());
  const std::shared_ptr<const LogConfig> config = this->config();
  {
    base::MutexLock lock(mutex_);
    // A change of it failed half way (fail_for_good), and the files may hold what is not there any more: no start may believe them unseen.
    if (closed_) return fail(ErrorCode::kKafkaStorageError, label_ + ": it was not closed, for its end is not known to be whole");
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

// Changes at the ends of a log: truncation at the back, retention at the front.
#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "storage/dir/flusher.h"
#include "storage/dir/log_dir.h"
#include "storage/log/log.h"
#include "storage/log/log_loader.h"

namespace odradek::storage {

namespace {

// Writes the checkpoint if something in it was lowered and is not in the file yet, which a full disk may have kept from it.
Result<void> save_lowered(LogDir& dir, LogDir::Changed what, bool& lowered) {
  if (!lowered) return {};
  auto written = dir.checkpoint(what);
  if (written) lowered = false;
  return written;
}

}  // namespace

// Before bytes below the recovery point are written anew, no checkpoint may say that they are good.
Result<void> Log::lower_recovery_point(Offset offset) {
  {
    base::MutexLock lock(state_mutex_);
    truncations_.fetch_add(1, std::memory_order_acq_rel);
    if (flushed_offset() > offset) flushed_.store(offset.value, std::memory_order_release);
    if (recovery_point() > offset) {
      recovery_point_.store(offset.value, std::memory_order_release);
      recovery_point_lowered_ = true;
    }
  }
  return save_lowered(*dir_, LogDir::Changed::kRecoveryPoint, recovery_point_lowered_);
}

// Before other records take these offsets: to count as compacted, they would have to be.
Result<void> Log::lower_cleaned_offset(Offset offset) {
  if (cleaned_offset() > offset) {
    cleaned_.store(offset.value, std::memory_order_release);
    cleaned_lowered_ = true;
  }
  return save_lowered(*dir_, LogDir::Changed::kCleaned, cleaned_lowered_);
}

// Before records come below it: a start would drop them with those that were deleted there.
Result<void> Log::lower_log_start(Offset offset) {
  if (log_start_offset() > offset) {
    log_start_.store(offset.value, std::memory_order_release);
    log_start_lowered_ = true;
  }
  return save_lowered(*dir_, LogDir::Changed::kLogStart, log_start_lowered_);
}

Result<void> Log::drop_snapshots(Offset from, Offset to) {
  const std::string folder = path();
  for (auto at = snapshots_.begin(); at != snapshots_.end();) {
    if (*at < from || *at >= to) {
      ++at;
      continue;
    }
    if (auto removed = dir_->files().remove(snapshot_path(folder, *at)); !removed) return removed;
    at = snapshots_.erase(at);
  }
  return {};
}

// The segments are out of the list already.
Result<void> Log::drop_segments(const std::vector<std::shared_ptr<Segment>>& segments, bool at_once) {
  if (segments.empty()) return {};
  for (const auto& segment : segments) {
    if (auto dropped = drop_snapshots(segment->base_offset(), segment->base_offset() + 1); !dropped) return dropped;
    auto gone = at_once ? segment->remove_files() : segment->mark_deleted();
    if (!gone) return gone;
    if (at_once) segment->invalidate_readers();
  }
  directory_changed_.store(true, std::memory_order_release);
  if (!at_once) {
    dir_->flusher().post_deletion(dir_->full() ? 0 : config()->file_delete_delay_ms, [segments, dir = dir_] {
      if (!dir->online()) return;
      for (const auto& segment : segments) {
        if (auto removed = segment->remove_files(); !removed) dir->fail(removed.error());
      }
    });
  }
  return {};
}

Result<void> Log::truncate_to(Offset offset) {
  if (!dir_->online()) return fail(offline_error());
  if (offset < first_segment_base()) return truncate_fully_and_start_at(offset);
  // A flush that begins while the offsets are lowered and the log is not yet cut would raise them again.
  base::MutexLock flush(flush_mutex_);
  base::MutexLock changing(change_mutex_);
  base::MutexLock lock(mutex_);
  if (closed_) return fail(offline_error());
  auto cut_epochs = [&] {
    bool cut;
    {
      base::MutexLock state(state_mutex_);
      cut = epochs_.truncate_from_end(offset);
    }
    if (cut) epochs_changed(EpochFile::kOld);
  };
  if (offset >= log_end_offset()) {
    cut_epochs();
    return {};
  }

  auto segment = segment_for(offset);
  auto batch = segment->find_batch(offset);
  if (!batch) return fail(fail_half_done(std::move(batch.error())));  // nothing has changed yet
  // Whole batches only: the log ends where the one that holds `offset` began.
  Offset end = *batch ? std::min((*batch)->base, offset) : offset;
  auto lowered = lower_recovery_point(end);
  if (lowered) lowered = lower_cleaned_offset(segment->base_offset());
  if (lowered) lowered = lower_log_start(end);
  if (!lowered) return fail(fail_half_done(std::move(lowered.error())));  // nothing is cut yet: a full disk may have room later
  cut_epochs();

  std::vector<std::shared_ptr<Segment>> dropped;
  {
    base::MutexLock state(state_mutex_);
    tail_.clear();  // before the file changes: see read()
    auto first = std::find(segments_.begin(), segments_.end(), segment);
    dropped.assign(first + 1, segments_.end());
    segments_.erase(first + 1, segments_.end());
    active_ = segment.get();
    epochs_.truncate_from_end(end);
  }
  log_end_.store(end.value, std::memory_order_seq_cst);
  int64_t high_watermark = high_watermark_.load(std::memory_order_relaxed);
  if (high_watermark > end.value) {
    high_watermark_.store(end.value, std::memory_order_release);
    dir_->changed(LogDir::Changed::kHighWatermark);
  }
  if (auto gone = drop_segments(dropped, true); !gone) return fail(fail_for_good(std::move(gone.error())));
  if (auto cut = segment->truncate_to(offset); !cut) return fail(fail_for_good(std::move(cut.error())));
  auto durable = segment->sync_log(true);
  if (durable && !dropped.empty()) durable = dir_->files().sync_directory(path());
  if (!durable) return fail(fail_for_good(std::move(durable.error())));
  if (auto dropped_snapshots = drop_snapshots(end + 1, Offset{INT64_MAX}); !dropped_snapshots) return fail(fail_for_good(std::move(dropped_snapshots.error())));
  if (auto loaded = load_producers(*dir_, path(), segments(), log_start_offset(), end, snapshots_, producers_); !loaded) {
    return fail(fail_for_good(std::move(loaded.error())));
  }
  producers_.advance_high_watermark(this->high_watermark());
  refresh_unstable();
  return {};
}

Result<void> Log::truncate_fully_and_start_at(Offset offset) {
  if (!dir_->online()) return fail(offline_error());
  const std::shared_ptr<const LogConfig> config = this->config();
  base::MutexLock flush(flush_mutex_);  // as in truncate_to()
  base::MutexLock changing(change_mutex_);
  base::MutexLock lock(mutex_);
  if (closed_) return fail(offline_error());
  auto lowered = lower_recovery_point(offset);
  if (lowered) lowered = lower_cleaned_offset({-1});
  if (lowered) lowered = lower_log_start(offset);
  if (!lowered) return fail(fail_half_done(std::move(lowered.error())));
  std::vector<std::shared_ptr<Segment>> dropped = segments();
  {
    base::MutexLock state(state_mutex_);
    tail_.clear();
  }
  if (auto gone = drop_segments(dropped, true); !gone) return fail(fail_for_good(std::move(gone.error())));
  if (auto gone = drop_snapshots(Offset{0}, Offset{INT64_MAX}); !gone) return fail(fail_for_good(std::move(gone.error())));
  auto segment = dir_->with_reserve([&] { return Segment::create(dir_, path(), offset, *config, dir_->clock().wall_ms()); });
  if (!segment) return fail(fail_for_good(std::move(segment.error())));
  if (auto durable = dir_->files().sync_directory(path()); !durable) return fail(fail_for_good(std::move(durable.error())));
  {
    base::MutexLock state(state_mutex_);
    segments_.assign(1, std::move(*segment));
    active_ = segments_.back().get();
    epochs_.clear();
    log_start_.store(offset.value, std::memory_order_release);
    log_end_.store(offset.value, std::memory_order_release);
    high_watermark_.store(offset.value, std::memory_order_release);
    flushed_.store(offset.value, std::memory_order_release);
    recovery_point_.store(offset.value, std::memory_order_release);
  }
  epochs_changed(EpochFile::kOld);
  producers_.clear();
  producers_.set_end(offset);
  refresh_unstable();
  dir_->changed(LogDir::Changed::kLogStart);
  dir_->changed(LogDir::Changed::kHighWatermark);
  request_flush(kWantAll);
  return {};
}

Result<void> Log::maybe_advance_start_offset(Offset offset) {
  if (!dir_->online()) return fail(offline_error());
  base::MutexLock lock(mutex_);
  if (offset <= log_start_offset()) return {};
  if (offset > high_watermark()) {
    return fail(ErrorCode::kOffsetOutOfRange, label_ + ": log start " + std::to_string(offset.value) + " would be above the high watermark " +
                                                  std::to_string(high_watermark().value));
  }
  log_start_.store(offset.value, std::memory_order_release);
  bool epochs_cut;
  {
    base::MutexLock state(state_mutex_);
    epochs_cut = epochs_.truncate_from_start(offset);
  }
  if (epochs_cut) epochs_changed(EpochFile::kOld);
  producers_.truncate_start(offset);
  refresh_unstable();
  dir_->changed(LogDir::Changed::kLogStart);
  return {};
}

// The first segment, if it may go. Nothing is copied and no file is touched where nothing is due: the size of a log and the greatest
// timestamp of a segment are known, but for a segment that nobody has looked at since the start.
Result<std::shared_ptr<Segment>> Log::find_deletable(const LogConfig& config, int64_t now_ms, bool* last) const {
  std::shared_ptr<Segment> first;
  Offset end;
  int64_t behind = 0;  // bytes of the other segments
  {
    base::MutexLock lock(state_mutex_);
    first = segments_.front();
    *last = segments_.size() == 1;
    end = *last ? log_end_offset() : segments_[1]->base_offset();
    if (config.delete_policy && config.retention_bytes >= 0) {
      for (size_t i = 1; i < segments_.size(); ++i) behind += segments_[i]->size();
    }
  }
  if (end > high_watermark() || (*last && first->size() == 0)) return nullptr;
  if (!*last && end <= log_start_offset()) return first;
  if (!config.delete_policy) return nullptr;
  if (config.retention_bytes >= 0 && behind >= config.retention_bytes) return first;
  if (config.retention_ms < 0) return nullptr;
  // Without the lock: it may have to be read.
  auto largest = first->largest_timestamp();
  if (!largest) return is_listed(*first) ? Result<std::shared_ptr<Segment>>(fail(std::move(largest.error()))) : nullptr;
  return now_ms - *largest > config.retention_ms ? first : nullptr;
}

// One segment after the other, so that appends wait for the renames of one at most.
Result<int> Log::delete_old_segments() {
  int count = 0;
  for (;; ++count) {
    if (!dir_->online()) return fail(offline_error());
    const std::shared_ptr<const LogConfig> config = this->config();
    bool last = false;
    auto due = find_deletable(*config, dir_->clock().wall_ms(), &last);
    if (!due) return fail(std::move(due.error()));
    if (*due == nullptr) break;

    base::MutexLock changing(change_mutex_);
    base::MutexLock lock(mutex_);
    if (closed_) return fail(offline_error());
    if (last) {
      // The active one goes too, unless something was appended to it since then. That makes room: it may take some.
      if (log_end_offset() > high_watermark() || active_ != due->get()) break;
      auto rolled = roll_to(log_end_offset(), *config);
      while (!rolled && is_disk_full(rolled.error()) && dir_->release_reserve(rolled.error())) rolled = roll_to(log_end_offset(), *config);
      if (!rolled) return fail(std::move(rolled.error()));
    }
    Offset start;
    {
      base::MutexLock state(state_mutex_);
      if (segments_.size() < 2 || segments_.front() != *due) break;  // changed meanwhile: next time
      segments_.erase(segments_.begin());
      start = std::max(segments_.front()->base_offset(), log_start_offset());
      log_start_.store(start.value, std::memory_order_release);
      if (epochs_.truncate_from_start(start)) epoch_file_ = EpochFile::kOld;
    }
    producers_.truncate_start(start);
    refresh_unstable();
    dir_->changed(LogDir::Changed::kLogStart);
    if (auto dropped = drop_segments({*due}, false); !dropped) return fail(fail_dir(std::move(dropped.error())));
  }
  if (count > 0) log::info("storage", "{}: {} segments deleted, the log starts at {}", label_, count, log_start_offset().value);
  return count;
}

}  // namespace odradek::storage

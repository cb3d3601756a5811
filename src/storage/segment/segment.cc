// Append, truncation, names. Reading: segment_read.cc; recovery: segment_recovery.cc.
#include "storage/segment/segment.h"

#include <cerrno>
#include <utility>

#include "storage/dir/log_dir.h"

namespace odradek::storage {

Segment::Segment(std::shared_ptr<LogDir> dir, const std::string& folder, Offset base, const Found& found, const std::string& suffix)
    : dir_(std::move(dir)),
      base_(base),
      path_(folder + "/" + segment_name(base)),
      suffix_(suffix),
      log_(*dir_, path_ + ".log" + suffix, found.size),
      indexes_(*dir_, log_, path_, suffix, base, {found.offset_index, found.time_index, found.txn_index}),
      known_from_(found.size),
      modified_ms_(found.modified_ms),
      created_ms_(dir_->clock().wall_ms()) {}

Result<std::shared_ptr<Segment>> Segment::create(const std::shared_ptr<LogDir>& dir, const std::string& folder, Offset base, const LogConfig& config, int64_t now_ms,
                                                 const std::string& suffix) {
  auto segment = std::make_shared<Segment>(dir, folder, base, Found{.modified_ms = now_ms}, suffix);
  if (!suffix.empty()) {
    if (auto removed = segment->remove_files(); !removed) return fail(std::move(removed.error()));
  }
  segment->changed_ = true;
  if (auto made = segment->log_.create(config.preallocate ? config.segment_bytes : 0); !made) return fail(std::move(made.error()));
  if (auto made = segment->indexes_.create(config); !made) return fail(std::move(made.error()));
  return segment;
}

// --- append -----------------------------------------------------------------------------------------------------------------

Result<void> Segment::write(ByteView batches, const LogConfig& config) {
  // What note_batch needs comes first: when the bytes are written only a failed disk may stop it.
  if (auto ready = indexes_.make_ready(); !ready) return ready;
  return log_.write(batches, config.preallocate ? config.segment_bytes : 0);
}

Result<void> Segment::note_batch(Offset last, int64_t size, int64_t max_timestamp, const LogConfig& config, int64_t now_ms) {
  if (auto ready = indexes_.ensure(); !ready) return ready;
  const int64_t position = this->size();
  changed_ = true;
  if (position == 0) first_timestamp_ = max_timestamp;
  if (auto noted = indexes_.note(position, last, size, max_timestamp, config); !noted) return noted;
  modified_ms_.store(now_ms, std::memory_order_relaxed);
  log_.publish(position + size);
  return {};
}

Result<bool> Segment::should_roll(int64_t bytes, Offset last, int64_t max_timestamp, int64_t jitter_ms, const LogConfig& config, int64_t now_ms) {
  const int64_t size = this->size();
  if (last - base_ > INT32_MAX) return true;
  if (size == 0) return false;
  if (size > config.segment_bytes - bytes || size + bytes > INT32_MAX) return true;
  auto full = indexes_.full(config.segment_index_bytes);
  if (!full || *full) return full;

  if (!first_timestamp_) {
    auto file = this->file();
    if (!file) return fail(std::move(file.error()));
    BatchWalk walk((*file)->file(), 0, size, base_);
    auto first = walk.next();
    if (!first) return fail(std::move(first.error()));
    first_timestamp_ = *first ? (*first)->max_timestamp : kNoTimestamp;
  }
  int64_t age = *first_timestamp_ >= 0 && max_timestamp >= 0 ? max_timestamp - *first_timestamp_ : now_ms - created_ms_;
  return age > config.roll_ms() - jitter_ms;
}

Result<void> Segment::become_inactive(const LogConfig& config) {
  if (!changed_) return {};
  if (auto finished = indexes_.finish(config); !finished) return finished;
  changed_ = false;
  return log_.trim();
}

// --- truncate, flush, drop --------------------------------------------------------------------------------------------------

Result<void> Segment::truncate_to(Offset offset) {
  auto first = find_batch(offset);
  if (!first) return fail(std::move(first.error()));
  if (!*first) return {};
  const BatchMeta& batch = **first;
  auto file = log_.cut_to(batch.position);
  if (!file) return fail(std::move(file.error()));
  changed_ = true;
  first_batch_timestamp_.store(kNotRead, std::memory_order_relaxed);
  if (batch.position == 0) {
    first_timestamp_.reset();
    created_ms_ = dir_->clock().wall_ms();
  }
  return indexes_.truncate_to(batch.base, (*file)->file());
}

void Segment::assume_records_synced() {
  log_.assume_synced(true);
  indexes_.assume_synced(false);
}

void Segment::assume_synced(bool synced) {
  log_.assume_synced(synced);
  indexes_.assume_synced(synced);
}

Result<void> Segment::mark_deleted() {
  auto renamed = change_suffix(".deleted");
  if (!renamed && renamed.error().os_error == ENOENT) return {};
  return renamed;
}

Result<void> Segment::change_suffix(const std::string& suffix) {
  base::MutexLock lock(names_mutex_);
  if (suffix_ == suffix) return {};
  if (auto renamed = log_.move_to(path_ + ".log" + suffix); !renamed) return renamed;
  suffix_ = suffix;
  return indexes_.move_to(path_, suffix_);
}

Result<void> Segment::set_modified(int64_t modified_ms) {
  base::MutexLock lock(names_mutex_);
  modified_ms_.store(modified_ms, std::memory_order_relaxed);
  return dir_->files().set_modified(path_ + ".log" + suffix_, modified_ms);
}

Result<void> Segment::remove_files() {
  base::MutexLock lock(names_mutex_);
  Result<void> result;
  for (const char* kind : {".log", ".index", ".timeindex", ".txnindex"}) {
    auto removed = dir_->files().remove(path_ + kind + suffix_);
    if (!removed && result) result = std::move(removed);
  }
  return result;
}

void Segment::renamed_folder(const std::string& folder) {
  base::MutexLock lock(names_mutex_);
  path_ = folder + "/" + segment_name(base_);
  log_.renamed_to(path_ + ".log" + suffix_);
  indexes_.renamed_to(path_, suffix_);
}

}  // namespace odradek::storage

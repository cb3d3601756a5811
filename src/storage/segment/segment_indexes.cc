#include "storage/segment/segment_indexes.h"

#include "base/log.h"
#include "storage/dir/log_dir.h"

namespace odradek::storage {

bool may_be_the_index(const Error& error, const OffsetPosition& entry) {
  if (error.code != ErrorCode::kCorruptMessage || entry.position == 0) return false;
  log::warn("storage", "an index or its log is wrong, the log is read from the start of the segment: {}", error.what);
  return true;
}

SegmentIndexes::SegmentIndexes(LogDir& dir, LogFile& log, const std::string& path, const std::string& suffix, Offset base, const Found& found)
    : log_(log),
      base_(base),
      found_offset_index_(found.offset),
      found_time_index_(found.time),
      offset_index_(dir.files(), dir.cache(), path + ".index" + suffix, base, found.offset),
      time_index_(dir.files(), dir.cache(), path + ".timeindex" + suffix, base, found.time),
      txn_index_(dir.files(), path + ".txnindex" + suffix, found.txn) {}

Result<void> SegmentIndexes::create(const LogConfig& config) {
  if (auto made = offset_index_.file().create(config.segment_index_bytes); !made) return made;
  if (auto made = time_index_.file().create(config.segment_index_bytes); !made) return made;
  checked_.store(true, std::memory_order_relaxed);
  base::MutexLock lock(times_mutex_);
  times_loaded_ = true;
  max_timestamp_ = {kNoTimestamp, base_};
  return {};
}

// --- append -----------------------------------------------------------------------------------------------------------------

Result<void> SegmentIndexes::make_ready() {
  if (auto ready = ensure(); !ready) return ready;
  base::MutexLock lock(times_mutex_);
  return load_times();
}

Result<void> SegmentIndexes::note(int64_t position, Offset last, int64_t size, int64_t max_timestamp, const LogConfig& config) {
  TimestampOffset largest;
  {
    base::MutexLock lock(times_mutex_);
    if (!times_loaded_) {
      if (auto loaded = load_times(); !loaded) return loaded;
    }
    if (max_timestamp > max_timestamp_.timestamp) max_timestamp_ = {max_timestamp, last};
    largest = max_timestamp_;
  }
  if (bytes_since_entry_ > config.index_interval_bytes) {
    if (auto noted = offset_index_.append(last, static_cast<int32_t>(position), config.segment_index_bytes); !noted) return noted;
    if (auto noted = time_index_.maybe_append(largest.timestamp, largest.offset, config.segment_index_bytes); !noted) return noted;
    bytes_since_entry_ = 0;
  }
  bytes_since_entry_ += size;
  return {};
}

Result<bool> SegmentIndexes::full(int32_t max_bytes) {
  auto full = offset_index_.full(max_bytes);
  if (full && !*full) full = time_index_.full(max_bytes);
  return full;
}

Result<void> SegmentIndexes::finish(const LogConfig& config) {
  std::optional<TimestampOffset> largest;
  {
    base::MutexLock lock(times_mutex_);
    if (times_loaded_) largest = max_timestamp_;
  }
  if (largest) {
    if (auto noted = time_index_.maybe_append(largest->timestamp, largest->offset, config.segment_index_bytes, true); !noted) return noted;
  }
  if (auto cut = trim(); !cut) return cut;
  unsynced_.store(true, std::memory_order_release);
  return {};
}

Result<void> SegmentIndexes::trim() {
  if (auto cut = offset_index_.file().trim(); !cut) return cut;
  return time_index_.file().trim();
}

// --- read -------------------------------------------------------------------------------------------------------------------

Result<void> SegmentIndexes::check() {
  base::MutexLock lock(check_mutex_);
  if (checked_.load(std::memory_order_acquire)) return {};
  auto sound = offset_index_.check(log_.size());
  if (sound) sound = time_index_.check();
  // Without it no time would be found here (a Kafka of before 0.10.1 did not write any).
  if (sound && !found_time_index_ && log_.size() > 0) sound = fail(ErrorCode::kCorruptMessage, "there is no time index");
  if (!sound) {
    if (sound.error().code != ErrorCode::kCorruptMessage) return sound;
    log::warn("storage", "{}: {}: the indexes are built again", segment_name(base_), sound.error().what);
    if (auto built = rebuild(LogConfig{}); !built) return built;
  }
  checked_.store(true, std::memory_order_release);
  return {};
}

Result<void> SegmentIndexes::rebuild(const LogConfig& config) {
  auto file = log_.file();
  if (!file) return fail(std::move(file.error()));
  offset_index_.file().begin_rewrite();
  time_index_.file().begin_rewrite();
  base::MutexLock lock(times_mutex_);
  times_loaded_ = true;
  max_timestamp_ = {kNoTimestamp, base_};
  BatchWalk walk((*file)->file(), 0, log_.size(), base_);
  int64_t since_entry = 0;
  for (;;) {
    auto batch = walk.next();
    if (!batch) return fail(std::move(batch.error()));
    if (!*batch) break;
    if ((*batch)->max_timestamp > max_timestamp_.timestamp) max_timestamp_ = {(*batch)->max_timestamp, (*batch)->last};
    if (since_entry > config.index_interval_bytes) {
      if (auto noted = offset_index_.append((*batch)->last, static_cast<int32_t>((*batch)->position), config.segment_index_bytes); !noted) return noted;
      if (auto noted = time_index_.maybe_append(max_timestamp_.timestamp, max_timestamp_.offset, config.segment_index_bytes); !noted) return noted;
      since_entry = 0;
    }
    since_entry += (*batch)->size;
  }
  if (auto noted = time_index_.maybe_append(max_timestamp_.timestamp, max_timestamp_.offset, config.segment_index_bytes, true); !noted) return noted;
  if (auto cut = trim(); !cut) return cut;
  unsynced_.store(true, std::memory_order_release);
  return {};
}

Result<bool> SegmentIndexes::are_cached() {
  if (checked_.load(std::memory_order_acquire)) return true;
  auto cached = offset_index_.file().ends_are_cached();
  if (cached && *cached) cached = time_index_.file().ends_are_cached();
  // A broken one is for ensure() to find.
  if (!cached && cached.error().code == ErrorCode::kCorruptMessage) return false;
  return cached;
}

Result<void> SegmentIndexes::load_times() {
  if (times_loaded_) return {};
  auto last = time_index_.last();
  if (!last) return fail(std::move(last.error()));
  max_timestamp_ = *last;
  times_loaded_ = true;
  return {};
}

Result<TimestampOffset> SegmentIndexes::max_timestamp() {
  // Before the lock: building the indexes again takes it.
  if (auto ready = ensure(); !ready) return fail(std::move(ready.error()));
  base::MutexLock lock(times_mutex_);
  if (auto loaded = load_times(); !loaded) return fail(std::move(loaded.error()));
  return max_timestamp_;
}

// --- truncate, flush, names -------------------------------------------------------------------------------------------------

Result<void> SegmentIndexes::truncate_to(Offset offset, base::File& file) {
  if (auto cut = offset_index_.truncate_to(offset); !cut) return cut;
  if (auto cut = time_index_.truncate_to(offset); !cut) return cut;
  if (auto cut = txn_index_.truncate_to(offset, base_); !cut) return cut;
  unsynced_.store(true, std::memory_order_release);
  bytes_since_entry_ = 0;

  // Batches behind the last time index entry may have greater timestamps.
  base::MutexLock lock(times_mutex_);
  auto last = time_index_.last();
  if (!last) return fail(std::move(last.error()));
  max_timestamp_ = *last;
  times_loaded_ = true;
  auto greatest = walk_from(last->offset, file, [&](BatchWalk& walk) -> Result<TimestampOffset> {
    for (TimestampOffset found = *last;;) {
      auto next = walk.next();
      if (!next) return fail(std::move(next.error()));
      if (!*next) return found;
      if ((*next)->max_timestamp > found.timestamp) found = {(*next)->max_timestamp, (*next)->last};
    }
  });
  if (!greatest) return fail(std::move(greatest.error()));
  max_timestamp_ = *greatest;
  return {};
}

Result<void> SegmentIndexes::begin_rewrite() {
  offset_index_.file().begin_rewrite();
  time_index_.file().begin_rewrite();
  if (auto cleared = txn_index_.reset(); !cleared) return cleared;
  checked_.store(true, std::memory_order_release);
  bytes_since_entry_ = 0;
  base::MutexLock lock(times_mutex_);
  times_loaded_ = true;
  max_timestamp_ = {kNoTimestamp, base_};
  return {};
}

Result<void> SegmentIndexes::sync() {
  // Before the syncs: a change that comes while they run has to be synced again.
  if (!unsynced_.exchange(false, std::memory_order_acq_rel)) return {};
  // Indexes of an empty segment are not believed if they are not empty: there is nothing to keep.
  if (log_.size() == 0) return {};
  auto synced = offset_index_.file().sync();
  if (synced) synced = time_index_.file().sync();
  if (synced) synced = txn_index_.sync();
  if (!synced) unsynced_.store(true, std::memory_order_release);
  return synced;
}

Result<void> SegmentIndexes::move_to(const std::string& path, const std::string& suffix) {
  Result<void> result;
  for (auto moved : {offset_index_.file().move_to(path + ".index" + suffix), time_index_.file().move_to(path + ".timeindex" + suffix),
                     txn_index_.move_to(path + ".txnindex" + suffix)}) {
    if (!moved && result) result = std::move(moved);
  }
  return result;
}

void SegmentIndexes::renamed_to(const std::string& path, const std::string& suffix) {
  offset_index_.file().renamed_to(path + ".index" + suffix);
  time_index_.file().renamed_to(path + ".timeindex" + suffix);
  txn_index_.renamed_to(path + ".txnindex" + suffix);
}

}  // namespace odradek::storage

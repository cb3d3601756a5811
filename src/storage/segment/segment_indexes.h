// The indexes of one segment (offsets, times, aborted transactions) and its greatest timestamp, which the time index knows.
// Those that were found on the disk are believed once they have been checked; where they are missing or broken they are built again from
// the log. Not so the transaction index: only a recovery makes that again.
// Lock order: check_mutex_, times_mutex_, then those of LogFile and IndexFile.
// Thread: create, note, finish, trim, truncate_to, begin_rewrite: one at a time (the Log's lock); the rest from any.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <utility>

#include "base/mutex.h"
#include "storage/index/offset_index.h"
#include "storage/index/time_index.h"
#include "storage/index/txn_index.h"
#include "storage/segment/batch_walk.h"
#include "storage/segment/log_config.h"
#include "storage/segment/log_file.h"

namespace odradek::storage {

// What an entry of the offset index promises of the batch at its position.
inline Offset first_at_most(const OffsetPosition& entry) { return entry.position == 0 ? Offset{INT64_MAX} : entry.offset; }
// A walk from `entry` met `error`: the index may be wrong where the log is right. Then (and a line in the log says so) from the start of
// the segment.
bool may_be_the_index(const Error& error, const OffsetPosition& entry);

class SegmentIndexes {
 public:
  struct Found {
    bool offset = false, time = false, txn = false;
  };
  // Opens nothing. `path`: folder and base name; `suffix` stands behind the names of the files. `log` outlives them.
  SegmentIndexes(LogDir& dir, LogFile& log, const std::string& path, const std::string& suffix, Offset base, const Found& found);

  // New, empty, preallocated ones.
  Result<void> create(const LogConfig& config);

  // --- append -----------------------------------------------------------------------------------------------------------
  // What note() needs is there: after this only a failed disk may stop it.
  Result<void> make_ready();
  // A batch at `position` of the log file, behind the former one. After ensure().
  Result<void> note(int64_t position, Offset last, int64_t size, int64_t max_timestamp, const LogConfig& config);
  // No room for another entry in one of them.
  Result<bool> full(int32_t max_bytes);
  // Nothing is appended any more: the last time index entry, both files cut to what they hold.
  Result<void> finish(const LogConfig& config);

  // --- read -------------------------------------------------------------------------------------------------------------
  // They can be used: checked, and built again from the log where they are not sound.
  Result<void> ensure() {
    if (checked_.load(std::memory_order_acquire)) return {};
    return check();
  }
  // What ensure() reads, and what a lookup needs first, is in the page cache.
  Result<bool> are_cached();
  // Greatest timestamp and the last offset of the batch that holds it; {-1, base offset} without timestamps.
  Result<TimestampOffset> max_timestamp();
  // walk(BatchWalk&) over `file`, the log file, from where the index says that batches up to `target` begin.
  template <class Walk>
  auto walk_from(Offset target, base::File& file, Walk walk) -> decltype(walk(std::declval<BatchWalk&>())) {
    const int64_t end = log_.size();
    auto start = offset_index_.lookup(target);
    if (!start) return fail(std::move(start.error()));
    BatchWalk batches(file, start->position, end, base_, first_at_most(*start));
    auto walked = walk(batches);
    if (walked || batches.has_begun() || !may_be_the_index(walked.error(), *start)) return walked;
    BatchWalk all(file, 0, end, base_);
    return walk(all);
  }
  OffsetIndex& offset_index() { return offset_index_; }
  TimeIndex& time_index() { return time_index_; }
  TxnIndex& txn_index() { return txn_index_; }
  bool found_offset_index() const { return found_offset_index_; }

  // --- truncate, flush, names -------------------------------------------------------------------------------------------
  // Entries of what lies at or beyond `offset` go; `file`, the log file, has been cut there.
  Result<void> truncate_to(Offset offset, base::File& file);
  // What is in the files counts no more; the batches that follow by note() make them again.
  Result<void> begin_rewrite();
  // The files of the first two end behind their entries.
  Result<void> trim();
  bool unsynced() const { return unsynced_.load(std::memory_order_acquire); }
  void assume_synced(bool synced) { unsynced_.store(!synced, std::memory_order_release); }
  // fdatasync of all; blocks on the disk.
  Result<void> sync();
  // The files get other names; a missing file is not an error. All are tried; the first failure is told.
  Result<void> move_to(const std::string& path, const std::string& suffix);
  // Their folder has another name.
  void renamed_to(const std::string& path, const std::string& suffix);

 private:
  Result<void> check();
  Result<void> load_times() REQUIRES(times_mutex_);
  Result<void> rebuild(const LogConfig& config);

  LogFile& log_;
  const Offset base_;
  const bool found_offset_index_, found_time_index_;
  std::atomic<bool> checked_{false};
  std::atomic<bool> unsynced_{false};
  base::Mutex check_mutex_;  // one check at a time

  OffsetIndex offset_index_;
  TimeIndex time_index_;
  TxnIndex txn_index_;

  base::Mutex times_mutex_;
  bool times_loaded_ GUARDED_BY(times_mutex_) = false;
  TimestampOffset max_timestamp_ GUARDED_BY(times_mutex_);
  int64_t bytes_since_entry_ = 0;  // the appender's
};

}  // namespace odradek::storage

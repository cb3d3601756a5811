// One piece of a log: `<base offset>.log` with its indexes. The newest segment of a log is appended to; the others never change
// but to be truncated or dropped.
// Thread: append, become_inactive, truncate: one at a time (the Log's lock); the rest from any.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/file_slice.h"
#include "base/mutex.h"
#include "storage/segment/batch_walk.h"
#include "storage/segment/log_config.h"
#include "storage/segment/log_file.h"
#include "storage/segment/segment_indexes.h"

namespace odradek::storage {

class LogDir;

class Segment {
 public:
  // Files as they stand on the disk (or none); opens nothing.
  struct Found {
    int64_t size = 0;
    int64_t modified_ms = 0;
    bool offset_index = false;
    bool time_index = false;
    bool txn_index = false;
  };
  // `suffix` stands behind the names of all its files, e.g. ".cleaned".
  Segment(std::shared_ptr<LogDir> dir, const std::string& folder, Offset base, const Found& found, const std::string& suffix = "");

  // A new, empty one, with preallocated indexes as the active segment has them. What was there under these names is gone.
  static Result<std::shared_ptr<Segment>> create(const std::shared_ptr<LogDir>& dir, const std::string& folder, Offset base, const LogConfig& config, int64_t now_ms,
                                                 const std::string& suffix = "");

  Offset base_offset() const { return base_; }
  int64_t size() const { return log_.size(); }
  int64_t modified_ms() const { return modified_ms_.load(std::memory_order_relaxed); }

  // --- append -----------------------------------------------------------------------------------------------------------
  // Writes `batches` at the end, which stays where it is until note_batch. On an error the file was cut back if that was possible.
  Result<void> write(ByteView batches, const LogConfig& config);
  // One written batch behind the former: moves the end, keeps the indexes.
  Result<void> note_batch(Offset last, int64_t size, int64_t max_timestamp, const LogConfig& config, int64_t now_ms);
  Result<void> note_aborted(const AbortedTransaction& aborted) { return indexes_.txn_index().append(aborted); }
  // Whether the next append (of `bytes`, up to offset `last`, with `max_timestamp`) belongs into a new segment.
  Result<bool> should_roll(int64_t bytes, Offset last, int64_t max_timestamp, int64_t jitter_ms, const LogConfig& config, int64_t now_ms);
  // The last time index entry, indexes and log cut to what they hold.
  Result<void> become_inactive(const LogConfig& config);

  // --- read -------------------------------------------------------------------------------------------------------------
  Result<std::shared_ptr<base::SharedFile>> file() { return log_.file(); }
  struct Range {
    base::FileSlice slice;
    Offset next_offset{-1};
    bool found = false;  // some batch of this segment reaches `from`
    bool cold = false;   // then `slice` is what has to be loaded
  };
  // See Log::read.
  Result<Range> read(Offset from, int64_t max_bytes, Offset upper_bound, bool at_least_one, bool only_cached);
  // The first batch that reaches `offset`; its header is not kept.
  Result<std::optional<BatchMeta>> find_batch(Offset offset);
  // Greatest timestamp and the last offset of the batch that holds it; {-1, base offset} without timestamps.
  Result<TimestampOffset> max_timestamp() { return indexes_.max_timestamp(); }
  // As Kafka: the greatest timestamp, else the time of the last change of the file.
  Result<int64_t> largest_timestamp();
  // Of the first batch, its greatest; -1 if there is none. For segments that are not appended to.
  Result<int64_t> first_batch_timestamp();
  // Bytes of the index entries.
  Result<int64_t> offset_index_bytes();
  Result<int64_t> time_index_bytes();
  // First record at or above `lowest` with a timestamp at or after the given one.
  Result<std::optional<TimestampOffset>> find_timestamp(int64_t timestamp, Offset lowest);
  TxnIndex& txn_index() { return indexes_.txn_index(); }

  // --- truncate, flush, drop --------------------------------------------------------------------------------------------
  // Cuts off the first batch that reaches `offset` and all behind it. No reader of the file is in a send when this returns.
  Result<void> truncate_to(Offset offset);
  bool unflushed() const { return log_unsynced() || indexes_.unsynced(); }
  // fdatasync of the log / of the indexes of a segment that is appended to no more. Block on the disk.
  // `always`: even if a flush elsewhere has just taken it on.
  Result<void> sync_log(bool always = false) { return log_.sync(always); }
  Result<void> sync_indexes() { return indexes_.sync(); }
  bool log_unsynced() const { return log_.unsynced(); }
  // Enough has been written since the kernel was last told to begin with it.
  bool writeback_is_due() const { return log_.writeback_is_due(); }
  // Whole pages up to the end; does not wait for them, but may wait for room in the disk's queue.
  void start_writeback() { log_.start_writeback(); }
  // Everything that is in the files counts as durable (clean start), or nothing.
  void assume_synced(bool synced);
  // The records do; of the indexes nothing is known.
  void assume_records_synced();
  // No send of what readers hold runs any more, and none begins.
  void invalidate_readers() { log_.invalidate_readers(); }
  // Adds `.deleted` to all names (readers go on with their open file) / removes the files.
  Result<void> mark_deleted();
  Result<void> remove_files();
  // Another suffix behind all names, the log's first (".cleaned" → ".swap" → ""). Errors: ENOENT: its folder was renamed.
  Result<void> change_suffix(const std::string& suffix);
  // The time of the last change, of the file too.
  Result<void> set_modified(int64_t modified_ms);
  void renamed_folder(const std::string& folder);

  // --- recovery ---------------------------------------------------------------------------------------------------------
  // Sees a good batch; `whole` is false where only the header was read (it is read for control batches).
  using Visit = std::function<Result<void>(const BatchMeta& batch, const record::BatchView& whole)>;
  struct Recovered {
    Offset next_offset{0};
    int64_t truncated_bytes = 0;
    std::string reason;  // of the truncation
  };
  // Walks all batches by their headers, reads those that reach to or beyond `check_crc_from` and checks their CRC, builds the offset and
  // time index again (and leaves the txn index empty, for `visit` to fill), and cuts the file at the first batch that is not good.
  Result<Recovered> recover(Offset check_crc_from, const LogConfig& config, const Visit& visit);
  // Offset behind the last batch, found from the last index entry. nullopt: the file does not end with a whole good batch.
  Result<std::optional<Offset>> find_next_offset();
  // Batches that reach to or beyond `from` and begin below `upto`, in order.
  Result<void> for_each_batch(Offset from, const Visit& visit, Offset upto = {INT64_MAX});
  // Where a walk begins that sees about the last `bytes` below `offset`, and how many it sees; fewer: the segment does not have them.
  struct Tail {
    Offset from{0};
    int64_t bytes = 0;
  };
  Result<Tail> tail_below(Offset offset, int64_t bytes);
  bool has_offset_index() const { return indexes_.found_offset_index(); }

 private:
  // The index cannot be read without waiting for the disk: whoever waits for this slice may do that, too.
  Result<Range> cold_start();
  // Where a batch begins up to which the heads in the file need no look: they are this process's own, and the disk has given none of them back.
  std::optional<OffsetPosition> end_of_known(int64_t from, int64_t limit);
  Result<Range> read_from(OffsetPosition start, Offset from, int64_t max_bytes, Offset upper_bound, bool at_least_one, bool only_cached);

  const std::shared_ptr<LogDir> dir_;  // shared: a response may keep a segment longer than the log manager lives
  const Offset base_;
  base::Mutex names_mutex_;  // one change of names at a time; taken before the locks of the files
  std::string path_ GUARDED_BY(names_mutex_);    // folder and base name, without the suffix
  std::string suffix_ GUARDED_BY(names_mutex_);  // "", ".deleted", ".cleaned" or ".swap"

  LogFile log_;
  SegmentIndexes indexes_;
  std::atomic<int64_t> known_from_;  // what lies below was, or may have been, read from the disk
  std::atomic<int64_t> modified_ms_;
  static constexpr int64_t kNotRead = INT64_MIN;
  std::atomic<int64_t> first_batch_timestamp_{kNotRead};
  int64_t created_ms_;
  std::optional<int64_t> first_timestamp_;  // of the first batch; the appender's
  bool changed_ = false;                    // the appender's: since the indexes were trimmed
};

}  // namespace odradek::storage

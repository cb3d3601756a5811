// One partition's log: segments in a folder, the newest one appended to. Offsets rise; what is appended is never changed, only cut
// off at the end (truncation) or dropped at the front (retention).
// Appends: checked and numbered in place, one pwritev to the page cache, then the log end is published. No fsync here: flush_messages
// and flush_ms hand the log to the flusher, and a roll its old segment.
// Errors: a write that fails takes the log's dir offline; from then on every call here gives kKafkaStorageError. A failed append
// leaves nothing behind: the file is cut back, or the log takes no more appends.
// Thread: any; appends, rolls and truncations run one at a time. Offsets are read without a lock.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file_slice.h"
#include "base/mutex.h"
#include "model/types.h"
#include "storage/leader_epoch_cache.h"
#include "storage/log_config.h"
#include "storage/producer_state.h"
#include "storage/segment.h"
#include "storage/tail_ring.h"
#include "storage/types.h"

namespace odradek::storage {

class LogDir;
struct LoadedLog;

class Log : public std::enable_shared_from_this<Log> {
 public:
  // From log_loader.h.
  Log(LogDir& dir, TopicPartition name, std::string path, std::shared_ptr<const LogConfig> config, LoadedLog loaded);
  ~Log();
  Log(const Log&) = delete;

  const TopicPartition& name() const { return name_; }
  std::string path() const;  // of its folder
  LogDir& dir() const { return dir_; }
  std::shared_ptr<const LogConfig> config() const;
  void update_config(std::shared_ptr<const LogConfig> config);
  Uuid topic_id() const;  // zero: none
  // Writes partition.metadata; its fsync is left to the flush threads. Errors: kInconsistentTopicId.
  Result<void> set_topic_id(const Uuid& id);

  // --- append -----------------------------------------------------------------------------------------------------------
  // `records`: one partition's field of a Produce request, or batches of the broker's own; written to in place. Batches that came
  // before (same producer, epoch and sequences, one of its last five) are not appended again: `duplicate`.
  // Errors: those of record/validate.h; kRecordListTooLarge: more than segment.bytes; kInvalidProducerEpoch,
  // kOutOfOrderSequenceNumber, kInvalidTxnState, kTransactionCoordinatorFenced; kKafkaStorageError.
  tl::expected<AppendInfo, AppendError> append_as_leader(MutableByteView records, LeaderEpoch epoch, const AppendOptions& options);
  // What a leader sent, byte for byte; a cut-off last batch is dropped. Leader epochs found in it go to the epoch cache.
  // Errors: kCorruptMessage: CRC or framing; kOffsetOutOfRange: an offset below the log end, or not rising; kKafkaStorageError.
  tl::expected<AppendInfo, AppendError> append_as_follower(ByteView records);

  // --- read -------------------------------------------------------------------------------------------------------------
  // Whole batches from the one that holds `from` on, at most `max_bytes` of them, none whose last offset is at or above
  // `upper_bound`. `at_least_one_batch`: the first one comes even if it is larger. Batches that the slice covers have been checked
  // for length and rising offsets; a break ends it.
  // `cold` (may be null): if what would be read is not in the page cache, nothing is read, and *cold is the slice to be loaded
  // (LogManager::slice_loader) before trying again. Null: the read may wait for the disk.
  // Errors: kOffsetOutOfRange: outside [log start, log end]; kCorruptMessage: the file is broken there; kKafkaStorageError.
  Result<LogRead> read(Offset from, int32_t max_bytes, Offset upper_bound, bool at_least_one_batch, base::FileSlice* cold = nullptr) const;

  Offset log_start_offset() const { return {log_start_.load(std::memory_order_acquire)}; }
  Offset log_end_offset() const { return {log_end_.load(std::memory_order_acquire)}; }  // pairs with the release after the write
  Offset high_watermark() const { return {high_watermark_.load(std::memory_order_acquire)}; }
  // Everything below is on the disk.
  Offset recovery_point() const { return {recovery_point_.load(std::memory_order_acquire)}; }
  // min(`high_watermark`, first offset of an open or not yet replicated transaction).
  Offset last_stable_offset(Offset high_watermark) const;
  int64_t size_bytes() const;
  size_t segment_count() const;

  // Retention never passes it. Never goes back except by truncation.
  void update_high_watermark(Offset high_watermark);

  // First record at or after `timestamp`. May lie at or above `upper_bound`, beyond which it does not look: the caller decides.
  Result<std::optional<TimestampOffset>> offset_for_timestamp(int64_t timestamp, Offset upper_bound) const;
  // The first record with the greatest timestamp.
  Result<std::optional<TimestampOffset>> max_timestamp_offset() const;
  // ListOffsets v0: starts of segments last changed at or before `timestamp` (-1: latest, -2: earliest), newest first.
  std::vector<Offset> legacy_offsets_before(int64_t timestamp, int max_count) const;

  // --- leader epochs ----------------------------------------------------------------------------------------------------
  LeaderEpoch latest_epoch() const;
  LeaderEpoch epoch_for_offset(Offset offset) const;
  // The largest known epoch at or below `epoch`, and where it ends. {-1, -1}: unknown.
  std::pair<LeaderEpoch, Offset> end_offset_for_epoch(LeaderEpoch epoch) const;
  void assign_epoch_start(LeaderEpoch epoch, Offset start);
  std::vector<EpochEntry> epochs() const;

  // --- producers --------------------------------------------------------------------------------------------------------
  std::vector<ProducerStateEntry> active_producers() const;
  // Transactions aborted whose records may stand in [from, upto).
  std::vector<AbortedTransaction> aborted_transactions(Offset from, Offset upto) const;
  void expire_producers(int64_t now_ms);

  // --- changes at the ends ----------------------------------------------------------------------------------------------
  // Cuts off every batch that reaches to or beyond `offset`; the log end is then at most `offset`. Blocks on the disk when the
  // recovery point in the checkpoint has to go back first: on a fetcher's thread.
  Result<void> truncate_to(Offset offset);
  Result<void> truncate_fully_and_start_at(Offset offset);
  // Records below are gone for readers; whole segments go with the next retention run. Errors: kOffsetOutOfRange above the high watermark.
  Result<void> maybe_advance_start_offset(Offset offset);
  // Drops segments by time, size and log start. Returns how many.
  Result<int> delete_old_segments();
  // Starts a new segment at the log end, if the active one has data.
  Result<void> roll();

  // --- flush ------------------------------------------------------------------------------------------------------------
  // Blocks on the disk: for flush threads, the stop and tests. Everything appended before is durable afterwards.
  Result<void> flush();
  // As flush(), then indexes trimmed, producer snapshot and epoch file written. No append is taken any more.
  Result<void> close_cleanly();

 private:
  friend class Flusher;
  friend class LogManager;
  struct ProducerCheck;

  tl::unexpected<Error> offline() const;
  Result<void> flush_up_to(bool active_too);
  void request_flush(bool active_too);
  void run_flush_task();

  tl::expected<AppendInfo, AppendError> write_batches(ByteView batches, record::AppendOrigin origin, AppendInfo info, int64_t now_ms)
      REQUIRES(mutex_);
  Result<void> maybe_roll(int64_t new_bytes, Offset last_offset, int64_t max_timestamp, int64_t now_ms) REQUIRES(mutex_);
  Result<void> roll_locked() REQUIRES(mutex_);
  Result<void> write_producer_snapshot() REQUIRES(mutex_);
  Result<void> save_epochs_if_dirty();
  Result<void> drop_segments(std::vector<std::shared_ptr<Segment>> segments, bool delayed) REQUIRES(mutex_);
  Result<void> rebuild_producer_state(Offset upto) REQUIRES(mutex_);
  void publish_end(Offset end);
  void refresh_first_unstable() REQUIRES(mutex_);
  void fail_dir(const Error& error) const;
  void remove_old_snapshots() REQUIRES(mutex_);
  std::vector<std::shared_ptr<Segment>> segments() const;
  std::shared_ptr<Segment> active() const;
  std::string segment_path(Offset base) const;
  void renamed_to(std::string path);

  LogDir& dir_;
  const TopicPartition name_;

  mutable base::Mutex mutex_;        // appends, rolls, truncation, retention: one at a time; held during pwritev, never during fsync
  mutable base::Mutex state_mutex_;  // what readers look up; taken after mutex_, held for moments
  std::string path_ GUARDED_BY(state_mutex_);
  std::shared_ptr<const LogConfig> config_ GUARDED_BY(state_mutex_);  // shared: one per topic, kept by who reads it
  Uuid topic_id_ GUARDED_BY(state_mutex_);
  std::vector<std::shared_ptr<Segment>> segments_ GUARDED_BY(state_mutex_);  // by base offset, never empty; shared: readers and the flusher work on one without a lock
  TailRing tail_ GUARDED_BY(state_mutex_);                                   // newest batches of the last segment
  LeaderEpochCache epochs_ GUARDED_BY(state_mutex_);
  std::vector<std::string> old_snapshots_ GUARDED_BY(mutex_);

  ProducerStateManager producers_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;  // no appends any more
  int64_t roll_jitter_ms_ GUARDED_BY(mutex_) = 0;

  std::atomic<int64_t> log_start_{0};
  std::atomic<int64_t> log_end_{0};
  std::atomic<int64_t> high_watermark_{0};
  std::atomic<int64_t> recovery_point_{0};
  std::atomic<int64_t> first_unstable_{INT64_MAX};
  std::atomic<int64_t> first_unreplicated_{INT64_MAX};  // smallest last offset of transactions that ended above the high watermark

  base::Mutex flush_mutex_;  // one flush at a time; taken before mutex_
  std::atomic<uint8_t> flush_state_{0};
  std::atomic<bool> flush_active_too_{false};
  std::atomic<bool> flush_timer_set_{false};
  std::atomic<uint64_t> truncations_{0};
  std::atomic<bool> directory_changed_{false};
  std::atomic<bool> metadata_unsynced_{false};
};

}  // namespace odradek::storage

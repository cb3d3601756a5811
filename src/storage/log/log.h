// One partition's log: segments in a folder, the newest one appended to. Offsets rise; what is appended is never changed, only cut
// off at the end (truncation) or dropped at the front (retention).
// Appends: checked and numbered in place, one pwritev to the page cache, then the log end is published. No fsync here: flush_messages
// and flush_ms hand the log to the flusher, and a roll its old segment.
// Errors: a write that fails takes the log's dir offline; from then on every call here gives kKafkaStorageError. A failed append
// leaves nothing behind: the file is cut back, or the log takes no more appends.
// Thread: any; appends, rolls and truncations run one at a time. Offsets are read without a lock.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file_slice.h"
#include "base/mutex.h"
#include "model/types.h"
#include "storage/dir/flushable.h"
#include "storage/files/leader_epoch_cache.h"
#include "storage/log/producer_state.h"
#include "storage/log/tail_ring.h"
#include "storage/log/types.h"
#include "storage/segment/log_config.h"
#include "storage/segment/segment.h"

namespace odradek::storage {

class LogDir;
struct LoadedLog;

struct ClosedSegments {
  std::vector<std::shared_ptr<Segment>> segments;
  uint64_t truncations = 0;
};

// Told when a flush of a log has ended, on the flush thread, without a lock.
class FlushListener {
 public:
  virtual ~FlushListener() = default;
  virtual void on_flushed() = 0;
};

class Log final : public Flushable, public std::enable_shared_from_this<Log> {
 public:
  // `loaded`: from load_log or create_log (`is_new`).
  Log(std::shared_ptr<LogDir> dir, TopicPartition name, std::string path, std::shared_ptr<const LogConfig> config, LoadedLog loaded, bool is_new = false);
  ~Log() override;
  Log(const Log&) = delete;

  const TopicPartition& name() const { return name_; }
  std::string path() const;  // of its folder
  LogDir& dir() const { return *dir_; }
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
  // All records below are on the disk.
  Offset flushed_offset() const { return {flushed_.load(std::memory_order_acquire)}; }
  // And all that a start needs to believe them without looking.
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
  // Transactions aborted whose records may stand in [from, upto). Errors: kKafkaStorageError: I/O, a broken index.
  Result<std::vector<AbortedTransaction>> aborted_transactions(Offset from, Offset upto) const;
  void expire_producers(int64_t now_ms);
  // None expires: as long as an unknown one has to begin with sequence 0.
  void keep_producers(bool keep) { keeps_producers_.store(keep, std::memory_order_relaxed); }

  // --- changes at the ends ----------------------------------------------------------------------------------------------
  // Cuts off every batch that reaches to or beyond `offset`; the log end is then at most `offset`. Durable at once, so that nothing
  // of it comes back after a power cut: blocks on the disk, on a fetcher's thread.
  Result<void> truncate_to(Offset offset);
  Result<void> truncate_fully_and_start_at(Offset offset);
  // Records below are gone for readers; whole segments go with the next retention run. Errors: kOffsetOutOfRange above the high watermark.
  Result<void> maybe_advance_start_offset(Offset offset);
  // Drops segments by time, size and log start. Returns how many.
  Result<int> delete_old_segments();
  // Starts a new segment at the log end, if the active one has data.
  Result<void> roll();

  // --- compaction (the cleaner calls these) ---------------------------------------------------------------------------------
  // Records below it have been compacted; -1: unknown, then nothing has. Stands in cleaner-offset-checkpoint.
  Offset cleaned_offset() const { return {cleaned_.load(std::memory_order_acquire)}; }
  // `truncations`: of the plan; nothing is done if the log was cut since then. Blocks on the disk.
  Result<void> set_cleaned_offset(Offset offset, uint64_t truncations);
  // What could be compacted now. Reads indexes of segments that it has not seen before. Errors: kKafkaStorageError, kCorruptMessage.
  Result<CleanPlan> plan_cleaning(int64_t now_ms) const;
  // Whether `segments` are still there as neighbours, and nothing was cut since the plan; false also if the log is closed.
  bool still_has(const std::vector<std::shared_ptr<Segment>>& segments, uint64_t truncations) const;
  // Segments below `offset` are on the disk, and the recovery point that says so. Blocks on the disk.
  Result<void> make_durable_below(Offset offset);
  // The producers that are known, with the last offset that each one wrote.
  absl::flat_hash_map<int64_t, LastRecord> last_records() const;
  // A segment for the cleaner's output; its files end in `.cleaned`.
  Result<std::shared_ptr<Segment>> create_cleaned(Offset base) const;
  // `cleaned`, whole and synced, takes the place of `old`: neighbours below the active segment, as plan_cleaning() gave them. Readers of
  // the old files go on; these are removed after file.delete.delay.ms. A crash at any point leaves the old or the new segment.
  // Appends do not wait for it. Blocks on the disk. False: the log has changed meanwhile, or is closed; nothing was done.
  Result<bool> replace_segments(const std::vector<std::shared_ptr<Segment>>& old, const std::shared_ptr<Segment>& cleaned, uint64_t truncations);

  // --- scrubbing --------------------------------------------------------------------------------------------------------
  // All segments but the active one.
  ClosedSegments closed_segments() const;
  // Whether the log has this one of them still, and nothing was cut off since then.
  bool still_has(const ClosedSegments& closed, const Segment& segment) const;

  // --- flush ------------------------------------------------------------------------------------------------------------
  // Blocks on the disk: for flush threads, the stop and tests. Everything appended before is durable afterwards.
  Result<void> flush();
  // By a flush thread, soon. It covers everything appended before this call.
  void request_flush() { request_flush(kWantAll); }
  // Flushes that have ended.
  uint64_t flush_count() const { return flushes_.load(std::memory_order_acquire); }
  // Nullopt: the log is not in debt, answers to producers may go. Else: they wait until flush_count() exceeds this.
  // Debt: more than log.flush.debt.factor times flush.messages or flush.ms is not flushed.
  std::optional<uint64_t> debt_hold();
  // The unflushed part in multiples of flush.messages or flush.ms, the greater one; 0 without either.
  double debt_ratio() const;
  // One at most.
  void set_flush_listener(std::weak_ptr<FlushListener> listener);
  // As flush(), then indexes trimmed, producer snapshot and epoch file written. No append is taken any more.
  Result<void> close_cleanly();

  // --- for the log manager ------------------------------------------------------------------------------------------------
  // Flush threads run: what the former process left unflushed is due like anything else.
  void note_loaded();
  // The folder was renamed; no append is taken any more.
  void renamed_to(const std::string& path);
  // The folder was renamed, and the log goes on. Nobody appends meanwhile.
  void relocated_to(const std::string& path);
  // Takes the place of `former` for those who wait for flushes of it.
  void take_over(const Log& former) { flushes_.store(std::max(flush_count(), former.flush_count()) + 1, std::memory_order_release); }
  // No append, roll or truncation runs when this returns, and none comes.
  void stop_appends();
  Offset first_segment_base() const;

 private:
  enum class FlushState : uint8_t { kIdle, kQueued, kRunning, kRunningAgain };
  // Whether leader-epoch-checkpoint lags behind: not at all; by an epoch without records, which tells nobody anything; by more.
  enum class EpochFile : uint8_t { kCurrent, kLacksEmptyEpoch, kOld };

  Error offline_error() const;
  Error fail_dir(Error error) const;
  // The same; after a failure of the disk no append is taken any more, without one (no room, no descriptors) the log goes on.
  Error fail_half_done(Error error) REQUIRES(mutex_);
  Error full_error() const;
  // The same for a change that may be half done: no appends any more.
  Error fail_for_good(Error error) REQUIRES(mutex_);
  tl::expected<AppendInfo, AppendError> write_batches(ByteView bytes, LeaderEpoch epoch, int64_t now_ms, const LogConfig& config, bool privileged, AppendInfo info)
      REQUIRES(mutex_);
  // Looks for the batches of a producer that no snapshot told of, once for all producers of the log. True: it looked.
  Result<bool> recall_batches(const record::BatchHeader& batch) REQUIRES(mutex_);
  Result<void> note_written(const record::BatchView& batch, int64_t now_ms, const LogConfig& config) REQUIRES(mutex_);
  Result<void> maybe_roll(int64_t bytes, Offset last, int64_t max_timestamp, int64_t now_ms, const LogConfig& config) REQUIRES(mutex_);
  Result<void> roll_to(Offset base, const LogConfig& config) REQUIRES(mutex_);
  void flush_if_due(const LogConfig& config);
  void refresh_unstable() REQUIRES(mutex_);
  void epochs_changed(EpochFile lag);

  // What a flush thread is asked for.
  enum FlushWant : uint8_t {
    kWantClosed = 1,     // closed segments and small files
    kWantAll = 2,        // the active segment too
    kWantWriteback = 4,  // only that the kernel begins to write
  };
  // What the two halves of a flush know of each other.
  struct Flush {
    Offset target{0};  // records below are flushed by it
    uint64_t truncations = 0;
  };
  // The records and the names of their files; flushed_offset() follows. Then the rest; recovery_point() follows.
  Result<Flush> sync_records(bool active_too) EXCLUDES(flush_mutex_);
  Result<void> sync_rest(const Flush& flush, bool closing) EXCLUDES(flush_mutex_);
  Result<void> sync_up_to(bool active_too, bool closing);
  Error flush_failed(Error error, const std::string& folder) const;
  void flush_has_ended();
  void set_debt_limits(const LogConfig& config);
  int64_t unflushed_age_ms() const;
  void start_writeback();
  Result<void> save_epochs();
  void request_flush(uint8_t want);
  void flush_is_due() override;
  void run_flush() override;

  Result<void> lower_recovery_point(Offset offset) REQUIRES(mutex_);
  // Nothing from `offset` on counts as compacted.
  Result<void> lower_cleaned_offset(Offset offset) REQUIRES(mutex_);
  Result<void> lower_log_start(Offset offset) REQUIRES(mutex_);
  Result<void> drop_segments(const std::vector<std::shared_ptr<Segment>>& segments, bool at_once) REQUIRES(mutex_);
  // Whether the first segment is due; then *last says whether it is the active one.
  Result<std::shared_ptr<Segment>> find_deletable(const LogConfig& config, int64_t now_ms, bool* last) const;
  bool is_listed(const Segment& segment) const;
  Result<void> drop_snapshots(Offset from, Offset to) REQUIRES(mutex_);
  std::vector<std::shared_ptr<Segment>> segments() const;
  // The segment that holds `offset`, or the first one behind it; null: none.
  std::shared_ptr<Segment> segment_for(Offset offset) const;
  std::shared_ptr<Segment> segment_after(Offset base) const;

  const std::shared_ptr<LogDir> dir_;  // shared: who holds a log may outlive the log manager
  const TopicPartition name_;
  const std::string label_;  // "orders-0"
  const bool internal_;      // a topic of the broker's own

  base::Mutex change_mutex_;         // changes of closed segments: truncation, retention, swaps; held during renames and syncs; taken first
  mutable base::Mutex mutex_;        // appends, rolls, truncation, retention: one at a time; held during pwritev, not during fsync
  mutable base::Mutex state_mutex_;  // what readers look up; taken after mutex_, held for moments
  std::string path_ GUARDED_BY(state_mutex_);
  std::shared_ptr<const LogConfig> config_ GUARDED_BY(state_mutex_);  // shared: one per topic, kept by who reads it
  Uuid topic_id_ GUARDED_BY(state_mutex_);
  // By base offset, never empty; changed under both locks. Shared: readers and flush threads work on one without a lock.
  std::vector<std::shared_ptr<Segment>> segments_ GUARDED_BY(state_mutex_);
  TailRing tail_ GUARDED_BY(state_mutex_);  // newest batches of the last segment
  LeaderEpochCache epochs_ GUARDED_BY(state_mutex_);
  EpochFile epoch_file_ GUARDED_BY(state_mutex_) = EpochFile::kCurrent;
  std::vector<std::string> unsynced_files_ GUARDED_BY(state_mutex_);  // small files for the next flush
  std::weak_ptr<FlushListener> flush_listener_ GUARDED_BY(state_mutex_);

  Segment* active_ GUARDED_BY(mutex_);  // the last of segments_
  ProducerStateManager producers_ GUARDED_BY(mutex_);
  std::vector<Offset> snapshots_ GUARDED_BY(mutex_);  // files that exist, rising
  bool closed_ GUARDED_BY(mutex_) = false;            // no appends any more
  int64_t roll_jitter_ms_ GUARDED_BY(mutex_) = 0;
  int64_t last_append_time_ms_ GUARDED_BY(mutex_) = 0;  // of a LogAppendTime batch
  // Lowered since the checkpoint was last written for that.
  bool recovery_point_lowered_ GUARDED_BY(mutex_) = false, cleaned_lowered_ GUARDED_BY(mutex_) = false, log_start_lowered_ GUARDED_BY(mutex_) = false;

  std::atomic<int64_t> log_start_;
  std::atomic<int64_t> log_end_;
  std::atomic<int64_t> high_watermark_;
  std::atomic<int64_t> flushed_;
  std::atomic<int64_t> recovery_point_;
  std::atomic<int64_t> cleaned_;
  std::atomic<int64_t> first_unstable_{INT64_MAX};
  std::atomic<int64_t> first_unreplicated_{INT64_MAX};  // last offset of the first transaction that ended above the high watermark
  std::atomic<bool> keeps_producers_{false};
  std::atomic<bool> has_aborted_{false};  // a transaction was aborted in some segment that is, or was, here
  std::atomic<bool> epoch_may_be_empty_{false};         // epoch_file_ is kLacksEmptyEpoch: the next append makes it kOld

  base::Mutex flush_mutex_;  // one flush at a time; taken before the others
  std::atomic<FlushState> flush_state_{FlushState::kIdle};
  std::atomic<uint8_t> flush_wants_{0};
  std::atomic<bool> flush_timer_set_{false};
  std::atomic<uint64_t> flushes_{0};
  // When (monotonic) the first record came that no flush has covered yet; of those that a running flush covers. Kept with flush.ms only.
  static constexpr int64_t kNever = INT64_MAX;
  std::atomic<int64_t> unflushed_since_ms_{kNever}, flushing_since_ms_{kNever};
  std::atomic<int64_t> debt_messages_{INT64_MAX}, debt_ms_{INT64_MAX};  // more than this unflushed is debt
  std::atomic<uint64_t> truncations_{0};
  std::atomic<bool> directory_changed_;
  std::atomic<bool> folder_is_new_{false};
};

}  // namespace odradek::storage

// One replica of one partition on this broker: leader or follower, its ISR and high watermark over the storage::Log.
// A state machine without a clock: times come in as monotonic milliseconds, and what has to follow (waking who waits, asking the
// controller for another ISR) goes out as return values; the ReplicaManager acts on them.
// Rules: high watermark = smallest log end of the ISR (the larger one while a change is in flight) and of replicas that are caught
// up without being in it; never back; not while the ISR is below min.insync.replicas. They hold for one replica as for many.
// Source: interbroker.md §2, §6, §7, §8; behaviours.md §2-§4.
// Thread: any. Appends and reads take no lock of the partition beside the short one around the high watermark; a change of
// role closes a gate and waits for the appends that run.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "model/error_code.h"
#include "model/types.h"
#include "replication/partition/in_sync_replicas.h"
#include "replication/partition/role_gate.h"
#include "replication/partition/types.h"
#include "replication/partition/wait_list.h"
#include "storage/log/log.h"

namespace odradek::replication {

struct TopicCounters;

class Partition : public storage::FlushListener, public std::enable_shared_from_this<Partition> {
 public:
  // `lag_ms`: replica.lag.time.max.ms.
  Partition(TopicPartition name, BrokerId self, const LiveBrokers& live, int64_t lag_ms);
  Partition(const Partition&) = delete;

  const TopicPartition& name() const { return name_; }

  // --- roles ------------------------------------------------------------------------------------------------------------
  // `log` is taken at the first call; `high_watermark` (from the checkpoint) too. Errors: kStaleControllerEpoch when the leader
  // epoch is not above the known one, kUnknownTopicOrPartition when this broker is not among the replicas. Waits for running appends.
  Result<void> become_leader(const PartitionState& state, std::shared_ptr<storage::Log> log, Offset high_watermark, int64_t now_ms);
  Result<void> become_follower(const PartitionState& state, std::shared_ptr<storage::Log> log, Offset high_watermark);
  // No reads or appends from now on: kNotLeaderOrFollower (stopped) or kKafkaStorageError (the log dir failed).
  void stop(bool offline);
  // The broker stops: no reads or appends from now on, but what was appended before may still be answered as done (flush the log, then
  // wake who waits). A producer that had to send it again could not be told from one that skips a sequence: after the next start only the
  // last batch of each producer is known.
  void close();

  Role role() const { return gate_.word().role(); }
  bool is_leader() const { return role() == Role::kLeader; }
  // -1 before the first LeaderAndIsr.
  LeaderEpoch leader_epoch() const { return gate_.word().epoch(); }
  BrokerId leader() const;
  int32_t partition_epoch() const;
  std::vector<BrokerId> isr() const;       // the committed one
  std::vector<BrokerId> replicas() const;
  // Null before the first become_*.
  std::shared_ptr<storage::Log> log() const;
  // See RoleWord::check.
  ErrorCode check_leader(LeaderEpoch asked) const { return gate_.word().check(asked, true); }

  // --- leader -----------------------------------------------------------------------------------------------------------
  // acks -1: kNotEnoughReplicas before the append when the ISR is below min.insync.replicas, or, with flush.before.ack, when fewer
  // members of it than that say what they have flushed (an Apache broker does not). Writes offsets and epoch into `records` in place. `expected` (not -1): the epoch the caller works in; refused if leadership was lost since then.
  // A failed write of the log: kKafkaStorageError.
  tl::expected<LeaderAppend, storage::AppendError> append_as_leader(MutableByteView records, int16_t acks, LeaderEpoch expected,
                                                                    const storage::AppendOptions& options);
  // nullopt = wait on; else the answer (kNone, kNotEnoughReplicasAfterAppend, kNotLeaderOrFollower, kKafkaStorageError).
  std::optional<ErrorCode> ack_state(const AckNeed& need) const;
  // A fetch of `follower` proves its log end. `leader_end`: the leader's log end when the fetch was read.
  // Errors: as check_leader; kUnknownLeaderEpoch: it is not among the replicas known here; kNotLeaderOrFollower: of a former life of it.
  FollowerFetchEffect record_follower_fetch(BrokerId follower, const FollowerState& state, Offset leader_end, int64_t now_ms);
  // This broker holds the fetch of `follower` from now until its release, or until the next one is recorded: its records have to be read from
  // the disk.
  void hold_follower(BrokerId follower, int64_t now_ms);
  void release_follower(BrokerId follower, int64_t now_ms);
  // Followers that have not caught up for replica.lag.time.max.ms leave. At most one change is in flight. `why`: in words, for the log.
  std::optional<IsrChange> shrink_isr(int64_t now_ms, std::string* why = nullptr);
  // A follower whose fetch could not be followed by its entry at once. It need not fetch again: a pipelined one that has nothing new to
  // say of this partition does not name it.
  std::optional<IsrChange> expand_isr();
  // The controller's answer to the change in flight. On success: what the partition now is. True: the high watermark advanced.
  bool on_isr_changed(LeaderEpoch leader_epoch, const std::vector<BrokerId>& isr, int32_t partition_epoch);
  // wait_for_controller: a new LeaderAndIsr will say what holds; else the committed ISR does.
  void on_isr_refused(LeaderEpoch leader_epoch, bool wait_for_controller);
  // min.insync.replicas of the topic.
  void set_min_insync_replicas(int32_t replicas) { min_isr_.store(replicas, std::memory_order_relaxed); }
  void set_flush_before_ack(storage::FlushBeforeAck which) { flush_before_ack_.store(which, std::memory_order_relaxed); }
  // Whether what a follower has flushed matters (flush.before.ack).
  bool wants_flushed() const { return flush_before_ack_.load(std::memory_order_relaxed) != storage::FlushBeforeAck::kNone; }
  // Whether a throttle names this replica, as a leader or as a follower.
  void set_throttled(const storage::LogConfig& config) {
    leader_throttled_.store(config.leader_throttled.holds(name_.partition, self_), std::memory_order_relaxed);
    follower_throttled_.store(config.follower_throttled.holds(name_.partition, self_), std::memory_order_relaxed);
  }
  bool leader_throttled() const { return leader_throttled_.load(std::memory_order_relaxed); }
  bool follower_throttled() const { return follower_throttled_.load(std::memory_order_relaxed); }
  bool has_in_isr(BrokerId broker) const;  // the committed one
  bool is_under_replicated() const;        // leader, ISR smaller than the replicas
  bool is_under_min_isr() const { return isr_size_.load(std::memory_order_relaxed) < min_isr(); }
  bool is_at_min_isr() const { return isr_size_.load(std::memory_order_relaxed) == min_isr(); }

  // --- readers ----------------------------------------------------------------------------------------------------------
  ReadResult read(const ReadParams& params) const;
  Offset high_watermark() const { return {high_watermark_.load(std::memory_order_acquire)}; }
  // End of what a reader may see; -1 without a log. No lock.
  Offset readable_end(ReadBound bound) const;
  // timestamp: >= 0 or -1 (latest), -2 (earliest), -3 (of the maximum timestamp), -4 (earliest local). An offset of -1 means: none.
  // Errors: as check_leader; kOffsetNotAvailable right after an election while the high watermark is below the epoch's start.
  Result<ListedOffset> list_offset(int64_t timestamp, ReadBound bound, LeaderEpoch current_leader_epoch, bool leader_only = true) const;
  Result<std::vector<Offset>> list_offsets_v0(int64_t timestamp, int32_t max_count, ReadBound bound) const;
  // {-1,-1}: unknown.
  Result<EpochEnd> end_offset_for_epoch(LeaderEpoch asked, LeaderEpoch current_leader_epoch, bool leader_only = true) const;
  // Moves the log start; -1 = to the high watermark. Answer: where it is now to be on every replica.
  // Errors: kOffsetOutOfRange above the high watermark, kPolicyViolation without a delete policy.
  Result<Offset> delete_records(Offset before);
  // The followers in sync that hold `from` (KIP-392). Nothing unless this broker leads.
  std::vector<ReplicaView> replicas_holding(Offset from, int64_t now_ms) const;
  // Smallest log start over the live replicas.
  Offset low_watermark() const;

  // --- follower: by the fetcher; one at a time inside ---------------------------------------------------------------------
  // All of them: kNotLeaderOrFollower unless this is a follower in the epoch `expected` (-1: any).
  // The leader's answer to a fetch of this replica: appends, then high watermark = min(leader's, own end), log start at least the leader's
  // as far as the high watermark goes. `epochs`: leader epochs that begin in the records, for those whose format does not say.
  // If all that this log has lies below the leader's log start, everything here is dropped first: where the first batch begins below the end
  // of this log (the leader's log start is inside it; the log starts at that batch), and where records here were neither committed nor
  // compared with the leader's.
  // Errors: those of Log::append_as_follower.
  Result<FollowerAppend> append_as_follower(ByteView records, LeaderEpoch expected, Offset leader_high_watermark, Offset leader_log_start,
                                            std::span<const storage::EpochEntry> epochs = {});
  // Where fetching begins: the log end, or the high watermark if the log knows no epochs; then the rest is cut off.
  Result<Offset> start_following(LeaderEpoch expected);
  // Cuts whole batches, durably; blocks on the disk. Gives the new log end; the high watermark is not above it.
  Result<Offset> truncate_as_follower(Offset to, LeaderEpoch expected);
  // The leader says that the logs part: the epoch of the last record here (or the one before it that the leader knows) ends there in its log
  // (Fetch, diverging_epoch; an end of -1: it does not say). Cuts to where both agree at most; if the leader knows an epoch that is not here,
  // its next answer goes further. Where nothing would be left that both logs have, the log starts again at the leader's log start.
  Result<FollowerCut> cut_to_leader(EpochEnd leader, Offset leader_log_start, LeaderEpoch expected);
  // Drops the whole log, which starts again at `at`.
  Result<void> restart_as_follower(Offset at, LeaderEpoch expected);

  // --- a copy of the log in another log dir, which is to take its place -----------------------------------------------------
  // Null: none (any more). What of it is not a part of the log is cut off.
  Result<void> set_future(std::shared_ptr<storage::Log> future);
  std::shared_ptr<storage::Log> future() const;
  // Copies at most `max_bytes` (one batch at least) behind what is there. Gives the bytes copied; 0: the copy is whole, for the moment.
  // Blocks on the disks. Errors: kKafkaStorageError; kNotLeaderOrFollower: there is no copy, or the partition is stopped.
  Result<int64_t> copy_to_future(int32_t max_bytes);
  // Copies the rest, while appends wait, and makes the copy the log. It holds on its disk what the log holds there. `replace` renames the
  // folders. Errors: as copy_to_future, and those of `replace`: the log is as it was.
  Result<void> swap_to_future(const std::function<Result<void>()>& replace);
  // Logs that were swapped away have no reader any more.
  void drop_former_logs();

  // Where the topic's traffic is counted; set before others see the partition.
  void set_counters(std::shared_ptr<TopicCounters> counters) { counters_ = std::move(counters); }
  TopicCounters* counters() const { return counters_.get(); }

  // --- who waits (see wait_list.h) ----------------------------------------------------------------------------------------
  WaitList& append_waiters() { return append_waiters_; }  // for the high watermark or a flush: produce, delete records
  WaitList& fetch_waiters() { return fetch_waiters_; }    // for readable data
  // A flush of the log has ended: answers that waited for it go.
  void on_flushed() override { append_waiters_.wake(); }

 private:
  // Inside the gate. False: no follower in that epoch (any more).
  class Following;
  Offset lower_high_watermark() EXCLUDES(mutex_);
  // Drops all of a follower's log and of its copy; both, and the high watermark, start again at `at`. Blocks on the disk.
  Result<void> restart_log(storage::Log& log, Offset at) REQUIRES(follower_mutex_) EXCLUDES(future_mutex_, mutex_);
  Result<int64_t> copy_step(storage::Log& log, storage::Log& future, int32_t max_bytes) REQUIRES(future_mutex_);
  void cut_future(Offset end);
  Result<void> swap_inside(const std::function<Result<void>()>& replace) REQUIRES(gate_.change_mutex);

  Result<void> check_change(const PartitionState& state) const REQUIRES(gate_.change_mutex);
  void take_log(std::shared_ptr<storage::Log> log, Offset high_watermark) REQUIRES(mutex_);
  // What `need` says of the disks; too few: replicas in sync that tell what they have flushed.
  bool is_flushed(const AckNeed& need) const;
  bool has_too_few_flushed(const AckNeed& need) const;
  bool advance_high_watermark() REQUIRES(mutex_);
  // What is read of it without the lock.
  void publish_in_sync() REQUIRES(mutex_);
  InSyncReplicas::Committed committed() const REQUIRES(mutex_);
  // min.insync.replicas, but not more than there are replicas.
  int32_t min_isr() const { return std::min(min_isr_.load(std::memory_order_relaxed), replica_count_.load(std::memory_order_relaxed)); }

  const TopicPartition name_;
  const BrokerId self_;

  RoleGate gate_;  // its lock is taken before mutex_; appends inside need that one to leave
  std::atomic<int64_t> high_watermark_{0};
  std::atomic<int64_t> epoch_start_{0};     // log end when the epoch began here
  std::atomic<int32_t> heard_in_{-1};       // follower: last epoch in which its leader told it a high watermark
  std::atomic<int32_t> leading_since_{-1};  // first epoch of this unbroken leadership
  // A producer's first requests may be on their way to the former leader while its next ones come here already. Kafka takes these, as any
  // sequence of a producer it does not know, and refuses the first ones for ever; here they are OUT_OF_ORDER_SEQUENCE_NUMBER until then.
  std::atomic<bool> took_over_lately_{false};
  std::atomic<int32_t> isr_size_{0};        // of the committed ISR: checked against min.insync.replicas by appends
  std::atomic<int32_t> replica_count_{0};
  std::atomic<int32_t> flushing_copies_{1};             // members of the ISR that say what they have flushed, this broker too
  std::atomic<int64_t> flushed_elsewhere_{INT64_MAX};  // smallest of what the others among them have said
  std::atomic<storage::FlushBeforeAck> flush_before_ack_{storage::FlushBeforeAck::kNone};
  std::atomic<bool> leader_throttled_{false}, follower_throttled_{false};
  std::atomic<int32_t> min_isr_{1};
  std::atomic<storage::Log*> log_{nullptr};  // log_owner_'s, which never changes once set

  base::Mutex follower_mutex_;  // one change of a follower's log at a time; taken inside the gate, before mutex_
  mutable base::Mutex mutex_;
  std::shared_ptr<storage::Log> log_owner_ GUARDED_BY(mutex_);  // shared: the log manager's recovery, retention and flush use it too
  BrokerId leader_ GUARDED_BY(mutex_) = kNoBroker;
  InSyncReplicas in_sync_ GUARDED_BY(mutex_);
  int64_t took_over_ms_ GUARDED_BY(mutex_) = 0;

  base::Mutex future_mutex_;  // the copy is filled or cut, the log is not cut meanwhile; taken before mutex_
  std::shared_ptr<storage::Log> future_ GUARDED_BY(mutex_);                 // shared with the log manager
  std::vector<std::shared_ptr<storage::Log>> former_logs_ GUARDED_BY(mutex_);  // shared: some reader may be inside

  std::shared_ptr<TopicCounters> counters_;  // shared by the topic's partitions
  std::atomic<bool> closing_{false};
  WaitList append_waiters_;
  WaitList fetch_waiters_;
};

}  // namespace odradek::replication

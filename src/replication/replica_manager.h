// All partitions of this broker: makes them leaders and followers as the controller says, appends and reads for clients, parks
// what has to wait. Rooms above see partitions through it.
// Thread: any, unless said. No lock is held while a callback runs.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "base/function.h"
#include "base/mutex.h"
#include "base/result.h"
#include "metadata/image/image.h"
#include "model/error_code.h"
#include "model/types.h"
#include "protocol/messages/leader_and_isr.h"
#include "protocol/messages/stop_replica.h"
#include "protocol/messages/update_metadata.h"
#include "quota/replication_quota.h"
#include "replication/fetcher/replica_fetchers.h"
#include "replication/leadership.h"
#include "replication/partition/isr_updates.h"
#include "replication/partition/log_dir_moves.h"
#include "replication/partition/partition.h"
#include "replication/partition/purgatory.h"
#include "replication/replica_metrics.h"
#include "storage/log_manager.h"

namespace odradek::replication {

struct ReplicaManagerOptions {
  BrokerId self;
  int64_t replica_lag_time_max_ms = 30'000;
  // The settings of a topic's logs as they are now; asked when a log is created.
  std::function<std::shared_ptr<const storage::LogConfig>(const std::string& topic)> log_config;
  // How followers reach their leaders; null: they fetch nothing. Outlives the manager.
  LeaderLinks* leader_links = nullptr;
  FetcherOptions fetcher;
  quota::RateWindow throttle_window, log_dirs_throttle_window;
  int32_t log_dir_threads = 0;  // num.replica.alter.log.dirs.threads; 0: one a log dir
  // Partitions have gone offline, or some that could not be made can be now: the controller has to send its states again. May be null.
  std::function<void()> on_log_dirs_changed;
};

// --- produce ---------------------------------------------------------------------------------------------------------------

struct ProducePartition {
  std::shared_ptr<Partition> partition;  // null: `error` says why
  ErrorCode error = ErrorCode::kNone;
  MutableByteView records;
};

struct ProduceParams {
  int16_t acks = -1;  // -1, 0 or 1
  int32_t timeout_ms = 0;
  storage::AppendOptions append;
};

struct ProduceResult {
  ErrorCode error = ErrorCode::kNone;
  std::string message;  // empty: none
  std::vector<record::RecordError> record_errors;
  storage::AppendInfo info;
  AckNeed need;  // only while `error` is kNone
};

// Partitions whose parked fetches and produces have something to see. Checked when this object dies: after the answer to the
// client whose request caused it.
class Wakeups {
 public:
  Wakeups() = default;
  Wakeups(Wakeups&&) = default;
  Wakeups& operator=(Wakeups&&) = default;
  ~Wakeups() { run(); }
  void add(const std::shared_ptr<Partition>& partition);
  void run();

 private:
  std::vector<std::shared_ptr<Partition>> partitions_;  // shared: a partition may be deleted meanwhile
};

struct ProduceOutcome {
  std::vector<ProduceResult> results;  // in the order of the partitions
  bool must_wait = false;              // a high watermark is still behind, or a flush has to end
  Wakeups wakeups;
};

// --- fetch -----------------------------------------------------------------------------------------------------------------

struct FetchPartition {
  std::shared_ptr<Partition> partition;  // null: `error` says why
  ErrorCode error = ErrorCode::kNone;
  Offset fetch_offset;
  Offset log_start_offset{-1};  // the follower's
  int32_t max_bytes = 0;
  LeaderEpoch current_leader_epoch = kNoLeaderEpoch;
  LeaderEpoch last_fetched_epoch = kNoLeaderEpoch;
  // What a follower was told last (-1: nothing yet): news of the high watermark reach it at once.
  Offset told_high_watermark{-1};
};

struct FetchParams {
  BrokerId replica_id = kNoBroker;  // >= 0 a follower, -1 a consumer, -2 a debugging consumer
  int64_t replica_epoch = -1;
  int32_t max_wait_ms = 0;
  int32_t min_bytes = 0;
  int32_t max_bytes = 0;
  bool at_least_one_batch = true;  // KIP-74
  IsolationLevel isolation = IsolationLevel::kReadUncommitted;
  bool leader_only = true;  // false: a follower answers too (KIP-392)
  std::string rack;         // of a consumer that may be sent to a replica in it; empty: it reads here
  int64_t received_ms = 0;  // when the request came, or was looked at last; 0: not said
  ReadBound bound() const {
    if (replica_id != kNoBroker) return ReadBound::kLogEnd;
    return isolation == IsolationLevel::kReadCommitted ? ReadBound::kLastStable : ReadBound::kHighWatermark;
  }
};

struct FetchOutcome {
  std::vector<ReadResult> results;  // in the order of the partitions
  bool satisfied = false;           // answer now: enough bytes, an error, a diverging epoch, or nothing to wait for
  // Parts of logs that have to come from the disk first; pass them to load() and read again. Only if not satisfied.
  std::vector<base::FileSlice> cold;
  Wakeups wakeups;
};

class ReplicaManager : public LiveBrokers {
 public:
  ReplicaManager(base::Runtime& runtime, storage::LogManager& logs, metadata::ImageHolder& image, ReplicaManagerOptions options,
                 metrics::Registry& metrics);
  ~ReplicaManager() override;

  // --- who is here ----------------------------------------------------------------------------------------------------------
  // Null: no replica here.
  std::shared_ptr<Partition> find(std::string_view topic, int32_t partition) const;
  std::shared_ptr<Partition> find(const TopicPartition& tp) const { return find(tp.topic, tp.partition); }
  // kNone and the partition (of any role); kNotLeaderOrFollower: the cluster knows it, it is not here; kUnknownTopicOrPartition.
  ErrorCode look_up(std::string_view topic, int32_t partition, std::shared_ptr<Partition>& found) const;
  // For a follower of a topic that the image does not name any more: the controller told so because the topic is to be deleted, but its
  // replicas move until then. Null: this broker does not lead it. It looks at every partition.
  std::shared_ptr<Partition> find_leader(const Uuid& topic, int32_t partition) const;
  // The logs here are still being loaded, that of this partition among them: it is served soon.
  bool is_loading(std::string_view topic, int32_t partition) const;
  // The same; and its log is loaded before the others.
  bool hasten(std::string_view topic, int32_t partition) const;
  // `done` runs once, when every log that was found at start is loaded and what the controller said of it is applied: on this thread or any.
  void when_loaded(Task done);
  // A leader whose epoch is `current_leader_epoch` (-1: any), else the error for the client.
  Result<std::shared_ptr<Partition>> leader_or_error(const TopicPartition& tp, LeaderEpoch current_leader_epoch) const;
  std::vector<std::shared_ptr<Partition>> partitions() const;
  BrokerId self() const { return options_.self; }
  // By the cluster image.
  bool is_alive(BrokerId broker) const override;

  // --- from the controller: one at a time inside; may open logs, so not on a handler thread ---------------------------------------
  // The state of a partition whose log is still being loaded is kept and applied when the log is ready; the controller hears kNone.
  base::Executor& control_executor() { return *control_executor_; }  // one thread: requests from the network keep their order
  protocol::LeaderAndIsrResponse apply(const protocol::LeaderAndIsrRequest& request);
  // Of the newest controller that was obeyed; -1: none was. Thread: any.
  int32_t controller_epoch() {
    base::MutexLock lock(apply_mutex_);
    return controller_epoch_;
  }
  protocol::StopReplicaResponse apply(const protocol::StopReplicaRequest& request);
  protocol::UpdateMetadataResponse apply(const protocol::UpdateMetadataRequest& request);
  // Epoch of this broker's registration; requests for an older one are refused.
  void set_broker_epoch(int64_t epoch);
  void set_alter_partition_channel(AlterPartitionChannel* channel);
  // Listeners live as long as the manager or are removed.
  void add_listener(LeadershipListener& listener);
  void remove_listener(LeadershipListener& listener);

  // --- from clients, on the control executor --------------------------------------------------------------------------------------
  // AlterReplicaLogDirs: the replica moves to log dir `path`, or will be created there. kNone: it moves, or is there.
  // Errors: kLogDirNotFound, kKafkaStorageError, kInvalidTopicException, kReplicaNotAvailable: it is not here (yet), kUnknownTopicOrPartition.
  ErrorCode alter_log_dir(const TopicPartition& tp, const std::string& path);

  // --- produce ------------------------------------------------------------------------------------------------------------------
  // Appends now. Nothing is parked: if must_wait, the caller settles its request and calls wait_for_acks().
  ProduceOutcome append(const ProduceParams& params, std::span<ProducePartition> partitions);
  // `done` runs once with the final results: on this thread before the return, or on any other.
  void wait_for_acks(const ProduceParams& params, std::span<const ProducePartition> partitions, std::vector<ProduceResult> results,
                     UniqueFunction<void(std::vector<ProduceResult>)> done);
  // For coordinators: one batch, acks=all. Returns the append's first offset or error at once; `committed` runs exactly once, with
  // the same error, or when the high watermark has passed the batch (kNone) or will not (kNotLeaderOrFollower, kNotEnoughReplicasAfterAppend,
  // kKafkaStorageError). It may run before this returns and on any thread. `expected`: the leader epoch the coordinator works in.
  Result<Offset> append_internal(const TopicPartition& tp, Bytes batch, LeaderEpoch expected, UniqueFunction<void(ErrorCode, Offset first)> committed);

  // --- fetch --------------------------------------------------------------------------------------------------------------------
  // Reads now; counts a follower's position. may_wait_for_disk: false on handler threads. Bytes are given out in the order of the partitions: at most max_bytes of each and of all,
  // but with at_least_one_batch the first one that has records gives its first batch whole.
  FetchOutcome read(const FetchParams& params, std::span<const FetchPartition> partitions, bool may_wait_for_disk);
  // The same, but a follower's position proves nothing: it may be ahead of its log.
  FetchOutcome read_ahead(const FetchParams& params, std::span<const FetchPartition> partitions, bool may_wait_for_disk);
  // What a follower says of its log. kNone, or the error for its answer.
  ErrorCode note_follower(const std::shared_ptr<Partition>& partition, BrokerId follower, const FollowerState& state, Offset leader_end, Wakeups& wakeups);
  // Brings the slices into the page cache; `done` runs once, on a thread that may wait for the disk or on this one.
  void load(const std::vector<base::FileSlice>& cold, Task done);
  // After an unsatisfied read(): `done` runs once with a new read, when it is satisfied or max_wait_ms have passed; on this
  // thread before the return, or on any other.
  // The result can be made to read and answer at once; it holds nothing.
  std::weak_ptr<Parked> wait_for_data(const FetchParams& params, std::vector<FetchPartition> partitions, UniqueFunction<void(std::vector<ReadResult>)> done);
  // Whether a follower out of sync must do without the records of `partition` for now: its throttle is used up. For others: false.
  bool holds_back(const Partition& partition, BrokerId follower) const;
  // What throttled replicas may copy. Who sends records to a follower records those of a partition that is leader_throttled() in `leader`.
  quota::ReplicationQuotas& quotas() { return quotas_; }
  std::shared_ptr<const metadata::ClusterImage> image() const { return image_.current(); }

  // --- delete records -----------------------------------------------------------------------------------------------------------
  struct Deletion {
    TopicPartition tp;
    Offset before;
  };
  struct Deleted {
    ErrorCode error = ErrorCode::kNone;
    Offset low_watermark{-1};
  };
  // `done` runs once, when the low watermark of every partition has passed its offset or timeout_ms have passed.
  void delete_records(std::vector<Deletion> deletions, int32_t timeout_ms, UniqueFunction<void(std::vector<Deleted>)> done);

  // --- housekeeping -------------------------------------------------------------------------------------------------------------
  // Starts the ISR timer and follows failures of log dirs: their partitions go offline, the listeners are told. Before requests come.
  void start();
  // Parked operations are answered with kNotLeaderOrFollower, and so is every later request: nothing is parked any more.
  void stop();
  // num.replica.fetchers has changed. Not on a handler thread: waits for fetchers that end.
  void set_fetcher_count(int32_t fetchers);
  // New settings of a log: for it and for its partition's min.insync.replicas.
  void update_log_config(const TopicPartition& tp, std::shared_ptr<const storage::LogConfig> config);
  size_t parked_fetches() const;
  size_t parked_produces() const;

 private:
  class ParkedProduce;
  class ParkedFetch;
  class ParkedDelete;

  // What the controller said of a partition whose log was not loaded yet.
  struct Deferred {
    Uuid topic_id;
    PartitionState state;
  };

  struct Key {
    std::string topic;
    int32_t partition;
  };
  struct KeyView {
    std::string_view topic;
    int32_t partition;
  };
  struct KeyHash {
    using is_transparent = void;
    size_t operator()(KeyView key) const { return absl::HashOf(key.topic, key.partition); }
    size_t operator()(const Key& key) const { return absl::HashOf(std::string_view(key.topic), key.partition); }
  };
  struct KeyEqual {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return a.partition == b.partition && std::string_view(a.topic) == std::string_view(b.topic);
    }
  };

  bool is_stale_broker_epoch(int64_t epoch) const;
  // kNone: taken. The others as interbroker.md §2.
  ErrorCode take_controller_epoch(int32_t epoch) REQUIRES(apply_mutex_);
  ErrorCode apply_one(const TopicPartition& tp, const Uuid& topic_id, const PartitionState& state, Wakeups& wakeups) REQUIRES(apply_mutex_);
  // Nullopt: its log is not being loaded.
  std::optional<ErrorCode> defer_one(const TopicPartition& tp, const Uuid& topic_id, const PartitionState& state) REQUIRES(apply_mutex_);
  void on_loaded(const TopicPartition& tp);
  void apply_deferred();
  ErrorCode stop_one(const TopicPartition& tp, LeaderEpoch epoch, bool remove, Wakeups& wakeups) REQUIRES(apply_mutex_);
  void tell(UniqueFunction<void(LeadershipListener&)> what) REQUIRES(apply_mutex_);
  void count_isr_change(const std::shared_ptr<Partition>& partition, const std::vector<BrokerId>& before);
  BrokerId nearer_replica(const Partition& partition, Offset from, const std::string& rack) const;
  FetchOutcome read_partitions(const FetchParams& params, std::span<const FetchPartition> partitions, bool may_wait_for_disk);
  void go_on_moving(const std::shared_ptr<Partition>& partition) REQUIRES(apply_mutex_);
  void take_offline(const std::vector<TopicPartition>& partitions);
  void check_isrs();
  void expand_isr(const std::shared_ptr<Partition>& partition);
  void submit(const std::shared_ptr<Partition>& partition, IsrChange change);

  base::Runtime& runtime_;
  storage::LogManager& logs_;
  metadata::ImageHolder& image_;
  const ReplicaManagerOptions options_;
  std::unique_ptr<base::Executor> control_executor_;
  std::unique_ptr<base::Executor> executor_;  // "purgatory": time-outs, answers of the controller
  quota::ReplicationQuotas quotas_;
  Purgatory produces_;
  Purgatory fetches_;
  Purgatory deletions_;
  std::unique_ptr<IsrUpdates> isr_updates_;
  std::unique_ptr<ReplicaFetchers> fetchers_;  // null: no links
  std::unique_ptr<LogDirMoves> moves_;
  std::unique_ptr<base::PeriodicTask> isr_timer_;
  std::atomic<int64_t> broker_epoch_{-1};

  base::Mutex apply_mutex_;  // one request of the controller at a time; listeners are called under it
  int32_t controller_epoch_ GUARDED_BY(apply_mutex_) = -1;
  std::vector<LeadershipListener*> listeners_ GUARDED_BY(apply_mutex_);
  absl::flat_hash_map<TopicPartition, Deferred> deferred_ GUARDED_BY(apply_mutex_);

  std::vector<Task> when_loaded_ GUARDED_BY(apply_mutex_);

  base::Mutex loaded_mutex_;
  std::vector<TopicPartition> loaded_ GUARDED_BY(loaded_mutex_);  // since apply_deferred() looked last
  std::atomic<bool> some_loading_{false};  // logs, or what was deferred until they are ready

  std::vector<metrics::Registration> gauges_;
  const std::shared_ptr<ReplicaMetrics> metrics_;  // shared with the counters of its topics
  mutable base::SharedMutex map_mutex_;
  absl::flat_hash_map<Key, std::shared_ptr<Partition>, KeyHash, KeyEqual> map_ GUARDED_BY(map_mutex_);  // shared: requests in flight keep theirs
};

}  // namespace odradek::replication

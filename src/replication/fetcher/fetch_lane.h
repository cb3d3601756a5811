// What a follower asks of one leader in one fetch session, and what it does with the answers.
// A state machine: events come in on one executor (partitions, answers, timers), requests go out by links; nothing waits but for
// the disk (appends, truncations). A partition that fails pauses by itself, the others go on.
// Rules: interbroker.md §7. Start at the log end, or at the high watermark if the log knows no epochs. A diverging epoch cuts the log
// to where both agree; OFFSET_OUT_OF_RANGE asks the leader for its ends. An error of a partition pauses it for replica.fetch.backoff.ms
// (first for less, where leader and follower have only not heard of an election at the same moment: what is written waits for it);
// a lost connection pauses all. FENCED_LEADER_EPOCH in the epoch that is followed, or an offline log dir, ends a partition until the
// controller says more (it counts as failed). A throttled partition that is not caught up leaves the requests while the follower's quota
// is used up; what is on the way for it is taken.
//
// Each full request offers pipelined fetches (fetch_pipeline.h). A leader that does not take them gets one request at a time, as from
// a Kafka follower. Else several requests are on the way on each of several connections (striping.h), and their answers
// are taken in the order of the requests; requests beyond those, up to twice as many, only bring news of what was written and flushed.
// The window doubles with each answer that brings records and halves with each that brings nothing. What is on the way is bounded by
// replica.fetch.in.flight.bytes (but for batches larger than its share of an answer).
#pragma once

#include <absl/container/flat_hash_map.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/executor.h"
#include "base/log.h"
#include "base/mutex.h"
#include "quota/replication_quota.h"
#include "replication/fetcher/leader_link.h"
#include "replication/fetcher/striping.h"
#include "replication/partition/partition.h"

namespace odradek::replication {

struct FetcherOptions {
  BrokerId self;
  int32_t fetchers = 1;                           // num.replica.fetchers
  int64_t backoff_ms = 1000;                      // replica.fetch.backoff.ms
  int32_t min_bytes = 1;                          // replica.fetch.min.bytes
  int32_t wait_max_ms = 500;                      // replica.fetch.wait.max.ms
  int32_t max_bytes = 1 << 20;                    // replica.fetch.max.bytes, of a partition
  int32_t response_max_bytes = 10 << 20;          // replica.fetch.response.max.bytes
  int32_t connections = 4;                        // replica.fetch.connections, of one fetcher
  int32_t most_connections = 16;                  // replica.fetch.connections.max
  int64_t window_bytes = Striping::kWindowBytes;  // of one connection
  int64_t in_flight_bytes = 64 << 20;             // replica.fetch.in.flight.bytes, of one fetcher; 0: never pipelined
};

// A replica of this broker that follows `leader_epoch`.
struct FollowedPartition {
  std::shared_ptr<Partition> partition;  // shared with the ReplicaManager
  Uuid topic_id;
  LeaderEpoch leader_epoch;
};

// What lanes share.
struct FetchContextOfBroker {
  base::Runtime& runtime;
  const FetcherOptions options;
  quota::ReplicationQuota& quota;  // of partitions that are follower_throttled()
  std::atomic<int64_t> broker_epoch{-1};
  // High watermark or log start of a follower moved: who waits for it looks again. May run on several executors at once.
  std::function<void(const std::shared_ptr<Partition>&)> on_progress;
  std::function<void(int64_t bytes)> on_bytes;  // appended
  // A leader has been found to take pipelined fetches, or not to. On the lane's executor.
  std::function<void(const LinkTarget&, bool pipelined)> on_mode;
};

class FetchLane : public std::enable_shared_from_this<FetchLane> {
 public:
  // Both outlive the lane's last task; `executor` has one thread.
  FetchLane(std::shared_ptr<FetchContextOfBroker> context, base::Executor& executor, LeaderLinks& links, LinkTarget target);
  ~FetchLane();

  // --- any thread ---------------------------------------------------------------------------------------------------------
  // Takes the place of the same partition in an older epoch.
  void add(std::vector<FollowedPartition> partitions);
  void remove(std::vector<TopicPartition> partitions);
  // Settings of its log have changed: the leader hears what it needs to know now.
  void reconfigured(const TopicPartition& tp);

  struct Lag {
    TopicPartition tp;
    int64_t lag = 0;  // records below the leader's high watermark that are not here
    bool failed = false;
  };
  std::vector<Lag> lags() const;
  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  // The link failed last time it was tried.
  bool paused() const { return paused_.load(std::memory_order_relaxed); }
  bool pipelined() const { return pipelined_.load(std::memory_order_relaxed); }
  // Since when the executor has been inside one step; 0: it is not.
  int64_t busy_since_ms() const { return busy_since_ms_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kSmallestWindow = 2;

  using FetchAnswer = Result<LinkAnswer<protocol::FetchResponse>>;
  using OffsetsAnswer = Result<LinkAnswer<protocol::ListOffsetsResponse>>;
  class FlushWatch;
  enum class State : uint8_t {
    kStarting,  // its log has not been looked at in this epoch
    kFetching,
    kAsking,    // for the ends of the leader's log
    kDelayed,
    kThrottled,
    kFailed,
  };
  // What the leader's session knows of a partition.
  struct Told {
    int64_t position = 0, log_start = 0, flushed = -1;
    int32_t leader_epoch = 0, last_fetched_epoch = 0;
    friend bool operator==(const Told&, const Told&) = default;
  };
  struct Fetch {
    FollowedPartition followed;
    State state = State::kStarting;
    Offset position{0};  // the next to be written
    LeaderEpoch last_fetched_epoch = kNoLeaderEpoch;
    std::optional<Told> told;
    bool dirty = false;
    bool started = false;
    bool names_position = true;      // the next request says where to continue
    int32_t valid_from = INT32_MAX;  // number of the request that did; answers to those before are void
    std::shared_ptr<FlushWatch> flush_watch;  // shared with the partition's wait list
    uint64_t life = 0;           // tells answers about it from those about a former one
    uint64_t delays = 0;         // how often it was delayed: a timer of an older one is void
    int hurried = 0;             // delays in a row that were short ones
    ErrorCode last_error = ErrorCode::kNone;
    std::atomic<int64_t> lag{-1};  // -1: unknown
    std::atomic<bool> failed{false};

    const TopicPartition& tp() const { return followed.partition->name(); }
  };
  using Forgotten = std::tuple<Uuid, std::string, int32_t>;

  // --- on the executor
  class Step;
  void at_once(UniqueFunction<void(FetchLane&)> step);
  void take_changes();
  void start(Fetch& fetch);
  // With a line for who looks on (debug).
  void set_state(Fetch& fetch, State state);
  void go_on();  // sends what can be sent
  bool send(bool only_news);
  LeaderLink& link(size_t connection);
  void watch_flushes(Fetch& fetch);
  void arm(Fetch& fetch);
  static void stop_watching(Fetch& fetch);
  Told now_of(const Fetch& fetch) const;
  void mark_dirty(Fetch& fetch);
  void leave_session(Fetch& fetch);
  void drop(Fetch& fetch);
  void new_session(bool same_id);
  void delay(Fetch& fetch);
  void give_up(Fetch& fetch, log::Level level, std::string_view why);
  void hold_throttled();
  void let_go_throttled();
  void note_error(Fetch& fetch, ErrorCode code, std::string_view what);
  void pause(const Error& error);
  // What a link is given: runs `then` on the executor, unless the link has been given up meanwhile.
  template <class Answer>
  UniqueFunction<void(Answer)> here(UniqueFunction<void(FetchLane&, Answer)> then);
  // The same for something that concerns one partition, unless it has gone meanwhile.
  Task later(const Fetch& fetch, UniqueFunction<void(FetchLane&, Fetch&)> then);
  Fetch* find(const TopicPartition& tp);

  void answered(size_t connection, const FetchAnswer& answer);
  void on_fetched(int32_t number, FetchAnswer answer);
  bool take(int32_t number, LinkAnswer<protocol::FetchResponse> answer);
  void on_partition(Fetch& fetch, protocol::FetchResponse::PartitionData& data);
  void on_records(Fetch& fetch, protocol::FetchResponse::PartitionData& data);
  void on_diverging(Fetch& fetch, EpochEnd leader, Offset leader_log_start);
  void on_error(Fetch& fetch, ErrorCode code);
  void ask_for_ends(Fetch& fetch);
  void ask_for_end(const Fetch& fetch, int64_t which, UniqueFunction<void(FetchLane&, Fetch&, Offset)> then);
  void resume(Fetch& fetch);
  // After a change of the log failed.
  void on_log_error(Fetch& fetch, const Error& error);

  const std::shared_ptr<FetchContextOfBroker> context_;  // shared by the broker's lanes
  const FetcherOptions& options_;
  base::Executor& executor_;
  LeaderLinks& links_;
  const LinkTarget target_;
  const std::string label_;

  base::Mutex changes_mutex_;
  struct Change {
    TopicPartition tp;
    std::optional<FollowedPartition> added;  // nullopt: removed
  };
  std::vector<Change> changes_ GUARDED_BY(changes_mutex_);

  mutable base::Mutex map_mutex_;  // its structure: the executor alone changes it, metrics read
  std::map<TopicPartition, std::unique_ptr<Fetch>> fetches_;
  absl::flat_hash_map<std::pair<Uuid, int32_t>, Fetch*> by_id_;
  std::vector<Fetch*> dirty_;
  std::set<Forgotten> forgotten_;
  std::vector<std::unique_ptr<LeaderLink>> connections_;
  Striping striping_;
  uint64_t lives_ = 0;
  uint64_t era_ = 0;      // of the connections: answers over older ones are void
  uint64_t session_ = 0;  // of ours, counted: answers of an older one are void
  int32_t session_id_ = 0;
  int32_t session_epoch_ = 0;  // number of the next request; 0: a full one
  bool no_session_given_ = false;  // by the last answer
  int32_t next_answer_ = 0;    // number of the request whose answer is taken next
  std::map<int32_t, LinkAnswer<protocol::FetchResponse>> early_;
  size_t window_ = kSmallestWindow;
  size_t in_session_ = 0;
  size_t without_id_ = 0;  // partitions whose topic has none
  size_t in_flight_ = 0;
  bool by_name_ = false;      // the session names topics instead of their ids
  bool holds_throttled_ = false;  // some are kThrottled, and a timer looks after them
  bool waits_ = false;        // after an error that concerns all
  std::atomic<uint64_t> requests_{0};
  std::atomic<bool> paused_{false};
  std::atomic<bool> pipelined_{false};
  bool mode_known_ = false;
  std::atomic<int64_t> busy_since_ms_{0};
};

}  // namespace odradek::replication

// The fetchers of a broker: which of its partitions are fetched from whom, by which of num.replica.fetchers fetchers a leader.
// A fetcher is an executor of its own with its lanes; it exists while it has partitions. One lane, unless the leader turns out not to
// take pipelined fetches: then the partitions are spread over replica.fetch.connections lanes.
// Thread: any; changes come in the order of the controller's requests.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"
#include "metrics/registry.h"
#include "replication/fetcher/fetch_lane.h"

namespace odradek::config {
class BrokerConfig;
}

namespace odradek::replication {

FetcherOptions make_fetcher_options(const config::BrokerConfig& config, BrokerId self);

class ReplicaFetchers {
 public:
  // `quota`: of partitions that are follower_throttled(). `live`: asked whether a leader is there. `on_progress`: see FetchContextOfBroker. Everything outlives this.
  ReplicaFetchers(base::Runtime& runtime, FetcherOptions options, LeaderLinks& links, const LiveBrokers& live, quota::ReplicationQuota& quota, metrics::Registry& metrics,
                  std::function<void(const std::shared_ptr<Partition>&)> on_progress);
  ~ReplicaFetchers();

  void set_broker_epoch(int64_t epoch) { context_->broker_epoch.store(epoch, std::memory_order_relaxed); }
  // From now on `partition` follows `leader`; nothing is fetched while that is -1 or not alive.
  void follow(FollowedPartition partition, BrokerId leader);
  // Sends what follow() has collected. Fetchers without partitions end: waits for what they do at the moment.
  void apply();
  void forget(const TopicPartition& tp);
  // Settings of its log have changed.
  void reconfigured(const TopicPartition& tp);
  // Brokers came or went: partitions whose leader was not alive start.
  void brokers_changed();
  // num.replica.fetchers.
  void resize(int32_t fetchers);
  void stop();

 private:
  struct Lane {
    std::shared_ptr<FetchLane> lane;  // shared with its own tasks; goes on its executor
    size_t partitions = 0;
    std::vector<FollowedPartition> added;
    std::vector<TopicPartition> removed;
  };
  struct Fetcher {
    std::unique_ptr<base::Executor> executor;
    std::map<int32_t, Lane> lanes;
    bool spread = false;
    uint64_t requests_before = 0;  // when metrics were written last
    int64_t before_ms = 0;
  };
  using FetcherKey = std::pair<BrokerId, int32_t>;
  struct Followed {
    FollowedPartition what;
    BrokerId leader = kNoBroker;
    std::optional<LinkTarget> at;  // the lane that has it
  };
  void assign(const TopicPartition& tp, Followed& followed) REQUIRES(mutex_);
  void withdraw(const TopicPartition& tp, Followed& followed) REQUIRES(mutex_);
  void flush(Fetcher& fetcher) REQUIRES(mutex_);
  std::vector<std::unique_ptr<Fetcher>> flush_all() REQUIRES(mutex_);
  void on_mode(const LinkTarget& target, bool pipelined);
  void write_metrics(std::vector<metrics::SampleSink*>& sinks);

  base::Runtime& runtime_;
  LeaderLinks& links_;
  const LiveBrokers& live_;
  const std::shared_ptr<FetchContextOfBroker> context_;  // shared by the lanes
  mutable base::Mutex mutex_;
  int32_t count_ GUARDED_BY(mutex_);
  bool stopped_ GUARDED_BY(mutex_) = false;
  std::map<TopicPartition, Followed> followed_ GUARDED_BY(mutex_);
  std::map<FetcherKey, std::unique_ptr<Fetcher>> fetchers_ GUARDED_BY(mutex_);
  std::shared_ptr<metrics::Counter> bytes_in_;
  metrics::Registration gauges_;
};

}  // namespace odradek::replication

#include "replication/fetcher/replica_fetchers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"

namespace odradek::replication {

namespace {

// An executor that is inside one step for longer than this counts as dead: it hangs on a disk.
constexpr int64_t kDeadAfterMs = 60'000;

// As Kafka spreads partitions over fetchers.
int32_t hash_of(const TopicPartition& tp) {
  const auto hash = static_cast<int32_t>(31u * static_cast<uint32_t>(java_hash(tp.topic)) + static_cast<uint32_t>(tp.partition));
  return hash == INT32_MIN ? 0 : std::abs(hash);
}

}  // namespace

FetcherOptions make_fetcher_options(const config::BrokerConfig& config, BrokerId self) {
  FetcherOptions options;
  options.self = self;
  options.fetchers = config.get_int("num.replica.fetchers");
  options.backoff_ms = config.get_int("replica.fetch.backoff.ms");
  options.min_bytes = config.get_int("replica.fetch.min.bytes");
  options.wait_max_ms = config.get_int("replica.fetch.wait.max.ms");
  options.max_bytes = config.get_int("replica.fetch.max.bytes");
  options.response_max_bytes = config.get_int("replica.fetch.response.max.bytes");
  options.connections = config.get_int("replica.fetch.connections");
  options.most_connections = config.get_int("replica.fetch.connections.max");
  // The kernel takes half of an explicit buffer for itself.
  if (const int32_t buffer = config.get_int("replica.socket.receive.buffer.bytes"); buffer > 0) {
    options.window_bytes = std::min<int64_t>(options.window_bytes, buffer / 2);
  }
  options.in_flight_bytes = config.get_long("replica.fetch.in.flight.bytes");
  return options;
}

ReplicaFetchers::ReplicaFetchers(base::Runtime& runtime, FetcherOptions options, LeaderLinks& links, const LiveBrokers& live,
                                 quota::ReplicationQuota& quota, metrics::Registry& metrics, std::function<void(const std::shared_ptr<Partition>&)> on_progress)
    : runtime_(runtime),
      links_(links),
      live_(live),
      context_(new FetchContextOfBroker{.runtime = runtime, .options = options, .quota = quota, .on_progress = std::move(on_progress), .on_bytes = {}, .on_mode = {}}),
      count_(std::max(options.fetchers, 1)),
      bytes_in_(metrics.counter(metrics::kReplicationBytesIn)) {
  context_->on_bytes = [counter = bytes_in_](int64_t bytes) { counter->inc(static_cast<uint64_t>(bytes)); };
  context_->on_mode = [this](const LinkTarget& target, bool pipelined) { on_mode(target, pipelined); };
  gauges_ = metrics.collector({&metrics::kFetcherMaxLag, &metrics::kFetcherFailedPartitions, &metrics::kFetcherDeadThreads,
                               &metrics::kFetcherLag, &metrics::kFetcherState, &metrics::kFetcherMinFetchRate},
                              [this](std::vector<metrics::SampleSink*>& sinks) { write_metrics(sinks); });
}

ReplicaFetchers::~ReplicaFetchers() {
  gauges_.reset();
  stop();
}

void ReplicaFetchers::follow(FollowedPartition partition, BrokerId leader) {
  base::MutexLock lock(mutex_);
  if (stopped_) return;
  const TopicPartition tp = partition.partition->name();
  Followed& followed = followed_[tp];
  withdraw(tp, followed);
  followed = {std::move(partition), leader, std::nullopt};
  assign(tp, followed);
}

void ReplicaFetchers::assign(const TopicPartition& tp, Followed& followed) {
  if (followed.leader == kNoBroker) return;
  if (!live_.is_alive(followed.leader)) {
    log::warn("replication", "{}: its leader {} is not among the live brokers; fetching starts when it is", tp.to_string(), followed.leader.value);
    return;
  }
  const int32_t hash = hash_of(tp);
  LinkTarget target{followed.leader, hash % count_, 0};
  auto& fetcher = fetchers_[{target.leader, target.fetcher}];
  if (fetcher == nullptr) {
    fetcher = std::make_unique<Fetcher>();
    fetcher->before_ms = runtime_.clock().monotonic_ms();
    fetcher->executor = runtime_.make_executor(fmt::format("fetcher-{}-{}", target.leader.value, target.fetcher), 1);
  }
  if (fetcher->spread) target.connection = hash / count_ % std::max(context_->options.connections, 1);
  Lane& lane = fetcher->lanes[target.connection];
  if (lane.lane == nullptr) lane.lane = std::make_shared<FetchLane>(context_, *fetcher->executor, links_, target);
  ++lane.partitions;
  std::erase(lane.removed, tp);
  lane.added.push_back(followed.what);
  followed.at = target;
}

void ReplicaFetchers::withdraw(const TopicPartition& tp, Followed& followed) {
  if (!followed.at) return;
  Lane& lane = fetchers_.at({followed.at->leader, followed.at->fetcher})->lanes.at(followed.at->connection);
  --lane.partitions;
  std::erase_if(lane.added, [&](const FollowedPartition& one) { return one.partition == followed.what.partition; });
  lane.removed.push_back(tp);
  followed.at.reset();
}

void ReplicaFetchers::flush(Fetcher& fetcher) {
  for (auto at = fetcher.lanes.begin(); at != fetcher.lanes.end();) {
    Lane& lane = at->second;
    if (lane.partitions == 0) {
      fetcher.executor->post([lane = std::move(lane.lane)]() mutable { lane.reset(); });
      at = fetcher.lanes.erase(at);
      continue;
    }
    if (!lane.removed.empty()) lane.lane->remove(std::exchange(lane.removed, {}));
    if (!lane.added.empty()) lane.lane->add(std::exchange(lane.added, {}));
    ++at;
  }
}

std::vector<std::unique_ptr<ReplicaFetchers::Fetcher>> ReplicaFetchers::flush_all() {
  std::vector<std::unique_ptr<Fetcher>> ended;
  for (auto at = fetchers_.begin(); at != fetchers_.end();) {
    flush(*at->second);
    if (at->second->lanes.empty()) {
      ended.push_back(std::move(at->second));
      at = fetchers_.erase(at);
    } else {
      ++at;
    }
  }
  return ended;
}

void ReplicaFetchers::on_mode(const LinkTarget& target, bool pipelined) {
  base::MutexLock lock(mutex_);
  auto found = fetchers_.find({target.leader, target.fetcher});
  if (stopped_ || found == fetchers_.end() || context_->options.connections <= 1) return;
  Fetcher& fetcher = *found->second;
  if (fetcher.spread == !pipelined) return;
  fetcher.spread = !pipelined;
  for (auto& [tp, followed] : followed_) {
    if (!followed.at || followed.at->leader != target.leader || followed.at->fetcher != target.fetcher) continue;
    withdraw(tp, followed);
    assign(tp, followed);
  }
  // A fetcher that has no partitions any more is ended by who took them: this is its own executor.
  if (!fetcher.lanes.empty()) flush(fetcher);
}

// Waits for what the fetchers do at the moment.
void ReplicaFetchers::apply() {
  std::vector<std::unique_ptr<Fetcher>> ended;
  base::MutexLock lock(mutex_);
  ended = flush_all();
}

void ReplicaFetchers::forget(const TopicPartition& tp) {
  base::MutexLock lock(mutex_);
  auto found = followed_.find(tp);
  if (found == followed_.end()) return;
  withdraw(tp, found->second);
  followed_.erase(found);
}

void ReplicaFetchers::reconfigured(const TopicPartition& tp) {
  base::MutexLock lock(mutex_);
  auto found = followed_.find(tp);
  if (found == followed_.end() || !found->second.at) return;
  const LinkTarget& at = *found->second.at;
  fetchers_.at({at.leader, at.fetcher})->lanes.at(at.connection).lane->reconfigured(tp);
}

void ReplicaFetchers::brokers_changed() {
  {
    base::MutexLock lock(mutex_);
    if (stopped_) return;
    for (auto& [tp, followed] : followed_) {
      if (!followed.at && followed.leader != kNoBroker && live_.is_alive(followed.leader)) assign(tp, followed);
    }
  }
  apply();
}

void ReplicaFetchers::resize(int32_t fetchers) {
  {
    base::MutexLock lock(mutex_);
    if (stopped_ || fetchers == count_ || fetchers < 1) return;
    count_ = fetchers;
    for (auto& [tp, followed] : followed_) {
      withdraw(tp, followed);
      assign(tp, followed);
    }
  }
  apply();
}

void ReplicaFetchers::stop() {
  std::vector<std::unique_ptr<Fetcher>> ended;
  {
    base::MutexLock lock(mutex_);
    stopped_ = true;
    for (auto& [tp, followed] : followed_) withdraw(tp, followed);
    followed_.clear();
    ended = flush_all();
  }
}

void ReplicaFetchers::write_metrics(std::vector<metrics::SampleSink*>& sinks) {
  const int64_t now_ms = runtime_.clock().monotonic_ms();
  int64_t max_lag = 0, failed = 0, dead = 0;
  double slowest = -1;
  base::MutexLock lock(mutex_);
  for (const auto& [key, fetcher] : fetchers_) {
    const std::string client = fmt::format("ReplicaFetcherThread-{}-{}", key.second, key.first.value);
    uint64_t requests = 0;
    bool hangs = false, paused = false;
    for (const auto& [number, lane] : fetcher->lanes) {
      for (const FetchLane::Lag& one : lane.lane->lags()) {
        max_lag = std::max(max_lag, one.lag);
        failed += one.failed;
        sinks[3]->add({client, one.tp.topic, std::to_string(one.tp.partition)}, one.lag);
      }
      requests += lane.lane->requests();
      const int64_t busy_since_ms = lane.lane->busy_since_ms();
      hangs |= busy_since_ms != 0 && now_ms - busy_since_ms > kDeadAfterMs;
      paused |= lane.lane->paused();
    }
    // A lane that has gone takes its count along.
    const double rate = static_cast<double>(requests - std::min(requests, fetcher->requests_before)) * 1000 /
                        static_cast<double>(std::max<int64_t>(now_ms - fetcher->before_ms, 1));
    fetcher->requests_before = requests;
    fetcher->before_ms = now_ms;
    slowest = slowest < 0 ? rate : std::min(slowest, rate);
    dead += hangs;
    sinks[4]->add({client}, int64_t{hangs ? 2 : paused ? 1 : 0});
  }
  sinks[0]->add({"Replica"}, max_lag);
  sinks[1]->add({"Replica"}, failed);
  sinks[2]->add({"Replica"}, dead);
  sinks[5]->add({"Replica"}, std::max(slowest, 0.0));
}

}  // namespace odradek::replication

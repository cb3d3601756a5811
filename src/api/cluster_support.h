// Several brokers in one process, for tests of replication: each with its own files in memory, the real handlers behind encoded bytes,
// a network with delays and cuts, and a controller that knows as much as replication needs. One clock; everything runs on the
// caller's thread. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/dispatcher.h"
#include "base/manual_runtime.h"
#include "base/memory_files.h"
#include "config/config.h"
#include "metadata/image/image.h"
#include "metrics/registry.h"
#include "protocol/messages/alter_partition.h"
#include "protocol/messages/leader_and_isr.h"
#include "protocol/messages/stop_replica.h"
#include "protocol/messages/update_metadata.h"
#include "replication/fetcher/leader_link.h"
#include "replication/partition/test_support.h"
#include "replication/replica_manager.h"
#include "replication/sessions/fetch_pipeline.h"
#include "replication/sessions/fetch_session.h"
#include "storage/log_manager.h"

namespace odradek::api::testing {

class TestCluster;

// The shared clock and timers, but files of its own.
class BrokerRuntime : public base::Runtime {
 public:
  BrokerRuntime(base::ManualRuntime& shared, base::MemoryFiles& files) : shared_(shared), files_(files) {}
  base::Clock& clock() override { return shared_.clock(); }
  base::Random& random() override { return shared_.random(); }
  base::FileSystem& files() override { return files_; }
  base::Timers& timers() override { return shared_.timers(); }
  std::unique_ptr<base::Executor> make_executor(const std::string& name, int threads) override { return shared_.make_executor(name, threads); }

 private:
  base::ManualRuntime& shared_;
  base::MemoryFiles& files_;
};

// One life of a broker.
struct TestBroker {
  TestBroker(TestCluster& cluster, BrokerId id, base::MemoryFiles& files, int64_t epoch, const storage::LogConfig& log_config,
             replication::FetcherOptions fetcher, int64_t lag_ms, const config::Properties& broker_config, const std::vector<std::string>& log_dirs);
  ~TestBroker();

  TestCluster& cluster;
  const BrokerId id;
  const int64_t epoch;
  BrokerRuntime runtime;
  metrics::Registry metrics;
  metadata::ImageHolder image;
  std::unique_ptr<storage::LogManager> logs;
  std::unique_ptr<replication::LeaderLinks> links;
  std::unique_ptr<replication::AlterPartitionChannel> alter_partition;
  std::unique_ptr<replication::ReplicaManager> replicas;
  replication::FetchSessionCache sessions;
  std::unique_ptr<replication::FetchPipelines> pipelines;
  config::ConfigHolder config;
  std::unique_ptr<Services> services;
  std::unique_ptr<Dispatcher> dispatcher;

  std::shared_ptr<storage::Log> log(const TopicPartition& tp) const;
  std::shared_ptr<replication::Partition> partition(const TopicPartition& tp) const { return replicas->find(tp); }
};

struct TestClusterOptions {
  int brokers = 3;
  storage::LogConfig log;
  replication::FetcherOptions fetcher;
  config::Properties broker_config;
  int64_t lag_ms = 10'000;
  std::vector<std::string> log_dirs = {"/data"};
  uint64_t seed = 1;
};

class TestCluster {
 public:
  explicit TestCluster(TestClusterOptions options = {});
  ~TestCluster();

  // --- brokers: 1..n ---------------------------------------------------------------------------------------------------------
  TestBroker& broker(int32_t id) { return *machines_.at({id}).broker; }
  bool runs(int32_t id) const { return machines_.at({id}).broker != nullptr; }
  base::MemoryFiles& files(int32_t id) { return machines_.at({id}).files; }
  // The process is gone; the controller hears of it by down().
  void kill(int32_t id, bool power_cut = false);
  void start(int32_t id);

  // --- network ------------------------------------------------------------------------------------------------------------------
  int64_t delay_ms = 0;         // one way
  int64_t jitter_ms = 0;        // more, each message; never out of order in one connection
  void cut(int32_t a, int32_t b);  // connections between them break, and new ones fail
  void heal(int32_t a, int32_t b) { cuts_.erase(std::minmax(a, b)); }
  uint64_t fetches = 0;         // requests that arrived
  // Sees each fetch before its leader, and its answer before the follower; may change them.
  std::function<void(BrokerId from, BrokerId to, protocol::FetchRequest&)> on_fetch;
  std::function<void(BrokerId from, BrokerId to, protocol::FetchResponse&)> on_answer;

  // --- controller -----------------------------------------------------------------------------------------------------------------
  struct State {
    Uuid topic_id;
    std::vector<BrokerId> replicas, isr;
    BrokerId leader = kNoBroker;
    int32_t leader_epoch = 0, partition_epoch = 0;
  };
  State& state(const TopicPartition& tp) { return states_.at(tp); }
  void create(const TopicPartition& tp, std::vector<int32_t> replicas);
  void remove(const TopicPartition& tp);
  // With a new leader epoch; ISR as it is, or {leader} if it was not in it (an unclean election).
  void elect(const TopicPartition& tp, int32_t leader);
  // The controller hears that the broker is gone, or is there.
  void down(int32_t id);
  void up(int32_t id);
  void announce(const TopicPartition& tp);  // LeaderAndIsr to its replicas
  void update_metadata();                   // to all
  std::function<std::string(int32_t id)> rack_of;
  bool controller_answers = true;           // false: AlterPartition gets lost until it is true again
  std::vector<protocol::AlterPartitionRequest> isr_wishes;

  // --- clients ----------------------------------------------------------------------------------------------------------------------
  struct Produced {
    std::optional<ErrorCode> result;  // of the answer
    Offset first{-1}, last{-1};
  };
  int16_t produce_version = 11;
  // To the leader of the moment.
  std::shared_ptr<Produced> produce(const TopicPartition& tp, Bytes batch, int16_t acks = -1, int32_t timeout_ms = 600'000);
  std::shared_ptr<Produced> produce(const TopicPartition& tp, int records = 1, int16_t acks = -1) {
    return produce(tp, replication::testing::make_batch(records), acks);
  }

  // A consumer's fetch, without a network.
  protocol::FetchResponse ask(int32_t id, const protocol::FetchRequest& request, int16_t version);

  void run() { runtime.run_until_idle(); }
  void advance(int64_t ms) { runtime.advance(ms); }
  // All bytes of the records of a replica.
  Bytes content(int32_t id, const TopicPartition& tp);
  // Every running replica holds what the leader holds, knows the leader's epochs as far as they have records, and its high watermark.
  void expect_equal(const TopicPartition& tp);

  base::ManualRuntime runtime;

  // For the network's parts.
  class Connection;
  class Link;
  class Links;
  class Channel;

 private:
  friend struct TestBroker;
  struct Machine {
    base::MemoryFiles files;
    std::unique_ptr<TestBroker> broker;
  };
  void alter(BrokerId from, protocol::AlterPartitionRequest request, UniqueFunction<void(Result<protocol::AlterPartitionResponse>)> done);
  protocol::LeaderAndIsrRequest leader_and_isr(const TopicPartition& tp, bool is_new) const;
  void tell(BrokerId id, UniqueFunction<void(replication::ReplicaManager&)> what);
  int64_t one_way();

  std::deque<Bytes> consumed_;  // what answers point into
  const TestClusterOptions options_;
  std::map<BrokerId, Machine> machines_;
  std::set<BrokerId> live_;  // as the controller knows them
  std::set<std::pair<int32_t, int32_t>> cuts_;
  std::map<TopicPartition, State> states_;
  std::vector<std::weak_ptr<Connection>> connections_;
  std::vector<std::function<void()>> lost_;  // AlterPartitions to be answered later
  std::unique_ptr<base::Executor> wire_ = runtime.make_executor("wire", 1);
  int64_t epochs_ = 100;
};

}  // namespace odradek::api::testing

// A leader and a follower on real threads: producers, several connections, leader epochs that rise and fetchers that change meanwhile.
#include <gtest/gtest.h>

#include <thread>

#include "replication/partition/test_support.h"
#include "replication/replica_manager.h"
#include "replication/sessions/fetch_pipeline.h"

namespace odradek::replication {
namespace {

using namespace testing;

// Real threads, files in memory.
struct MixedRuntime : base::Runtime {
  explicit MixedRuntime(base::Runtime& real) : real(real) {}
  base::Clock& clock() override { return real.clock(); }
  base::Random& random() override { return real.random(); }
  base::FileSystem& files() override { return memory; }
  base::Timers& timers() override { return real.timers(); }
  std::unique_ptr<base::Executor> make_executor(const std::string& name, int threads) override { return real.make_executor(name, threads); }
  base::Runtime& real;
  base::MemoryFiles memory;
};

struct Node;

// Each connection has a thread of its own at the leader; records are copied as a network would.
struct ThreadLinks : LeaderLinks {
  explicit ThreadLinks(base::Runtime& runtime) : runtime(runtime) {}
  std::unique_ptr<LeaderLink> open(const LinkTarget& target) override;
  base::Runtime& runtime;
  Node* leader = nullptr;
};

struct Node {
  Node(base::Runtime& real, int32_t id, ThreadLinks& links) : runtime(real), metrics(real.clock()) {
    storage::LogManagerOptions log_options;
    log_options.dirs = {"/data"};
    logs = std::make_unique<storage::LogManager>(runtime, log_options, metrics);
    auto config_of = [](const std::string&) {
      storage::LogConfig config;
      config.min_insync_replicas = 2;
      config.segment_bytes = 20'000;
      config.flush_before_ack = storage::FlushBeforeAck::kAcksAll;
      return std::make_shared<const storage::LogConfig>(config);
    };
    EXPECT_TRUE(logs->start(config_of));
    ReplicaManagerOptions options;
    options.self = {id};
    options.log_config = config_of;
    options.leader_links = &links;
    options.fetcher.backoff_ms = 5;
    options.fetcher.in_flight_bytes = 32 * 2000;
    manager = std::make_unique<ReplicaManager>(runtime, *logs, image, options, metrics);
    pipelines = std::make_unique<FetchPipelines>(runtime, *manager);
    manager->start();
    protocol::UpdateMetadataRequest brokers;
    brokers.controller_epoch = 1;
    for (int32_t live : {1, 2}) brokers.live_brokers.emplace_back().id = live;
    auto& topic = brokers.topic_states.emplace_back();
    topic.topic_name = "t";
    topic.topic_id.bytes[15] = 1;
    for (int32_t i = 0; i < 3; ++i) {
      auto& partition = topic.partition_states.emplace_back();
      partition.partition_index = i;
      partition.leader = 1;
    }
    EXPECT_EQ(manager->apply(brokers).error_code, 0);
  }
  void lead(int32_t epoch) {
    protocol::LeaderAndIsrRequest request;
    request.controller_epoch = 1;
    auto& topic = request.topic_states.emplace_back();
    topic.topic_name = "t";
    topic.topic_id.bytes[15] = 1;
    for (int32_t i = 0; i < 3; ++i) {
      auto& state = topic.partition_states.emplace_back();
      state.partition_index = i;
      state.leader = 1;
      state.leader_epoch = state.partition_epoch = epoch;
      state.isr = state.replicas = {1, 2};
      state.is_new = epoch == 0;
    }
    (void)manager->apply(request);
  }
  MixedRuntime runtime;
  metrics::Registry metrics;
  metadata::ImageHolder image;
  std::unique_ptr<storage::LogManager> logs;
  std::unique_ptr<ReplicaManager> manager;
  std::unique_ptr<FetchPipelines> pipelines;
};

class ThreadLink : public LeaderLink {
 public:
  ThreadLink(base::Runtime& runtime, Node& leader) : leader_(leader), executor_(runtime.make_executor("link", 1)) {}
  void fetch(protocol::FetchRequest request, int16_t, Done<protocol::FetchResponse> done) override {
    executor_->post([&leader = leader_, request = std::move(request), done = std::move(done)]() mutable {
      const int64_t now_ms = leader.runtime.clock().monotonic_ms();
      leader.pipelines->fetch(std::move(request), now_ms, [done = std::move(done)](protocol::FetchResponse response) mutable {
        auto frame = std::make_shared<std::vector<Bytes>>();  // shared: with the answer
        for (auto& topic : response.responses) {
          for (auto& data : topic.partitions) {
            Bytes& all = frame->emplace_back();
            for (const auto& slice : data.records.slices) {
              const size_t at = all.size();
              all.resize(at + static_cast<size_t>(slice.size));
              EXPECT_TRUE(slice.file->file().pread(slice.position, MutableByteView(all).subspan(at)));
            }
            data.records.slices.clear();
          }
        }
        size_t next = 0;
        for (auto& topic : response.responses) {
          for (auto& data : topic.partitions) data.records.bytes = (*frame)[next++];
        }
        done(LinkAnswer<protocol::FetchResponse>{frame, std::move(response)});
      });
    });
  }
  void list_offsets(protocol::ListOffsetsRequest, Done<protocol::ListOffsetsResponse> done) override {
    done(fail(ErrorCode::kNetworkException, "not in this test"));
  }

 private:
  Node& leader_;
  std::unique_ptr<base::Executor> executor_;
};

std::unique_ptr<LeaderLink> ThreadLinks::open(const LinkTarget&) { return std::make_unique<ThreadLink>(runtime, *leader); }

TEST(FetchRace, EveryAckedRecordIsOnTheFollowersDisk) {
  auto real = base::make_system_runtime();
  ThreadLinks links(*real);
  Node leader(*real, 1, links), follower(*real, 2, links);
  links.leader = &leader;
  leader.lead(0);
  follower.lead(0);

  constexpr int kThreads = 3, kRecords = 300;
  std::atomic<int> acked{0}, working{kThreads};
  std::vector<std::thread> threads;
  for (int32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRecords;) {
        Bytes batch = make_batch(1, 100);
        std::vector<ProducePartition> partitions(1);
        partitions[0].partition = leader.manager->find("t", t);
        partitions[0].records = batch;
        ProduceParams params;
        params.timeout_ms = 60'000;
        auto outcome = leader.manager->append(params, partitions);
        if (outcome.results[0].error == ErrorCode::kNotEnoughReplicas) {
          // The follower has not said yet, in this epoch, that it tells what it flushes.
          std::this_thread::yield();
          continue;
        }
        ASSERT_EQ(outcome.results[0].error, ErrorCode::kNone);
        ++i;
        if (i % 8 != 0) continue;  // several on the way
        const Offset required = outcome.results[0].need.required;
        std::atomic<bool> done{false};
        ErrorCode error = ErrorCode::kNone;
        leader.manager->wait_for_acks(params, partitions, std::move(outcome.results), [&](std::vector<ProduceResult> results) {
          error = results[0].error;
          done.store(true, std::memory_order_release);
          done.notify_all();
        });
        done.wait(false);
        if (error != ErrorCode::kNone) continue;  // an epoch began in between
        ++acked;
        ASSERT_GE(follower.logs->find({"t", t})->flushed_offset(), required);
      }
      --working;
    });
  }
  threads.emplace_back([&] {
    for (int32_t round = 1; working > 0; ++round) {
      std::this_thread::yield();
      follower.manager->set_fetcher_count(1 + round % 3);
      if (round % 4 == 0) {
        leader.lead(round);
        follower.lead(round);
      }
      std::atomic<bool> passed{false};
      real->timers().after(std::chrono::milliseconds(10), [&] {
        passed = true;
        passed.notify_all();
      });
      passed.wait(false);
    }
  });
  for (auto& thread : threads) thread.join();
  EXPECT_GT(acked, 0);
  for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(leader.logs->find({"t", i})->log_end_offset(), Offset{kRecords});
  follower.manager->stop();
  leader.manager->stop();
  leader.pipelines->stop();
}

}  // namespace
}  // namespace odradek::replication

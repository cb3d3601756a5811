// Random schedules over several brokers: what was acked stays, nobody sees a record that later differs, logs meet in the end.
#include <gtest/gtest.h>

#include <cstdlib>

#include "api/cluster_support.h"
#include "record/frame.h"

namespace odradek::api {
namespace {

using namespace odradek::api::testing;

struct Schedule {
  explicit Schedule(uint64_t seed, replication::FetcherOptions fetcher = {}) : cluster(make_options(seed, fetcher)) {
    cluster.delay_ms = static_cast<int64_t>(below(4)) * 20;
    cluster.jitter_ms = static_cast<int64_t>(below(3)) * 10;
    for (int32_t i = 0; i < 3; ++i) {
      partitions.push_back({"t", i});
      cluster.create(partitions.back(), {1 + i, 1 + (i + 1) % 3, 1 + (i + 2) % 3});
    }
    cluster.advance(3000);
  }
  static TestClusterOptions make_options(uint64_t seed, replication::FetcherOptions fetcher) {
    TestClusterOptions options;
    options.seed = seed;
    options.log.segment_bytes = 2000;
    options.log.min_insync_replicas = seed % 4 < 2 ? 2 : 1;
    options.fetcher = fetcher;
    options.fetcher.max_bytes = 600;
    options.fetcher.fetchers = 1 + static_cast<int32_t>(seed % 3);
    options.lag_ms = 4000;
    return options;
  }
  uint64_t below(uint64_t bound) { return cluster.runtime.random().below(bound); }

  // Records below the high watermark of whoever believes to lead.
  void look() {
    for (const auto& tp : partitions) {
      for (int32_t id : {1, 2, 3}) {
        if (!cluster.runs(id)) continue;
        auto partition = cluster.broker(id).partition(tp);
        if (partition == nullptr || !partition->is_leader()) continue;
        const Offset visible = partition->high_watermark();
        const Bytes all = cluster.content(id, tp);
        ByteView rest = all;
        while (!rest.empty()) {
          auto frame = *record::next_frame(rest);
          if (frame.last_offset() >= visible) break;
          Bytes bytes(frame.bytes().begin(), frame.bytes().end());
          auto [at, fresh] = seen[tp].try_emplace(frame.base_offset().value, bytes);
          ASSERT_TRUE(fresh || at->second == bytes) << tp.to_string() << " shows another batch at " << frame.base_offset().value << " on broker " << id;
        }
      }
    }
  }

  void step() {
    const auto& tp = partitions[below(partitions.size())];
    const auto id = static_cast<int32_t>(1 + below(3));
    const int32_t other = 1 + (id + static_cast<int32_t>(below(2))) % 3;
    switch (below(16)) {
      default: {
        const int16_t acks = below(4) == 0 ? 1 : -1;
        auto produced = cluster.produce(tp, replication::testing::make_batch(static_cast<int>(1 + below(3)), 20 + below(300)), acks);
        if (acks == -1) acked.emplace_back(tp, produced);
        break;
      }
      case 0:
        if (id != other) cluster.cut(id, other);
        break;
      case 1:
      case 2: cluster.heal(id, other); break;
      case 3:
        if (!cluster.runs(id)) break;
        cluster.kill(id);
        cluster.down(id);
        break;
      case 4:
      case 5:
        if (cluster.runs(id)) break;
        cluster.start(id);
        cluster.up(id);
        break;
      case 6: {
        const auto& isr = cluster.state(tp).isr;
        const BrokerId next = isr[below(isr.size())];
        if (cluster.runs(next.value)) cluster.elect(tp, next.value);
        break;
      }
      case 7: cluster.broker(cluster.runs(id) ? id : any_running()).replicas->set_fetcher_count(static_cast<int32_t>(1 + below(3))); break;
    }
    // Sometimes two things happen at once.
    if (below(4) != 0) cluster.advance(static_cast<int64_t>(below(400)));
    look();
  }
  int32_t any_running() {
    for (int32_t id : {1, 2, 3}) {
      if (cluster.runs(id)) return id;
    }
    cluster.start(1);
    cluster.up(1);
    return 1;
  }
  void settle() {
    cluster.heal(1, 2);
    cluster.heal(1, 3);
    cluster.heal(2, 3);
    for (int32_t id : {1, 2, 3}) {
      if (cluster.runs(id)) continue;
      cluster.start(id);
      cluster.up(id);
    }
    cluster.advance(20'000);
    for (const auto& tp : partitions) cluster.produce(tp);
    cluster.advance(5'000);
    look();
  }
  void check() {
    for (const auto& tp : partitions) {
      EXPECT_EQ(cluster.state(tp).isr.size(), 3u);
      cluster.expect_equal(tp);
      const auto leader = cluster.broker(cluster.state(tp).leader.value).partition(tp);
      EXPECT_EQ(leader->high_watermark(), leader->log()->log_end_offset());
    }
    size_t count = 0;
    for (const auto& [tp, produced] : acked) {
      if (produced->result != ErrorCode::kNone) continue;
      ++count;
      EXPECT_TRUE(seen[tp].contains(produced->first.value)) << tp.to_string() << " lost the acked batch at " << produced->first.value;
    }
    EXPECT_GT(count, 0u);
  }

  TestCluster cluster;
  std::vector<TopicPartition> partitions;
  std::vector<std::pair<TopicPartition, std::shared_ptr<TestCluster::Produced>>> acked;
  std::map<TopicPartition, std::map<int64_t, Bytes>> seen;
};

// Even seeds pipelined with little room, odd ones one fetch at a time.
void run_schedule(uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  replication::FetcherOptions fetcher;
  fetcher.in_flight_bytes = seed % 2 == 0 ? 32 * 400 : 0;
  Schedule schedule(seed, fetcher);
  for (int i = 0; i < 150 && !::testing::Test::HasFailure(); ++i) schedule.step();
  schedule.settle();
  schedule.check();
}

TEST(ReplicationRandom, AckedRecordsStayAndLogsMeet) {
  // REPLICATION_SEED=n: that one only.
  if (const char* only = std::getenv("REPLICATION_SEED")) return run_schedule(std::strtoull(only, nullptr, 10));
  for (uint64_t seed = 1; seed <= 60 && !HasFailure(); ++seed) run_schedule(seed);
}

}  // namespace
}  // namespace odradek::api

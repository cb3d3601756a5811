#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "sim/cluster/broker.h"
#include "sim/cluster/cluster.h"
#include "sim/planted_test.h"

namespace odradek::sim {
namespace {

constexpr int kHangSeconds = 600;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kSeeds = 10;
#else
constexpr uint64_t kSeeds = 200;
#define ODRADEK_SIM_WHOLE
#endif

// Another number: ODRADEK_CLUSTER_SIM_SEEDS.
uint64_t seeds() {
  const char* wanted = std::getenv("ODRADEK_CLUSTER_SIM_SEEDS");
  return wanted == nullptr ? kSeeds : std::strtoull(wanted, nullptr, 10);
}

Options options_of(uint64_t seed) {
  Options options;
  options.seed = seed;
  options.run = run_cluster;
  return options;
}

#ifdef ODRADEK_SIM_WHOLE
TEST(ClusterSimulation, TheSameSeedGivesTheSameTrace) {
  for (uint64_t seed : {1, 2, 3}) {
    Outcome first = run_in_child(options_of(seed), kHangSeconds);
    Outcome second = run_in_child(options_of(seed), kHangSeconds);
    EXPECT_NE(first.trace_hash, 0u);
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_EQ(first.steps, second.steps);
    EXPECT_NE(first.trace_hash, run_in_child(options_of(seed + 100), kHangSeconds).trace_hash);
  }
}
#endif

// ODRADEK_CLUSTER_SIM_SEED=N plays one seed again, in words.
TEST(ClusterSimulation, KeepsEveryPromiseOnEverySeedAndEverythingHappens) {
  if (const char* seed = std::getenv("ODRADEK_CLUSTER_SIM_SEED")) {
    Options options = options_of(std::strtoull(seed, nullptr, 10));
    options.verbose = true;
    EXPECT_EQ(run_in_child(options, kHangSeconds).violation, "");
    return;
  }
  Children children(kHangSeconds);
  Events all;
  int64_t acked = 0, seen = 0, commits = 0, operations = 0, least_operations = INT64_MAX, faults = 0, least_faults = INT64_MAX;
  for (uint64_t next = 1; next <= seeds() || children.running() > 0;) {
    if (next <= seeds() && children.running() < 2) {
      children.start(options_of(next++));
      continue;
    }
    auto [options, outcome] = children.wait();
    for (size_t i = 0; i < all.counts.size(); ++i) all.counts[i] += outcome.happened[i];
    acked += outcome.acked;
    seen += outcome.seen;
    commits += outcome.commits;
    operations += outcome.operations;
    const int64_t its_faults = Events{outcome.happened}.faults();
    faults += its_faults;
    if (outcome.violation.empty()) {
      least_operations = std::min(least_operations, outcome.operations);
      least_faults = std::min(least_faults, its_faults);
    }
    EXPECT_EQ(outcome.violation, "") << "play it again: ODRADEK_CLUSTER_SIM_SEED=" << options.seed
                                     << " sim_cluster_test --gtest_filter=ClusterSimulation.KeepsEveryPromiseOnEverySeedAndEverythingHappens";
  }
  std::printf("%lld records acknowledged, %lld read, %lld commits\n", static_cast<long long>(acked), static_cast<long long>(seen), static_cast<long long>(commits));
  std::printf("%lld operations of clients, at least %lld a seed; %lld faults, at least %lld a seed\n", static_cast<long long>(operations),
              static_cast<long long>(least_operations), static_cast<long long>(faults), static_cast<long long>(least_faults));
  EXPECT_GT(acked, static_cast<int64_t>(seeds()) * 1'000);
  EXPECT_GE(least_operations, 5'000);
  EXPECT_GE(least_faults, 20);
#ifdef ODRADEK_SIM_WHOLE
  // A simulation in which something never happens proves nothing of it.
  for (size_t i = 0; i < kEventNames.size(); ++i) EXPECT_GT(all.counts[i], 0) << kEventNames[i];
#endif
}

// In seed 5407 all lost their power in the instant in which one of them was to start: nobody started it again.
TEST(ClusterBroker, DiesAlsoBeforeItsStartHasRun) {
  World world(1, false);
  Network network(world);
  ZooKeeper zookeeper(world);
  const std::vector<std::string> settings{"zookeeper.connect=zookeeper:2181", "log.dirs=/data", "broker.id=1", "listeners=PLAINTEXT://b1:9092"};
  auto config = config::load_broker_config(std::nullopt, settings);
  ASSERT_TRUE(config);
  auto yes = [] { return true; };
  ClusterBroker::Surroundings around{world, zookeeper, {yes, yes, [] { return false; }}, [](const net::Endpoint&) -> Network* { return nullptr; }, *config, {}};
  ClusterBroker broker(1, network, std::move(around));
  int deaths = 0;
  broker.on_died = [&] { ++deaths; };
  broker.start();
  broker.kill(Death::kPowerCut);
  broker.step();
  EXPECT_TRUE(broker.is_down() && !broker.is_busy());
  EXPECT_EQ(deaths, 1);
  broker.kill(Death::kPowerCut);
  broker.step();
  EXPECT_EQ(deaths, 1) << "it was down";
}

#ifdef ODRADEK_CLUSTER_BUGS
// Bugs of the broker: programs with one changed source file, see planted/.
class PlantedClusterBug : public ::testing::TestWithParam<const char*> {};

TEST_P(PlantedClusterBug, IsFound) {
  expect_bug_found(std::string(ODRADEK_PROGRAMS "/cluster-sim-") + GetParam(), 1'000);
}

INSTANTIATE_TEST_SUITE_P(Simulation, PlantedClusterBug, ::testing::Values(ODRADEK_CLUSTER_BUGS), without_dashes);
#endif

}  // namespace
}  // namespace odradek::sim

int main(int count, char** arguments) {
  odradek::sim::fix_addresses(arguments);
  ::testing::InitGoogleTest(&count, arguments);
  return RUN_ALL_TESTS();
}

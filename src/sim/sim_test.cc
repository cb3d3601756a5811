#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "sim/planted_test.h"
#include "sim/simulation.h"

namespace odradek::sim {
namespace {

constexpr int kHangSeconds = 600;  // ten times what the slowest machine needs

std::string again(const Options& options) {
  if (options.bug.empty()) {
    return "play it again: ODRADEK_SIM_SEED=" + std::to_string(options.seed) + " sim_test --gtest_filter=Simulation.KeepsEveryPromiseOnEverySeed";
  }
  return "play it again: sim --seed " + std::to_string(options.seed) + " --steps " + std::to_string(options.steps) +
         " --bug " + options.bug + " --verbose";
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSeeds = 12;  // ten times slower; that planted bugs are found is proved without sanitizers
#else
constexpr int kSeeds = 200;
#define ODRADEK_SIM_WHOLE
#endif

struct Runs {
  std::vector<std::string> violations;  // with the way to see them again
  int64_t acked = 0, seen = 0, commits = 0, assignments = 0, lives = 0, power_cuts = 0;
};

// Two at a time. `until_broken`: no further seed after the first violation.
Runs run_seeds(uint64_t first, uint64_t count, const Options& as, bool until_broken) {
  Runs runs;
  Children children(kHangSeconds);
  uint64_t next = first;
  for (;;) {
    while (next < first + count && children.running() < 2) {
      Options options = as;
      options.seed = next++;
      children.start(options);
    }
    if (children.running() == 0) return runs;
    auto [options, outcome] = children.wait();
    runs.acked += outcome.acked;
    runs.seen += outcome.seen;
    runs.commits += outcome.commits;
    runs.assignments += outcome.assignments;
    runs.lives += outcome.lives;
    runs.power_cuts += outcome.power_cuts;
    if (outcome.violation.empty()) continue;
    runs.violations.push_back(outcome.violation + "\n  " + again(options));
    if (until_broken) next = first + count;
  }
}

#ifdef ODRADEK_SIM_WHOLE
TEST(Simulation, TheSameSeedGivesTheSameTrace) {  // sanitizers bring their own memory
  for (uint64_t seed : {1, 2, 3, 7}) {
    Options options{.seed = seed, .steps = 10'000};
    Outcome first = run_in_child(options, kHangSeconds);
    Outcome second = run_in_child(options, kHangSeconds);
    EXPECT_NE(first.trace_hash, 0u);
    EXPECT_EQ(first.trace_hash, second.trace_hash) << "seed " << seed;
    EXPECT_EQ(first.steps, second.steps);
    options.seed += 100;
    EXPECT_NE(first.trace_hash, run_in_child(options, kHangSeconds).trace_hash);
  }
}
#endif

// ODRADEK_SIM_SEED=N plays one seed again, in words. (Hash tables are seeded by an address: another program, or one that was built in
// another folder, walks them in another order and gives the seed another course.)
TEST(Simulation, KeepsEveryPromiseOnEverySeed) {
  if (const char* seed = std::getenv("ODRADEK_SIM_SEED")) {
    Outcome outcome = run_in_child({.seed = std::strtoull(seed, nullptr, 10), .steps = 25'000, .verbose = true}, kHangSeconds);
    EXPECT_EQ(outcome.violation, "");
    return;
  }
  Runs runs = run_seeds(1, kSeeds, {.steps = 25'000}, false);
  for (const std::string& violation : runs.violations) ADD_FAILURE() << violation;
  std::printf("%lld records acknowledged, %lld read, %lld commits, %lld assignments, %lld lives, %lld power cuts\n", static_cast<long long>(runs.acked),
              static_cast<long long>(runs.seen), static_cast<long long>(runs.commits), static_cast<long long>(runs.assignments),
              static_cast<long long>(runs.lives), static_cast<long long>(runs.power_cuts));
  // A simulation in which little happens proves little.
  EXPECT_GT(runs.acked, kSeeds * 1'000);
  EXPECT_GT(runs.commits, kSeeds * 20);
  EXPECT_GT(runs.assignments, kSeeds * 2);
  EXPECT_GT(runs.lives, kSeeds * 3);
  EXPECT_GT(runs.power_cuts, kSeeds);
}

#ifdef ODRADEK_SIM_WHOLE
// Bugs of the machine: see sabotage.cc.
class LyingMachine : public ::testing::TestWithParam<const char*> {};

TEST_P(LyingMachine, IsFoundOut) {
  Runs runs = run_seeds(1, 60, {.steps = 25'000, .bug = GetParam()}, true);
  ASSERT_FALSE(runs.violations.empty()) << GetParam() << " was not found in 60 seeds";
  std::printf("%s: %s\n", GetParam(), runs.violations.front().c_str());
}

INSTANTIATE_TEST_SUITE_P(Simulation, LyingMachine,
                         ::testing::Values("sync-does-nothing", "directory-is-not-synced", "write-is-lost", "timer-is-lost"), without_dashes);

// Bugs of the broker: programs with one changed source file, see planted/.
class PlantedBug : public ::testing::TestWithParam<const char*> {};

TEST_P(PlantedBug, IsFound) {
  expect_bug_found(std::string(ODRADEK_PROGRAMS "/sim-") + GetParam(), 400, " --steps 25000");
}

INSTANTIATE_TEST_SUITE_P(Simulation, PlantedBug, ::testing::Values(ODRADEK_PLANTED_BUGS), without_dashes);
#endif

}  // namespace
}  // namespace odradek::sim

int main(int count, char** arguments) {
  odradek::sim::fix_addresses(arguments);
  ::testing::InitGoogleTest(&count, arguments);
  return RUN_ALL_TESTS();
}

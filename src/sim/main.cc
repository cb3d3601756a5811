// sim [--seed N] [--count N [--first]] [--steps M] [--bug NAME] [--verbose]: plays seeds again, one after the other.
// Ends with 1 if a promise was broken; --first: at the first one.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sim/simulation.h"

int main(int count, char** arguments) {
  using namespace odradek::sim;
  fix_addresses(arguments);
  Options options;
  uint64_t seeds = 1;
  bool first = false;
  for (int i = 1; i < count; ++i) {
    std::string key = arguments[i];
    if (key == "--verbose") {
      options.verbose = true;
    } else if (key == "--first") {
      first = true;
    } else if (i + 1 < count && key == "--seed") {
      options.seed = std::strtoull(arguments[++i], nullptr, 10);
    } else if (i + 1 < count && key == "--count") {
      seeds = std::strtoull(arguments[++i], nullptr, 10);
    } else if (i + 1 < count && key == "--steps") {
      options.steps = std::strtoll(arguments[++i], nullptr, 10);
    } else if (i + 1 < count && key == "--bug") {
      options.bug = arguments[++i];
    } else {
      std::printf("usage: sim [--seed N] [--count N [--first]] [--steps M] [--bug NAME] [--verbose]\n");
      return 2;
    }
  }
  int broken = 0;
  for (uint64_t left = seeds; left > 0; --left, ++options.seed) {
    Outcome outcome = run_in_child(options, 600);
    if (!outcome.violation.empty()) ++broken;
    std::printf("seed %llu  trace %016llx  %lld steps  %lld s  %lld acked  %lld read  %lld commits  %lld assignments  %d lives  %d power cuts  %s\n",
                static_cast<unsigned long long>(options.seed), static_cast<unsigned long long>(outcome.trace_hash), static_cast<long long>(outcome.steps),
                static_cast<long long>(outcome.virtual_ms / 1'000), static_cast<long long>(outcome.acked), static_cast<long long>(outcome.seen),
                static_cast<long long>(outcome.commits), static_cast<long long>(outcome.assignments), outcome.lives, outcome.power_cuts,
                outcome.violation.empty() ? "ok" : outcome.violation.c_str());
    std::fflush(stdout);
    if (first && broken > 0) break;
  }
  return broken == 0 ? 0 : 1;
}

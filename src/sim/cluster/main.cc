// cluster-sim [--seed N] [--count N [--first]] [--bug NAME] [--verbose] [--events]: plays seeds again, one after the other.
// Ends with 1 if a promise was broken; --first: at the first one. --events: how often each kind of event happened over all.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sim/cluster/cluster.h"

int main(int count, char** arguments) {
  using namespace odradek::sim;
  fix_addresses(arguments);
  Options options;
  options.run = run_cluster;
  uint64_t seeds = 1;
  bool first = false, events = false;
  for (int i = 1; i < count; ++i) {
    std::string key = arguments[i];
    if (key == "--verbose") {
      options.verbose = true;
    } else if (key == "--first") {
      first = true;
    } else if (key == "--events") {
      events = true;
    } else if (i + 1 < count && key == "--seed") {
      options.seed = std::strtoull(arguments[++i], nullptr, 10);
    } else if (i + 1 < count && key == "--count") {
      seeds = std::strtoull(arguments[++i], nullptr, 10);
    } else if (i + 1 < count && key == "--bug") {
      options.bug = arguments[++i];
    } else {
      std::printf("usage: cluster-sim [--seed N] [--count N [--first]] [--bug NAME] [--verbose] [--events]\n");
      return 2;
    }
  }
  if (options.verbose) std::setvbuf(stdout, nullptr, _IOLBF, 0);  // between the lines of the brokers
  int broken = 0;
  Events all;
  for (uint64_t left = seeds; left > 0; --left, ++options.seed) {
    Outcome outcome = run_in_child(options, 600);
    if (!outcome.violation.empty()) ++broken;
    for (size_t i = 0; i < all.counts.size(); ++i) all.counts[i] += outcome.happened[i];
    const Events happened{outcome.happened};
    std::printf("seed %llu  trace %016llx  %lld steps  %lld s  %lld operations  %lld faults  %lld acked  %lld read  %lld commits  %d lives  %s\n", static_cast<unsigned long long>(options.seed),
                static_cast<unsigned long long>(outcome.trace_hash), static_cast<long long>(outcome.steps), static_cast<long long>(outcome.virtual_ms / 1'000),
                static_cast<long long>(outcome.operations), static_cast<long long>(happened.faults()),
                static_cast<long long>(outcome.acked), static_cast<long long>(outcome.seen), static_cast<long long>(outcome.commits), outcome.lives,
                outcome.violation.empty() ? "ok" : outcome.violation.c_str());
    std::fflush(stdout);
    if (first && broken > 0) break;
  }
  for (size_t i = 0; events && i < kEventNames.size(); ++i) {
    std::printf("%8lld  %.*s\n", static_cast<long long>(all.counts[i]), static_cast<int>(kEventNames[i].size()), kEventNames[i].data());
  }
  return broken == 0 ? 0 : 1;
}

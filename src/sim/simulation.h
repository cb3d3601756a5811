// One run from one seed: a machine, its clients, and what happens to them; then the final reckoning.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "sim/machine.h"

namespace odradek::sim {

struct Outcome;

struct Options {
  uint64_t seed = 1;
  int64_t steps = 30'000;  // of trouble; the end comes on top
  bool verbose = false;
  std::string bug;  // the name of a planted bug (sabotage.h); empty: none
  Outcome (*run)(const Options&) = nullptr;  // null: run_simulation
};

struct Outcome {
  std::string violation;  // empty: every promise was kept
  uint64_t trace_hash = 0;
  int64_t steps = 0, virtual_ms = 0;
  int64_t acked = 0, seen = 0, commits = 0, assignments = 0;
  int64_t operations = 0;  // requests of clients that were answered
  int lives = 0, power_cuts = 0;
  // How often each kind of event happened, by a number that the simulation gives it.
  static constexpr size_t kKinds = 96;
  std::array<int64_t, kKinds> happened{};
};

// Runs on this thread, in this process.
Outcome run_simulation(const Options& options);

// Runs in child processes of their own, so that a failed CHECK, a crash or a hang is an outcome too, and so that each run begins with
// the same memory: the same seed gives the same trace. For one thread of a process without others: a fork copies the locks that other
// threads hold, and a sanitizer's locks are not released in the child.
class Children {
 public:
  explicit Children(int wall_seconds);  // more for one run is a hang
  ~Children();
  Children(const Children&) = delete;

  void start(const Options& options);
  size_t running() const { return children_.size(); }
  // Waits until one of the running comes to its end.
  std::pair<Options, Outcome> wait();

 private:
  struct Report;
  struct Child {
    pid_t pid;
    Options options;
    Report* report;
    int error_file;
  };

  const int wall_seconds_;
  std::vector<Child> children_;
};

Outcome run_in_child(const Options& options, int wall_seconds);

// Addresses decide the order of hash tables: to be called first in main(). Starts the program again without random addresses if it
// has them; where the system does not let it, a seed replays exactly only within one process.
void fix_addresses(char** arguments);

// Null-terminated list of the planted bugs that need no other object files.
Sabotage make_sabotage(World& world, const std::string& bug);

}  // namespace odradek::sim

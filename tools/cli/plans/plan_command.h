// What `topic reassign plan`, `cluster drain` and `cluster add` share: a plan is shown, written to files, and done with --execute.
#pragma once

#include "cli/plans/reassign.h"

namespace odradek::cli {

// Options of what is done with a reassignment.
struct ExecuteOptions {
  double throttle_mb = 0;  // 10^6 bytes a second for each broker; 0: none
  bool no_watch = false;
  bool additional = false;  // others may be under way
  std::string rollback_file;  // what was there before, as a plan
  void add_options(CLI::App& app);
};

struct PlanOptions {
  std::string file;
  bool execute = false;
  bool ignore_racks = false;
  bool all = false;  // every move is listed
  ExecuteOptions how;
  void add_options(CLI::App& app);
};

// Plans and does what the options say. `view` with log dirs. Returns the exit code.
int propose(Session& session, client::Cluster& cluster, const ClusterView& view, const std::set<std::string>& topics, PlacementGoal goal, const PlanOptions& options);

// Starts `plan`, throttled and watched as the options say. `result` gets what a JSON answer tells about it. Preferred leaders are elected at the
// end when `elect`. Returns the exit code; on kDone without no_watch all is in place.
int execute(Session& session, client::Cluster& cluster, const ClusterView& view, const std::vector<PlanEntry>& plan, const ExecuteOptions& options, bool elect, Json& result);

// Watches `scope` to its end, takes the throttle away; fills `result`. Returns the exit code.
int watch_to_end(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& scope, std::optional<int64_t> limit_s, bool keep_throttle, Json& result);

// One line a fault on standard error; kRefused if there are any.
int show_faults(Session& session, const std::vector<PartitionFault>& faults, Json& list);

}  // namespace odradek::cli

#include "cli/plans/plan_command.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/file.h"

namespace odradek::cli {
namespace {

constexpr size_t kMovesShown = 20;

Result<void> write_plan(const std::string& path, const std::vector<PlanEntry>& plan) {
  std::string text = plan_json(plan).dump() + "\n";
  return base::write_file_atomically(base::posix_files(), path, as_bytes(text));
}

std::string change(int64_t before, int64_t after) { return before == after ? std::to_string(before) : fmt::format("{} -> {}", before, after); }

Json describe(const BrokerLoad& load) { return {{"replicas", load.replicas}, {"leaders", load.leaders}, {"bytes", load.bytes}}; }

void show_moves(const std::vector<Move>& moves, const std::vector<Placed>& placed, const ClusterView& view, bool all) {
  auto before = loads(placed), after = loads(placed, moves);
  std::map<int32_t, int64_t> copied_in;
  for (const Move& move : moves) {
    for (int32_t broker : move.added()) copied_in[broker] += move.size_bytes;
  }
  std::set<int32_t> ids;
  for (const auto& [id, broker] : view.brokers) ids.insert(id);
  for (const auto& [id, load] : before) ids.insert(id);
  std::vector<std::vector<std::string>> brokers{{"BROKER", "RACK", "REPLICAS", "LEADERS", "DATA", "COPIED IN"}};
  for (int32_t id : ids) {
    auto found = view.brokers.find(id);
    std::string data = before[id].bytes == after[id].bytes ? shown_bytes(after[id].bytes) : shown_bytes(before[id].bytes) + " -> " + shown_bytes(after[id].bytes);
    brokers.push_back({std::to_string(id) + (found == view.brokers.end() ? " (not alive)" : ""), found == view.brokers.end() ? "-" : found->second.rack.value_or("-"),
                       change(before[id].replicas, after[id].replicas), change(before[id].leaders, after[id].leaders), data, shown_bytes(copied_in[id])});
  }
  print_table(brokers);
  fmt::print("\n");
  std::vector<std::vector<std::string>> rows{{"PARTITION", "FROM", "TO", "COPIED"}};
  for (const Move& move : moves) {
    if (!all && rows.size() > kMovesShown) break;
    rows.push_back({move.partition.to_string(), joined(move.from), joined(move.to), shown_bytes(move.copied_bytes())});
  }
  print_table(rows);
  if (moves.size() + 1 > rows.size()) fmt::print("and {} more (--all)\n", moves.size() + 1 - rows.size());
}

Json describe(const std::vector<Move>& moves, const std::vector<Placed>& placed) {
  Json list = Json::array();
  int64_t copied = 0;
  for (const Move& move : moves) {
    copied += move.copied_bytes();
    list.push_back({{"topic", move.partition.topic}, {"partition", move.partition.partition}, {"from", move.from}, {"to", move.to}, {"copied_bytes", move.copied_bytes()}});
  }
  auto before = loads(placed), after = loads(placed, moves);
  Json brokers = Json::array();
  for (const auto& [id, load] : after) before.try_emplace(id);
  for (const auto& [id, load] : before) brokers.push_back({{"broker", id}, {"before", describe(load)}, {"after", describe(after[id])}});
  return {{"copied_bytes", copied}, {"moves", std::move(list)}, {"brokers", std::move(brokers)}};
}

std::set<std::string> topics_of(const std::set<TopicPartition>& partitions) {
  std::set<std::string> topics;
  for (const TopicPartition& each : partitions) topics.insert(each.topic);
  return topics;
}

Error under_way(const ClusterView& view) {
  return {ErrorCode::kReassignmentInProgress, fmt::format("{} partitions are being reassigned, as {}", view.ongoing.size(), view.ongoing.begin()->first.to_string())};
}

}  // namespace

void ExecuteOptions::add_options(CLI::App& app) {
  app.add_option("--throttle", throttle_mb, "Most MB/s (10^6 bytes) that moving replicas copy, for each broker; taken away at the end")->check(CLI::PositiveNumber);
  app.add_flag("--no-watch", no_watch, "Do not wait for the end; `odradek topic reassign watch` does, and takes the throttle away");
  app.add_flag("--additional", additional, "Also while other reassignments are under way");
  app.add_option("--rollback", rollback_file, "Write what is there now, or will be when what is under way has ended, to this file, as a plan that goes back");
}

void PlanOptions::add_options(CLI::App& app) {
  app.add_option("--file", file, "Write the plan to this file, in Kafka's JSON");
  app.add_flag("--ignore-racks", ignore_racks, "Place replicas without regard to broker.rack");
  app.add_flag("--all", all, "List every move");
  app.add_flag("--execute", execute, "Do it; without, it is only shown");
  how.add_options(app);
}

int propose(Session& session, client::Cluster& cluster, const ClusterView& view, const std::set<std::string>& topics, PlacementGoal goal, const PlanOptions& options) {
  if (!view.ongoing.empty() && !options.how.additional) return session.refused(under_way(view));
  goal.rack_aware = !options.ignore_racks;
  std::vector<Placed> placed = view.placed(topics);
  auto moves = plan_moves(placed, goal);
  if (!moves) {
    Error error = std::move(moves.error());
    if (error.code == ErrorCode::kInvalidReplicaAssignment) error.what += "; --ignore-racks plans without them";
    return session.refused(error);
  }
  std::vector<PlanEntry> plan;
  for (const Move& move : *moves) plan.push_back({move.partition, move.to, {}});
  Json json = describe(*moves, placed);
  if (!session.json) {
    if (moves->empty()) {
      fmt::print("nothing has to move\n");
    } else {
      fmt::print("{} of {} partitions change, {} are copied\n\n", moves->size(), placed.size(), shown_bytes(json["copied_bytes"].get<int64_t>()));
      show_moves(*moves, placed, view, options.all);
    }
  }
  for (const auto& [id, broker] : view.brokers) {
    if (!broker.answers) fmt::print(stderr, "broker {} does not tell its log dirs ({}): sizes may be missing\n", id, broker.why_not);
  }
  for (const Move& move : *moves) {
    if (view.partitions.at(move.partition).leader < 0) fmt::print(stderr, "{} has no leader: it moves when it has one\n", move.partition.to_string());
  }
  if (!options.file.empty()) {
    if (auto written = write_plan(options.file, plan); !written) return session.refused(written.error());
  }
  int code = kDone;
  json["plan"] = plan_json(plan);
  json["executed"] = false;
  if (options.execute && !plan.empty()) {
    code = execute(session, cluster, view, plan, options.how, true, json);
  } else if (!session.json && !plan.empty()) {
    fmt::print("\nnot done: --execute does it{}\n", options.file.empty() ? "" : fmt::format(", as does `odradek topic reassign execute {}`", options.file));
  }
  if (session.json) print_json(json);
  return code;
}

int show_faults(Session& session, const std::vector<PartitionFault>& faults, Json& list) {
  for (const PartitionFault& fault : faults) {
    session.refused(fault.error);
    list.push_back({{"topic", fault.partition.topic}, {"partition", fault.partition.partition}, {"error", name_of(fault.error.code)}, {"message", fault.error.what}});
  }
  return faults.empty() ? kDone : kRefused;
}

int execute(Session& session, client::Cluster& cluster, const ClusterView& view, const std::vector<PlanEntry>& plan, const ExecuteOptions& options, bool elect, Json& result) {
  if (!view.ongoing.empty() && !options.additional) return session.refused(under_way(view));
  std::vector<PlanEntry> before;
  std::set<TopicPartition> scope;
  // For the throttle: what will be under way with this plan.
  std::map<TopicPartition, OngoingReassignment> moving = view.ongoing;
  for (const PlanEntry& entry : plan) {
    auto found = view.partitions.find(entry.partition);
    if (found == view.partitions.end()) return session.refused({ErrorCode::kUnknownTopicOrPartition, entry.partition.to_string() + " does not exist"});
    for (int32_t broker : entry.replicas) {
      if (!view.brokers.contains(broker)) return session.refused({ErrorCode::kInvalidReplicaAssignment, fmt::format("{}: broker {} is not alive", entry.partition.to_string(), broker)});
    }
    before.push_back({entry.partition, view.wanted_replicas(entry.partition), {}});
    scope.insert(entry.partition);
    OngoingReassignment& each = moving[entry.partition];
    if (each.adding.empty()) each.replicas = found->second.replicas;
    for (int32_t broker : entry.replicas) {
      if (std::count(each.replicas.begin(), each.replicas.end(), broker) != 0) continue;
      each.replicas.push_back(broker);
      each.adding.push_back(broker);
    }
  }
  if (!options.rollback_file.empty()) {
    if (auto written = write_plan(options.rollback_file, before); !written) return session.refused(written.error());
  }
  result["before"] = plan_json(before);
  if (options.throttle_mb > 0) {
    if (auto throttled = set_throttle(cluster, moving, static_cast<int64_t>(options.throttle_mb * 1e6)); !throttled) return session.refused(throttled.error());
  }
  auto faults = start_reassignment(session, cluster, plan);
  if (!faults) return session.refused(faults.error());
  Json list = Json::array();
  int code = show_faults(session, *faults, list);
  for (const PartitionFault& fault : *faults) scope.erase(fault.partition);
  result["executed"] = !scope.empty();
  result["faults"] = std::move(list);
  if (scope.empty()) return code;
  if (options.no_watch) {
    if (!session.json) fmt::print("started; `odradek topic reassign watch` tells when it is done{}\n", options.throttle_mb > 0 ? " and takes the throttle away" : "");
    return code;
  }
  code = std::max(code, watch_to_end(session, cluster, scope, std::nullopt, false, result));
  if (code == kDone && elect) {
    auto changed = elect_preferred(session, cluster, scope);
    if (!changed) return session.refused(changed.error());
    result["leaders_elected"] = *changed;
    if (!session.json && *changed > 0) fmt::print("{} partitions got their preferred leader\n", *changed);
  }
  return code;
}

int watch_to_end(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& scope, std::optional<int64_t> limit_s, bool keep_throttle, Json& result) {
  auto watched = watch_reassignment(session, cluster, scope, limit_s);
  if (!watched) return session.refused(watched.error());
  result["completed"] = watched->done;
  result["seconds"] = watched->seconds;
  result["total_bytes"] = watched->total_bytes;
  result["copied_bytes"] = watched->copied_bytes;
  Json left = Json::array();
  for (const auto& [name, each] : watched->left) {
    left.push_back({{"topic", name.topic}, {"partition", name.partition}, {"replicas", each.replicas}, {"adding", each.adding}, {"removing", each.removing}});
  }
  result["under_way"] = std::move(left);
  result["dead_brokers"] = watched->dead;
  if (!watched->done) {
    if (!session.json) {
      std::vector<std::vector<std::string>> rows{{"PARTITION", "REPLICAS", "ADDING", "REMOVING"}};
      for (const auto& [name, each] : watched->left) rows.push_back({name.to_string(), joined(each.replicas), joined(each.adding), joined(each.removing)});
      fmt::print("{} partitions are under way, {} of {} copied\n", watched->left.size(), shown_bytes(watched->copied_bytes), shown_bytes(watched->total_bytes));
      print_table(rows);
    }
    return kRefused;
  }
  if (!session.json) {
    if (watched->partitions == 0) {
      fmt::print("nothing is under way\n");
    } else {
      fmt::print("done: {} partitions, {} copied in {}\n", watched->partitions, shown_bytes(watched->total_bytes), shown_seconds(watched->seconds));
    }
  }
  if (keep_throttle) return kDone;
  // Another reassignment may need it still.
  auto ongoing = list_reassignments(cluster);
  if (!ongoing) return session.refused(ongoing.error());
  if (!ongoing->empty()) return kDone;
  auto view = read_cluster(cluster, LogDirs::kNo);
  if (!view) return session.refused(view.error());
  std::set<std::string> topics = topics_of(scope);
  std::set<int32_t> brokers;
  for (const auto& [name, each] : view->partitions) {
    if (scope.empty()) topics.insert(name.topic);
  }
  for (const auto& [id, broker] : view->brokers) brokers.insert(id);
  std::vector<int32_t> unreached;
  auto cleared = clear_throttle(cluster, topics, brokers, unreached);
  if (!cleared) return session.refused(cleared.error());
  result["throttle_removed"] = *cleared > 0;
  if (!session.json && *cleared > 0) fmt::print("the throttle was taken away\n");
  for (int32_t broker : unreached) fmt::print(stderr, "broker {} does not answer: if it has a throttle, it keeps it\n", broker);
  return kDone;
}

}  // namespace odradek::cli

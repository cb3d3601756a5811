// `cluster status|describe|drain|add`.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "cli/cluster/commands.h"
#include "cli/common/subcommand.h"
#include "cli/plans/plan_command.h"

namespace odradek::cli {
namespace {

struct Command {
  explicit Command(const char* name) : session(name) {}
  Session session;
  std::vector<int32_t> brokers;
  PlanOptions plan;
};

struct BrokerCounts {
  int64_t leaders = 0, replicas = 0, in_sync = 0, preferred = 0;  // preferred: partitions whose first replica it is
};

struct Counts {
  std::map<int32_t, BrokerCounts> brokers;
  std::set<std::string> topics;
  int64_t replicas = 0, offline = 0, under_replicated = 0, elsewhere = 0;  // elsewhere: not led by their preferred leader
};

Counts count(const ClusterView& view) {
  Counts counts;
  for (const auto& [id, broker] : view.brokers) counts.brokers[id];
  for (const auto& [name, partition] : view.partitions) {
    counts.topics.insert(name.topic);
    counts.replicas += static_cast<int64_t>(partition.replicas.size());
    counts.offline += partition.leader < 0;
    counts.under_replicated += partition.under_replicated();
    counts.elsewhere += partition.leader >= 0 && !partition.replicas.empty() && partition.leader != partition.replicas[0];
    if (partition.leader >= 0) ++counts.brokers[partition.leader].leaders;
    if (!partition.replicas.empty()) ++counts.brokers[partition.replicas[0]].preferred;
    for (int32_t broker : partition.replicas) ++counts.brokers[broker].replicas;
    for (int32_t broker : partition.isr) ++counts.brokers[broker].in_sync;
  }
  return counts;
}

struct Disk {
  int64_t bytes = 0, usable = -1;  // usable: the least of its log dirs
  int offline_dirs = 0;
};

Disk disk_of(const BrokerView& broker) {
  Disk disk;
  for (const LogDirView& dir : broker.log_dirs) {
    disk.bytes += dir.bytes;
    disk.offline_dirs += dir.error != ErrorCode::kNone;
    if (dir.usable_bytes >= 0) disk.usable = disk.usable < 0 ? dir.usable_bytes : std::min(disk.usable, dir.usable_bytes);
  }
  return disk;
}

std::string or_unknown(const BrokerView& broker, int64_t bytes) { return !broker.answers || bytes < 0 ? "?" : shown_bytes(bytes); }

Json summary(const ClusterView& view, const Counts& counts) {
  return {{"cluster_id", view.cluster_id}, {"controller", view.controller}, {"brokers_alive", view.brokers.size()}, {"topics", counts.topics.size()},
          {"partitions", view.partitions.size()}, {"replicas", counts.replicas}, {"offline_partitions", counts.offline},
          {"under_replicated_partitions", counts.under_replicated}, {"not_led_by_preferred", counts.elsewhere}, {"reassigning", view.ongoing.size()}};
}

void print_summary(const ClusterView& view, const Counts& counts) {
  fmt::print("cluster {}  {}  {} brokers alive\n", view.cluster_id, view.controller < 0 ? "no controller" : fmt::format("controller {}", view.controller), view.brokers.size());
  fmt::print("{} topics, {} partitions, {} replicas: {} without a leader, {} under-replicated, {} not led by their preferred replica, {} being reassigned\n",
             counts.topics.size(), view.partitions.size(), counts.replicas, counts.offline, counts.under_replicated, counts.elsewhere, view.ongoing.size());
}

int status(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  auto view = read_cluster(**cluster, LogDirs::kYes);
  if (!view) return command.session.refused(view.error());
  Counts counts = count(*view);
  Json json = summary(*view, counts), brokers = Json::array();
  std::vector<std::vector<std::string>> rows{{"BROKER", "ADDRESS", "RACK", "LEADERS", "REPLICAS", "IN SYNC", "DATA", "FREE", ""}};
  for (const auto& [id, of] : counts.brokers) {
    auto found = view->brokers.find(id);
    if (found == view->brokers.end()) {
      rows.push_back({std::to_string(id), "not alive", "", std::to_string(of.leaders), std::to_string(of.replicas), std::to_string(of.in_sync), "", "", ""});
      brokers.push_back({{"broker", id}, {"alive", false}, {"leaders", of.leaders}, {"replicas", of.replicas}, {"in_sync_replicas", of.in_sync}});
      continue;
    }
    const BrokerView& broker = found->second;
    Disk disk = disk_of(broker);
    std::string note = id == view->controller ? "controller" : "";
    if (!broker.answers) note += (note.empty() ? "" : ", ") + std::string("does not answer");
    if (disk.offline_dirs > 0) note += fmt::format("{}{} log dirs offline", note.empty() ? "" : ", ", disk.offline_dirs);
    rows.push_back({std::to_string(id), broker.address, broker.rack.value_or("-"), std::to_string(of.leaders), std::to_string(of.replicas), std::to_string(of.in_sync),
                    or_unknown(broker, disk.bytes), or_unknown(broker, disk.usable), note});
    brokers.push_back({{"broker", id}, {"alive", true}, {"answers", broker.answers}, {"address", broker.address}, {"rack", broker.rack ? Json(*broker.rack) : Json()},
                       {"leaders", of.leaders}, {"replicas", of.replicas}, {"in_sync_replicas", of.in_sync}, {"bytes", disk.bytes}, {"usable_bytes", disk.usable},
                       {"offline_log_dirs", disk.offline_dirs}});
  }
  json["brokers"] = std::move(brokers);
  if (command.session.json) {
    print_json(json);
  } else {
    print_summary(*view, counts);
    print_table(rows);
  }
  return kDone;
}

// Why a partition deserves a line; empty: it is well.
std::string trouble(const ClusterView& view, const TopicPartition& name, const PartitionView& partition) {
  std::string words;
  auto append = [&](const std::string& more) { words += (words.empty() ? "" : ", ") + more; };
  if (partition.leader < 0) append("no leader");
  if (partition.under_replicated()) {
    std::vector<int32_t> missing;
    for (int32_t each : partition.replicas) {
      if (std::count(partition.isr.begin(), partition.isr.end(), each) == 0) missing.push_back(each);
    }
    append("not in sync: " + joined(missing));
  }
  if (auto found = view.ongoing.find(name); found != view.ongoing.end()) {
    append(fmt::format("being reassigned to {}", joined(found->second.target())));
  } else if (partition.leader >= 0 && !partition.replicas.empty() && partition.leader != partition.replicas[0]) {
    append("preferred leader " + std::to_string(partition.replicas[0]));
  }
  return words;
}

int describe(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  auto view = read_cluster(**cluster, LogDirs::kYes);
  if (!view) return command.session.refused(view.error());
  Counts counts = count(*view);
  std::set<int32_t> asked(command.brokers.begin(), command.brokers.end());
  for (int32_t id : asked) {
    if (!counts.brokers.contains(id)) return command.session.refused({ErrorCode::kInvalidRequest, fmt::format("no broker {} is alive or holds replicas", id)});
  }
  auto wanted = [&](int32_t id) { return asked.empty() || asked.contains(id); };
  Json json = summary(*view, counts), brokers = Json::array(), partitions = Json::array();
  if (!command.session.json) print_summary(*view, counts);
  for (const auto& [id, of] : counts.brokers) {
    if (!wanted(id)) continue;
    auto found = view->brokers.find(id);
    bool alive = found != view->brokers.end();
    Json dirs = Json::array();
    std::vector<std::vector<std::string>> rows{{"  LOG DIR", "REPLICAS", "DATA", "DISK", "FREE", ""}};
    if (alive) {
      for (const LogDirView& dir : found->second.log_dirs) {
        dirs.push_back({{"path", dir.path}, {"error", dir.error == ErrorCode::kNone ? Json() : Json(name_of(dir.error))}, {"replicas", dir.replicas}, {"bytes", dir.bytes},
                        {"total_bytes", dir.total_bytes}, {"usable_bytes", dir.usable_bytes}});
        rows.push_back({"  " + dir.path, std::to_string(dir.replicas), shown_bytes(dir.bytes), or_unknown(found->second, dir.total_bytes),
                        or_unknown(found->second, dir.usable_bytes), dir.error == ErrorCode::kNone ? "" : std::string(name_of(dir.error))});
      }
    }
    brokers.push_back({{"broker", id}, {"alive", alive}, {"address", alive ? Json(found->second.address) : Json()},
                       {"rack", alive && found->second.rack ? Json(*found->second.rack) : Json()}, {"controller", id == view->controller}, {"leaders", of.leaders},
                       {"preferred_leader_of", of.preferred}, {"replicas", of.replicas}, {"in_sync_replicas", of.in_sync}, {"log_dirs", std::move(dirs)}});
    if (command.session.json) continue;
    fmt::print("\nbroker {}  {}{}{}  leads {} (preferred {}), holds {} replicas, {} in sync\n", id, alive ? found->second.address : "not alive",
               alive && found->second.rack ? "  rack " + *found->second.rack : "", id == view->controller ? "  controller" : "", of.leaders, of.preferred, of.replicas,
               of.in_sync);
    if (alive && !found->second.answers) fmt::print("  does not answer: {}\n", found->second.why_not);
    if (rows.size() > 1) print_table(rows);
  }
  std::vector<std::vector<std::string>> rows{{"PARTITION", "LEADER", "REPLICAS", "ISR", ""}};
  for (const auto& [name, partition] : view->partitions) {
    if (!std::any_of(partition.replicas.begin(), partition.replicas.end(), wanted)) continue;
    std::string words = trouble(*view, name, partition);
    if (words.empty()) continue;
    rows.push_back({name.to_string(), partition.leader < 0 ? "none" : std::to_string(partition.leader), joined(partition.replicas), joined(partition.isr), words});
    Json entry{{"topic", name.topic}, {"partition", name.partition}, {"leader", partition.leader}, {"replicas", partition.replicas}, {"isr", partition.isr},
               {"offline_replicas", partition.offline}, {"words", words}};
    if (auto found = view->ongoing.find(name); found != view->ongoing.end()) {
      entry["adding"] = found->second.adding;
      entry["removing"] = found->second.removing;
    }
    partitions.push_back(std::move(entry));
  }
  json["brokers"] = std::move(brokers);
  json["partitions_to_look_at"] = std::move(partitions);
  if (command.session.json) {
    print_json(json);
  } else if (rows.size() > 1) {
    fmt::print("\n");
    print_table(rows);
  } else {
    fmt::print("\nevery partition has its preferred leader and all replicas in sync\n");
  }
  return kDone;
}

// Brokers that hold replicas, are not alive and are not in `except`: a plan would have to guess whether they come back.
std::optional<int32_t> dead_holder(const ClusterView& view, const std::set<int32_t>& except) {
  for (int32_t id : view.named()) {
    if (!view.brokers.contains(id) && !except.contains(id)) return id;
  }
  return std::nullopt;
}

Error is_dead(int32_t id) {
  return {ErrorCode::kInvalidReplicaAssignment, fmt::format("broker {} holds replicas and is not alive: start it, or `odradek cluster drain {}` if it does not come back", id, id)};
}

int drain(Command& command) {
  Session& session = command.session;
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  auto view = read_cluster(**cluster, LogDirs::kYes);
  if (!view) return session.refused(view.error());
  std::set<int32_t> leaving(command.brokers.begin(), command.brokers.end()), staying;
  auto named = view->named();
  for (int32_t id : leaving) {
    if (!view->brokers.contains(id) && !named.contains(id)) return session.refused({ErrorCode::kInvalidRequest, fmt::format("no broker {} is alive or holds replicas", id)});
  }
  if (auto dead = dead_holder(*view, leaving)) return session.refused(is_dead(*dead));
  for (const auto& [id, broker] : view->brokers) {
    if (!leaving.contains(id)) staying.insert(id);
  }
  return propose(session, **cluster, *view, {}, {.brokers = view->placement_brokers(staying)}, command.plan);
}

int add(Command& command) {
  Session& session = command.session;
  auto cluster = session.open();
  if (!cluster) return session.refused(cluster.error());
  auto view = read_cluster(**cluster, LogDirs::kYes);
  if (!view) return session.refused(view.error());
  std::set<int32_t> fresh(command.brokers.begin(), command.brokers.end()), all;
  auto named = view->named();
  for (const auto& [id, broker] : view->brokers) {
    all.insert(id);
    if (command.brokers.empty() && !named.contains(id)) fresh.insert(id);
  }
  for (int32_t id : fresh) {
    if (!view->brokers.contains(id)) return session.refused({ErrorCode::kInvalidReplicaAssignment, fmt::format("broker {} is not alive", id)});
  }
  if (fresh.empty()) return session.refused({ErrorCode::kInvalidRequest, "every broker holds replicas: name those that are to get more"});
  if (auto dead = dead_holder(*view, {})) return session.refused(is_dead(*dead));
  return propose(session, **cluster, *view, {}, {.brokers = view->placement_brokers(all), .balance = true, .receivers = fresh}, command.plan);
}

}  // namespace

void add_cluster(CLI::App& app, int& exit_code) {
  CLI::App* family = app.add_subcommand("cluster", "The brokers of a cluster: how they are, empty one, give a new one its share");
  family->require_subcommand(1);
  auto sub_of = [&](const char* name, const char* full_name, const char* help, const char* footer, int (*run)(Command&)) {
    return add_subcommand(*family, exit_code, name, full_name, help, footer, run);
  };
  sub_of("status", "cluster status", "Brokers with their shares, and what is not as it should be, in numbers", "Example:\n  odradek cluster status --json", status);
  {
    auto [sub, command] = sub_of("describe", "cluster describe", "Log dirs of each broker, and each partition that is not as it should be",
                                 "Examples:\n  odradek cluster describe\n  odradek cluster describe 3", describe);
    sub->add_option("BROKER", command->brokers, "Only these brokers and the partitions on them");
  }
  {
    auto [sub, command] = sub_of("drain", "cluster drain", "Move every replica off brokers, so that they can be removed",
                                 "Nothing else moves. A topic that is made afterwards may be put there again: stop the broker when it is empty.\n"
                                 "A broker that is not alive can be drained too: its replicas are copied from the others.\n"
                                 "Examples:\n  odradek cluster drain 3\n  odradek cluster drain 3 --execute --throttle 50",
                                 drain);
    sub->add_option("BROKER", command->brokers, "Ids")->required();
    command->plan.add_options(*sub);
  }
  {
    auto [sub, command] = sub_of("add", "cluster add", "Give new brokers their share of replicas and leaders: the least data that does it, from old brokers to new ones only",
                                 "Examples:\n  odradek cluster add\n  odradek cluster add 4 5 --execute --throttle 50", add);
    sub->add_option("BROKER", command->brokers, "Ids (default: those that hold no replica)");
    command->plan.add_options(*sub);
  }
}

}  // namespace odradek::cli

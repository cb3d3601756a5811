#include "cli/cluster/health_cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/plans/cluster_view.h"

namespace odradek::cli {
namespace {

using protocol::MetadataRequest;
using protocol::MetadataResponse;

constexpr size_t kNamesShown = 5;

// "a-0, a-1 and 7 more".
std::string shown(const std::vector<std::string>& names) {
  std::string words;
  for (size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) words += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNamesShown) words += fmt::format(" and {} more", names.size() - kNamesShown);
  return words;
}

Json entry_of(const TopicPartition& name) { return {{"topic", name.topic}, {"partition", name.partition}}; }

// Every broker is asked for itself: whom it takes for the controller. broker → controller; those that do not answer are in `silent`.
std::map<int32_t, int32_t> controllers_named(client::Cluster& cluster, std::vector<std::string>& silent) {
  std::map<int32_t, int32_t> named;
  std::vector<int32_t> ids;
  for (const auto& [id, broker] : cluster.brokers()) ids.push_back(id.value);
  for (int32_t id : ids) {
    auto leader = quorum_leader(cluster, client::TheBroker{BrokerId{id}});
    if (leader) {
      named[id] = *leader;
      continue;
    }
    MetadataRequest request;
    request.topics.emplace();
    request.allow_auto_topic_creation = false;
    bool reached = leader.error().code != ErrorCode::kNetworkException && leader.error().code != ErrorCode::kRequestTimedOut;
    auto answer = reached ? cluster.ask<MetadataResponse>(client::TheBroker{BrokerId{id}}, request) : Result<client::Answer<MetadataResponse>>(fail(leader.error()));
    if (answer) {
      named[id] = answer->message.controller_id;
    } else {
      silent.push_back(fmt::format("broker {} does not answer ({})", id, answer.error().what));
    }
  }
  return named;
}

Check controller_check(const std::map<int32_t, int32_t>& named) {
  std::set<int32_t> controllers;
  std::vector<std::string> unaware, each;
  for (const auto& [broker, controller] : named) {
    if (controller < 0) {
      unaware.push_back(std::to_string(broker));
    } else {
      controllers.insert(controller);
    }
    each.push_back(fmt::format("broker {} says {}", broker, controller < 0 ? "none" : std::to_string(controller)));
  }
  if (controllers.empty()) return {"controller", false, "no controller"};
  if (controllers.size() > 1) return {"controller", false, fmt::format("{} controllers: {}", controllers.size(), shown(each))};
  if (!unaware.empty()) return {"controller", false, fmt::format("broker {} is the controller, but not for {}", *controllers.begin(), shown(unaware))};
  return {"controller", true, fmt::format("broker {} is the controller{}", *controllers.begin(), named.size() > 1 ? fmt::format(", all {} brokers agree", named.size()) : "")};
}

void check_partitions(client::Cluster& cluster, const MetadataResponse& metadata, std::vector<Check>& checks, Json& facts) {
  std::vector<std::string> offline, under, below;
  Json offline_list = Json::array(), under_list = Json::array(), below_list = Json::array();
  int64_t partitions = 0;
  std::set<int32_t> dead;
  std::map<std::string, std::vector<std::pair<int32_t, size_t>>> small;  // topic → partition and ISR where replicas are missing
  for (const auto& topic : metadata.topics) {
    for (const auto& partition : topic.partitions) {
      TopicPartition name{topic.name.value_or(""), partition.partition_index};
      ++partitions;
      std::vector<int32_t> missing;
      for (int32_t broker : partition.replica_nodes) {
        if (!cluster.brokers().contains(BrokerId{broker})) dead.insert(broker);
        if (std::count(partition.isr_nodes.begin(), partition.isr_nodes.end(), broker) == 0) missing.push_back(broker);
      }
      if (partition.leader_id < 0) {
        offline.push_back(name.to_string());
        offline_list.push_back(entry_of(name));
      }
      if (missing.empty()) continue;
      small[name.topic].emplace_back(name.partition, partition.isr_nodes.size());
      under.push_back(fmt::format("{} (not in sync: {})", name.to_string(), joined(missing)));
      Json entry = entry_of(name);
      entry["isr"] = partition.isr_nodes;
      entry["not_in_sync"] = missing;
      under_list.push_back(std::move(entry));
    }
  }
  for (const auto& [topic, members] : small) {
    auto configs = describe_configs(cluster, {{ResourceType::kTopic, topic}});
    if (!configs) continue;  // the other checks tell
    for (const auto& config : configs->at(0)) {
      if (config.name != "min.insync.replicas") continue;
      size_t least = static_cast<size_t>(std::max(0, std::atoi(config.value.value_or("1").c_str())));
      for (const auto& [partition, in_sync] : members) {
        if (in_sync >= least) continue;
        below.push_back(TopicPartition{topic, partition}.to_string());
        below_list.push_back(entry_of({topic, partition}));
      }
    }
  }
  std::vector<std::string> dead_names;
  for (int32_t id : dead) dead_names.push_back(std::to_string(id));
  if (!dead.empty()) checks.push_back({"brokers alive", false, fmt::format("not alive and holding replicas: {}", shown(dead_names))});
  checks.push_back({"partitions online", offline.empty(),
                    offline.empty() ? fmt::format("all {} partitions have a leader", partitions) : fmt::format("{} of {} partitions have no leader: {}", offline.size(), partitions, shown(offline))});
  checks.push_back({"replication", under.empty(),
                    under.empty() ? "every replica is in sync" : fmt::format("{} partitions lack an in-sync replica: {}", under.size(), shown(under))});
  if (!below.empty()) {
    checks.push_back({"min.insync.replicas", false, fmt::format("{} partitions have fewer in sync than min.insync.replicas and take no acks=all: {}", below.size(), shown(below))});
  }
  facts["partitions"] = partitions;
  facts["offline_partitions"] = offline.size();
  facts["under_replicated_partitions"] = under.size();
  facts["below_min_isr_partitions"] = below.size();
  facts["dead_brokers"] = dead;
  facts["offline"] = std::move(offline_list);
  facts["under_replicated"] = std::move(under_list);
  facts["below_min_isr"] = std::move(below_list);
}

void check_log_dirs(client::Cluster& cluster, std::vector<Check>& checks) {
  ClusterView view;
  std::set<int32_t> ids;
  for (const auto& [id, broker] : cluster.brokers()) ids.insert(id.value);
  read_log_dirs(cluster, ids, view);
  std::vector<std::string> bad;
  size_t dirs = 0;
  for (const auto& [id, broker] : view.brokers) {
    if (!broker.answers) bad.push_back(fmt::format("broker {} does not tell ({})", id, broker.why_not));
    for (const LogDirView& dir : broker.log_dirs) {
      ++dirs;
      if (dir.error != ErrorCode::kNone) bad.push_back(fmt::format("{} of broker {} ({})", dir.path, id, name_of(dir.error)));
    }
  }
  checks.push_back({"log dirs of all", bad.empty(), bad.empty() ? fmt::format("{} log dirs are online", dirs) : shown(bad)});
}

}  // namespace

void check_cluster(client::Cluster& cluster, std::vector<Check>& checks, Json& facts) {
  auto metadata = cluster.metadata(std::nullopt);
  if (!metadata) {
    checks.push_back({"cluster", false, fmt::format("no broker answers: {} ({})", metadata.error().what, name_of(metadata.error().code))});
    return;
  }
  facts = {{"cluster_id", cluster.cluster_id()}, {"brokers", cluster.brokers().size()}, {"controller", cluster.controller().value}, {"topics", metadata->topics.size()}};
  std::vector<std::string> silent;
  auto named = controllers_named(cluster, silent);
  checks.push_back({"cluster", silent.empty(), silent.empty() ? fmt::format("{} brokers answer for cluster {}", named.size(), cluster.cluster_id()) : shown(silent)});
  checks.push_back(controller_check(named));
  Json by_broker = Json::object();
  for (const auto& [broker, controller] : named) by_broker[std::to_string(broker)] = controller;
  facts["controller_by_broker"] = std::move(by_broker);
  check_partitions(cluster, *metadata, checks, facts);
  check_log_dirs(cluster, checks);
}

}  // namespace odradek::cli

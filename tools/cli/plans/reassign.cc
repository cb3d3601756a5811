#include "cli/plans/reassign.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/plans/progress.h"
#include "protocol/messages/alter_partition_reassignments.h"
#include "protocol/messages/alter_replica_log_dirs.h"
#include "protocol/messages/elect_leaders.h"

namespace odradek::cli {
namespace {

using client::Resend;
using client::TheBroker;
using client::TheController;
using protocol::AlterPartitionReassignmentsRequest;
using protocol::AlterPartitionReassignmentsResponse;
using protocol::AlterReplicaLogDirsRequest;
using protocol::AlterReplicaLogDirsResponse;
using protocol::ElectLeadersRequest;
using protocol::ElectLeadersResponse;

constexpr std::string_view kLeaderReplicas = "leader.replication.throttled.replicas", kFollowerReplicas = "follower.replication.throttled.replicas";
constexpr std::string_view kLeaderRate = "leader.replication.throttled.rate", kFollowerRate = "follower.replication.throttled.rate";
constexpr int64_t kLogDirPatienceNs = 10'000'000'000;

using Topics = std::vector<AlterPartitionReassignmentsRequest::ReassignableTopic>;

// `replicas` nullopt: what is under way is cancelled. In the order of the names.
void append(Topics& topics, const TopicPartition& name, std::optional<std::vector<int32_t>> replicas) {
  if (topics.empty() || topics.back().name != name.topic) topics.emplace_back().name = name.topic;
  topics.back().partitions.push_back({.partition_index = name.partition, .replicas = std::move(replicas)});
}

Result<std::vector<PartitionFault>> send(Session& session, client::Cluster& cluster, Topics topics) {
  AlterPartitionReassignmentsRequest request;
  request.timeout_ms = session.timeout_ms();
  request.topics = std::move(topics);
  auto answer = cluster.ask<AlterPartitionReassignmentsResponse>(TheController{}, request, [](const auto& response) { return code_of(response.error_code); });
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.error_code != 0) return fail(code_of(answer->message.error_code), answer->message.error_message.value_or(""));
  std::vector<PartitionFault> faults;
  for (const auto& topic : answer->message.responses) {
    for (const auto& partition : topic.partitions) {
      if (partition.error_code != 0) {
        TopicPartition name{topic.name, partition.partition_index};
        faults.push_back({name, {code_of(partition.error_code), name.to_string() + ": " + partition.error_message.value_or("")}});
      }
    }
  }
  return faults;
}

// broker → log dir → partitions
using WantedDirs = std::map<int32_t, std::map<std::string, std::vector<TopicPartition>>>;

// Tells the brokers; what they do not hold yet (kReplicaNotAvailable) is remembered there for the moment when it comes, and stays in `wanted`.
Result<void> tell_log_dirs(client::Cluster& cluster, WantedDirs& wanted) {
  WantedDirs later;
  for (const auto& [broker, dirs] : wanted) {
    AlterReplicaLogDirsRequest request;
    std::map<TopicPartition, std::string> dir_of;
    for (const auto& [path, partitions] : dirs) {
      auto& dir = request.dirs.emplace_back();
      dir.path = path;
      for (const TopicPartition& name : partitions) {
        if (dir.topics.empty() || dir.topics.back().name != name.topic) dir.topics.emplace_back().name = name.topic;
        dir.topics.back().partitions.push_back(name.partition);
        dir_of[name] = path;
      }
    }
    auto answer = cluster.ask<AlterReplicaLogDirsResponse>(TheBroker{BrokerId{broker}}, request);
    if (!answer) return fail(std::move(answer.error()));
    for (const auto& topic : answer->message.results) {
      for (const auto& partition : topic.partitions) {
        TopicPartition name{topic.topic_name, partition.partition_index};
        if (code_of(partition.error_code) == ErrorCode::kReplicaNotAvailable) {
          later[broker][dir_of[name]].push_back(name);
        } else if (partition.error_code != 0) {
          return fail(code_of(partition.error_code), fmt::format("{} into {} of broker {}", name.to_string(), dir_of[name], broker));
        }
      }
    }
  }
  wanted = std::move(later);
  return {};
}

// Configs of a resource that are its own (not from a file or a default): name → value.
Result<std::map<std::string, std::string>> own_configs(client::Cluster& cluster, const Resource& resource, int8_t source) {
  auto described = describe_configs(cluster, {resource});
  if (!described) return fail(std::move(described.error()));
  std::map<std::string, std::string> own;
  for (const auto& config : described->at(0)) {
    if (config.config_source == source) own[config.name] = config.value.value_or("");
  }
  return own;
}

constexpr int8_t kDynamicBrokerSource = 2;

std::string assignment(std::string_view key, const std::string& value) { return std::string(key) + "=" + value; }

}  // namespace

Result<std::vector<PartitionFault>> start_reassignment(Session& session, client::Cluster& cluster, const std::vector<PlanEntry>& plan) {
  WantedDirs dirs;
  for (const PlanEntry& entry : plan) {
    for (size_t i = 0; i < entry.log_dirs.size(); ++i) {
      if (entry.log_dirs[i] != kAnyLogDir) dirs[entry.replicas[i]][entry.log_dirs[i]].push_back(entry.partition);
    }
  }
  // Before the replicas are made, so that they are made there; and again for those that existed.
  if (auto told = tell_log_dirs(cluster, dirs); !told) return fail(std::move(told.error()));
  Topics topics;
  for (const PlanEntry& entry : plan) append(topics, entry.partition, entry.replicas);
  auto faults = send(session, cluster, std::move(topics));
  if (!faults) return faults;
  int64_t deadline = session.clock().monotonic_ns() + kLogDirPatienceNs;
  while (!dirs.empty()) {
    if (auto told = tell_log_dirs(cluster, dirs); !told) return fail(std::move(told.error()));
    int64_t now = session.clock().monotonic_ns();
    if (dirs.empty() || now > deadline) break;
    session.dialer().pause_until(now + 100'000'000);
  }
  for (const auto& [broker, of_broker] : dirs) {
    for (const auto& [path, partitions] : of_broker) {
      for (const TopicPartition& name : partitions) {
        faults->push_back({name, {ErrorCode::kReplicaNotAvailable, fmt::format("{}: broker {} did not get the replica in time to put it into {}", name.to_string(), broker, path)}});
      }
    }
  }
  return faults;
}

Result<std::vector<PartitionFault>> cancel_reassignment(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& partitions) {
  Topics topics;
  for (const TopicPartition& name : partitions) append(topics, name, std::nullopt);
  return send(session, cluster, std::move(topics));
}

Result<void> set_throttle(client::Cluster& cluster, const std::map<TopicPartition, OngoingReassignment>& moving, int64_t bytes_per_second) {
  std::map<std::string, std::pair<std::string, std::string>> of_topic;  // leaders' and followers' replicas
  std::set<int32_t> brokers;
  auto append = [&](std::string& list, const TopicPartition& name, int32_t broker) {
    list += fmt::format("{}{}:{}", list.empty() ? "" : ",", name.partition, broker);
    brokers.insert(broker);
  };
  for (const auto& [name, each] : moving) {
    auto& [leaders, followers] = of_topic[name.topic];
    for (int32_t broker : each.replicas) append(std::count(each.adding.begin(), each.adding.end(), broker) != 0 ? followers : leaders, name, broker);
  }
  // The rates first: without one, a throttled replica would not be limited.
  for (int32_t broker : brokers) {
    if (!cluster.brokers().contains(BrokerId{broker})) continue;  // not alive: it copies nothing
    std::string rate = std::to_string(bytes_per_second);
    auto done = alter_configs(cluster, {ResourceType::kBroker, std::to_string(broker)}, {assignment(kLeaderRate, rate), assignment(kFollowerRate, rate)}, {});
    if (!done) return done;
  }
  for (const auto& [topic, lists] : of_topic) {
    Resource resource{ResourceType::kTopic, topic};
    auto own = own_configs(cluster, resource, kTopicSource);
    if (!own) return fail(std::move(own.error()));
    std::vector<std::string> set;
    if ((*own)[std::string(kLeaderReplicas)] != "*" && !lists.first.empty()) set.push_back(assignment(kLeaderReplicas, lists.first));
    if ((*own)[std::string(kFollowerReplicas)] != "*" && !lists.second.empty()) set.push_back(assignment(kFollowerReplicas, lists.second));
    if (set.empty()) continue;
    if (auto done = alter_configs(cluster, resource, set, {}); !done) return done;
  }
  return {};
}

Result<int> clear_throttle(client::Cluster& cluster, const std::set<std::string>& topics, const std::set<int32_t>& brokers, std::vector<int32_t>& unreached) {
  int cleared = 0;
  auto clear = [&](const Resource& resource, int8_t source, std::initializer_list<std::string_view> keys) -> Result<void> {
    auto own = own_configs(cluster, resource, source);
    if (!own) return fail(std::move(own.error()));
    std::vector<std::string> remove;
    for (std::string_view key : keys) {
      if (auto found = own->find(std::string(key)); found != own->end() && found->second != "*" && !found->second.empty()) remove.emplace_back(key);
    }
    if (remove.empty()) return {};
    ++cleared;
    return alter_configs(cluster, resource, {}, remove);
  };
  for (const std::string& topic : topics) {
    auto done = clear({ResourceType::kTopic, topic}, kTopicSource, {kLeaderReplicas, kFollowerReplicas});
    if (!done && done.error().code != ErrorCode::kUnknownTopicOrPartition) return fail(std::move(done.error()));  // deleted meanwhile
  }
  for (int32_t broker : brokers) {
    auto done = clear({ResourceType::kBroker, std::to_string(broker)}, kDynamicBrokerSource, {kLeaderRate, kFollowerRate});
    if (!done) unreached.push_back(broker);
  }
  return cleared;
}

Result<WatchResult> watch_reassignment(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& scope, std::optional<int64_t> limit_s) {
  constexpr int64_t kPauseNs = 1'000'000'000;
  const int64_t begin = session.clock().monotonic_ns();
  Progress progress(session.json || limit_s == 0, begin);
  struct Copy {
    int64_t total = 0, done = 0;
  };
  std::map<std::pair<int32_t, TopicPartition>, Copy> copies;
  std::set<TopicPartition> seen;
  std::set<int32_t> noted;
  WatchResult result;
  int64_t first_copied = 0;
  for (bool first = true;; first = false) {
    auto view = read_cluster(cluster, LogDirs::kNo);
    if (!view) return fail(std::move(view.error()));
    auto& ongoing = view->ongoing;
    if (!scope.empty()) std::erase_if(ongoing, [&](const auto& each) { return !scope.contains(each.first); });
    std::set<int32_t> asked;
    result.dead.clear();
    for (const auto& [name, each] : ongoing) {
      seen.insert(name);
      for (int32_t broker : each.adding) {
        if (view->brokers.contains(broker)) {
          asked.insert(broker);
        } else {
          result.dead.insert(broker);
        }
      }
      if (auto leader = view->partitions[name].leader; leader >= 0 && view->brokers.contains(leader)) asked.insert(leader);
    }
    if (!asked.empty()) read_log_dirs(cluster, asked, *view);
    for (auto& [place, copy] : copies) copy.done = copy.total;  // what is not under way any more is done
    for (const auto& [name, each] : ongoing) {
      int64_t size = view->size_of(name);
      for (int32_t broker : each.adding) {
        Copy& copy = copies[{broker, name}];
        auto there = view->sizes.find({broker, name});
        copy.total = std::max(size, copy.total);
        copy.done = there == view->sizes.end() ? 0 : std::min(there->second, copy.total);
      }
    }
    result.total_bytes = result.copied_bytes = 0;
    for (const auto& [place, copy] : copies) {
      result.total_bytes += copy.total;
      result.copied_bytes += copy.done;
    }
    if (first) first_copied = result.copied_bytes;
    result.partitions = seen.size();
    result.done = ongoing.empty();
    result.left = std::move(ongoing);
    int64_t now = session.clock().monotonic_ns();
    result.seconds = static_cast<double>(now - begin) / 1e9;
    for (int32_t broker : result.dead) {
      if (noted.insert(broker).second) progress.note(fmt::format("broker {} is not alive: replicas wait for it", broker));
    }
    double rate = result.seconds > 0 ? static_cast<double>(result.copied_bytes - first_copied) / result.seconds : 0;
    double share = result.done ? 1 : result.total_bytes == 0 ? 0 : static_cast<double>(result.copied_bytes) / static_cast<double>(result.total_bytes);
    std::string words = fmt::format("{} of {}, {}/s, {} of {} partitions left", shown_bytes(result.copied_bytes), shown_bytes(result.total_bytes),
                                    shown_bytes(static_cast<int64_t>(rate)), result.left.size(), result.partitions);
    if (rate > 0 && !result.done) words += ", about " + shown_seconds(static_cast<double>(result.total_bytes - result.copied_bytes) / rate);
    progress.show(share, words, now);
    if (result.done || (limit_s && now - begin >= *limit_s * 1'000'000'000)) return result;
    session.dialer().pause_until(now + kPauseNs);
  }
}

Result<int> elect_preferred(Session& session, client::Cluster& cluster, const std::set<TopicPartition>& partitions) {
  ElectLeadersRequest request;
  request.timeout_ms = session.timeout_ms();
  request.topic_partitions.emplace();
  for (const TopicPartition& name : partitions) {
    auto& topics = *request.topic_partitions;
    if (topics.empty() || topics.back().topic != name.topic) topics.emplace_back().topic = name.topic;
    topics.back().partitions.push_back(name.partition);
  }
  auto answer = cluster.ask<ElectLeadersResponse>(TheController{}, request, [](const auto& response) { return code_of(response.error_code); });
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.error_code != 0) return fail(code_of(answer->message.error_code), "leader election");
  int changed = 0;
  for (const auto& topic : answer->message.replica_election_results) {
    for (const auto& partition : topic.partition_result) changed += partition.error_code == 0;
  }
  return changed;
}

}  // namespace odradek::cli

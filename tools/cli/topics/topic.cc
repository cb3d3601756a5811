#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>

#include "cli/common/admin.h"
#include "cli/common/subcommand.h"
#include "cli/plans/commands.h"
#include "cli/topics/commands.h"
#include "client/offsets.h"
#include "protocol/messages/create_partitions.h"
#include "protocol/messages/create_topics.h"
#include "protocol/messages/delete_topics.h"

namespace odradek::cli {
namespace {

using client::Resend;
using client::TheController;
using protocol::CreatePartitionsRequest;
using protocol::CreatePartitionsResponse;
using protocol::CreateTopicsRequest;
using protocol::CreateTopicsResponse;
using protocol::DeleteTopicsRequest;
using protocol::DeleteTopicsResponse;
using protocol::MetadataResponse;

struct Command {
  explicit Command(const char* name) : session(name) {}
  Session session;
  std::vector<std::string> names;
  std::vector<std::string> configs, deleted_configs;
  int partitions = -1;
  int replication_factor = -1;
  bool if_missing = false;
  bool no_internal = false;
};

int create(Command& command) {
  CreateTopicsRequest request;
  request.timeout_ms = command.session.timeout_ms();
  auto& topic = request.topics.emplace_back();
  topic.name = command.names.at(0);
  topic.num_partitions = command.partitions;
  topic.replication_factor = static_cast<int16_t>(command.replication_factor);
  for (const std::string& each : command.configs) {
    auto config = parse_assignment(each);
    if (!config) return command.session.wrong("--config " + each + " is not key=value");
    topic.configs.push_back({.name = config->first, .value = config->second});
  }
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  auto code = [](const CreateTopicsResponse& response) { return response.topics.empty() ? ErrorCode::kNone : code_of(response.topics[0].error_code); };
  auto answer = (*cluster)->ask<CreateTopicsResponse>(TheController{}, request, code);
  if (!answer) return command.session.refused(answer.error());
  if (answer->message.topics.empty()) return command.session.refused({ErrorCode::kUnknownServerError, "the broker's answer names no topic"});
  const auto& made = answer->message.topics[0];
  bool existed = code(answer->message) == ErrorCode::kTopicAlreadyExists && command.if_missing;
  if (made.error_code != 0 && !existed) return command.session.refused(made.error_code, made.error_message, topic.name);
  if (command.session.json) {
    Json json{{"topic", topic.name}, {"created", !existed}};
    if (!existed) {
      json["topic_id"] = made.topic_id.to_string();
      json["partitions"] = made.num_partitions;
      json["replication_factor"] = made.replication_factor;
    }
    print_json(json);
  } else if (existed) {
    fmt::print("topic {} was there already\n", topic.name);
  } else {
    fmt::print("created topic {}{}\n", topic.name, made.num_partitions < 0 ? "" : fmt::format(": {} partitions, {} replicas each", made.num_partitions, made.replication_factor));
  }
  return kDone;
}

void sort_topics(MetadataResponse& metadata) {
  std::sort(metadata.topics.begin(), metadata.topics.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (auto& topic : metadata.topics) {
    std::sort(topic.partitions.begin(), topic.partitions.end(), [](const auto& a, const auto& b) { return a.partition_index < b.partition_index; });
  }
}

size_t replicas_of(const MetadataResponse::MetadataResponseTopic& topic) { return topic.partitions.empty() ? 0 : topic.partitions[0].replica_nodes.size(); }

int list(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  auto metadata = (*cluster)->metadata(std::nullopt);
  if (!metadata) return command.session.refused(metadata.error());
  sort_topics(*metadata);
  Json json = Json::array();
  std::vector<std::vector<std::string>> rows{{"TOPIC", "PARTITIONS", "REPLICAS", ""}};
  for (const auto& topic : metadata->topics) {
    if (topic.is_internal && command.no_internal) continue;
    std::string name = topic.name.value_or("");
    rows.push_back({name, std::to_string(topic.partitions.size()), std::to_string(replicas_of(topic)), topic.is_internal ? "internal" : ""});
    json.push_back({{"topic", name}, {"partitions", topic.partitions.size()}, {"replication_factor", replicas_of(topic)}, {"internal", topic.is_internal}});
  }
  if (command.session.json) {
    print_json(json);
  } else {
    print_table(rows);
  }
  return kDone;
}

int describe(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  std::optional<std::vector<std::string>> names;
  if (!command.names.empty()) names = command.names;
  auto metadata = (*cluster)->metadata(names);
  if (!metadata) return command.session.refused(metadata.error());
  sort_topics(*metadata);
  int exit_code = kDone;
  std::vector<Resource> resources;
  std::map<TopicPartition, int64_t> earliest, latest;
  std::vector<const MetadataResponse::MetadataResponseTopic*> topics;
  for (const auto& topic : metadata->topics) {
    if (topic.error_code != 0) {
      exit_code = command.session.refused(topic.error_code, "topic " + topic.name.value_or(""), "");
      continue;
    }
    topics.push_back(&topic);
    resources.push_back({ResourceType::kTopic, *topic.name});
    for (const auto& partition : topic.partitions) {
      if (partition.leader_id < 0) continue;
      earliest[{*topic.name, partition.partition_index}] = client::kEarliestTimestamp;
      latest[{*topic.name, partition.partition_index}] = client::kLatestTimestamp;
    }
  }
  auto configs = describe_configs(**cluster, resources);
  if (!configs) return command.session.refused(configs.error());
  auto starts = client::list_offsets(**cluster, earliest);
  auto ends = starts ? client::list_offsets(**cluster, latest) : starts;
  if (!ends) return command.session.refused(ends.error());
  Json json = Json::array();
  for (size_t i = 0; i < topics.size(); ++i) {
    const auto& topic = *topics[i];
    Json overrides = Json::object();
    std::string shown;
    for (const auto& config : configs->at(i)) {
      if (config.config_source != kTopicSource) continue;
      overrides[config.name] = config.value.value_or("");
      shown += fmt::format(" {}={}", config.name, config.value.value_or(""));
    }
    Json partitions = Json::array();
    std::vector<std::vector<std::string>> rows{{"  PARTITION", "LEADER", "REPLICAS", "ISR", "OFFLINE", "START", "END"}};
    for (const auto& partition : topic.partitions) {
      TopicPartition name{*topic.name, partition.partition_index};
      auto offset = [&](const auto& offsets) {
        auto found = offsets.find(name);
        return found == offsets.end() || found->second.error != ErrorCode::kNone ? int64_t{-1} : found->second.offset.value;
      };
      int64_t start = offset(*starts), end = offset(*ends);
      rows.push_back({"  " + std::to_string(partition.partition_index), partition.leader_id < 0 ? "none" : std::to_string(partition.leader_id),
                      joined(partition.replica_nodes), joined(partition.isr_nodes), joined(partition.offline_replicas), start < 0 ? "?" : std::to_string(start),
                      end < 0 ? "?" : std::to_string(end)});
      partitions.push_back({{"partition", partition.partition_index}, {"leader", partition.leader_id}, {"leader_epoch", partition.leader_epoch},
                            {"replicas", partition.replica_nodes}, {"isr", partition.isr_nodes}, {"offline_replicas", partition.offline_replicas},
                            {"start_offset", start}, {"end_offset", end}});
    }
    if (command.session.json) {
      json.push_back({{"topic", *topic.name}, {"topic_id", topic.topic_id.to_string()}, {"internal", topic.is_internal},
                      {"replication_factor", replicas_of(topic)}, {"configs", std::move(overrides)}, {"partitions", std::move(partitions)}});
    } else {
      fmt::print("{}  id {}  {} partitions  {} replicas{}\n", *topic.name, topic.topic_id.to_string(), topic.partitions.size(), replicas_of(topic),
                 shown.empty() ? "" : "  configs:" + printable(shown));
      print_table(rows);
    }
  }
  if (command.session.json) print_json(json);
  return exit_code;
}

int remove(Command& command) {
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  DeleteTopicsRequest request;
  request.timeout_ms = command.session.timeout_ms();
  request.topic_names = command.names;  // up to v5
  for (const std::string& name : command.names) request.topics.emplace_back().name = name;
  auto code = [](const DeleteTopicsResponse& response) {
    for (const auto& each : response.responses) {
      if (code_of(each.error_code) == ErrorCode::kNotController) return ErrorCode::kNotController;
    }
    return ErrorCode::kNone;
  };
  auto answer = (*cluster)->ask<DeleteTopicsResponse>(TheController{}, request, code, Resend::kNo);
  if (!answer) return command.session.refused(answer.error());
  int exit_code = kDone;
  Json json = Json::array();
  for (const auto& each : answer->message.responses) {
    std::string name = each.name.value_or("");
    json.push_back({{"topic", name}, {"deleted", each.error_code == 0}});
    if (each.error_code != 0) {
      json.back()["error"] = name_of(code_of(each.error_code));
      exit_code = command.session.refused(each.error_code, each.error_message, "topic " + name);
    } else if (!command.session.json) {
      fmt::print("deleted topic {}\n", name);
    }
  }
  if (command.session.json) print_json(json);
  return exit_code;
}

int alter(Command& command) {
  if (command.partitions < 0 && command.configs.empty() && command.deleted_configs.empty()) {
    return command.session.wrong("nothing to change: give --partitions, --config or --delete-config");
  }
  for (const std::string& each : command.configs) {
    if (!parse_assignment(each)) return command.session.wrong("--config " + each + " is not key=value");
  }
  const std::string& name = command.names.at(0);
  auto cluster = command.session.open();
  if (!cluster) return command.session.refused(cluster.error());
  if (command.partitions >= 0) {
    CreatePartitionsRequest request;
    request.timeout_ms = command.session.timeout_ms();
    auto& topic = request.topics.emplace_back();
    topic.name = name;
    topic.count = command.partitions;
    topic.assignments.reset();
    auto code = [](const CreatePartitionsResponse& response) { return response.results.empty() ? ErrorCode::kNone : code_of(response.results[0].error_code); };
    auto answer = (*cluster)->ask<CreatePartitionsResponse>(TheController{}, request, code, Resend::kNo);
    if (!answer) return command.session.refused(answer.error());
    for (const auto& each : answer->message.results) {
      if (each.error_code != 0) return command.session.refused(each.error_code, each.error_message, "topic " + name);
    }
  }
  if (!command.configs.empty() || !command.deleted_configs.empty()) {
    auto done = alter_configs(**cluster, {ResourceType::kTopic, name}, command.configs, command.deleted_configs);
    if (!done) return command.session.refused(done.error());
  }
  if (command.session.json) {
    Json json{{"topic", name}, {"set", command.configs}, {"deleted", command.deleted_configs}};
    if (command.partitions >= 0) json["partitions"] = command.partitions;
    print_json(json);
  } else {
    fmt::print("changed topic {}\n", name);
  }
  return kDone;
}

}  // namespace

void add_topic(CLI::App& app, int& exit_code) {
  CLI::App* family = app.add_subcommand("topic", "Create, list, describe, change, delete and move topics");
  family->require_subcommand(1);
  auto add = [&](const char* name, const char* full_name, const char* help, const char* footer, int (*run)(Command&)) {
    return add_subcommand(*family, exit_code, name, full_name, help, footer, run);
  };
  {
    auto [sub, command] = add("create", "topic create", "Make a topic", "Example:\n  odradek topic create orders --partitions 6 --config retention.ms=86400000", create);
    sub->add_option("NAME", command->names, "Topic")->required()->expected(1);
    sub->add_option("-p,--partitions", command->partitions, "Partitions (default: num.partitions of the broker)")->check(CLI::Range(1, 1000000));
    sub->add_option("-r,--replication-factor", command->replication_factor, "Replicas (default: default.replication.factor of the broker)")->check(CLI::Range(1, 32767));
    sub->add_option("-c,--config", command->configs, "key=value; may be given several times")->allow_extra_args(false);
    sub->add_flag("--if-not-exists", command->if_missing, "A topic that is there already is no error");
  }
  {
    auto [sub, command] = add("list", "topic list", "All topics", "Example:\n  odradek topic list --json", list);
    sub->add_flag("--no-internal", command->no_internal, "Without __consumer_offsets and its like");
  }
  {
    auto [sub, command] = add("describe", "topic describe", "Partitions, leaders, replicas, offsets and configs of topics (default: all)",
                              "Example:\n  odradek topic describe orders", describe);
    sub->add_option("NAME", command->names, "Topics");
  }
  {
    auto [sub, command] = add("delete", "topic delete", "Delete topics with their records", "Example:\n  odradek topic delete orders old-orders", remove);
    sub->add_option("NAME", command->names, "Topics")->required();
  }
  {
    auto [sub, command] = add("alter", "topic alter", "Add partitions, change configs",
                              "Examples:\n  odradek topic alter orders --partitions 12\n"
                              "  odradek topic alter orders --config retention.ms=3600000 --delete-config max.message.bytes",
                              alter);
    sub->add_option("NAME", command->names, "Topic")->required()->expected(1);
    sub->add_option("-p,--partitions", command->partitions, "New number of partitions, above the old one")->check(CLI::Range(1, 1000000));
    sub->add_option("-c,--config", command->configs, "key=value; may be given several times")->allow_extra_args(false);
    sub->add_option("--delete-config", command->deleted_configs, "Key that goes back to its default; may be given several times")->allow_extra_args(false);
  }
  add_topic_reassign(*family, exit_code);
}

}  // namespace odradek::cli

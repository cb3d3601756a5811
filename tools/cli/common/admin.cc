#include "cli/common/admin.h"

#include <fmt/format.h>

#include <cstdlib>

#include "protocol/messages/describe_quorum.h"
#include "protocol/messages/incremental_alter_configs.h"

namespace odradek::cli {
namespace {

using protocol::DescribeConfigsRequest;
using protocol::DescribeConfigsResponse;
using protocol::IncrementalAlterConfigsRequest;
using protocol::IncrementalAlterConfigsResponse;

// A broker's own configs are asked of that broker, everything else of any.
client::Target target_of(const Resource& resource) {
  if (resource.type == ResourceType::kBroker && !resource.name.empty()) return client::TheBroker{{std::atoi(resource.name.c_str())}};
  return client::AnyBroker{};
}

}  // namespace

std::string name_in_words(const Resource& resource) {
  if (resource.type == ResourceType::kTopic) return "topic " + resource.name;
  return resource.name.empty() ? "the brokers' default" : "broker " + resource.name;
}

void print_json(const Json& json) { fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace)); }

std::string_view config_source(int8_t source) {
  constexpr std::string_view kNames[] = {"UNKNOWN", "DYNAMIC_TOPIC_CONFIG", "DYNAMIC_BROKER_CONFIG", "DYNAMIC_DEFAULT_BROKER_CONFIG",
                                         "STATIC_BROKER_CONFIG", "DEFAULT_CONFIG", "DYNAMIC_BROKER_LOGGER_CONFIG"};
  return source > 0 && static_cast<size_t>(source) < std::size(kNames) ? kNames[source] : kNames[0];
}

Result<int32_t> quorum_leader(client::Cluster& cluster, const client::Target& target) {
  protocol::DescribeQuorumRequest request;
  auto& asked = request.topics.emplace_back();
  asked.topic_name = "__cluster_metadata";
  asked.partitions.emplace_back().partition_index = 0;
  auto answer = cluster.ask<protocol::DescribeQuorumResponse>(target, request);
  if (!answer) return fail(std::move(answer.error()));
  if (answer->message.error_code != 0) return fail(code_of(answer->message.error_code), "the metadata quorum");
  for (const auto& topic : answer->message.topics) {
    for (const auto& partition : topic.partitions) {
      if (partition.error_code != 0) return fail(code_of(partition.error_code), "the metadata quorum");
      return partition.leader_id;
    }
  }
  return fail(ErrorCode::kUnknownServerError, "the answer does not name the metadata quorum");
}

Result<std::vector<DescribedConfigs>> describe_configs(client::Cluster& cluster, const std::vector<Resource>& resources) {
  DescribeConfigsRequest request;
  request.include_synonyms = true;
  for (const Resource& resource : resources) {
    auto& asked = request.resources.emplace_back();
    asked.resource_type = static_cast<int8_t>(resource.type);
    asked.resource_name = resource.name;
    asked.configuration_keys.reset();
  }
  if (resources.empty()) return std::vector<DescribedConfigs>{};
  auto answer = cluster.ask<DescribeConfigsResponse>(target_of(resources[0]), request);
  if (!answer) return fail(std::move(answer.error()));
  std::vector<DescribedConfigs> result(resources.size());
  for (auto& described : answer->message.results) {
    for (size_t i = 0; i < resources.size(); ++i) {
      if (described.resource_name != resources[i].name) continue;
      if (described.error_code != 0) return fail(code_of(described.error_code), name_in_words(resources[i]) + ": " + described.error_message.value_or(""));
      result[i] = std::move(described.configs);
    }
  }
  return result;
}

Result<void> alter_configs(client::Cluster& cluster, const Resource& resource, const std::vector<std::string>& set, const std::vector<std::string>& remove) {
  constexpr int8_t kSet = 0, kDelete = 1;
  IncrementalAlterConfigsRequest request;
  auto& changed = request.resources.emplace_back();
  changed.resource_type = static_cast<int8_t>(resource.type);
  changed.resource_name = resource.name;
  for (const std::string& each : set) {
    auto [key, value] = *parse_assignment(each);
    changed.configs.push_back({.name = key, .config_operation = kSet, .value = value});
  }
  for (const std::string& key : remove) changed.configs.push_back({.name = key, .config_operation = kDelete, .value = std::nullopt});
  auto answer = cluster.ask<IncrementalAlterConfigsResponse>(target_of(resource), request, [](const IncrementalAlterConfigsResponse& response) {
    return response.responses.empty() ? ErrorCode::kNone : code_of(response.responses[0].error_code);
  });
  if (!answer) return fail(std::move(answer.error()));
  for (const auto& each : answer->message.responses) {
    if (each.error_code != 0) return fail(code_of(each.error_code), name_in_words(resource) + ": " + each.error_message.value_or(""));
  }
  return {};
}

}  // namespace odradek::cli

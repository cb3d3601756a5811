// Steps that several commands share: configs of a resource.
#pragma once

#include <nlohmann/json.hpp>

#include "cli/common/session.h"
#include "protocol/messages/describe_configs.h"

namespace odradek::cli {

using Json = nlohmann::ordered_json;

// Kafka's numbers of ConfigResource.Type.
enum class ResourceType : int8_t { kTopic = 2, kBroker = 4 };

struct Resource {
  ResourceType type;
  std::string name;  // topic, broker id, or empty: the default of all brokers
};
// "topic orders", "broker 3", "the brokers' default".
std::string name_in_words(const Resource& resource);

// To standard output, strings that are no UTF-8 with replacement characters.
void print_json(const Json& json);

// Kafka's names: "DYNAMIC_TOPIC_CONFIG", ...
std::string_view config_source(int8_t source);
inline constexpr int8_t kTopicSource = 1;
inline constexpr int8_t kDefaultSource = 5;

// Who leads the metadata quorum of a KRaft cluster by the word of `target`: in Metadata its brokers name any broker as controller. Error
// kUnsupportedVersion: it is no such cluster.
Result<int32_t> quorum_leader(client::Cluster& cluster, const client::Target& target);

using DescribedConfigs = std::vector<protocol::DescribeConfigsResponse::DescribeConfigsResourceResult>;

// One answer for each resource, in their order.
Result<std::vector<DescribedConfigs>> describe_configs(client::Cluster& cluster, const std::vector<Resource>& resources);
// Sets and deletes by IncrementalAlterConfigs. `set` holds "k=v" (checked by the caller).
Result<void> alter_configs(client::Cluster& cluster, const Resource& resource, const std::vector<std::string>& set, const std::vector<std::string>& remove);

}  // namespace odradek::cli

#include "adopt/tree.h"

#include <fmt/format.h>

#include <cmath>
#include <tuple>

#include "base/text.h"
#include "config/topic_config.h"
#include "metadata/cluster_config.h"
#include "metadata/store/store.h"
#include "metadata/tree/paths.h"
#include "metadata/tree/znode_json.h"

namespace odradek::adopt {

namespace {

using Properties = std::map<std::string, std::string, std::less<>>;
namespace paths = metadata::paths;

constexpr std::string_view kResources[] = {"", "", "Topic", "Group", "Cluster", "TransactionalId", "DelegationToken", "User"};
constexpr std::string_view kOperations[] = {"", "", "All", "Read", "Write", "Create", "Delete", "Alter", "Describe", "ClusterAction",
                                            "DescribeConfigs", "AlterConfigs", "IdempotentWrite", "CreateTokens", "DescribeTokens"};
constexpr std::string_view kPermissions[] = {"", "", "Deny", "Allow"};
constexpr std::string_view kMechanisms[] = {"", "SCRAM-SHA-256", "SCRAM-SHA-512"};
constexpr int8_t kLiteral = 3, kPrefixed = 4;

template <size_t N>
std::string_view named(const std::string_view (&names)[N], int8_t code) {
  return code >= 0 && static_cast<size_t>(code) < N ? names[code] : std::string_view();
}

std::string base64_of(const Bytes& bytes) { return base::to_base64(as_text(bytes)); }

// As Kafka writes it: rates of bytes and connections are whole numbers, the others decimal fractions.
std::string quota_value(const std::string& key, double value) {
  if (key == "request_percentage" || key == "controller_mutation_rate") {
    std::string text = fmt::format("{}", value);
    return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
  }
  return fmt::format("{:.0f}", std::floor(value));
}

// Configs of one topic without what this release does not know.
Properties topic_properties(const std::string& topic, const Properties& given, const config::BrokerConfig& broker, std::vector<std::string>& left_out) {
  Properties kept;
  for (const auto& [key, value] : given) {
    if (config::find_topic_key(key) == nullptr) {
      left_out.push_back(fmt::format("config {}={} of topic {}: no key of a release up to 3.9", key, value, topic));
      continue;
    }
    config::Properties one;
    one[key] = value;
    if (auto legal = config::validate_topic_config(broker, one); !legal) {
      left_out.push_back(fmt::format("config {}={} of topic {}: {}", key, value, topic, legal.error().what));
      continue;
    }
    kept[key] = value;
  }
  return kept;
}

Properties broker_properties(const std::string& of_whom, const Properties& given, std::vector<std::string>& left_out) {
  Properties kept;
  for (const auto& [key, value] : given) {
    const config::ConfigKey* row = config::find_any_broker_key(key);
    if (row == nullptr) {
      left_out.push_back(fmt::format("config {} of {}: no key of a release up to 3.9", key, of_whom));
    } else if (row->type == config::Type::kPassword) {
      left_out.push_back(fmt::format("config {} of {}: a password stands encrypted in this tree; set it again", key, of_whom));
    } else {
      kept[key] = value;
    }
  }
  return kept;
}

}  // namespace

void put_configs(const MetadataImage& image, const config::BrokerConfig& broker, metadata::TreeContent& tree, std::vector<std::string>& left_out) {
  for (const auto& [topic_id, topic] : image.topics) {
    auto given = image.configs.find({kTopicResource, topic.name});
    Properties kept;
    if (given != image.configs.end()) kept = topic_properties(topic.name, given->second, broker, left_out);
    put_node(tree, paths::topic_config(topic.name), metadata::encode_config(kept));
  }
  for (const auto& [resource, given] : image.configs) {
    const auto& [type, name] = resource;
    if (type == kTopicResource) {
      if (image.find_topic(name) == nullptr) left_out.push_back(fmt::format("configs of the topic {}, which is not there", name));
    } else if (type == kBrokerResource) {
      std::string element = name.empty() ? std::string(metadata::kDefaultEntity) : name;
      std::string of_whom = name.empty() ? "all brokers" : "broker " + name;
      put_node(tree, "/config/brokers/" + element, metadata::encode_config(broker_properties(of_whom, given, left_out)));
    } else {
      for (const auto& [key, value] : given) {
        left_out.push_back(fmt::format("config {}={} of resource type {}, '{}': the tree has no place for it", key, value, type, name));
      }
    }
  }
}

void put_users_and_quotas(const MetadataImage& image, metadata::TreeContent& tree, std::vector<std::string>& left_out) {
  std::map<std::string, Properties> nodes;
  for (const auto& [key, credential] : image.scram) {
    std::string_view mechanism = named(kMechanisms, credential.mechanism);
    if (mechanism.empty()) {
      left_out.push_back(fmt::format("a credential of user {}: mechanism {} is not known", credential.name, credential.mechanism));
      continue;
    }
    nodes["/config/users/" + metadata::sanitise(credential.name)][std::string(mechanism)] =
        fmt::format("salt={},stored_key={},server_key={},iterations={}", base64_of(credential.salt), base64_of(credential.stored_key),
                    base64_of(credential.server_key), credential.iterations);
  }
  for (const auto& [entity, quotas] : image.quotas) {
    std::optional<std::string> user, client, ip;
    bool known = true;
    for (const auto& [type, name] : entity) {
      std::string element = name ? (type == "ip" ? *name : metadata::sanitise(*name)) : std::string(metadata::kDefaultEntity);
      (type == "user" ? user : type == "client-id" ? client : ip) = element;
      known &= type == "user" || type == "client-id" || type == "ip";
    }
    std::string path = user && client ? fmt::format("/config/users/{}/clients/{}", *user, *client)
                       : user         ? "/config/users/" + *user
                       : client       ? "/config/clients/" + *client
                       : ip           ? "/config/ips/" + *ip
                                      : "";
    if (!known || path.empty() || (ip && (user || client))) {
      left_out.push_back("a quota of an entity that this release does not know");
      continue;
    }
    for (const auto& [key, value] : quotas) nodes[path][key] = quota_value(key, value);
  }
  for (const auto& [path, properties] : nodes) put_node(tree, path, metadata::encode_config(properties));
}

void put_acls(const MetadataImage& image, metadata::TreeContent& tree, std::vector<std::string>& left_out) {
  std::map<std::string, std::vector<metadata::AclEntry>> nodes;
  for (const auto& [id, acl] : image.acls) {
    std::string_view resource = named(kResources, acl.resource_type), operation = named(kOperations, acl.operation),
                     permission = named(kPermissions, acl.permission_type);
    std::string path = fmt::format("{}/{}/{}", acl.pattern_type == kPrefixed ? "/kafka-acl-extended/prefixed" : "/kafka-acl", resource, acl.resource_name);
    if (resource.empty() || operation.empty() || permission.empty() || (acl.pattern_type != kLiteral && acl.pattern_type != kPrefixed) ||
        acl.resource_name.find('/') != std::string::npos || !metadata::is_legal_path(path)) {
      left_out.push_back(fmt::format("the ACL of {} on resource type {}, '{}', operation {}: the tree has no form for it", acl.principal, acl.resource_type,
                                     acl.resource_name, acl.operation));
      continue;
    }
    nodes[path].push_back({acl.principal, std::string(permission), acl.host, std::string(operation)});
  }
  for (const auto& [path, entries] : nodes) put_node(tree, path, metadata::encode_acls(entries));
}

void put_tokens(const MetadataImage& image, metadata::TreeContent& tree) {
  for (const auto& [id, token] : image.tokens) {
    put_node(tree, "/delegation_token/tokens/" + id,
             metadata::encode_token({id, token.owner, token.requester.empty() ? token.owner : token.requester, token.renewers, token.issue_timestamp,
                                     token.expiration_timestamp, token.max_timestamp}));
  }
}

}  // namespace odradek::adopt

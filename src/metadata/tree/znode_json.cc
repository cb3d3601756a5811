#include "metadata/tree/znode_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "metadata/tree/paths.h"
#include "model/error_code.h"

namespace odradek::metadata {

namespace {

using Json = nlohmann::json;

Bytes bytes_of(const Json& json) {
  // No spaces; what is not UTF-8 (names come from clients) is replaced rather than thrown at.
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return Bytes(text.begin(), text.end());
}

// Parses `data` and gives the object to `read`; everything that is missing or of another type ends here.
template <class T, class Read>
Result<T> reading(const char* what, ByteView data, Read&& read) {
  try {
    Json json = Json::parse(data.begin(), data.end());
    if (!json.is_object()) return fail(ErrorCode::kUnknownServerError, fmt::format("{}: not a JSON object", what));
    return read(json);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kUnknownServerError, fmt::format("{}: {}: {}", what, error.what(), as_text(data).substr(0, 200)));
  }
}

// Numbers that some nodes hold as text.
int64_t number(const Json& json) {
  if (json.is_number()) return json.get<int64_t>();
  std::string text = json.get<std::string>();
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) throw std::runtime_error("not a number: " + text);
  return value;
}

Json ids_of(const std::vector<BrokerId>& brokers) {
  Json list = Json::array();
  for (BrokerId broker : brokers) list.push_back(broker.value);
  return list;
}
std::vector<BrokerId> brokers_of(const Json& list) {
  std::vector<BrokerId> brokers;
  for (const Json& id : list) brokers.push_back({id.get<int32_t>()});
  return brokers;
}

Json replicas_of(const std::map<int32_t, std::vector<BrokerId>>& partitions) {
  Json object = Json::object();
  for (const auto& [index, replicas] : partitions) object[std::to_string(index)] = ids_of(replicas);
  return object;
}
std::map<int32_t, std::vector<BrokerId>> replicas_of(const Json& object) {
  std::map<int32_t, std::vector<BrokerId>> partitions;
  for (const auto& [key, replicas] : object.items()) {
    int64_t index = number(Json(key));
    if (index < 0 || index > INT32_MAX) throw std::runtime_error("partition " + key);
    partitions[static_cast<int32_t>(index)] = brokers_of(replicas);
  }
  return partitions;
}

Json partition_of(const TopicPartition& tp) { return {{"topic", tp.topic}, {"partition", tp.partition}}; }
TopicPartition partition_of(const Json& json) { return {json.at("topic").get<std::string>(), json.at("partition").get<int32_t>()}; }

std::optional<SecurityProtocol> protocol_named(std::string_view name) {
  for (auto protocol : {SecurityProtocol::kPlaintext, SecurityProtocol::kSsl, SecurityProtocol::kSaslPlaintext, SecurityProtocol::kSaslSsl}) {
    if (name == name_of(protocol)) return protocol;
  }
  return std::nullopt;
}

std::string uri_of(const Endpoint& endpoint) {
  bool v6 = endpoint.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", endpoint.listener, v6 ? "[" : "", endpoint.host, v6 ? "]" : "", endpoint.port);
}
// NAME://host:port; the protocol is filled by the caller.
Endpoint endpoint_of(const std::string& uri) {
  size_t scheme = uri.find("://");
  size_t colon = uri.rfind(':');
  if (scheme == std::string::npos || colon < scheme + 3) throw std::runtime_error("endpoint " + uri);
  Endpoint endpoint;
  endpoint.listener = uri.substr(0, scheme);
  endpoint.host = uri.substr(scheme + 3, colon - scheme - 3);
  if (endpoint.host.size() >= 2 && endpoint.host.front() == '[' && endpoint.host.back() == ']') {
    endpoint.host = endpoint.host.substr(1, endpoint.host.size() - 2);
  }
  endpoint.port = static_cast<int32_t>(number(Json(uri.substr(colon + 1))));
  return endpoint;
}

}  // namespace

Bytes encode_cluster_id(const std::string& id) { return bytes_of({{"version", "1"}, {"id", id}}); }
Result<std::string> decode_cluster_id(ByteView data) {
  return reading<std::string>("cluster id", data, [](const Json& json) { return json.at("id").get<std::string>(); });
}

Bytes encode_broker(const BrokerInfo& broker, int64_t timestamp_ms) {
  Json endpoints = Json::array();
  Json protocols = Json::object();
  Json json = {{"version", 5}, {"features", Json::object()}, {"jmx_port", broker.jmx_port}, {"timestamp", std::to_string(timestamp_ms)},
               {"host", nullptr}, {"port", -1}};
  for (const Endpoint& endpoint : broker.endpoints) {
    endpoints.push_back(uri_of(endpoint));
    protocols[endpoint.listener] = name_of(endpoint.protocol);
    if (endpoint.protocol == SecurityProtocol::kPlaintext && json["host"].is_null()) {
      json["host"] = endpoint.host;
      json["port"] = endpoint.port;
    }
  }
  json["endpoints"] = std::move(endpoints);
  json["listener_security_protocol_map"] = std::move(protocols);
  if (broker.rack) json["rack"] = *broker.rack;
  return bytes_of(json);
}

Result<BrokerInfo> decode_broker(BrokerId id, ByteView data) {
  return reading<BrokerInfo>("broker", data, [&](const Json& json) {
    BrokerInfo broker;
    broker.id = id;
    if (number(json.at("version")) < 1) throw std::runtime_error("version");
    broker.jmx_port = json.contains("jmx_port") ? static_cast<int32_t>(number(json["jmx_port"])) : -1;
    if (json.contains("rack") && json["rack"].is_string()) broker.rack = json["rack"].get<std::string>();
    if (json.contains("endpoints")) {
      Json protocols = json.value("listener_security_protocol_map", Json::object());
      for (const Json& uri : json["endpoints"]) {
        Endpoint endpoint = endpoint_of(uri.get<std::string>());
        std::string protocol = protocols.value(endpoint.listener, endpoint.listener);
        auto known = protocol_named(protocol);
        if (!known) throw std::runtime_error("no security protocol for listener " + endpoint.listener);
        endpoint.protocol = *known;
        broker.endpoints.push_back(std::move(endpoint));
      }
    } else {
      broker.endpoints.push_back({"PLAINTEXT", json.at("host").get<std::string>(), static_cast<int32_t>(number(json.at("port"))),
                                  SecurityProtocol::kPlaintext});
    }
    return broker;
  });
}

Bytes encode_controller(const ControllerNode& node) {
  return bytes_of({{"version", 2},
                   {"brokerid", node.broker.value},
                   {"timestamp", std::to_string(node.timestamp_ms)},
                   {"kraftControllerEpoch", node.kraft_epoch}});
}
Result<ControllerNode> decode_controller(ByteView data) {
  return reading<ControllerNode>("controller", data, [](const Json& json) {
    ControllerNode node;
    node.broker = {json.at("brokerid").get<int32_t>()};
    if (json.contains("timestamp")) node.timestamp_ms = number(json["timestamp"]);
    node.kraft_epoch = json.value("kraftControllerEpoch", -1);
    return node;
  });
}

Bytes encode_controller_epoch(int32_t epoch) {
  std::string text = std::to_string(epoch);
  return Bytes(text.begin(), text.end());
}
Result<int32_t> decode_controller_epoch(ByteView data) {
  std::string_view text = as_text(data);
  int32_t epoch = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), epoch);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::kUnknownServerError, fmt::format("controller epoch: not a number: {}", text.substr(0, 50)));
  }
  return epoch;
}

Bytes encode_topic(const TopicNode& topic) {
  Json json = {{"version", topic.id ? 3 : 2},
               {"partitions", replicas_of(topic.partitions)},
               {"adding_replicas", replicas_of(topic.adding)},
               {"removing_replicas", replicas_of(topic.removing)}};
  if (topic.id) json["topic_id"] = topic.id->to_string();
  return bytes_of(json);
}
Result<TopicNode> decode_topic(ByteView data) {
  return reading<TopicNode>("topic", data, [](const Json& json) {
    TopicNode topic;
    topic.partitions = replicas_of(json.at("partitions"));
    if (json.contains("adding_replicas")) topic.adding = replicas_of(json["adding_replicas"]);
    if (json.contains("removing_replicas")) topic.removing = replicas_of(json["removing_replicas"]);
    if (json.contains("topic_id")) {
      topic.id = Uuid::parse(json["topic_id"].get<std::string>());
      if (!topic.id) throw std::runtime_error("topic_id");
    }
    return topic;
  });
}

Bytes encode_partition_state(const PartitionStateNode& state) {
  Json json = {{"version", 1},
               {"controller_epoch", state.controller_epoch},
               {"leader", state.leader.value},
               {"leader_epoch", state.leader_epoch.value},
               {"isr", ids_of(state.isr)}};
  if (state.recovering) json["leader_recovery_state"] = 1;
  return bytes_of(json);
}
Result<PartitionStateNode> decode_partition_state(ByteView data) {
  return reading<PartitionStateNode>("partition state", data, [](const Json& json) {
    PartitionStateNode state;
    state.controller_epoch = json.at("controller_epoch").get<int32_t>();
    state.leader = {json.at("leader").get<int32_t>()};
    state.leader_epoch = {json.at("leader_epoch").get<int32_t>()};
    state.isr = brokers_of(json.at("isr"));
    state.recovering = json.value("leader_recovery_state", 0) == 1;
    return state;
  });
}

Bytes encode_config(const std::map<std::string, std::string, std::less<>>& properties) {
  Json config = Json::object();
  for (const auto& [key, value] : properties) config[key] = value;
  return bytes_of({{"version", 1}, {"config", std::move(config)}});
}
Result<std::map<std::string, std::string, std::less<>>> decode_config(ByteView data) {
  using Properties = std::map<std::string, std::string, std::less<>>;
  if (data.empty()) return Properties{};
  return reading<Properties>("config", data, [](const Json& json) {
    Properties properties;
    for (const auto& [key, value] : json.at("config").items()) {
      properties[key] = value.is_string() ? value.get<std::string>() : value.dump();
    }
    return properties;
  });
}

Bytes encode_config_change(const std::string& entity_path) { return bytes_of({{"version", 2}, {"entity_path", entity_path}}); }
Result<std::string> decode_config_change(ByteView data) {
  return reading<std::string>("config change", data, [](const Json& json) {
    if (number(json.at("version")) == 1) return json.at("entity_type").get<std::string>() + "/" + json.at("entity_name").get<std::string>();
    return json.at("entity_path").get<std::string>();
  });
}

Bytes encode_producer_id_block(const ProducerIdBlock& block) {
  return bytes_of({{"version", 1},
                   {"broker", block.broker.value},
                   {"block_start", std::to_string(block.first)},
                   {"block_end", std::to_string(block.last)}});
}
Result<std::optional<ProducerIdBlock>> decode_producer_id_block(ByteView data) {
  if (data.empty()) return std::optional<ProducerIdBlock>();
  return reading<std::optional<ProducerIdBlock>>("producer id block", data, [](const Json& json) {
    return ProducerIdBlock{{json.at("broker").get<int32_t>()}, number(json.at("block_start")), number(json.at("block_end"))};
  });
}

Bytes encode_acls(const std::vector<AclEntry>& entries) {
  Json list = Json::array();
  for (const AclEntry& entry : entries) {
    list.push_back({{"principal", entry.principal}, {"permissionType", entry.permission}, {"host", entry.host}, {"operation", entry.operation}});
  }
  return bytes_of({{"version", 1}, {"acls", std::move(list)}});
}

Bytes encode_token(const TokenNode& token) {
  Json renewers = Json::array();
  for (const std::string& renewer : token.renewers) renewers.push_back(sanitise(renewer));
  return bytes_of({{"version", 3},
                   {"tokenId", token.id},
                   {"owner", sanitise(token.owner)},
                   {"tokenRequester", sanitise(token.requester)},
                   {"renewers", std::move(renewers)},
                   {"issueTimestamp", token.issued_ms},
                   {"expiryTimestamp", token.expires_ms},
                   {"maxTimestamp", token.max_ms}});
}

Bytes encode_feature() { return bytes_of({{"features", Json::object()}, {"version", 2}, {"status", 1}}); }

Bytes encode_log_dir_event(BrokerId broker) { return bytes_of({{"version", 1}, {"broker", broker.value}, {"event", 1}}); }
Result<BrokerId> decode_log_dir_event(ByteView data) {
  return reading<BrokerId>("log dir event", data, [](const Json& json) { return BrokerId{json.at("broker").get<int32_t>()}; });
}

Result<std::vector<TopicPartition>> decode_partition_list(ByteView data) {
  return reading<std::vector<TopicPartition>>("partition list", data, [](const Json& json) {
    std::vector<TopicPartition> list;
    for (const Json& one : json.at("partitions")) list.push_back(partition_of(one));
    return list;
  });
}

Bytes encode_reassignment(const std::vector<WantedReplicas>& wanted) {
  Json partitions = Json::array();
  for (const WantedReplicas& one : wanted) {
    Json json = partition_of(one.tp);
    json["replicas"] = ids_of(one.replicas);
    partitions.push_back(std::move(json));
  }
  return bytes_of({{"version", 1}, {"partitions", std::move(partitions)}});
}
Result<std::vector<WantedReplicas>> decode_reassignment(ByteView data) {
  return reading<std::vector<WantedReplicas>>("reassignment", data, [](const Json& json) {
    std::vector<WantedReplicas> wanted;
    for (const Json& one : json.at("partitions")) wanted.push_back({partition_of(one), brokers_of(one.at("replicas"))});
    return wanted;
  });
}

}  // namespace odradek::metadata

#include "app/settings.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "config/topic_config.h"
#include "net/socket.h"

namespace odradek::app {

coordinator::GroupConfig group_config(const config::BrokerConfig& config) {
  coordinator::GroupConfig group;
  group.min_session_timeout_ms = config.get_int("group.min.session.timeout.ms");
  group.max_session_timeout_ms = config.get_int("group.max.session.timeout.ms");
  group.initial_rebalance_delay_ms = config.get_int("group.initial.rebalance.delay.ms");
  group.max_size = config.get_int("group.max.size");
  // As much as requests may take.
  group.membership_max_bytes = std::max(group.membership_max_bytes, config.queued_max_request_bytes());
  group.offset_metadata_max_bytes = config.get_int("offset.metadata.max.bytes");
  group.offsets_retention_ms = config.get_int("offsets.retention.minutes") * 60'000ll;
  group.retention_check_interval_ms = config.get_long("offsets.retention.check.interval.ms");
  group.commit_timeout_ms = config.get_int("offsets.commit.timeout.ms");
  group.load_buffer_bytes = config.get_int("offsets.load.buffer.size");
  group.offsets_topic_partitions = config.get_int("offsets.topic.num.partitions");
  group.offsets_codec = static_cast<int8_t>(config.get_int("offsets.topic.compression.codec"));
  return group;
}

namespace {

net::LinkOptions link_options(const config::BrokerConfig& config) {
  net::LinkOptions options;
  options.connect_timeout = std::chrono::milliseconds(std::min<int64_t>(config.get_long("socket.connection.setup.timeout.ms"), INT32_MAX));
  options.max_answer_bytes = config.get_int("socket.request.max.bytes");
  return options;
}

}  // namespace

BrokerChannelOptions broker_channel_options(const config::BrokerConfig& config, BrokerId self) {
  return {self, config.control_plane_listener().empty() ? config.inter_broker_listener() : config.control_plane_listener(),
          std::chrono::milliseconds(config.get_int("controller.socket.timeout.ms")), link_options(config)};
}

ControllerLinkOptions controller_link_options(const config::BrokerConfig& config, BrokerId self) {
  return {self, config.inter_broker_listener(), std::chrono::milliseconds(config.get_int("controller.socket.timeout.ms")), link_options(config)};
}

LeaderLinkOptions leader_link_options(const config::BrokerConfig& config, BrokerId self) {
  net::LinkOptions link = link_options(config);
  link.receive_buffer_bytes = config.get_int("replica.socket.receive.buffer.bytes");
  link.max_answer_bytes = std::numeric_limits<int32_t>::max();  // a batch is as large as its topic allows, and comes whole
  return {self, config.inter_broker_listener(), std::chrono::milliseconds(config.get_int("replica.socket.timeout.ms")), link};
}

controller::ControllerOptions controller_options(const config::BrokerConfig& config, BrokerId self, std::function<bool(const std::string&)> unclean_election) {
  controller::ControllerOptions options;
  options.self = self;
  options.inter_broker_listener = config.inter_broker_listener();
  options.auto_leader_rebalance = config.get_bool("auto.leader.rebalance.enable");
  // What is longer than a life of the process is never.
  options.leader_imbalance_check_seconds = static_cast<int32_t>(std::min<int64_t>(config.get_long("leader.imbalance.check.interval.seconds"), INT32_MAX));
  options.leader_imbalance_percent = config.get_int("leader.imbalance.per.broker.percentage");
  options.unclean_election = std::move(unclean_election);
  options.delete_topics = config.get_bool("delete.topic.enable");
  return options;
}

std::optional<ZooKeeperSettings> zookeeper_settings(const config::BrokerConfig& config) {
  if (config.is_null("zookeeper.connect") || config.get_string("zookeeper.connect").empty()) return std::nullopt;
  ZooKeeperSettings settings;
  settings.store.connect = config.get_string("zookeeper.connect");
  settings.store.session_timeout_ms = config.get_int("zookeeper.session.timeout.ms");
  settings.store.max_in_flight = config.get_int("zookeeper.max.in.flight.requests");
  bool given = !config.is_null("zookeeper.connection.timeout.ms");
  settings.connection_timeout_ms = given ? config.get_int("zookeeper.connection.timeout.ms") : settings.store.session_timeout_ms;
  return settings;
}

void set_replication_limits(const config::BrokerConfig& config, quota::ReplicationQuotas& quotas) {
  // Kafka has these keys as dynamic ones only; what is there has been checked.
  auto limit = [&](const char* name) {
    for (const config::Properties* layer : {&config.dynamic_broker(), &config.dynamic_default()}) {
      auto found = layer->find(name);
      int64_t value = 0;
      if (found == layer->end()) continue;
      const std::string& text = found->second;
      if (std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc()) return value;
    }
    return quota::ReplicationQuota::kUnlimited;
  };
  quotas.leader.set_limit(limit("leader.replication.throttled.rate"));
  quotas.follower.set_limit(limit("follower.replication.throttled.rate"));
  quotas.log_dirs.set_limit(limit("replica.alter.log.dirs.io.max.bytes.per.second"));
}

server::ServerOptions server_options(const config::BrokerConfig& config) {
  server::ServerOptions options;
  options.handler_threads = config.get_int("num.io.threads");
  options.max_queued_requests = config.get_int("queued.max.requests");
  options.max_pipelined_bytes = config.get_long("connection.max.pipelined.bytes");
  net::ReactorOptions& net = options.net;
  for (const config::ListenerEndpoint& endpoint : config.listeners()) {
    net::ListenerOptions listener;
    listener.name = endpoint.name;
    listener.protocol = endpoint.protocol;
    listener.host = endpoint.host;
    listener.port = endpoint.port;
    listener.network_threads = static_cast<int>(config.get_long_for_listener(endpoint.name, "num.network.threads"));
    listener.max_connections = static_cast<int>(config.get_long_for_listener(endpoint.name, "max.connections"));
    listener.max_connection_creation_rate = static_cast<int>(config.get_long_for_listener(endpoint.name, "max.connection.creation.rate"));
    // The only listener serves clients too; with several, the brokers' own is kept open for them.
    listener.inter_broker = config.listeners().size() > 1 && endpoint.name == config.inter_broker_listener();
    net.listeners.push_back(std::move(listener));
  }
  net.request_max_bytes = config.get_int("socket.request.max.bytes");
  net.queued_max_request_bytes = config.queued_max_request_bytes();
  net.new_connection_queue = config.get_int("new.connection.queue.size");
  net.send_buffer_bytes = config.get_int("socket.send.buffer.bytes");
  net.receive_buffer_bytes = config.get_int("socket.receive.buffer.bytes");
  net.listen_backlog = config.get_int("socket.listen.backlog.size");
  // Counted in ns: a hundred years are as good as any longer time.
  constexpr int64_t kLongestIdleMs = int64_t{100} * 365 * 24 * 3600 * 1000;
  net.max_idle = std::chrono::milliseconds(std::min(config.get_long("connections.max.idle.ms"), kLongestIdleMs));
  net.max_connections = config.get_int("max.connections");
  net.max_connections_per_ip = config.get_int("max.connections.per.ip");
  net.max_connections_per_ip_overrides = config.max_connections_per_ip_overrides();
  net.max_connection_creation_rate = config.get_int("max.connection.creation.rate");
  net.max_pipelined_requests = config.get_int("connection.max.pipelined.requests");
  return options;
}

std::vector<metadata::Endpoint> advertised_endpoints(const config::BrokerConfig& config, const std::vector<net::BoundListener>& bound) {
  std::vector<metadata::Endpoint> endpoints;
  std::string own_name;
  for (const config::ListenerEndpoint& advertised : config.advertised_listeners()) {
    metadata::Endpoint endpoint{advertised.name, advertised.host, advertised.port, advertised.protocol};
    for (const net::BoundListener& listener : bound) {
      if (listener.name == advertised.name && endpoint.port == 0) endpoint.port = listener.port;
    }
    if (endpoint.host.empty() && zookeeper_settings(config)) {
      if (own_name.empty()) own_name = net::canonical_host_name();
      endpoint.host = own_name;
    }
    endpoints.push_back(std::move(endpoint));
  }
  return endpoints;
}

bool is_own_config_key(metadata::EntityType type, std::string_view name) {
  if (type == metadata::EntityType::kTopic) {
    const config::ConfigKey* key = config::find_topic_key(name);
    return key != nullptr && key->ours;
  }
  const config::ConfigKey* key = config::find_broker_key(name);
  return key != nullptr && key->ours;
}

}  // namespace odradek::app

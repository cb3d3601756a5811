// What each room is started with, read from the configuration. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/broker_channel.h"
#include "app/controller_link.h"
#include "app/leader_links.h"
#include "base/result.h"
#include "config/config.h"
#include "controller/controller.h"
#include "coordinator/group/group_config.h"
#include "metadata/cluster_config.h"
#include "metadata/registration.h"
#include "metadata/store/zookeeper_store.h"
#include "quota/replication_quota.h"
#include "server/server.h"

namespace odradek::app {

coordinator::GroupConfig group_config(const config::BrokerConfig& config);
BrokerChannelOptions broker_channel_options(const config::BrokerConfig& config, BrokerId self);
LeaderLinkOptions leader_link_options(const config::BrokerConfig& config, BrokerId self);
ControllerLinkOptions controller_link_options(const config::BrokerConfig& config, BrokerId self);
controller::ControllerOptions controller_options(const config::BrokerConfig& config, BrokerId self, std::function<bool(const std::string&)> unclean_election);
// The limits that can be set while the broker runs (*.throttled.rate, replica.alter.log.dirs.io.max.bytes.per.second), in force now.
void set_replication_limits(const config::BrokerConfig& config, quota::ReplicationQuotas& quotas);
// Nothing: this node keeps the metadata itself.
struct ZooKeeperSettings {
  metadata::ZooKeeperOptions store;
  int32_t connection_timeout_ms = 0;
};
std::optional<ZooKeeperSettings> zookeeper_settings(const config::BrokerConfig& config);
server::ServerOptions server_options(const config::BrokerConfig& config);
// What the broker registers: the advertised listeners, with the ports that were bound where none is configured. In ZooKeeper's tree, where
// other brokers and their clients read it, a listener on all addresses is advertised under the name of this machine, as Kafka's; else each
// client is told the address that it dialled. Waits for the resolver.
std::vector<metadata::Endpoint> advertised_endpoints(const config::BrokerConfig& config, const std::vector<net::BoundListener>& bound);
// Keys of ours that a Kafka broker would not know: kept apart in the store.
bool is_own_config_key(metadata::EntityType type, std::string_view name);

}  // namespace odradek::app

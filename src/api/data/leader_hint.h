// Where the leader of a partition is, for clients that asked the wrong broker (Produce v10+, Fetch v12+).
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "api/handler/addresses.h"
#include "api/handler/services.h"
#include "metadata/image/image.h"

namespace odradek::api {

// LeaderIdAndEpoch and NodeEndpoint: those of the message. A node is listed once.
template <class LeaderIdAndEpoch, class NodeEndpoint>
void add_leader_hint(Services& services, const request::ConnectionInfo& client, const std::string& topic, int32_t partition, LeaderIdAndEpoch& leader,
                     std::vector<NodeEndpoint>& nodes) {
  const auto image = services.image.current();
  const auto* known = image->find_partition(topic, partition);
  if (known == nullptr) return;
  leader.leader_id = known->leader.value;
  leader.leader_epoch = known->leader_epoch.value;
  if (std::any_of(nodes.begin(), nodes.end(), [&](const NodeEndpoint& node) { return node.node_id == leader.leader_id; })) return;
  const auto* broker = image->find_broker(known->leader);
  auto address = broker != nullptr ? address_of(*broker, client) : std::nullopt;
  if (!address) return;
  NodeEndpoint& node = nodes.emplace_back();
  node.node_id = leader.leader_id;
  node.host = std::move(address->host);
  node.port = address->port;
  node.rack = broker->rack;
}

}  // namespace odradek::api

// Addresses of brokers as a client of one listener may use them: the same in Metadata, FindCoordinator and DescribeCluster.
#pragma once

#include <optional>
#include <string>

#include "metadata/image/image.h"
#include "request/request_context.h"

namespace odradek::api {

struct Address {
  std::string host;
  int32_t port = 0;
};

// nullopt: the broker has no such listener. A listener that advertises no host is reached at the address that the client dialled.
inline std::optional<Address> address_of(const metadata::BrokerImage& broker, const request::ConnectionInfo& client) {
  const metadata::Endpoint* endpoint = broker.endpoint(client.listener);
  if (endpoint == nullptr) return std::nullopt;
  return Address{endpoint->host.empty() ? client.local_host : endpoint->host, endpoint->port};
}

// Bits of the operations (1 << AclOperation code) that everybody may do while there is no authorizer.
inline constexpr int32_t kAllTopicOperations = 0b1101'1111'1000;      // read write create delete alter describe describeConfigs alterConfigs
inline constexpr int32_t kAllClusterOperations = 0b1'1111'1010'0000;  // create alter describe clusterAction describeConfigs alterConfigs idempotentWrite
static_assert(kAllTopicOperations == 3576 && kAllClusterOperations == 8096);

}  // namespace odradek::api

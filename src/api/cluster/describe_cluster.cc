// DescribeCluster: Metadata's cluster part.
#include "api/cluster/handlers.h"
#include "api/handler/addresses.h"
#include "api/handler/answer.h"
#include "protocol/messages/describe_cluster.h"

namespace odradek::api {

void handle_describe_cluster(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DescribeClusterRequest>(request);
  if (!asked) return;
  constexpr int8_t kBrokers = 1, kControllers = 2;
  protocol::DescribeClusterResponse response;
  if (asked->endpoint_type != kBrokers) {
    response.error_code = wire(asked->endpoint_type == kControllers ? ErrorCode::kMismatchedEndpointType : ErrorCode::kUnsupportedEndpointType);
    response.error_message = asked->endpoint_type == kControllers
                                 ? "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                                 : "Unsupported endpoint type " + std::to_string(asked->endpoint_type);
    return request->finish(response);
  }
  const auto image = services.image.current();
  response.cluster_id = services.cluster_id;
  for (const metadata::BrokerImage& broker : image->brokers()) {
    auto address = address_of(broker, request->connection());
    if (!address) continue;
    auto& row = response.brokers.emplace_back();
    row.broker_id = broker.id.value;
    row.host = address->host;
    row.port = address->port;
    row.rack = broker.rack;
    if (broker.id == image->controller()) response.controller_id = broker.id.value;
  }
  if (asked->include_cluster_authorized_operations) response.cluster_authorized_operations = kAllClusterOperations;
  request->finish(response);
}

}  // namespace odradek::api

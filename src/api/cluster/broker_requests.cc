// What brokers ask of the controller: AlterPartition, AllocateProducerIds, ControlledShutdown. A broker that does not hold the office
// answers NOT_CONTROLLER. Source: interbroker.md §6, §9.
#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "controller/controller.h"

namespace odradek::api {

void handle_alter_partition(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::AlterPartitionRequest>(request);
  if (!asked) return;
  const int16_t version = request->version();
  services.controller.alter_partition(std::move(*asked), version, [request = std::move(request)](protocol::AlterPartitionResponse response) mutable {
    request->finish(response);
  });
}

void handle_allocate_producer_ids(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::AllocateProducerIdsRequest>(request);
  if (!asked) return;
  services.controller.allocate_producer_ids(std::move(*asked), [request = std::move(request)](protocol::AllocateProducerIdsResponse response) mutable {
    request->finish(response);
  });
}

void handle_controlled_shutdown(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::ControlledShutdownRequest>(request);
  if (!asked) return;
  services.controller.controlled_shutdown(std::move(*asked), [request = std::move(request)](protocol::ControlledShutdownResponse response) mutable {
    request->finish(response);
  });
}

}  // namespace odradek::api

// LeaderAndIsr, StopReplica, UpdateMetadata from a controller on another broker. They may open logs, so they run on the thread
// that applies them, in the order in which they came. (The controller of this very broker calls the ReplicaManager itself.)
#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "controller/broker_channel.h"
#include "replication/replica_manager.h"

namespace odradek::api {

namespace {

template <class Request>
void apply(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<Request>(request);
  if (!asked) return;
  services.replicas.control_executor().post([&services, request = std::move(request), asked = std::move(*asked)]() mutable {
    request->finish(services.replicas.apply(asked));
  });
}

}  // namespace

void handle_leader_and_isr(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::LeaderAndIsrRequest>(request);
  if (!asked) return;
  controller::prepare_topics(services.config_store, *asked, [&services, request = std::move(request), asked = std::move(*asked)]() mutable {
    services.replicas.control_executor().post([&services, request = std::move(request), asked = std::move(asked)]() mutable {
      request->finish(services.replicas.apply(asked));
    });
  });
}
void handle_stop_replica(Services& services, request::RequestPtr request) { apply<protocol::StopReplicaRequest>(services, std::move(request)); }
void handle_update_metadata(Services& services, request::RequestPtr request) { apply<protocol::UpdateMetadataRequest>(services, std::move(request)); }

}  // namespace odradek::api

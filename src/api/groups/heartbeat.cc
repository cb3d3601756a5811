// Heartbeat: a member is alive, and learns whether it has to join again.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "protocol/messages/heartbeat.h"

namespace odradek::api {

void handle_heartbeat(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::HeartbeatRequest>(request);
  if (!asked) return;
  request->release_body();
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.heartbeat(std::move(*asked), client, [request = std::move(request)](protocol::HeartbeatResponse response) { request->finish(response); });
}

}  // namespace odradek::api

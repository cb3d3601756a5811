// SyncGroup: the leader brings the assignments, every member takes its own; answered when they are stored. Pending meanwhile.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "protocol/messages/sync_group.h"

namespace odradek::api {

void handle_sync_group(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::SyncGroupRequest>(request);
  if (!asked) return;
  request->release_body();
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.sync_group(std::move(*asked), client, [request = std::move(request)](protocol::SyncGroupResponse response) { request->finish(response); });
}

}  // namespace odradek::api

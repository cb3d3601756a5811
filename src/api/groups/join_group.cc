// JoinGroup: a member enters a group, or comes back for its rebalance; answered when the rebalance ends. Pending meanwhile.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "protocol/messages/join_group.h"

namespace odradek::api {

void handle_join_group(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::JoinGroupRequest>(request);
  if (!asked) return;
  request->release_body();
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.join_group(std::move(*asked), client, [request = std::move(request)](protocol::JoinGroupResponse response) { request->finish(response); });
}

}  // namespace odradek::api

// LeaveGroup: members leave, or an administrator removes static ones.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "protocol/messages/leave_group.h"

namespace odradek::api {

void handle_leave_group(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::LeaveGroupRequest>(request);
  if (!asked) return;
  request->release_body();
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.leave_group(std::move(*asked), client, [request = std::move(request)](protocol::LeaveGroupResponse response) { request->finish(response); });
}

}  // namespace odradek::api

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
  bool storable = is_storable(asked->group_id) && is_storable(asked->member_id) && is_storable(asked->group_instance_id.value_or("")) &&
                  is_storable(request->client_id()) && is_storable(asked->protocol_type);
  for (const auto& protocol : asked->protocols) storable = storable && is_storable(protocol.name);
  if (!storable) return refuse(std::move(request), Error{ErrorCode::kInvalidRequest, "JoinGroup with a name that is too long to be stored"});
  request->release_body();
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.join_group(std::move(*asked), client, [request = std::move(request)](protocol::JoinGroupResponse response) { request->finish(response); });
}

}  // namespace odradek::api

// ListGroups: the groups whose coordinator this broker is.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "protocol/messages/list_groups.h"

namespace odradek::api {

void handle_list_groups(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::ListGroupsRequest>(request);
  if (!asked) return;
  request->release_body();
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.list_groups(std::move(*asked), client, [request = std::move(request)](protocol::ListGroupsResponse response) { request->finish(response); });
}

}  // namespace odradek::api

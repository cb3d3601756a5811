// DeleteGroups: groups without members, with their offsets.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "protocol/messages/delete_groups.h"

namespace odradek::api {

void handle_delete_groups(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DeleteGroupsRequest>(request);
  if (!asked || names_too_many(request, asked->groups_names.size())) return;
  request->release_body();
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.delete_groups(std::move(*asked), client, [request = std::move(request)](protocol::DeleteGroupsResponse response) { request->finish(response); });
}

}  // namespace odradek::api

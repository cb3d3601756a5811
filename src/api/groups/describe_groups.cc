// DescribeGroups: state, members and assignments of groups.
#include "api/groups/group_client.h"
#include "api/groups/handlers.h"
#include "api/handler/answer.h"
#include "coordinator/group/group_coordinator.h"
#include "protocol/messages/describe_groups.h"

namespace odradek::api {

namespace {

// READ, DELETE, DESCRIBE as bits of AclOperation codes: what a caller may do to a group where nothing is authorized.
constexpr int32_t kAllGroupOperations = 1 << 3 | 1 << 6 | 1 << 8;

}  // namespace

void handle_describe_groups(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::DescribeGroupsRequest>(request);
  if (!asked || names_too_many(request, asked->groups.size())) return;
  const bool with_operations = asked->include_authorized_operations;
  const coordinator::ClientInfo client = client_info(*request);
  services.groups.describe_groups(std::move(*asked), client,
                                  [request = std::move(request), with_operations](protocol::DescribeGroupsResponse response) {
                                    for (auto& group : response.groups) {
                                      if (with_operations && group.error_code == 0) group.authorized_operations = kAllGroupOperations;
                                    }
                                    request->finish(response);
                                  });
}

}  // namespace odradek::api

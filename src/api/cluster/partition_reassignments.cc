// AlterPartitionReassignments and ListPartitionReassignments: by the controller alone. Source: interbroker.md §11.
#include "api/cluster/handlers.h"
#include "api/handler/answer.h"
#include "controller/controller.h"

namespace odradek::api {

void handle_alter_partition_reassignments(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::AlterPartitionReassignmentsRequest>(request);
  if (!asked) return;
  services.controller.alter_partition_reassignments(
      std::move(*asked), [request = std::move(request)](protocol::AlterPartitionReassignmentsResponse response) mutable { request->finish(response); });
}

void handle_list_partition_reassignments(Services& services, request::RequestPtr request) {
  auto asked = decode_or_close<protocol::ListPartitionReassignmentsRequest>(request);
  if (!asked) return;
  services.controller.list_partition_reassignments(
      std::move(*asked), [request = std::move(request)](protocol::ListPartitionReassignmentsResponse response) mutable { request->finish(response); });
}

}  // namespace odradek::api

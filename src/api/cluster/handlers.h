// Brokers, the controller, replicas in their log dirs, ACLs.
// Shape and threads of a handler: api/handler/handler.h.
#pragma once

#include "api/handler/handler.h"

namespace odradek::api {

// From a controller
void handle_leader_and_isr(Services&, request::RequestPtr);
void handle_stop_replica(Services&, request::RequestPtr);
void handle_update_metadata(Services&, request::RequestPtr);
// From brokers to the controller
void handle_alter_partition(Services&, request::RequestPtr);
void handle_allocate_producer_ids(Services&, request::RequestPtr);
void handle_controlled_shutdown(Services&, request::RequestPtr);
// From clients
void handle_describe_cluster(Services&, request::RequestPtr);
void handle_elect_leaders(Services&, request::RequestPtr);
void handle_alter_partition_reassignments(Services&, request::RequestPtr);
void handle_list_partition_reassignments(Services&, request::RequestPtr);
void handle_alter_replica_log_dirs(Services&, request::RequestPtr);
void handle_describe_log_dirs(Services&, request::RequestPtr);
void handle_describe_acls(Services&, request::RequestPtr);
void handle_create_acls(Services&, request::RequestPtr);
void handle_delete_acls(Services&, request::RequestPtr);

}  // namespace odradek::api

// One function per request, each in the file of its name. A handler owns the request from now on and finishes it exactly once,
// on any thread; what does not answer at once calls settle() when its effect is done (request/request_context.h).
// Thread: a handler thread; it must not wait for the disk, the store or a peer.
#pragma once

#include "api/services.h"
#include "request/request_context.h"

namespace odradek::api {

// Of each connection
void handle_api_versions(Services&, request::RequestPtr);
void handle_sasl_handshake(Services&, request::RequestPtr);
void handle_sasl_authenticate(Services&, request::RequestPtr);
// Data path
void handle_produce(Services&, request::RequestPtr);
void handle_fetch(Services&, request::RequestPtr);
void handle_list_offsets(Services&, request::RequestPtr);
void handle_offset_for_leader_epoch(Services&, request::RequestPtr);
void handle_delete_records(Services&, request::RequestPtr);
void handle_alter_replica_log_dirs(Services&, request::RequestPtr);
void handle_describe_log_dirs(Services&, request::RequestPtr);
void handle_describe_producers(Services&, request::RequestPtr);
// From the controller
void handle_leader_and_isr(Services&, request::RequestPtr);
void handle_stop_replica(Services&, request::RequestPtr);
void handle_update_metadata(Services&, request::RequestPtr);
// Metadata and topics
void handle_metadata(Services&, request::RequestPtr);
void handle_describe_cluster(Services&, request::RequestPtr);
void handle_create_topics(Services&, request::RequestPtr);
void handle_delete_topics(Services&, request::RequestPtr);
void handle_create_partitions(Services&, request::RequestPtr);
void handle_elect_leaders(Services&, request::RequestPtr);
void handle_alter_partition_reassignments(Services&, request::RequestPtr);
void handle_list_partition_reassignments(Services&, request::RequestPtr);
void handle_alter_partition(Services&, request::RequestPtr);
void handle_allocate_producer_ids(Services&, request::RequestPtr);
void handle_controlled_shutdown(Services&, request::RequestPtr);
void handle_init_producer_id(Services&, request::RequestPtr);
// ACLs
void handle_describe_acls(Services&, request::RequestPtr);
void handle_create_acls(Services&, request::RequestPtr);
void handle_delete_acls(Services&, request::RequestPtr);
// Configs
void handle_describe_configs(Services&, request::RequestPtr);
void handle_alter_configs(Services&, request::RequestPtr);
void handle_incremental_alter_configs(Services&, request::RequestPtr);
// Groups
void handle_find_coordinator(Services&, request::RequestPtr);
void handle_join_group(Services&, request::RequestPtr);
void handle_sync_group(Services&, request::RequestPtr);
void handle_heartbeat(Services&, request::RequestPtr);
void handle_leave_group(Services&, request::RequestPtr);
void handle_offset_commit(Services&, request::RequestPtr);
void handle_offset_fetch(Services&, request::RequestPtr);
void handle_describe_groups(Services&, request::RequestPtr);
void handle_list_groups(Services&, request::RequestPtr);
void handle_delete_groups(Services&, request::RequestPtr);
void handle_offset_delete(Services&, request::RequestPtr);

}  // namespace odradek::api

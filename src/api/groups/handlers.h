// Groups and their offsets.
// Shape and threads of a handler: api/handler/handler.h.
#pragma once

#include "api/handler/handler.h"

namespace odradek::api {

void handle_find_coordinator(Services&, request::RequestPtr);
void handle_join_group(Services&, request::RequestPtr);
void handle_sync_group(Services&, request::RequestPtr);
void handle_heartbeat(Services&, request::RequestPtr);
void handle_leave_group(Services&, request::RequestPtr);
void handle_offset_commit(Services&, request::RequestPtr);
void handle_offset_fetch(Services&, request::RequestPtr);
void handle_offset_delete(Services&, request::RequestPtr);
void handle_describe_groups(Services&, request::RequestPtr);
void handle_list_groups(Services&, request::RequestPtr);
void handle_delete_groups(Services&, request::RequestPtr);

}  // namespace odradek::api

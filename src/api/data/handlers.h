// Records: produced, read, found by time or epoch, deleted; and who produces them.
// Shape and threads of a handler: api/handler/handler.h.
#pragma once

#include "api/handler/handler.h"

namespace odradek::api {

void handle_produce(Services&, request::RequestPtr);
void handle_fetch(Services&, request::RequestPtr);
void handle_list_offsets(Services&, request::RequestPtr);
void handle_offset_for_leader_epoch(Services&, request::RequestPtr);
void handle_delete_records(Services&, request::RequestPtr);
void handle_init_producer_id(Services&, request::RequestPtr);
void handle_describe_producers(Services&, request::RequestPtr);

}  // namespace odradek::api

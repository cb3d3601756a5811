// Topics: which there are, and their making and end.
// Shape and threads of a handler: api/handler/handler.h.
#pragma once

#include "api/handler/handler.h"

namespace odradek::api {

void handle_metadata(Services&, request::RequestPtr);
void handle_create_topics(Services&, request::RequestPtr);
void handle_create_partitions(Services&, request::RequestPtr);
void handle_delete_topics(Services&, request::RequestPtr);

}  // namespace odradek::api

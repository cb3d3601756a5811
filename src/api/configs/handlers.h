// Configs of topics, brokers and loggers.
// Shape and threads of a handler: api/handler/handler.h.
#pragma once

#include "api/handler/handler.h"

namespace odradek::api {

void handle_describe_configs(Services&, request::RequestPtr);
void handle_alter_configs(Services&, request::RequestPtr);
void handle_incremental_alter_configs(Services&, request::RequestPtr);

}  // namespace odradek::api

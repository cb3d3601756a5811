// Who asks, as the group coordinator wants to know it.
#pragma once

#include "coordinator/group/group_coordinator.h"
#include "request/request_context.h"

namespace odradek::api {

// The address as Java's InetAddress prints it: "/127.0.0.1", "/0:0:0:0:0:0:0:1".
std::string java_address(const std::string& numeric_host);
coordinator::ClientInfo client_info(const request::RequestContext& request);

}  // namespace odradek::api

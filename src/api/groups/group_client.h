// Who asks, as the group coordinator wants to know it.
#pragma once

#include "coordinator/group/group_coordinator.h"
#include "request/request_context.h"

namespace odradek::api {

// Groups, or partitions of groups, that one request may name. A name of some bytes becomes a hundred times as much in the answer; no
// cluster has as many.
inline constexpr size_t kMostNamed = 1'000'000;
// True: too many; `request` is refused, and its connection closed.
bool names_too_many(request::RequestPtr& request, size_t named);

// Whether the group's records have room for `text`, and for `text` as the head of a member id: no string is longer than 32,767 bytes, the
// rest would be cut off.
inline bool is_storable(std::string_view text) { return text.size() <= 32'767 - 37; }

// The address as Java's InetAddress prints it: "/127.0.0.1", "/0:0:0:0:0:0:0:1".
std::string java_address(const std::string& numeric_host);
coordinator::ClientInfo client_info(const request::RequestContext& request);

}  // namespace odradek::api

// The APIs that this broker serves: handler and version range of each. What ApiVersions lists and the dispatcher follows.
// Ranges: interbroker.md §1 (a 3.9 broker in ZooKeeper mode).
#pragma once

#include <span>

#include "api/services.h"
#include "protocol/api_keys.h"
#include "request/request_context.h"

namespace odradek::api {

using Handler = void (*)(Services&, request::RequestPtr);

struct Api {
  protocol::ApiKey key;
  int16_t min_version;
  int16_t max_version;
  Handler handler;
};

// In rising order of key.
std::span<const Api> served_apis();
// Null: not served.
const Api* find_served(protocol::ApiKey key);

}  // namespace odradek::api

// The APIs that this broker serves: handler and version range of each. What ApiVersions lists and the dispatcher follows.
// Ranges: interbroker.md §1 (a 3.9 broker in ZooKeeper mode).
#pragma once

#include <span>

#include "api/handler/handler.h"
#include "protocol/api_keys.h"

namespace odradek::api {

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

// The handlers of this room are of each connection (api_versions.cc, which reads the table; sasl.cc). The others are declared in the rooms below.
void handle_api_versions(Services&, request::RequestPtr);
void handle_sasl_handshake(Services&, request::RequestPtr);
void handle_sasl_authenticate(Services&, request::RequestPtr);

}  // namespace odradek::api

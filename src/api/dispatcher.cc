#include "api/dispatcher.h"

#include <exception>

#include "api/answer.h"
#include "api/table.h"

namespace odradek::api {

void refuse(request::RequestPtr request, const Error& error) {
  log::info("request", "closing the connection from {}:{} (client '{}'): {}", request->connection().peer_host, request->connection().peer_port,
            request->client_id(), error.what);
  request->finish_and_close();
}

void Dispatcher::handle(request::RequestPtr request) {
  const Api* api = find_served(request->api());
  const bool in_range = api != nullptr && request->version() >= api->min_version && request->version() <= api->max_version;
  if (!in_range && request->api() != protocol::ApiKey::kApiVersions) {
    refuse(std::move(request), {ErrorCode::kUnsupportedVersion, "api " + std::to_string(request->header().request_api_key) + " version " +
                                                                    std::to_string(request->version()) + " is not served"});
    return;
  }
  try {
    api->handler(services_, std::move(request));
  } catch (const std::exception& thrown) {
    // The request went with the stack: its context closes the connection.
    log::error("request", "a handler of {} threw: {}", protocol::name_of(api->key), thrown.what());
  }
}

}  // namespace odradek::api

// ApiVersions: what this broker serves. The one request that is answered in a version that it does not know.
#include <absl/strings/ascii.h>

#include "api/handler/answer.h"
#include "api/table.h"
#include "protocol/messages/api_versions.h"

namespace odradek::api {

namespace {

using protocol::ApiVersionsRequest;
using protocol::ApiVersionsResponse;

void add(ApiVersionsResponse& response, const Api& api) {
  auto& entry = response.api_keys.emplace_back();
  entry.api_key = static_cast<int16_t>(api.key);
  entry.min_version = api.min_version;
  entry.max_version = api.max_version;
}

// [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?
bool is_legal_software_name(const std::string& name) {
  if (name.empty() || !absl::ascii_isalnum(static_cast<unsigned char>(name.front())) || !absl::ascii_isalnum(static_cast<unsigned char>(name.back()))) return false;
  for (char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') return false;
  }
  return true;
}

}  // namespace

void handle_api_versions(Services&, request::RequestPtr request) {
  const Api& own = *find_served(protocol::ApiKey::kApiVersions);
  ApiVersionsResponse response;
  if (request->version() > own.max_version) {
    // In version 0, so that any client can read it; it asks again with a version from the answer.
    response.error_code = wire(ErrorCode::kUnsupportedVersion);
    add(response, own);
    request->finish(protocol::encode_response(request->header().correlation_id, 0, response));
    return;
  }
  auto asked = decode_or_close<ApiVersionsRequest>(request);
  if (!asked) return;
  if (request->version() >= 3 && (!is_legal_software_name(asked->client_software_name) || !is_legal_software_name(asked->client_software_version))) {
    response.error_code = wire(ErrorCode::kInvalidRequest);
    request->finish(response);
    return;
  }
  for (const Api& api : served_apis()) add(response, api);
  response.finalized_features_epoch = 0;
  request->finish(response);
}

}  // namespace odradek::api

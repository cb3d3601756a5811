#include "api/groups/group_client.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "api/handler/answer.h"

namespace odradek::api {

bool names_too_many(request::RequestPtr& request, size_t named) {
  if (named <= kMostNamed) return false;
  refuse(std::move(request), Error{ErrorCode::kInvalidRequest, fmt::format("a request that names {} groups or partitions", named)});
  return true;
}

std::string java_address(const std::string& numeric_host) {
  std::array<uint8_t, 16> bytes{};
  if (inet_pton(AF_INET6, numeric_host.c_str(), bytes.data()) != 1) return "/" + numeric_host;
  constexpr std::array<uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) return fmt::format("/{}.{}.{}.{}", bytes[12], bytes[13], bytes[14], bytes[15]);
  std::string text = "/";
  for (size_t i = 0; i < 16; i += 2) text += fmt::format("{}{:x}", i == 0 ? "" : ":", bytes[i] << 8 | bytes[i + 1]);
  return text;
}

coordinator::ClientInfo client_info(const request::RequestContext& request) {
  return {std::string(request.client_id()), java_address(request.connection().peer_host), request.version()};
}

}  // namespace odradek::api

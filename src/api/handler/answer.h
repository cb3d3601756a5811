// What handlers share: reading a request, or closing its connection if it cannot be read.
#pragma once

#include <optional>
#include <utility>

#include "base/log.h"
#include "request/request_context.h"

namespace odradek::api {

// Logs why and closes the connection, as Kafka does.
void refuse(request::RequestPtr request, const Error& error);

// nullopt: the body cannot be read; the request is finished and `request` is null.
template <class M>
std::optional<M> decode_or_close(request::RequestPtr& request) {
  auto decoded = request->decode<M>();
  if (decoded) return std::move(*decoded);
  refuse(std::move(request), decoded.error());
  return std::nullopt;
}

inline int16_t wire(ErrorCode code) { return static_cast<int16_t>(code); }

}  // namespace odradek::api

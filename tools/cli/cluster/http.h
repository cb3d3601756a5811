// One HTTP GET over net's stream: enough for the broker's own listener.
#pragma once

#include <string>

#include "net/outgoing.h"

namespace odradek::cli {

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// `url`: http://host[:port]/path. Reads until the server closes; at most 64 MiB.
// Errors: kInvalidRequest, the URL; kInvalidRequest, no HTTP answer; those of net/outgoing.h.
Result<HttpAnswer> http_get(net::Dialer& dialer, const std::string& url, int64_t deadline_ns);

}  // namespace odradek::cli

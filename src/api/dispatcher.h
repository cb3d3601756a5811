// Hands each request to its handler. A request that is not served, whose version is out of range or that cannot be read closes
// its connection without an answer, as in Kafka; the one exception is ApiVersions in a version that is too high.
// Thread: handler threads, several at once.
#pragma once

#include "api/services.h"
#include "request/request_context.h"

namespace odradek::api {

class Dispatcher : public request::RequestSink {
 public:
  explicit Dispatcher(Services& services) : services_(services) {}
  void handle(request::RequestPtr request) override;

 private:
  Services& services_;
};

}  // namespace odradek::api

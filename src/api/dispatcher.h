// Hands each request to its handler. A request that is not served, whose version is out of range or that cannot be read closes
// its connection without an answer, as in Kafka; the one exception is ApiVersions in a version that is too high.
// Thread: handler threads, several at once.
#pragma once

#include <atomic>
#include <vector>

#include "api/handler/services.h"
#include "base/mutex.h"
#include "request/request_context.h"

namespace odradek::api {

class Dispatcher : public request::RequestSink {
 public:
  explicit Dispatcher(Services& services) : services_(services) {}
  void handle(request::RequestPtr request) override;

  // A broker that has just registered must hear the controller before it knows what to tell clients: from hold_clients() on only
  // requests of controllers and of brokers to the controller are handled, and ApiVersions; the others wait (at most one a connection)
  // for serve_clients(), or are closed without an answer by refuse_held(). Thread: any.
  void hold_clients();
  void serve_clients();
  void refuse_held();

 private:
  void dispatch(request::RequestPtr request);

  Services& services_;
  std::atomic<bool> holding_{false};  // written under the mutex; a reader that sees it false needs nothing else
  base::Mutex mutex_;
  std::vector<request::RequestPtr> held_ GUARDED_BY(mutex_);
};

}  // namespace odradek::api

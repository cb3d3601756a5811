// The HTTP listener: /metrics, /health/live, /health/ready. Its own few threads; nothing of the data path runs here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "metrics/registry.h"

namespace odradek::web {

struct WebOptions {
  std::string host = "127.0.0.1";
  int port = 9644;           // 0: the system chooses, see WebServer::port()
  bool configured = false;   // metrics.listener was set: a taken port is an error, otherwise a warning
  int threads = 2;
};

// Why the broker is not ready, one line each; empty: ready. Thread: web threads.
using ReadinessCheck = std::function<std::vector<std::string>()>;

// "host:port" of metrics.listener ("[::1]:9644" for IPv6; "" = no listener).
// Errors: kInvalidConfig.
struct HostPort {
  std::string host;
  int port = 0;
};
Result<HostPort> parse_metrics_listener(const std::string& text);

class WebServer {
 public:
  // Binds and listens. A taken default port leaves a server that does not listen (port() == 0), and a line in the log.
  // Errors: the configured address cannot be bound.
  static Result<std::unique_ptr<WebServer>> start(WebOptions options, metrics::Registry& registry, ReadinessCheck ready);
  ~WebServer();
  // The port that was bound; 0: not listening.
  int port() const;
  void stop();

 private:
  WebServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace odradek::web

// The HTTP listener: /metrics, /health/live, /health/ready. Threads of its own, few and bounded; nothing of the data path runs here.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/result.h"
#include "config/config.h"
#include "metrics/registry.h"

namespace odradek::web {

struct WebOptions {
  std::string host = "127.0.0.1";
  int port = 9644;          // 0: the system chooses, see WebServer::port()
  bool configured = false;  // metrics.listener was set: an address that cannot be bound is an error, otherwise a warning
  int threads = 2;
  int waiting_connections = 16;  // accepted and waiting for a thread; further ones wait in the kernel's backlog
};

// From metrics.listener: "host:port", "[::1]:port", ":port" for all addresses. Nullopt: empty, no listener is wanted.
// Errors: kInvalidConfig.
Result<std::optional<WebOptions>> web_options(const config::BrokerConfig& config);

// Why the broker is not ready, one line each; empty: ready. Thread: web threads.
using ReadinessCheck = std::function<std::vector<std::string>()>;

class WebServer {
 public:
  // Binds and listens. A taken default address leaves a server that does not listen (port() == 0), and a line in the log.
  // Errors: kInvalidConfig, the configured address cannot be bound.
  static Result<std::unique_ptr<WebServer>> start(base::Runtime& runtime, const WebOptions& options, metrics::Registry& registry, ReadinessCheck ready);
  ~WebServer();
  WebServer(const WebServer&) = delete;
  WebServer& operator=(const WebServer&) = delete;

  // The port that was bound; 0: not listening.
  int port() const;
  // Waits for answers that are being sent (at most some seconds). The destructor does it too.
  void stop();

 private:
  WebServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace odradek::web

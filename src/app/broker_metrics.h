// Fills the catalog's rows that no single room can fill: requests by API, and what several rooms know when /metrics is asked.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "metrics/registry.h"
#include "server/server.h"

namespace odradek::controller {
class Controller;
}
namespace odradek::storage {
class LogManager;
}

namespace odradek::app {

class Node;

// Thread: network threads; lock-free after the first request of an API and version.
class RequestMetrics : public server::RequestObserver {
 public:
  explicit RequestMetrics(metrics::Registry& registry) : registry_(registry) {}
  ~RequestMetrics() override;
  void on_request(const server::RequestReport& report) override;

 private:
  static constexpr int kApis = 128;
  static constexpr int kVersions = 32;
  struct Api {
    std::shared_ptr<metrics::Histogram> total, queue, local, remote, response_queue, send, throttle, bytes;
    std::array<std::atomic<metrics::Counter*>, kVersions> by_version{};
  };
  Api& api_of(int key, std::string_view name);

  metrics::Registry& registry_;
  base::Mutex mutex_;
  std::array<std::atomic<Api*>, kApis> apis_{};
  std::vector<std::shared_ptr<metrics::Counter>> counters_ GUARDED_BY(mutex_);
};

class BrokerMetrics {
 public:
  // `request_memory`: queued.max.request.bytes.
  BrokerMetrics(metrics::Registry& registry, base::Clock& clock, int64_t request_memory, server::Server& server, Node& node);
  // Why the broker is not ready; empty: ready. Thread: any.
  std::vector<std::string> not_ready() const;
  // Kafka's numbers (kBrokerState). Thread: any.
  enum State { kRunning = 3, kHandingOver = 6, kShuttingDown = 7 };
  void set_state(State state) { state_.store(state, std::memory_order_relaxed); }

 private:
  // A share of idle time since the last look.
  class IdleShare {
   public:
    double take(const net::IdleTimes& now);

   private:
    net::IdleTimes last_{};
  };

  base::Clock& clock_;
  std::atomic<int> state_{kRunning};
  controller::Controller& controller_;
  storage::LogManager& logs_;
  IdleShare handlers_, network_;
  std::map<std::string, IdleShare> blocked_;  // of acceptors, by listener
  std::vector<metrics::Registration> registrations_;  // last: released first
};

}  // namespace odradek::app

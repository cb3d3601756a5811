#include "app/broker_metrics.h"

#include <algorithm>

#include "app/node.h"
#include "controller/controller.h"
#include "controller/membership.h"
#include "metadata/store/store.h"
#include "metrics/catalog.h"
#include "replication/replica_manager.h"
#include "replication/sessions/fetch_session.h"
#include "storage/log_manager.h"

namespace odradek::app {

using namespace metrics;

RequestMetrics::~RequestMetrics() {
  for (auto& api : apis_) delete api.load();
}

RequestMetrics::Api& RequestMetrics::api_of(int key, std::string_view name) {
  std::atomic<Api*>& slot = apis_[static_cast<size_t>(key)];
  if (Api* known = slot.load(std::memory_order_acquire)) return *known;
  base::MutexLock lock(mutex_);
  if (Api* known = slot.load(std::memory_order_acquire)) return *known;
  auto made = std::make_unique<Api>();
  LabelValues labels{name};
  made->total = registry_.histogram(kRequestTotalTime, labels);
  made->queue = registry_.histogram(kRequestQueueTime, labels);
  made->local = registry_.histogram(kRequestLocalTime, labels);
  made->remote = registry_.histogram(kRequestRemoteTime, labels);
  made->response_queue = registry_.histogram(kResponseQueueTime, labels);
  made->send = registry_.histogram(kResponseSendTime, labels);
  made->throttle = registry_.histogram(kRequestThrottleTime, labels);
  made->bytes = registry_.histogram(kRequestBytes, labels);
  slot.store(made.get(), std::memory_order_release);
  return *made.release();
}

void RequestMetrics::on_request(const server::RequestReport& report) {
  int key = static_cast<int>(report.api);
  if (key < 0 || key >= kApis) return;
  std::string_view name = protocol::name_of(report.api);
  Api& api = api_of(key, name);
  auto ns = [](int64_t value) { return static_cast<uint64_t>(std::max<int64_t>(value, 0)); };
  const request::Times& times = report.times;
  api.total->record(ns(times.total_ns()));
  api.queue->record(ns(times.queue_ns()));
  api.local->record(ns(times.local_ns()));
  api.remote->record(ns(times.remote_ns()));
  api.response_queue->record(ns(times.response_queue_ns()));
  api.send->record(ns(times.send_ns()));
  if (times.throttle_ms > 0) api.throttle->record(ns(times.throttle_ms * 1'000'000ll));
  api.bytes->record(report.request_bytes);
  auto version = static_cast<size_t>(std::clamp<int>(report.version, 0, kVersions - 1));
  Counter* counter = api.by_version[version].load(std::memory_order_acquire);
  if (counter == nullptr) {
    // By the number in range: what one client makes up must not be the name of what others ask.
    auto made = registry_.counter(kRequests, {name, std::to_string(version)});
    counter = made.get();
    base::MutexLock lock(mutex_);
    counters_.push_back(std::move(made));
    api.by_version[version].store(counter, std::memory_order_release);
  }
  counter->inc();
}

double BrokerMetrics::IdleShare::take(const net::IdleTimes& now) {
  int64_t alive = now.alive_ns - last_.alive_ns;
  int64_t idle = now.idle_ns - last_.idle_ns;
  last_ = now;
  return alive <= 0 ? 1.0 : std::clamp(static_cast<double>(idle) / static_cast<double>(alive), 0.0, 1.0);
}

BrokerMetrics::BrokerMetrics(Registry& registry, base::Clock& clock, int64_t request_memory, server::Server& server, Node& node)
    : clock_(clock), controller_(node.controller()), logs_(node.logs()) {
  replication::ReplicaManager& replicas = node.replicas();
  replication::FetchSessionCache& sessions = node.fetch_sessions();
  controller::Controller& controller = node.controller();
  auto add = [&](const MetricDef& def, LabelValues labels, std::function<double()> value) {
    registrations_.push_back(registry.callback(def, labels, std::move(value)));
  };
  // One walk of the server's state serves all its rows.
  registrations_.push_back(registry.collector(
      {&kRequestQueueSize, &kHandlerIdle, &kNetworkIdle, &kMemoryPoolUsed, &kConnectionCount, &kConnectionsCreated, &kResponseQueueSize,
       &kMemoryPoolAvailable, &kConnectionsRefused, &kAcceptorBlocked},
      [this, &server, request_memory](std::vector<SampleSink*>& sinks) {
        server::ServerStats stats = server.stats();
        sinks[0]->add({}, int64_t{stats.request_queue});
        sinks[1]->add({}, handlers_.take(stats.handler_idle));
        net::IdleTimes network;
        int64_t responses = 0;
        for (const net::ListenerStats& listener : stats.listeners) {
          network.idle_ns += listener.idle.idle_ns;
          network.alive_ns += listener.idle.alive_ns;
          responses += listener.response_queue;
          sinks[4]->add({listener.name, "all"}, int64_t{listener.connections});
          sinks[5]->add({listener.name}, static_cast<int64_t>(listener.accepted));
          sinks[8]->add({listener.name}, static_cast<int64_t>(listener.refused));
          sinks[9]->add({listener.name}, blocked_[listener.name].take({listener.acceptor_blocked_ns, clock_.monotonic_ns()}));
        }
        sinks[2]->add({}, network_.take(network));
        sinks[3]->add({}, stats.request_bytes);
        sinks[7]->add({}, request_memory - stats.request_bytes);
        sinks[6]->add({"all"}, responses);
      }));
  add(kFetchSessions, {}, [&sessions] { return static_cast<double>(sessions.sessions()); });
  add(kFetchSessionPartitions, {}, [&sessions] { return static_cast<double>(sessions.cached_partitions()); });
  add(kFetchSessionEvictions, {}, [&sessions] { return static_cast<double>(sessions.evictions()); });
  add(kPurgatorySize, {"Fetch"}, [&replicas] { return static_cast<double>(replicas.parked_fetches()); });
  add(kPurgatorySize, {"Produce"}, [&replicas] { return static_cast<double>(replicas.parked_produces()); });
  add(kActiveControllerCount, {}, [&controller] { return controller.is_active() ? 1.0 : 0.0; });
  registrations_.push_back(registry.collector({&kOfflinePartitionsCount, &kPreferredReplicaImbalanceCount, &kGlobalTopicCount, &kGlobalPartitionCount,
                                               &kTopicsToDeleteCount, &kActiveBrokerCount, &kUncleanLeaderElections, &kControllerState,
                                               &kControllerEventQueueSize, &kControllerTotalQueueSize, &kControllerQueueSize},
                                              [&controller](std::vector<SampleSink*>& sinks) {
                                                auto counts = controller.counts();
                                                sinks[0]->add({}, counts.offline_partitions);
                                                sinks[1]->add({}, counts.preferred_imbalance);
                                                sinks[2]->add({}, counts.topics);
                                                sinks[3]->add({}, counts.partitions);
                                                sinks[4]->add({}, counts.topics_to_delete);
                                                sinks[5]->add({}, counts.live_brokers);
                                                sinks[6]->add({}, counts.unclean_elections);
                                                sinks[7]->add({}, int64_t{counts.at_work_on});
                                                sinks[8]->add({}, counts.waiting_events);
                                                int64_t unanswered = 0;
                                                for (const auto& [id, requests] : counts.unanswered) {
                                                  unanswered += requests;
                                                  sinks[10]->add({std::to_string(id.value)}, requests);
                                                }
                                                sinks[9]->add({}, unanswered);
                                              }));
  registrations_.push_back(registry.collector({&kSessionState, &kSessionConnects, &kSessionDisconnects, &kSessionExpires},
                                              [&node](std::vector<SampleSink*>& sinks) {
                                                using metadata::SessionState;
                                                auto now = node.store().state();
                                                for (auto [state, name] : {std::pair(SessionState::kConnected, "CONNECTED"), std::pair(SessionState::kConnecting, "CONNECTING"),
                                                                           std::pair(SessionState::kExpired, "EXPIRED"), std::pair(SessionState::kClosed, "CLOSED")}) {
                                                  sinks[0]->add({name}, int64_t{state == now});
                                                }
                                                auto counts = node.membership().counts();
                                                sinks[1]->add({}, counts.connects);
                                                sinks[2]->add({}, counts.disconnects);
                                                sinks[3]->add({}, counts.expirations);
                                              }));
  add(kBrokerState, {}, [this] { return static_cast<double>(state_.load(std::memory_order_relaxed)); });
  add(kBuildInfo, {ODRADEK_VERSION}, [] { return 1.0; });
}

std::vector<std::string> BrokerMetrics::not_ready() const {
  std::vector<std::string> reasons;
  if (state_.load(std::memory_order_relaxed) != kRunning) reasons.push_back("the broker stops");
  if (controller_.counts().offline_partitions > 0) {
    reasons.push_back(std::to_string(controller_.counts().offline_partitions) + " partitions have no leader");
  }
  if (const size_t loading = logs_.loading(); loading > 0) reasons.push_back(std::to_string(loading) + " logs are still being loaded; their partitions are not served yet");
  if (logs_.has_offline_dir()) reasons.push_back("a log dir is offline; server.log names it");
  return reasons;
}

}  // namespace odradek::app

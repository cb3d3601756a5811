#include "app/broker.h"

#include <thread>

#include "app/broker_metrics.h"
#include "app/node.h"
#include "app/settings.h"
#include "base/log.h"
#include "base/thread.h"
#include "metrics/process_metrics.h"
#include "net/link.h"
#include "server/server.h"
#include "storage/log_manager.h"
#include "web/web_server.h"

namespace odradek::app {
namespace {

constexpr std::chrono::milliseconds kDrainWait{10'000};

}  // namespace

// In the order of making; destroyed in the reverse order.
struct Broker::Parts {
  Parts(base::Runtime& r, std::shared_ptr<const config::BrokerConfig> config) : runtime(r), links(net::make_tcp_links(r)), node(runtime, waiter, *links, std::move(config)) {}

  base::Runtime& runtime;
  ThreadWaiter waiter;
  std::unique_ptr<net::Links> links;
  Node node;
  std::vector<metrics::Registration> process_metrics;
  std::unique_ptr<RequestMetrics> request_metrics;
  std::unique_ptr<server::Server> server;
  std::unique_ptr<BrokerMetrics> broker_metrics;
  std::unique_ptr<web::WebServer> web;

  // From the open logs on. What it made is stopped by Broker::stop(), also after an error.
  Result<void> serve();
  void follow_config_changes();
  Result<void> start_web(const config::BrokerConfig& config);
};

Broker::Broker(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Broker::~Broker() {
  if (parts_->server) parts_->server->stop(std::chrono::milliseconds(0));
}

Result<std::unique_ptr<Broker>> Broker::start(base::Runtime& runtime, std::shared_ptr<const config::BrokerConfig> config) {
  for (const std::string& line : config->warnings()) log::warn("config", "{}", line);
  auto broker = std::unique_ptr<Broker>(new Broker(std::make_unique<Parts>(runtime, config)));
  Parts& parts = *broker->parts_;
  Node& node = parts.node;
  parts.process_metrics = metrics::register_process_metrics(node.registry(), runtime);
  if (auto opened = node.open(configured_store(runtime, *config)); !opened) return fail(opened.error());

  if (auto serving = parts.serve(); !serving) {
    // The marker of a clean stop went when the logs were opened: what is closed in order need not be checked by the next start.
    broker->stop();
    return fail(serving.error());
  }
  return broker;
}

Result<void> Broker::Parts::serve() {
  auto config = node.config().current();  // with what is dynamic, and a generated broker id
  request_metrics = std::make_unique<RequestMetrics>(node.registry());
  server = std::make_unique<server::Server>(runtime, server_options(*config), node.sink(), &node.logs().slice_loader(), request_metrics.get());
  if (auto bound = server->bind(); !bound) return bound;
  follow_config_changes();
  if (auto joined = node.join(advertised_endpoints(*config, server->listeners()), [this] { server->start(); }); !joined) return joined;
  for (const net::BoundListener& listener : server->listeners()) {
    log::info("app", "listener {} on {}:{}", listener.name, listener.host.empty() ? "*" : listener.host, listener.port);
  }
  broker_metrics = std::make_unique<BrokerMetrics>(node.registry(), runtime.clock(), config->queued_max_request_bytes(), *server, node);
  return start_web(*config);
}

void Broker::Parts::follow_config_changes() {
  node.config().subscribe([this](const config::BrokerConfig& before, const config::BrokerConfig& now) {
    server->set_handler_threads(now.get_int("num.io.threads"));
    net::Reactor& reactor = server->reactor();
    reactor.set_max_connections(now.get_int("max.connections"));
    reactor.set_max_connection_creation_rate(now.get_int("max.connection.creation.rate"));
    // Names in the overrides are looked up: not at each change of something else.
    if (now.get_int("max.connections.per.ip") != before.get_int("max.connections.per.ip") ||
        now.max_connections_per_ip_overrides() != before.max_connections_per_ip_overrides()) {
      reactor.set_max_connections_per_ip(now.get_int("max.connections.per.ip"), now.max_connections_per_ip_overrides());
    }
    for (const net::BoundListener& listener : server->listeners()) {
      reactor.set_network_threads(listener.name, static_cast<int>(now.get_long_for_listener(listener.name, "num.network.threads")));
      reactor.set_listener_limits(listener.name, static_cast<int>(now.get_long_for_listener(listener.name, "max.connections")),
                                  static_cast<int>(now.get_long_for_listener(listener.name, "max.connection.creation.rate")));
    }
  });
}

Result<void> Broker::Parts::start_web(const config::BrokerConfig& config) {
  auto options = web::web_options(config);
  if (!options) return fail(options.error());
  if (!*options) return {};
  auto started = web::WebServer::start(runtime, **options, node.registry(), [this] { return broker_metrics->not_ready(); });
  if (!started) return fail(started.error());
  web = std::move(*started);
  return {};
}

void Broker::stop() {
  Parts& parts = *parts_;
  auto state = [&](BrokerMetrics::State now) {
    if (parts.broker_metrics) parts.broker_metrics->set_state(now);
  };
  state(BrokerMetrics::kHandingOver);
  parts.node.hand_over();
  state(BrokerMetrics::kShuttingDown);
  // The server drains while what is parked gets its answers.
  std::thread draining = base::start_thread("drain", [&] { parts.server->stop(kDrainWait); });
  parts.node.answer_parked();
  draining.join();
  parts.node.leave();
  // Last: it waits for clients that are slow to ask.
  if (parts.web) parts.web->stop();
  parts.broker_metrics.reset();
}

}  // namespace odradek::app

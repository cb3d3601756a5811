#include "server/server.h"

#include "base/clock.h"
#include "server/handler_pool.h"
#include "server/request_queue.h"
#include "server/server_connection.h"

namespace odradek::server {

struct Server::State final : public net::FrameSink {
  State(base::Runtime& the_runtime, ServerOptions the_options, request::RequestSink& sink, base::SliceLoader* loader,
        RequestObserver* the_observer)
      : runtime(the_runtime),
        options(std::move(the_options)),
        observer(the_observer),
        queue(std::make_shared<RequestQueue>(std::max(options.max_queued_requests, 1))),
        pool(std::make_shared<HandlerPool>(runtime, *queue, sink)),
        reactor(runtime, options.net, *this, loader) {}

  void on_open(net::Connection& connection) override {
    connection.user = std::make_unique<ServerConnection>(connection, queue, pool, runtime.clock(), options.max_pipelined_bytes);
  }

  bool admit(net::ReadingThread& thread) override { return queue->bound.admit(thread); }

  net::Exchange* on_frame(net::Connection& connection, net::Frame frame, int64_t received_ns) override {
    ServerConnection& owner = of(connection);
    auto* exchange = new ServerExchange(owner);
    exchange->connection = &connection;
    exchange->request_bytes = frame.size();
    exchange->frame = std::move(frame);
    exchange->times.received_ns = received_ns;
    if (owner.push(exchange)) pool->work_came_in_round();
    return exchange;
  }

  int64_t on_round_end() override { return pool->round_end(); }

  void on_answered(net::Exchange& answered) override {
    auto& exchange = static_cast<ServerExchange&>(answered);
    exchange.owner.answer_sent(exchange.counted_bytes);
    if (observer == nullptr || exchange.times.finished_ns == 0 || exchange.sent_ns == 0) return;
    exchange.times.dequeued_ns = exchange.dequeued_ns;
    exchange.times.sent_ns = exchange.sent_ns;
    observer->on_request({static_cast<protocol::ApiKey>(exchange.api), exchange.version, exchange.owner.info(), exchange.times,
                          exchange.request_bytes, exchange.sent_bytes});
  }

  void on_unmuted(net::Connection& connection) override { of(connection).unthrottle(); }
  bool on_close(net::Connection& connection) override { return of(connection).on_close(); }
  bool is_quiet(net::Connection& connection) override { return of(connection).is_quiet(); }

  static ServerConnection& of(net::Connection& connection) { return static_cast<ServerConnection&>(*connection.user); }

  base::Runtime& runtime;
  const ServerOptions options;
  RequestObserver* const observer;
  // Shared with the connections: requests may end after the server.
  const std::shared_ptr<RequestQueue> queue;
  const std::shared_ptr<HandlerPool> pool;
  net::Reactor reactor;
  bool stopped = false;
};

Server::Server(base::Runtime& runtime, ServerOptions options, request::RequestSink& sink, base::SliceLoader* loader,
               RequestObserver* observer)
    : state_(std::make_unique<State>(runtime, std::move(options), sink, loader, observer)) {}

Server::~Server() { stop(std::chrono::milliseconds(0)); }

Result<void> Server::bind() { return state_->reactor.bind(); }

void Server::start() {
  state_->pool->resize(state_->options.handler_threads);
  state_->reactor.start();
}

std::vector<net::BoundListener> Server::listeners() const { return state_->reactor.listeners(); }

void Server::stop(std::chrono::milliseconds deadline) {
  if (state_->stopped) return;
  state_->stopped = true;
  state_->reactor.drain(deadline);
  // What the network threads have handed over still runs; after that nobody takes from the queue.
  state_->pool->stop();
  state_->queue->close();
  state_->reactor.stop();
}

void Server::set_handler_threads(int threads) { state_->pool->resize(threads); }
void Server::set_network_threads(int threads) { state_->reactor.set_network_threads(threads); }
net::Reactor& Server::reactor() { return state_->reactor; }

ServerStats Server::stats() const {
  ServerStats stats;
  stats.handler_threads = state_->pool->threads();
  stats.handler_idle = state_->pool->idle_times();
  stats.request_queue = static_cast<int>(state_->queue->bound.waiting());
  stats.request_bytes = state_->reactor.queued_request_bytes();
  stats.listeners = state_->reactor.stats();
  return stats;
}

}  // namespace odradek::server

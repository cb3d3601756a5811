// Sockets in, frames out; answers in, bytes out. One acceptor thread per listener (`acceptor-<listener>`), N network threads per
// listener (`net-<listener>-<i>`). A connection belongs to one network thread; only when that thread is taken away by a resize
// does it move, at a moment when no request of it is open.
// Thread: bind, start, stop from one; the rest from any.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/result.h"
#include "base/slice_loader.h"
#include "model/types.h"
#include "net/frame_sink.h"
#include "net/idle_meter.h"
#include "net/options.h"

namespace odradek::net {

struct BoundListener {
  std::string name;
  SecurityProtocol protocol;
  std::string host;  // as configured
  int port;          // as bound
};

struct ListenerStats {
  std::string name;
  int connections = 0;
  uint64_t accepted = 0;
  uint64_t refused = 0;  // by max.connections.per.ip
  int response_queue = 0;  // answers that no network thread has taken yet, about
  int64_t acceptor_blocked_ns = 0;  // waiting for room: a limit, or full new-connection queues
  IdleTimes idle;  // of its network threads
};

class Reactor {
 public:
  // `loader` may be null: cold file chunks are then read by the network thread itself (tests, tools).
  Reactor(base::Runtime& runtime, ReactorOptions options, FrameSink& sink, base::SliceLoader* loader);
  // Stops at once if stop() was not called.
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Opens the listening sockets; clients may connect and wait. Errors: the address with the system's reason.
  Result<void> bind();
  void start();
  // Valid after bind().
  std::vector<BoundListener> listeners() const;

  // Nothing more is accepted or read; what is answered before the deadline is still sent. Returns when every answer that was
  // owed has been sent, or at the deadline; all sockets are closed then.
  void drain(std::chrono::milliseconds deadline);
  // Ends the threads. Exchanges that are not answered yet may still be answered later; they go back to the sink.
  void stop();

  // num.network.threads of every listener. Connections of threads that go away move to others as soon as they have no open request.
  void set_network_threads(int threads);
  // The same of one listener (listener.name.<listener>.num.network.threads).
  void set_network_threads(const std::string& listener, int threads);
  int network_threads() const;
  void set_max_connections(int max);
  void set_max_connections_per_ip(int max, std::map<std::string, int> overrides);
  void set_max_connection_creation_rate(int rate);
  void set_listener_limits(const std::string& listener, int max_connections, int max_connection_creation_rate);

  std::vector<ListenerStats> stats() const;
  int64_t queued_request_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace odradek::net

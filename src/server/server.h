// The broker's front: reactor, request queue and handler threads (`handler-<i>`) around one RequestSink.
// Thread: bind, start, stop from one; the rest from any, also from a handler.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "base/result.h"
#include "base/slice_loader.h"
#include "net/reactor.h"
#include "request/request_context.h"

namespace odradek::server {

struct ServerOptions {
  net::ReactorOptions net;
  int handler_threads = 8;                // num.io.threads
  int max_queued_requests = 500;          // queued.max.requests
  int64_t max_pipelined_bytes = 1 << 20;  // connection.max.pipelined.bytes: answers in memory that wait to be sent
};

// What became of one request; views are valid during the call.
struct RequestReport {
  protocol::ApiKey api;
  int16_t version;
  const request::ConnectionInfo& connection;
  const request::Times& times;
  size_t request_bytes;   // without the int32 size
  size_t response_bytes;  // as sent, 0: no answer
};

class RequestObserver {
 public:
  virtual ~RequestObserver() = default;
  // Thread: network threads, after the answer's last byte went to the socket. Must be quick.
  virtual void on_request(const RequestReport& report) = 0;
};

struct ServerStats {
  int handler_threads = 0;
  net::IdleTimes handler_idle;  // RequestHandlerAvgIdlePercent
  int request_queue = 0;        // frames that no handler has taken yet
  int64_t request_bytes = 0;    // memory of frames
  std::vector<net::ListenerStats> listeners;  // idle: NetworkProcessorAvgIdlePercent
};

class Server {
 public:
  // `loader` and `observer` may be null. All outlive the server; requests that are still held when it is destroyed may be
  // finished afterwards (their answers go nowhere), as long as `runtime` lives.
  Server(base::Runtime& runtime, ServerOptions options, request::RequestSink& sink, base::SliceLoader* loader,
         RequestObserver* observer);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Opens the listening sockets, so that ports are known; clients may connect and wait for start().
  Result<void> bind();
  void start();
  std::vector<net::BoundListener> listeners() const;

  // Accepts and reads no more, lets what was received run and be answered until the deadline, then closes all connections and
  // ends all threads. Whoever parks requests should finish them soon after this has begun.
  void stop(std::chrono::milliseconds deadline);

  void set_handler_threads(int threads);   // num.io.threads
  void set_network_threads(int threads);   // num.network.threads
  net::Reactor& reactor();                 // limits that change at run time
  ServerStats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace odradek::server

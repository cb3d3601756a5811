// The requests of one connection, in order: those that wait (mailbox), the one that runs, and those whose answer is out.
//
// One word says it all: how many frames wait in the mailbox, and
//   active   in the request queue, or in the hands of one handler (its holder): only the holder takes frames
//   running  a request has started and is neither settled nor finished; with `active` gone it is pending
//   throttled, full, closing   no request may start: quota; too many bytes of answers; an answer that closes the connection
//   dead     the socket is closed; frames are only dropped
//   awaited  the socket was closed while active: the holder must tell the reactor when it lets go
// Whoever makes a change after which a request could start (frame came, request settled, hold ended) and finds the connection not
// active, makes it active and puts it into the queue.
// Thread: as each call says.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <string>

#include "base/clock.h"
#include "base/mpsc_queue.h"
#include "net/connection.h"
#include "request/request_context.h"
#include "server/request_queue.h"

namespace odradek::server {

class ServerConnection;
class ServerExchange;
class HandlerPool;

// The request as its holder sees it; lives inside its exchange.
class ServerRequest final : public request::RequestContext {
 public:
  ServerRequest(protocol::RequestHeader header, MutableByteView body, ServerExchange& exchange);
  // A handler that throws takes its request with it: the connection is closed.
  ~ServerRequest() override;
  static void* operator new(size_t, void* at) { return at; }
  static void operator delete(void* at);
  static void operator delete(void*, void*) {}

 private:
  void on_settle() override;
  void on_finish(Completion completion) override;
  void on_throttle(int32_t ms) override;
  void on_release_body() override;

  ServerExchange& exchange_;
};

// Frame, answer, time stamps and the request itself in one piece of memory. Two parties refer to it: the reactor until the answer
// is sent, the holder of the request until it is destroyed.
class ServerExchange final : public net::Exchange {
 public:
  // Memory of a few hundred exchanges is kept per thread.
  static void* operator new(size_t size);
  static void operator delete(void* at);

  explicit ServerExchange(ServerConnection& connection) : owner(connection) {}
  void release() override;
  // Decodes the header. Null: it cannot be read.
  request::RequestPtr make_request();

  ServerConnection& owner;
  request::Times times;
  int16_t api = -1;
  int16_t version = -1;
  size_t request_bytes = 0;
  int64_t counted_bytes = 0;  // of the answer, in ServerConnection::answer_bytes

 private:
  friend class ServerRequest;
  void drop_reference();

  std::atomic<int> references_{1};
  struct Place {
    ServerExchange* exchange;  // directly in front of the request, for its operator delete
    alignas(ServerRequest) std::byte request[sizeof(ServerRequest)];
  };
  Place place_;
};

class ServerConnection final : public net::ConnectionUser {
 public:
  // `pool`: told about work that comes from other threads than the network's. Shared: requests may end after the server.
  ServerConnection(net::Connection& connection, std::shared_ptr<RequestQueue> queue, std::shared_ptr<HandlerPool> pool,
                   base::Clock& clock, int64_t max_answer_bytes);

  const request::ConnectionInfo& info() const { return info_; }
  base::Clock& clock() const { return clock_; }

  // Network thread. The frame has been admitted (counted). True: the connection has been queued.
  bool push(ServerExchange* exchange);
  // The answer's bytes are in memory no more.
  void answer_sent(int64_t bytes);
  void unthrottle();
  // Result: as FrameSink::on_close.
  bool on_close();
  bool is_quiet() const { return (word_.load(std::memory_order_acquire) & kActive) == 0; }

  // The holder. Runs up to `turns` requests, then lets go or queues the connection again.
  void run(request::RequestSink& sink, int turns);
  // The holder. Gives up all frames and lets go.
  void drop_frames();

  // Any thread, for the request that runs.
  void throttle() { word_.fetch_or(kThrottled, std::memory_order_acq_rel); }
  // Returns when the handler had let go of it (pending), 0: it has not.
  int64_t settle(bool close);
  void count_answer(int64_t bytes) { answer_bytes_.fetch_add(bytes, std::memory_order_seq_cst); }
  void answer(ServerExchange* exchange) { connection_.answer(exchange); }

 private:
  static constexpr uint64_t kFrames = 0xffffffff;
  static constexpr uint64_t kActive = 1ull << 32;
  static constexpr uint64_t kRunning = 1ull << 33;
  static constexpr uint64_t kThrottled = 1ull << 34;
  static constexpr uint64_t kFull = 1ull << 35;
  static constexpr uint64_t kClosing = 1ull << 36;
  static constexpr uint64_t kDead = 1ull << 37;
  static constexpr uint64_t kAwaited = 1ull << 38;

  static int64_t frames(uint64_t word) { return static_cast<int64_t>(word & kFrames); }
  // No request may start now. Frames of a dead connection are only held up by the request that runs.
  static bool is_held(uint64_t word) {
    return (word & kRunning) != 0 || ((word & kDead) == 0 && (word & (kThrottled | kFull | kClosing)) != 0);
  }
  bool answers_are_full();
  ServerExchange* take_frame();
  void try_activate();
  bool start(ServerExchange* exchange, request::RequestSink& sink);

  net::Connection& connection_;
  const std::shared_ptr<RequestQueue> queue_;
  const std::shared_ptr<HandlerPool> pool_;
  base::Clock& clock_;
  const int64_t max_answer_bytes_;
  request::ConnectionInfo info_;
  alignas(64) std::atomic<uint64_t> word_{0};
  base::MpscQueue<net::Exchange> mailbox_;
  std::atomic<int64_t> answer_bytes_{0};  // in memory: finished, not sent
  // The holder's.
  net::Exchange* taken_ = nullptr;  // out of the mailbox, oldest first
  int64_t left_at_ns_ = 0;          // when it last let go of a pending request
};

}  // namespace odradek::server

// For tests and benchmarks: a server around a sink whose requests say themselves what shall happen to them, and a plain blocking
// client. Request: header of Produce v3 (api 0), then one byte Op, int32 argument, payload. Answer: correlation id, payload.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/executor.h"
#include "server/server.h"

namespace odradek::server {

enum class Op : uint8_t {
  kEcho,      // answered at once with its payload
  kPark,      // settled; answered by EchoSink::finish(correlation id)
  kPend,      // neither; answered by EchoSink::finish
  kNoAnswer,  // acks=0
  kClose,     // acks=0 with an error
  kThrottle,  // answered at once, throttled for argument ms
  kFill,      // answered at once with argument bytes of value 7
  kSlice,     // answered with a prefix byte, the slice of EchoSink::set_slice(), and a byte behind it
  kLater,     // settled, answered by another thread at once
  kPendLater, // pending, answered by another thread at once
  kBusy,      // the handler is busy for argument us, then answers
  kAnswerAndClose,
  kThrow,     // the handler throws
};

class EchoSink : public request::RequestSink {
 public:
  explicit EchoSink(base::Runtime& runtime) : later_(runtime.make_executor("later", 2)) {}

  static base::Output answer(request::RequestContext& request, ByteView payload) {
    base::Output output;
    output.bytes.resize(4 + payload.size());
    base::store_be<int32_t>(output.bytes.data(), request.header().correlation_id);
    std::copy(payload.begin(), payload.end(), output.bytes.begin() + 4);
    return output;
  }
  static void echo(request::RequestPtr request) {
    auto output = answer(*request, request->body().subspan(5));
    request->finish(std::move(output));
  }

  void handle(request::RequestPtr request) override {
    started.fetch_add(1, std::memory_order_relaxed);
    MutableByteView body = request->body();
    if (body.size() < 5) return request->finish_and_close();
    auto argument = base::load_be<int32_t>(body.data() + 1);
    switch (static_cast<Op>(body[0])) {
      case Op::kEcho: return echo(std::move(request));
      case Op::kPark: request->settle(); [[fallthrough]];
      case Op::kPend: {
        std::lock_guard lock(mutex_);
        parked_[request->header().correlation_id] = std::move(request);
        came_.notify_all();
        return;
      }
      case Op::kNoAnswer: return request->finish_without_answer();
      case Op::kClose: return request->finish_and_close();
      case Op::kThrottle: request->set_throttle(argument); return echo(std::move(request));
      case Op::kFill: {
        Bytes payload(static_cast<size_t>(argument), 7);
        return request->finish(answer(*request, payload));
      }
      case Op::kSlice: {
        uint8_t ends[2] = {1, 2};
        base::Output output = answer(*request, ends);
        {
          std::lock_guard lock(mutex_);
          output.inserts.push_back({5, slice_});
        }
        return request->finish(std::move(output));
      }
      case Op::kLater: request->settle(); [[fallthrough]];
      case Op::kPendLater: {
        later_->post([request = std::move(request)]() mutable { echo(std::move(request)); });
        return;
      }
      case Op::kBusy: {
        auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(argument);
        while (std::chrono::steady_clock::now() < until) {
        }
        return echo(std::move(request));
      }
      case Op::kAnswerAndClose: {
        auto output = answer(*request, body.subspan(5));
        return request->finish_then_close(std::move(output));
      }
      case Op::kThrow:
        try {
          fail_with(std::move(request));
        } catch (const std::exception&) {
        }
        return;
    }
    request->finish_and_close();
  }

  // Waits until the request is parked, then takes it.
  request::RequestPtr take(int32_t correlation_id) {
    std::unique_lock lock(mutex_);
    bool there = came_.wait_for(lock, std::chrono::seconds(20), [&] { return parked_.contains(correlation_id); });
    CHECK(there);
    auto request = std::move(parked_[correlation_id]);
    parked_.erase(correlation_id);
    return request;
  }
  void finish(int32_t correlation_id) { echo(take(correlation_id)); }
  size_t parked() {
    std::lock_guard lock(mutex_);
    return parked_.size();
  }
  void finish_all() {
    std::map<int32_t, request::RequestPtr> all;
    {
      std::lock_guard lock(mutex_);
      all = std::move(parked_);
    }
    for (auto& [id, request] : all) echo(std::move(request));
  }

  // What kSlice is answered with.
  void set_slice(base::FileSlice slice) {
    std::lock_guard lock(mutex_);
    slice_ = std::move(slice);
  }
  std::atomic<int> started{0};

 private:
  static void fail_with(request::RequestPtr request) { throw std::runtime_error("request " + std::to_string(request->version())); }

  std::mutex mutex_;
  base::FileSlice slice_;
  std::condition_variable came_;
  std::map<int32_t, request::RequestPtr> parked_;
  std::unique_ptr<base::Executor> later_;
};

inline Bytes echo_request(int32_t correlation_id, Op op, int32_t argument = 0, ByteView payload = {}) {
  Bytes bytes;
  base::append_be<int32_t>(bytes, 0);
  base::append_be<int16_t>(bytes, 0);  // Produce
  base::append_be<int16_t>(bytes, 3);
  base::append_be<int32_t>(bytes, correlation_id);
  base::append_be<int16_t>(bytes, -1);  // no client id
  bytes.push_back(static_cast<uint8_t>(op));
  base::append_be<int32_t>(bytes, argument);
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  base::store_be<int32_t>(bytes.data(), static_cast<int32_t>(bytes.size() - 4));
  return bytes;
}

// A blocking client; every wait ends after 20 s at the latest.
class EchoClient {
 public:
  explicit EchoClient(int port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    int on = 1;
    ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  ~EchoClient() { close(); }
  EchoClient(EchoClient&& other) noexcept : socket_(std::exchange(other.socket_, -1)), connected_(other.connected_) {}

  bool connected() const { return connected_; }
  int socket() const { return socket_; }
  void close() {
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
  }
  void shut_sending() { ::shutdown(socket_, SHUT_WR); }

  bool send(ByteView bytes) {
    while (!bytes.empty()) {
      ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes = bytes.subspan(static_cast<size_t>(sent));
    }
    return true;
  }
  bool send(int32_t correlation_id, Op op, int32_t argument = 0, ByteView payload = {}) {
    return send(echo_request(correlation_id, op, argument, payload));
  }

  bool wait_readable(std::chrono::milliseconds time) {
    pollfd wanted{socket_, POLLIN, 0};
    return ::poll(&wanted, 1, static_cast<int>(time.count())) > 0;
  }
  bool read_all(uint8_t* into, size_t size) {
    while (size > 0) {
      if (!wait_readable(std::chrono::seconds(20))) return false;
      ssize_t got = ::recv(socket_, into, size, 0);
      if (got <= 0) return false;
      into += got;
      size -= static_cast<size_t>(got);
    }
    return true;
  }
  struct Answer {
    int32_t correlation_id = 0;
    Bytes payload;
  };
  // Nothing: the connection ended (or 20 s passed).
  std::optional<Answer> receive() {
    uint8_t head[8];
    if (!read_all(head, sizeof head)) return std::nullopt;
    auto size = base::load_be<int32_t>(head);
    if (size < 4) return std::nullopt;
    Answer answer{base::load_be<int32_t>(head + 4), Bytes(static_cast<size_t>(size) - 4)};
    if (!read_all(answer.payload.data(), answer.payload.size())) return std::nullopt;
    return answer;
  }
  // Whether the server closes (or resets) within the time, whatever comes before.
  bool closes_within(std::chrono::milliseconds time) {
    auto until = std::chrono::steady_clock::now() + time;
    for (;;) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !wait_readable(left)) return false;
      uint8_t sink[4096];
      if (::recv(socket_, sink, sizeof sink, 0) <= 0) return true;
    }
  }

 private:
  int socket_;
  bool connected_ = false;
};

// A running server on a port of the system's choice.
class EchoServer {
 public:
  explicit EchoServer(ServerOptions options = quick_options(), base::SliceLoader* loader = nullptr, RequestObserver* observer = nullptr)
      : runtime(base::make_system_runtime()), sink(*runtime), server(std::make_unique<Server>(*runtime, options, sink, loader, observer)) {
    auto bound = server->bind();
    CHECK(bound);
    server->start();
  }
  ~EchoServer() {
    sink.finish_all();
    server.reset();
    sink.finish_all();
  }

  static ServerOptions quick_options() {
    ServerOptions options;
    net::ListenerOptions listener;
    listener.host = "127.0.0.1";
    listener.network_threads = 2;
    options.net.listeners = {listener};
    options.handler_threads = 3;
    return options;
  }
  int port(size_t listener = 0) const { return server->listeners()[listener].port; }
  EchoClient client() const { return EchoClient(port()); }
  int connections() const {
    int sum = 0;
    for (auto& listener : server->stats().listeners) sum += listener.connections;
    return sum;
  }

  std::unique_ptr<base::Runtime> runtime;
  EchoSink sink;
  std::unique_ptr<Server> server;
};

}  // namespace odradek::server

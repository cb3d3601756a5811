// One request on its way through the broker: header, body, its connection, its answer.
// A request is running, then settled (its effect is done, only the answer waits) or finished; the next request of its connection
// starts when it is one of both. One that is neither is pending and blocks its connection, as in Kafka. Answers leave in request
// order, whatever the order of finishing.
// Thread: one holder at a time, which may be any thread; `server` (and `sim`) make them and fill the hooks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/output.h"
#include "base/result.h"
#include "model/types.h"
#include "protocol/codec.h"
#include "protocol/header.h"

namespace odradek::request {

struct ConnectionInfo {
  uint64_t id = 0;  // never used twice in a process
  std::string listener;
  SecurityProtocol protocol = SecurityProtocol::kPlaintext;
  std::string peer_host;  // numeric
  int peer_port = 0;
  std::string local_host;  // numeric: the address the client dialled
  int local_port = 0;
  std::string principal = "User:ANONYMOUS";
};

// Moments of one request, ns of base::Clock::monotonic_ns; 0: not reached.
struct Times {
  int64_t received_ns = 0;  // the frame was whole
  int64_t started_ns = 0;   // a handler thread took it
  int64_t handled_ns = 0;   // settled or finished, or the handler's call returned
  int64_t finished_ns = 0;  // the answer was there
  int64_t dequeued_ns = 0;  // its network thread took the answer
  int64_t sent_ns = 0;      // its last byte went to the socket
  int32_t throttle_ms = 0;

  // Kafka's names: RequestQueueTimeMs, LocalTimeMs, RemoteTimeMs, ResponseQueueTimeMs, ResponseSendTimeMs, TotalTimeMs.
  int64_t queue_ns() const { return started_ns - received_ns; }
  int64_t local_ns() const { return handled_ns - started_ns; }
  int64_t remote_ns() const { return finished_ns - handled_ns; }
  int64_t response_queue_ns() const { return dequeued_ns - finished_ns; }
  int64_t send_ns() const { return sent_ns - dequeued_ns; }
  int64_t total_ns() const { return sent_ns - received_ns; }
};

// Whoever holds it must finish it exactly once (checked by the destructor).
class RequestContext {
 public:
  virtual ~RequestContext() { CHECK(finished_); }
  RequestContext(const RequestContext&) = delete;
  RequestContext& operator=(const RequestContext&) = delete;

  const protocol::RequestHeader& header() const { return header_; }
  protocol::ApiKey api() const { return static_cast<protocol::ApiKey>(header_.request_api_key); }
  int16_t version() const { return header_.request_api_version; }
  std::string_view client_id() const { return header_.client_id ? std::string_view(*header_.client_id) : std::string_view(); }
  // What stands behind the header. Valid until the request is finished or release_body() is called.
  MutableByteView body() { return body_; }
  // Valid until the request is finished.
  const ConnectionInfo& connection() const { return connection_; }
  Times& times() { return times_; }

  template <class M>
  Result<M> decode() {
    return protocol::decode_body<M>(body(), version());
  }

  // The effect is done, only the answer waits: the connection's next request may start. Once is enough, more does no harm.
  void settle() {
    if (settled_ || finished_) return;
    settled_ = true;
    on_settle();
  }
  // The body is not needed any more; its memory and its share of queued.max.request.bytes are given back while the request waits
  // for its answer. Nothing that was decoded as a view may be used afterwards.
  void release_body() {
    body_ = {};
    on_release_body();
  }
  // Over quota: the connection's next request does not start, and its socket is not read, for this long from now. Before finish.
  void set_throttle(int32_t ms) {
    if (ms <= 0) return;
    times_.throttle_ms = ms;
    on_throttle(ms);
  }

  // The answer: header and body, without the int32 size.
  void finish(base::Output frame) { complete({Completion::Kind::kAnswer, std::move(frame)}); }
  template <class M>
    requires(!M::kIsRequest)
  void finish(const M& response) {
    finish(protocol::encode_response(header_.correlation_id, version(), response));
  }
  // acks=0 that succeeded.
  void finish_without_answer() { complete({Completion::Kind::kNoAnswer, {}}); }
  // No answer; no further request of the connection starts, and it closes when the answers before this one have left.
  void finish_and_close() { complete({Completion::Kind::kClose, {}}); }
  // The answer is sent, then the connection closes; no further request of it starts.
  void finish_then_close(base::Output frame) { complete({Completion::Kind::kAnswerAndClose, std::move(frame)}); }
  bool finished() const { return finished_; }

 protected:
  struct Completion {
    enum class Kind : uint8_t { kAnswer, kNoAnswer, kClose, kAnswerAndClose };
    Kind kind = Kind::kAnswer;
    base::Output output;
  };

  // `times` lives at least as long as the context.
  RequestContext(protocol::RequestHeader header, MutableByteView body, const ConnectionInfo& connection, Times& times)
      : header_(std::move(header)), body_(body), connection_(connection), times_(times) {}

  bool settled() const { return settled_; }

  // Hooks: each at most once, but on_throttle and on_release_body. on_finish is the last; it also settles.
  virtual void on_settle() = 0;
  virtual void on_finish(Completion completion) = 0;
  virtual void on_throttle(int32_t ms) = 0;
  virtual void on_release_body() {}

 private:
  void complete(Completion completion) {
    CHECK(!finished_);
    finished_ = true;
    on_finish(std::move(completion));
  }

  protocol::RequestHeader header_;
  MutableByteView body_;
  const ConnectionInfo& connection_;
  Times& times_;
  bool settled_ = false;
  bool finished_ = false;
};

using RequestPtr = std::unique_ptr<RequestContext>;

// Takes every request; implemented by api::Dispatcher.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  // Thread: handler threads, several at once, never two for one connection. Must not block or throw; finishes the request now,
  // or keeps it to finish it later.
  virtual void handle(RequestPtr request) = 0;
};

}  // namespace odradek::request

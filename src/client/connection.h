// One connection to a broker: typed requests, versions agreed on by ApiVersions, several requests on the way at once.
// Waits for the network with a deadline; starts no thread. Answers come in the order of the requests (Kafka's promise).
// Errors: those of net/outgoing.h; kUnsupportedVersion, the broker and this program share no version of the API;
// kInvalidRequest or kCorruptMessage, an answer that cannot be read. After a network error, a deadline or a corrupt answer the
// connection is broken: every later call fails.
// Thread: one at a time.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "net/outgoing.h"
#include "protocol/header.h"

namespace odradek::client {

struct ConnectionOptions {
  std::string client_id = "odradek";
  std::string software_version = "1";  // of ApiVersions: letters, digits, '-' and '.'
  std::chrono::milliseconds connect_timeout{10'000};  // with the exchange of ApiVersions
  std::chrono::milliseconds request_timeout{30'000};
  int32_t max_answer_bytes = 256 << 20;
};

// A decoded answer and the frame that its Records point into.
template <class Response>
struct Answer {
  Bytes frame;
  Response message;
  int16_t version = 0;
  const Response* operator->() const { return &message; }
  Response* operator->() { return &message; }
};

// A request on its way.
struct Ticket {
  int32_t correlation_id = 0;
  protocol::ApiKey key{};
  int16_t version = 0;
};

class Connection {
 public:
  // Connects and asks for the broker's versions.
  static Result<std::unique_ptr<Connection>> open(net::Dialer& dialer, const net::Endpoint& address, ConnectionOptions options);

  const net::Endpoint& address() const { return address_; }
  bool broken() const { return broken_; }
  // The highest version that the broker and [low, high] share.
  Result<int16_t> version_for(protocol::ApiKey key, int16_t low, int16_t high) const;

  // Sends and waits for the answer. `highest`: no version above it is used.
  template <class Response, class Request>
  Result<Answer<Response>> ask(const Request& request, int16_t highest = Request::kMaxVersion) {
    auto ticket = send(request, highest);
    if (!ticket) return fail(std::move(ticket.error()));
    return receive<Response>(*ticket);
  }

  // Sends only; receive() takes the answer. Answers that are asked for out of order are kept meanwhile.
  template <class Request>
  Result<Ticket> send(const Request& request, int16_t highest = Request::kMaxVersion, bool answered = true) {
    auto version = version_for(Request::kKey, Request::kMinVersion, highest);
    if (!version) return fail(std::move(version.error()));
    Ticket ticket{.correlation_id = next_correlation_id_++, .key = Request::kKey, .version = *version};
    protocol::RequestHeader header{.request_api_version = *version, .correlation_id = ticket.correlation_id, .client_id = options_.client_id};
    if (auto sent = send_frame(protocol::encode_request(std::move(header), request), ticket, answered); !sent) return fail(std::move(sent.error()));
    return ticket;
  }
  // A produce with acks=0, which the broker never answers.
  template <class Request>
  Result<void> send_without_answer(const Request& request, int16_t highest = Request::kMaxVersion) {
    auto ticket = send(request, highest, false);
    if (!ticket) return fail(std::move(ticket.error()));
    return {};
  }
  template <class Response>
  Result<Answer<Response>> receive(const Ticket& ticket) {
    CHECK(Response::kKey == ticket.key);
    Answer<Response> answer;
    answer.version = ticket.version;
    size_t used = 0;
    auto frame = receive_frame(ticket, used);
    if (!frame) return fail(std::move(frame.error()));
    answer.frame = std::move(*frame);
    auto message = protocol::decode_body<Response>(MutableByteView(answer.frame).subspan(used), ticket.version);
    if (!message) {
      broken_ = true;
      return fail(std::move(message.error()));
    }
    answer.message = std::move(*message);
    return answer;
  }
  // Whether receive() of this ticket would return at once; waits for it until `deadline_ns` (in the past: looks only). Never breaks
  // the connection by waiting; a broken one says true, for receive() has its error.
  bool arrived(const Ticket& ticket, int64_t deadline_ns);
  // Nobody waits any longer: the connection is broken, with this error.
  void give_up(Error why);
  // Requests sent whose answers have not come.
  size_t in_flight() const { return waiting_.size(); }

 private:
  struct Versions {
    int16_t low = 0, high = 0;
  };
  Connection(net::Dialer& dialer, net::Endpoint address, ConnectionOptions options)
      : dialer_(dialer), address_(std::move(address)), options_(std::move(options)) {}
  Result<void> negotiate();
  Result<void> send_frame(base::Output output, const Ticket& ticket, bool answered);
  Result<Bytes> receive_frame(const Ticket& ticket, size_t& used);
  // Reads one answer into early_. Error kRequestTimedOut: what has come of it is kept, the next call goes on.
  Result<void> take_frame(int64_t deadline_ns);
  Result<void> next_frame(int64_t deadline_ns);
  Result<void> fill(MutableByteView into, size_t& done, int64_t deadline_ns);
  int64_t deadline(std::chrono::milliseconds timeout) const { return dialer_.clock().monotonic_ns() + timeout.count() * 1'000'000; }

  net::Dialer& dialer_;
  const net::Endpoint address_;
  const ConnectionOptions options_;
  std::unique_ptr<net::Stream> stream_;
  std::map<int16_t, Versions> versions_;  // by API key
  int32_t next_correlation_id_ = 1;
  std::deque<Ticket> waiting_;       // sent, in order
  std::map<int32_t, Bytes> early_;   // answers that nobody has asked for yet, by correlation id
  std::array<uint8_t, 4> head_{};    // the size of the answer that is being read
  size_t head_size_ = 0;             // bytes of it that have come
  Bytes frame_;                      // the answer itself
  size_t frame_size_ = 0;            // bytes of it that have come
  bool broken_ = false;
  std::optional<Error> why_broken_;  // what arrived() saw
};

}  // namespace odradek::client

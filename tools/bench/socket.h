// Sockets for the load generator: blocking for the few questions at the start, then handed to the loop.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "protocol/header.h"

namespace odradek::bench {

struct Address {
  std::string host;
  int port = 0;
};
// "host:port", the first of a list. Errors: kInvalidRequest.
Result<Address> parse_address(const std::string& text);

// Owns a connected TCP socket without Nagle's delay.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Socket();
  static Result<Socket> connect(const Address& address);

  int descriptor() const { return descriptor_; }
  void make_nonblocking();
  // One request and its answer, blocking for at most 30 s; the answer's body without header.
  template <class Response, class Request>
  Result<Response> ask(const Request& request, int16_t version) {
    auto frame = protocol::encode_request({.request_api_version = version, .correlation_id = 1, .client_id = "odradek-bench"}, request);
    auto answer = exchange(frame.bytes);
    if (!answer) return fail(answer.error());
    size_t used = 0;
    auto correlation = protocol::decode_response_header(*answer, Request::kKey, version, used);
    if (!correlation) return fail(correlation.error());
    return protocol::decode_body<Response>(MutableByteView(*answer).subspan(used), version);
  }

 private:
  Result<Bytes> exchange(ByteView frame);
  int descriptor_ = -1;
};

struct PartitionLeader {
  int32_t partition = 0;
  Address leader;
};
// The topic's partitions and their leaders; makes the topic first when it does not exist and `partitions` > 0.
Result<std::vector<PartitionLeader>> find_leaders(const std::string& bootstrap, const std::string& topic, int partitions, int replication_factor);

struct OffsetRange {
  int64_t begin = 0;
  int64_t end = 0;
};
Result<OffsetRange> find_offsets(Socket& leader, const std::string& topic, int32_t partition);

int64_t now_ns();

}  // namespace odradek::bench

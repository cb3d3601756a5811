// Outgoing connections for callers that may wait: the tools, and threads of their own. (The broker's clients are served by the
// reactor, which never waits.) Every call ends at a deadline, a moment of Clock::monotonic_ns.
// Errors: kNetworkException, refused, closed or reset, with the system's errno; kRequestTimedOut, the deadline.
// Thread: a Stream belongs to one thread at a time; a Dialer may be used from any.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"

namespace odradek::net {

struct Endpoint {
  std::string host;
  int port = 0;
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
  std::string to_string() const;  // "host:port", "[host]:port" if the host has colons
};

// "host:port" or "[v6]:port". Errors: kInvalidRequest.
Result<Endpoint> parse_endpoint(std::string_view text);
// Separated by commas; at least one.
Result<std::vector<Endpoint>> parse_endpoints(std::string_view text);

class Stream {
 public:
  virtual ~Stream() = default;  // closes
  // All parts, one after the other. After an error some of the bytes may have left.
  virtual Result<void> send(std::span<const ByteView> parts, int64_t deadline_ns) = 0;
  // Some bytes, at least one.
  virtual Result<size_t> receive(MutableByteView into, int64_t deadline_ns) = 0;
};

class Dialer {
 public:
  virtual ~Dialer() = default;
  virtual base::Clock& clock() = 0;
  // Tries each address that the name has. Looking up the name may outlast the deadline.
  virtual Result<std::unique_ptr<Stream>> dial(const Endpoint& address, int64_t deadline_ns) = 0;
  // Sleeps.
  virtual void pause_until(int64_t moment_ns) = 0;
};

// TCP, without Nagle's delay. `clock` must be the system's: the kernel waits in its time.
std::unique_ptr<Dialer> make_tcp_dialer(base::Clock& clock);

}  // namespace odradek::net

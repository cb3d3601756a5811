// What a name is called on the wire. Every connection out and every listener takes the addresses of a name from here, in this order.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace odradek::net {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

// kNumeric: an address that is written out, which takes no look-up.
enum class Names : uint8_t { kAll, kNumeric };

// For TCP; at least one. IPv4 first, as Java: where IPv6 leads nowhere, an attempt takes all the time that there is.
// Errors: kNetworkException with the resolver's words, which do not name the host. Waits for the resolver, without a limit.
Result<std::vector<SocketAddress>> resolve(const std::string& host, int port, Names names = Names::kAll);

}  // namespace odradek::net

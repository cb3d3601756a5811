#include "net/resolve.h"

#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "model/error_code.h"

namespace odradek::net {

Result<std::vector<SocketAddress>> resolve(const std::string& host, int port, Names names) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  if (names == Names::kNumeric) hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0) {
    return fail(ErrorCode::kNetworkException, ::gai_strerror(error));
  }
  std::vector<SocketAddress> addresses;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    if (at->ai_addrlen > sizeof(sockaddr_storage) || (at->ai_family != AF_INET && at->ai_family != AF_INET6)) continue;
    SocketAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.size = at->ai_addrlen;
  }
  ::freeaddrinfo(found);
  std::stable_partition(addresses.begin(), addresses.end(), [](const SocketAddress& address) { return address.family() == AF_INET; });
  if (addresses.empty()) return fail(ErrorCode::kNetworkException, "no address");
  return addresses;
}

}  // namespace odradek::net

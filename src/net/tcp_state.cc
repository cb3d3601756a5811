#include "net/tcp_state.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

namespace odradek::net {

std::chrono::microseconds round_trip_of(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || info.tcpi_min_rtt == UINT32_MAX) return {};
  return std::chrono::microseconds(info.tcpi_min_rtt);
}

}  // namespace odradek::net
